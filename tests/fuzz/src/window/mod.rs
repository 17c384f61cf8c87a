//! The window: `coherd-blob`'s table against a list, and the daemon's rules against a VMM.

mod host;
mod table;

use arbitrary::Unstructured;

/// See the module's description.
pub fn run(input: &[u8]) {
    let mut u = Unstructured::new(input);
    // An input that ends early has been used up.
    let _ = match u.arbitrary() {
        Ok(true) => host::run(&mut u),
        _ => table::run(&mut u),
    };
}
