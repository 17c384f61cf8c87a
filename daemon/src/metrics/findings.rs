//! What became of blobs whose memory types did not agree, as [`MappingTypes`] counts it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::mapping_type::MappingTypes;

/// See the module's description.
#[derive(Debug)]
pub struct Findings(Arc<MappingTypes>);

impl Findings {
    pub fn of(mapping_types: Arc<MappingTypes>) -> Self {
        Self(mapping_types)
    }
}

impl Collector for Findings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.counts();
        let mut family = encoder.encode_descriptor(
            "type_mismatches",
            "Blobs whose memory types did not agree, by what was done",
            None,
            MetricType::Counter,
        )?;
        for (action, count) in [
            ("corrected", counts.corrected),
            ("mapped", counts.mismatched),
            ("refused", counts.refused),
        ] {
            let labels = [("action", action)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
