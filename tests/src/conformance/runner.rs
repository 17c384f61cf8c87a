//! Runs cases against a target, one after the other.

use std::time::{Duration, Instant};

use coherd_protocol::gpu::wire::CapsetInfo;
use zerocopy::FromBytes;

use super::bench::Bench;
use super::case::{Case, Setup};
use super::facts::{Facts, Lack};
use super::failure::{Failure, ensure};
use super::picture::UNSEEN;
use super::report::{Entry, Report, Verdict};
use super::target::{Backend, Connected, Renewal, Target};
use crate::driver::Request;
use crate::frontend::{Config, Flavour, Frontend};

/// Capability set ids are 1 to 63 to Linux, and no backend can have more of them.
const MAX_CAPSETS: u32 = 63;

/// How to run cases.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a case may take.
    pub timeout: Duration,
    /// Whether backends get a display socket. Those that know none may hang up.
    pub display: bool,
    /// Whether a case fails that cannot see the pixels it is about. What is only on a screen is
    /// no part of that.
    pub require_pixels: bool,
    /// Number of the object that a Venus context has without a command; 0 for Venus itself.
    pub blob_id: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            display: false,
            require_pixels: false,
            blob_id: 0,
        }
    }
}

/// A backend, and the VMM that is connected to it.
struct Session {
    // Hangs up before the backend is ended.
    frontend: Frontend,
    backend: Backend,
}

impl Session {
    fn open(target: &mut Target, options: &Options) -> Result<Self, String> {
        let Connected {
            stream,
            mut backend,
        } = target.connect().map_err(|error| error.to_string())?;
        let config = Config {
            timeout: options.timeout,
            display: options.display,
            ..Config::new(Flavour::General)
        };
        match Frontend::from_stream(stream, config) {
            Ok(frontend) => Ok(Self { frontend, backend }),
            Err(error) => {
                let words = backend.last_words().unwrap_or_default();
                Err(format!("{} {words}", Failure::from(error).explain()))
            }
        }
    }

    /// Finds out what the backend has.
    fn facts(&mut self, options: &Options) -> Facts {
        let mut facts = Facts::of(&self.frontend, options.blob_id);
        match capsets(&mut self.frontend, &facts, options.timeout) {
            Ok(capsets) => facts.capsets = capsets,
            Err(failure) => facts.unknown = Some(failure.explain()),
        }
        facts
    }

    /// Runs a case and returns its notes.
    fn attempt(
        &mut self,
        case: &Case,
        facts: &Facts,
        options: &Options,
    ) -> Result<String, Failure> {
        let mut bench = Bench::new(&mut self.frontend, facts, case.setup, options.timeout)?;
        (case.body)(&mut bench)?;
        let notes = bench.into_notes();
        ensure(!options.require_pixels || !notes.contains(UNSEEN), || {
            notes.clone()
        })?;
        Ok(notes)
    }

    /// Whether the device can be reset and answers then.
    fn settle(&mut self, facts: &Facts, options: &Options) -> Result<(), Failure> {
        Bench::new(&mut self.frontend, facts, Setup::default(), options.timeout)?.alive()
    }

    /// Whether there is nobody to talk to any more.
    fn is_dead(&self) -> bool {
        self.frontend.is_hung_up() || self.frontend.fault().is_some()
    }

    /// Turns what came of the case that ended the backend into a failure with its last words.
    fn explain(&mut self, result: &mut Result<String, Failure>) {
        let what = match result {
            Ok(_) | Err(Failure::Unsupported(_)) => "it ended the backend".to_owned(),
            Err(failure) => failure.explain(),
        };
        let words = self.backend.last_words();
        let words = words.map(|words| format!("; backend: {words}"));
        *result = Err(Failure::Wrong(what + &words.unwrap_or_default()));
    }
}

/// Asks for every capability set that the configuration space tells of.
fn capsets(
    frontend: &mut Frontend,
    facts: &Facts,
    allowed: Duration,
) -> Result<Vec<CapsetInfo>, Failure> {
    let mut bench = Bench::new(frontend, facts, Setup::default(), allowed)?;
    let count = facts.config.map_or(0, |config| config.num_capsets);
    ensure(count <= MAX_CAPSETS, || format!("{count} capability sets"))?;
    let mut capsets = Vec::new();
    for index in 0..count {
        let request = Request::capset_info(index);
        let bytes = bench.data(&request, 0x1102, size_of::<CapsetInfo>())?;
        let info = CapsetInfo::read_from_bytes(&bytes);
        capsets.push(info.map_err(|_| Failure::Wrong("answer is too short".to_owned()))?);
    }
    Ok(capsets)
}

/// Runs `cases` against `target` and tells `observer` of each as it is over. `name` is the
/// backend's in the report.
pub fn run(
    name: &str,
    target: &mut Target,
    options: &Options,
    cases: &[Case],
    observer: &mut dyn FnMut(&Entry),
) -> Report {
    let mut report = Report::new(name);
    let mut runner = Runner {
        target,
        options,
        session: None,
        facts: None,
    };
    let mut end: Option<String> = None;
    for case in cases {
        let began = Instant::now();
        let (verdict, detail) = match &end {
            None => runner.run(case).unwrap_or_else(|reason| {
                end = Some(reason.clone());
                (Verdict::NotRun, reason)
            }),
            Some(reason) => (Verdict::NotRun, reason.clone()),
        };
        let entry = Entry {
            name: case.name.clone(),
            section: case.source(),
            verdict,
            detail,
            milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        observer(&entry);
        report.entries.push(entry);
    }
    report.features = runner
        .facts
        .as_ref()
        .map(Facts::describe)
        .unwrap_or_default();
    report
}

/// A target, and what is known of it.
struct Runner<'a> {
    target: &'a mut Target,
    options: &'a Options,
    session: Option<Session>,
    facts: Option<Facts>,
}

impl Runner<'_> {
    /// Runs one case. An error is the end: there is no backend any more.
    fn run(&mut self, case: &Case) -> Result<(Verdict, String), String> {
        let facts = self.facts()?;
        if let Some(lack) = case.needs.iter().find_map(|need| facts.lack(*need)) {
            return Ok(match lack {
                Lack::NotOffered(what) => (Verdict::Unsupported, what),
                Lack::Unknown(why) => (Verdict::Failed, why),
            });
        }
        let mut session = self.open()?;
        let mut result = session.attempt(case, &facts, self.options);
        if self.target.renewal() == Renewal::EachCase {
            // Whether it can be reset is the concern of the cases that reset it.
            if session.is_dead() {
                session.explain(&mut result);
            }
        } else if let Err(failure) = session.settle(&facts, self.options) {
            if matches!(result, Ok(_) | Err(Failure::Unsupported(_))) {
                result = Err(Failure::Wrong(format!("after it, {}", failure.explain())));
            }
            session.explain(&mut result);
        } else {
            self.session = Some(session);
        }
        Ok(match result {
            Ok(notes) => (Verdict::Passed, notes),
            Err(Failure::Unsupported(reason)) => (Verdict::Unsupported, reason),
            Err(failure) => (Verdict::Failed, failure.explain()),
        })
    }

    /// What the backend has. It is asked once, and not a backend that is to be fresh for a case.
    fn facts(&mut self) -> Result<Facts, String> {
        if let Some(facts) = &self.facts {
            return Ok(facts.clone());
        }
        let mut session = self.open()?;
        let facts = session.facts(self.options);
        if self.target.renewal() != Renewal::EachCase && !session.is_dead() {
            self.session = Some(session);
        }
        self.facts = Some(facts.clone());
        Ok(facts)
    }

    /// The backend of the case before, or another one.
    fn open(&mut self) -> Result<Session, String> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        if self.facts.is_some() && self.target.renewal() == Renewal::Never {
            return Err("the backend did not survive an earlier case".to_owned());
        }
        Session::open(self.target, self.options)
    }
}
