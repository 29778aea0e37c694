//! Two hosts joined by one or two links.

use std::net::{IpAddr, SocketAddr};

use usctp::lab::{Host, Lab, Link, LinkOptions};

use super::ours::Transport;
use super::suite::Outcome;

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The families and transports that a peer is tried over, with what to call them.
pub(crate) const COMBINATIONS: [(&str, Family, Transport); 4] = [
    ("ipv4", Family::V4, Transport::Raw),
    ("ipv6", Family::V6, Transport::Raw),
    ("udp_ipv4", Family::V4, Transport::Udp),
    ("udp_ipv6", Family::V6, Transport::Udp),
];

/// The two ends of some links, ours and a peer's.
pub(crate) trait Ends {
    /// Our addresses, in the order of the links.
    fn our_addresses(&self) -> Vec<IpAddr>;
    /// The peer's addresses with a port, in the order of the links.
    fn their_addresses(&self, port: u16) -> Vec<SocketAddr>;
}

/// Our host and the peer's, and what joins them.
pub(crate) struct Topology {
    pub(crate) ours: Host,
    pub(crate) theirs: Host,
    pub(crate) links: Vec<Link>,
    family: Family,
}

impl Topology {
    /// Two hosts with so many links between them, with addresses of one family.
    pub(crate) fn new(lab: &Lab, family: Family, links: u8) -> Outcome<Self> {
        let (ours, theirs) = (lab.host("ours")?, lab.host("theirs")?);
        let prefix = |link: u8, host: u8| match family {
            Family::V4 => format!("10.{link}.0.{host}/24").parse(),
            Family::V6 => format!("fd00:{link}::{host}/64").parse(),
        };
        let join = |link: u8| -> Outcome<Link> {
            let options = LinkOptions {
                name: format!("link{link}"),
                near: vec![prefix(link, 1)?],
                far: vec![prefix(link, 2)?],
                ..LinkOptions::default()
            };
            Ok(ours.link(&theirs, options)?)
        };
        // The thread of the test is ours too: the library asks the network of its caller about addresses and routes.
        ours.adopt_thread()?;
        let links = (1..=links).map(join).collect::<Outcome<Vec<_>>>()?;
        Ok(Self { ours, theirs, links, family })
    }

    /// Our addresses, in the order of the links.
    pub(crate) fn our_addresses(&self) -> Vec<IpAddr> {
        self.links.iter().flat_map(|link| link.near().addresses().collect::<Vec<_>>()).collect()
    }

    /// The peer's addresses with a port, in the order of the links.
    pub(crate) fn their_addresses(&self, port: u16) -> Vec<SocketAddr> {
        let addresses =
            self.links.iter().flat_map(|link| link.far().addresses().collect::<Vec<_>>());
        addresses.map(|address| SocketAddr::new(address, port)).collect()
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }
}

impl Ends for Topology {
    fn our_addresses(&self) -> Vec<IpAddr> {
        self.our_addresses()
    }

    fn their_addresses(&self, port: u16) -> Vec<SocketAddr> {
        self.their_addresses(port)
    }
}
