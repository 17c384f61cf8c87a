//! Renders a lit, animated scene and copies its frames to host-visible memory.
//!
//! Frames depend on their number alone: two runs on the same driver, one of them through a guest,
//! must agree in every pixel.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use coherd::explain::one_line;
use coherd_tests::guest::hash::fnv1a;
use coherd_tests::guest::scene::{FrameRecord, Report, SceneRenderer};
use coherd_tests::guest::{DeviceDescription, Gpu, GpuOptions, GuestError};
use thiserror::Error;

/// Renders a lit, animated scene and copies its frames to host-visible memory.
#[derive(Debug, Parser)]
#[command(name = "vk-scene")]
struct Options {
    /// Use the first device whose name contains this, in any case
    #[arg(long, value_name = "SUBSTRING")]
    device: Option<String>,
    /// Width in pixels
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u16).range(1..=4096))]
    width: u16,
    /// Height in pixels
    #[arg(long, default_value_t = 360, value_parser = clap::value_parser!(u16).range(1..=4096))]
    height: u16,
    /// Number of frames; the animation repeats after 600
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Number of the first frame
    #[arg(long, default_value_t = 0)]
    start: u32,
    /// Write each frame to DIR/frame-NNN.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the last frame as a PNG
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Append each frame's bytes: red, green, blue, alpha, rows from the top
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
    /// Write the report as JSON, to standard output for `-`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Error)]
enum SceneError {
    #[error("Cannot draw the scene")]
    Guest(#[from] GuestError),
    #[error("Cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("Cannot write {}", path.display())]
    Png {
        path: PathBuf,
        source: png::EncodingError,
    },
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), SceneError> {
    let gpu = Gpu::open(&GpuOptions {
        device: options.device.as_deref(),
        ..GpuOptions::default()
    })?;
    let device = DeviceDescription::of(&gpu);
    let renderer = SceneRenderer::new(&gpu, options.width, options.height)?;
    let frames = draw_frames(options, &renderer)?;
    let report = Report {
        device,
        width: options.width,
        height: options.height,
        frames,
    };
    match options.json.as_deref() {
        None => print!("{report}"),
        Some(path) if path == Path::new("-") => println!("{:#}", report.to_json()),
        Some(path) => {
            fs::write(path, format!("{:#}\n", report.to_json())).map_err(write_error(path))?;
            print!("{report}");
        }
    }
    Ok(())
}

fn draw_frames(
    options: &Options,
    renderer: &SceneRenderer<'_>,
) -> Result<Vec<FrameRecord>, SceneError> {
    let mut raw = options.raw.as_deref().map(open_raw).transpose()?;
    if let Some(folder) = &options.out {
        fs::create_dir_all(folder).map_err(write_error(folder))?;
    }
    let mut pixels = vec![0; renderer.frame_size()];
    let mut records = Vec::new();
    let mut last_word = Instant::now();
    for index in 0..options.frames {
        let frame = options.start.wrapping_add(index);
        let begun = Instant::now();
        renderer.draw(frame, &mut pixels)?;
        let time = begun.elapsed();
        records.push(FrameRecord {
            frame,
            time,
            hash: fnv1a(&pixels),
        });
        if let (Some(file), Some(path)) = (raw.as_mut(), options.raw.as_deref()) {
            file.write_all(&pixels).map_err(write_error(path))?;
        }
        if let Some(folder) = &options.out {
            write_png(
                &folder.join(format!("frame-{frame:03}.png")),
                options,
                &pixels,
            )?;
        }
        if last_word.elapsed() >= Duration::from_secs(2) {
            eprintln!(
                "{} of {} frames, the last in {time:.1?}",
                index + 1,
                options.frames
            );
            last_word = Instant::now();
        }
    }
    if let Some(path) = &options.png {
        write_png(path, options, &pixels)?;
    }
    Ok(records)
}

fn open_raw(path: &Path) -> Result<File, SceneError> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(write_error(path))
}

fn write_png(path: &Path, options: &Options, pixels: &[u8]) -> Result<(), SceneError> {
    let file = BufWriter::new(File::create(path).map_err(write_error(path))?);
    let mut encoder = png::Encoder::new(file, options.width.into(), options.height.into());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    let failed = |source| SceneError::Png {
        path: path.to_owned(),
        source,
    };
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> SceneError {
    let path = path.to_owned();
    move |source| SceneError::Write { path, source }
}
