//! The crates of this workspace and what they depend on, as cargo resolved them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates whose programs and libraries are released in packages for hosts.
pub const RELEASED: [&str; 2] = ["coherd", "coherd-layer"];

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Cargo could not be started.
    #[error("cannot start cargo metadata")]
    Start(#[source] io::Error),
    /// It failed.
    #[error("cargo metadata failed: {0}")]
    Cargo(String),
    /// Its output is not what it was.
    #[error("cargo metadata says something else than it did: no {0}")]
    Format(&'static str),
}

/// How a crate uses another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// In what is built.
    Normal,
    /// While it is built.
    Build,
    /// In its tests.
    Dev,
}

/// One version of a crate.
#[derive(Clone, Debug)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, an SPDX expression as a rule.
    pub licence: Option<String>,
    /// One line about it.
    pub description: Option<String>,
    /// Where it comes from; `None` for this workspace.
    pub source: Option<String>,
    /// The folder of its source.
    pub folder: PathBuf,
    /// Ids of what it uses, and how.
    pub uses: Vec<(String, BTreeSet<Kind>)>,
    /// Versions that it asks for, as they are written in its manifest.
    pub requirements: Vec<(String, String)>,
}

/// The crates by cargo's ids.
#[derive(Debug)]
pub struct Graph {
    /// Every crate.
    pub crates: BTreeMap<String, Crate>,
    /// Ids of those of this workspace.
    pub members: BTreeSet<String>,
    /// `workspace.metadata` of the root manifest.
    pub metadata: Value,
}

impl Graph {
    /// Asks cargo about the checkout, with every feature that is released.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub fn load(checkout: &Path) -> Result<Self, GraphError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--locked"])
            .args(["--filter-platform=x86_64-unknown-linux-gnu"])
            .args(["--features=coherd/venus"])
            .current_dir(checkout)
            .output()
            .map_err(GraphError::Start)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(GraphError::Cargo(text.trim().replace('\n', "; ")));
        }
        let value: Value =
            serde_json::from_slice(&output.stdout).map_err(|_| GraphError::Format("JSON"))?;
        Self::parse(&value)
    }

    fn parse(value: &Value) -> Result<Self, GraphError> {
        let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
        for package in array(value, "packages")? {
            crates.insert(text(package, "id")?, parse_crate(package)?);
        }
        for node in array(&value["resolve"], "nodes")? {
            let mut uses = Vec::new();
            for used in array(node, "deps")? {
                let kinds =
                    array(used, "dep_kinds")?
                        .iter()
                        .map(|kind| match kind["kind"].as_str() {
                            Some("dev") => Kind::Dev,
                            Some("build") => Kind::Build,
                            _ => Kind::Normal,
                        });
                uses.push((text(used, "pkg")?, kinds.collect()));
            }
            if let Some(found) = crates.get_mut(&text(node, "id")?) {
                found.uses = uses;
            }
        }
        let members = array(value, "workspace_members")?.iter();
        Ok(Self {
            crates,
            members: members
                .filter_map(|id| id.as_str().map(str::to_owned))
                .collect(),
            metadata: value["metadata"].clone(),
        })
    }

    /// Ids of everything that is in released programs, the workspace's own crates included.
    #[must_use]
    pub fn released(&self) -> BTreeSet<&str> {
        let roots = self
            .members
            .iter()
            .filter(|id| RELEASED.contains(&self.crates[*id].name.as_str()));
        let mut found = BTreeSet::new();
        let mut left: Vec<&str> = roots.map(String::as_str).collect();
        while let Some(id) = left.pop() {
            if found.insert(id) {
                let uses = self.crates[id].uses.iter();
                let normal = uses.filter(|(_, kinds)| kinds.contains(&Kind::Normal));
                left.extend(normal.map(|(id, _)| id.as_str()));
            }
        }
        found
    }

    /// Names of crates from elsewhere that the workspace's crates use themselves.
    #[must_use]
    pub fn direct(&self) -> BTreeSet<&str> {
        let members = self.members.iter().map(|id| &self.crates[id]);
        let used = members.flat_map(|member| &member.uses);
        used.filter(|(id, _)| !self.members.contains(id))
            .map(|(id, _)| self.crates[id].name.as_str())
            .collect()
    }
}

fn parse_crate(package: &Value) -> Result<Crate, GraphError> {
    let optional = |key: &str| package[key].as_str().map(str::to_owned);
    let requirements = array(package, "dependencies")?
        .iter()
        // A path says which version it is.
        .filter(|dependency| dependency["path"].is_null())
        .map(|dependency| Ok((text(dependency, "name")?, text(dependency, "req")?)));
    let manifest = PathBuf::from(text(package, "manifest_path")?);
    Ok(Crate {
        name: text(package, "name")?,
        version: text(package, "version")?,
        licence: optional("license"),
        description: optional("description"),
        source: optional("source"),
        folder: manifest.parent().map(Path::to_owned).unwrap_or_default(),
        uses: Vec::new(),
        requirements: requirements.collect::<Result<_, _>>()?,
    })
}

fn array<'a>(value: &'a Value, key: &'static str) -> Result<&'a Vec<Value>, GraphError> {
    value[key].as_array().ok_or(GraphError::Format(key))
}

fn text(value: &Value, key: &'static str) -> Result<String, GraphError> {
    let text = value[key].as_str().ok_or(GraphError::Format(key))?;
    Ok(text.to_owned())
}

/// The graph of this checkout, for tests.
///
/// # Panics
/// Without cargo.
#[cfg(test)]
pub fn of_this_checkout() -> Graph {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Graph::load(&root).unwrap()
}
