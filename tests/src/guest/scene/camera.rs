//! Where the picture is taken from, and where the sun stands.

use super::matrix::{Axes, Mat4, Vec3, normalize, scale, sub};
use super::trig::sin_cos;

/// Half the height of the picture at distance one.
const HALF_HEIGHT: f32 = 0.33;
/// Nothing is drawn closer or farther.
const DEPTH_RANGE: (f32, f32) = (0.5, 2000.0);
/// What the camera looks at.
const TARGET: Vec3 = [0.0, 1.25, 0.0];
/// Half the side of the square the shadow map covers.
const SHADOW_HALF_SIZE: f32 = 6.6;

/// A view of the world.
#[derive(Clone, Copy, Debug)]
pub struct Camera {
    /// Where the eye is.
    pub eye: Vec3,
    /// Its axes, of which right and up reach to the edge of the picture at distance one.
    pub axes: Axes,
    /// World to clip space.
    pub view_projection: Mat4,
}

impl Camera {
    /// The camera at a phase of the animation, for a picture of an aspect ratio.
    pub fn at(phase: f32, aspect: f32) -> Self {
        let (sway, _) = sin_cos(phase);
        let (bob, _) = sin_cos(phase * 2.0 + 0.1);
        let (sin, cos) = sin_cos(0.06 + 0.055 * sway);
        let eye = [11.2 * sin, 3.5 + 0.4 * bob, 11.2 * cos];
        let axes = Axes::looking(sub(TARGET, eye));
        let projection = Mat4::perspective(HALF_HEIGHT, aspect, DEPTH_RANGE.0, DEPTH_RANGE.1);
        let view_projection = projection.times(&Mat4::view(eye, &axes));
        let axes = Axes {
            right: scale(axes.right, HALF_HEIGHT * aspect),
            up: scale(axes.up, HALF_HEIGHT),
            forward: axes.forward,
        };
        Self {
            eye,
            axes,
            view_projection,
        }
    }
}

/// The direction towards the sun.
pub fn sun() -> Vec3 {
    normalize([-0.74, 0.50, 0.40])
}

/// World to the shadow map's clip space.
pub fn sun_projection() -> Mat4 {
    let axes = Axes::looking(scale(sun(), -1.0));
    Mat4::orthographic(SHADOW_HALF_SIZE, 1.0, 31.0).times(&Mat4::view(scale(sun(), 16.0), &axes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_sees_its_target_in_the_middle() {
        let clip = Camera::at(0.3, 1.5)
            .view_projection
            .apply([0.0, 1.25, 0.0, 1.0]);
        assert!(clip[0].abs() < 1e-4 && clip[1].abs() < 1e-4 && clip[3] > 0.0);
    }

    #[test]
    fn shadow_map_covers_the_middle_of_the_scene() {
        let clip = sun_projection().apply([0.0, 0.0, 0.0, 1.0]);
        assert!((0.0..1.0).contains(&clip[2]));
    }
}
