//! What monitoring is told: counters and gauges, as OpenMetrics 1.0.
//!
//! The device counts with atomics of its own, without a lock; whoever asks reads them in another
//! thread, also while the device waits for the GPU. `docs/metrics.md` says what each one means.

mod by_context;
mod findings;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use coherd_protocol::gpu::command::NAMES;
use coherd_protocol::gpu::{Command, ErrorCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as SignedGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::by_context::ByContext;
use self::findings::Findings;
use crate::device::quota::{Quota, Quotas, Scope};
use crate::mapping_type::MappingTypes;

type Gauge = SignedGauge<u64, AtomicU64>;
type Labels = [(&'static str, &'static str); 1];

/// The command of a request that has none.
const UNKNOWN: &str = "unknown";

/// See the module's description.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By the index of the command in [`NAMES`].
    commands: [Counter; NAMES.len()],
    unknown_commands: Counter,
    /// By the index of the code in [`ErrorCode::ALL`].
    refused: [Counter; ErrorCode::ALL.len()],
    /// What the VM has, against its quotas.
    pub quotas: QuotaMetrics,
    /// Work that was not done in time.
    pub hangs: ByContext,
    /// Contexts that the renderer lost.
    pub lost_contexts: ByContext,
    /// Parts of the renderer that died.
    pub renderer_deaths: Counter,
    /// VMMs that connected.
    pub connections: Counter,
    /// Whether one is connected.
    pub connected: Gauge,
}

/// What is told of each quota. Clones count the same.
#[derive(Clone, Debug, Default)]
pub struct QuotaMetrics([OfQuota; Quota::ALL.len()]);

#[derive(Clone, Debug, Default)]
struct OfQuota {
    used: Gauge,
    refused: Counter,
}

impl Metrics {
    /// Nothing has happened yet to a VM with these quotas.
    pub fn new(quotas: &Quotas, mapping_types: Arc<MappingTypes>) -> Self {
        let mut registry = Registry::with_prefix("coherd");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which coherd this is", version);
        let all: Family<Labels, Counter> = registered(
            &mut registry,
            "commands",
            "Commands of the guest that were answered",
        );
        let commands = NAMES.map(|(_, name)| all.get_or_create_owned(&[("command", name)]));
        let unknown_commands = all.get_or_create_owned(&[("command", UNKNOWN)]);
        let all: Family<Labels, Counter> = registered(
            &mut registry,
            "refused_commands",
            "Commands of the guest that were answered with an error",
        );
        let refused = ErrorCode::ALL.map(|code| all.get_or_create_owned(&[("code", code.name())]));
        registry.register_collector(Box::new(Findings::of(mapping_types)));
        Self {
            commands,
            unknown_commands,
            refused,
            quotas: QuotaMetrics::register(quotas, &mut registry),
            hangs: ByContext::register(
                &mut registry,
                "hangs",
                "Times that the GPU had not done a context's work within --hang-timeout",
            ),
            lost_contexts: ByContext::register(
                &mut registry,
                "lost_contexts",
                "Contexts that ended before the guest destroyed them",
            ),
            renderer_deaths: registered(
                &mut registry,
                "renderer_deaths",
                "Parts of the renderer that died, after which new contexts fail",
            ),
            connections: registered(
                &mut registry,
                "vmm_connections",
                "Connections of VMMs that were accepted",
            ),
            connected: registered(
                &mut registry,
                "vmm_connected",
                "Whether a VMM is connected, 0 or 1",
            ),
            registry,
        }
    }

    /// Counts a request that was answered.
    pub fn count_command(&self, request: &[u8]) {
        let code = Command::header(request).map_or(0, |header| header.kind.get());
        let index = NAMES.binary_search_by_key(&code, |(code, _)| *code);
        let counter = index.ok().and_then(|index| self.commands.get(index));
        counter.unwrap_or(&self.unknown_commands).inc();
    }

    /// Counts an answer with an error.
    pub fn count_refusal(&self, code: ErrorCode) {
        let index = ErrorCode::ALL.iter().position(|other| *other == code);
        if let Some(counter) = index.and_then(|index| self.refused.get(index)) {
            counter.inc();
        }
    }
}

/// All metrics as OpenMetrics text.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(f, &self.registry)
    }
}

impl QuotaMetrics {
    fn register(quotas: &Quotas, registry: &mut Registry) -> Self {
        let used: Family<Labels, Gauge> =
            registered(registry, "quota_used", "What the VM has at present");
        let limits: Family<Labels, Gauge> =
            registered(registry, "quota_limit", "What the VM may have");
        let refused: Family<Labels, Counter> = registered(
            registry,
            "over_quota_commands",
            "Commands refused because the VM or a context was at its limit",
        );
        Self(Quota::ALL.map(|quota| {
            let labels = [("quota", quota.name())];
            let limit = limits.get_or_create_owned(&labels);
            limit.set(quotas.get(Scope::Vm, quota));
            OfQuota {
                used: used.get_or_create_owned(&labels),
                refused: refused.get_or_create_owned(&labels),
            }
        }))
    }

    /// The VM has `value` of `quota`.
    pub fn set_used(&self, quota: Quota, value: u64) {
        if let Some(of) = self.0.get(quota.index()) {
            of.used.set(value);
        }
    }

    /// The VM has nothing any more.
    pub fn clear_used(&self) {
        self.0.iter().for_each(|of| {
            of.used.set(0);
        });
    }

    /// Counts a command that was refused over `quota`.
    pub fn count_refusal(&self, quota: Quota) {
        if let Some(of) = self.0.get(quota.index()) {
            of.refused.inc();
        }
    }

    /// Commands refused over `quota` so far.
    pub fn refused(&self, quota: Quota) -> u64 {
        self.0.get(quota.index()).map_or(0, |of| of.refused.get())
    }
}

fn registered<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Clone + Default + prometheus_client::registry::Metric,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(&Quotas::default(), Arc::default())
    }

    /// A line as it is but for its end.
    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.to_string().contains(&format!("\n{line}\n"))
    }

    #[test]
    fn every_metric_is_in_the_documentation_and_no_other() {
        const PAGE: &str = include_str!("../../../docs/metrics.md");
        let metrics = metrics();
        // A family is told of once it has a member.
        metrics.hangs.count("name");
        metrics.lost_contexts.count("name");
        let text = metrics.to_string();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let told: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: Vec<&str> = rows
            .filter_map(|row| row.split(['`', '{']).next())
            .collect();
        let suffixed = |name: &str| {
            let ends = ["", "_total", "_info"].map(|end| format!("{name}{end}"));
            documented
                .iter()
                .any(|row| ends.iter().any(|end| end == row))
        };
        for name in &told {
            assert!(suffixed(name), "{name} is not in docs/metrics.md");
        }
        assert_eq!(told.len(), documented.len(), "{documented:?}");
    }

    #[test]
    fn commands_are_counted_by_their_names() {
        let metrics = metrics();
        let request = |code: u32| {
            let mut bytes = code.to_le_bytes().to_vec();
            bytes.resize(24, 0);
            bytes
        };

        metrics.count_command(&request(0x0207));
        metrics.count_command(&request(0x0301));
        metrics.count_command(&request(0x0301));
        metrics.count_command(&request(0xffff));
        metrics.count_command(&[]);
        metrics.count_refusal(ErrorCode::InvalidParameter);

        for line in [
            "coherd_commands_total{command=\"submit_3d\"} 1",
            "coherd_commands_total{command=\"move_cursor\"} 2",
            "coherd_commands_total{command=\"unknown\"} 2",
            "coherd_commands_total{command=\"get_edid\"} 0",
            "coherd_refused_commands_total{code=\"invalid_parameter\"} 1",
        ] {
            assert!(has(&metrics, line), "{line}: {metrics}");
        }
    }

    #[test]
    fn quotas_tell_what_there_is_and_may_be() {
        let metrics = metrics();
        metrics.quotas.set_used(Quota::Contexts, 3);
        metrics.quotas.count_refusal(Quota::Contexts);

        assert!(has(&metrics, "coherd_quota_used{quota=\"contexts\"} 3"));
        assert!(has(&metrics, "coherd_quota_limit{quota=\"contexts\"} 512"));
        let refused = "coherd_over_quota_commands_total{quota=\"contexts\"} 1";
        assert!(has(&metrics, refused));
        metrics.quotas.clear_used();
        assert!(has(&metrics, "coherd_quota_used{quota=\"contexts\"} 0"));
    }
}
