//! Tests that need what not every machine has: skipped with a line that says so, or failed where
//! it must be there.

use std::env;

use thiserror::Error;

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Exporters of dma-bufs.
    DmaBuf,
    /// A Vulkan device.
    Vulkan,
}

impl Need {
    /// The environment variable that turns the want of it from a skipped test into a failed one.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::DmaBuf => "COHERD_REQUIRE_DMA_BUF",
            Self::Vulkan => "COHERD_REQUIRE_VULKAN",
        }
    }

    /// Says that a test is skipped for want of `what`.
    ///
    /// # Errors
    /// [`Missing`] where it must not be.
    pub fn skip(self, what: impl Into<String>) -> Result<(), Missing> {
        let (what, variable) = (what.into(), self.variable());
        if env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            return Err(Missing { what, variable });
        }
        println!("SKIPPED: no {what}");
        Ok(())
    }
}

/// Something is not there and has to be.
#[derive(Debug, Error)]
#[error("no {what}, which {variable} demands; see to it, or unset the variable")]
pub struct Missing {
    /// What is not there.
    what: String,
    /// What demands it.
    variable: &'static str,
}
