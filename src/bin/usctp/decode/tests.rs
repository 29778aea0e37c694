//! Captures made here, captures that others made, and damaged ones.

mod build;
mod fragments;
mod hostile;
mod icmp;
mod tally;
mod tshark;
mod tunnels;

use std::io::Cursor;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde_json::Value as Json;
use usctp_chunk::{Chunk, Packet, PacketBuilder};

use super::file::CaptureError;
use super::layers::{Extent, Layers, Origin};
use super::{Decoder, Stopped, text};
use crate::output::Styles;
use build::{
    MACS, behind, block, data_packet, enhanced, ethernet, interface, ipv4, ipv6, packet, pcap,
    section, udp,
};

/// What the JSON output says about a file, and what stopped it.
fn decode_all(file: Vec<u8>) -> (Vec<Json>, Result<(), Stopped>) {
    let mut found = Vec::new();
    let result = Decoder::new(&[9899]).each_packet(Cursor::new(file), |description| {
        found.push(serde_json::to_value(description).unwrap());
        Ok(())
    });
    (found, result)
}

fn decode(file: Vec<u8>) -> Vec<Json> {
    let (found, result) = decode_all(file);
    result.unwrap();
    found
}

/// How many packets are in a file, and what standard error says at its end.
fn lines(file: Vec<u8>) -> (usize, Vec<String>) {
    let mut packets = 0;
    let mut decoder = Decoder::new(&[9899]);
    let read = decoder.each_packet(Cursor::new(file), |_| {
        packets += 1;
        Ok(())
    });
    read.unwrap();
    (packets, decoder.tally.lines())
}

/// The only packet of a raw-IP capture with one frame.
fn decode_ip(frame: Vec<u8>) -> Json {
    let mut found = decode(pcap(101, true, false, &[frame]));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn assert_is_data_packet(found: &Json) {
    assert_eq!(found["src_port"], 5000, "{found}");
    assert_eq!(found["dst_port"], 5001);
    assert_eq!(found["vtag"], "0x01020304");
    assert_eq!(found["checksum"], "ok");
    assert_eq!(found["error"], Json::Null);
    let chunk = &found["chunks"][0];
    assert_eq!(chunk["type"], 0);
    assert_eq!(chunk["name"], "DATA");
    assert_eq!(chunk["flags"], 3);
    assert_eq!(chunk["length"], 28);
    assert_eq!(chunk["tsn"], 77);
    assert_eq!(chunk["stream_identifier"], 5);
    assert_eq!(chunk["stream_sequence_number"], 6);
    assert_eq!(chunk["payload_protocol_identifier"], 46);
    assert_eq!(chunk["user_data"], "aGVsbG8sIHdvcmxk");
    assert_eq!(found["chunks"].as_array().unwrap().len(), 1);
}

#[test]
fn every_link_type_leads_to_the_packet() {
    let v4 = ipv4(132, &[], 0, &data_packet());
    let v6 = ipv6(132, &data_packet());
    let tagged = |tags: &[u8]| behind(&[&MACS[..], tags].concat(), &v4);
    let sll = [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0][..], &[0x86, 0xdd]].concat();
    let sll2 = [&[0x08, 0x00][..], &[0; 18]].concat();
    for (link_type, frame) in [
        (1, ethernet(&v4)),
        (1, behind(&[&MACS[..], &[0x86, 0xdd]].concat(), &v6)),
        (1, tagged(&[0x81, 0x00, 0, 5, 0x08, 0x00])),
        (1, tagged(&[0x88, 0xa8, 0, 5, 0x08, 0x00])),
        (1, tagged(&[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x81, 0x00, 0, 7, 0x08, 0x00])),
        (1, tagged(&[0, 80, 0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0x00])),
        (12, v4.clone()),
        (14, v4.clone()),
        (101, v4.clone()),
        (101, v6.clone()),
        (228, v4.clone()),
        (229, v6.clone()),
        (113, behind(&sll, &v6)),
        (276, behind(&sll2, &v4)),
        (0, behind(&[2, 0, 0, 0], &v4)),
        (0, behind(&[0, 0, 0, 30], &v6)),
        (108, behind(&[0, 0, 0, 2], &v4)),
        (108, behind(&[0, 0, 0, 24], &v6)),
    ] {
        let is_v6 = frame.windows(40).any(|bytes| bytes == &v6[..40]);
        let found = decode(pcap(link_type, false, false, &[frame]));
        assert_eq!(found.len(), 1, "link type {link_type}");
        assert_is_data_packet(&found[0]);
        assert_eq!(found[0]["src"], if is_v6 { "fd00::1" } else { "10.0.0.1" });
        assert_eq!(found[0]["dst"], if is_v6 { "fd00::2" } else { "10.0.0.2" });
    }
}

#[test]
fn both_byte_orders_and_resolutions_of_pcap_say_the_same() {
    let frame = ipv4(132, &[], 0, &data_packet());
    for (big_endian, nanoseconds) in [(true, true), (true, false), (false, true), (false, false)] {
        let found = decode(pcap(101, big_endian, nanoseconds, &[frame.clone(), frame.clone()]));
        found.iter().for_each(assert_is_data_packet);
        assert_eq!(found[0]["frame"], 1);
        assert_eq!(found[0]["at_ms"], 0.0);
        assert_eq!(found[1]["frame"], 2);
        assert_eq!(found[1]["at_ms"], 1.5);
    }
}

#[test]
fn pcapng_is_read_with_its_sections_interfaces_and_kinds_of_packets() {
    let v4 = ipv4(132, &[], 0, &data_packet());
    let mut file = section(true);
    file.extend(interface(true, 101, &[]));
    // if_tsresol: nanoseconds; if_tsoffset: 1 s; end of options.
    let options =
        [&[0, 9, 0, 1, 9, 0, 0, 0, 0, 14, 0, 8][..], &1_u64.to_be_bytes(), &[0; 4]].concat();
    file.extend(interface(true, 1, &options));
    file.extend(block(true, 0x0bad, b"private"));
    file.extend(enhanced(true, 0, 2_000_000, &v4));
    file.extend(enhanced(true, 1, 1_000_250_000, &ethernet(&v4)));
    file.extend(block(true, 3, &[&(v4.len() as u32).to_be_bytes()[..], &v4].concat()));
    file.extend(enhanced(true, 0, 0, b"not IP at all"));
    let obsolete = [0x0001_0000, 0, 250_000, v4.len() as u32 + 14, 9999].map(u32::to_be_bytes);
    file.extend(block(true, 2, &[&obsolete.concat()[..], &ethernet(&v4)].concat()));
    file.extend(section(false));
    file.extend(interface(false, 1, &[]));
    file.extend(enhanced(false, 0, 2_000_500, &ethernet(&v4)));
    let found = decode(file);
    found.iter().for_each(assert_is_data_packet);
    let frames: Vec<_> = found.iter().map(|packet| packet["frame"].as_u64().unwrap()).collect();
    assert_eq!(frames, [1, 2, 3, 5, 6]);
    let times: Vec<_> = found.iter().map(|packet| packet["at_ms"].as_f64()).collect();
    assert_eq!(times, [Some(0.0), Some(0.25), None, Some(-999.75), Some(0.5)]);
}

#[test]
fn options_of_ipv4_and_padding_of_the_link_are_no_part_of_the_packet() {
    assert_is_data_packet(&decode_ip(ipv4(132, &[7, 7, 4, 0, 0, 0, 0, 0], 0, &data_packet())));
    let mut padded = ipv4(132, &[], 0, &data_packet());
    padded.extend([0; 14]);
    assert_is_data_packet(&decode_ip(padded));
}

#[test]
fn extension_headers_of_ipv6_are_walked() {
    let mut payload = vec![43, 0, 1, 4, 0, 0, 0, 0]; // hop by hop, then routing
    payload.extend([60, 1]); // routing of 16 bytes, then destination options
    payload.extend([0; 14]);
    payload.extend([51, 0, 1, 4, 0, 0, 0, 0]); // then authentication
    payload.extend([44, 4]); // 24 bytes, then fragment
    payload.extend([0; 22]);
    payload.extend([132, 0, 0, 0, 0, 0, 0, 9]); // RFC 6946: a fragment that is all there is
    payload.extend(data_packet());
    assert_is_data_packet(&decode_ip(ipv6(0, &payload)));
}

#[test]
fn the_first_fragment_is_shown_as_far_as_it_goes_and_later_ones_as_such() {
    let whole = data_packet();
    for (first, later) in [
        (ipv4(132, &[], 0x2000, &whole[..32]), ipv4(132, &[], 4, &whole[32..])),
        (
            ipv6(44, &[&[132, 0, 0, 1, 0, 0, 0, 9], &whole[..32]].concat()),
            ipv6(44, &[&[132, 0, 0, 32, 0, 0, 0, 9], &whole[32..]].concat()),
        ),
    ] {
        let found = decode_ip(first);
        assert_eq!(found["checksum"], "fragment");
        assert_eq!(found["error"], Json::Null);
        assert_eq!(found["chunks"][0]["tsn"], 77);
        assert_eq!(found["chunks"][0]["length"], 28);
        assert_eq!(found["chunks"][0]["user_data"], "aGVsbA==");
        let found = decode_ip(later);
        assert_eq!(found["checksum"], "fragment");
        assert_eq!(found["src_port"], Json::Null);
        assert_eq!(found["chunks"], Json::Array(Vec::new()));
    }
}

#[test]
fn a_packet_cut_by_the_snapshot_length_is_truncated_and_shown_as_far_as_it_goes() {
    let whole = ipv4(132, &[], 0, &data_packet());
    for len in 20..whole.len() {
        let found = decode_ip(whole[..len].to_vec());
        assert_eq!(found["checksum"], "truncated", "{len} bytes");
        let tsn = if len >= 20 + 12 + 16 { Json::from(77) } else { Json::Null };
        assert_eq!(found["chunks"][0]["tsn"], tsn, "{len} bytes: {found}");
        assert_eq!(found["error"].is_null(), len >= 32, "{len} bytes: {found}");
    }
    assert!(decode(pcap(101, true, false, &[whole[..19].to_vec()])).is_empty());
}

#[test]
fn encapsulated_packets_are_found_by_either_udp_port() {
    for (from, to) in [(9899, 4000), (4000, 9899)] {
        let found = decode_ip(ipv4(17, &[], 0, &udp(from, to, &data_packet())));
        assert_is_data_packet(&found);
        assert_eq!(found["udp_src_port"], from);
        assert_eq!(found["udp_dst_port"], to);
    }
    let elsewhere = ipv6(17, &udp(53, 4000, &data_packet()));
    assert!(decode(pcap(101, true, false, &[elsewhere])).is_empty());
}

#[test]
fn wrong_and_missing_checksums_are_told_apart() {
    let mut bytes = data_packet();
    bytes[8..12].fill(0);
    assert_eq!(decode_ip(ipv4(132, &[], 0, &bytes))["checksum"], "zero");
    bytes[8] = 1;
    assert_eq!(decode_ip(ipv4(132, &[], 0, &bytes))["checksum"], "bad");
}

#[test]
fn a_chunk_that_cannot_be_decoded_is_shown_with_the_reason() {
    // A SACK that announces 100 gap blocks, then COOKIE ACK.
    let sack = [3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 16, 0, 0, 100, 0, 0, 11, 0, 0, 4];
    let found = decode_ip(ipv4(132, &[], 0, &packet(&sack)));
    assert_eq!(found["chunks"][0]["name"], "SACK");
    assert!(found["chunks"][0]["error"].is_string());
    assert_eq!(found["error"], found["chunks"][0]["error"]);
    assert_eq!(found["chunks"][1]["name"], "COOKIE ACK");
    let short = decode_ip(ipv4(132, &[], 0, &[1, 2, 3]));
    assert!(short["error"].is_string());
    let no_length = decode_ip(ipv4(132, &[], 0, &packet(&[11, 0, 0, 4, 11, 0, 0, 3])));
    assert_eq!(no_length["chunks"].as_array().unwrap().len(), 2);
    assert_eq!(no_length["chunks"][1]["length"], 3);
    assert_eq!(no_length["error"], no_length["chunks"][1]["error"]);
    assert!(no_length["error"].is_string());
}

#[test]
fn errors_that_quote_each_other_without_end_are_shown_to_a_limit() {
    // Unrecognized parameters within unrecognized parameters, as deep as a packet goes.
    let mut chunk = Vec::new();
    for level in (1..15_000_u16).rev() {
        let header = if level == 1 { [9, 0] } else { [0, 8] };
        let len = (15_000 - level) * 4;
        chunk.splice(0..0, [header[0], header[1], (len >> 8) as u8, len as u8]);
    }
    let found = decode_ip(ipv4(132, &[], 0, &packet(&chunk)));
    assert_eq!(found["chunks"][0]["name"], "ERROR");
    assert_eq!(found["error"], Json::Null);
    let depth = found.to_string().matches("Unrecognized").count();
    assert!((2..10).contains(&depth), "{depth} levels are shown");
    text_of(&packet(&chunk));
}

/// The text output about a file.
fn text_of_file(file: Vec<u8>) -> String {
    let mut out = Vec::new();
    Decoder::new(&[9899])
        .each_packet(Cursor::new(file), |description| {
            text::write(&mut out, description, &Styles::plain())
        })
        .unwrap();
    String::from_utf8(out).unwrap()
}

/// The text output about an SCTP packet.
fn text_of(packet: &[u8]) -> String {
    text_of_file(pcap(101, true, false, &[ipv4(132, &[], 0, packet)]))
}

#[test]
fn every_chunk_of_the_extensions_is_described_with_what_it_carries() {
    let re_config = [130, 0, 0, 24, 0, 13, 0, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 7, 0, 0];
    let asconf = [
        193, 0, 0, 32, 0, 0, 0, 9, 0, 5, 0, 8, 192, 0, 2, 1, 0xc0, 1, 0, 16, 0, 0, 0, 4, 0, 5, 0,
        8, 192, 0, 2, 2,
    ];
    let asconf_ack =
        [128, 0, 0, 24, 0, 0, 0, 9, 0xc0, 3, 0, 16, 0, 0, 0, 4, 0, 0xa0, 0, 8, 1, 2, 3, 4];
    let forward = [192, 0, 0, 16, 0, 0, 0, 50, 0, 1, 0, 2, 0, 3, 0, 4];
    let i_forward = [194, 0, 0, 16, 0, 0, 0, 51, 0, 6, 0, 1, 0, 0, 0, 7];
    let i_data =
        [64, 0, 0, 24, 0, 0, 0, 60, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, b'r', b'e', b's', b't'];
    let auth = [15, 0, 0, 12, 0, 1, 0, 3, 0xab, 0xcd, 0xef, 0x01];
    let error = [9, 0, 0, 24, 0, 6, 0, 12, 0x4d, 5, 0, 8, 1, 2, 3, 4, 0, 1, 0, 8, 0, 9, 0, 0];
    let pad = [132, 0, 0, 8, 0, 0, 0, 0];
    let all: [&[u8]; 9] =
        [&re_config, &asconf, &asconf_ack, &forward, &i_forward, &i_data, &auth, &error, &pad];
    let found = decode_ip(ipv4(132, &[], 0, &packet(&all.concat())));
    assert_eq!(found["error"], Json::Null, "{found}");
    let names: Vec<_> =
        found["chunks"].as_array().unwrap().iter().map(|chunk| &chunk["name"]).collect();
    let expected = [
        "RE-CONFIG",
        "ASCONF",
        "ASCONF-ACK",
        "FORWARD TSN",
        "I-FORWARD-TSN",
        "I-DATA",
        "AUTH",
        "ERROR",
        "PAD",
    ];
    assert_eq!(names, expected);
    for (chunk, path, expected) in [
        (0, "/parameters/0/senders_last_assigned_tsn", Json::from(3)),
        (0, "/parameters/0/streams", Json::from(vec![7])),
        (1, "/address", "192.0.2.1".into()),
        (1, "/parameters/0/address", "192.0.2.2".into()),
        (1, "/parameters/0/correlation_id", 4.into()),
        (2, "/parameters/0/error_causes/0/code", 0xa0.into()),
        (2, "/parameters/0/error_causes/0/value", "AQIDBA==".into()),
        (3, "/streams/1/stream_sequence_number", 4.into()),
        (4, "/streams/0/unordered", true.into()),
        (4, "/streams/0/message_identifier", 7.into()),
        (5, "/message_identifier", 2.into()),
        (5, "/fragment_sequence_number", 3.into()),
        (5, "/user_data", "cmVzdA==".into()),
        (6, "/hmac_identifier", 3.into()),
        (6, "/hmac", "q83vAQ==".into()),
        (7, "/error_causes/0/chunks/0/type", 77.into()),
        (7, "/error_causes/0/chunks/0/name", Json::Null),
        (7, "/error_causes/1/stream_identifier", 9.into()),
        (8, "/padding_length", 4.into()),
    ] {
        let value = found["chunks"][chunk].pointer(path);
        assert_eq!(value, Some(&expected), "{path} of {}", found["chunks"][chunk]);
    }
}

#[test]
fn text_has_a_line_for_the_packet_and_indented_ones_for_what_it_holds() {
    let init = [
        1, 0, 0, 32, 0xca, 0xfe, 0, 1, 0, 1, 0, 0, 0, 10, 0xff, 0xff, 0, 0, 0,
        9, // fixed part
        0, 5, 0, 8, 192, 0, 2, 7, // IPv4 Address
        0xc0, 0, 0, 4, // Forward TSN supported
    ];
    let text = text_of(&packet(&init));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("10.0.0.1:5000 > 10.0.0.2:5001"), "{text}");
    assert!(lines[0].ends_with("vtag 0x01020304  checksum ok"), "{text}");
    assert!(lines[1].starts_with("        INIT  initiate tag 0xcafe0001, a_rwnd 65536"), "{text}");
    assert!(lines[2].starts_with("            IPv4 Address  192.0.2.7"), "{text}");
    assert!(lines[3].starts_with("            Forward"), "{text}");
    assert_eq!(lines.len(), 4);
}

#[test]
fn text_never_writes_a_byte_that_a_terminal_obeys() {
    let mut data = vec![0, 3, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    data.extend(b"\x1b]0;own\x07");
    let text = text_of(&packet(&data));
    assert!(text.contains("1b5d303b6f776e07"), "{text}");
    assert!(text.bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()), "{text}");
}

#[test]
fn damage_is_reported_with_its_place_and_what_came_before_it_is_printed() {
    let frame = ipv4(132, &[], 0, &data_packet());
    let good = pcap(101, false, false, std::slice::from_ref(&frame));
    let end = good.len() as u64;
    let mut huge = good.clone();
    huge.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2]);
    let mut cut = good.clone();
    cut.extend([1, 2, 3]);
    for (file, at) in [(huge, end), (cut, end)] {
        let (found, result) = decode_all(file);
        assert_eq!(found.len(), 1);
        match result {
            Err(Stopped::Capture(CaptureError::Damaged { offset, .. }))
            | Err(Stopped::Capture(CaptureError::CutShort { offset, .. })) => {
                assert_eq!(offset, at);
            }
            other => panic!("{other:?}"),
        }
    }
    let mut file = [section(false), interface(false, 101, &[])].concat();
    file.extend(enhanced(false, 0, 0, &frame));
    file.extend(enhanced(false, 1, 0, &frame));
    let (found, result) = decode_all(file);
    assert_eq!(found.len(), 1);
    assert!(matches!(result, Err(Stopped::Capture(CaptureError::Damaged { .. }))), "{result:?}");
}

/// The captures of others, or nothing where they are absent.
fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.to_string_lossy().contains(".pcap") {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        println!("SKIPPED: the captures are absent: {} does not exist", root.display());
    }
    files.sort();
    files
}

/// Decodes and prints in both forms, and forgets what came of it.
fn survive(file: Vec<u8>) {
    let mut out = Vec::new();
    let _ = Decoder::new(&[9899]).each_packet(Cursor::new(file), |description| {
        out.clear();
        crate::output::json_line(&mut out, description)?;
        text::write(&mut out, description, &Styles::plain())
    });
}

/// xorshift64*, seeded: the same damage in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// How many damaged versions are made of each capture.
const DAMAGES: usize = 60;
/// Large captures are damaged near their beginning, and read as far.
const ENOUGH: usize = 48 << 10;

#[test]
fn no_damaged_capture_makes_the_decoder_panic() {
    let mut dice = Dice(0x5c7f_2026);
    for path in captures() {
        let mut whole = std::fs::read(&path).unwrap();
        whole.truncate(ENOUGH);
        for round in 0..DAMAGES {
            let mut file = whole.clone();
            // Every point of the headers, and random points behind them.
            file.truncate(if round < 30 { round * 2 } else { dice.below(whole.len()) });
            survive(file);
            let mut file = whole.clone();
            for _ in 0..=dice.below(40) {
                let at = dice.below(file.len());
                file[at] = dice.below(256) as u8;
            }
            survive(file);
        }
    }
}

#[test]
fn well_formed_packets_of_others_are_encoded_as_they_came() {
    let mut packets = 0;
    for path in captures() {
        let mut capture = super::CaptureFile::open(std::fs::File::open(&path).unwrap()).unwrap();
        let mut layers = Layers::new(&[9899]);
        let mut found = Vec::new();
        while let Some(frame) = capture.next_frame().unwrap() {
            let origin = Origin { frame: 0, time: None };
            found.extend(layers.frame(frame.link_type.unwrap(), origin, frame.bytes));
        }
        for carried in found.into_iter().flatten() {
            if carried.extent != Extent::Whole {
                continue;
            }
            let packet = Packet::parse(&carried.payload).unwrap();
            let mut out = BytesMut::new();
            let mut builder = PacketBuilder::new(&mut out, packet.header, 65_535);
            for raw in packet.chunks() {
                let chunk: Chunk = raw.unwrap().decode().unwrap();
                assert!(builder.push(&chunk));
            }
            builder.finish();
            assert_eq!(out, packet.bytes(), "{}", path.display());
            packets += 1;
        }
    }
    println!("{packets} packets were encoded again");
}

#[test]
fn addresses_are_written_without_port_or_brackets() {
    let found = decode_ip(ipv6(132, &data_packet()));
    let address: IpAddr = found["src"].as_str().unwrap().parse().unwrap();
    assert!(address.is_ipv6());
}
