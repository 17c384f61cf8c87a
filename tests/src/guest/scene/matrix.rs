//! Vectors and matrices, with Vulkan's clip space: Y down, depth from 0 to 1.

use std::array::from_fn;

use super::trig::sin_cos;

/// A point or direction.
pub type Vec3 = [f32; 3];

/// Sum.
pub fn add(a: Vec3, b: Vec3) -> Vec3 {
    from_fn(|i| a[i] + b[i])
}

/// Difference.
pub fn sub(a: Vec3, b: Vec3) -> Vec3 {
    from_fn(|i| a[i] - b[i])
}

/// Product with a number.
pub fn scale(a: Vec3, factor: f32) -> Vec3 {
    a.map(|component| component * factor)
}

/// Dot product.
pub fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Cross product.
pub fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

/// The direction of a vector that is not zero.
pub fn normalize(a: Vec3) -> Vec3 {
    scale(a, 1.0 / dot(a, a).sqrt())
}

/// Blend from `a` at 0 to `b` at 1.
pub fn mix(a: Vec3, b: Vec3, amount: f32) -> Vec3 {
    add(scale(a, 1.0 - amount), scale(b, amount))
}

/// A matrix of columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mat4(pub [[f32; 4]; 4]);

impl Mat4 {
    /// The product, which applies `other` first.
    pub fn times(&self, other: &Self) -> Self {
        Self(other.0.map(|column| self.apply(column)))
    }

    /// The product with a vector.
    pub fn apply(&self, v: [f32; 4]) -> [f32; 4] {
        from_fn(|row| (0..4).map(|column| self.0[column][row] * v[column]).sum())
    }

    /// World to view, for an eye with these axes that looks along `forward`.
    pub fn view(eye: Vec3, axes: &Axes) -> Self {
        let Axes { right, up, forward } = *axes;
        Self([
            [right[0], up[0], -forward[0], 0.0],
            [right[1], up[1], -forward[1], 0.0],
            [right[2], up[2], -forward[2], 0.0],
            [-dot(right, eye), -dot(up, eye), dot(forward, eye), 1.0],
        ])
    }

    /// View to clip space, in perspective.
    pub fn perspective(half_height: f32, aspect: f32, near: f32, far: f32) -> Self {
        let depth = far / (near - far);
        Self([
            [1.0 / (half_height * aspect), 0.0, 0.0, 0.0],
            [0.0, -1.0 / half_height, 0.0, 0.0],
            [0.0, 0.0, depth, -1.0],
            [0.0, 0.0, near * depth, 0.0],
        ])
    }

    /// View to clip space, in parallel.
    pub fn orthographic(half_size: f32, near: f32, far: f32) -> Self {
        let depth = 1.0 / (near - far);
        Self([
            [1.0 / half_size, 0.0, 0.0, 0.0],
            [0.0, -1.0 / half_size, 0.0, 0.0],
            [0.0, 0.0, depth, 0.0],
            [0.0, 0.0, near * depth, 1.0],
        ])
    }
}

/// Three directions at right angles.
#[derive(Clone, Copy, Debug)]
pub struct Axes {
    /// To the right of the picture.
    pub right: Vec3,
    /// To its top.
    pub up: Vec3,
    /// Into it.
    pub forward: Vec3,
}

impl Axes {
    /// The axes of an eye that looks along a direction which is not straight up or down.
    pub fn looking(forward: Vec3) -> Self {
        let forward = normalize(forward);
        let right = normalize(cross(forward, [0.0, 1.0, 0.0]));
        Self {
            right,
            up: cross(right, forward),
            forward,
        }
    }
}

/// Columns of a rotation about an axis of length one (Rodrigues' formula).
pub fn rotation(axis: Vec3, turns: f32) -> [Vec3; 3] {
    let (sin, cos) = sin_cos(turns);
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|v| {
        let along = scale(axis, dot(axis, v) * (1.0 - cos));
        add(add(scale(v, cos), scale(cross(axis, v), sin)), along)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn perspective_maps_near_to_zero_and_far_to_one() {
        let matrix = Mat4::perspective(0.5, 1.5, 0.1, 50.0);
        for (distance, depth) in [(0.1, 0.0), (50.0, 1.0)] {
            let clip = matrix.apply([0.0, 0.0, -distance, 1.0]);
            assert!(near(clip[2] / clip[3], depth));
        }
    }

    #[test]
    fn orthographic_maps_near_to_zero_and_far_to_one() {
        let matrix = Mat4::orthographic(4.0, 1.0, 9.0);
        assert!(near(matrix.apply([0.0, 0.0, -1.0, 1.0])[2], 0.0));
        assert!(near(matrix.apply([0.0, 0.0, -9.0, 1.0])[2], 1.0));
    }

    #[test]
    fn view_puts_the_target_in_the_middle_and_up_above() {
        let eye = [3.0, 2.0, 5.0];
        let axes = Axes::looking(scale(eye, -1.0));
        let clip = Mat4::perspective(0.5, 1.0, 0.1, 50.0).times(&Mat4::view(eye, &axes));
        let center = clip.apply([0.0, 0.0, 0.0, 1.0]);
        assert!(near(center[0], 0.0) && near(center[1], 0.0));
        assert!(
            clip.apply([0.0, 1.0, 0.0, 1.0])[1] < 0.0,
            "Vulkan's Y points down"
        );
    }

    #[test]
    fn rotation_by_a_quarter_about_y_turns_x_to_minus_z() {
        let columns = rotation([0.0, 1.0, 0.0], 0.25);
        assert!(
            columns[0]
                .iter()
                .zip([0.0, 0.0, -1.0])
                .all(|(a, b)| near(*a, b))
        );
    }

    #[test]
    fn times_applies_the_right_matrix_first() {
        let double = Mat4::orthographic(0.5, 0.0, 1.0);
        let shift = Mat4::view([1.0, 0.0, 0.0], &Axes::looking([0.0, 0.0, -1.0]));
        assert!(near(
            double.times(&shift).apply([3.0, 0.0, 0.0, 1.0])[0],
            4.0
        ));
    }
}
