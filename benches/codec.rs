//! How long it takes to read and to write packets: `cargo bench --bench codec`.
//!
//! Nanoseconds of processor time, the median of many short rounds. `parse` walks the packet and decodes every chunk,
//! for an INIT every parameter, and for a SACK every gap block; the checksum is a column of its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to say"
)]

#[path = "support/clock.rs"]
mod clock;

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use usctp_chunk::{
    Checksum, Chunk, CommonHeader, Data, DataFlags, Duplicates, GapBlock, Init, Packet,
    PacketBuilder, Parameter, Ppid, Sack, Sequence, Ssn, StreamId, Tsn, VerificationTag,
};

use self::clock::processor_time;

const ROUNDS: usize = 1001;
/// Few, so that most rounds pass undisturbed on a machine that does other things too.
const REPETITIONS: u32 = 500;

/// The greatest SCTP packet at an MTU of 1,500 over IPv4.
const GREATEST: usize = 1480;

fn main() {
    println!("packet | bytes | parse ns | verify checksum ns | build ns | build with checksum ns");
    let cases = [
        ("DATA, 1200 bytes", data(1200)),
        ("DATA, full", data(GREATEST - 28)),
        ("SACK, 100 gaps", sack()),
        ("INIT, 10 parameters", init()),
    ];
    for (name, chunk) in cases {
        let packet = packet(&chunk);
        let parse = time(|| read(black_box(&packet)));
        let parsed = Packet::parse(&packet).unwrap();
        let verify = time(|| u64::from(black_box(&parsed).checksum() == Checksum::Valid));
        let mut out = BytesMut::with_capacity(1 << 16);
        let mut build = |with_checksum| {
            time(|| {
                out.clear();
                write(&mut out, black_box(&chunk), with_checksum)
            })
        };
        let (plain, full) = (build(false), build(true));
        let len = packet.len();
        println!("{name} | {len} | {parse:.1} | {verify:.1} | {plain:.1} | {full:.1}");
    }
}

/// The median over all rounds of the time of one call, in nanoseconds.
fn time(mut call: impl FnMut() -> u64) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = processor_time();
            for _ in 0..REPETITIONS {
                black_box(call());
            }
            (processor_time() - begun).as_nanos() as f64 / f64::from(REPETITIONS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Reads all there is; what it gives is only there so that nothing is left out.
fn read(packet: &Bytes) -> u64 {
    let packet = Packet::parse(packet).unwrap();
    let mut sum = 0;
    for chunk in packet.chunks() {
        match chunk.unwrap().decode().unwrap() {
            Chunk::Data(data) => sum += data.payload.len() as u64,
            Chunk::Sack(sack) => sum += sack.gaps.iter().map(|gap| u64::from(gap.end)).sum::<u64>(),
            Chunk::Init(init) => sum += init.parameters.iter().filter(Result::is_ok).count() as u64,
            _ => {}
        }
    }
    sum
}

fn write(out: &mut BytesMut, chunk: &Chunk, with_checksum: bool) -> u64 {
    let header =
        CommonHeader { source_port: 1, destination_port: 2, verification_tag: VerificationTag(3) };
    let mut builder = PacketBuilder::new(out, header, GREATEST);
    assert!(builder.push(chunk));
    let len = if with_checksum { builder.finish() } else { builder.finish_without_checksum() };
    len as u64
}

fn packet(chunk: &Chunk) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out, chunk, true);
    out.freeze()
}

fn data(len: usize) -> Chunk {
    Chunk::Data(Data {
        tsn: Tsn::new(1),
        stream: StreamId(2),
        sequence: Sequence::Ssn(Ssn::new(3)),
        ppid: Ppid(4),
        flags: DataFlags { immediate: false, unordered: false, beginning: true, ending: true },
        payload: vec![7; len].into(),
    })
}

fn sack() -> Chunk {
    let gaps = (0..100).map(|gap| GapBlock { start: 2 + 3 * gap, end: 3 + 3 * gap }).collect();
    Chunk::Sack(Sack {
        cumulative_tsn: Tsn::new(1),
        a_rwnd: 1 << 20,
        gaps,
        duplicates: Duplicates::default(),
    })
}

/// Two addresses of each family and six capabilities, as the INIT of a multi-homed host has them.
fn init() -> Chunk {
    let parameters = [
        Parameter::Ipv4Address(Ipv4Addr::new(192, 0, 2, 1)),
        Parameter::Ipv4Address(Ipv4Addr::new(198, 51, 100, 1)),
        Parameter::Ipv6Address(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        Parameter::Ipv6Address(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
        Parameter::SupportedAddressTypes([5, 6].into_iter().collect()),
        Parameter::EcnCapable,
        Parameter::ForwardTsnSupported,
        Parameter::SupportedExtensions(Bytes::from_static(&[192, 130, 193, 128])),
        Parameter::Random(Bytes::from_static(&[9; 32])),
        Parameter::AdaptationLayer { indication: 7 },
    ];
    Chunk::Init(Init {
        initiate_tag: VerificationTag(1),
        a_rwnd: 1 << 20,
        outbound_streams: 10,
        inbound_streams: 10,
        initial_tsn: Tsn::new(1),
        parameters: parameters.into_iter().collect(),
    })
}
