//! What the tests of real hosts and real peers share.

#![allow(dead_code, reason = "every test program uses a part of it")]

pub(crate) mod linux;
pub(crate) mod ours;
pub(crate) mod payload;
pub(crate) mod peer;
pub(crate) mod suite;
pub(crate) mod topology;
pub(crate) mod tshark;
