//! The bill of materials, CycloneDX 1.5 as JSON.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::graph::{Crate, Graph, Kind};

/// What is in the released programs, and what depends on what.
pub fn bill(graph: &Graph) -> Value {
    let released = graph.released();
    let (own, others): (Vec<&str>, Vec<&str>) =
        released.iter().partition(|id| graph.members.contains(**id));
    let components: Vec<Value> = others
        .iter()
        .chain(&own)
        .map(|id| component(&graph.crates[*id], "library"))
        .filter(|component| component["name"] != "coherd")
        .collect();
    let dependencies: Vec<Value> = released
        .iter()
        .map(|id| dependencies(graph, id, &released))
        .collect();
    let subject = own
        .iter()
        .map(|id| &graph.crates[*id])
        .find(|found| found.name == "coherd")
        .map(|found| component(found, "application"));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": subject },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(found: &Crate, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(found),
        "name": found.name,
        "version": found.version,
        "purl": reference(found),
        "scope": "required",
    });
    if let Some(description) = &found.description {
        component["description"] = json!(description.trim());
    }
    if let Some(licence) = &found.licence {
        // Older manifests have a slash for OR.
        component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    component
}

fn dependencies(graph: &Graph, id: &str, released: &BTreeSet<&str>) -> Value {
    let found = &graph.crates[id];
    let uses = found
        .uses
        .iter()
        .filter(|(used, kinds)| kinds.contains(&Kind::Normal) && released.contains(used.as_str()));
    let uses: Vec<String> = uses
        .map(|(used, _)| reference(&graph.crates[used]))
        .collect();
    json!({ "ref": reference(found), "dependsOn": uses })
}

/// The package URL, where `+` has to be written otherwise.
fn reference(found: &Crate) -> String {
    format!(
        "pkg:cargo/{}@{}",
        found.name,
        found.version.replace('+', "%2B")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::of_this_checkout;

    #[test]
    fn bill_has_every_crate_once_and_refers_to_no_other() {
        let graph = of_this_checkout();
        let bill = bill(&graph);
        let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
        let subject = &bill["metadata"]["component"];
        assert_eq!(text(subject, "name"), "coherd");
        let mut known: Vec<String> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|component| text(component, "bom-ref"))
            .collect();
        known.push(text(subject, "bom-ref"));
        let all: BTreeSet<String> = known.iter().cloned().collect();
        assert_eq!(known.len(), all.len());
        assert_eq!(all.len(), graph.released().len());
        let dependencies = bill["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), all.len());
        for dependency in dependencies {
            for used in dependency["dependsOn"].as_array().unwrap() {
                assert!(all.contains(used.as_str().unwrap()), "{used}");
            }
        }
    }
}
