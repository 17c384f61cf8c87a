//! What the released programs are made of, what for, and whether that is allowed.
//!
//! The rules are those of `deny.toml`, as cargo-deny reads it, and of `workspace.metadata.purposes`
//! in the root manifest. They are checked here on every machine; cargo-deny checks those that are
//! its own once more where it can be had. Advisories need its database.

mod cargo_deny;
mod rules;
mod tree;

use std::io;
use std::path::Path;

pub use self::cargo_deny::check as cargo_deny;
pub use self::rules::{Rules, RulesError};
use crate::graph::{Graph, GraphError};

/// Why nothing could be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no graph.
    #[error("cannot find out what depends on what")]
    Graph(#[from] GraphError),
    /// There are no rules.
    #[error("cannot read the rules")]
    Rules(#[from] RulesError),
    /// cargo-deny could not be started.
    #[error("cannot start cargo-deny")]
    Run(#[source] io::Error),
}

/// Prints the tree and what breaks the rules; `true` if nothing does.
///
/// # Errors
/// See [`AuditError`].
pub fn run(checkout: &Path) -> Result<bool, AuditError> {
    let graph = Graph::load(checkout)?;
    let rules = Rules::load(checkout, &graph)?;
    print!("{}", tree::Tree::new(&graph, &rules));
    let broken = rules.broken_by(&graph);
    for line in &broken {
        println!("NOT ALLOWED: {line}");
    }
    Ok(broken.is_empty())
}
