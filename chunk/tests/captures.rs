//! Packets that others captured: what is whole in them decodes, and encodes to the bytes it was.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use usctp_chunk::{Chunk, ChunkType, DecodeError, Packet, PacketBuilder};

/// The folder of a capture collection; says so if there is none.
fn captures(test: &str, collection: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let folder = shared.join(collection);
    if !folder.is_dir() {
        println!("SKIPPED: {test}: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

/// The files of the corpus that end within their last chunk.
const CUT: [&str; 2] = ["cookie-echo-data.bin", "cookie-echo-data-data.bin"];

#[test]
fn packets_of_the_webrtc_corpus_encode_to_the_bytes_they_were() {
    let test = "packets_of_the_webrtc_corpus_encode_to_the_bytes_they_were";
    let Some(folder) = captures(test, "webrtc-sctp-corpus") else { return };
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut count = 0;
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "bin")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = Bytes::from(std::fs::read(&file).unwrap());
        if CUT.contains(&name) {
            a_cut_packet_decodes_up_to_the_cut(bytes);
        } else {
            a_whole_packet_encodes_to_what_it_was(name, bytes);
        }
        count += 1;
    }
    assert_eq!(count, 13);
}

fn a_whole_packet_encodes_to_what_it_was(name: &str, bytes: Bytes) {
    let packet = Packet::parse(&bytes).unwrap();
    let mut out = BytesMut::new();
    let mut builder = PacketBuilder::new(&mut out, packet.header, 65_535);
    for raw in packet.chunks() {
        let chunk = raw.unwrap().decode().unwrap();
        assert!(!matches!(chunk, Chunk::Unknown(_)), "{name}: {chunk:?}");
        all_parameters_decode(&chunk);
        assert!(builder.push(&chunk));
    }
    // The checksums of the corpus are zero or stale, and one of its packets lacks its last padding.
    let length = builder.finish_without_checksum();
    assert_eq!(length, bytes.len().next_multiple_of(4), "{name}");
    assert_eq!(out[..8], bytes[..8], "{name}");
    assert_eq!(out[12..bytes.len()], bytes[12..], "{name}");
}

fn a_cut_packet_decodes_up_to_the_cut(bytes: Bytes) {
    let packet = Packet::parse(&bytes).unwrap();
    let mut chunks = packet.chunks();
    assert_eq!(chunks.next().unwrap().unwrap().kind, ChunkType::COOKIE_ECHO);
    assert_eq!(chunks.next(), Some(Err(DecodeError::LengthTooLarge)));
    assert_eq!(chunks.next(), None);
}

fn all_parameters_decode(chunk: &Chunk) {
    let (Chunk::Init(usctp_chunk::Init { parameters, .. })
    | Chunk::InitAck(usctp_chunk::Init { parameters, .. })
    | Chunk::ReConfig(parameters)) = chunk
    else {
        return;
    };
    assert!(!parameters.is_empty());
    for parameter in parameters {
        parameter.unwrap();
    }
}
