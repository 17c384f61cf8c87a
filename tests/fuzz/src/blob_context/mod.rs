//! The blob context: streams of commands, right and wrong, to contexts on a GPU made of files.
//!
//! An input is what guests submit and what a device does with their contexts and resources. The
//! GPU does everything at once, and now and then fails.

mod device;
mod stream;

use arbitrary::Unstructured;

use self::device::Device;

/// Steps of one input, so that none takes seconds.
const STEPS: usize = 200;

/// See the module's description.
pub fn run(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let mut device = Device::new();
    for _ in 0..STEPS {
        if u.is_empty() || device.step(&mut u).is_err() {
            break;
        }
    }
    device.finish();
}
