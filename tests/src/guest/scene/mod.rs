//! The picture: a lit, animated scene, the same to the bit wherever it is drawn.

mod camera;
mod layout;
mod matrix;
mod mesh;
mod passes;
mod pipelines;
mod renderer;
mod report;
mod resources;
mod shapes;
mod targets;
mod trig;
mod uniforms;

pub use layout::LOOP_FRAMES;
pub use renderer::SceneRenderer;
pub use report::{FrameRecord, Report};
