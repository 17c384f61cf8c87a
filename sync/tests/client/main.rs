//! The library against a server whose memory is not coherent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod connect;
mod hostile;
mod listing;
#[path = "../support/mod.rs"]
mod support;
mod watching;

use coherd_sync::{Access, Blob, Capabilities, Connection, Mapping, Options};
use support::{Fake, Recipe, Rules};

/// Reading and writing.
const BOTH: Access = Access::all();

/// Options of a peer that may do everything.
fn everything() -> Options {
    Options {
        name: "test".to_owned(),
        capabilities: Capabilities::all(),
        ..Options::default()
    }
}

/// A server with one blob, and a peer that may do everything.
fn one_blob(recipe: Recipe) -> (Fake, Connection, u64) {
    let fake = Fake::new(Rules::default());
    let blob = fake.create(recipe);
    let connection = Connection::connect(fake.path(), &everything()).unwrap();
    (fake, connection, blob)
}

/// As [`one_blob`], opened and mapped.
fn mapped(recipe: Recipe) -> (Fake, Blob, Mapping) {
    let (fake, connection, id) = one_blob(recipe);
    let blob = connection.open(id, BOTH).unwrap();
    let mapping = blob.map().unwrap();
    (fake, blob, mapping)
}
