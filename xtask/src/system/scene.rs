//! The drawing program, and what its frames should be.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::app::{App, last_lines};
use super::failure::{Failure, expect};
use crate::coherd::program;
use crate::lab::Lab;
use crate::vm::Vm;

/// What the program prints from time to time.
pub const DRAWING: &str = "frames, the last in";

/// Frames of a scene that is not meant to come to its end.
pub const ENDLESS: usize = 1_000_000;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// What a run of the program leaves behind.
#[derive(Debug)]
pub struct Frames {
    /// Name of the device that drew them.
    pub device: String,
    /// A hash of each frame.
    pub hashes: Vec<String>,
    /// The bytes of all frames.
    pub pixels: Vec<u8>,
    /// The time that half of them took less than, in milliseconds.
    pub median_ms: f64,
}

/// The program at work in the guest.
#[derive(Debug)]
pub struct Scene<'vm> {
    app: App<'vm>,
    name: &'static str,
    share: &'vm Path,
}

impl<'vm> Scene<'vm> {
    /// Starts to draw so many frames; `name` tells it from others of the same time.
    pub fn start(vm: &'vm Vm, name: &'static str, frames: usize) -> Result<Self, Failure> {
        let share = vm.share();
        forget(share, name)?;
        let arguments = arguments(Path::new("/share"), name, frames);
        let app = App::venus(vm, "vk-scene", &arguments)?;
        Ok(Self { app, name, share })
    }

    /// The program.
    pub fn app(&self) -> &App<'vm> {
        &self.app
    }

    /// Waits for the last frame, and fails unless all are as they should be.
    pub fn is_right(&self, lab: &Lab) -> Result<Frames, Failure> {
        self.app.succeeds()?;
        let frames = read(self.share, self.name)?;
        compare(&frames, &reference(lab, self.share, &frames)?)?;
        Ok(frames)
    }
}

/// Draws the same frames on the same driver, in the lab rather than in a guest.
fn reference(lab: &Lab, folder: &Path, like: &Frames) -> Result<Frames, Failure> {
    let name = "reference";
    forget(folder, name)?;
    let output = lab
        .command(program("vk-scene"))
        .args(arguments(folder, name, like.hashes.len()).split(' '))
        .args(["--device", host_device(&like.device)?])
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::io("draw in the lab"))?;
    expect(output.status.success(), || {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("vk-scene does not draw in the lab: {}", last_lines(&said))
    })?;
    read(folder, name)
}

/// Fails unless two runs agree in every pixel.
fn compare(found: &Frames, expected: &Frames) -> Result<(), Failure> {
    expect(found.hashes.len() == expected.hashes.len(), || {
        format!(
            "{} frames were drawn, not {}",
            found.hashes.len(),
            expected.hashes.len()
        )
    })?;
    let different: Vec<usize> = (0..found.hashes.len())
        .filter(|frame| found.hashes[*frame] != expected.hashes[*frame])
        .collect();
    expect(
        different.is_empty() && found.pixels == expected.pixels,
        || {
            let bytes = found.pixels.iter().zip(&expected.pixels);
            let count = bytes.filter(|(found, expected)| found != expected).count();
            format!(
                "frames {different:?} on {} differ from those on {}, in {count} bytes",
                found.device, expected.device
            )
        },
    )
}

fn arguments(folder: &Path, name: &str, frames: usize) -> String {
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    format!(
        "--width {WIDTH} --height {HEIGHT} --frames {frames} --json {} --raw {}",
        file("json").display(),
        file("raw").display()
    )
}

/// The program appends to the frames it finds.
fn forget(folder: &Path, name: &str) -> Result<(), Failure> {
    for extension in ["json", "raw"] {
        let path = folder.join(name).with_extension(extension);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::io(format!("remove {}", path.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read(folder: &Path, name: &str) -> Result<Frames, Failure> {
    let bytes = |extension: &str| {
        let path = folder.join(name).with_extension(extension);
        fs::read(&path).map_err(Failure::io(format!("read {}", path.display())))
    };
    let report: Value = serde_json::from_slice(&bytes("json")?)
        .map_err(|error| Failure::Wrong(format!("the report of vk-scene is no JSON: {error}")))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let frames = report["frames"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(Frames {
        device: text(&report["device"]["name"]),
        hashes: frames.iter().map(|frame| text(&frame["hash"])).collect(),
        pixels: bytes("raw")?,
        median_ms: report["time_us"]["median"].as_f64().unwrap_or_default() / 1000.0,
    })
}

/// Venus puts the name of the host's device in parentheses.
fn host_device(guest: &str) -> Result<&str, Failure> {
    guest
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .ok_or_else(|| Failure::Wrong(format!("{guest} is not a device of Venus")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(pixels: &[u8]) -> Frames {
        Frames {
            device: String::new(),
            hashes: vec!["a".to_owned(), "b".to_owned()],
            pixels: pixels.to_vec(),
            median_ms: 1.0,
        }
    }

    #[test]
    fn one_byte_is_a_difference_and_so_is_a_frame_too_few() {
        let expected = drawn(&[1, 2, 3]);
        assert!(compare(&drawn(&[1, 2, 3]), &expected).is_ok());
        assert!(compare(&drawn(&[1, 9, 3]), &expected).is_err());
        let mut short = drawn(&[1, 2, 3]);
        short.hashes.pop();
        assert!(compare(&short, &expected).is_err());
    }

    #[test]
    fn the_host_device_is_what_venus_puts_in_parentheses() {
        let name = "Virtio-GPU Venus (llvmpipe (LLVM 19.1.7, 256 bits))";
        assert_eq!(
            host_device(name).unwrap(),
            "llvmpipe (LLVM 19.1.7, 256 bits)"
        );
        assert!(host_device("llvmpipe").is_err());
    }
}
