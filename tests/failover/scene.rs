//! Two hosts joined by several links, each with a family and a relay of its own choice.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use usctp::lab::{Host, Lab, Link, LinkOptions, Loss, Prefix};

use crate::support::suite::Outcome;
use crate::support::topology::Family;

/// The hosts and their links; the address of path n belongs to link n.
pub(crate) struct Scene {
    pub(crate) near: Host,
    pub(crate) far: Host,
    pub(crate) links: Vec<Link>,
    families: Vec<Family>,
}

impl Scene {
    /// Makes the hosts and a link for each family; with relays, they can lose by rule. The calling thread is the near
    /// host's from now on: the library asks the network of its caller about addresses and routes.
    pub(crate) fn new(lab: &Lab, families: &[Family], relayed: bool) -> Outcome<Self> {
        let (near, far) = (lab.host("near")?, lab.host("far")?);
        let join = |at: usize, family: Family| {
            near.link(
                &far,
                LinkOptions {
                    name: format!("link{at}"),
                    near: vec![prefix(at, family, 1)],
                    far: vec![prefix(at, family, 2)],
                    loss: relayed.then(Loss::default),
                    mtu: None,
                },
            )
        };
        // The kernel looks after new links once a second: they wait for it together.
        let links = thread::scope(|scope| {
            let joining: Vec<_> = families
                .iter()
                .enumerate()
                .map(|(at, &family)| scope.spawn(move || join(at, family)))
                .collect();
            let joined = joining.into_iter().map(|thread| thread.join().expect("no panic"));
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        near.adopt_thread()?;
        Ok(Self { near, far, links, families: families.to_vec() })
    }

    /// Our address on a link, with its network's prefix.
    pub(crate) fn near_prefix(&self, link: usize) -> Prefix {
        prefix(link, self.families[link], 1)
    }

    /// The peer's address on a link, with its network's prefix.
    pub(crate) fn far_prefix(&self, link: usize) -> Prefix {
        prefix(link, self.families[link], 2)
    }

    /// Our addresses, in the order of the links.
    pub(crate) fn near_addresses(&self) -> Vec<IpAddr> {
        (0..self.links.len()).map(|link| self.near_prefix(link).address).collect()
    }

    /// The peer's addresses, in the order of the links.
    pub(crate) fn far_addresses(&self) -> Vec<IpAddr> {
        (0..self.links.len()).map(|link| self.far_prefix(link).address).collect()
    }

    /// The peer's addresses with a port.
    pub(crate) fn peers(&self, port: u16) -> Vec<SocketAddr> {
        let addresses = self.far_addresses().into_iter();
        addresses.map(|address| SocketAddr::new(address, port)).collect()
    }
}

fn prefix(link: usize, family: Family, host: u8) -> Prefix {
    let (text, length) = match family {
        Family::V4 => (format!("10.{}.0.{host}", link + 1), 24),
        Family::V6 => (format!("fd00:{}::{host}", link + 1), 64),
    };
    Prefix::new(text.parse().expect("an address"), length)
}
