//! Two ends of an implementation in the manner of quinn-proto: what `rtc-sctp` and `sctp-proto` have in common.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Pair, TURN};

/// Bytes of the greatest message.
pub const MESSAGE_MAX: u32 = 1 << 16;
/// The stream that all messages go by.
pub const STREAM: u16 = 0;

/// One end: an endpoint and its association.
pub trait End {
    /// The client, or the server.
    fn new(own: SocketAddr, is_server: bool) -> Self;
    /// Begins to set the association up.
    fn connect(&mut self, now: Instant, peer: SocketAddr);
    /// Opens the stream once the association is there.
    fn open(&mut self);
    /// Takes a message to be sent; `false` if it has no room for it.
    fn write(&mut self, now: Instant, message: &Bytes) -> bool;
    /// Sees to timers and events, and gives packets if there are any to send.
    fn poll(&mut self, now: Instant) -> Vec<Bytes>;
    /// Takes a packet.
    fn take(&mut self, now: Instant, from: SocketAddr, packet: Bytes);
    /// Accepts the stream that the peer opened; `false` if it is not there yet.
    fn accept(&mut self) -> bool;
    /// Takes the next message that has arrived: its length.
    fn read(&mut self) -> Option<usize>;
}

/// Two ends, and the packets that a poll gave beyond a turn's.
pub struct Polled<E> {
    ends: [E; 2],
    ready: [VecDeque<Bytes>; 2],
    is_open: bool,
    now: Instant,
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1 + end as u8], 5000))
}

impl<E: End> Pair for Polled<E> {
    fn connect() -> Self {
        let ends = [0, 1].map(|end| E::new(address(end), end == 1));
        let now = Instant::now();
        let mut pair = Self { ends, ready: Default::default(), is_open: false, now };
        pair.ends[0].connect(now, address(1));
        for _ in 0..4 {
            pair.turn(0);
            pair.turn(1);
            pair.pass(50);
        }
        pair.ends[0].open();
        pair
    }

    fn send(&mut self, message: &Bytes) -> bool {
        self.ends[0].write(self.now, message)
    }

    fn turn(&mut self, from: usize) -> u64 {
        let mut packets = 0;
        while packets < TURN as u64 {
            if self.ready[from].is_empty() {
                self.ready[from].extend(self.ends[from].poll(self.now));
            }
            let Some(packet) = self.ready[from].pop_front() else { break };
            packets += 1;
            self.ends[1 - from].take(self.now, address(from), packet);
        }
        packets
    }

    fn receive(&mut self) -> usize {
        let end = &mut self.ends[1];
        self.is_open = self.is_open || end.accept();
        std::iter::from_fn(|| end.read()).sum()
    }

    fn pass(&mut self, microseconds: u64) {
        self.now += Duration::from_micros(microseconds);
    }
}
