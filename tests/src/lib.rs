//! Test harness of coherd.
