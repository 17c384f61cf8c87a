//! What stands where in a frame: the animation is a function of the frame's number.

use super::matrix::{Vec3, dot, mix, normalize, rotation, scale, sub};
use super::trig::sin_cos;

/// Frames after which the animation begins again.
pub const LOOP_FRAMES: u32 = 600;

/// How a surface takes the light.
#[derive(Clone, Copy, Debug)]
pub struct Material {
    /// Colour, linear.
    pub albedo: Vec3,
    /// 0 is a mirror, 1 is chalk.
    pub roughness: f32,
    /// 0 is paint, 1 is metal.
    pub metallic: f32,
}

/// One shape in one place.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    /// Columns of its rotation and scale.
    pub columns: [Vec3; 3],
    /// Where its middle is.
    pub position: Vec3,
    /// Its surface.
    pub material: Material,
}

const SPHERES: u16 = 7;
/// Radius and number of cubes of each ring.
const RINGS: [(f32, u16); 3] = [(3.0, 22), (3.8, 28), (4.6, 34)];

/// Where the animation stands in a frame, from 0 to 1.
pub fn phase(frame: u32) -> f32 {
    // Both are below 2^16, so the conversions are exact.
    let frame = u16::try_from(frame % LOOP_FRAMES).unwrap_or(0);
    let length = u16::try_from(LOOP_FRAMES).unwrap_or(u16::MAX);
    f32::from(frame) / f32::from(length)
}

/// The knot, the spheres and the cubes, each sorted from the eye outwards.
pub fn instances(phase: f32, eye: Vec3) -> [Vec<Instance>; 3] {
    let mut shapes = [vec![knot(phase)], spheres(phase), cubes(phase)];
    for shape in &mut shapes {
        shape.sort_by(|a, b| distance(a, eye).total_cmp(&distance(b, eye)));
    }
    shapes
}

/// Squared distance from the eye.
fn distance(instance: &Instance, eye: Vec3) -> f32 {
    let away = sub(instance.position, eye);
    dot(away, away)
}

/// How many instances a frame has.
pub fn instance_count() -> u32 {
    1 + u32::from(SPHERES)
        + RINGS
            .iter()
            .map(|(_, count)| u32::from(*count))
            .sum::<u32>()
}

fn knot(phase: f32) -> Instance {
    let axis = normalize([0.35, 1.0, 0.2]);
    Instance {
        columns: rotation(axis, phase * 3.0 + 0.1).map(|column| scale(column, 1.02)),
        position: [0.0, 2.15, 0.0],
        material: Material {
            albedo: [0.95, 0.52, 0.26],
            roughness: 0.26,
            metallic: 1.0,
        },
    }
}

fn spheres(phase: f32) -> Vec<Instance> {
    const PAINTS: [Vec3; 3] = [[0.80, 0.12, 0.10], [0.05, 0.33, 0.55], [0.86, 0.55, 0.10]];
    (0..SPHERES)
        .map(|index| {
            let share = f32::from(index) / f32::from(SPHERES);
            let (sin, cos) = sin_cos(share - phase);
            let (bob, _) = sin_cos(share * 3.0 + phase * 4.0);
            let chrome = index % 2 == 0;
            let radius = if chrome { 0.34 } else { 0.26 };
            let material = if chrome {
                Material {
                    albedo: [0.90, 0.91, 0.93],
                    roughness: 0.06,
                    metallic: 1.0,
                }
            } else {
                let albedo = PAINTS[usize::from(index / 2) % PAINTS.len()];
                Material {
                    albedo,
                    roughness: 0.22,
                    metallic: 0.0,
                }
            };
            Instance {
                columns: [[radius, 0.0, 0.0], [0.0, radius, 0.0], [0.0, 0.0, radius]],
                position: [2.15 * cos, 0.85 + 0.28 * bob, 2.15 * sin],
                material,
            }
        })
        .collect()
}

fn cubes(phase: f32) -> Vec<Instance> {
    let mut cubes = Vec::new();
    for (ring, (radius, count)) in (0u16..).zip(RINGS) {
        for index in 0..count {
            let share = f32::from(index) / f32::from(count);
            cubes.push(cube(phase, f32::from(ring), radius, share));
        }
    }
    cubes
}

/// One cube of a ring: rings turn against each other, and cubes rise and sink as two waves pass.
fn cube(phase: f32, ring: f32, radius: f32, share: f32) -> Instance {
    let angle = share + if ring % 2.0 == 0.0 { phase } else { -phase };
    let (sin, cos) = sin_cos(angle);
    let (wave, _) = sin_cos(angle * 3.0 + ring * 0.16 - phase * 4.0);
    let (ripple, _) = sin_cos(angle * 5.0 - ring * 0.21 + phase * 6.0);
    let rise = 0.5 + 0.34 * wave + 0.16 * ripple;
    let half = [0.24, 0.12 + 0.34 * rise, 0.24];
    let warm = mix(
        [0.42, 0.07, 0.26],
        [0.95, 0.40, 0.08],
        (rise * 2.0 - 1.0).max(0.0),
    );
    let albedo = mix([0.01, 0.20, 0.30], warm, (rise * 2.0).min(1.0));
    Instance {
        columns: [
            scale([cos, 0.0, sin], half[0]),
            [0.0, half[1], 0.0],
            scale([-sin, 0.0, cos], half[2]),
        ],
        position: [radius * cos, half[1], radius * sin],
        material: Material {
            albedo,
            roughness: 0.38,
            metallic: 0.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_count_is_what_a_frame_has() {
        let total: usize = instances(0.2, [0.0; 3]).iter().map(Vec::len).sum();
        assert_eq!(total, instance_count() as usize);
    }

    #[test]
    fn instances_come_nearest_first() {
        let eye = [3.0, 1.0, 8.0];
        let [_, _, cubes] = instances(0.4, eye);
        assert!(cubes.is_sorted_by(|a, b| distance(a, eye) <= distance(b, eye)));
    }

    #[test]
    fn phase_begins_again_after_the_loop() {
        assert_eq!(phase(0), phase(LOOP_FRAMES));
        assert_ne!(phase(1), phase(0));
    }

    #[test]
    fn nothing_sinks_below_the_ground() {
        for frame in 0..LOOP_FRAMES {
            let [_, spheres, cubes] = instances(phase(frame), [0.0; 3]);
            for instance in spheres.iter().chain(&cubes) {
                assert!(instance.position[1] - instance.columns[1][1] > -1e-5);
            }
        }
    }
}
