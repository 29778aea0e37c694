//! Control chunks that wait for their packet.

use std::collections::VecDeque;
use std::net::IpAddr;

use usctp_chunk::{Chunk, PacketBuilder};

use crate::path::PathId;

/// A bounded queue of control chunks, each bound for a path. Answers leave from the address that was asked: who asks may know
/// no way back from another one, and what lies between lets only that through.
///
/// A peer that asks for more than fits between two sendings gets no answer to the rest.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pending: VecDeque<Pending>,
    /// What is left of the packet that answers the one being read, in bytes, once it has begun.
    room: Option<usize>,
    limit: usize,
}

#[derive(Debug)]
struct Pending {
    to: PathId,
    /// The address that it leaves from.
    from: Option<IpAddr>,
    chunk: Chunk,
}

impl Control {
    /// A packet is about to be read: all answers to it are to fit one packet of `limit` bytes (RFC 9260, 12.4).
    pub(crate) fn begin_packet(&mut self, limit: usize) {
        self.room = None;
        self.limit = limit.saturating_sub(RESERVED);
    }

    /// Whether there is an answer to the packet being read.
    pub(crate) fn has_answered(&self) -> bool {
        self.room.is_some()
    }

    /// Queues an answer that leaves from there; the first one to each packet in any case, others if they fit beside it.
    pub(crate) fn push(&mut self, to: PathId, from: Option<IpAddr>, chunk: Chunk) {
        let len = chunk.encoded_len();
        if self.pending.len() >= MAX_PENDING || self.room.is_some_and(|room| len > room) {
            return;
        }
        self.room = Some(self.room.unwrap_or(self.limit).saturating_sub(len));
        self.pending.push_back(Pending { to, from, chunk });
    }

    /// Puts a chunk before all others: COOKIE ACK must be the first of its packet (RFC 9260, 5.1, D).
    pub(crate) fn push_first(&mut self, to: PathId, from: Option<IpAddr>, chunk: Chunk) {
        self.pending.truncate(MAX_PENDING - 1);
        self.pending.push_front(Pending { to, from, chunk });
    }

    /// What was bound for a path that is gone goes to another one.
    pub(crate) fn redirect(&mut self, gone: PathId, other: PathId) {
        for pending in self.pending.iter_mut().filter(|pending| pending.to == gone) {
            (pending.to, pending.from) = (other, None);
        }
    }

    pub(crate) fn destination(&self) -> Option<PathId> {
        self.pending.front().map(|pending| pending.to)
    }

    /// Where the next packet to there leaves from, if it is an answer.
    pub(crate) fn source_towards(&self, to: PathId) -> Option<IpAddr> {
        self.pending.front().filter(|pending| pending.to == to)?.from
    }

    /// Where COOKIE ACK goes, if it is the next to go.
    pub(crate) fn acknowledges_cookie_at(&self) -> Option<PathId> {
        let front = self.pending.front().filter(|pending| pending.chunk == Chunk::CookieAck);
        front.map(|pending| pending.to)
    }

    /// Writes what is bound for a path, until one does not fit beside `reserved` bytes for what is to follow; one that fits
    /// no packet is thrown away.
    pub(crate) fn write(&mut self, to: PathId, packet: &mut PacketBuilder<'_>, reserved: usize) {
        let from = self.source_towards(to);
        let fits = |pending: &&Pending| pending.to == to && pending.from == from;
        while let Some(Pending { chunk, .. }) = self.pending.front().filter(fits) {
            if chunk.encoded_len() + reserved > packet.remaining() && !packet.is_empty() {
                return;
            }
            if !packet.push(chunk) && !packet.is_empty() {
                return;
            }
            self.pending.pop_front();
        }
    }
}

const MAX_PENDING: usize = 16;
// The common header, and COOKIE ACK, SHUTDOWN or SHUTDOWN ACK.
const RESERVED: usize = 12 + 4 + 8;
