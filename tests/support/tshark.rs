//! The judgement of tshark over every packet that we sent.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use super::peer::installed;
use super::suite::Outcome;

/// What is asked of each packet, in this order.
const FIELDS: [&str; 7] = [
    "frame.number",
    "ip.src",
    "ipv6.src",
    "sctp.checksum.status",
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.message",
];

/// PI_WARN of Wireshark's expert information; PI_ERROR is greater, notes and chats are less.
const WARNING: u64 = 0x0060_0000;

/// Why tshark cannot judge here, if it cannot.
pub(crate) fn missing() -> Option<&'static str> {
    installed("tshark")
        .is_none()
        .then_some("tshark is not installed (Debian: apt-get install tshark)")
}

/// Fails if tshark finds a malformed field, a bad checksum or a warning in any packet from one of the addresses, or if
/// there is no such packet. Without tshark nothing is judged; the test that needs it says so.
pub(crate) fn check(capture: &Path, ours: &[IpAddr]) -> Outcome<()> {
    if missing().is_some() {
        return Ok(());
    }
    let output = Command::new("tshark").args(arguments(capture)).output()?;
    if !output.status.success() {
        return Err(format!("tshark: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let (mut judged, mut faults) = (0_u64, String::new());
    for line in text.lines() {
        let packet = Packet::read(line)?;
        if !ours.contains(&packet.source) {
            continue;
        }
        judged += 1;
        if let Some(fault) = packet.fault() {
            writeln!(faults, "frame {}: {fault}", packet.number)?;
        }
    }
    if judged == 0 {
        return Err(format!("tshark saw no packet of ours in {}", capture.display()).into());
    }
    if !faults.is_empty() {
        return Err(format!("tshark objects to what we sent ({judged} packets):\n{faults}").into());
    }
    Ok(())
}

/// When DATA to an address was seen, in seconds since 1970.
pub(crate) fn data_arrivals(capture: &Path, to: IpAddr) -> Outcome<Vec<f64>> {
    let filter = format!("sctp.chunk_type == 0 && ip.dst == {to}");
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["-n", "-Y", &filter, "-T", "fields", "-e", "frame.time_epoch"])
        .output()?;
    if !output.status.success() {
        return Err(format!("tshark: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

fn arguments(capture: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = ["-n", "-r"].map(String::from).into();
    arguments.push(capture.display().to_string());
    // Encapsulated packets are known by their port; what the peers' programs say is no protocol that tshark knows,
    // whatever their ports suggest.
    for option in ["sctp.checksum:CRC 32c", "sctp.try_heuristic_first:FALSE"] {
        arguments.extend(["-o".to_owned(), option.to_owned()]);
    }
    arguments.extend(["-d", "udp.port==9899,sctp", "-Y", "sctp", "-T", "fields"].map(String::from));
    arguments.extend(["-E", "separator=/t", "-E", "occurrence=a"].map(String::from));
    for field in FIELDS {
        arguments.extend(["-e".to_owned(), field.to_owned()]);
    }
    arguments
}

struct Packet<'a> {
    number: &'a str,
    source: IpAddr,
    checksum: &'a str,
    malformed: &'a str,
    severities: &'a str,
    messages: &'a str,
}

impl<'a> Packet<'a> {
    fn read(line: &'a str) -> Outcome<Self> {
        let columns: Vec<&str> = line.split('\t').collect();
        let [number, ipv4, ipv6, checksum, malformed, severities, messages] = columns[..] else {
            return Err(format!("tshark wrote a line of other columns: {line}").into());
        };
        let source = if ipv4.is_empty() { ipv6 } else { ipv4 };
        // Where an ICMP message quotes a packet, the first address is that of the message.
        let source = source.split(',').next().unwrap_or_default().parse()?;
        Ok(Self { number, source, checksum, malformed, severities, messages })
    }

    fn fault(&self) -> Option<String> {
        // 1 is good; 0 is bad; 2 is not checked, and then the preference above was not understood.
        if self.checksum.split(',').any(|status| !matches!(status, "1" | "Good")) {
            return Some(format!("checksum status {}", self.checksum));
        }
        if !self.malformed.is_empty() {
            return Some(format!("malformed: {}", self.malformed));
        }
        let severe = |severity: &str| severity.parse::<u64>().is_ok_and(|value| value >= WARNING);
        self.severities.split(',').any(severe).then(|| self.messages.to_owned())
    }
}
