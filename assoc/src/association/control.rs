//! Control chunks that wait for their packet.

use std::collections::VecDeque;

use usctp_chunk::{Chunk, PacketBuilder};

use crate::path::PathId;

/// A bounded queue of control chunks, each bound for a path.
///
/// A peer that asks for more than fits between two sendings gets no answer to the rest.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pending: VecDeque<(PathId, Chunk)>,
    /// What is left of the packet that answers the one being read, in bytes, once it has begun.
    room: Option<usize>,
    limit: usize,
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

    /// Queues an answer; the first one to each packet in any case, others if they fit beside it.
    pub(crate) fn push(&mut self, to: PathId, chunk: Chunk) {
        let len = chunk.encoded_len();
        if self.pending.len() >= MAX_PENDING || self.room.is_some_and(|room| len > room) {
            return;
        }
        self.room = Some(self.room.unwrap_or(self.limit).saturating_sub(len));
        self.pending.push_back((to, chunk));
    }

    /// Puts a chunk before all others: COOKIE ACK must be the first of its packet (RFC 9260, 5.1, D).
    pub(crate) fn push_first(&mut self, to: PathId, chunk: Chunk) {
        self.pending.truncate(MAX_PENDING - 1);
        self.pending.push_front((to, chunk));
    }

    /// What was bound for a path that is gone goes to another one.
    pub(crate) fn redirect(&mut self, gone: PathId, other: PathId) {
        for (to, _) in self.pending.iter_mut().filter(|(to, _)| *to == gone) {
            *to = other;
        }
    }

    pub(crate) fn destination(&self) -> Option<PathId> {
        self.pending.front().map(|(to, _)| *to)
    }

    /// Where COOKIE ACK goes, if it is the next to go.
    pub(crate) fn acknowledges_cookie_at(&self) -> Option<PathId> {
        self.pending.front().filter(|(_, chunk)| *chunk == Chunk::CookieAck).map(|(to, _)| *to)
    }

    /// Writes what is bound for a path, until one does not fit beside `reserved` bytes for what is to follow; one that fits
    /// no packet is thrown away.
    pub(crate) fn write(&mut self, to: PathId, packet: &mut PacketBuilder<'_>, reserved: usize) {
        while let Some((_, chunk)) = self.pending.front().filter(|(path, _)| *path == to) {
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
