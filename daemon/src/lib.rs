//! The coherence daemon.
