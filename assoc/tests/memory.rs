//! What peers make an endpoint hold, counted by the allocator and compared with what is charged for it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, as it should; an arbitrary starting point in time is all it needs"
)]
#![allow(missing_docs, reason = "tests are named as sentences")]

use std::alloc::System;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use usctp_assoc::{AssociationId, Budget, Config, Datagram, Ecn, Endpoint, Options};
use usctp_chunk::{
    Chunk, CommonHeader, Data, DataFlags, Init, Packet, PacketBuilder, Parameter, Parameters, Ppid,
    Sequence, Ssn, StreamId, Tsn, VerificationTag,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts what all threads ask for: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// What the test's own threads may ask for meanwhile, in bytes.
const NOISE: usize = 32 << 10;

fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listening endpoint, and whoever sends packets to it: nothing is held of those but what the endpoint holds.
struct Host {
    endpoint: Endpoint,
    now: Instant,
    out: BytesMut,
}

/// An association of the host's, with its tag and the peer's port.
#[derive(Clone, Copy)]
struct Peer {
    id: AssociationId,
    tag: VerificationTag,
    port: u16,
}

/// A DATA chunk of one byte: whole, in order, on stream 0, with number 0, unless it is said otherwise.
#[derive(Clone, Copy)]
struct Piece {
    tsn: u32,
    stream: u16,
    ssn: u16,
    flags: DataFlags,
    len: usize,
}

impl Piece {
    fn whole(tsn: u32) -> Self {
        let flags = DataFlags { immediate: false, unordered: false, beginning: true, ending: true };
        Self { tsn, stream: 0, ssn: 0, flags, len: 1 }
    }

    fn middle(tsn: u32) -> Self {
        let mut piece = Self::whole(tsn);
        (piece.flags.beginning, piece.flags.ending) = (false, false);
        piece
    }

    fn on(self, stream: u16, ssn: u16) -> Self {
        Self { stream, ssn, ..self }
    }

    fn unordered(mut self) -> Self {
        self.flags.unordered = true;
        self
    }

    fn of(self, len: usize) -> Self {
        Self { len, ..self }
    }
}

impl Host {
    fn new(set: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        set(&mut options);
        let config = Config::new(options).unwrap();
        let now = Instant::now();
        let mut endpoint =
            Endpoint::new(config, 7, vec![IpAddr::from([10, 0, 0, 1])], [3; 32], now);
        endpoint.listen(true);
        Self { endpoint, now, out: BytesMut::with_capacity(1 << 16) }
    }

    /// A peer opens an association and lists so many addresses beside the one it has.
    fn open(&mut self, port: u16, addresses: u8) -> Option<Peer> {
        let [high, low] = port.to_be_bytes();
        let listed = (0..addresses).map(|n| IpAddr::from([10 + n, 9, high, low]));
        let init = Init {
            initiate_tag: VerificationTag(5),
            a_rwnd: 100_000,
            outbound_streams: 65_535,
            inbound_streams: 10,
            initial_tsn: Tsn::new(1),
            parameters: listed.map(Parameter::from_ip).collect::<Parameters>(),
        };
        self.hears(port, VerificationTag(0), &[Chunk::Init(init)], 0);
        let answer = self.says()?;
        let Chunk::InitAck(ack) =
            Packet::parse(&answer).unwrap().chunks().next()?.unwrap().decode().unwrap()
        else {
            return None;
        };
        let cookie = ack.parameters.iter().find_map(|parameter| match parameter {
            Ok(Parameter::StateCookie(cookie)) => Some(Bytes::copy_from_slice(&cookie)),
            _ => None,
        })?;
        drop(answer);
        let before: Vec<_> = self.endpoint.associations().collect();
        let tag = ack.initiate_tag;
        self.hears(port, tag, &[Chunk::CookieEcho(cookie)], 0);
        self.drain();
        let id = self.endpoint.associations().find(|id| !before.contains(id))?;
        Some(Peer { id, tag, port })
    }

    /// A packet with these chunks arrives, padded by a PAD chunk to `padded` bytes.
    fn hears(&mut self, port: u16, tag: VerificationTag, chunks: &[Chunk], padded: usize) {
        let header = CommonHeader { source_port: port, destination_port: 7, verification_tag: tag };
        let mut bytes = BytesMut::with_capacity(1500);
        let mut packet = PacketBuilder::new(&mut bytes, header, 65_000);
        for chunk in chunks {
            assert!(packet.push(chunk));
        }
        if let Some(padding) = padded.checked_sub(packet.len() + 4) {
            packet.push_padding(padding);
        }
        packet.finish();
        let [high, low] = port.to_be_bytes();
        let datagram = Datagram {
            source: IpAddr::from([10, 0, high, low]),
            destination: IpAddr::from([10, 0, 0, 1]),
            udp_port: None,
            zone: 0,
            ecn: Ecn::NotEct,
            // Received as links do: in memory of its own.
            payload: Bytes::copy_from_slice(&bytes),
        };
        self.endpoint.handle_datagram(self.now, datagram);
    }

    fn says(&mut self) -> Option<Bytes> {
        self.out.clear();
        self.endpoint.poll_transmit(self.now, &mut self.out)?;
        Some(Bytes::copy_from_slice(&self.out))
    }

    fn drain(&mut self) {
        while self.endpoint.poll_transmit(self.now, &mut self.out).is_some() {
            self.out.clear();
        }
        while self.endpoint.poll_event().is_some() {}
    }

    /// A packet with this piece, and padding that only wastes memory if the packet is kept.
    fn data(&mut self, peer: Peer, piece: Piece) {
        let Piece { tsn, stream, ssn, flags, len } = piece;
        let chunk = Chunk::Data(Data {
            tsn: Tsn::new(tsn),
            stream: StreamId(stream),
            sequence: Sequence::Ssn(Ssn::new(ssn)),
            ppid: Ppid(0),
            flags,
            payload: vec![b'x'; len].into(),
        });
        self.hears(peer.port, peer.tag, &[chunk], 1452);
        self.drain();
    }

    fn take_all(&mut self, peer: Peer) -> usize {
        let taken = std::iter::from_fn(|| self.endpoint.recv(peer.id)).count();
        self.drain();
        taken
    }

    fn charged(&self, peer: Peer) -> usize {
        self.endpoint.view(peer.id).unwrap().statistics().receive_buffered
    }
}

/// Bytes asked for and not given back since the region began.
fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

/// A peer sends these, and what it makes us hold is what it is charged for.
fn holds_what_is_charged(what: &str, pieces: impl IntoIterator<Item = Piece>) {
    let _one = one_at_a_time();
    let mut host = Host::new(|_| {});
    let peer = host.open(9, 0).unwrap();
    let region = Region::new(ALLOCATOR);
    for piece in pieces {
        host.data(peer, piece);
    }
    let (held, charged) = (held(&region), host.charged(peer));
    println!("{what}: {held} bytes held, {charged} charged");
    // So many that what is common to all does not count.
    assert!(charged > 200_000, "{what}: {charged} charged");
    assert!(held <= charged + charged / 8 + NOISE, "{what}: {held} held, {charged} charged");
    // What is charged is for the worst case, in which what grows by doubling has just done so.
    assert!(charged <= 2 * held + NOISE, "{what}: {held} held, {charged} charged");
    let most = 2 * Options::default().limits.receive_buffer + 2_000;
    assert!(charged <= most, "{what}: {charged}");
    host.take_all(peer);
}

#[test]
fn early_messages_each_on_a_stream_of_its_own_are_charged_as_they_are_held() {
    let lone = [Piece::whole(65_500).on(0, 1)];
    let early = (2..65_000).map(|tsn| Piece::whole(tsn).on(tsn as u16, 1));
    holds_what_is_charged("early messages", lone.into_iter().chain(early));
}

#[test]
fn early_messages_of_one_stream_are_charged_as_they_are_held() {
    let early = (2..30_000).map(|tsn| Piece::whole(tsn).on(3, tsn as u16));
    holds_what_is_charged("early messages of a stream", early);
}

#[test]
fn lone_fragments_are_charged_as_they_are_held() {
    let lone = [Piece::middle(65_500)];
    let fragments = (2..65_000).step_by(2).map(Piece::middle);
    holds_what_is_charged("lone fragments", lone.into_iter().chain(fragments));
}

#[test]
fn fragments_in_twos_are_charged_as_they_are_held() {
    let fragments = (2..65_000).step_by(3).flat_map(|tsn| [tsn, tsn + 1]).map(Piece::middle);
    holds_what_is_charged("pairs of fragments", fragments);
}

#[test]
fn fragments_in_one_long_run_are_charged_as_they_are_held() {
    holds_what_is_charged("a run of fragments", (2..65_000).map(Piece::middle));
}

#[test]
fn fragments_of_a_third_of_their_packet_are_charged_as_they_are_held() {
    let fragments = (2..65_000).step_by(2).map(|tsn| Piece::middle(tsn).of(484));
    holds_what_is_charged("fragments of a third", fragments);
}

#[test]
fn tiny_messages_that_nobody_takes_are_charged_as_they_are_held() {
    let messages = (1..65_000).map(|tsn| Piece::whole(tsn).on(0, (tsn - 1) as u16));
    holds_what_is_charged("tiny messages", messages);
}

#[test]
fn messages_of_a_quarter_of_their_packet_are_charged_as_they_are_held() {
    let messages = (1..65_000).map(|tsn| Piece::whole(tsn).on(0, (tsn - 1) as u16).of(364));
    holds_what_is_charged("messages of a quarter", messages);
}

#[test]
fn gaps_are_charged_though_what_is_between_them_was_taken() {
    let _one = one_at_a_time();
    let mut host = Host::new(|_| {});
    let peer = host.open(9, 0).unwrap();
    let region = Region::new(ALLOCATOR);
    for tsn in (2..65_000).step_by(2) {
        host.data(peer, Piece::whole(tsn).unordered());
        host.take_all(peer);
    }
    let (held, charged) = (held(&region), host.charged(peer));
    println!("gaps: {held} bytes held, {charged} charged");
    assert!(held <= charged + NOISE, "{held} held, {charged} charged");
}

#[test]
fn a_message_on_the_last_stream_leaves_little_behind() {
    let _one = one_at_a_time();
    let mut host = Host::new(|_| {});
    let peer = host.open(9, 0).unwrap();
    host.data(peer, Piece::whole(1).on(1, 0));
    host.take_all(peer);
    let region = Region::new(ALLOCATOR);
    host.data(peer, Piece::whole(2).on(65_534, 0));
    assert_eq!(host.take_all(peer), 1);
    let held = held(&region);
    println!("one message on the last stream, taken: {held} bytes stay");
    assert!(held <= 4_608, "{held}");
}

#[test]
fn streams_leave_two_bytes_each_behind_once_their_messages_are_taken() {
    let _one = one_at_a_time();
    let mut host = Host::new(|_| {});
    let peer = host.open(9, 0).unwrap();
    let before = host.endpoint.budget().held();
    let region = Region::new(ALLOCATOR);
    // Each waits for a moment: first its second message comes, and then its first.
    for n in 0..65_534 {
        host.data(peer, Piece::whole(2 * n + 2).on(n as u16, 1));
        host.data(peer, Piece::whole(2 * n + 1).on(n as u16, 0));
        host.take_all(peer);
    }
    let held = held(&region);
    println!("all streams used: {held} bytes stay");
    assert!(held <= 2 * 65_536 + 4_096 + NOISE, "{held}");
    let charged = host.endpoint.budget().held() - before;
    assert!(held <= charged + NOISE, "{held} held, {charged} charged");
}

#[test]
fn messages_and_the_queue_that_they_waited_in_are_in_the_budget_as_they_are_held() {
    let _one = one_at_a_time();
    let mut host = Host::new(|_| {});
    let peer = host.open(9, 0).unwrap();
    let before = host.endpoint.budget().held();
    let region = Region::new(ALLOCATOR);
    for (count, taken) in [(1_500, false), (1_500, true)] {
        if taken {
            assert_eq!(host.take_all(peer), count);
        } else {
            (1..=count as u32)
                .for_each(|tsn| host.data(peer, Piece::whole(tsn).on(0, (tsn - 1) as u16)));
        }
        let (held, charged) = (held(&region), host.endpoint.budget().held() - before);
        println!("{count} messages, taken: {taken}: {held} held, {charged} in the budget");
        assert!(held.abs_diff(charged) <= held / 8 + NOISE, "{held} held, {charged} charged");
    }
}

#[test]
fn what_was_taken_is_given_back_to_the_allocator() {
    let _one = one_at_a_time();
    let mut host = Host::new(|_| {});
    let peer = host.open(9, 0).unwrap();
    let region = Region::new(ALLOCATOR);
    for tsn in (2..3_000).chain([1]) {
        host.data(peer, Piece::whole(tsn).on(0, (tsn - 1) as u16));
    }
    let before = held(&region);
    assert!(host.take_all(peer) >= 2_000);
    let after = held(&region);
    println!("{before} bytes held, {after} once all was taken");
    assert!(after <= NOISE, "{after} of {before}");
}

/// So many peers open associations and list so many addresses; what each makes us hold, and what of it is in the budget.
fn each_of_many_peers(count: u16, addresses: u8) -> (usize, usize) {
    let mut host = Host::new(|_| {});
    let region = Region::new(ALLOCATOR);
    for port in 1..=count {
        host.open(port, addresses).unwrap();
    }
    let (held, charged) = (held(&region), host.endpoint.budget().held());
    println!("{addresses} addresses: {held} held, {charged} charged, for {count} associations");
    (held / usize::from(count), charged / usize::from(count))
}

#[test]
fn associations_and_their_addresses_are_charged_as_they_are_held_and_held_small() {
    let _one = one_at_a_time();
    let (plain, charged) = each_of_many_peers(500, 0);
    assert!(plain <= charged + charged / 4, "{plain} held, {charged} charged");
    let (listing, charged) = each_of_many_peers(500, 52);
    assert!(listing <= charged + charged / 4, "{listing} held, {charged} charged");
    // A peer that lists addresses has confirmed none of them.
    assert!(listing - plain <= 20_000, "{plain} and {listing}");
}

#[test]
fn many_peers_with_a_gap_each_hold_no_more_than_the_budget_and_go_on() {
    let _one = one_at_a_time();
    const BUDGET: usize = 16 << 20;
    let mut host = Host::new(|options| options.limits.memory = BUDGET);
    let region = Region::new(ALLOCATOR);
    let peers: Vec<Peer> = (1..=50).map(|port| host.open(port, 0).unwrap()).collect();
    let mut most = 0;
    for tsn in 2..1500 {
        for peer in &peers {
            host.data(*peer, Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000));
        }
        most = most.max(held(&region));
    }
    println!("{most} bytes held at most, {} in the budget", host.endpoint.budget().held());
    assert!(most <= BUDGET + BUDGET / 4, "{most}");
    // Now everything is sent again, in order, and nobody was harmed by the others.
    for tsn in 1..1500 {
        for peer in &peers {
            host.data(*peer, Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000));
            host.take_all(*peer);
        }
    }
    for peer in &peers {
        let statistics = host.endpoint.view(peer.id).unwrap().statistics();
        assert_eq!(statistics.messages_received, 1499);
    }
}

#[test]
fn messages_that_nobody_takes_stay_within_the_budget_and_one_more_peer_is_refused() {
    let _one = one_at_a_time();
    const BUDGET: usize = 8 << 20;
    let mut host = Host::new(|options| options.limits.memory = BUDGET);
    let region = Region::new(ALLOCATOR);
    let peers: Vec<Peer> = (1..=50).map(|port| host.open(port, 0).unwrap()).collect();
    for tsn in 1..600 {
        for peer in &peers {
            host.data(*peer, Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000));
        }
    }
    let held = held(&region);
    println!("{held} bytes held, {} in the budget", host.endpoint.budget().held());
    assert!(held <= BUDGET + BUDGET / 4, "{held}");
    assert!(host.open(99, 0).is_none());
    assert_eq!(host.endpoint.counters().refused, 1);
    // Once they are taken there is room again.
    for peer in &peers {
        assert!(host.take_all(*peer) > 50);
    }
    assert!(host.open(99, 0).is_some());
}

#[test]
fn what_lies_behind_gaps_goes_before_a_peer_is_refused_and_the_greatest_hoard_first() {
    let _one = one_at_a_time();
    const BUDGET: usize = 4 << 20;
    let mut host = Host::new(|options| options.limits.memory = BUDGET);
    let [greedy, modest, reader] = [1, 2, 3].map(|port| host.open(port, 0).unwrap());
    for tsn in 2..1500 {
        host.data(greedy, Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000));
    }
    for tsn in 2..50 {
        host.data(modest, Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000));
    }
    // What is in order is worth more than what is not.
    let mut tsn = 1;
    let mut others = Vec::new();
    while host.endpoint.counters().reneged == 0 && tsn < 5000 {
        if tsn % 900 == 1 {
            others.push(host.open(10 + others.len() as u16, 0).unwrap());
        }
        let at = (tsn - 1) % 900 + 1;
        host.data(*others.last().unwrap(), Piece::whole(at).on(0, (at - 1) as u16).of(1000));
        tsn += 1;
    }
    assert_eq!(host.endpoint.counters().reneged, 1);
    assert!(host.charged(greedy) < 1_000, "{}", host.charged(greedy));
    assert!(host.charged(modest) > 48_000);
    host.data(reader, Piece::whole(1));
    assert_eq!(host.take_all(reader), 1);
}

#[test]
fn what_lies_behind_gaps_goes_as_soon_as_the_budget_is_spent() {
    let _one = one_at_a_time();
    let mut host = Host::new(|options| options.limits.memory = 1 << 20);
    let [greedy, slow] = [1, 2].map(|port| host.open(port, 0).unwrap());
    let message = |tsn: u32| Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000);
    (2..=400).for_each(|tsn| host.data(greedy, message(tsn)));
    assert!(host.charged(greedy) > 400_000);
    (1..=1_000).for_each(|tsn| host.data(slow, message(tsn)));
    // Nobody had to ask for an association first.
    assert_eq!(host.endpoint.counters().reneged, 1);
    assert!(host.charged(greedy) < 1_000, "{}", host.charged(greedy));
}

#[test]
fn who_holds_little_behind_gaps_any_more_keeps_it_when_the_budget_is_spent() {
    let _one = one_at_a_time();
    let mut host = Host::new(|options| options.limits.memory = 2 << 20);
    let [emptied, shrunk, reader] = [1, 2, 3].map(|port| host.open(port, 0).unwrap());
    let message = |tsn: u32| Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000);
    // Both hold 40 messages, and get what they wait for; one has a few behind another gap.
    for peer in [emptied, shrunk] {
        (2..=40).for_each(|tsn| host.data(peer, message(tsn)));
    }
    (45..=49).for_each(|tsn| host.data(shrunk, message(tsn)));
    for peer in [emptied, shrunk] {
        host.data(peer, message(1));
        assert_eq!(host.take_all(peer), 40);
    }
    (1..=1_000).for_each(|tsn| host.data(reader, message(tsn)));
    (1..=800).for_each(|tsn| host.data(emptied, message(40 + tsn)));
    assert!(host.open(99, 0).is_none(), "all is spent: {}", host.endpoint.budget().held());
    assert_eq!(host.endpoint.counters().reneged, 0);
    assert!(host.charged(shrunk) > 5_000);
}

#[test]
fn endpoints_that_share_a_budget_have_no_more_than_that_between_them() {
    let _one = one_at_a_time();
    let whole = Budget::new(4 << 20);
    let mut hosts = [(); 2].map(|()| Host::new(|_| {}));
    let peers = hosts.each_mut().map(|host| {
        host.endpoint.share_budget(&whole);
        (1..=10).map(|port| host.open(port, 0).unwrap()).collect::<Vec<Peer>>()
    });
    for (host, peers) in hosts.iter_mut().zip(peers) {
        for peer in peers {
            (1..=200).for_each(|tsn| {
                host.data(peer, Piece::whole(tsn).on(0, (tsn - 1) as u16).of(1000));
            });
        }
    }
    let held = hosts.each_ref().map(|host| host.endpoint.budget().held());
    println!("{held:?} of {}", whole.held());
    assert_eq!(held[0] + held[1], whole.held());
    assert!(held[0] > 2 << 20 && whole.held() >= whole.limit(), "{held:?}");
    assert!(hosts.iter_mut().all(|host| host.open(99, 0).is_none()), "neither takes one more");
}
