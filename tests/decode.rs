//! `usctp decode` over captures that others made, against what is known of them and against tshark.

#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The captures, or `None` (with a line that says so) where they are absent.
fn captures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    if path.join("SOURCES.md").exists() {
        return Some(path);
    }
    println!("SKIPPED: the captures are absent: {} does not exist", path.display());
    None
}

fn decode(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_usctp"))
        .arg("decode")
        .args(arguments)
        .arg(file)
        .output()
        .expect("the program starts")
}

/// The packets of a file that is to be read whole.
fn packets(file: &Path) -> Vec<Value> {
    let output = decode(&["--json"], file);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", file.display());
    lines(&output)
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// What SOURCES.md says about one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    packets: u64,
    checksums: BTreeMap<String, u64>,
    udp: u64,
    chunks: BTreeMap<u64, u64>,
}

/// Lines such as `- a/b.pcap | 75 | ok=75 bad=0 zero=0 trunc/frag=0 udp=0 | 0:17 1:6`.
fn sources(captures: &Path) -> BTreeMap<String, Content> {
    let text = fs::read_to_string(captures.join("SOURCES.md")).expect("SOURCES.md is readable");
    let mut sources = BTreeMap::new();
    for line in text.lines() {
        let Some((file, rest)) = line.strip_prefix("- ").and_then(|line| line.split_once(" | "))
        else {
            continue;
        };
        let parts: Vec<&str> = rest.split('|').map(str::trim).collect();
        let [packets, checksums, chunks] = parts[..] else { panic!("unexpected line {line}") };
        let mut checksums: BTreeMap<String, u64> = pairs(checksums, '=').collect();
        let udp = checksums.remove("udp").expect("the number of packets over UDP");
        checksums.retain(|_, count| *count > 0);
        let chunks = pairs(chunks, ':').map(|(kind, n)| (kind.parse().expect("a type"), n));
        let packets = packets.parse().expect("a number of packets");
        let content = Content { packets, checksums, udp, chunks: chunks.collect() };
        sources.insert(file.to_owned(), content);
    }
    assert!(sources.len() >= 11, "SOURCES.md lists the captures: {sources:?}");
    sources
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (String, u64)> {
    text.split_whitespace().map(move |pair| {
        let (name, count) = pair.split_once(separator).expect("a pair");
        (name.to_owned(), count.parse().expect("a count"))
    })
}

/// What the program says about one file; SOURCES.md does not count what ICMP quotes.
fn content(packets: &[Value]) -> Content {
    let mut content = Content::default();
    for packet in packets.iter().filter(|packet| packet.get("icmp").is_none()) {
        content.packets += 1;
        let checksum = match packet["checksum"].as_str().expect("a checksum verdict") {
            "fragment" | "truncated" => "trunc/frag",
            verdict => verdict,
        };
        *content.checksums.entry(checksum.to_owned()).or_default() += 1;
        content.udp += u64::from(packet.get("udp_src_port").is_some());
        for chunk in packet["chunks"].as_array().expect("a list of chunks") {
            let kind = chunk["type"].as_u64().expect("a chunk type");
            *content.chunks.entry(kind).or_default() += 1;
        }
    }
    content
}

#[test]
fn packets_checksums_and_chunk_types_are_those_that_the_sources_list() {
    let Some(captures) = captures() else { return };
    for (file, expected) in sources(&captures) {
        assert_eq!(content(&packets(&captures.join(&file))), expected, "{file}");
    }
}

/// Field by field, what tshark and the program must agree on.
const FIELDS: [&str; 9] = [
    "sctp.srcport",
    "sctp.dstport",
    "sctp.verification_tag",
    "sctp.chunk_type",
    "sctp.chunk_length",
    "sctp.data_tsn_raw",
    "sctp.data_sid",
    "sctp.sack_cumulative_tsn_ack_raw",
    "sctp.checksum.status",
];

fn tshark(file: &Path) -> Option<BTreeMap<u64, Vec<Vec<u64>>>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-o", "sctp.checksum:CRC 32c"]);
    command.args(["-Y", "sctp", "-T", "fields", "-E", "separator=|"]);
    command.args(["-e", "frame.number"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let Ok(output) = command.stderr(Stdio::null()).output() else {
        println!("SKIPPED: tshark is not installed");
        return None;
    };
    let text = String::from_utf8(output.stdout).expect("tshark writes UTF-8");
    let mut frames = BTreeMap::new();
    for line in text.lines() {
        let mut columns = line.split('|').map(|column| {
            column.split(',').filter(|value| !value.is_empty()).map(number).collect::<Vec<_>>()
        });
        let frame = columns.next().and_then(|frame| frame.first().copied());
        let frame = frame.expect("the number of the frame");
        frames.insert(frame, columns.collect());
    }
    assert!(!frames.is_empty(), "tshark finds SCTP in {}", file.display());
    Some(frames)
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).expect("hexadecimal digits"),
        None => text.parse().expect("a number"),
    }
}

/// The same columns from what the program says.
fn columns(packet: &Value) -> Vec<Vec<u64>> {
    let chunks = packet["chunks"].as_array().expect("a list of chunks");
    let each = |field: &str| chunks.iter().filter_map(|chunk| chunk[field].as_u64()).collect();
    let of = |name: &str, field: &str| {
        let chunks = chunks.iter().filter(|chunk| chunk["name"] == name);
        chunks.filter_map(|chunk| chunk[field].as_u64()).collect()
    };
    vec![
        vec![packet["src_port"].as_u64().expect("a port")],
        vec![packet["dst_port"].as_u64().expect("a port")],
        vec![number(packet["vtag"].as_str().expect("a tag"))],
        each("type"),
        each("length"),
        each("tsn"),
        each("stream_identifier"),
        of("SACK", "cumulative_tsn_ack"),
        vec![u64::from(packet["checksum"] == "ok")],
    ]
}

#[test]
fn each_frame_holds_the_chunks_tags_and_numbers_that_tshark_finds() {
    let Some(captures) = captures() else { return };
    for file in sources(&captures).keys() {
        let path = captures.join(file);
        let Some(expected) = tshark(&path) else { return };
        let packets = packets(&path);
        let frames: Vec<u64> =
            packets.iter().filter_map(|packet| packet["frame"].as_u64()).collect();
        assert_eq!(frames, expected.keys().copied().collect::<Vec<_>>(), "frames of {file}");
        for (packet, (frame, expected)) in packets.iter().zip(&expected) {
            for ((field, found), expected) in FIELDS.iter().zip(columns(packet)).zip(expected) {
                assert_eq!(&found, expected, "{field} of frame {frame} of {file}");
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_short_prints_the_packets_before_the_cut_and_fails() {
    let Some(captures) = captures() else { return };
    let whole = captures.join("tcpdump/forces1.pcap");
    let bytes = fs::read(&whole).expect("the capture is readable");
    let cut = scratch("cut.pcap", &bytes[..bytes.len() - 7]);
    let output = decode(&["--json"], &cut);
    assert_eq!(output.status.code(), Some(1));
    let mut expected = packets(&whole);
    expected.pop();
    assert_eq!(lines(&output), expected);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("cut short") && message.contains("cut.pcap"), "{message}");
}

#[test]
fn files_that_are_no_captures_are_named_as_such() {
    for (name, bytes, expected) in [
        ("empty", &b""[..], "it is empty"),
        ("three", b"abc", "cut short"),
        ("text", b"just some text in a file", "neither pcap nor pcapng"),
        ("gzip", b"\x1f\x8b\x08\x00garbage", "cannot be read"),
    ] {
        let output = decode(&[], &scratch(name, bytes));
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert!(output.stdout.is_empty());
    }
    let output = decode(&[], Path::new("/nonexistent/file.pcap"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_was_not_looked_into_is_named_on_standard_error_and_standard_output_has_packets_alone() {
    // A pcap file in the byte order of little machines, of a link type that is for private use, with one frame.
    let mut file = Vec::new();
    for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 147, 0, 0, 8, 8, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    for arguments in [&[][..], &["--json"]] {
        let output = decode(arguments, &scratch("private.pcap", &file));
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.is_empty());
        let message = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = message.lines().collect();
        assert!(lines[0].ends_with("private.pcap: not looked into: 1 frame of link type 147"));
        assert!(lines[1].ends_with("private.pcap: no SCTP packet was found"), "{message}");
        assert_eq!(lines.len(), 2, "{message}");
    }
    let Some(captures) = captures() else { return };
    let output = decode(&["--json"], &captures.join("zeek/cisco-fabric-path.pcap"));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(lines(&output).len(), 16);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("not looked into: 65 frames of EtherType 0x8903\n"), "{message}");
}

#[test]
fn what_icmp_quotes_is_told_from_what_was_sent() {
    let Some(captures) = captures() else { return };
    let packets = packets(&captures.join("pcapplusplus/ip-frag.pcap"));
    let quoted: Vec<_> = packets.iter().filter(|packet| packet.get("icmp").is_some()).collect();
    let frames: Vec<_> = quoted.iter().filter_map(|packet| packet["frame"].as_u64()).collect();
    assert_eq!(frames, [8, 10, 12]);
    for packet in quoted {
        assert_eq!(packet["icmp"]["name"], "protocol unreachable");
        assert_eq!(packet["icmp"]["src"], packet["dst"]);
        assert_eq!(packet["chunks"][0]["name"], "INIT");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let Some(captures) = captures() else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_usctp"))
        .arg("decode")
        .arg(captures.join("wireshark-testcaptures/netperfmeter.pcapng.gz"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_capture_is_read_from_standard_input_too() {
    let Some(captures) = captures() else { return };
    let file = captures.join("wireshark-testcaptures/communityid.pcap.gz");
    let output = Command::new(env!("CARGO_BIN_EXE_usctp"))
        .args(["decode", "--json", "-"])
        .stdin(File::open(&file).expect("the capture is readable"))
        .output()
        .expect("the program starts");
    assert!(output.status.success());
    assert_eq!(lines(&output), packets(&file));
}

/// A file of this test run.
fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).expect("the scratch directory is writable");
    path
}
