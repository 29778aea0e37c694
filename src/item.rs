//! What happens in an association, messages and events in one order: [`Item`]; and in all of a socket's: [`Arrival`].

use usctp_assoc::{AssociationId, Event, Received};

use crate::association::Association;
use crate::error::Error;

/// The next of what came: what [`Association::next`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Item {
    /// A message, or a part of one ([`Received::more`]).
    Message(Received),
    /// Something else; never [`Event::Readable`], which says no more than that there is a message, nor
    /// [`Event::ShutdownComplete`] and [`Event::CommLost`], for which [`Ended`](Self::Ended) stands.
    Event(Event),
    /// Nothing more comes: the association was closed gracefully, or ended by [`Error::Lost`]. The last item.
    Ended(Result<(), Error>),
}

/// The next of what came to a socket: what [`Socket::next_any`](crate::Socket::next_any) gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Arrival {
    /// A peer opened an association, and it was accepted.
    Accepted(Association),
    /// Something happened in an association whose handle the application holds.
    Item(AssociationId, Item),
}
