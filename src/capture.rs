//! Capture of the stack's own packets as pcapng, which Wireshark and tshark read.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use usctp_assoc::{Datagram, Ecn, Transmit};

use crate::address;
use crate::link::ip::{SCTP, UDP};

/// How long a packet stays in the buffer at most.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Writes every packet that passes the links to a file, with an IP header (and UDP header) made up
/// around it: addresses, ports, ECN field, lengths and checksums are right; identification and time
/// to live are not those on the wire. The file is written through a buffer that is flushed every
/// second and on drop.
pub struct Capture {
    file: Arc<Mutex<PcapNg>>,
    flusher: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Capture {
    /// Creates the file, or empties the one that is there.
    ///
    /// # Errors
    /// If the file cannot be created or written, or the thread that flushes it cannot be started.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::to_writer(File::create(path)?)
    }

    /// Writes to something else than a file.
    ///
    /// # Errors
    /// If the file's header cannot be written, or the thread that flushes cannot be started.
    pub fn to_writer(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let file = Arc::new(Mutex::new(PcapNg::new(Box::new(writer))?));
        let (stop, stopped) = mpsc::channel();
        let flushed = Arc::clone(&file);
        let thread = std::thread::Builder::new().name("usctp-capture".into()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(FLUSH_INTERVAL) {
                flushed.lock().unwrap_or_else(PoisonError::into_inner).flush();
            }
        })?;
        Ok(Self { file, flusher: Some((stop, thread)) })
    }

    /// Writes packets that arrived; `udp_port` is our own port, if there is encapsulation.
    pub(crate) fn received(&self, datagrams: &[Datagram], udp_port: Option<u16>) {
        if datagrams.is_empty() {
            return;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let time = SystemTime::now();
        for datagram in datagrams {
            file.packet(&Captured {
                time,
                direction: Direction::Inbound,
                source: datagram.source,
                destination: datagram.destination,
                udp: datagram.udp_port.zip(udp_port),
                ecn: datagram.ecn,
                packet: &datagram.payload,
            });
        }
    }

    /// To be called before packets are sent: until what it gives is used or dropped, nothing else is written,
    /// so that no answer stands in the file before its question.
    pub(crate) fn sending(&self) -> Sending<'_> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Sending { file, time: SystemTime::now() }
    }
}

/// The turn of packets that are being sent.
pub(crate) struct Sending<'a> {
    file: MutexGuard<'a, PcapNg>,
    time: SystemTime,
}

impl Sending<'_> {
    /// Writes packets that were sent; `udp_port` is our own port, if there is encapsulation.
    pub(crate) fn sent<'a>(
        self,
        packets: impl Iterator<Item = (&'a Transmit, &'a [u8])>,
        udp_port: Option<u16>,
    ) {
        let Self { mut file, time } = self;
        for (transmit, packet) in packets {
            let source = file.source(transmit);
            file.packet(&Captured {
                time,
                direction: Direction::Outbound,
                source,
                destination: transmit.destination,
                udp: udp_port.zip(transmit.udp_port),
                ecn: transmit.ecn,
                packet,
            });
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.flusher.take() {
            drop(stop);
            // A thread that panicked has nothing left to flush; what the buffer holds is written
            // below.
            let _ = thread.join();
        }
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

/// The way a packet went (pcapng, section 4.3.1, epb_flags bits 0 and 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Inbound = 1,
    Outbound = 2,
}

/// One packet to write.
struct Captured<'a> {
    time: SystemTime,
    direction: Direction,
    source: IpAddr,
    destination: IpAddr,
    /// UDP ports, source first.
    udp: Option<(u16, u16)>,
    ecn: Ecn,
    packet: &'a [u8],
}

/// A pcapng file being written (draft-ietf-opsawg-pcapng): one section, one interface of bare IP
/// packets.
struct PcapNg {
    writer: BufWriter<Box<dyn Write + Send>>,
    /// The headers of the packet at hand.
    headers: Vec<u8>,
    /// The block of the packet at hand.
    block: Vec<u8>,
    /// The source that routing chose for the last destination without one of its own.
    routed: Option<(IpAddr, IpAddr)>,
    /// Something failed, and was logged: nothing more is written.
    failed: bool,
}

// Block types, option codes and the link type for packets that begin with an IPv4 or IPv6 header.
const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const OPTION_END: u16 = 0;
const OPTION_FLAGS: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const LINKTYPE_RAW: u16 = 101;
const NANOSECONDS: u8 = 9;

impl PcapNg {
    fn new(writer: Box<dyn Write + Send>) -> io::Result<Self> {
        let mut file = Self {
            writer: BufWriter::with_capacity(1 << 16, writer),
            headers: Vec::new(),
            block: Vec::new(),
            routed: None,
            failed: false,
        };
        let mut body = Vec::new();
        body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The section's length is not known in advance.
        body.extend((-1_i64).to_le_bytes());
        file.block(SECTION_HEADER, &body)?;
        body.clear();
        body.extend(LINKTYPE_RAW.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // No snapshot limit: packets are written whole.
        body.extend(0_u32.to_le_bytes());
        option(&mut body, OPTION_RESOLUTION, &[NANOSECONDS]);
        option(&mut body, OPTION_END, &[]);
        file.block(INTERFACE_DESCRIPTION, &body)?;
        file.writer.flush()?;
        Ok(file)
    }

    /// The address that a packet leaves from.
    fn source(&mut self, transmit: &Transmit) -> IpAddr {
        if let Some(source) = transmit.source {
            return source;
        }
        let destination = transmit.destination;
        match self.routed {
            Some((known, source)) if known == destination => source,
            _ => {
                let source = address::source_for(destination, &[]).unwrap_or(destination);
                self.routed = Some((destination, source));
                source
            }
        }
    }

    fn packet(&mut self, captured: &Captured<'_>) {
        if self.failed {
            return;
        }
        let mut headers = std::mem::take(&mut self.headers);
        let mut body = std::mem::take(&mut self.block);
        headers.clear();
        body.clear();
        write_headers(&mut headers, captured);
        let len = headers.len() + captured.packet.len();
        // A packet is no longer than 65,535 bytes and its headers: the length fits.
        let len_field = u32::try_from(len).unwrap_or(u32::MAX);
        let nanoseconds = captured.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // The halves of a 64-bit count, which lasts until the year 2554.
        body.extend(0_u32.to_le_bytes());
        body.extend(((nanoseconds >> 32) as u32).to_le_bytes());
        body.extend((nanoseconds as u32).to_le_bytes());
        body.extend(len_field.to_le_bytes());
        body.extend(len_field.to_le_bytes());
        body.extend_from_slice(&headers);
        body.extend_from_slice(captured.packet);
        pad(&mut body);
        option(&mut body, OPTION_FLAGS, &(captured.direction as u32).to_le_bytes());
        option(&mut body, OPTION_END, &[]);
        if let Err(error) = self.block(ENHANCED_PACKET, &body) {
            self.fail(&error);
        }
        self.headers = headers;
        self.block = body;
    }

    /// Writes one block: type, length, body, length again; the body is a multiple of four bytes
    /// long.
    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(body.len() + 12).map_err(io::Error::other)?;
        self.writer.write_all(&kind.to_le_bytes())?;
        self.writer.write_all(&len.to_le_bytes())?;
        self.writer.write_all(body)?;
        self.writer.write_all(&len.to_le_bytes())
    }

    fn flush(&mut self) {
        if !self.failed
            && let Err(error) = self.writer.flush()
        {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.failed = true;
        tracing::warn!(%error, "the capture ends here: it could not be written");
    }
}

/// Appends an option: code, length, value, padding.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    // The options written here are four bytes long at most.
    body.extend((value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Makes up the IP header, and the UDP header of an encapsulated packet.
fn write_headers(headers: &mut Vec<u8>, captured: &Captured<'_>) {
    let udp_len = if captured.udp.is_some() { 8 } else { 0 };
    let payload_len = captured.packet.len() + udp_len;
    let protocol = if captured.udp.is_some() { UDP } else { SCTP };
    let ecn = match captured.ecn {
        Ecn::NotEct => 0,
        Ecn::Ect1 => 1,
        Ecn::Ect0 => 2,
        Ecn::Ce => 3,
    };
    let mut pseudo = Sum::default();
    match (captured.source, captured.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            // RFC 791, section 3.1; "don't fragment" is set as on the wire.
            let [l0, l1] = length(payload_len + 20);
            let mut header = [0x45, ecn, l0, l1, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            let mut sum = Sum::default();
            for part in [&header[..], &source.octets(), &destination.octets()] {
                sum.add(part);
            }
            let [.., c0, c1] = &mut header;
            [*c0, *c1] = sum.finish();
            headers.extend(header);
            headers.extend(source.octets());
            headers.extend(destination.octets());
            pseudo.add(&source.octets());
            pseudo.add(&destination.octets());
        }
        (source, destination) => {
            // RFC 8200, section 3. The two are of one family wherever packets come from a link.
            let (source, destination) = (to_v6(source), to_v6(destination));
            let [l0, l1] = length(payload_len);
            headers.extend([0x60, ecn << 4, 0, 0, l0, l1, protocol, 64]);
            headers.extend(source);
            headers.extend(destination);
            pseudo.add(&source);
            pseudo.add(&destination);
        }
    }
    if let Some((source_port, destination_port)) = captured.udp {
        let mut header = Vec::with_capacity(8);
        header.extend(source_port.to_be_bytes());
        header.extend(destination_port.to_be_bytes());
        header.extend(length(payload_len));
        pseudo.add(&[0, UDP]);
        pseudo.add(&length(payload_len));
        pseudo.add(&header);
        pseudo.add(captured.packet);
        // RFC 768: a sum of zero is sent as all ones.
        let sum = pseudo.finish();
        header.extend(if sum == [0, 0] { [0xff, 0xff] } else { sum });
        headers.extend(header);
    }
}

/// A length field; what exceeds it (a jumbogram, never seen here) reads as 0.
fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(0).to_be_bytes()
}

fn to_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The Internet checksum (RFC 1071); every part but the last is of even length.
#[derive(Debug, Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let (words, odd) = bytes.as_chunks::<2>();
        for word in words {
            self.0 += u64::from(u16::from_be_bytes(*word));
        }
        if let [last] = odd {
            self.0 += u64::from(*last) << 8;
        }
    }

    fn finish(&self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        // Folded to 16 bits above.
        (!(sum as u16)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests;
