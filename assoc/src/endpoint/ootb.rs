//! Answers to packets that belong to no association (RFC 9260, section 8.4).

use bytes::BytesMut;
use usctp_chunk::{
    Abort, Cause, Causes, Checksum, Chunk, ChunkType, Packet, ShutdownComplete, VerificationTag,
};

use crate::path::COMMON_HEADER;
use crate::reply::{Reply, Way};
use crate::wire::{Datagram, Transmit};

/// The answer to a packet for a port that nobody has, appended to `out`; `None` if it gets none.
///
/// Whoever calls this limits how often: a stranger decides how many such packets come.
pub fn out_of_the_blue(datagram: &Datagram, out: &mut BytesMut) -> Option<Transmit> {
    let packet = Packet::parse(&datagram.payload).ok()?;
    if packet.checksum() != Checksum::Valid {
        return None;
    }
    answer(datagram, &packet)?.write(out, datagram.payload.len().max(SMALLEST_ANSWER))
}

/// The answer to a well-formed packet without an association.
pub(super) fn answer(datagram: &Datagram, packet: &Packet) -> Option<Reply> {
    // RFC 9260, 8.4 (1)
    if !datagram.is_between_hosts() {
        return None;
    }
    let tag = packet.header.verification_tag;
    let mut first = None;
    let mut shutdown_ack = false;
    for raw in packet.chunks() {
        let Ok(raw) = raw else { break };
        first.get_or_insert(raw);
        match raw.kind {
            // (2), (6) and (7)
            ChunkType::ABORT | ChunkType::SHUTDOWN_COMPLETE | ChunkType::COOKIE_ACK => return None,
            ChunkType::ERROR if is_stale_cookie(raw.decode().ok()?) => return None,
            ChunkType::SHUTDOWN_ACK => shutdown_ack = true,
            _ => {}
        }
    }
    let first = first?;
    let way = Way::back(datagram);
    let reply = |tag, chunk| Some(Reply::to(packet.header, way, tag, chunk));
    if let Ok(Chunk::Init(init)) = first.decode() {
        // (3): an INIT that is not processed; its own tag answers it.
        let lone = tag.is_zero() && !init.initiate_tag.is_zero();
        return lone.then(|| abort(false, None)).and_then(|abort| reply(init.initiate_tag, abort));
    }
    // RFC 9260, 8.5.1 (A): tag 0 is for INIT alone. A COOKIE ECHO that is not ours is dropped (5.1.5).
    if tag.is_zero() || first.kind == ChunkType::COOKIE_ECHO {
        return None;
    }
    if shutdown_ack {
        // (5)
        let complete = ShutdownComplete { tag_reflected: true };
        return reply(tag, Chunk::ShutdownComplete(complete));
    }
    // (8)
    reply(tag, abort(true, None))
}

/// An ABORT, with or without the T bit.
pub(super) fn abort(tag_reflected: bool, cause: Option<Cause>) -> Chunk {
    Chunk::Abort(Abort { tag_reflected, causes: cause.into_iter().collect() })
}

/// An ABORT in answer to an INIT, which names its tag; without the cause if that made it larger than the INIT.
pub(super) fn refuse_init(
    datagram: &Datagram,
    packet: &Packet,
    tag: VerificationTag,
    cause: Cause,
) -> Reply {
    let whole = abort(false, Some(cause));
    let fits = COMMON_HEADER + whole.encoded_len() <= datagram.payload.len();
    let chunk = if fits { whole } else { abort(false, None) };
    Reply::to(packet.header, Way::back(datagram), tag, chunk)
}

fn is_stale_cookie(chunk: Chunk) -> bool {
    let stale =
        |causes: &Causes| causes.iter().any(|cause| matches!(cause, Ok(Cause::StaleCookie { .. })));
    matches!(&chunk, Chunk::Error(causes) if stale(causes))
}

// The common header and a chunk header: no answer is smaller, and none of these larger.
const SMALLEST_ANSWER: usize = 16;
