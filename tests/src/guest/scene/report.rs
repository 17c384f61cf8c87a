//! What a run of the scene measured.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guest::{DeviceDescription, MemoryTypeDescription};

/// One frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameRecord {
    /// Number in the animation.
    pub frame: u32,
    /// From writing the uniforms to having read the pixels.
    pub time: Duration,
    /// FNV-1a of the pixels.
    pub hash: u64,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What drew.
    pub device: DeviceDescription,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// The frames in the order they were drawn.
    pub frames: Vec<FrameRecord>,
}

/// Times of a run in microseconds.
struct Times {
    min: u64,
    median: u64,
    mean: u64,
}

impl Report {
    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let times = self.times();
        json!({
            "device": self.device.to_json(),
            "width": self.width,
            "height": self.height,
            "frames": self.frames.iter().map(|record| json!({
                "frame": record.frame,
                "time_us": micros(record.time),
                "hash": format!("{:016x}", record.hash),
            })).collect::<Vec<_>>(),
            "time_us": { "min": times.min, "median": times.median, "mean": times.mean },
        })
    }

    fn times(&self) -> Times {
        let mut sorted: Vec<u64> = self
            .frames
            .iter()
            .map(|record| micros(record.time))
            .collect();
        sorted.sort_unstable();
        let count = u64::try_from(sorted.len()).unwrap_or(u64::MAX).max(1);
        Times {
            min: sorted.first().copied().unwrap_or(0),
            median: sorted.get(sorted.len() / 2).copied().unwrap_or(0),
            mean: sorted.iter().sum::<u64>() / count,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.device;
        writeln!(f, "device: {} ({})", device.name, device.device_type)?;
        writeln!(f, "driver: {} {}", device.driver_name, device.driver_info)?;
        writeln!(f, "api: {}", device.api_version)?;
        for memory_type in &device.memory_types {
            let MemoryTypeDescription {
                index,
                heap,
                properties,
            } = memory_type;
            writeln!(
                f,
                "memory type {index}: heap {heap}, {}",
                properties.join(" ")
            )?;
        }
        for record in &self.frames {
            let micros = micros(record.time);
            writeln!(
                f,
                "frame {:03}: {micros:>8} us, {:016x}",
                record.frame, record.hash
            )?;
        }
        let Times { min, median, mean } = self.times();
        writeln!(
            f,
            "{} frames of {}x{}: {min} us at best, {median} us median, {mean} us mean",
            self.frames.len(),
            self.width,
            self.height
        )
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(times: &[u64]) -> Report {
        let device = DeviceDescription {
            name: "test".to_owned(),
            device_type: "CPU".to_owned(),
            api_version: "1.1.0".to_owned(),
            driver_name: String::new(),
            driver_info: String::new(),
            memory_types: Vec::new(),
        };
        let frames = (0..)
            .zip(times)
            .map(|(frame, time)| FrameRecord {
                frame,
                time: Duration::from_micros(*time),
                hash: 0xab,
            })
            .collect();
        Report {
            device,
            width: 4,
            height: 2,
            frames,
        }
    }

    #[test]
    fn to_json_has_times_and_hashes() {
        let json = report(&[30, 10, 20, 100]).to_json();
        assert_eq!(
            json["time_us"],
            json!({ "min": 10, "median": 30, "mean": 40 })
        );
        assert_eq!(json["frames"][1]["time_us"], 10);
        assert_eq!(json["frames"][0]["hash"], "00000000000000ab");
    }

    #[test]
    fn to_json_without_frames_has_zero_times() {
        let json = report(&[]).to_json();
        assert_eq!(json["time_us"]["median"], 0);
    }
}
