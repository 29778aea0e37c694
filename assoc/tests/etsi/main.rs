//! Our own tests to the conformance purposes of ETSI TS 102 369, reconstructed from RFC 9260 and named after them.
//!
//! Nothing of ETSI's text or of its test suite is used. Its groups are known (AS 1, AT 2, IMH 3, DM 4, FH 5, E 6,
//! BDC 7, D 8, A 9, M 10, RT 11), and so is what each group is about; the numbers within a group are ours, in the
//! order in which RFC 9260 treats the matter, because the document was not at hand. `docs/etsi-ts-102-369.md`
//! lists them. Where RFC 9260 differs from RFC 2960 or 4960, it decides, and the test says so.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]
#![allow(missing_docs, reason = "tests are named as sentences")]

mod acknowledgement;
mod bundling;
mod collision;
mod data;
mod duplicate;
mod error;
mod fault;
mod invalid;
mod miscellaneous;
mod parameters;
mod retransmission;
mod setup;
mod subject;
mod termination;
mod tester;
