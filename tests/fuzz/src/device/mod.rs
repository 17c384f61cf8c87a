//! The whole device behind real virtqueues: `queue`, `vhost_user::rings`, `worker`, `device` and
//! `window`, with a renderer made of memfds.
//!
//! An input is a guest ([`coherd_tests::hostile`]) and what a VMM and a GPU do meanwhile: pause,
//! reset, change of the memory table, completion of work, loss of contexts, also in the middle of
//! a command (`outside`).

mod machine;
mod outside;
mod renderer;

use arbitrary::Unstructured;

use self::machine::Machine;

/// Steps of one input, so that none takes seconds.
const STEPS: usize = 400;

/// See the module's description.
pub fn run(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok(mut machine) = Machine::new(&mut u) else {
        return;
    };
    for _ in 0..STEPS {
        if u.is_empty() || machine.step(&mut u).is_err() {
            break;
        }
    }
    machine.finish();
}
