//! The coherence daemon.
fn main() {}
