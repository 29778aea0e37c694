//! The state machine of SCTP: endpoints and multi-homed associations, without I/O, clock or randomness of their own.

mod config;
mod error;
mod event;
mod message;
mod wire;

pub use config::*;
pub use error::*;
pub use event::*;
pub use message::*;
pub use wire::*;
