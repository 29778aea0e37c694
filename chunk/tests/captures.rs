//! Packets that others captured: all decode, and encode to the bytes they were.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use usctp_chunk::{Chunk, Packet, PacketBuilder};

/// The folder of a capture collection, or why there is none.
fn captures(test: &str, collection: &str) -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(collection);
    if folder.is_dir() {
        Some(folder)
    } else {
        println!("SKIPPED: {test}: {} is not there", folder.display());
        None
    }
}

#[test]
fn packets_of_the_webrtc_corpus_encode_to_the_bytes_they_were() {
    let test = "packets_of_the_webrtc_corpus_encode_to_the_bytes_they_were";
    let Some(folder) = captures(test, "webrtc-sctp-corpus") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 13);
    for file in files {
        let bytes = Bytes::from(std::fs::read(&file).unwrap());
        let packet = Packet::parse(bytes.clone()).unwrap();
        let mut out = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut out, packet.header, 65_535);
        for raw in packet.chunks() {
            let raw = raw.unwrap();
            let chunk = raw.decode().unwrap();
            assert_eq!(chunk.kind(), raw.kind);
            assert!(!matches!(chunk, Chunk::Unknown(_)), "{}: {chunk:?}", file.display());
            walk(&chunk);
            assert!(builder.push(&chunk));
        }
        let length = builder.finish_without_checksum();
        // The checksum of these files is zero or stale, and one of them ends without its padding.
        assert_eq!(length, bytes.len().next_multiple_of(4), "{}", file.display());
        assert_eq!(out[12..bytes.len()], bytes[12..], "{}", file.display());
    }
}

fn walk(chunk: &Chunk) {
    match chunk {
        Chunk::Init(init) | Chunk::InitAck(init) => {
            assert!(init.parameters.iter().all(|parameter| parameter.is_ok()));
        }
        Chunk::ReConfig(parameters) => {
            assert!(parameters.iter().all(|parameter| parameter.is_ok()));
        }
        _ => {}
    }
}
