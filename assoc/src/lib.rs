//! The state machine of SCTP: endpoints and multi-homed associations, without I/O, clock or randomness of their own.

mod association;
mod budget;
mod config;
mod context;
mod cookie;
mod endpoint;
mod error;
mod event;
mod host;
mod message;
mod negotiate;
mod outbox;
mod path;
mod rate;
mod recv;
mod reply;
mod scope;
mod send;
#[cfg(feature = "sim")]
pub mod sim;
mod ssns;
mod timer;
mod wire;

pub use association::{Association, InitSchedule, init_schedule};
pub use budget::Budget;
pub use config::*;
pub use context::Statistics;
pub use endpoint::{ConnectCounters, Counters, Endpoint, out_of_the_blue};
pub use error::*;
pub use event::*;
pub use message::*;
pub use path::{PathCounts, PathSettings, PathState, PathStatus, PmtudState};
pub use rate::RateLimit;
pub use recv::Place;
pub use scope::Scope;
pub use wire::*;
