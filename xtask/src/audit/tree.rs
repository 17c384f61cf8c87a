//! The tree of the released programs, for people.

use std::collections::BTreeSet;
use std::fmt;

use super::Rules;
use crate::graph::{Graph, Kind};

/// Shows each crate once with its licence, and what those are for that the workspace uses itself.
#[derive(Debug)]
pub struct Tree<'a> {
    graph: &'a Graph,
    rules: &'a Rules,
    released: BTreeSet<&'a str>,
}

impl<'a> Tree<'a> {
    /// The tree of `graph`.
    #[must_use]
    pub fn new(graph: &'a Graph, rules: &'a Rules) -> Self {
        Self {
            graph,
            rules,
            released: graph.released(),
        }
    }

    fn show(
        &self,
        f: &mut fmt::Formatter<'_>,
        id: &'a str,
        depth: usize,
        shown: &mut BTreeSet<&'a str>,
    ) -> fmt::Result {
        let found = &self.graph.crates[id];
        let indent = "  ".repeat(depth);
        if !shown.insert(id) {
            return writeln!(f, "{indent}{} {} (above)", found.name, found.version);
        }
        let licence = found.licence.as_deref().unwrap_or("no licence");
        write!(f, "{indent}{} {} [{licence}]", found.name, found.version)?;
        match self.rules.purpose(&found.name) {
            Some(purpose) => writeln!(f, ": {purpose}")?,
            None => writeln!(f)?,
        }
        for (used, kinds) in &found.uses {
            if kinds.contains(&Kind::Normal) && self.released.contains(used.as_str()) {
                self.show(f, used, depth + 1, shown)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = BTreeSet::new();
        for id in &self.graph.members {
            if self.released.contains(id.as_str()) && !shown.contains(id.as_str()) {
                self.show(f, id, 0, &mut shown)?;
            }
        }
        let others = self.released.len() - shown.intersection(&self.members()).count();
        writeln!(f, "{others} crates from elsewhere in the released programs")?;
        writeln!(f, "\nIn builds and tests only:")?;
        for name in self.graph.direct() {
            let is_released = self
                .released
                .iter()
                .any(|id| self.graph.crates[*id].name == name);
            if !is_released {
                let purpose = self.rules.purpose(name).unwrap_or("no purpose");
                writeln!(f, "  {name}: {purpose}")?;
            }
        }
        Ok(())
    }
}

impl<'a> Tree<'a> {
    fn members(&self) -> BTreeSet<&'a str> {
        self.graph.members.iter().map(String::as_str).collect()
    }
}
