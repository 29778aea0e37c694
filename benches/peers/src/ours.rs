//! Two endpoints of `usctp-assoc`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use usctp_assoc::{
    AssociationId, Config, ConnectOptions, Datagram, Ecn, Endpoint, Message, Options,
};

use super::{PACKET, Pair, TURN, WINDOW};

const SLAB: usize = 1 << 20;

pub struct Ours {
    ends: [Endpoint; 2],
    ids: [Option<AssociationId>; 2],
    buffer: BytesMut,
    now: Instant,
}

const ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))];

impl Pair for Ours {
    fn connect() -> Self {
        let now = Instant::now();
        let ends = [0, 1].map(|end| {
            let mut options =
                Options::default().with(|options| { options.path_mtu = PACKET as u16 + 20; options.max_burst = 1024; });
            options.limits.receive_buffer = WINDOW as usize;
            let config = Config::new(options).unwrap();
            Endpoint::new(config, 7, vec![ADDRESSES[end]], [end as u8; 32], now)
        });
        let mut pair = Self { ends, ids: [None; 2], buffer: BytesMut::new(), now };
        pair.ends[1].listen(true);
        let peer = [SocketAddr::new(ADDRESSES[1], 7)];
        pair.ids[0] = pair.ends[0].connectx(now, &peer, ConnectOptions::default()).ok();
        for _ in 0..2 {
            pair.turn(0);
            pair.turn(1);
        }
        pair.ids[1] = pair.ends[1].associations().next();
        pair
    }

    fn send(&mut self, message: &Bytes) -> bool {
        let association = self.ends[0].association(self.ids[0].unwrap()).unwrap();
        association.send(self.now, Message::new(0, message.clone())).is_ok()
    }

    fn turn(&mut self, from: usize) -> u64 {
        let [client, server] = &mut self.ends;
        let (from_end, to_end) = if from == 0 { (client, server) } else { (server, client) };
        if from_end.poll_timeout().is_some_and(|at| at <= self.now) {
            from_end.handle_timeout(self.now);
        }
        let mut packets = 0;
        for _ in 0..TURN {
            if self.buffer.capacity() < 1 << 16 {
                self.buffer = BytesMut::with_capacity(SLAB);
            }
            let Some(transmit) = from_end.poll_transmit(self.now, &mut self.buffer) else { break };
            packets += 1;
            let datagram = Datagram {
                source: ADDRESSES[from],
                destination: transmit.destination,
                udp_port: None,
                zone: 0,
                ecn: Ecn::NotEct,
                payload: self.buffer.split_to(transmit.len).freeze(),
            };
            to_end.handle_datagram(self.now, datagram);
        }
        while from_end.poll_event().is_some() {}
        packets
    }

    fn receive(&mut self) -> usize {
        let association = self.ends[1].association(self.ids[1].unwrap()).unwrap();
        let mut bytes = 0;
        while let Some(message) = association.recv(self.now) {
            bytes += message.payload.len();
        }
        bytes
    }

    fn pass(&mut self, microseconds: u64) {
        self.now += Duration::from_micros(microseconds);
    }
}
