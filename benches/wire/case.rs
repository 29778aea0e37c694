//! What is measured: the work, the way the packets take, and what befalls them there.

use std::fmt;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Case {
    pub(crate) work: Work,
    pub(crate) way: Way,
    /// The greatest IP packet of the link, bytes.
    pub(crate) mtu: u32,
    /// Packets in ten thousand that are lost on the way to the server.
    pub(crate) loss: u32,
}

/// What the two ends do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Messages of so many bytes, as many as go through.
    Bulk(usize),
    /// 64-byte messages and their answers, one at a time.
    Latency,
    /// Associations set up and closed by one thread, so many on their way at any time.
    Setup(u32),
}

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Raw IPv4 over a veth pair.
    Raw4,
    /// Raw IPv6 over a veth pair.
    Raw6,
    /// UDP over IPv4 over a veth pair, which hands on what the sender has not cut up yet.
    Udp,
    /// The same where the sending host cuts it up, as before a network card without that ability.
    UdpCut,
    /// Raw IPv4 over the loopback interface.
    Loopback,
    /// UDP over the loopback interface.
    LoopbackUdp,
}

impl Way {
    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::UdpCut | Self::LoopbackUdp)
    }

    pub(crate) fn is_loopback(self) -> bool {
        matches!(self, Self::Loopback | Self::LoopbackUdp)
    }

    /// Bytes of IP and UDP before a packet's SCTP.
    pub(crate) fn overhead(self) -> usize {
        match self {
            Self::Raw4 | Self::Loopback => 20,
            Self::Raw6 => 40,
            Self::Udp | Self::UdpCut | Self::LoopbackUdp => 28,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Raw4 => "raw4",
            Self::Raw6 => "raw6",
            Self::Udp => "udp4",
            Self::UdpCut => "udp4-gso-off",
            Self::Loopback => "loopback",
            Self::LoopbackUdp => "loopback-udp",
        }
    }
}

impl Case {
    /// Whether its name contains one of these, or nothing is asked for.
    pub(crate) fn is_chosen(&self, filters: &[String]) -> bool {
        let name = self.to_string();
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// The packets that carry a bulk of messages: bytes of SCTP in each, and bytes of messages in each.
    ///
    /// As many chunks as fit, or fragments that fill the packets (RFC 9260, sections 3, 3.3.1 and 6.10).
    pub(crate) fn packets(&self, size: usize) -> (usize, f64) {
        const HEADER: usize = 12;
        const CHUNK: usize = 16;
        let mtu = usize::try_from(self.mtu).unwrap().min(65_535);
        let room = (mtu - self.way.overhead()) / 4 * 4 - HEADER;
        let chunk = CHUNK + size.next_multiple_of(4);
        match room / chunk {
            0 => {
                let fragment = room - CHUNK;
                let fragments = size.div_ceil(fragment);
                // The last fragment shares its packet with the first of the next message only if both fit.
                (HEADER + room, size as f64 / fragments as f64)
            }
            chunks => (HEADER + chunks * chunk, (chunks * size) as f64),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, mtu) = (self.way.name(), self.mtu);
        match self.work {
            Work::Bulk(size) => write!(f, "bulk/{way}/{mtu}/{size}")?,
            Work::Latency => write!(f, "latency/{way}/{mtu}")?,
            Work::Setup(1) => write!(f, "setup/{way}/{mtu}")?,
            Work::Setup(parallel) => write!(f, "setup-{parallel}/{way}/{mtu}")?,
        }
        if self.loss > 0 {
            write!(f, "/loss-{}", f64::from(self.loss) / 100.0)?;
        }
        Ok(())
    }
}

/// Everything there is to measure.
pub(crate) fn cases() -> Vec<Case> {
    let bulk = |way, mtu, sizes: &[usize]| -> Vec<Case> {
        sizes.iter().map(|&size| Case { work: Work::Bulk(size), way, mtu, loss: 0 }).collect()
    };
    let all = [64, 1024, 1400, 8192, 65_536];
    let mut cases = bulk(Way::Raw4, 1500, &all);
    cases.extend(bulk(Way::Raw6, 1500, &[64, 1400, 65_536]));
    cases.extend(bulk(Way::Udp, 1500, &all));
    cases.extend(bulk(Way::UdpCut, 1500, &[64, 1400, 65_536]));
    cases.extend(bulk(Way::Raw4, 9000, &[1400, 8192, 65_536]));
    cases.extend(bulk(Way::Udp, 9000, &[8192]));
    cases.extend(bulk(Way::Loopback, 65_536, &[1024, 8192, 65_536]));
    cases.extend(bulk(Way::LoopbackUdp, 65_536, &[65_536]));
    for loss in [10, 100, 300] {
        let lossy = bulk(Way::Raw4, 1500, &[1400, 65_536]);
        cases.extend(lossy.into_iter().map(|case| Case { loss, ..case }));
    }
    for work in [Work::Latency, Work::Setup(1), Work::Setup(64)] {
        cases.extend([Way::Raw4, Way::Udp].map(|way| Case { work, way, mtu: 1500, loss: 0 }));
    }
    cases
}
