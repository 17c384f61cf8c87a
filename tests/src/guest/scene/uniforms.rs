//! What the shaders read each frame, as `scene.wgsl` lays it out.

use super::camera::{Camera, sun, sun_projection};
use super::layout::Instance;
use super::matrix::Vec3;

/// Bytes of `Frame`: two matrices and five vectors.
pub const FRAME_SIZE: u64 = 2 * 64 + 5 * 16;
/// Bytes of one `Instance`: five vectors.
pub const INSTANCE_SIZE: u64 = 5 * 16;

/// The bytes of `Frame`.
pub fn frame_bytes(camera: &Camera) -> Vec<u8> {
    let mut bytes = Vec::new();
    for matrix in [camera.view_projection, sun_projection()] {
        bytes.extend(
            matrix
                .0
                .iter()
                .flatten()
                .flat_map(|value| value.to_ne_bytes()),
        );
    }
    let axes = camera.axes;
    for vector in [camera.eye, axes.right, axes.up, axes.forward, sun()] {
        push_vector(&mut bytes, vector, 0.0);
    }
    bytes
}

/// The bytes of an array of `Instance`.
pub fn instance_bytes<'i>(instances: impl Iterator<Item = &'i Instance>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for instance in instances {
        let material = instance.material;
        for column in instance.columns {
            push_vector(&mut bytes, column, 0.0);
        }
        // The matrix's spare components carry what has no vector of its own.
        push_vector(&mut bytes, instance.position, material.metallic);
        push_vector(&mut bytes, material.albedo, material.roughness);
    }
    bytes
}

fn push_vector(bytes: &mut Vec<u8>, vector: Vec3, last: f32) {
    bytes.extend(vector.into_iter().chain([last]).flat_map(f32::to_ne_bytes));
}

#[cfg(test)]
mod tests {
    use super::super::layout::{instance_count, instances};
    use super::*;

    #[test]
    fn frame_bytes_have_the_declared_size() {
        assert_eq!(frame_bytes(&Camera::at(0.0, 1.0)).len() as u64, FRAME_SIZE);
    }

    #[test]
    fn instance_bytes_have_the_declared_size() {
        let bytes = instance_bytes(instances(0.0, [0.0; 3]).iter().flatten());
        assert_eq!(
            bytes.len() as u64,
            INSTANCE_SIZE * u64::from(instance_count())
        );
    }
}
