//! COOKIE ECHO with anything in it: bytes of the fuzzer's, and true cookies with altered contents.
//!
//! Under `cfg(fuzzing)` neither the checksum of a packet nor the MAC of a cookie is looked at, so what the fuzzer
//! writes is read as if it were authentic. Nothing may panic, whatever state a nonsensical cookie leads to.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use usctp_assoc::{Config, Datagram, Ecn, Endpoint, sim};
use usctp_chunk::{
    Chunk, CommonHeader, Data, DataFlags, Init, Packet, PacketBuilder, Parameter, Ppid, Sequence,
    Ssn, StreamId, Tsn, VerificationTag,
};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2));

#[derive(Debug, Arbitrary)]
struct Input {
    /// Cookies to send one after the other.
    cookies: Vec<Cookie>,
    /// Whether INIT comes from an address list or from its source alone.
    listed: Vec<[u8; 4]>,
}

#[derive(Debug, Arbitrary)]
struct Cookie {
    contents: Contents,
    later_ms: u32,
    with_data: bool,
    times_out_after: bool,
}

#[derive(Debug, Arbitrary)]
enum Contents {
    Bytes(Vec<u8>),
    Altered(Vec<(u8, u8)>),
    Cut(u8),
}

struct World {
    endpoint: Endpoint,
    now: Instant,
    tag: VerificationTag,
    cookie: Bytes,
}

fuzz_target!(|input: Input| {
    let mut world = World::new(&input.listed);
    for cookie in input.cookies.iter().take(8) {
        world.now += Duration::from_millis(cookie.later_ms.into());
        let mut chunks = vec![Chunk::CookieEcho(world.contents(&cookie.contents))];
        if cookie.with_data {
            chunks.push(data());
        }
        world.says(world.tag, &chunks);
        if cookie.times_out_after {
            world.times_out();
        }
    }
});

impl World {
    fn new(listed: &[[u8; 4]]) -> Self {
        let now = sim::epoch();
        let mut endpoint = Endpoint::new(Config::default(), 5000, vec![OURS], [7; 32], now);
        endpoint.listen(true);
        let (tag, cookie) = (VerificationTag::ZERO, Bytes::new());
        let mut world = Self { endpoint, now, tag, cookie };
        let addresses =
            listed.iter().take(100).map(|address| Parameter::from_ip((*address).into()));
        let init = Init {
            initiate_tag: VerificationTag(0x5a5a_5a5a),
            a_rwnd: 100_000,
            outbound_streams: 10,
            inbound_streams: 10,
            initial_tsn: Tsn::new(1000),
            parameters: addresses.collect(),
        };
        for packet in world.says(VerificationTag::ZERO, &[Chunk::Init(init)]) {
            let chunks = Packet::parse(packet).expect("we send packets").chunks();
            for chunk in chunks.filter_map(|raw| raw.ok()?.decode().ok()) {
                if let Chunk::InitAck(init) = chunk {
                    world.tag = init.initiate_tag;
                    let cookie = init.parameters.iter().find_map(|parameter| match parameter {
                        Ok(Parameter::StateCookie(cookie)) => Some(cookie),
                        _ => None,
                    });
                    world.cookie = cookie.expect("an INIT ACK carries a cookie");
                }
            }
        }
        world
    }

    fn contents(&self, contents: &Contents) -> Bytes {
        match contents {
            Contents::Bytes(bytes) => Bytes::copy_from_slice(bytes),
            Contents::Cut(len) => self.cookie.slice(..self.cookie.len().min((*len).into())),
            Contents::Altered(places) => {
                let mut cookie = BytesMut::from(&*self.cookie);
                for (place, change) in places {
                    if let Some(byte) = cookie.get_mut(usize::from(*place)) {
                        *byte ^= change;
                    }
                }
                cookie.freeze()
            }
        }
    }

    /// One packet from the peer, and everything it leads to.
    fn says(&mut self, tag: VerificationTag, chunks: &[Chunk]) -> Vec<Bytes> {
        let header =
            CommonHeader { source_port: 7000, destination_port: 5000, verification_tag: tag };
        let mut bytes = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut bytes, header, 65_000);
        for chunk in chunks {
            builder.push(chunk);
        }
        builder.finish();
        let payload = bytes.freeze();
        let (source, destination) = (PEER, OURS);
        let datagram = Datagram { source, destination, udp_port: None, ecn: Ecn::NotEct, payload };
        self.endpoint.handle_datagram(self.now, datagram);
        self.drain()
    }

    fn times_out(&mut self) {
        for _ in 0..50 {
            let Some(at) = self.endpoint.poll_timeout() else { break };
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
    }

    fn drain(&mut self) -> Vec<Bytes> {
        let mut packets = Vec::new();
        let mut out = BytesMut::new();
        while self.endpoint.poll_transmit(self.now, &mut out).is_some() {
            packets.push(out.split().freeze());
        }
        while self.endpoint.poll_event().is_some() {}
        for id in self.endpoint.associations().collect::<Vec<_>>() {
            if let Some(association) = self.endpoint.association(id) {
                while association.recv(self.now).is_some() {}
            }
        }
        packets
    }
}

fn data() -> Chunk {
    Chunk::Data(Data {
        tsn: Tsn::new(1000),
        stream: StreamId(0),
        sequence: Sequence::Ssn(Ssn::new(0)),
        ppid: Ppid(0),
        flags: DataFlags { immediate: false, unordered: false, beginning: true, ending: true },
        payload: Bytes::from_static(b"with the cookie"),
    })
}
