//! What the tests of single statements of RFC 9260 share: chunks with everything chosen, and looks at what Z heard.

use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::{Heard, Ladder, a, payload, z};
use usctp_assoc::{Association, Config, Message, Options};
use usctp_chunk::{Chunk, Data, DataFlags, GapBlock, Ppid, Sack, Sequence, Ssn, StreamId, Tsn};

use crate::world::config;

/// The payload of a chunk that fills a packet of 1,500 bytes over IPv4 (PMDCS less the header of DATA).
pub(crate) const FULL: usize = PMDCS - 16;
/// The path's greatest DATA chunk at that MTU.
pub(crate) const PMDCS: usize = 1468;

/// A and Z with one address each, in ESTABLISHED.
pub(crate) fn single(name: &str) -> Ladder {
    single_with(name, |_| {})
}

/// The same with options of the test's choice.
pub(crate) fn single_with(name: &str, change: impl FnOnce(&mut Options)) -> Ladder {
    let mut ladder = alone(name, config(change));
    ladder.establishes(&[z(1)]);
    ladder
}

/// A and Z with one address each, before the set-up.
pub(crate) fn alone(name: &str, config: Config) -> Ladder {
    Ladder::with(name, config, &[a(1)], &[z(1)])
}

/// A with two addresses in ESTABLISHED with two of Z's.
pub(crate) fn double(name: &str) -> Ladder {
    double_with(name, |_| {})
}

/// The same with options of the test's choice.
pub(crate) fn double_with(name: &str, change: impl FnOnce(&mut Options)) -> Ladder {
    let mut ladder = Ladder::with(name, config(change), &[a(1), a(2)], &[z(1), z(2)]);
    ladder.establishes(&[z(1), z(2)]);
    ladder
}

/// A sends messages of `len` bytes on stream 0.
pub(crate) fn send(ladder: &mut Ladder, count: usize, len: usize) {
    let (ours, id) = (ladder.ours, ladder.id());
    let messages = (0..count as u64).map(|number| Message::new(0, payload(number, len)));
    ladder.network.offer(ours, id, messages);
}

/// A makes one of Z's addresses the primary path.
pub(crate) fn set_primary(ladder: &mut Ladder, peer: std::net::IpAddr) {
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.with(ours, id, |association, _| association.set_primary(peer)).unwrap();
}

/// A asks for a HEARTBEAT.
pub(crate) fn request_heartbeat(ladder: &mut Ladder, peer: std::net::IpAddr) {
    let (ours, id) = (ladder.ours, ladder.id());
    let asked = |association: &mut Association, now| association.request_heartbeat(now, peer);
    ladder.network.with(ours, id, asked).unwrap();
}

/// A's count of DATA chunks that it took for lost by T3-rtx.
pub(crate) fn t3_expiries(ladder: &Ladder) -> u64 {
    ladder.network.endpoint(ladder.ours).view(ladder.id()).unwrap().statistics().t3_expiries
}

/// Time passes.
pub(crate) fn wait(ladder: &mut Ladder, time: Duration) {
    ladder.network.run_for(time);
}

/// DATA of Z's on stream 0; flags are letters of "IUBE".
pub(crate) fn data(tsn: u32, ssn: u16, flags: &str, payload: impl Into<Bytes>) -> Chunk {
    let has = |flag| flags.contains(flag);
    Chunk::Data(Data {
        tsn: Tsn::new(tsn),
        stream: StreamId(0),
        sequence: Sequence::Ssn(Ssn::new(ssn)),
        ppid: Ppid(0),
        flags: DataFlags {
            immediate: has('I'),
            unordered: has('U'),
            beginning: has('B'),
            ending: has('E'),
        },
        payload: payload.into(),
    })
}

/// Z's SACK of A's first `count` chunks, with gaps counted from there, and a window.
pub(crate) fn sack(ladder: &Ladder, count: u32, gaps: &[(u16, u16)], a_rwnd: u32) -> Chunk {
    Chunk::Sack(Sack {
        cumulative_tsn: ladder.our_tsn.previous().plus(count),
        a_rwnd,
        gaps: gaps.iter().map(|&(start, end)| GapBlock { start, end }).collect(),
        duplicates: std::iter::empty().collect(),
    })
}

/// A wide window.
pub(crate) const WIDE: u32 = 1_000_000;

/// Z says that its first `count` chunks came, and those of the gaps.
pub(crate) fn acks(ladder: &mut Ladder, count: u32, gaps: &[(u16, u16)]) {
    let sack = sack(ladder, count, gaps, WIDE);
    ladder.says(z(1), &[sack]);
}

/// The DATA chunks of some packets.
pub(crate) fn chunks(heard: &[Heard]) -> Vec<Data> {
    let chunks = heard.iter().flat_map(|heard| &heard.chunks);
    let data = chunks.filter_map(|chunk| match chunk {
        Chunk::Data(data) => Some(data.clone()),
        _ => None,
    });
    data.collect()
}

/// Which of A's chunks were heard, the first being 1.
pub(crate) fn numbers(ladder: &Ladder, heard: &[Heard]) -> Vec<u32> {
    chunks(heard).iter().map(|data| data.tsn.since(ladder.our_tsn.previous())).collect()
}

/// The numbers of A's chunks that Z hears now.
pub(crate) fn hears_numbers(ladder: &mut Ladder) -> Vec<u32> {
    let heard = ladder.hears_all();
    numbers(ladder, &heard)
}

/// The SACKs of some packets.
pub(crate) fn sacks(heard: &[Heard]) -> Vec<Sack> {
    let chunks = heard.iter().flat_map(|heard| &heard.chunks);
    let sacks = chunks.filter_map(|chunk| match chunk {
        Chunk::Sack(sack) => Some(sack.clone()),
        _ => None,
    });
    sacks.collect()
}

/// The one SACK that Z hears now.
pub(crate) fn hears_sack(ladder: &mut Ladder) -> Sack {
    let heard = ladder.hears_all();
    match &*sacks(&heard) {
        [sack] => sack.clone(),
        sacks => panic!("one SACK was expected: {sacks:?} in {heard:?}"),
    }
}

/// What A's application received.
pub(crate) fn received(ladder: &mut Ladder) -> Vec<Bytes> {
    let (ours, id) = (ladder.ours, ladder.id());
    let application = ladder.network.application(ours, id);
    application.received().iter().map(|received| received.payload.clone()).collect()
}

/// Z acknowledges packet by packet until A's window to `z(1)` has this size; `len` is that of A's messages.
/// Returns how many chunks were acknowledged. A has nothing left to send then, and nothing outstanding.
pub(crate) fn grow(ladder: &mut Ladder, cwnd: usize, len: usize) -> u32 {
    let mut acked = 0;
    while ladder.path(z(1)).cwnd < cwnd {
        // A little more than the window takes, so that it is used fully.
        let count = ladder.path(z(1)).cwnd / (len + 16) + 5;
        send(ladder, count, len);
        loop {
            let heard = hears_numbers(ladder);
            if heard.is_empty() {
                break;
            }
            for _ in heard {
                acked += 1;
                acks(ladder, acked, &[]);
            }
        }
    }
    acked
}
