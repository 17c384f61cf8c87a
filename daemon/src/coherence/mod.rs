//! What is known of each host blob, whoever made it and whoever uses it.

mod record;

pub use record::BlobRecord;
