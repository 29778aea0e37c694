//! The stage of choice: two network namespaces joined by two veth pairs, and raw IP between them.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread::JoinHandle;

use usctp::lab::{Host, Lab, LabError, Link, LinkOptions, Loss, Prefix};
use usctp::{Error, Stack};

use super::stage::{Addresses, Body, Stage};
use super::story::Happening;
use crate::args::DemoOptions;
use crate::exit::Failure;

/// Two hosts and their links. All of it is gone when it is dropped, or when the process ends.
pub(crate) struct Namespaces {
    client: Host,
    server: Host,
    links: [Link; 2],
    addresses: Addresses,
    user_namespace: bool,
}

impl Namespaces {
    /// Makes the hosts.
    pub(crate) fn build(lab: &Lab, options: &DemoOptions) -> Result<Self, Box<dyn StdError>> {
        let (client, server) = (lab.host("client")?, lab.host("server")?);
        let link = |number: u8| {
            let prefix = |host| Prefix::new(address(number, host), 24);
            // A link with loss has a relay in its middle; each its own random numbers.
            let loss = Loss { percent: options.loss, seed: number.into() };
            client.link(
                &server,
                LinkOptions {
                    name: format!("link{number}"),
                    near: vec![prefix(1)],
                    far: vec![prefix(2)],
                    mtu: None,
                    loss: (options.loss > 0.0).then_some(loss),
                },
            )
        };
        let links = [link(1)?, link(2)?];
        let addresses = Addresses {
            client: [address(1, 1), address(2, 1)],
            server: [address(1, 2), address(2, 2)],
            dead: address(1, 9),
            absent: address(2, 99),
        };
        links[0].near().add_dead_neighbour(addresses.dead)?;
        // Where raw sockets are not to be had even here, it is known before anything is told.
        client.run(|| Stack::builder().raw().open().map(drop))?;
        let user_namespace = lab.user_namespace();
        Ok(Self { client, server, links, addresses, user_namespace })
    }
}

impl Stage for Namespaces {
    fn transport(&self) -> &'static str {
        "raw"
    }

    fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    fn scene(&self, loss: f64) -> Happening {
        let how = if self.user_namespace {
            "network namespaces in a user namespace"
        } else {
            "network namespaces"
        };
        let relay = match loss > 0.0 {
            true => format!(
                "; a relay on each link loses {loss} % of all frames at random (seeds 1 and 2)"
            ),
            false => String::new(),
        };
        Happening::Scene {
            transport: self.transport(),
            addresses: self.addresses,
            stage: format!("raw IP between two hosts on this machine ({how}, veth pairs){relay}"),
        }
    }

    fn open_client(&self, capture: Option<&Path>) -> Result<Stack, Failure> {
        self.client.adopt_thread()?;
        let builder = Stack::builder().raw();
        let builder = match capture {
            Some(file) => builder.capture(file),
            None => builder,
        };
        Ok(builder.open()?)
    }

    fn start_server(&self, body: Body) -> Result<JoinHandle<()>, Failure> {
        Ok(self.server.spawn("stack", || body(open_server()))?)
    }

    fn cut(&self, link: usize) -> Result<(), Failure> {
        Ok(self.link(link).cut()?)
    }

    fn restore(&self, link: usize) -> Result<(), Failure> {
        Ok(self.link(link).restore()?)
    }

    fn relayed(&self) -> Option<(u64, u64)> {
        let relayed: Vec<_> = self.links.iter().filter_map(Link::relayed).collect();
        let sum = |count: fn(&usctp::lab::RelayCounters) -> u64| relayed.iter().map(count).sum();
        (!relayed.is_empty()).then(|| (sum(|one| one.forwarded), sum(|one| one.lost)))
    }
}

impl Namespaces {
    fn link(&self, link: usize) -> &Link {
        let [first, second] = &self.links;
        if link == 0 { first } else { second }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        Self::failed(error)
    }
}

fn open_server() -> Result<Stack, Error> {
    Stack::builder().raw().open()
}

fn address(link: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, link, 0, host).into()
}
