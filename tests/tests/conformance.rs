//! The conformance suite against the daemon in this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use coherd::renderer::none::NoRenderer;
use coherd::serve::Options as DaemonOptions;
use coherd_protocol::gpu::Features;
use coherd_tests::conformance::report::Table;
use coherd_tests::conformance::{
    Backend, Connected, Group, Need, Options, Renewal, Report, Target, TargetError, Verdict, all,
    run,
};
use coherd_tests::renderer::{Host, Recipe};
use coherd_tests::rig::{RigError, Server};

/// A loaded machine is no reason to fail.
const TIMEOUT: Duration = Duration::from_secs(60);

type Start = Result<(Server, UnixStream), RigError>;

fn target(renewal: Renewal, mut start: impl FnMut() -> Start + 'static) -> Target {
    Target::new(renewal, move || {
        let (server, stream) =
            start().map_err(|error| TargetError::InProcess(error.to_string()))?;
        Ok(Connected {
            stream,
            backend: Backend::InProcess(Box::new(server)),
        })
    })
}

/// Runs every case against the daemons that `start` makes.
fn conformance(name: &str, options: &Options, start: impl FnMut() -> Start + 'static) -> Report {
    let mut target = target(Renewal::WhenDead, start);
    run(name, &mut target, options, &all(), &mut |_| {})
}

fn without_renderer() -> Start {
    let factory = Box::new(|_| Ok(Box::new(NoRenderer) as _));
    Server::pair(DaemonOptions::default(), factory)
}

/// Whether only a renderer can offer it.
fn is_about_rendering(need: &Need) -> bool {
    match need {
        Need::Device(features) => features.intersects(Features::VIRGL | Features::CONTEXT_INIT),
        Need::Capset | Need::HostBlob => true,
        Need::Ring(..) | Need::Config | Need::Window => false,
    }
}

fn unsupported(report: &Report) -> Vec<&str> {
    let entries = report.entries.iter();
    entries
        .filter(|entry| entry.verdict == Verdict::Unsupported)
        .map(|entry| entry.name.as_str())
        .collect()
}

fn options() -> Options {
    Options {
        timeout: TIMEOUT,
        blob_id: Recipe::SHM.blob_id(),
        ..Options::default()
    }
}

#[test]
fn daemon_with_a_renderer_conforms() {
    let hosts: Rc<RefCell<Vec<Host>>> = Rc::default();
    let started = Rc::clone(&hosts);
    let options = Options {
        require_pixels: true,
        ..options()
    };

    let report = conformance("memfd renderer", &options, move || {
        let host = Host::new().map_err(io::Error::from)?;
        host.set_instant(true);
        let pair = Server::pair(DaemonOptions::default(), host.factory())?;
        started.borrow_mut().push(host);
        Ok(pair)
    });

    assert!(report.is_success(), "{}", Table(&report));
    assert_eq!(unsupported(&report), [""; 0]);
    let complaints: Vec<String> = hosts.borrow().iter().flat_map(Host::complaints).collect();
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn daemon_without_a_renderer_conforms() {
    let cases = all();
    let about_rendering: Vec<&str> = cases
        .iter()
        .filter(|case| case.needs.iter().any(is_about_rendering))
        .map(|case| case.name.as_str())
        .collect();

    let report = conformance("no renderer", &options(), without_renderer);

    assert!(report.is_success(), "{}", Table(&report));
    assert_eq!(unsupported(&report), about_rendering);
}

#[test]
fn pixels_that_cannot_be_seen_fail_a_case_where_they_must_be() {
    let mut target = target(Renewal::WhenDead, without_renderer);
    let mut cases = all();
    cases.retain(|case| case.name == "transfer-2d/whole");
    let options = Options {
        require_pixels: true,
        ..options()
    };

    let report = run("blind", &mut target, &options, &cases, &mut |_| {});

    assert_eq!(report.count(Verdict::Failed), 1, "{}", Table(&report));
}

#[test]
fn backend_that_hangs_up_fails_one_case_and_the_others_are_not_run() {
    let mut target = target(Renewal::Never, without_renderer);
    let mut cases = all();
    cases.retain(|case| case.group() == "flush" && case.needs.is_empty());
    let killer = Group::new("killer", "none").case("hang-up", |bench| {
        bench.frontend.kill();
        bench.alive()
    });
    cases.splice(1..1, killer.into_cases());

    let report = run("killed", &mut target, &options(), &cases, &mut |_| {});

    let verdicts: Vec<Verdict> = report.entries.iter().map(|entry| entry.verdict).collect();
    assert_eq!(verdicts[..2], [Verdict::Passed, Verdict::Failed]);
    assert!(
        verdicts[2..]
            .iter()
            .all(|verdict| *verdict == Verdict::NotRun)
    );
    assert!(!report.is_success());
}
