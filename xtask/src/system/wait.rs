//! Waiting for what has no event: files and process tables that others change.

use std::thread;
use std::time::{Duration, Instant};

use super::failure::Failure;

const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` finds something; until then it says how things stand.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, Failure>,
) -> Result<T, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        match look()? {
            Ok(found) => return Ok(found),
            Err(state) if Instant::now() >= deadline => {
                return Err(Failure::Never {
                    what: what.to_owned(),
                    waited: limit,
                    state,
                });
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vain_wait_tells_how_things_stood() {
        let mut looks = 0;
        let found = until("three", Duration::from_secs(60), || {
            looks += 1;
            Ok((looks == 3).then_some(looks).ok_or(String::new()))
        });
        assert_eq!(found.unwrap(), 3);
        let vain = until("rain", Duration::ZERO, || {
            Ok(Err::<(), _>("it was dry".to_owned()))
        });
        assert!(vain.unwrap_err().to_string().ends_with("it was dry"));
    }
}
