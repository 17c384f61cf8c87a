//! The cases, one module per subject.

mod backing;
mod blob;
mod capset;
mod config;
mod context;
mod create_2d;
mod cursor;
mod display;
mod features;
mod fence;
mod flush;
mod map;
mod map_misuse;
mod queue;
mod queue_misuse;
mod request;
mod reset;
mod scanout;
mod scanout_blob;
mod short;
mod stop;
mod submit;
mod three_d;
mod transfer;
mod unref;
mod uuid;

use super::case::{Case, Group};

/// Every case, in the order in which they are run.
pub fn all() -> Vec<Case> {
    [
        config::group(),
        features::group(),
        display::info(),
        display::edid(),
        create_2d::group(),
        backing::group(),
        transfer::group(),
        scanout::group(),
        flush::group(),
        cursor::group(),
        capset::group(),
        uuid::group(),
        context::group(),
        submit::group(),
        three_d::group(),
        blob::group(),
        scanout_blob::group(),
        map::group(),
        map_misuse::group(),
        unref::group(),
        fence::group(),
        request::group(),
        queue::group(),
        queue_misuse::group(),
        reset::group(),
        stop::group(),
    ]
    .into_iter()
    .flat_map(Group::into_cases)
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_groups_stay_together() {
        let cases = all();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());

        let mut groups: Vec<&str> = cases.iter().map(Case::group).collect();
        groups.dedup();
        let distinct: BTreeSet<&str> = groups.iter().copied().collect();
        assert_eq!(groups.len(), distinct.len());
    }
}
