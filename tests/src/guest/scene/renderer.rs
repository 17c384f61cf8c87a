//! Everything the scene needs on the device, and the making of one frame.

use ash::vk;

use super::camera::Camera;
use super::layout::{instances, phase};
use super::mesh::MeshRange;
use super::passes::{Draw, FrameCommands};
use super::pipelines::Pipelines;
use super::resources::{Bindings, Geometry};
use super::targets::Target;
use super::uniforms::{frame_bytes, instance_bytes};
use crate::guest::{Commands, Gpu, GuestError, MappedBuffer, MemoryWish};

/// Draws frames of the scene and copies them to memory the CPU reads.
#[derive(Debug)]
pub struct SceneRenderer<'g> {
    commands: Commands<'g>,
    pipelines: Pipelines<'g>,
    bindings: Bindings<'g>,
    geometry: Geometry<'g>,
    shadow: Target<'g>,
    picture: Target<'g>,
    screen: Target<'g>,
    readback: MappedBuffer<'g>,
    aspect: f32,
}

impl<'g> SceneRenderer<'g> {
    /// Makes what frames of a size need.
    pub fn new(gpu: &'g Gpu, width: u16, height: u16) -> Result<Self, GuestError> {
        let extent = vk::Extent2D {
            width: width.into(),
            height: height.into(),
        };
        let commands = Commands::new(gpu)?;
        let shadow = Target::shadow(gpu)?;
        let picture = Target::picture(gpu, extent)?;
        let screen = Target::screen(gpu, extent)?;
        let bindings = Bindings::new(gpu, &shadow, &picture)?;
        let pipelines = Pipelines::new(gpu, bindings.set.layout(), &shadow, &picture, &screen)?;
        let geometry = Geometry::new(gpu, &commands)?;
        let readback = MappedBuffer::new(
            gpu,
            u64::from(width) * u64::from(height) * 4,
            vk::BufferUsageFlags::TRANSFER_DST,
            MemoryWish::READBACK,
        )?;
        let aspect = f32::from(width) / f32::from(height);
        Ok(Self {
            commands,
            pipelines,
            bindings,
            geometry,
            shadow,
            picture,
            screen,
            readback,
            aspect,
        })
    }

    /// Bytes of a frame: red, green, blue, alpha, row after row from the top.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        usize::try_from(self.readback.size()).unwrap_or(usize::MAX)
    }

    /// Draws a frame of the animation and reads its pixels, [`Self::frame_size`] bytes.
    pub fn draw(&self, frame: u32, pixels: &mut [u8]) -> Result<(), GuestError> {
        let phase = phase(frame);
        let camera = Camera::at(phase, self.aspect);
        let shapes = instances(phase, camera.eye);
        self.bindings.frame.upload(0, &frame_bytes(&camera))?;
        self.bindings
            .instances
            .upload(0, &instance_bytes(shapes.iter().flatten()))?;
        let objects = draws(self.geometry.shapes, shapes.each_ref().map(Vec::len));
        let [ground] = draws([self.geometry.ground], [1]);
        self.commands.run(|device, commands| {
            let frame = FrameCommands {
                device,
                commands,
                pipelines: &self.pipelines,
                layout: self.bindings.set.layout(),
                set: self.bindings.set.handle(),
                vertices: self.geometry.vertices.handle(),
                indices: self.geometry.indices.handle(),
                objects: &objects,
                ground,
            };
            frame.shadow(&self.shadow);
            frame.picture(&self.picture);
            frame.screen(&self.screen);
            frame.copy(&self.screen, self.readback.handle());
        })?;
        self.readback.download(0, pixels)
    }
}

/// One draw for each mesh, whose instances lie one mesh after the other.
fn draws<const N: usize>(meshes: [MeshRange; N], counts: [usize; N]) -> [Draw; N] {
    let mut first = 0;
    std::array::from_fn(|shape| {
        let count = u32::try_from(counts[shape]).unwrap_or(u32::MAX);
        let draw = Draw {
            mesh: meshes[shape],
            first_instance: first,
            instance_count: count,
        };
        first += count;
        draw
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_give_each_mesh_the_instances_after_the_last_ones() {
        let mesh = MeshRange {
            first_index: 0,
            index_count: 3,
            vertex_offset: 0,
        };
        let draws = draws([mesh; 3], [2, 5, 1]);
        assert_eq!(draws.map(|draw| draw.first_instance), [0, 2, 7]);
    }
}
