//! What the released programs are made of, what for, and whether that is allowed.
//!
//! The rules are those of `deny.toml`, as cargo-deny reads it, and of `workspace.metadata.purposes`
//! in the root manifest. They are checked here, because a build of cargo-deny takes longer than all
//! that it would check; where it is installed, `cargo deny check bans licenses sources` says the
//! same. Advisories need its database.

mod rules;
mod tree;

use std::path::Path;

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
