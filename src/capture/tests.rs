//! The capture against bytes written out by hand, and against tshark.

use std::process::{Command, Stdio};

use bytes::Bytes;

use usctp_assoc::AddressSet;

use super::*;

/// Somewhere to write that the test can look into.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn one_packet_reads_as_the_format_prescribes() {
    let out = Shared::default();
    let mut file = PcapNg::new(Box::new(out.clone())).unwrap();
    file.packet(&Captured {
        time: UNIX_EPOCH + Duration::from_nanos(0x0000_0102_0304_0506),
        direction: Direction::Outbound,
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        udp: Some((9899, 9900)),
        ecn: Ecn::Ect0,
        packet: &[1, 2, 3, 4, 5],
    });
    file.flush();
    let expected = "
        0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
        01000000 20000000 6500 0000 00000000 0900 0100 09000000 0000 0000 20000000
        06000000 50000000 00000000 02010000 06050403 21000000 21000000
          45020021 00004000 4011 b6c6 c0000201 c0000202  26ab26ac 000d 2573  0102030405 000000
          0200 0400 02000000 0000 0000 50000000";
    assert_eq!(*out.0.lock().unwrap(), hex(expected));
}

/// HEARTBEAT from port 5000 to 5001; the checksum is right (RFC 9260, appendix A).
fn heartbeat(pad: usize) -> Vec<u8> {
    let mut packet = hex("1388 1389 feedf00d 00000000 0400");
    packet.extend(u16::try_from(8 + pad).unwrap().to_be_bytes());
    packet.extend(hex("0001"));
    packet.extend(u16::try_from(4 + pad).unwrap().to_be_bytes());
    packet.resize(packet.len() + pad, 0xa5);
    let sum = crc32c::crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet
}

/// Both families, raw and encapsulated, both directions, several lengths.
fn write_all_kinds(path: &Path) {
    let capture = Capture::create(path).unwrap();
    let ends = [("10.1.2.3", "127.0.0.9"), ("fd00::1", "2001:db8:ffff::2")];
    for (source, destination) in ends {
        for udp_port in [None, Some(40_000)] {
            for pad in [0, 4, 56, 1_400, 32_000] {
                let packet = heartbeat(pad);
                let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
                let (ecn, len) = (Ecn::Ect0, packet.len());
                let transmit = Transmit {
                    source: Some(source),
                    destination,
                    udp_port,
                    zone: 0,
                    sources: AddressSet::default(),
                    ecn,
                    fragmentable: false,
                    len,
                };
                let sent = [(&transmit, &packet[..])];
                capture.sending().sent(sent.into_iter(), Some(9899));
                let payload = Bytes::from(packet);
                let datagram = Datagram { source, destination, udp_port, zone: 0, ecn, payload };
                capture.received(&[datagram], Some(9899));
            }
        }
    }
}

#[test]
fn tshark_finds_every_length_and_checksum_right() {
    let tshark = Command::new("tshark").arg("--version").stdout(Stdio::null()).status();
    if !tshark.is_ok_and(|status| status.success()) {
        println!("SKIPPED: tshark is not installed");
        return;
    }
    let directory = std::env::temp_dir().join(format!("usctp-capture-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("links.pcapng");
    write_all_kinds(&path);
    let fields = [
        "frame.packet_flags_direction",
        "sctp.checksum.status",
        "sctp.chunk_type",
        "ip.checksum.status",
        "udp.checksum.status",
        "udp.dstport",
        "_ws.malformed",
        "_ws.expert.message",
    ];
    let checks = ["sctp.checksum:CRC 32c", "ip.check_checksum:TRUE", "udp.check_checksum:TRUE"];
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&path)
        .args(checks.into_iter().flat_map(|check| ["-o", check]))
        .args(["-T", "fields", "-E", "separator=/s", "-E", "quote=d"])
        .args(fields.into_iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // Status 1 is "good"; the header of IPv6 has no checksum.
    let expected = |direction: &str| {
        let line = |ip: &str, udp: &str, port: &str| {
            format!("\"{direction}\" \"1\" \"4\" {ip} {udp} {port}  ")
        };
        let there = if direction == "0x00000002" { "\"40000\"" } else { "\"9899\"" };
        ["\"1\"", ""].map(|ip| [line(ip, "", ""), line(ip, "\"1\"", there)])
    };
    let (out, back) = (expected("0x00000002").concat(), expected("0x00000001").concat());
    let pairs = out.into_iter().zip(back).flat_map(|pair| std::iter::repeat_n(pair, 5));
    let expected: Vec<_> = pairs.flat_map(|(out, back)| [out, back]).collect();
    let got: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(got, expected, "{errors}");
}

#[test]
fn an_answer_never_stands_before_its_question() {
    let out = Shared::default();
    let capture = Capture::to_writer(out.clone()).unwrap();
    let before = out.0.lock().unwrap().len();
    let [us, them] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
    let answer = Datagram {
        source: them,
        destination: us,
        udp_port: None,
        zone: 0,
        ecn: Ecn::NotEct,
        payload: Bytes::from_static(&[0; 12]),
    };
    let question = Transmit {
        source: Some(us),
        destination: them,
        udp_port: None,
        zone: 0,
        sources: AddressSet::default(),
        ecn: Ecn::NotEct,
        fragmentable: false,
        len: 12,
    };
    std::thread::scope(|scope| {
        let sending = capture.sending();
        // The question is on the wire, and its answer is there before the call that sent it has returned.
        let receiver = scope.spawn(|| capture.received(&[answer], None));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!receiver.is_finished(), "it waits for its turn");
        sending.sent([(&question, &[0; 12][..])].into_iter(), None);
    });
    drop(capture);
    let written = out.0.lock().unwrap();
    // The source address of the first packet: behind 28 bytes of block and 12 of IP header.
    assert_eq!(written[before + 28 + 12..][..4], [192, 0, 2, 1]);
}

#[test]
fn packets_reach_the_file_within_a_second_or_so_without_a_drop() {
    let out = Shared::default();
    let capture = Capture::to_writer(out.clone()).unwrap();
    let before = out.0.lock().unwrap().len();
    let datagram = Datagram {
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        udp_port: None,
        zone: 0,
        ecn: Ecn::NotEct,
        payload: Bytes::from_static(&[0; 12]),
    };
    capture.received(&[datagram], None);
    assert_eq!(out.0.lock().unwrap().len(), before, "it is buffered");
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while out.0.lock().unwrap().len() == before {
        assert!(std::time::Instant::now() < end, "the buffer was never flushed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_full_disk_ends_the_capture_and_nothing_else() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut file = PcapNg::new(Box::new(Full(100))).unwrap();
    for _ in 0..3 {
        file.packet(&Captured {
            time: UNIX_EPOCH,
            direction: Direction::Inbound,
            source: "::1".parse().unwrap(),
            destination: "::1".parse().unwrap(),
            udp: None,
            ecn: Ecn::NotEct,
            packet: &[0; 65_000],
        });
    }
    file.flush();
    assert!(file.failed);
}
