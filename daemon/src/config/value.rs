//! Values of options, on the command line and in a file.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::ValueEnum;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use tracing::level_filters::LevelFilter;

use crate::size::{self, SizeError};

/// Sizes of the window, from QEMU's smallest BAR for it to the largest that was seen to work.
const WINDOW_SIZES: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// What to render with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RendererKind {
    /// Vulkan for unmodified guests, and the blob context
    Venus,
    /// The blob context alone: memory by property, for programs that ask coherd for it
    Blob,
    /// A framebuffer and nothing else
    #[value(name = "2d")]
    #[serde(rename = "2d")]
    TwoD,
}

/// Importance of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say all")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Bytes of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize(pub u64);

/// Why a size is not one of a window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowSizeError {
    /// Not a size at all.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A size that some VMM does not survive.
    #[error("must be a power of two from 1M to 1T")]
    Range,
}

impl FromStr for WindowSize {
    type Err = WindowSizeError;

    fn from_str(text: &str) -> Result<Self, WindowSizeError> {
        let size = size::parse(text)?;
        if size.is_power_of_two() && WINDOW_SIZES.contains(&size) {
            Ok(Self(size))
        } else {
            Err(WindowSizeError::Range)
        }
    }
}

/// What a file has as text, or as a number, and the command line as text.
pub struct Text<T>(pub T);

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr<Err: Display>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parse<T>(PhantomData<T>);

        impl<T> Visitor<'_> for Parse<T>
        where
            T: FromStr<Err: Display>,
        {
            type Value = Text<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text or a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                let value = text.parse();
                value
                    .map(Text)
                    .map_err(|error| E::custom(format_args!("\"{text}\": {error}")))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Text<T>, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(Parse(PhantomData))
    }
}

/// A value that is there.
pub fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    Text::deserialize(deserializer).map(|Text(value)| Some(value))
}

/// A list of values that is there.
pub fn texts<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let values = Vec::<Text<T>>::deserialize(deserializer)?;
    Ok(Some(values.into_iter().map(|Text(value)| value).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_size_must_be_a_power_of_two() {
        assert_eq!("1G".parse(), Ok(WindowSize(1 << 30)));
        for text in ["3G", "512K", "2T"] {
            assert_eq!(text.parse::<WindowSize>(), Err(WindowSizeError::Range));
        }
        assert_eq!(
            "x".parse::<WindowSize>(),
            Err(WindowSizeError::Size(SizeError::Syntax))
        );
    }
}
