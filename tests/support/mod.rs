//! What the tests of real hosts and real peers share.

#![allow(dead_code, reason = "every test program uses a part of it")]

pub(crate) mod suite;
