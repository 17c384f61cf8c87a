//! Wire formats of coherd.
