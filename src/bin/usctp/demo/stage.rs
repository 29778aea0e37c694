//! Where the demonstration takes place: two hosts, two links, and a hand that cuts them.

use std::net::IpAddr;
use std::path::Path;
use std::thread::JoinHandle;

use serde::Serialize;
use usctp::{Error, Stack};

use super::story::Happening;
use crate::exit::Failure;

/// The SCTP port of the server.
pub(crate) const PORT: u16 = 7000;

/// The addresses of a stage; entry 0 of a pair belongs to link 1, entry 1 to link 2.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Addresses {
    pub(crate) client: [IpAddr; 2],
    pub(crate) server: [IpAddr; 2],
    /// On link 1; nobody answers there.
    pub(crate) dead: IpAddr,
    /// On link 2; the server does not have it, and nobody will ask.
    pub(crate) absent: IpAddr,
}

impl Addresses {
    /// What `connectx` is given: the dead address first, the one that the server does not have last.
    pub(crate) fn listed(&self) -> [IpAddr; 4] {
        [self.dead, self.server[0], self.server[1], self.absent]
    }

    /// The link, 0 or 1, that leads to an address of the server.
    pub(crate) fn link_to(&self, server: IpAddr) -> usize {
        usize::from(server == self.server[1])
    }
}

/// What runs on the server's host.
pub(crate) type Body = Box<dyn FnOnce(Result<Stack, Error>) + Send>;

/// Two hosts on this machine.
pub(crate) trait Stage {
    /// `raw` or `udp`.
    fn transport(&self) -> &'static str;

    /// The addresses.
    fn addresses(&self) -> &Addresses;

    /// What is to be seen, in words.
    fn scene(&self, loss: f64) -> Happening;

    /// Opens the client's stack; the calling thread is on the client's host from then on.
    fn open_client(&self, capture: Option<&Path>) -> Result<Stack, Failure>;

    /// Runs the server on its host, with a stack opened there.
    fn start_server(&self, body: Body) -> Result<JoinHandle<()>, Failure>;

    /// Lets everything that is sent on a link, 0 or 1, be lost without a word.
    fn cut(&self, link: usize) -> Result<(), Failure>;

    /// Takes back the cut.
    fn restore(&self, link: usize) -> Result<(), Failure>;

    /// How many packets or frames passed and how many were lost on purpose, where the stage counts them.
    fn relayed(&self) -> Option<(u64, u64)>;
}
