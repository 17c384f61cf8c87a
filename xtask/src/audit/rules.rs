//! The rules about dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use spdx::{Expression, ParseMode};
use toml::{Table, Value};

use crate::graph::{Crate, Graph};

/// The one registry that crates may come from, as cargo names it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// `deny.toml` could not be read.
    #[error("cannot read deny.toml")]
    Read(#[from] io::Error),
    /// It is not TOML.
    #[error("deny.toml is not TOML")]
    Syntax(#[from] toml::de::Error),
}

/// Rules that this module understands, of `deny.toml` and of the root manifest.
#[derive(Debug, Default)]
pub struct Rules {
    licences: BTreeSet<String>,
    /// More licences of one crate.
    exceptions: Vec<(String, String)>,
    /// Crates that may be there in another version as well, `name@version` with as much of the
    /// version as counts, and the reason.
    skipped: BTreeMap<String, String>,
    purposes: BTreeMap<String, String>,
}

impl Rules {
    /// The rules of the checkout.
    ///
    /// # Errors
    /// See [`RulesError`].
    pub fn load(checkout: &Path, graph: &Graph) -> Result<Self, RulesError> {
        let deny: Table = fs::read_to_string(checkout.join("deny.toml"))?.parse()?;
        let mut rules = Self::of_deny(&deny);
        let purposes = graph.metadata["purposes"].as_object();
        for (name, purpose) in purposes.into_iter().flatten() {
            let purpose = purpose.as_str().unwrap_or_default();
            rules.purposes.insert(name.clone(), purpose.to_owned());
        }
        Ok(rules)
    }

    fn of_deny(deny: &Table) -> Self {
        let part = |name: &str| deny.get(name).and_then(Value::as_table);
        let list = |table: &Table, key: &str| {
            let list = table.get(key).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let text = |value: &Value, key: &str| {
            let text = value.get(key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let mut rules = Self::default();
        if let Some(licences) = part("licenses") {
            let allowed = list(licences, "allow");
            let names = allowed.iter().filter_map(Value::as_str);
            rules.licences = names.map(str::to_owned).collect();
            for exception in list(licences, "exceptions") {
                let allowed = exception.get("allow").and_then(Value::as_array);
                for licence in allowed.into_iter().flatten().filter_map(Value::as_str) {
                    let name = text(&exception, "crate");
                    rules.exceptions.push((name, licence.to_owned()));
                }
            }
        }
        for skip in part("bans")
            .map(|bans| list(bans, "skip"))
            .into_iter()
            .flatten()
        {
            rules
                .skipped
                .insert(text(&skip, "crate"), text(&skip, "reason"));
        }
        rules
    }

    /// What a crate that the workspace uses itself is for.
    #[must_use]
    pub fn purpose(&self, name: &str) -> Option<&str> {
        self.purposes.get(name).map(String::as_str)
    }

    /// Everything that breaks a rule, a line each.
    #[must_use]
    pub fn broken_by(&self, graph: &Graph) -> Vec<String> {
        let mut broken = Vec::new();
        for (id, found) in &graph.crates {
            let Crate { name, version, .. } = found;
            if !self.allows_licence(found) {
                let licence = found.licence.as_deref().unwrap_or("none");
                broken.push(format!("{name} {version} has the licence {licence}"));
            }
            if graph.members.contains(id) {
                let wild = found
                    .requirements
                    .iter()
                    .filter(|(_, wanted)| wanted == "*");
                broken.extend(wild.map(|(used, _)| format!("{name} takes any version of {used}")));
            } else if found.source.as_deref() != Some(REGISTRY) {
                let source = found.source.as_deref().unwrap_or("nowhere");
                broken.push(format!("{name} {version} comes from {source}"));
            }
        }
        broken.extend(self.repeated(graph));
        let direct = graph.direct();
        let purposeless = direct.iter().filter(|name| {
            let purpose = self.purpose(name).unwrap_or_default();
            purpose.is_empty()
        });
        broken.extend(purposeless.map(|name| {
            format!("{name} has no purpose: give it one in workspace.metadata.purposes")
        }));
        broken
    }

    fn allows_licence(&self, found: &Crate) -> bool {
        let Some(text) = &found.licence else {
            return false;
        };
        // Older manifests have a slash for OR.
        let Ok(licence) = Expression::parse_mode(text, ParseMode::LAX) else {
            return false;
        };
        licence.evaluate(|required| {
            let name = required.to_string();
            let exceptions = &self.exceptions;
            self.licences.contains(&name) || exceptions.contains(&(found.name.clone(), name))
        })
    }

    /// Crates in several versions of which more than one has no reason, and reasons for nothing.
    fn repeated(&self, graph: &Graph) -> Vec<String> {
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for found in graph.crates.values() {
            versions
                .entry(&found.name)
                .or_default()
                .insert(&found.version);
        }
        let mut broken = Vec::new();
        for (name, versions) in &versions {
            let unexplained = versions.iter().filter(|version| {
                let mut skips = self.skipped.iter();
                !skips.any(|(skip, reason)| covers(skip, name, version) && !reason.is_empty())
            });
            if versions.len() > 1 && unexplained.count() > 1 {
                let all: Vec<&str> = versions.iter().copied().collect();
                broken.push(format!("{name} is there as {}", all.join(" and ")));
            }
        }
        for skipped in self.skipped.keys() {
            let is_used = versions.iter().any(|(name, all)| {
                all.len() > 1 && all.iter().any(|version| covers(skipped, name, version))
            });
            if !is_used {
                broken.push(format!(
                    "deny.toml explains {skipped}, which is not there twice"
                ));
            }
        }
        broken
    }
}

/// Whether a skip is about this version.
fn covers(skip: &str, name: &str, version: &str) -> bool {
    let rest = skip
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('@'))
        .and_then(|wanted| version.strip_prefix(wanted));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::of_this_checkout;
    use std::path::PathBuf;

    fn found(name: &str, version: &str, licence: Option<&str>) -> Crate {
        Crate {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.map(str::to_owned),
            description: None,
            source: Some(REGISTRY.to_owned()),
            folder: PathBuf::new(),
            uses: Vec::new(),
            requirements: Vec::new(),
        }
    }

    fn graph(crates: Vec<Crate>) -> Graph {
        let ids = |found: Crate| (format!("{}@{}", found.name, found.version), found);
        Graph {
            crates: crates.into_iter().map(ids).collect(),
            members: BTreeSet::new(),
            metadata: serde_json::Value::Null,
        }
    }

    fn rules() -> Rules {
        let text = "[licenses]\nallow = ['MIT', 'ISC']\n\
                    exceptions = [{ allow = ['MPL-2.0'], crate = 'tool' }]\n\
                    [bans]\nskip = [{ crate = 'old@1', reason = 'someone wants it' }]";
        Rules::of_deny(&text.parse().unwrap())
    }

    #[test]
    fn this_checkout_breaks_no_rule() {
        let graph = of_this_checkout();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let rules = Rules::load(&root, &graph).unwrap();
        assert_eq!(rules.broken_by(&graph), Vec::<String>::new());
    }

    #[test]
    fn licence_has_to_be_allowed_in_every_part() {
        for (licence, allowed) in [
            (Some("MIT"), true),
            (Some("MIT/Apache-2.0"), true),
            (Some("GPL-3.0-only OR ISC"), true),
            (Some("MIT AND GPL-3.0-only"), false),
            (Some("MPL-2.0"), false),
            (None, false),
        ] {
            let broken = rules().broken_by(&graph(vec![
                found("old", "1.0.0", Some("MIT")),
                found("old", "2.0.0", Some("MIT")),
                found("a", "1.0.0", licence),
            ]));
            assert_eq!(broken.is_empty(), allowed, "{licence:?} {broken:?}");
        }
        assert!(rules().allows_licence(&found("tool", "1.0.0", Some("MPL-2.0"))));
    }

    #[test]
    fn version_that_is_there_twice_needs_a_reason() {
        let twice = |name: &str| {
            let one = |version| found(name, version, Some("MIT"));
            graph(vec![one("1.0.0"), one("2.0.0")])
        };
        assert!(rules().repeated(&twice("old")).is_empty());
        let broken = rules().repeated(&twice("new"));
        assert_eq!(
            broken,
            [
                "new is there as 1.0.0 and 2.0.0",
                "deny.toml explains old@1, which is not there twice"
            ]
        );
    }

    #[test]
    fn crate_from_elsewhere_is_not_allowed() {
        let mut elsewhere = found("a", "1.0.0", Some("MIT"));
        elsewhere.source = Some("git+https://example.org/a".to_owned());
        let broken = rules().broken_by(&graph(vec![elsewhere]));
        assert!(broken[0].contains("comes from git"), "{broken:?}");
    }
}
