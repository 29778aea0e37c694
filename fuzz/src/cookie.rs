//! What holds for any COOKIE ECHO: bytes of the fuzzer's, and true cookies with altered contents.
//!
//! Under `cfg(fuzzing)` neither the checksum of a packet nor the MAC of a cookie is looked at, so what the fuzzer
//! writes is read as if it were authentic. Nothing may panic, and nothing may go on for ever, whatever state a
//! nonsensical cookie leads to.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use usctp_assoc::{Config, Datagram, Ecn, Endpoint};
use usctp_chunk::{
    Chunk, CommonHeader, Data, DataFlags, Init, Packet, PacketBuilder, Parameter, Ppid, Sequence,
    Ssn, StreamId, Tsn, VerificationTag,
};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2));
const PORT: u16 = 5000;
const PEER_PORT: u16 = 7000;

/// Packets that one input may lead to, far more than a dozen time-outs need.
const MOST_PACKETS: usize = 100_000;

/// Takes bytes for a script: cookies to send to an endpoint that listens, one after the other.
///
/// # Panics
/// If the endpoint breaks one of its promises.
pub fn script(bytes: &[u8]) {
    let mut script = Unstructured::new(bytes);
    let mut world = World::new();
    for _ in 0..8 {
        if script.is_empty() || world.step(&mut script).is_err() {
            break;
        }
    }
}

/// An endpoint that has answered an INIT.
struct World {
    endpoint: Endpoint,
    now: Instant,
    tag: VerificationTag,
    cookie: Bytes,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(Config::default(), PORT, vec![OURS], [7; 32], now);
        endpoint.listen(true);
        let (tag, cookie) = (VerificationTag::ZERO, Bytes::new());
        let mut world = Self { endpoint, now, tag, cookie };
        let addresses = [PEER, IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2))].map(Parameter::from_ip);
        let init = Init {
            initiate_tag: VerificationTag(0x5a5a_5a5a),
            a_rwnd: 100_000,
            outbound_streams: 10,
            inbound_streams: 10,
            initial_tsn: Tsn::new(1000),
            parameters: addresses.into_iter().collect(),
        };
        let answers = world.says(VerificationTag::ZERO, &[Chunk::Init(init)]);
        let init_ack = answers.iter().find_map(init_ack).expect("an INIT is answered");
        world.tag = init_ack.initiate_tag;
        let cookies = init_ack.parameters.iter().find_map(|parameter| match parameter {
            Ok(Parameter::StateCookie(cookie)) => Some(cookie),
            _ => None,
        });
        world.cookie = cookies.expect("an INIT ACK carries a cookie");
        world
    }

    /// Waits, sends a cookie, perhaps with DATA behind it, and perhaps lets timers expire.
    fn step(&mut self, script: &mut Unstructured<'_>) -> Result<()> {
        let how: u8 = script.arbitrary()?;
        let tenths: u16 = script.arbitrary()?;
        self.now += Duration::from_millis(u64::from(tenths) * 100);
        let mut chunks = vec![Chunk::CookieEcho(self.contents(how, script)?)];
        if how & 0x40 != 0 {
            chunks.push(data());
        }
        self.says(self.tag, &chunks);
        if how & 0x80 != 0 {
            self.times_out();
        }
        Ok(())
    }

    fn contents(&self, how: u8, script: &mut Unstructured<'_>) -> Result<Bytes> {
        let mut cookie = BytesMut::from(&*self.cookie);
        match how & 3 {
            0 => {
                for _ in 0..script.arbitrary::<u8>()? {
                    let (place, change): (u8, u8) = script.arbitrary()?;
                    if let Some(byte) = cookie.get_mut(usize::from(place)) {
                        *byte ^= change;
                    }
                }
            }
            1 => cookie.truncate(script.arbitrary::<u8>()?.into()),
            2 => cookie.extend_from_slice(script.bytes(script.len().min(40))?),
            _ => {
                let len = usize::from(script.arbitrary::<u8>()?).min(script.len());
                cookie = BytesMut::from(script.bytes(len)?);
            }
        }
        Ok(cookie.freeze())
    }

    /// One packet from the peer, and everything it leads to.
    fn says(&mut self, tag: VerificationTag, chunks: &[Chunk]) -> Vec<Bytes> {
        let header =
            CommonHeader { source_port: PEER_PORT, destination_port: PORT, verification_tag: tag };
        let mut bytes = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut bytes, header, 65_000);
        for chunk in chunks {
            assert!(builder.push(chunk), "the packet has room");
        }
        builder.finish();
        let payload = bytes.freeze();
        let (source, destination) = (PEER, OURS);
        let (udp_port, ecn) = (None, Ecn::NotEct);
        let datagram = Datagram { source, destination, udp_port, zone: 0, ecn, payload };
        self.endpoint.handle_datagram(self.now, datagram);
        self.drain()
    }

    fn times_out(&mut self) {
        for _ in 0..12 {
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
            assert!(packets.len() < MOST_PACKETS, "sending ends");
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

fn init_ack(packet: &Bytes) -> Option<Init> {
    let packet = Packet::parse(packet).ok()?;
    match packet.chunks().next()?.ok()?.decode() {
        Ok(Chunk::InitAck(init)) => Some(init),
        _ => None,
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_seeds_of_the_cookie_target_run() {
        for (_, _, bytes) in crate::seeds::all().into_iter().filter(|seed| seed.0 == "cookie") {
            super::script(&bytes);
        }
    }
}
