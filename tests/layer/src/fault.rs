//! Faults on request: one call, counted from now, fails without reaching the driver.

use core::ffi::CStr;
use std::ffi::CString;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ash::vk;

/// `N:RESULT` or `N:RESULT:COMMAND`, armed when the library is loaded.
const FAULT_VARIABLE: &str = "COHERD_LAYER_FAULT";

/// A fault that is due.
#[derive(Debug)]
struct Armed {
    /// Which call is to fail: 1 is the next.
    nth: u64,
    result: vk::Result,
}

/// What is armed, and what came of it.
#[derive(Debug, Default)]
struct Faults {
    armed: Option<Armed>,
    /// The one command that counts, if not every fallible one does.
    only: Option<CString>,
    calls: u64,
    fired: Option<&'static CStr>,
}

impl Faults {
    fn arm(nth: u64, result: vk::Result, only: Option<CString>) -> Self {
        Self {
            armed: (nth > 0).then_some(Armed { nth, result }),
            only,
            calls: 0,
            fired: None,
        }
    }

    /// Reads the value of [`FAULT_VARIABLE`].
    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.splitn(3, ':');
        let nth = parts.next()?.parse().ok()?;
        let result = parse_result(parts.next()?)?;
        let only = match parts.next() {
            Some(command) => Some(CString::new(command).ok()?),
            None => None,
        };
        Some(Self::arm(nth, result, only))
    }

    fn admit(&mut self, command: &'static CStr) -> Result<(), vk::Result> {
        if self.only.as_deref().is_some_and(|only| only != command) {
            return Ok(());
        }
        self.calls += 1;
        match &self.armed {
            Some(armed) if armed.nth == self.calls => {
                self.fired = Some(command);
                Err(armed.result)
            }
            _ => Ok(()),
        }
    }
}

/// A result by its number, or by the name of a frequent error without `VK_ERROR_`.
fn parse_result(text: &str) -> Option<vk::Result> {
    if let Ok(number) = text.parse() {
        return Some(vk::Result::from_raw(number));
    }
    Some(match text.strip_prefix("VK_ERROR_").unwrap_or(text) {
        "OUT_OF_HOST_MEMORY" => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
        "OUT_OF_DEVICE_MEMORY" => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
        "INITIALIZATION_FAILED" => vk::Result::ERROR_INITIALIZATION_FAILED,
        "DEVICE_LOST" => vk::Result::ERROR_DEVICE_LOST,
        "MEMORY_MAP_FAILED" => vk::Result::ERROR_MEMORY_MAP_FAILED,
        "TOO_MANY_OBJECTS" => vk::Result::ERROR_TOO_MANY_OBJECTS,
        _ => return None,
    })
}

static FAULTS: LazyLock<Mutex<Faults>> = LazyLock::new(|| Mutex::new(from_environment()));

fn from_environment() -> Faults {
    let Ok(value) = std::env::var(FAULT_VARIABLE) else {
        return Faults::default();
    };
    Faults::parse(&value).unwrap_or_else(|| {
        eprintln!("coherd test layer: {FAULT_VARIABLE}={value} is not N:RESULT[:COMMAND]; no fault is armed");
        Faults::default()
    })
}

fn faults() -> MutexGuard<'static, Faults> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a call of a fallible command, and fails it if it is the one.
pub fn admit(command: &'static CStr) -> Result<(), vk::Result> {
    faults().admit(command)
}

/// Makes the `nth` call from now fail with `result`; 0 for none. Counts calls of one command if
/// `only` names it.
pub fn arm(nth: u64, result: vk::Result, only: Option<CString>) {
    *faults() = Faults::arm(nth, result, only);
}

/// The calls counted since the last [`arm`].
pub fn calls() -> u64 {
    faults().calls
}

/// The command that was made to fail since the last [`arm`].
pub fn fired() -> Option<&'static CStr> {
    faults().fired
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: vk::Result = vk::Result::ERROR_DEVICE_LOST;

    #[test]
    fn fails_the_nth_call_once() {
        let mut faults = Faults::arm(2, LOST, None);
        assert_eq!(faults.admit(c"vkA"), Ok(()));
        assert_eq!(faults.fired, None);
        assert_eq!(faults.admit(c"vkB"), Err(LOST));
        assert_eq!(faults.admit(c"vkC"), Ok(()));
        assert_eq!((faults.calls, faults.fired), (3, Some(c"vkB")));
    }

    #[test]
    fn counts_without_a_fault() {
        let mut faults = Faults::arm(0, LOST, None);
        assert_eq!(faults.admit(c"vkA"), Ok(()));
        assert_eq!(faults.admit(c"vkA"), Ok(()));
        assert_eq!((faults.calls, faults.fired), (2, None));
    }

    #[test]
    fn counts_one_command_alone() {
        let mut faults = Faults::arm(2, LOST, Some(c"vkB".to_owned()));
        assert_eq!(faults.admit(c"vkB"), Ok(()));
        assert_eq!(faults.admit(c"vkA"), Ok(()));
        assert_eq!(faults.admit(c"vkB"), Err(LOST));
        assert_eq!(faults.calls, 2);
    }

    #[test]
    fn reads_the_environment() {
        let faults = Faults::parse("3:DEVICE_LOST").unwrap();
        let armed = faults.armed.unwrap();
        assert_eq!((armed.nth, armed.result, faults.only), (3, LOST, None));
        let faults = Faults::parse("1:-2:vkQueueSubmit").unwrap();
        assert_eq!(
            faults.armed.unwrap().result,
            vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
        );
        assert_eq!(faults.only.as_deref(), Some(c"vkQueueSubmit"));
        for wrong in ["", "3", "x:DEVICE_LOST", "3:NOTHING", "-1:DEVICE_LOST"] {
            assert!(Faults::parse(wrong).is_none(), "{wrong}");
        }
    }
}
