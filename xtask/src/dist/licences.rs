//! The licences of everything that is in the packages.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{DistError, io};
use crate::graph::{Crate, Graph};

/// Beginnings of the names of files that have a licence's text.
const NAMES: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "NOTICE"];

/// coherd's own, as Debian wants it.
pub fn own(checkout: &Path) -> Result<String, DistError> {
    let read = |name: &str| {
        let path = checkout.join(name);
        fs::read_to_string(&path).map_err(io(format!("read {}", path.display())))
    };
    Ok(format!(
        "coherd is licensed under the Apache License 2.0 or the BSD 3-Clause License, at your \
         choice.\nLicences of the crates in it: third-party-licences.txt beside this file.\n\n\
         {}\n\n{}",
        read("LICENSE-BSD-3-Clause")?,
        read("LICENSE-APACHE-2.0")?
    ))
}

/// Those of crates from elsewhere: one after the other, with the texts that come with each.
pub fn third_party(graph: &Graph) -> Result<String, DistError> {
    let mut all = "Crates in coherd's programs, and their licences.\n".to_owned();
    for id in graph.released() {
        if !graph.members.contains(id) {
            append(&mut all, &graph.crates[id])?;
        }
    }
    Ok(all)
}

fn append(all: &mut String, found: &Crate) -> Result<(), DistError> {
    let licence = found.licence.as_deref().unwrap_or("see the text");
    let _ = writeln!(
        all,
        "\n{}\n{} {}: {licence}",
        "=".repeat(78),
        found.name,
        found.version
    );
    let entries = fs::read_dir(&found.folder);
    let entries = entries.map_err(io(format!("list {}", found.folder.display())))?;
    let mut texts: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && is_licence(path))
        .collect();
    texts.sort();
    for path in texts {
        let bytes = fs::read(&path).map_err(io(format!("read {}", path.display())))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = String::from_utf8_lossy(&bytes);
        let _ = writeln!(all, "\n--- {name}\n{}", text.trim_end());
    }
    Ok(())
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_uppercase();
    NAMES.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::of_this_checkout;

    #[test]
    fn every_crate_in_the_programs_is_listed_with_its_licence() {
        let graph = of_this_checkout();
        let text = third_party(&graph).unwrap();
        for id in graph.released() {
            let found = &graph.crates[id];
            let line = format!("\n{} {}: ", found.name, found.version);
            assert_eq!(text.contains(&line), found.source.is_some(), "{line}");
        }
        assert!(text.contains("Permission is hereby granted"));
    }
}
