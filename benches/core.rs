//! How fast the protocol is without any network: two endpoints in one thread that hand each other their packets.
//!
//! `cargo bench --bench core` prints the median of five runs for each message size. Absolute figures belong to the machine
//! of the hour; compare only what ran side by side.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to say"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use usctp_assoc::{
    AssociationId, AssociationState, Config, ConnectOptions, Datagram, Ecn, Endpoint, Message,
    Options,
};

/// Packets handed over before the other side has its turn.
const TURN: usize = 64;
const TOTAL: usize = 128 << 20;
const RUNS: usize = 5;

fn main() {
    println!("message bytes |   MB/s | ns a packet, both ends | messages/s");
    for size in [64, 1024, 1200, 8192, 65_536] {
        let mut runs: Vec<Run> = (0..RUNS).map(|_| transfer(size)).collect();
        runs.sort_by_key(|run| run.time);
        let Run { time, packets } = runs.swap_remove(RUNS / 2);
        let total = TOTAL.min(size * 400_000);
        let per_second = total as f64 / time.as_secs_f64();
        println!(
            "{size:>13} | {:>6.0} | {:>22.0} | {:>10.0}",
            per_second / 1e6,
            time.as_nanos() as f64 / packets as f64,
            per_second / size as f64,
        );
    }
}

struct Run {
    time: Duration,
    /// Packets of both directions.
    packets: u64,
}

struct Pair {
    ends: [Endpoint; 2],
    addresses: [IpAddr; 2],
    buffer: BytesMut,
    now: Instant,
    packets: u64,
}

/// Sends messages of one size on one stream until all have arrived.
fn transfer(size: usize) -> Run {
    let mut pair = Pair::new();
    let id = pair.connect();
    let payload = Bytes::from(vec![7; size]);
    let total = TOTAL.min(size * 400_000) / size;
    let (mut sent, mut received, mut server) = (0, 0, None);
    pair.packets = 0;
    let begun = Instant::now();
    while received < total {
        let client = pair.ends[0].association(id).unwrap();
        while sent < total && client.send(pair.now, Message::new(0, payload.clone())).is_ok() {
            sent += 1;
        }
        pair.turn(0);
        pair.turn(1);
        server = server.or_else(|| pair.ends[1].associations().next());
        let reader = server.and_then(|id| pair.ends[1].association(id)).unwrap();
        while reader.recv(pair.now).is_some() {
            received += 1;
        }
        pair.now += Duration::from_micros(50);
    }
    Run { time: begun.elapsed(), packets: pair.packets }
}

impl Pair {
    fn new() -> Self {
        let addresses = [1, 2].map(|host| IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)));
        let now = Instant::now();
        let mut seed = [1; 32];
        let ends = addresses.map(|address| {
            seed[0] += 1;
            let mut options = Options { path_mtu: 1500, ..Options::default() };
            options.max_burst = 1024;
            let config = Config::new(options).unwrap();
            Endpoint::new(config, 7, vec![address], seed, now)
        });
        Self { ends, addresses, buffer: BytesMut::new(), now, packets: 0 }
    }

    fn connect(&mut self) -> AssociationId {
        self.ends[1].listen(true);
        let peer = [SocketAddr::new(self.addresses[1], 7)];
        let id = self.ends[0].connectx(self.now, &peer, ConnectOptions::default()).unwrap();
        for _ in 0..4 {
            self.turn(0);
            self.turn(1);
        }
        let state = self.ends[0].view(id).unwrap().state();
        assert_eq!(state, AssociationState::Established);
        id
    }

    /// One side hands over what it has to send, up to a turn's packets.
    fn turn(&mut self, from: usize) {
        let [client, server] = &mut self.ends;
        let (from_end, to_end) = if from == 0 { (client, server) } else { (server, client) };
        if from_end.poll_timeout().is_some_and(|at| at <= self.now) {
            from_end.handle_timeout(self.now);
        }
        for _ in 0..TURN {
            let Some(transmit) = from_end.poll_transmit(self.now, &mut self.buffer) else { break };
            self.packets += 1;
            let datagram = Datagram {
                source: self.addresses[from],
                destination: transmit.destination,
                udp_port: None,
                zone: 0,
                ecn: Ecn::NotEct,
                payload: self.buffer.split_to(transmit.len).freeze(),
            };
            to_end.handle_datagram(self.now, datagram);
        }
        while from_end.poll_event().is_some() {}
    }
}
