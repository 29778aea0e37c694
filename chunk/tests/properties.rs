//! What holds for all values, and for all bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use usctp_chunk::*;

mod values;

fn built(header: CommonHeader, chunks: &[Chunk]) -> Bytes {
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, header, 65_535);
    for chunk in chunks {
        assert!(builder.push(chunk));
    }
    builder.finish();
    out.freeze()
}

fn decoded(packet: &Packet) -> Vec<Chunk> {
    packet.chunks().map(|raw| raw.unwrap().decode().unwrap()).collect()
}

/// Looks at everything in a chunk that was received. Lists are opened to a depth that no honest peer exceeds;
/// how deep the bytes go on is nothing that a reader follows.
fn look_at(chunk: &Chunk) {
    let _ = format!("{chunk:?}");
    match chunk {
        Chunk::Init(Init { parameters, .. })
        | Chunk::InitAck(Init { parameters, .. })
        | Chunk::Asconf(Asconf { parameters, .. })
        | Chunk::AsconfAck(AsconfAck { parameters, .. })
        | Chunk::ReConfig(parameters) => look_at_parameters(parameters, 3),
        Chunk::Abort(Abort { causes, .. }) | Chunk::Error(causes) => look_at_causes(causes, 3),
        Chunk::Sack(sack) => {
            assert_eq!(sack.gaps.iter().count(), sack.gaps.len());
            assert_eq!(sack.duplicates.iter().count(), sack.duplicates.len());
        }
        Chunk::ForwardTsn(forward) => {
            assert_eq!(forward.streams.iter().count(), forward.streams.len());
        }
        Chunk::IForwardTsn(forward) => {
            assert_eq!(forward.streams.iter().count(), forward.streams.len());
        }
        _ => {}
    }
}

fn look_at_parameters(parameters: &Parameters, depth: u8) {
    let items = parameters.iter().count();
    // Each step takes a header at least; an error takes the rest.
    assert!(items <= parameters.as_bytes().len().div_ceil(4));
    for parameter in parameters.iter().flatten() {
        let again = Parameters::from_iter([parameter.clone()]);
        assert_eq!(again.iter().collect::<Vec<_>>(), [Ok(parameter.clone())]);
        if let (Parameter::ErrorCauseIndication { causes, .. }, 1..) = (&parameter, depth) {
            look_at_causes(causes, depth - 1);
        }
    }
}

fn look_at_causes(causes: &Causes, depth: u8) {
    assert!(causes.iter().count() <= causes.as_bytes().len().div_ceil(4));
    for cause in causes.iter().flatten() {
        let again = Causes::from_iter([cause.clone()]);
        assert_eq!(again.iter().collect::<Vec<_>>(), [Ok(cause.clone())]);
        if let (Cause::RestartWithNewAddresses(addresses), 1..) = (&cause, depth) {
            look_at_parameters(addresses, depth - 1);
        }
    }
}

/// What every packet that was received must stand: no panic, and what was understood of it can be said again.
fn survives(bytes: Bytes) {
    let Ok(packet) = Packet::parse(&bytes) else { return };
    let _ = packet.checksum();
    let mut understood = Vec::new();
    for chunk in packet.chunks().flatten().filter_map(|raw| raw.decode().ok()) {
        look_at(&chunk);
        understood.push(chunk);
    }
    // What was ignored is left out, so this is well-formed, and never longer than what was received
    // (the padding that the last chunk may lack apart).
    let again = built(packet.header, &understood);
    assert!(again.len() <= packet.bytes().len() + 3);
    let again = Packet::parse(&again).unwrap();
    assert_eq!(decoded(&again), understood);
    assert_eq!(built(again.header, &understood), again.bytes());
}

/// The numbers up to `last` that are in a table.
fn known(last: u16, name: fn(u16) -> Option<&'static str>) -> BTreeSet<u16> {
    (0..=last).filter(|number| name(*number).is_some()).collect()
}

#[test]
fn the_strategies_make_every_chunk_parameter_and_cause_there_is() {
    let mut runner = TestRunner::deterministic();
    let (mut chunks, mut parameters, mut causes) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..3000 {
        chunks.insert(values::chunk().new_tree(&mut runner).unwrap().current().kind().0.into());
        parameters.insert(values::parameter().new_tree(&mut runner).unwrap().current().kind().0);
        causes.insert(values::cause().new_tree(&mut runner).unwrap().current().code().0);
    }
    assert!(chunks.is_superset(&known(0xff, |number| ChunkType(number as u8).name())));
    assert!(parameters.is_superset(&known(u16::MAX, |number| ParameterType(number).name())));
    assert!(causes.is_superset(&known(u16::MAX, |number| CauseCode(number).name())));
}

proptest! {
    #[test]
    fn a_chunk_decodes_to_what_was_encoded(chunk in values::chunk()) {
        let mut out = BytesMut::from(&[0; 12][..]);
        chunk.encode(&mut out);
        prop_assert_eq!(out.len(), 12 + chunk.encoded_len());
        prop_assert_eq!(out.len() % 4, 0);
        let chunks = decoded(&Packet::parse(&out.freeze()).unwrap());
        prop_assert_eq!(&chunks, &[chunk]);
    }

    #[test]
    fn parameters_decode_to_what_was_encoded(values in prop::collection::vec(values::parameter(), 0..9)) {
        let list: Parameters = values.iter().cloned().collect();
        let decoded: Result<Vec<_>, _> = list.iter().collect();
        prop_assert_eq!(decoded.unwrap(), values);
        prop_assert_eq!(&Parameters::from_bytes(list.as_bytes().clone()), &list);
    }

    #[test]
    fn causes_decode_to_what_was_encoded(values in prop::collection::vec(values::cause(), 0..9)) {
        let list: Causes = values.iter().cloned().collect();
        let decoded: Result<Vec<_>, _> = list.iter().collect();
        prop_assert_eq!(decoded.unwrap(), values);
    }

    #[test]
    fn a_well_formed_packet_encodes_to_the_bytes_it_was((header, chunks) in values::packet()) {
        let bytes = built(header, &chunks);
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(packet.header, header);
        prop_assert_eq!(packet.checksum(), Checksum::Valid);
        let decoded = decoded(&packet);
        prop_assert_eq!(&decoded, &chunks);
        prop_assert_eq!(built(packet.header, &decoded), bytes);
    }

    #[test]
    fn everything_that_was_decoded_is_a_slice_of_the_packet((header, chunks) in values::packet()) {
        let bytes = built(header, &chunks);
        let range = bytes.as_ptr_range();
        let within = |part: &Bytes| part.is_empty() || range.contains(&part.as_ptr());
        for raw in Packet::parse(&bytes).unwrap().chunks().map(Result::unwrap) {
            prop_assert!(within(&raw.to_bytes()));
            let inside = match raw.decode().unwrap() {
                Chunk::Data(data) => data.payload,
                Chunk::Init(init) | Chunk::InitAck(init) => init.parameters.as_bytes().clone(),
                Chunk::Heartbeat(heartbeat) | Chunk::HeartbeatAck(heartbeat) => heartbeat.info,
                Chunk::Abort(Abort { causes, .. }) | Chunk::Error(causes) => causes.as_bytes().clone(),
                Chunk::CookieEcho(bytes) | Chunk::Pad(bytes) => bytes,
                Chunk::Auth(auth) => auth.hmac,
                Chunk::ReConfig(parameters) => parameters.as_bytes().clone(),
                Chunk::Asconf(asconf) => asconf.parameters.as_bytes().clone(),
                Chunk::AsconfAck(ack) => ack.parameters.as_bytes().clone(),
                Chunk::Unknown(unknown) => unknown.value,
                _ => Bytes::new(),
            };
            prop_assert!(within(&inside));
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(bytes.into());
    }

    #[test]
    fn any_bytes_behind_a_type_that_is_known_are_survived(
        kind in any::<u8>().prop_filter("unknown", |kind| ChunkType(*kind).name().is_some()),
        flags in any::<u8>(),
        value in prop::collection::vec(prop_oneof![3 => 0u8..20, 1 => any::<u8>()], 0..120),
    ) {
        let mut bytes = vec![0; 12];
        bytes.extend([kind, flags, 0, 4 + value.len() as u8]);
        bytes.extend(value);
        survives(bytes.into());
    }

    #[test]
    fn a_damaged_packet_is_survived(
        (header, chunks) in values::packet(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = built(header, &chunks).to_vec();
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(bytes.into());
    }
}
