//! What has become of the link that was cut, and when.

use std::net::IpAddr;
use std::time::Instant;

/// The cut of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) at: Instant,
    /// 0 or 1.
    pub(crate) link: usize,
    /// The server's address on that link.
    pub(crate) address: IpAddr,
}

/// What has happened to the link that was cut.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Act {
    /// When the first byte was handed over.
    pub(crate) began: Option<Instant>,
    /// The cut.
    pub(crate) cut: Option<Cut>,
    /// When new messages left that path: it was potentially failed (RFC 7829), or inactive at once.
    pub(crate) left: Option<Instant>,
    /// When that path was declared inactive.
    pub(crate) inactive: Option<Instant>,
    /// When data flowed again over the other one.
    pub(crate) failed_over: Option<Instant>,
    /// When the link was restored.
    pub(crate) restored: Option<Instant>,
    /// When its path was active again.
    pub(crate) active_again: Option<Instant>,
}
