//! SCTP in user space.

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod lab;
