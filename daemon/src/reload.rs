//! SIGHUP: the configuration file is read again, and what can change while a guest runs changes.

use std::io::Read;
use std::path::PathBuf;

use tracing::{error, info, warn};

use crate::cage;
use crate::config::{Given, LogLevel, Settings};
use crate::explain::one_line;
use crate::serve::Control;

/// Changes the log level.
pub type SetLogLevel = Box<dyn Fn(LogLevel) + Send>;

/// Reads the configuration again. Has a thread of its own, since a file can be slow and the VMM
/// does not wait.
pub struct Reloader {
    /// Options of the command line, which the file does not change.
    pub flags: Given,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What coherd runs with.
    pub running: Settings,
    /// The device.
    pub control: Control,
    /// The log.
    pub set_log_level: SetLogLevel,
}

impl Reloader {
    /// Follows `signals`, which has bytes to read when the user asks, until it ends.
    pub fn run(mut self, mut signals: impl Read) {
        if let Err(error) = cage::confine(cage::Thread::Reload) {
            error!("configuration will not be read again: {}", one_line(&error));
            return;
        }
        while signals.read(&mut [0; 64]).is_ok_and(|read| read > 0) {
            self.reload();
        }
    }

    fn reload(&mut self) {
        let Some(file) = &self.file else {
            warn!("no configuration to read again: coherd was started without --config");
            return;
        };
        match Settings::load(&self.flags, Some(file)) {
            Ok(settings) => self.apply(settings),
            Err(error) => error!("configuration stays as it was: {}", one_line(&error)),
        }
    }

    fn apply(&mut self, wanted: Settings) {
        if wanted.log_level != self.running.log_level {
            (self.set_log_level)(wanted.log_level);
            self.running.log_level = wanted.log_level;
        }
        if wanted.type_mismatch != self.running.type_mismatch {
            self.control.set_type_mismatch(wanted.type_mismatch);
            self.running.type_mismatch = wanted.type_mismatch;
            info!("on-type-mismatch changed, for blobs to come");
        }
        for option in self.fixed(&wanted) {
            warn!("{option} cannot change while coherd runs and stays as it was");
        }
        if wanted.displays != self.running.displays {
            match self.control.set_displays(&wanted.displays) {
                Ok(()) => self.running.displays = wanted.displays,
                Err(error) => warn!(%error, "displays stay as they were"),
            }
        }
        info!("configuration was read again");
    }

    /// Options that differ from what coherd runs with and have to stay.
    fn fixed(&self, wanted: &Settings) -> impl Iterator<Item = &'static str> {
        let running = &self.running;
        let outputs = self.control.outputs();
        let options = [
            ("socket-path or fd", wanted.socket != running.socket),
            ("persist", wanted.persist != running.persist),
            (
                "sync-socket, sync-fd or sync-allow",
                wanted.sync != running.sync || wanted.sync_allow != running.sync_allow,
            ),
            ("renderer", wanted.renderer != running.renderer),
            ("render-node", wanted.render_node != running.render_node),
            ("sandbox", wanted.sandbox != running.sandbox),
            ("seccomp", wanted.seccomp != running.seccomp),
            ("shader-cache", wanted.shader_cache != running.shader_cache),
            ("window-size", wanted.window_size != running.window_size),
            ("mem-slots", wanted.mem_slots != running.mem_slots),
            ("dirty-log", wanted.dirty_log != running.dirty_log),
            (
                "outputs",
                wanted.outputs.is_some_and(|count| count != outputs),
            ),
            ("hang-timeout or on-hang", wanted.hangs != running.hangs),
            ("quota or context-quota", wanted.quotas != running.quotas),
        ];
        let changed = options.into_iter().filter(|(_, changes)| *changes);
        changed.map(|(option, _)| option)
    }
}
