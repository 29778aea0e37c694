//! What must hold after every step, whatever the network does (checked, never assumed).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use usctp_chunk::{Cause, Checksum, Chunk, ChunkType, Packet, PacketBuilder};

use crate::{
    Association, AssociationId, AssociationState as State, Config, Endpoint, PathState, PathStatus,
    Transmit,
};

/// What was seen of an endpoint's associations before its packets were polled.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<AssociationId, Seen>,
}

#[derive(Debug)]
struct Seen {
    state: State,
    port: u16,
    paths: Vec<PathStatus>,
    /// Paths that were unconfirmed once and not active since: an inactive one need not be confirmed.
    unconfirmed: BTreeSet<IpAddr>,
    fast_retransmits: u64,
    /// While DATA is in flight: by when a T3-rtx that was started when it should have been expires.
    t3_by: Option<Instant>,
    /// The greatest MTU that any path ever had.
    greatest_mtu: usize,
    /// Steps until sums are compared with what they are sums of: the more there is to count, the more of them.
    unaudited: usize,
}

/// Chunks that are counted in each step, on an average.
const AUDITED: usize = 128;

impl Seen {
    fn of(association: &Association, before: Option<&Self>) -> Self {
        let mut unconfirmed = before.map(|before| before.unconfirmed.clone()).unwrap_or_default();
        for path in association.paths() {
            match path.state {
                PathState::Unconfirmed => _ = unconfirmed.insert(path.peer),
                PathState::Active | PathState::Listed => _ = unconfirmed.remove(&path.peer),
                _ => {}
            }
        }
        Self {
            unconfirmed,
            state: association.state(),
            port: association.port(),
            paths: association.paths().collect(),
            fast_retransmits: association.statistics().fast_retransmits,
            t3_by: before.and_then(|before| before.t3_by),
            greatest_mtu: (association.paths().map(|path| path.mtu).max().unwrap_or(0))
                .max(before.map_or(0, |before| before.greatest_mtu)),
            unaudited: before.map_or(0, |before| before.unaudited),
        }
    }
    /// RFC 9260, 6.3.2 (R1): while DATA is in flight on a path, its T3-rtx runs, and was started with its RTO. Within
    /// one packet the RTO may change after that: twice the RTO that is seen allows for it.
    fn t3_by(&self, before: Option<&Self>, now: Instant) -> Option<Instant> {
        let busy = self.paths.iter().filter(|path| path.flight > 0 && self.state != State::Closed);
        let rto = busy.map(|path| path.rto).max()?;
        before.and_then(|before| before.t3_by).max(Some(now + 2 * rto))
    }
}

impl Watch {
    /// Notes how things stand after an input and before the packets it leads to; judges the changes of state.
    pub(super) fn after_input(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        let ids: Vec<_> = endpoint.associations().collect();
        self.seen.retain(|id, _| ids.binary_search(id).is_ok() || ids.contains(id));
        for id in ids {
            let Some(association) = endpoint.view(id) else { continue };
            let before = self.seen.get(&id);
            let seen = Seen::of(association, before);
            if let Some(before) = before {
                legal(before.state, seen.state)?;
            }
            self.seen.insert(id, seen);
        }
        Ok(())
    }

    /// Judges one packet that the endpoint sends.
    pub(super) fn packet(
        &self,
        transmit: &Transmit,
        bytes: &Bytes,
        mtu: usize,
    ) -> Result<(), String> {
        let (packet, chunks) = well_formed(bytes)?;
        let overhead = ip_overhead(transmit);
        let known = self.path(transmit, &packet).map_or(mtu, |path| path.mtu.max(mtu));
        let probes = matches!(&*chunks, [Chunk::Heartbeat(_), Chunk::Pad(_)]);
        if bytes.len() + overhead > known && !transmit.fragmentable && !probes {
            return Err(format!(
                "a packet of {} + {overhead} bytes exceeds the MTU {known}",
                bytes.len()
            ));
        }
        verification_tag(&packet, &chunks)?;
        stands_alone(&chunks)?;
        self.fits(transmit, &packet, &chunks)?;
        self.confirmed(transmit, &packet, &chunks)
    }

    /// RFC 9260, 7.3 and 6.9: DATA fits the MTU that its path is known to have; a chunk that was cut for a greater
    /// one travels alone, and IP may cut it.
    fn fits(&self, transmit: &Transmit, packet: &Packet, chunks: &[Chunk]) -> Result<(), String> {
        let Some(path) = self.path(transmit, packet) else { return Ok(()) };
        let too_big = packet.bytes().len() + ip_overhead(transmit) > path.mtu;
        match (transmit.fragmentable, too_big, chunks) {
            (false, false, _) | (true, true, [Chunk::Data(_) | Chunk::CookieEcho(_)]) => Ok(()),
            (false, true, chunks)
                if !chunks.iter().any(|chunk| matches!(chunk, Chunk::Data(_))) =>
            {
                Ok(())
            }
            _ => Err(format!(
                "a packet of {} bytes where the MTU is {}, fragmentable: {}",
                packet.bytes().len(),
                path.mtu,
                transmit.fragmentable
            )),
        }
    }

    /// The path that a packet takes.
    fn path(&self, transmit: &Transmit, packet: &Packet) -> Option<&PathStatus> {
        let port = packet.header.destination_port;
        (self.seen.values())
            .filter(|seen| seen.port == port && seen.state != State::Closed)
            .flat_map(|seen| &seen.paths)
            .find(|path| path.peer == transmit.destination)
    }

    /// RFC 9260, 5.4: an address that is not confirmed gets HEARTBEATs and their answers, and a handshake chunk
    /// only together with a HEARTBEAT. What stands outside of the association (INIT ACK, a reflected tag, an ERROR
    /// to a stale cookie, an ABORT) may go anywhere.
    fn confirmed(
        &self,
        transmit: &Transmit,
        packet: &Packet,
        chunks: &[Chunk],
    ) -> Result<(), String> {
        let (peer, port) = (transmit.destination, packet.header.destination_port);
        let has = |kind| chunks.iter().any(|chunk| chunk.kind() == kind);
        let mut open = (self.seen.values())
            .filter(|seen| seen.port == port && seen.state != State::Closed)
            .filter(|seen| seen.paths.iter().any(|path| path.peer == peer))
            .peekable();
        if open.peek().is_none() {
            return match has(ChunkType::DATA) {
                true => Err(format!("DATA goes to {peer}, which is no path of any association")),
                false => Ok(()),
            };
        }
        let forbidden =
            [ChunkType::DATA, ChunkType::SACK, ChunkType::SHUTDOWN, ChunkType::SHUTDOWN_ACK];
        let handshake = [ChunkType::COOKIE_ACK, ChunkType::COOKIE_ECHO];
        let bad = forbidden.into_iter().any(has)
            || chunks.iter().any(is_report)
            || (handshake.into_iter().any(has) && !has(ChunkType::HEARTBEAT));
        match bad && open.all(|seen| seen.unconfirmed.contains(&peer)) {
            true => {
                let kinds: Vec<_> = chunks.iter().map(|chunk| chunk.kind().name()).collect();
                Err(format!("{kinds:?} goes to {peer}, which is not confirmed"))
            }
            false => Ok(()),
        }
    }

    /// Judges how things stand after the packets were polled.
    pub(super) fn after_packets(
        &mut self,
        endpoint: &Endpoint,
        config: &Config,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<(), String> {
        for id in endpoint.associations() {
            let Some(association) = endpoint.view(id) else { continue };
            let before = self.seen.get(&id);
            let mut after = Seen::of(association, before);
            after.t3_by = after.t3_by(before, now);
            match after.unaudited.checked_sub(1) {
                Some(left) => after.unaudited = left,
                None => after.unaudited = association.audit()? / AUDITED,
            }
            if let Some(before) = before {
                legal(before.state, after.state)?;
                congestion(before, &after)?;
            }
            memory(association, config)?;
            if let Some(stuck) = association.is_stuck() {
                return Err(format!("association {id} ({:?}) is stuck: {stuck}", after.state));
            }
            if deadline.is_none() && outstanding(association, &after) {
                return Err(format!("association {id} has something outstanding and no deadline"));
            }
            if let Some(by) = after.t3_by.filter(|by| deadline.is_none_or(|at| at > *by)) {
                let next = deadline.map(|at| at.saturating_duration_since(now));
                let flights: Vec<_> =
                    after.paths.iter().map(|path| (path.peer, path.flight)).collect();
                return Err(format!(
                    "association {id} ({:?}) has DATA in flight ({flights:?}): T3-rtx is due within {:?}, and the next deadline is {next:?}",
                    after.state,
                    by - now
                ));
            }
            self.seen.insert(id, after);
        }
        Ok(())
    }
}

/// The bytes of IP and UDP headers in front of a packet.
pub(super) fn ip_overhead(transmit: &Transmit) -> usize {
    let ip = if transmit.destination.is_ipv4() { 20 } else { 40 };
    if transmit.udp_port.is_some() { ip + 8 } else { ip }
}

/// A packet of ours decodes, has a good checksum, and encodes to the same bytes again.
fn well_formed(bytes: &Bytes) -> Result<(Packet<'_>, Vec<Chunk>), String> {
    let packet = Packet::parse(bytes).map_err(|error| format!("no packet: {error:?}"))?;
    if packet.checksum() != Checksum::Valid {
        return Err(format!("the checksum is {:?}", packet.checksum()));
    }
    let mut chunks = Vec::new();
    for raw in packet.chunks() {
        let chunk =
            raw.and_then(|raw| raw.decode()).map_err(|error| format!("no chunk: {error:?}"))?;
        chunks.push(chunk);
    }
    if chunks.is_empty() {
        return Err("a packet without chunks".to_owned());
    }
    let mut again = BytesMut::with_capacity(bytes.len());
    let mut builder = PacketBuilder::new(&mut again, packet.header, bytes.len());
    for chunk in &chunks {
        if !builder.push(chunk) {
            return Err(format!("{:?} grows when it is encoded again", chunk.kind()));
        }
    }
    builder.finish();
    match again == *bytes {
        true => Ok((packet, chunks)),
        false => Err("the packet encodes to other bytes again".to_owned()),
    }
}

/// An ERROR of the association: that of a stale cookie is of none.
fn is_report(chunk: &Chunk) -> bool {
    let stale = |cause| matches!(cause, Ok(Cause::StaleCookie { .. }));
    matches!(chunk, Chunk::Error(causes) if !causes.iter().any(stale))
}

/// RFC 9260, 8.5.1 A: the tag is 0 where an INIT is, and nowhere else. A reflected tag is the peer's own doing.
fn verification_tag(packet: &Packet, chunks: &[Chunk]) -> Result<(), String> {
    let zero = packet.header.verification_tag.is_zero();
    let init = chunks.iter().any(|chunk| matches!(chunk, Chunk::Init(_)));
    let reflected = chunks.iter().any(|chunk| match chunk {
        Chunk::Abort(abort) => abort.tag_reflected,
        Chunk::ShutdownComplete(complete) => complete.tag_reflected,
        _ => false,
    });
    match zero == init || (zero && reflected) {
        true => Ok(()),
        false => Err(format!("verification tag {}", packet.header.verification_tag)),
    }
}

/// RFC 9260, 6.10: INIT, INIT ACK and SHUTDOWN COMPLETE are never bundled; 9.1: no DATA with an ABORT.
fn stands_alone(chunks: &[Chunk]) -> Result<(), String> {
    for chunk in chunks {
        let alone = [ChunkType::INIT, ChunkType::INIT_ACK, ChunkType::SHUTDOWN_COMPLETE];
        if chunks.len() > 1 && alone.contains(&chunk.kind()) {
            return Err(format!("{:?} is bundled", chunk.kind().name()));
        }
    }
    let has = |kind| chunks.iter().any(|chunk| chunk.kind() == kind);
    if has(ChunkType::ABORT) && has(ChunkType::DATA) {
        return Err("DATA is bundled with an ABORT".to_owned());
    }
    let first = chunks.first().map(Chunk::kind);
    for kind in [ChunkType::COOKIE_ECHO, ChunkType::COOKIE_ACK] {
        if has(kind) && first != Some(kind) {
            return Err(format!("{:?} is not the first chunk", kind.name()));
        }
    }
    Ok(())
}

/// RFC 9260, 6.1 B: new data goes out only while the flight is below cwnd, which it may then exceed by
/// less than one packet; 7.2.4 3: a fast retransmission goes out whatever cwnd says. A cwnd that was cut
/// may leave a flight above it, which then must not grow. The packet may hold a chunk that was cut before the MTU
/// shrank, so it is measured by the greatest MTU that was ever seen.
fn congestion(before: &Seen, after: &Seen) -> Result<(), String> {
    let mtu = after.greatest_mtu;
    let fast = (after.fast_retransmits - before.fast_retransmits) as usize;
    for path in &after.paths {
        let Some(old) = before.paths.iter().find(|old| old.peer == path.peer) else { continue };
        let cwnd = path.cwnd.max(old.cwnd);
        let limit = old.flight.max(cwnd + mtu - 1) + fast * mtu;
        if path.flight > limit {
            return Err(format!(
                "the flight to {} is {} bytes, was {}, with cwnd {cwnd}, MTU {mtu} and {fast} fast retransmissions",
                path.peer, path.flight, old.flight
            ));
        }
    }
    Ok(())
}

/// What is received and not taken yet stays within the buffer, or, where gaps have to be filled before anything can be
/// taken, within twice the buffer; what is sent and not acknowledged stays within its own, except that a message cut
/// into fragments costs a little more than when it was taken whole.
fn memory(association: &Association, config: &Config) -> Result<(), String> {
    let received = association.statistics().receive_buffered;
    let (receive, send) = (config.limits.receive_buffer, config.limits.send_buffer);
    if received > 2 * receive + usize::from(u16::MAX) {
        return Err(format!("{received} bytes are held, and the receive buffer has {receive}"));
    }
    let sent = association.send_buffered();
    match sent > send + send / 8 {
        true => Err(format!("{sent} bytes are held, and the send buffer has {send}")),
        false => Ok(()),
    }
}

/// Whether the association waits for something of the peer's, so that a timer must run.
fn outstanding(association: &Association, seen: &Seen) -> bool {
    match seen.state {
        State::Closed => false,
        State::Established => {
            seen.paths.iter().any(|path| path.flight > 0) || association.send_buffered() > 0
        }
        // Every other state has a timer of its own, or ends when the data is acknowledged.
        _ => true,
    }
}

/// RFC 9260, 4: which state may follow which. One input may lead through several.
fn legal(before: State, after: State) -> Result<(), String> {
    use State::{
        Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
        ShutdownReceived, ShutdownSent,
    };
    let allowed = before == after
        || match (before, after) {
            // The end of an association that is not released yet is for ever.
            (Closed, _) => false,
            (_, Closed) => true,
            // 5.2.6: a stale cookie begins again.
            (CookieEchoed, CookieWait) => true,
            (_, CookieWait) => false,
            (CookieWait, _) => true,
            (_, CookieEchoed) => false,
            (CookieEchoed, _) => true,
            // 5.2.4 A: a restart, which SHUTDOWN-ACK-SENT refuses; a close of the application's goes on behind it.
            (ShutdownAckSent, _) => false,
            (ShutdownSent | ShutdownReceived, ShutdownPending | ShutdownSent) => true,
            (_, Established) => true,
            (Established, _) => true,
            (ShutdownPending, ShutdownSent | ShutdownReceived | ShutdownAckSent) => true,
            (ShutdownSent | ShutdownReceived, ShutdownAckSent) => true,
            (ShutdownSent | ShutdownReceived, _) => false,
            (_, ShutdownPending) => false,
        };
    match allowed {
        true => Ok(()),
        false => Err(format!("{before:?} turned into {after:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_the_diagram_of_the_rfc() {
        legal(State::CookieWait, State::Established).unwrap();
        legal(State::Established, State::ShutdownAckSent).unwrap();
        legal(State::ShutdownSent, State::Closed).unwrap();
        legal(State::Closed, State::Established).unwrap_err();
        legal(State::ShutdownAckSent, State::ShutdownSent).unwrap_err();
        legal(State::ShutdownSent, State::ShutdownReceived).unwrap_err();
        legal(State::Established, State::CookieWait).unwrap_err();
    }
}
