//! The picture and the film: an animated PNG of the frames that the guest rendered.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Compression, Encoder, EncodingError};

use super::workload::Scene;

/// Name of the film.
const FILM: &str = "film.png";
/// Frames per second of the film.
const RATE: u16 = 20;

/// Why there is no film.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The frames do not make an animated PNG.
    #[error("cannot encode the film")]
    Encode(#[from] EncodingError),
}

/// Copies the picture from the guest's `share` to `output` and makes the film of its raw frames.
///
/// # Errors
/// See [`FilmError`].
pub fn write(share: &Path, scene: &Scene, output: &Path) -> Result<(), FilmError> {
    let picture = output.join(Scene::PICTURE);
    fs::copy(share.join(Scene::PICTURE), &picture).map_err(file(&picture))?;

    let raw = share.join(Scene::RAW);
    let mut frames = BufReader::new(File::open(&raw).map_err(file(&raw))?);
    let film = output.join(FILM);
    let target = BufWriter::new(File::create(&film).map_err(file(&film))?);
    let mut encoder = Encoder::new(target, scene.width, scene.height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_animated(scene.frames, 0)?;
    encoder.set_frame_delay(1, RATE)?;
    let mut writer = encoder.write_header()?;
    let bytes = u64::from(scene.width) * u64::from(scene.height) * 4;
    let mut frame = vec![0; usize::try_from(bytes).unwrap_or(0)];
    for _ in 0..scene.frames {
        frames.read_exact(&mut frame).map_err(file(&raw))?;
        writer.write_image_data(&frame)?;
    }
    writer.finish()?;
    fs::remove_file(&raw).map_err(file(&raw))
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> FilmError + use<> {
    let path = path.to_owned();
    move |source| FilmError::File { path, source }
}
