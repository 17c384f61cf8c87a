//! A guest with coherd as its GPU, which several cases use one after the other.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::app::{App, last_lines};
use super::failure::{Failure, expect};
use super::kernel_log::{self, KernelLog};
use super::process;
use super::wait::until;
use crate::coherd::{Coherd, Holdings, Vulkan};
use crate::lab::Lab;
use crate::progress::Progress;
use crate::vm::Vm;

/// A boot takes seconds; a busy host without KVM needs a multiple.
const BOOT: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(60);

/// How long coherd may take to let go of what a program used: workers of the render server end at their leisure.
const LET_GO: Duration = Duration::from_secs(60);

/// Kinds of rigs; cases of one kind share a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// As a user has it.
    Plain,
    /// As on a host that exports dma-bufs.
    Exporting,
    /// With a coherd that is not root.
    Ordinary,
    /// With memory slots, without which QEMU cannot pause a guest that has more than a few maps.
    Slots,
    /// Where contexts that hang are ended soon.
    Hangs,
    /// With DRM's debug messages in the guest's kernel, on a host that exports dma-bufs.
    Debugging,
    /// The same without a renderer.
    TwoD,
    /// The same with three outputs.
    Outputs,
    /// On a host whose memory need not be coherent.
    Incoherent,
}

impl Setup {
    fn vulkan(self) -> Vulkan {
        match self {
            Self::Plain
            | Self::Ordinary
            | Self::Slots
            | Self::Hangs
            | Self::TwoD
            | Self::Outputs => Vulkan::Host,
            Self::Exporting | Self::Debugging => Vulkan::Exporting,
            Self::Incoherent => Vulkan::Incoherent,
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Ordinary | Self::Exporting | Self::Debugging | Self::Incoherent => {
                &[]
            }
            Self::TwoD => &["--renderer", "2d"],
            Self::Outputs => &["--renderer", "2d", "--outputs", "3"],
            Self::Hangs => &["--hang-timeout", "3", "--on-hang", "kill-context"],
            // Debug messages tell of requests that a pause caught.
            Self::Slots => &["--mem-slots", "--log-level", "debug"],
        }
    }

    fn kernel_arguments(self) -> &'static str {
        match self {
            Self::Plain
            | Self::Ordinary
            | Self::Exporting
            | Self::Slots
            | Self::Hangs
            | Self::Incoherent => "",
            Self::Debugging | Self::TwoD | Self::Outputs => kernel_log::ARGUMENTS,
        }
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Rig<'lab> {
    /// The lab it runs in.
    pub lab: &'lab Lab,
    /// The guest. It goes before its GPU does.
    pub vm: Vm,
    /// Its GPU.
    pub coherd: Coherd,
    /// What coherd holds for a guest that does nothing.
    pub idle: Holdings,
}

impl<'lab> Rig<'lab> {
    /// Starts coherd and boots a guest.
    pub fn start(lab: &'lab Lab, setup: Setup, progress: &Progress) -> Result<Self, Failure> {
        let _waiting = progress.waiting("booting a guest");
        let began = Instant::now();
        let start = match setup {
            Setup::Ordinary => Coherd::start_as_ordinary_user,
            _ => Coherd::start,
        };
        let mut coherd = start(lab, setup.vulkan(), setup.arguments())?;
        let vm = Vm::builder(lab)
            .gpu_socket(coherd.socket())
            .kernel_arguments(setup.kernel_arguments())
            .start(progress)?;
        boot(&vm)?;
        let idle = coherd.holdings()?;
        progress.say(&format!(
            "a guest booted in {:.1} s ({setup:?}, {:?}); idle, coherd holds {idle:?}",
            began.elapsed().as_secs_f32(),
            vm.accel()
        ));
        Ok(Self {
            lab,
            vm,
            coherd,
            idle,
        })
    }

    /// Waits until the guest has booted once more.
    pub fn boot(&self) -> Result<(), Failure> {
        boot(&self.vm)
    }

    /// Runs one of this workspace's guest programs and returns what it printed.
    pub fn run(&self, name: &str, arguments: &str) -> Result<String, Failure> {
        App::venus(&self.vm, name, arguments)?.succeeds()
    }

    /// Runs the shortest program that shows that the GPU works.
    pub fn works(&self) -> Result<(), Failure> {
        self.run("vk-memory", "churn --iterations 8 --live 2")
            .map(drop)
    }

    /// Fails unless coherd, QEMU and the guest answer, asked in this order to tell which of them hangs.
    pub fn is_alive(&mut self) -> Result<(), Failure> {
        self.coherd.holdings()?;
        let status = self.vm.qmp("query-status", Value::Null)?;
        expect(status["running"] == true, || {
            format!("QEMU does not run its guest: {status}")
        })?;
        let output = self.vm.run("true", COMMAND)?;
        expect(output.status == 0, || {
            format!("the guest runs no programs any more: {output:?}")
        })
    }

    /// Waits until coherd holds what it does for an idle guest, and no more.
    pub fn lets_go(&mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        until("coherd to let go of what no program uses", LET_GO, || {
            let now = self.coherd.holdings()?;
            if now == self.idle {
                return Ok(Ok(began.elapsed()));
            }
            Ok(Err(format!("it held {now:?}, and idle {:?}", self.idle)))
        })
    }

    /// Fails if coherd, or the guest's kernel since its boot, complains of anything; needs a setup with debug messages.
    pub fn is_clean(&self) -> Result<KernelLog, Failure> {
        let warnings = self.coherd.warnings();
        expect(warnings.is_empty(), || {
            format!("coherd complains:\n{}", warnings.join("\n"))
        })?;
        let log = KernelLog::read(&self.vm)?;
        log.is_clean()?;
        Ok(log)
    }

    /// How many contexts coherd has lost so far.
    pub fn losses(&self) -> usize {
        self.coherd.log().matches("is lost").count()
    }

    /// The process of the render server.
    pub fn render_server(&self) -> Result<u32, Failure> {
        let servers = process::children(self.coherd.pid())?;
        servers
            .first()
            .copied()
            .ok_or_else(|| Failure::Wrong("coherd has no render server".to_owned()))
    }

    /// Waits for a worker of the render server that is not one of `known`.
    pub fn new_worker(&self, known: &[u32]) -> Result<u32, Failure> {
        let server = self.render_server()?;
        until("a worker of the render server", COMMAND, || {
            let workers = process::children(server)?;
            let new = workers.iter().find(|worker| !known.contains(worker));
            Ok(new
                .copied()
                .ok_or_else(|| format!("its workers were {workers:?}")))
        })
    }

    /// The ends of what coherd, QEMU and the guest said, and what they wait for.
    pub fn last_words(&self, failure: &Failure) -> String {
        let qemu = std::fs::read(self.vm.dir().join("qemu.log")).unwrap_or_default();
        let workers = self
            .render_server()
            .and_then(process::children)
            .unwrap_or_default();
        let workers: Vec<String> = workers.into_iter().map(process::waits).collect();
        let mut words = format!(
            "coherd ({}; workers: {}):\n{}\nQEMU ({}):\n{}\nguest:\n{}",
            process::waits(self.coherd.pid()),
            workers.join("; "),
            last_lines(&without_status(&self.coherd.log())),
            process::waits(self.vm.pid()),
            last_lines(&distinct(&String::from_utf8_lossy(&qemu))),
            self.vm.console_tail()
        );
        if failure.is_a_hang() {
            words += &format!("\nguest's queues and programs:\n{}", self.vm.autopsy());
        }
        words
    }
}

/// The answers to questions of these tests drown what coherd says by itself.
fn without_status(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains(" status "))
        .collect();
    lines.join("\n")
}

/// Each line once: QEMU without memory slots repeats two with every map.
fn distinct(log: &str) -> String {
    let mut seen = HashSet::new();
    let lines: Vec<&str> = log.lines().filter(|line| seen.insert(*line)).collect();
    lines.join("\n")
}

fn boot(vm: &Vm) -> Result<(), Failure> {
    vm.wait_ready(BOOT)?;
    // The console on the GPU comes up when it likes, and belongs to what an idle guest has.
    let waits = "until test -e /sys/class/graphics/fb0; do busybox sleep 0.1; done";
    let output = vm.run(waits, COMMAND)?;
    expect(output.status == 0, || {
        format!("the guest's console is not on the GPU: {output:?}")
    })
}
