//! What tshark finds in encapsulations, fragments and quotations, beside what is found here.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use super::build::{
    MACS, behind, data_packet, ethernet, fragments_v4, fragments_v6, icmp, ipv4, ipv6, mpls, pcap,
    ppp, pppoe, udp, vxlan,
};
use super::decode;
use super::hostile::everything;

/// Of a packet: the frame, the ports, the tag, the TSNs, and whether the checksum is right.
type Columns = Vec<Vec<u64>>;

const FIELDS: [&str; 6] = [
    "frame.number",
    "sctp.srcport",
    "sctp.dstport",
    "sctp.verification_tag",
    "sctp.data_tsn_raw",
    "sctp.checksum.status",
];

/// What tshark finds in a file; `None` (with a line that says so) where it is not installed.
fn tshark(file: &[u8]) -> Option<Vec<Columns>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", "-", "-Y", "sctp", "-d", "udp.port==9899,sctp"]);
    // Otherwise it checks nothing, and takes ports for protocols.
    command.args(["-o", "sctp.checksum:CRC 32c", "-o", "sctp.try_heuristic_first:FALSE"]);
    command.args(["-T", "fields", "-E", "separator=|"]);
    FIELDS.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("SKIPPED: tshark is not installed");
            return None;
        }
        Err(error) => panic!("tshark: {error}"),
    };
    child.stdin.take().unwrap().write_all(file).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = |column: &str| {
        let values = column.split(',').filter(|value| !value.is_empty());
        values.map(number).collect::<Vec<_>>()
    };
    Some(text.lines().map(|line| line.split('|').map(numbers).collect()).collect())
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

fn columns(packet: &Json) -> Columns {
    let chunks = packet["chunks"].as_array().unwrap();
    vec![
        vec![packet["frame"].as_u64().unwrap()],
        vec![packet["src_port"].as_u64().unwrap()],
        vec![packet["dst_port"].as_u64().unwrap()],
        vec![number(packet["vtag"].as_str().unwrap())],
        chunks.iter().filter_map(|chunk| chunk["tsn"].as_u64()).collect(),
        vec![u64::from(packet["checksum"] == "ok")],
    ]
}

#[test]
fn tshark_finds_the_same_packets_in_the_same_frames() {
    let (v4, v6) = (ipv4(132, &[], 0, &data_packet()), ipv6(132, &data_packet()));
    let typed = |ether_type: u16, payload: &[u8]| {
        behind(&[&MACS[..], &ether_type.to_be_bytes()].concat(), payload)
    };
    // Ethernet under MPLS is left out: tshark has to be told of it.
    let on_ethernet = vec![
        typed(0x8864, &pppoe(1, &v4)),
        typed(0x8847, &mpls(&[16, 17], &v6)),
        typed(0x8100, &behind(&[0, 5, 0x88, 0x64], &pppoe(1, &v6))),
        typed(0x0800, &ipv4(1, &[], 0, &icmp(3, 2, [0; 4], &v4))),
        typed(0x0800, &ipv4(17, &[], 0, &udp(1, 4789, &vxlan(1, &ethernet(&v4))))),
    ];
    let mut raw = everything();
    let interleaved: Vec<_> = [
        fragments_v4(8, 132, &data_packet(), 16),
        fragments_v4(9, 132, &data_packet(), 16),
        fragments_v6(8, 132, &data_packet(), 16),
    ]
    .concat();
    raw.extend([0, 3, 8, 6, 4, 1, 2, 7, 5].map(|at: usize| interleaved[at].clone()));
    for (link_type, frames) in [
        (1, on_ethernet),
        (9, vec![ppp(&v4), ppp(&v6), behind(&[0x21], &v4)]),
        (50, vec![ppp(&v4), behind(&[0x0f, 0, 0x86, 0xdd], &v6)]),
        (51, vec![pppoe(1, &v4)]),
        (104, vec![behind(&[0x8f, 0, 8, 0], &v4)]),
        (101, raw),
        (204, vec![behind(&[1], &ppp(&v4)), behind(&[0], &ppp(&v6))]),
        (248, vec![data_packet()]),
    ] {
        let file = pcap(link_type, false, false, &frames);
        let Some(expected) = tshark(&file) else { return };
        let found: Vec<_> = decode(file).iter().map(columns).collect();
        assert_eq!(found, expected, "link type {link_type}");
        assert!(!found.is_empty(), "link type {link_type}");
    }
}
