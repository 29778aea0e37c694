//! The protocol without any network: two endpoints in one thread that hand each other their packets.

#![allow(dead_code, reason = "every measurement uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what cannot be measured has nothing to say"
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

/// Bytes of one block that packets are written to and received in; the next one follows when it is full.
const SLAB: usize = 1 << 20;

/// A client, a server, and what is between them.
pub(crate) struct Pair {
    ends: [Endpoint; 2],
    addresses: [IpAddr; 2],
    buffer: BytesMut,
    now: Instant,
    /// Packets of both directions so far.
    pub(crate) packets: u64,
}

impl Pair {
    /// Two endpoints of which the second listens. `path_mtu` is the greatest IP packet in bytes.
    pub(crate) fn new(path_mtu: u16) -> Self {
        let addresses = [1, 2].map(|host| IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)));
        let now = Instant::now();
        let mut seed = [1; 32];
        let mut ends = addresses.map(|address| {
            seed[0] += 1;
            let mut options = Options::default().with(|options| options.path_mtu = path_mtu);
            options.max_burst = 1024;
            let config = Config::new(options).unwrap();
            Endpoint::new(config, 7, vec![address], seed, now)
        });
        ends[1].listen(true);
        Self { ends, addresses, buffer: BytesMut::new(), now, packets: 0 }
    }

    /// Sets an association up.
    pub(crate) fn connect(&mut self) -> AssociationId {
        let peer = [SocketAddr::new(self.addresses[1], 7)];
        let id = self.ends[0].connectx(self.now, &peer, ConnectOptions::default()).unwrap();
        self.exchange(2);
        let state = self.ends[0].view(id).unwrap().state();
        assert_eq!(state, AssociationState::Established);
        id
    }

    /// Sends so many messages of one size on one stream, and takes them at the other end.
    pub(crate) fn transfer(&mut self, id: AssociationId, size: usize, messages: usize) {
        let payload = Bytes::from(vec![7; size]);
        let (mut sent, mut received) = (0, 0);
        let mut server = None;
        while received < messages {
            let client = self.ends[0].association(id).unwrap();
            while sent < messages && client.send(self.now, Message::new(0, payload.clone())).is_ok()
            {
                sent += 1;
            }
            self.turn(0);
            self.turn(1);
            server = server.or_else(|| self.ends[1].associations().next());
            let reader = server.and_then(|id| self.ends[1].association(id)).unwrap();
            while reader.recv(self.now).is_some() {
                received += 1;
            }
            self.now += Duration::from_micros(50);
        }
    }

    /// An INIT arrives so many times, and each is answered.
    pub(crate) fn flood(&mut self, count: usize) {
        let peer = [SocketAddr::new(self.addresses[1], 7)];
        self.ends[0].connectx(self.now, &peer, ConnectOptions::default()).unwrap();
        let init = self.ends[0].poll_transmit(self.now, &mut self.buffer).unwrap();
        let payload = self.buffer.split_to(init.len).freeze();
        let datagram = Datagram {
            source: self.addresses[0],
            destination: init.destination,
            udp_port: None,
            zone: 0,
            ecn: Ecn::NotEct,
            payload,
        };
        for _ in 0..count {
            self.ends[1].handle_datagram(self.now, datagram.clone());
            self.buffer.clear();
            self.ends[1].poll_transmit(self.now, &mut self.buffer).unwrap();
            assert!(self.ends[1].poll_transmit(self.now, &mut self.buffer).is_none());
        }
    }

    /// Closes an association and forgets it on both sides.
    pub(crate) fn close(&mut self, id: AssociationId) {
        self.ends[0].association(id).unwrap().shutdown(self.now);
        self.exchange(3);
        let theirs: Vec<_> = self.ends[1].associations().collect();
        for (end, id) in [(0, id)].into_iter().chain(theirs.into_iter().map(|id| (1, id))) {
            assert_eq!(self.ends[end].view(id).unwrap().state(), AssociationState::Closed);
            self.ends[end].release(self.now, id);
        }
    }

    fn exchange(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.turn(0);
            self.turn(1);
        }
        self.now += Duration::from_micros(50);
    }

    /// One side hands over what it has to send, up to a turn's packets.
    fn turn(&mut self, from: usize) {
        let [client, server] = &mut self.ends;
        let (from_end, to_end) = if from == 0 { (client, server) } else { (server, client) };
        if from_end.poll_timeout().is_some_and(|at| at <= self.now) {
            from_end.handle_timeout(self.now);
        }
        for _ in 0..TURN {
            // The greatest packet fits.
            if self.buffer.capacity() < 1 << 16 {
                self.buffer = BytesMut::with_capacity(SLAB);
            }
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
