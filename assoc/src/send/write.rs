//! DATA into a packet: what was lost first, then what is new, as far as packet and windows have room (RFC 9260, section 6.1).

use std::time::Instant;

use usctp_chunk::PacketBuilder;

use super::outstanding::chunk_len;
use super::{DATA_HEADER, Sender, path_for_new};
use crate::outbox::Outbox;
use crate::path::{Path, PathId, Paths, Probe};

/// What was written into a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) chunks: u64,
    pub(crate) retransmitted: u64,
    /// The packet left although cwnd would have held it back.
    pub(crate) fast: bool,
}

impl Sender {
    /// Writes as much DATA for the path as the packet holds and the windows allow.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        to: PathId,
        packet: &mut PacketBuilder<'_>,
        outbox: &mut Outbox,
        paths: &mut Paths,
    ) -> Written {
        let mut written = Written::default();
        let fast = self.outstanding.is_fast();
        self.write_lost(now, to, packet, paths, &mut written);
        // RFC 9260, 6.1 (B): what leaves regardless of cwnd takes nothing new along.
        if self.outstanding.first_lost().is_none() && !fast {
            self.write_new(now, to, packet, outbox, paths, &mut written);
        }
        if let Some(path) = paths.path_mut(to).filter(|_| self.setting_up) {
            path.t3.stop();
        }
        if written.chunks > 0 {
            self.burst = self.burst.map(|packets| packets.saturating_sub(1));
            self.pacing.wait.stop();
            self.packet_left(now, to, packet.len(), paths);
            written.fast = fast;
            self.outstanding.end_fast();
        }
        written
    }

    fn write_lost(
        &mut self,
        now: Instant,
        to: PathId,
        packet: &mut PacketBuilder<'_>,
        paths: &mut Paths,
        written: &mut Written,
    ) {
        while let Some((number, next, data)) = self.outstanding.first_lost() {
            let (len, payload) = (chunk_len(data), data.payload.len());
            let Some(path) = paths.path_mut(to).filter(|path| path.id == next) else { return };
            if !self.window_allows_again(number, payload, now, path) {
                return;
            }
            let Some((_, _, data)) = self.outstanding.first_lost() else { return };
            if !packet.push_data(data) {
                return;
            }
            let probe = self.is_window_probe(number, payload);
            let earliest = self.outstanding.is_earliest_on(path, number);
            let reach = uncut(path, packet.len());
            self.outstanding.resent(now, number, reach, paths);
            let order = self.outstanding.transmissions();
            if let Some(rack) = &mut self.rack {
                rack.on_sent(to, number, order);
            }
            if probe {
                self.window.probe_sent(number, order);
            }
            written.chunks += 1;
            written.retransmitted += 1;
            let Some(path) = paths.path_mut(to) else { return };
            path.record.counts.retransmitted_chunks += 1;
            sent_on(path, now, len);
            if earliest {
                // RFC 9260, 6.1: the earliest outstanding chunk of the address is sent again.
                path.t3.start(now, path.rto.current());
            }
        }
    }

    fn write_new(
        &mut self,
        now: Instant,
        to: PathId,
        packet: &mut PacketBuilder<'_>,
        outbox: &mut Outbox,
        paths: &mut Paths,
        written: &mut Written,
    ) {
        if path_for_new(outbox, paths) != Some(to) {
            return;
        }
        let wanted = outbox.wanted();
        let limit = self.fragment_limit(paths);
        let Some(path) = paths.path_mut(to) else { return };
        let first = self.outstanding.next_number();
        let mut sent = 0;
        while let Some(len) = outbox.next_cut(limit, room_for_payload(packet)) {
            if self.setting_up && !outbox.next_is_whole(limit) {
                break;
            }
            // That probing is over where the window is open was noted when the path was chosen.
            let closed = len > self.rwnd() && !self.window_allows(len, now, path);
            if closed || !self.window_is_tidy() {
                break;
            }
            if !outbox.next_goes_along(wanted, now) {
                break;
            }
            if let Some(whole) = outbox.next_to_be_cut(len) {
                self.outstanding.begin(whole);
            }
            let tsn = self.outstanding.next_tsn();
            let Some((data, context)) = outbox.next_chunk(tsn, len, self.closing) else { break };
            let number = self.outstanding.next_number();
            let bytes = chunk_len(&data);
            let reach = packet.len() + bytes;
            sent += bytes;
            let probe = self.is_window_probe(number, len);
            let data = self.outstanding.push(now, data, path, context, reach);
            if !packet.push_data(data) {
                debug_assert!(false, "the room was checked");
            }
            let order = self.outstanding.transmissions();
            if let Some(rack) = &mut self.rack {
                rack.on_sent(to, number, order);
            }
            if probe {
                self.window.probe_sent(number, order);
            }
        }
        let chunks = self.outstanding.next_number() - first;
        if chunks > 0 {
            written.chunks += chunks;
            path.record.probe.get_or_insert(Probe { number: first, sent_at: now });
            path.record.used_at = Some(now);
            sent_on(path, now, sent);
        }
    }
}

/// Bytes of payload that one more DATA chunk of the packet may have; a chunk ends on a boundary of four bytes.
fn room_for_payload(packet: &PacketBuilder<'_>) -> usize {
    (packet.remaining() & !3).saturating_sub(DATA_HEADER)
}

/// Notes DATA sent on a path and starts its T3-rtx (RFC 9260, 6.3.2, R1).
fn sent_on(path: &mut Path, now: Instant, len: usize) {
    path.congestion.on_sent(now);
    path.record.counts.bytes_sent += len as u64;
    path.plpmtud.on_sent();
    if !path.t3.is_running() {
        path.t3.start(now, path.rto.current());
    }
}

/// The length of a packet that says something of the path's MTU: 0 where IP may cut it.
fn uncut(path: &Path, len: usize) -> usize {
    if len <= path.packet_limit() { len } else { 0 }
}
