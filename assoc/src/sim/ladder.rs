//! Tests that read like the ladder diagrams of RFC 9260: an endpoint A, and a peer Z whose packets the test says.
//!
//! Nothing takes time on the links between them, so A has answered when [`Ladder::says`] returns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use usctp_chunk::{
    Causes, Chunk, ChunkType, CommonHeader, Data, DataFlags, Init, Packet, PacketBuilder,
    Parameter, Ppid, Sack, Sequence, Shutdown, Ssn, StreamId, Tsn, VerificationTag,
};

use super::network::Network;
use super::{HostId, LinkSettings, seed};
use crate::{
    Association, AssociationId, AssociationState, Config, ConnectOptions, Event, Message,
    NoticeKind, PathNotice, PathStatus, Quote,
};

/// A's port.
pub const PORT: u16 = 5000;
/// Z's port.
pub const PEER_PORT: u16 = 7000;
/// Z's verification tag: what its INIT or INIT ACK carries.
const PEER_TAG: VerificationTag = VerificationTag(0x5a5a_5a5a);
/// Z's first TSN.
const PEER_TSN: u32 = 1000;

/// A's IPv4 address on link `number`.
pub fn a(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, number, 1).into()
}

/// Z's IPv4 address on link `number`.
pub fn z(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, number, 2).into()
}

/// A's IPv6 address on link `number`.
pub fn a6(number: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, number.into(), 0, 0, 0, 1).into()
}

/// Z's IPv6 address on link `number`.
pub fn z6(number: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, number.into(), 0, 0, 0, 2).into()
}

/// The types of chunks, in their order.
pub fn kinds(chunks: &[Chunk]) -> Vec<ChunkType> {
    chunks.iter().map(Chunk::kind).collect()
}

/// A packet that Z heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Virtual time.
    pub at: Duration,
    /// A's address.
    pub source: IpAddr,
    /// Z's address.
    pub destination: IpAddr,
    /// Z's UDP port if the packet was encapsulated.
    pub udp_port: Option<u16>,
    /// Its common header.
    pub header: CommonHeader,
    /// Its chunks.
    pub chunks: Vec<Chunk>,
    /// All of it.
    pub bytes: Bytes,
}

impl Heard {
    /// The chunk of a packet that holds one only.
    ///
    /// # Panics
    /// If it holds another number of chunks.
    pub fn only(&self) -> &Chunk {
        match &*self.chunks {
            [chunk] => chunk,
            chunks => panic!("one chunk was expected, not {:?}", kinds(chunks)),
        }
    }

    /// The INIT or INIT ACK that the packet holds.
    ///
    /// # Panics
    /// If it holds none.
    pub fn init(&self) -> &Init {
        match self.only() {
            Chunk::Init(init) | Chunk::InitAck(init) => init,
            chunk => panic!("INIT or INIT ACK was expected, not {chunk:?}"),
        }
    }

    /// The addresses that the INIT or INIT ACK lists.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.init().parameters.iter().filter_map(|parameter| parameter.ok()?.ip()).collect()
    }

    /// The state cookie of the INIT ACK.
    ///
    /// # Panics
    /// If there is none.
    pub fn cookie(&self) -> Bytes {
        let cookies = self.init().parameters.iter().filter_map(|parameter| match parameter {
            Ok(Parameter::StateCookie(cookie)) => Some(cookie),
            _ => None,
        });
        cookies.last().expect("an INIT ACK carries a state cookie")
    }
}

/// A, Z and what was said so far.
#[derive(Debug)]
pub struct Ladder {
    /// The network.
    pub network: Network,
    /// A.
    pub ours: HostId,
    /// Z.
    pub peer: HostId,
    /// A's association with Z.
    pub id: Option<AssociationId>,
    /// A's tag, as its last INIT or INIT ACK gave it.
    pub our_tag: VerificationTag,
    /// Z's tag.
    pub peer_tag: VerificationTag,
    /// A's initial TSN.
    pub our_tsn: Tsn,
    /// Z's next TSN.
    pub peer_tsn: Tsn,
    /// Z's next stream sequence number on stream 0.
    pub peer_ssn: Ssn,
    /// Where Z sends to.
    pub towards: IpAddr,
}

impl Ladder {
    /// A with addresses 1 and 2, Z with addresses 1 to 4, the default configuration.
    pub fn new(name: &str) -> Self {
        Self::with(name, Config::default(), &[a(1), a(2)], &[z(1), z(2), z(3), z(4)])
    }

    /// A and Z with these addresses; each of A's reaches each of Z's. A does not probe for the MTU, so that the test
    /// need not answer that.
    pub fn with(name: &str, config: Config, ours: &[IpAddr], peers: &[IpAddr]) -> Self {
        Self::probing(name, config.without_pmtud(), ours, peers)
    }

    /// The same with path MTU discovery as the configuration has it.
    pub fn probing(name: &str, config: Config, ours: &[IpAddr], peers: &[IpAddr]) -> Self {
        let mut network = Network::new(name, seed(0));
        let towards = *ours.first().expect("A has an address");
        network.link_all(ours, peers, &LinkSettings::default());
        Self {
            ours: network.add_endpoint("A", ours, PORT, config),
            peer: network.add_wire("Z", peers),
            network,
            id: None,
            our_tag: VerificationTag::ZERO,
            peer_tag: PEER_TAG,
            our_tsn: Tsn::new(0),
            peer_tsn: Tsn::new(PEER_TSN),
            peer_ssn: Ssn::new(0),
            towards,
        }
    }

    // --- A's application ---

    /// A calls `connectx` with Z's port and the default options.
    pub fn connectx(&mut self, peers: &[IpAddr]) -> AssociationId {
        self.connectx_with(peers, ConnectOptions::default())
    }

    /// A calls `connectx` with Z's port.
    ///
    /// # Panics
    /// If it is refused.
    pub fn connectx_with(&mut self, peers: &[IpAddr], options: ConnectOptions) -> AssociationId {
        let peers: Vec<_> = peers.iter().map(|peer| SocketAddr::new(*peer, PEER_PORT)).collect();
        let id = self.network.connectx(self.ours, &peers, options).expect("the list is right");
        self.id = Some(id);
        id
    }

    /// A's association.
    ///
    /// # Panics
    /// If there was none yet.
    pub fn id(&self) -> AssociationId {
        self.id.expect("the association was opened before")
    }

    /// A sends on stream 0.
    ///
    /// # Panics
    /// If the message is refused.
    pub fn sends(&mut self, payload: &'static str) {
        let (ours, id) = (self.ours, self.id());
        self.network.send(ours, id, Message::new(0, payload)).expect("A can send");
    }

    /// A closes gracefully.
    pub fn shuts_down(&mut self) {
        self.network.with(self.ours, self.id(), Association::shutdown);
    }

    /// A's state.
    pub fn state(&self) -> AssociationState {
        self.id.map_or(AssociationState::Closed, |id| self.network.state(self.ours, id))
    }

    /// A's paths.
    pub fn paths(&self) -> Vec<PathStatus> {
        let association = self.network.endpoint(self.ours).view(self.id());
        association.map(|association| association.paths().collect()).unwrap_or_default()
    }

    /// One of A's paths.
    ///
    /// # Panics
    /// If there is no such path.
    pub fn path(&self, peer: IpAddr) -> PathStatus {
        self.paths().into_iter().find(|path| path.peer == peer).expect("the path exists")
    }

    /// What A told its application so far.
    pub fn events(&self) -> Vec<Event> {
        self.network.events(self.ours).iter().map(|logged| logged.event.clone()).collect()
    }

    // --- what Z hears ---

    /// The next packet that Z heard, which must have come by now.
    ///
    /// # Panics
    /// If there is none.
    pub fn hears(&mut self) -> Heard {
        self.hears_within(Duration::ZERO)
    }

    /// The next packet that Z hears within this time.
    ///
    /// # Panics
    /// If there is none.
    pub fn hears_within(&mut self, time: Duration) -> Heard {
        let peer = self.peer;
        let heard = self.network.run_until(time, |network| network.wire_has_heard(peer));
        assert!(
            heard,
            "Z heard nothing until {:?}; A is {:?}",
            self.network.elapsed(),
            self.state()
        );
        self.take().expect("there is a packet")
    }

    /// Z has heard a packet with these chunks at this address.
    ///
    /// # Panics
    /// If it has not.
    pub fn expects(&mut self, at: IpAddr, chunks: &[ChunkType]) -> Heard {
        self.expects_within(Duration::ZERO, at, chunks)
    }

    /// Z hears a packet with these chunks at this address within this time.
    ///
    /// # Panics
    /// If the next packet is another one.
    pub fn expects_within(&mut self, time: Duration, at: IpAddr, chunks: &[ChunkType]) -> Heard {
        let heard = self.hears_within(time);
        assert_eq!((heard.destination, kinds(&heard.chunks)), (at, chunks.to_vec()), "{heard:?}");
        heard
    }

    /// Z hears nothing for this long.
    ///
    /// # Panics
    /// If it does.
    pub fn silence(&mut self, time: Duration) {
        self.network.run_for(time);
        let heard = self.take();
        assert!(heard.is_none(), "Z was to hear nothing: {heard:?}");
    }

    /// Everything that Z heard by now, in its order.
    pub fn hears_all(&mut self) -> Vec<Heard> {
        self.network.run_for(Duration::ZERO);
        std::iter::from_fn(|| self.take()).collect()
    }

    fn take(&mut self) -> Option<Heard> {
        let arrived = self.network.wire_hears(self.peer)?;
        let bytes = arrived.datagram.payload;
        let packet = Packet::parse(&bytes).expect("A sends packets");
        let chunks: Vec<_> = (packet.chunks())
            .map(|raw| raw.and_then(|raw| raw.decode()).expect("A sends chunks"))
            .collect();
        if let [Chunk::Init(init) | Chunk::InitAck(init)] = &*chunks {
            self.our_tag = init.initiate_tag;
            self.our_tsn = init.initial_tsn;
        }
        Some(Heard {
            at: arrived.at,
            source: arrived.datagram.source,
            destination: arrived.datagram.destination,
            udp_port: arrived.datagram.udp_port,
            header: packet.header,
            chunks,
            bytes,
        })
    }

    // --- what Z says ---

    /// Z sends a packet with A's tag from one of its addresses.
    pub fn says(&mut self, from: IpAddr, chunks: &[Chunk]) {
        self.says_with_tag(self.our_tag, from, chunks);
    }

    /// Z sends a packet with a tag of the test's choice.
    pub fn says_with_tag(&mut self, tag: VerificationTag, from: IpAddr, chunks: &[Chunk]) {
        let to = self.towards_from(from);
        self.says_bytes(from, to, self.packet(tag, chunks));
    }

    /// Z sends a packet with A's tag from one of its addresses and a UDP port, or from none (RFC 6951).
    pub fn says_over(&mut self, from: IpAddr, udp_port: Option<u16>, chunks: &[Chunk]) {
        self.says_over_with_tag(self.our_tag, from, udp_port, chunks);
    }

    /// The same with a tag of the test's choice.
    pub fn says_over_with_tag(
        &mut self,
        tag: VerificationTag,
        from: IpAddr,
        udp_port: Option<u16>,
        chunks: &[Chunk],
    ) {
        let (to, bytes) = (self.towards_from(from), self.packet(tag, chunks));
        self.network.wire_sends_over(self.peer, (from, udp_port), to, bytes);
        self.network.run_for(Duration::ZERO);
    }

    /// Z sends bytes.
    pub fn says_bytes(&mut self, from: IpAddr, to: IpAddr, bytes: Bytes) {
        self.network.wire_sends(self.peer, from, to, bytes);
        self.network.run_for(Duration::ZERO);
    }

    /// A packet from Z's port to A's.
    ///
    /// # Panics
    /// If the chunks exceed the greatest packet.
    pub fn packet(&self, tag: VerificationTag, chunks: &[Chunk]) -> Bytes {
        let header =
            CommonHeader { source_port: PEER_PORT, destination_port: PORT, verification_tag: tag };
        let mut bytes = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut bytes, header, 65_000);
        chunks.iter().for_each(|chunk| assert!(builder.push(chunk), "the packet is too small"));
        builder.finish();
        bytes.freeze()
    }

    /// A hears from its own system or from a router about a packet it sent.
    pub fn is_told(&mut self, kind: NoticeKind, packet: &Heard) {
        let quote = Quote::parse(&packet.bytes).expect("a whole packet can be quoted");
        self.is_told_with(kind, packet, quote);
    }

    /// The same with a quotation of the test's choice.
    pub fn is_told_with(&mut self, kind: NoticeKind, packet: &Heard, quote: Quote) {
        let notice = PathNotice {
            peer: packet.destination,
            zone: 0,
            local: Some(packet.source),
            kind,
            quote,
        };
        self.network.with_endpoint(self.ours, |endpoint, now| endpoint.handle_notice(now, notice));
        self.network.run_for(Duration::ZERO);
    }

    /// Z's INIT.
    pub fn init(&self, addresses: &[IpAddr]) -> Chunk {
        Chunk::Init(self.initiation(addresses.iter().copied().map(Parameter::from_ip)))
    }

    /// Z's INIT ACK, with a cookie.
    pub fn init_ack(&self, addresses: &[IpAddr]) -> Chunk {
        let cookie = Parameter::StateCookie(Bytes::from_static(b"the cookie of Z"));
        let addresses = addresses.iter().copied().map(Parameter::from_ip);
        Chunk::InitAck(self.initiation(addresses.chain([cookie])))
    }

    fn initiation(&self, parameters: impl Iterator<Item = Parameter>) -> Init {
        Init {
            initiate_tag: self.peer_tag,
            a_rwnd: 100_000,
            outbound_streams: 10,
            inbound_streams: 10,
            initial_tsn: Tsn::new(PEER_TSN),
            parameters: parameters.collect(),
        }
    }

    /// Z's next DATA: a whole message on stream 0.
    pub fn data(&mut self, payload: &'static str) -> Chunk {
        let (tsn, ssn) = (self.peer_tsn, self.peer_ssn);
        self.peer_tsn = tsn.next();
        self.peer_ssn = ssn.next();
        let flags = DataFlags { immediate: false, unordered: false, beginning: true, ending: true };
        Chunk::Data(Data {
            tsn,
            stream: StreamId(0),
            sequence: Sequence::Ssn(ssn),
            ppid: Ppid(0),
            flags,
            payload: Bytes::from_static(payload.as_bytes()),
        })
    }

    /// Z's SACK of the first `count` DATA chunks that A sent.
    pub fn sack(&self, count: u32) -> Chunk {
        Chunk::Sack(Sack {
            cumulative_tsn: self.our_tsn.previous().plus(count),
            a_rwnd: 100_000,
            gaps: std::iter::empty().collect(),
            duplicates: std::iter::empty().collect(),
        })
    }

    /// Z's SHUTDOWN, which acknowledges the first `count` DATA chunks that A sent.
    pub fn shutdown(&self, count: u32) -> Chunk {
        Chunk::Shutdown(Shutdown { cumulative_tsn: self.our_tsn.previous().plus(count) })
    }

    /// Where Z's packets from this address go: A's address of the same family.
    fn towards_from(&self, from: IpAddr) -> IpAddr {
        if from.is_ipv4() == self.towards.is_ipv4() {
            return self.towards;
        }
        let addresses = self.network.endpoint(self.ours).addresses();
        *addresses.iter().find(|own| own.is_ipv4() == from.is_ipv4()).expect("A has that family")
    }

    // --- whole passages ---

    /// A opens to Z, which lists the same addresses; ends in ESTABLISHED with nothing under way.
    pub fn establishes(&mut self, peers: &[IpAddr]) {
        let first = *peers.first().expect("there is an address");
        self.connectx(peers);
        self.expects(first, &[ChunkType::INIT]);
        self.says(first, &[self.init_ack(peers)]);
        self.expects(first, &[ChunkType::COOKIE_ECHO]);
        self.says(first, &[Chunk::CookieAck]);
        assert_eq!(self.state(), AssociationState::Established);
        self.silence(Duration::ZERO);
    }

    /// Z opens to A from its first address; ends in ESTABLISHED with nothing under way.
    pub fn is_opened(&mut self) {
        self.network.listen(self.ours, true);
        self.says_with_tag(VerificationTag::ZERO, z(1), &[self.init(&[])]);
        let init_ack = self.expects(z(1), &[ChunkType::INIT_ACK]);
        self.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
        self.expects(z(1), &[ChunkType::COOKIE_ACK]);
        self.id = self.network.newest(self.ours);
        assert_eq!(self.state(), AssociationState::Established);
        self.silence(Duration::ZERO);
    }

    /// A ladder whose A is in a state, with one path (Z's first address) and Z silent since.
    pub fn in_state(name: &str, state: AssociationState) -> Self {
        use AssociationState::{
            Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
            ShutdownReceived, ShutdownSent,
        };
        let mut ladder = Self::new(name);
        match state {
            Closed => {}
            CookieWait | CookieEchoed => {
                ladder.connectx(&[z(1)]);
                ladder.expects(z(1), &[ChunkType::INIT]);
            }
            _ => ladder.establishes(&[z(1)]),
        }
        match state {
            Closed | CookieWait | Established => {}
            CookieEchoed => ladder.says(z(1), &[ladder.init_ack(&[])]),
            ShutdownPending => {
                ladder.sends("outstanding");
                ladder.shuts_down();
            }
            ShutdownSent => ladder.shuts_down(),
            ShutdownReceived => {
                ladder.sends("outstanding");
                ladder.says(z(1), &[ladder.shutdown(0)]);
            }
            ShutdownAckSent => ladder.says(z(1), &[ladder.shutdown(0)]),
        }
        assert_eq!(ladder.state(), state);
        ladder.hears_all();
        ladder
    }

    /// An ERROR or ABORT's causes, made from one.
    pub fn causes(cause: usctp_chunk::Cause) -> Causes {
        std::iter::once(cause).collect()
    }
}
