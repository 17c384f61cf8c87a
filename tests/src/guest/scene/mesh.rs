//! Triangle meshes and their layout in memory.

use super::matrix::{Vec3, add, cross, dot, sub};

/// A corner of a triangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vertex {
    /// Where it is.
    pub position: Vec3,
    /// Where the surface faces; length one.
    pub normal: Vec3,
}

impl Vertex {
    /// Bytes of a vertex in a buffer: position, then normal.
    pub const STRIDE: u32 = 24;
    /// Where the normal begins.
    pub const NORMAL_OFFSET: u32 = 12;
}

/// Vertices, and triangles that wind counter-clockwise seen from outside.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    /// The corners.
    pub vertices: Vec<Vertex>,
    /// Three for each triangle.
    pub indices: Vec<u32>,
}

/// Where a mesh lies in buffers that hold several.
#[derive(Clone, Copy, Debug)]
pub struct MeshRange {
    /// Its first index.
    pub first_index: u32,
    /// How many there are.
    pub index_count: u32,
    /// What is added to each index.
    pub vertex_offset: i32,
}

impl Mesh {
    /// Adds a vertex and returns its index.
    pub fn vertex(&mut self, position: Vec3, normal: Vec3) -> u32 {
        let index = u32::try_from(self.vertices.len()).unwrap_or(u32::MAX);
        self.vertices.push(Vertex { position, normal });
        index
    }

    /// Adds a triangle, wound so that it faces where its normals do.
    pub fn triangle(&mut self, corners: [u32; 3]) {
        let [a, b, c] = corners;
        let faces_out = dot(self.facing(corners), self.outward(corners)) >= 0.0;
        self.indices
            .extend(if faces_out { [a, b, c] } else { [a, c, b] });
    }

    /// Adds two triangles between four vertices in a ring.
    pub fn quad(&mut self, [a, b, c, d]: [u32; 4]) {
        self.triangle([a, b, c]);
        self.triangle([a, c, d]);
    }

    /// Adds quads between the points of a grid, in which column and row wrap where the shape
    /// closes; `vertices` holds `columns` for each row.
    pub fn grid(&mut self, first: u32, columns: u32, rows: u32, wrap: (bool, bool)) {
        let limit = |count: u32, wraps: bool| if wraps { count } else { count - 1 };
        for row in 0..limit(rows, wrap.1) {
            for column in 0..limit(columns, wrap.0) {
                let at = |c: u32, r: u32| first + (r % rows) * columns + c % columns;
                self.quad([
                    at(column, row),
                    at(column + 1, row),
                    at(column + 1, row + 1),
                    at(column, row + 1),
                ]);
            }
        }
    }

    /// Appends meshes to one another.
    pub fn concatenate<const N: usize>(meshes: &[Self; N]) -> (Self, [MeshRange; N]) {
        let mut all = Self::default();
        let ranges = meshes.each_ref().map(|mesh| {
            let range = MeshRange {
                first_index: u32::try_from(all.indices.len()).unwrap_or(u32::MAX),
                index_count: u32::try_from(mesh.indices.len()).unwrap_or(u32::MAX),
                vertex_offset: i32::try_from(all.vertices.len()).unwrap_or(i32::MAX),
            };
            all.vertices.extend(&mesh.vertices);
            all.indices.extend(&mesh.indices);
            range
        });
        (all, ranges)
    }

    /// The vertices as the shaders read them.
    pub fn vertex_bytes(&self) -> Vec<u8> {
        self.vertices
            .iter()
            .flat_map(|vertex| vertex.position.into_iter().chain(vertex.normal))
            .flat_map(f32::to_ne_bytes)
            .collect()
    }

    /// The indices as `VK_INDEX_TYPE_UINT32`.
    pub fn index_bytes(&self) -> Vec<u8> {
        self.indices
            .iter()
            .flat_map(|index| index.to_ne_bytes())
            .collect()
    }

    fn corner(&self, index: u32) -> Vertex {
        self.vertices[usize::try_from(index).unwrap_or(usize::MAX)]
    }

    /// Where the winding says the triangle faces.
    fn facing(&self, [a, b, c]: [u32; 3]) -> Vec3 {
        let origin = self.corner(a).position;
        cross(
            sub(self.corner(b).position, origin),
            sub(self.corner(c).position, origin),
        )
    }

    /// Where the normals say it does.
    fn outward(&self, corners: [u32; 3]) -> Vec3 {
        corners
            .iter()
            .fold([0.0; 3], |sum, index| add(sum, self.corner(*index).normal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Mesh {
        let mut mesh = Mesh::default();
        for position in [
            [0.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [1.0, 1.0, 0.0],
        ] {
            mesh.vertex(position, [0.0, 0.0, 1.0]);
        }
        mesh
    }

    #[test]
    fn triangle_given_clockwise_is_turned_round() {
        let mut mesh = square();
        mesh.triangle([0, 2, 1]);
        assert_eq!(mesh.indices, [0, 1, 2]);
    }

    #[test]
    fn grid_that_wraps_has_more_quads() {
        let (mut open, mut closed) = (square(), square());
        open.grid(0, 2, 2, (false, false));
        closed.grid(0, 2, 2, (true, false));
        assert_eq!((open.indices.len(), closed.indices.len()), (6, 12));
    }

    #[test]
    fn concatenate_keeps_the_ranges_apart() {
        let mut mesh = square();
        mesh.triangle([0, 1, 2]);
        let (all, ranges) = Mesh::concatenate(&[mesh.clone(), mesh]);
        assert_eq!(all.vertices.len(), 8);
        assert_eq!(ranges[1].first_index, 3);
        assert_eq!(ranges[1].vertex_offset, 4);
    }

    #[test]
    fn vertex_bytes_have_the_declared_stride() {
        let mesh = square();
        let stride = usize::try_from(Vertex::STRIDE).unwrap();
        assert_eq!(mesh.vertex_bytes().len(), mesh.vertices.len() * stride);
    }
}
