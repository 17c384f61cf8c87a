//! The functions of `include/coherd-sync.h`.
//!
//! Handles are boxes whose address C keeps. Every function returns a result instead of panicking,
//! and a panic there may yet be becomes one. Types have the names of C, and descriptions are for
//! its programmers, as the header is made from here by `c/tests/header.rs`.
//!
//! Every function is unsafe in the same way: pointers have to be those of C that its description
//! asks for, valid for the call, and a handle has to be one that was made here and was not freed.

#![allow(unsafe_code, reason = "C's pointers are what C says they are")]
#![allow(non_camel_case_types, reason = "named as in C")]
#![allow(dead_code, reason = "the header has them")]

mod blob;
mod bracket;
mod connection;
mod ledger;
mod name;
mod result;
mod watch;
