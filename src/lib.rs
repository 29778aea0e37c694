//! SCTP in user space.

pub mod address;
pub mod capture;
pub mod link;
pub mod port;
