//! The tester's side of every ladder: what it says, and what it expects to hear. It knows nothing of who answers.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use usctp_assoc::sim::{Heard, PEER_PORT, PORT, a, kinds, z};
use usctp_assoc::{AssociationState, Event, LostReason, Message, Options, PathStatus};
use usctp_chunk::{
    Cause, Chunk, ChunkType, CommonHeader, Data, DataFlags, GapBlock, Init, PacketBuilder,
    Parameter, Ppid, Sack, Sequence, Shutdown, Ssn, StreamId, Tsn, UnknownChunk, VerificationTag,
};

use crate::subject::{Simulated, Subject};

pub(crate) const NONE: VerificationTag = VerificationTag::ZERO;
/// A tag that nobody has.
pub(crate) const WRONG: VerificationTag = VerificationTag(0x0bad_0bad);
/// The tester's tag after it has begun anew.
pub(crate) const NEW: VerificationTag = VerificationTag(0x0ace_0ace);
/// A state cookie that means nothing to anybody.
pub(crate) const COOKIE: &[u8] = b"the cookie of the tester";

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The tester and the implementation it tests.
pub(crate) struct Tester {
    pub(crate) iut: Box<dyn Subject>,
    /// The IUT's tag and first TSN, as its last INIT or INIT ACK gave them.
    pub(crate) iut_tag: VerificationTag,
    pub(crate) iut_tsn: Tsn,
    /// The tester's own.
    pub(crate) tag: VerificationTag,
    pub(crate) tsn: Tsn,
    /// The window that SACKs advertise.
    pub(crate) a_rwnd: u32,
}

impl Tester {
    /// The default parameters, but HEARTBEATs of idle paths only where a test is about them.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        options.heartbeat.interval = None;
        change(&mut options);
        Self {
            iut: Box::new(Simulated::new(options)),
            iut_tag: NONE,
            iut_tsn: Tsn::new(0),
            tag: VerificationTag(0x5a5a_5a5a),
            tsn: Tsn::new(1000),
            a_rwnd: 100_000,
        }
    }

    // --- says ---

    /// A packet from the tester's first address, with the IUT's tag.
    pub(crate) fn says(&mut self, chunks: &[Chunk]) {
        self.says_from(z(1), chunks);
    }

    pub(crate) fn says_from(&mut self, from: IpAddr, chunks: &[Chunk]) {
        let packet = self.packet(self.iut_tag, chunks);
        self.iut.carry(from, a(1), packet);
    }

    pub(crate) fn says_with_tag(&mut self, tag: VerificationTag, chunks: &[Chunk]) {
        let packet = self.packet(tag, chunks);
        self.iut.carry(z(1), a(1), packet);
    }

    /// A packet whose chunks are written by hand, padding included.
    pub(crate) fn says_raw(&mut self, tag: VerificationTag, chunks: &[u8]) {
        let mut bytes = BytesMut::from(&*self.packet(tag, &[]));
        bytes.extend_from_slice(chunks);
        let checksum = crc32c(&bytes);
        bytes[8..12].copy_from_slice(&checksum);
        self.iut.carry(z(1), a(1), bytes.freeze());
    }

    pub(crate) fn packet(&self, tag: VerificationTag, chunks: &[Chunk]) -> Bytes {
        self.packet_from(PEER_PORT, tag, chunks)
    }

    pub(crate) fn packet_from(&self, port: u16, tag: VerificationTag, chunks: &[Chunk]) -> Bytes {
        let header =
            CommonHeader { source_port: port, destination_port: PORT, verification_tag: tag };
        let mut bytes = BytesMut::new();
        let mut packet = PacketBuilder::new(&mut bytes, header, 65_000);
        chunks.iter().for_each(|chunk| assert!(packet.push(chunk), "the packet is too small"));
        packet.finish();
        bytes.freeze()
    }

    /// The tester's INIT or INIT ACK.
    pub(crate) fn offer(&self, parameters: impl IntoIterator<Item = Parameter>) -> Init {
        Init {
            initiate_tag: self.tag,
            a_rwnd: self.a_rwnd,
            outbound_streams: 10,
            inbound_streams: 10,
            initial_tsn: self.tsn,
            parameters: parameters.into_iter().collect(),
        }
    }

    pub(crate) fn init(&self) -> Chunk {
        Chunk::Init(self.offer([]))
    }

    pub(crate) fn init_ack(&self) -> Chunk {
        self.init_ack_with([])
    }

    pub(crate) fn init_ack_with(&self, more: impl IntoIterator<Item = Parameter>) -> Chunk {
        Chunk::InitAck(self.offer(more.into_iter().chain([cookie()])))
    }

    /// The tester's DATA number `n`, from 0: a whole message on stream 0.
    pub(crate) fn data(&self, n: u32, payload: &'static str) -> Chunk {
        self.fragment(n, 0, u16::try_from(n).unwrap(), "BE", payload)
    }

    /// DATA number `n` with everything chosen; the flags are some of `B`, `E`, `U` and `I`.
    pub(crate) fn fragment(
        &self,
        n: u32,
        stream: u16,
        ssn: u16,
        flags: &str,
        payload: &'static str,
    ) -> Chunk {
        let has = |flag| flags.contains(flag);
        Chunk::Data(Data {
            tsn: self.tsn.plus(n),
            stream: StreamId(stream),
            sequence: Sequence::Ssn(Ssn::new(ssn)),
            ppid: Ppid(0),
            flags: DataFlags {
                immediate: has('I'),
                unordered: has('U'),
                beginning: has('B'),
                ending: has('E'),
            },
            payload: Bytes::from_static(payload.as_bytes()),
        })
    }

    /// The SACK of the IUT's first `count` DATA chunks.
    pub(crate) fn sack(&self, count: u32) -> Chunk {
        self.sack_with(count, &[])
    }

    /// The same with gap blocks, as offsets from the cumulative TSN.
    pub(crate) fn sack_with(&self, count: u32, gaps: &[(u16, u16)]) -> Chunk {
        Chunk::Sack(Sack {
            cumulative_tsn: self.iut_tsn.previous().plus(count),
            a_rwnd: self.a_rwnd,
            gaps: gaps.iter().map(|&(start, end)| GapBlock { start, end }).collect(),
            duplicates: std::iter::empty().collect(),
        })
    }

    /// SHUTDOWN, which acknowledges the IUT's first `count` DATA chunks.
    pub(crate) fn shutdown(&self, count: u32) -> Chunk {
        Chunk::Shutdown(Shutdown { cumulative_tsn: self.iut_tsn.previous().plus(count) })
    }

    // --- expects ---

    /// The next packet has come by now, and holds these chunks.
    pub(crate) fn expects(&mut self, chunks: &[ChunkType]) -> Heard {
        self.expects_within(Duration::ZERO, chunks)
    }

    pub(crate) fn expects_at(&mut self, at: IpAddr, chunks: &[ChunkType]) -> Heard {
        let heard = self.expects(chunks);
        assert_eq!(heard.destination, at, "{heard:?}");
        heard
    }

    pub(crate) fn expects_within(&mut self, time: Duration, chunks: &[ChunkType]) -> Heard {
        let Some(heard) = self.catch(time) else {
            panic!("the IUT, {:?}, is silent until {:?}", self.iut.state(), self.iut.elapsed())
        };
        assert_eq!(kinds(&heard.chunks), chunks, "{heard:?}");
        heard
    }

    /// The IUT has nothing to say, now or within this time.
    pub(crate) fn silence(&mut self, time: Duration) {
        let heard = self.catch(time);
        assert!(heard.is_none(), "the IUT was to be silent: {heard:?}");
    }

    /// Everything that came by now.
    pub(crate) fn hears_all(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.catch(Duration::ZERO)).collect()
    }

    /// Everything that comes within this time.
    pub(crate) fn hears_for(&mut self, time: Duration) -> Vec<Heard> {
        let end = self.iut.elapsed() + time;
        std::iter::from_fn(|| self.catch(end.saturating_sub(self.iut.elapsed()))).collect()
    }

    fn catch(&mut self, within: Duration) -> Option<Heard> {
        let heard = self.iut.catch(within)?;
        if let [Chunk::Init(init) | Chunk::InitAck(init)] = &*heard.chunks {
            self.iut_tag = init.initiate_tag;
            self.iut_tsn = init.initial_tsn;
        }
        Some(heard)
    }

    /// STATUS tells this state.
    pub(crate) fn is(&self, state: AssociationState) {
        assert_eq!(self.iut.state(), state);
    }

    pub(crate) fn path(&self, peer: IpAddr) -> PathStatus {
        self.iut.paths().into_iter().find(|path| path.peer == peer).expect("the path exists")
    }

    pub(crate) fn peers(&self) -> Vec<IpAddr> {
        self.iut.paths().iter().map(|path| path.peer).collect()
    }

    /// The messages that the IUT's user got.
    pub(crate) fn received(&mut self) -> Vec<String> {
        let received = self.iut.received().into_iter();
        received.map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
    }

    /// Why the IUT's user was told that the association is lost, if it was.
    pub(crate) fn lost(&self) -> Option<LostReason> {
        let mut lost = self.iut.events().into_iter().filter_map(|event| match event {
            Event::CommLost(reason) => Some(reason),
            _ => None,
        });
        lost.next()
    }

    pub(crate) fn restarts(&self) -> usize {
        self.iut.events().iter().filter(|event| **event == Event::Restart).count()
    }

    // --- the IUT's user ---

    /// It sends on stream 0.
    pub(crate) fn user_sends(&mut self, payload: &'static str) {
        self.iut.send(Message::new(0, payload)).expect("the IUT can send");
    }

    /// It sends this many messages of this many bytes on stream 0.
    pub(crate) fn user_sends_bulk(&mut self, count: usize, bytes: usize) {
        for _ in 0..count {
            self.iut.send(Message::new(0, vec![b'x'; bytes])).expect("the IUT can send");
        }
    }

    // --- whole passages ---

    /// The IUT opens; ends in ESTABLISHED with nothing under way.
    pub(crate) fn iut_opens(&mut self, peers: &[IpAddr]) {
        self.iut.associate(peers);
        self.expects(&[ChunkType::INIT]);
        self.says(&[self.init_ack_with(addresses(peers))]);
        self.expects(&[ChunkType::COOKIE_ECHO]);
        self.says(&[Chunk::CookieAck]);
        self.is(AssociationState::Established);
        self.silence(Duration::ZERO);
    }

    /// The tester opens; ends in ESTABLISHED with nothing under way.
    pub(crate) fn opens(&mut self) {
        let cookie = self.asks_with(self.init());
        self.says(&[Chunk::CookieEcho(cookie)]);
        self.expects(&[ChunkType::COOKIE_ACK]);
        self.is(AssociationState::Established);
        self.silence(Duration::ZERO);
    }

    /// The tester sends an INIT to an IUT that listens, and gets its cookie.
    pub(crate) fn asks_with(&mut self, init: Chunk) -> Bytes {
        self.iut.listen();
        self.says_with_tag(NONE, &[init]);
        self.expects(&[ChunkType::INIT_ACK]).cookie()
    }

    /// A ladder that begins in a state, with one path and nothing under way. In SHUTDOWN-PENDING and
    /// SHUTDOWN-RECEIVED one DATA chunk of the IUT's is outstanding.
    pub(crate) fn in_state(state: AssociationState) -> Self {
        use AssociationState::{
            Closed, CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending,
            ShutdownReceived, ShutdownSent,
        };
        let mut t = Self::new();
        match state {
            Closed => {}
            CookieWait | CookieEchoed => {
                t.iut.associate(&[z(1)]);
                t.expects(&[ChunkType::INIT]);
            }
            _ => t.iut_opens(&[z(1)]),
        }
        match state {
            Closed | CookieWait | Established => {}
            CookieEchoed => t.says(&[t.init_ack()]),
            ShutdownPending => {
                t.user_sends("outstanding");
                t.iut.shutdown();
            }
            ShutdownSent => t.iut.shutdown(),
            ShutdownReceived => {
                t.user_sends("outstanding");
                t.says(&[t.shutdown(0)]);
            }
            ShutdownAckSent => t.says(&[t.shutdown(0)]),
        }
        t.is(state);
        t.hears_all();
        t
    }
}

pub(crate) fn cookie() -> Parameter {
    Parameter::StateCookie(Bytes::from_static(COOKIE))
}

pub(crate) fn addresses(list: &[IpAddr]) -> Vec<Parameter> {
    list.iter().copied().map(Parameter::from_ip).collect()
}

pub(crate) fn abort(cause: Option<Cause>) -> Chunk {
    let causes = cause.into_iter().collect();
    Chunk::Abort(usctp_chunk::Abort { tag_reflected: false, causes })
}

pub(crate) fn error(cause: Cause) -> Chunk {
    Chunk::Error([cause].into_iter().collect())
}

pub(crate) fn unknown(kind: u8) -> Chunk {
    let value = Bytes::from_static(b"what is this");
    Chunk::Unknown(UnknownChunk { kind: ChunkType(kind), flags: 0, value })
}

/// A parameter of a type that nobody knows.
pub(crate) fn unknown_parameter(kind: u16) -> Parameter {
    let value = Bytes::from_static(b"what");
    Parameter::Unknown { kind: usctp_chunk::ParameterType(kind), value }
}

/// The first SACK of a packet.
pub(crate) fn sack(heard: &Heard) -> &Sack {
    let sack = heard.chunks.iter().find_map(|chunk| match chunk {
        Chunk::Sack(sack) => Some(sack),
        _ => None,
    });
    sack.unwrap_or_else(|| panic!("no SACK in {:?}", kinds(&heard.chunks)))
}

/// The gap blocks of a SACK.
pub(crate) fn gaps(sack: &Sack) -> Vec<(u16, u16)> {
    sack.gaps.iter().map(|gap| (gap.start, gap.end)).collect()
}

/// The DATA chunks of some packets.
pub(crate) fn data(heard: &[Heard]) -> Vec<&Data> {
    let chunks = heard.iter().flat_map(|heard| &heard.chunks);
    let data = chunks.filter_map(|chunk| match chunk {
        Chunk::Data(data) => Some(data),
        _ => None,
    });
    data.collect()
}

/// The causes of the ERROR and ABORT chunks of some packets.
pub(crate) fn causes(heard: &[Heard]) -> Vec<Cause> {
    let chunks = heard.iter().flat_map(|heard| &heard.chunks);
    let causes = chunks.filter_map(|chunk| match chunk {
        Chunk::Error(causes) => Some(causes),
        Chunk::Abort(abort) => Some(&abort.causes),
        _ => None,
    });
    causes.flat_map(|causes| causes.iter().map(Result::unwrap)).collect()
}

/// The checksum that a packet should carry, whatever it does (RFC 9260, 6.8).
pub(crate) fn crc32c(packet: &[u8]) -> [u8; 4] {
    let mut blank = packet.to_vec();
    blank[8..12].fill(0);
    crc32c::crc32c(&blank).to_le_bytes()
}
