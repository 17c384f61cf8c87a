//! The memory of one server, moved to another by a program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Fake, Recipe, Rules};

/// Where cargo puts libraries and tests.
pub fn deps() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned()
}

/// Runs a program that has to succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A server whose blobs have these sizes.
pub fn server(sizes: &[u64]) -> (Fake, Vec<u64>) {
    let fake = Fake::new(Rules::default());
    let ids = sizes.iter().map(|size| {
        fake.create(Recipe {
            size: *size,
            ..Recipe::default()
        })
    });
    let ids = ids.collect();
    (fake, ids)
}

/// Has `migrate`, which is given direction, socket and file, move the memory of one server to
/// another.
pub fn moves_memory(migrate: impl Fn(&str, &Path, &Path)) {
    let sizes = [4096, 3 * 4096, 65536 + 4096, 1 << 20];
    let (from, source) = server(&sizes);
    from.create(Recipe {
        openable: false,
        ..Recipe::default()
    });
    let (to, target) = server(&sizes);
    for (id, size) in target.iter().zip(sizes) {
        to.gpu_writes(*id, &vec![0; usize::try_from(size).unwrap()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory");

    migrate("save", &from.path(), &file);
    migrate("load", &to.path(), &file);

    for (source, target) in source.iter().zip(&target) {
        assert!(from.gpu(*source) == to.gpu(*target), "blob {source}");
    }
    from.wait_until("the first is done", |state| state.opened.is_empty());
    to.wait_until("the second is done", |state| state.opened.is_empty());
    assert_eq!(from.open_brackets() + to.open_brackets(), 0);
}
