//! SCTP (RFC 9260) in user space: multi-homed associations over raw IP or UDP, without help from the kernel.
//!
//! ```no_run
//! use usctp::{ConnectOptions, Message, Options, Stack};
//!
//! # fn main() -> Result<(), usctp::Error> {
//! let stack = Stack::builder().udp(usctp::UDP_PORT).open()?;
//! let socket = stack.bind(0, &[], Options::default())?;
//! // Two addresses of one host: the second is tried if the first does not answer.
//! let peers = ["192.0.2.1:7".parse().unwrap(), "198.51.100.1:7".parse().unwrap()];
//! let association = socket.connectx(&peers, ConnectOptions::default())?.wait()?;
//! association.send(Message::new(0, "hello"))?;
//! if let Some(message) = association.recv()? {
//!     println!("{} bytes on stream {}", message.payload.len(), message.stream.0);
//! }
//! association.shutdown()?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Stack`] holds the links to the network and one thread. A [`Socket`] is a port with local addresses, and carries any
//! number of [`Association`]s. Every call that may have to wait exists blocking, with a time-out, without waiting, and as
//! a future that needs no particular runtime.
//!
//! A thread that waits in a blocking call, or in [`Stack::block_on`], reads the links itself meanwhile, so that nobody has
//! to wake it for what it waits for. The stack's own thread does so whenever none waits.

pub mod address;
mod association;
pub mod capture;
mod driver;
mod error;
#[cfg(test)]
mod faults;
mod item;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod lab;
pub mod link;
mod neighbours;
mod origin;
pub mod port;
mod socket;
mod stack;

pub use bytes::Bytes;
pub use usctp_assoc::{
    ActiveReason, AddressChange, Advertise, AssociationId, AssociationState, Budget, Compat,
    ConfigError, CongestionControl, ConnectCounters, ConnectError, ConnectOptions, CookieOptions,
    Counters, Event, FailoverOptions, FailureReason, HeartbeatOptions, IgnoredReason, LimitOptions,
    LossDetection, LostReason, Message, MovedOn, MtuReason, NoSuchPath, OnRefused, Options,
    PathCounts, PathMtuError, PathSettings, PathSettingsError, PathState, PathStatus, PmtudMode,
    PmtudOptions, PmtudState, PrimaryReason, RACE_INTERVAL, Received, RecoveryOptions,
    RemovedReason, RetransmissionOptions, Role, RtoOptions, SackOptions, SendError, SendOptions,
    Statistics,
};
pub use usctp_chunk::{CauseCode, Ppid, StreamId, VerificationTag};

pub use self::association::Association;
pub use self::error::{BadLocalAddress, Error};
pub use self::item::{Arrival, Item};
pub use self::link::{LinkBuffers, LinkCounters, LinkError};
pub use self::socket::{Connecting, Socket};
pub use self::stack::{Builder, Stack, StackStatistics, UDP_PORT};
