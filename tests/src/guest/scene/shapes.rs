//! The shapes in the scene.

use super::matrix::{Vec3, add, cross, normalize, scale, sub};
use super::mesh::Mesh;
use super::trig::sin_cos;

/// A part of a whole, both counts small.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of vertices are far below 2^24"
)]
fn fraction(part: u32, whole: u32) -> f32 {
    part as f32 / whole as f32
}

/// A sphere of radius one.
pub fn sphere(around: u32, stacks: u32) -> Mesh {
    let mut mesh = Mesh::default();
    for stack in 0..=stacks {
        let (sin, cos) = sin_cos(fraction(stack, stacks) * 0.5);
        for step in 0..around {
            let (z, x) = sin_cos(fraction(step, around));
            let point = [x * sin, cos, z * sin];
            mesh.vertex(point, point);
        }
    }
    mesh.grid(0, around, stacks + 1, (true, false));
    mesh
}

/// A cube from -1 to 1 with its edges cut off. Only the cuts bend the normals, which makes the
/// edges catch the light.
pub fn beveled_cube(bevel: f32) -> Mesh {
    let mut mesh = Mesh::default();
    let sign = |corner: u32, axis: usize| if corner >> axis & 1 == 0 { -1.0 } else { 1.0 };
    for corner in 0..8 {
        for face in 0..3 {
            let position: Vec3 = std::array::from_fn(|axis| {
                sign(corner, axis) * if axis == face { 1.0 } else { 1.0 - bevel }
            });
            let mut normal = [0.0; 3];
            normal[face] = sign(corner, face);
            mesh.vertex(position, normal);
        }
    }
    for axis in 0..3u32 {
        let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
        for corner in (0..8).filter(|corner| corner >> axis & 1 == 0) {
            // The edge along `axis` between the faces of the other two.
            let far = corner | 1 << axis;
            mesh.quad([corner * 3 + b, far * 3 + b, far * 3 + c, corner * 3 + c]);
        }
        for side in [0, 1 << axis] {
            let ring = [0, 1 << b, 1 << b | 1 << c, 1 << c];
            mesh.quad(ring.map(|corner: u32| (corner | side) * 3 + axis));
        }
    }
    for corner in 0..8 {
        mesh.triangle([corner * 3, corner * 3 + 1, corner * 3 + 2]);
    }
    mesh
}

/// A tube along the torus knot that winds twice around and three times through.
pub fn torus_knot(along: u32, around: u32, tube: f32) -> Mesh {
    let mut mesh = Mesh::default();
    for step in 0..along {
        let turns = fraction(step, along);
        let (center, out) = knot_point(turns);
        let (ahead, _) = knot_point(turns + 1e-3);
        let (behind, _) = knot_point(turns - 1e-3);
        let side = normalize(cross(sub(ahead, behind), out));
        for corner in 0..around {
            let (sin, cos) = sin_cos(fraction(corner, around));
            let normal = add(scale(side, sin), scale(out, cos));
            mesh.vertex(add(center, scale(normal, tube)), normal);
        }
    }
    mesh.grid(0, around, along, (true, true));
    mesh
}

/// A point of the knot's line, and the normal there of the torus it lies on: a direction that is
/// never along the line and so never flips the tube.
fn knot_point(turns: f32) -> (Vec3, Vec3) {
    const WIDTH: f32 = 0.42;
    const HEIGHT: f32 = 0.55;
    let (sin2, cos2) = sin_cos(2.0 * turns);
    let (sin3, cos3) = sin_cos(3.0 * turns);
    let radius = 1.0 + WIDTH * cos3;
    let outwards = cos3 / WIDTH;
    (
        [radius * cos2, radius * sin2, HEIGHT * sin3],
        normalize([outwards * cos2, outwards * sin2, sin3 / HEIGHT]),
    )
}

/// A square on the ground.
pub fn ground(half_size: f32) -> Mesh {
    let mut mesh = Mesh::default();
    for (x, z) in [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)] {
        mesh.vertex([x * half_size, 0.0, z * half_size], [0.0, 1.0, 0.0]);
    }
    mesh.quad([0, 1, 2, 3]);
    mesh
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::matrix::dot;
    use super::*;

    /// In a closed surface every edge is shared by two triangles that run along it oppositely.
    fn assert_closed(mesh: &Mesh) {
        let mut points = HashMap::new();
        let mut edges: HashMap<(usize, usize), i32> = HashMap::new();
        for triangle in mesh.indices.chunks_exact(3) {
            let corners: Vec<usize> = triangle
                .iter()
                .map(|index| {
                    let position = mesh.vertices[*index as usize].position;
                    // Adding zero makes -0.0 the same point as 0.0.
                    let key = position.map(|v| ((v * 1e5).round() + 0.0).to_bits());
                    let next = points.len();
                    *points.entry(key).or_insert(next)
                })
                .collect();
            for (a, b) in [(0, 1), (1, 2), (2, 0)] {
                if corners[a] != corners[b] {
                    *edges.entry((corners[a], corners[b])).or_default() += 1;
                    *edges.entry((corners[b], corners[a])).or_default() -= 1;
                }
            }
        }
        assert!(edges.values().all(|balance| *balance == 0));
    }

    fn assert_unit_normals(mesh: &Mesh) {
        assert!(
            mesh.vertices
                .iter()
                .all(|v| (dot(v.normal, v.normal) - 1.0).abs() < 1e-4)
        );
    }

    #[test]
    fn solid_shapes_are_closed_and_have_unit_normals() {
        for mesh in [sphere(12, 8), beveled_cube(0.2), torus_knot(96, 8, 0.2)] {
            assert_closed(&mesh);
            assert_unit_normals(&mesh);
        }
    }

    #[test]
    fn beveled_cube_has_faces_edges_and_corners() {
        let mesh = beveled_cube(0.1);
        assert_eq!(mesh.vertices.len(), 24);
        assert_eq!(mesh.indices.len() / 3, 6 * 2 + 12 * 2 + 8);
    }

    #[test]
    fn torus_knot_stays_clear_of_its_axis() {
        let mesh = torus_knot(96, 8, 0.2);
        assert!(
            mesh.vertices
                .iter()
                .all(|v| v.position[0].hypot(v.position[1]) > 0.3)
        );
    }
}
