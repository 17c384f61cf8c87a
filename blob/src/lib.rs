//! What a blob is.
