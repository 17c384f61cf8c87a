//! coherd of a user who is not root.

use std::fs;

use super::failure::{Failure, expect};
use super::report::Verdict;
use super::rig::Rig;
use super::scene::Scene;

const FRAMES: usize = 3;

/// The guest's programs draw, and everything that works for it is confined and the user's own.
pub fn draws_confined(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let scene = Scene::start(&rig.vm, "ordinary", FRAMES)?;
    let worker = rig.new_worker(&[])?;
    let all = [rig.coherd.pid(), rig.render_server()?, worker];
    for pid in all {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(Failure::io(format!("read the status of process {pid}")))?;
        for (name, wanted) in [
            ("Seccomp", "2"),
            ("NoNewPrivs", "1"),
            ("CapEff", "0000000000000000"),
        ] {
            let found = field(&status, name);
            expect(found == Some(wanted), || {
                format!("{name} of process {pid} is {found:?}:\n{status}")
            })?;
        }
        let user = field(&status, "Uid").and_then(|ids| ids.split('\t').next());
        expect(user.is_some_and(|user| user != "0"), || {
            format!("process {pid} is root:\n{status}")
        })?;
    }
    scene.is_right(rig.lab)?;
    Ok(Verdict::Passed(format!(
        "{FRAMES} frames; daemon, render server and worker are confined"
    )))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}
