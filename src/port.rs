//! Which process owns which SCTP port, and which one answers packets that belong to nobody.
//!
//! Raw sockets share all packets of a network namespace, so the kernel cannot say that a port is taken.
//! Instead the owner of a port binds an abstract Unix socket named after it. Such names live in the same
//! network namespace as the addresses, need no file system and vanish with their process, however it ends.
//!
//! A port is claimed for each local address that is bound, or for all: so two processes can have one port on different
//! addresses. One limit is meant to be known: names are not privileged. Any process of the namespace can bind one and so keep
//! a port from us, as any can with an unprivileged UDP port.

use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use rand::Rng as _;

use crate::link::LinkError;

/// The ephemeral ports (RFC 6335, section 6).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// Random draws before the ephemeral ports are gone through in order.
const DRAWS: usize = 64;

/// The space of ports that a claim is made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// SCTP over IP: one space in the network namespace.
    Ip,
    /// SCTP over UDP: one space behind each local UDP port.
    Udp(u16),
}

/// A claimed port on some local addresses, or on all, free again when this is dropped or the process ends.
#[derive(Debug)]
pub struct Port {
    carrier: Carrier,
    number: u16,
    /// The names that stand for its addresses.
    names: Vec<(IpAddr, UnixDatagram)>,
    /// The name that stands for all addresses, or says that somebody has some.
    _whole: UnixDatagram,
}

/// What a claim is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// These local addresses, and no others.
    Addresses(&'a [IpAddr]),
    /// All that the host has, now or later.
    All,
}

impl Port {
    /// Claims a port on local addresses; 0 claims a random ephemeral one.
    ///
    /// # Errors
    /// [`LinkError::AddressInUse`] if the port is claimed on one of the addresses, also by this process;
    /// [`LinkError::NoFreePort`] if all ephemeral ones are; [`LinkError::Io`] if the system has no
    /// sockets left.
    pub fn claim(carrier: Carrier, number: u16, place: Place<'_>) -> Result<Self, LinkError> {
        if number == 0 {
            return Self::claim_ephemeral(carrier, place);
        }
        Self::claim_by(bind_patiently, carrier, number, place)
    }

    /// Claims more addresses: all of them or none. Those that it has already stay so.
    ///
    /// # Errors
    /// As for [`claim`](Self::claim).
    pub fn add(&mut self, addresses: &[IpAddr]) -> Result<(), LinkError> {
        let is_new = |address: &IpAddr| !self.names.iter().any(|(own, _)| own == address);
        let new = addresses.iter().copied().filter(is_new);
        let claim =
            |address| Ok((address, bind_name(bind, self.carrier, self.number, Name::At(address))?));
        let new = new.map(claim).collect::<Result<Vec<_>, LinkError>>()?;
        self.names.extend(new);
        Ok(())
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Binds its own names first, and then looks whether others have any that overlap: of two that claim at once, at least one
    /// sees the other.
    fn claim_by(
        bind: Bind,
        carrier: Carrier,
        number: u16,
        place: Place<'_>,
    ) -> Result<Self, LinkError> {
        let bind_name = |name| bind_name(bind, carrier, number, name);
        let is_bound = |name| is_bound(&port_name(carrier, number, name));
        let (names, whole, overlaps) = match place {
            Place::All => {
                let whole = bind_name(Name::All)?;
                (Vec::new(), whole, (0..SHARES).any(|share| is_bound(Name::Share(share))))
            }
            Place::Addresses(addresses) => {
                let names = addresses.iter().map(|&own| Ok((own, bind_name(Name::At(own))?)));
                let names = names.collect::<Result<_, LinkError>>()?;
                // Most are free at once: nobody waits for one that is not.
                let at_once =
                    |share| self::bind_name(self::bind, carrier, number, Name::Share(share));
                let shares = (0..SHARES).map(at_once);
                let is_free =
                    |share: &Result<_, _>| !matches!(share, Err(LinkError::AddressInUse { .. }));
                let whole = { shares }.find(is_free).unwrap_or(Err(in_use(number)))?;
                (names, whole, is_bound(Name::All))
            }
        };
        if overlaps {
            Err(in_use(number))
        } else {
            Ok(Self { carrier, number, names, _whole: whole })
        }
    }

    fn claim_ephemeral(carrier: Carrier, place: Place<'_>) -> Result<Self, LinkError> {
        let mut rng = rand::rng();
        let drawn = (0..DRAWS).map(|_| rng.random_range(EPHEMERAL));
        for number in drawn.chain(EPHEMERAL) {
            match Self::claim_by(bind, carrier, number, place) {
                Err(LinkError::AddressInUse { .. }) => {}
                result => return result,
            }
        }
        Err(LinkError::NoFreePort)
    }
}

/// Whether any process of the network namespace has claimed the port on this address; also if the system does not say,
/// because a sandbox (Landlock, SELinux, seccomp) forbids the question.
pub fn is_claimed(carrier: Carrier, number: u16, address: IpAddr) -> bool {
    let names = [Name::All, Name::At(address)];
    names.into_iter().any(|name| is_bound(&port_name(carrier, number, name)))
}

fn is_bound(name: &str) -> bool {
    let asked = SocketAddr::from_abstract_name(name);
    let answer = asked.and_then(|name| UnixDatagram::unbound()?.connect_addr(&name));
    // Nothing else says that there is no such name (connect(2)). When in doubt it is somebody's: then nobody's association
    // is aborted.
    !answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The role of the one process in a network namespace that answers packets out of the blue (RFC
/// 9260, section 8.4), for ports that nobody has claimed. Given up on drop.
#[derive(Debug)]
pub struct Responder {
    _name: UnixDatagram,
}

impl Responder {
    /// Takes the role if nobody has it. `None` if somebody has, or if the kernel speaks SCTP itself
    /// (this is logged as a warning): packets out of the blue are then left without an answer by
    /// this process. When the holder ends, another may take the role by calling this again.
    pub fn claim() -> Option<Self> {
        Self::claim_by(bind_patiently)
    }

    /// The same without waiting for a moment: for a thread that others wait for, and that asks again later.
    pub fn claim_at_once() -> Option<Self> {
        Self::claim_by(bind)
    }

    /// The same if `is_free`, with waiting or without.
    pub(crate) fn claim_if(is_free: bool, waits: bool) -> Option<Self> {
        match (is_free, waits) {
            (false, _) => None,
            (true, true) => Self::claim(),
            (true, false) => Self::claim_at_once(),
        }
    }

    fn claim_by(bind: fn(&str) -> io::Result<UnixDatagram>) -> Option<Self> {
        if kernel_speaks_sctp() {
            tracing::warn!(
                "the kernel speaks SCTP too: it takes packets to ports of this stack for strays and answers them \
                 with ABORT, so peers may see their associations over raw IP refused or broken. Unload the kernel's \
                 SCTP (modprobe -r sctp, and keep it out with \"install sctp /bin/false\" in /etc/modprobe.d), or use \
                 UDP encapsulation. This stack answers no strays as long as the kernel does"
            );
            return None;
        }
        if kernel_may_speak_sctp() {
            tracing::debug!(
                "the system does not say whether the kernel speaks SCTP: strays get no answer"
            );
            return None;
        }
        bind("usctp/responder").ok().map(|name| Self { _name: name })
    }
}

/// Whether the kernel is known to have SCTP of its own loaded. It then takes our associations' packets to be out
/// of the blue and answers them with ABORT.
pub fn kernel_speaks_sctp() -> bool {
    kernels_sctp() == Some(true)
}

/// The same, also if the system does not say: because a sandbox forbids to look, or without /proc.
pub(crate) fn kernel_may_speak_sctp() -> bool {
    kernels_sctp() != Some(false)
}

/// Whether the kernel has SCTP of its own loaded, if that can be known.
fn kernels_sctp() -> Option<bool> {
    if Path::new("/proc/net/sctp").exists() {
        return Some(true);
    }
    std::fs::read_to_string("/proc/net/protocols").ok().map(|listed| lists_sctp(&listed))
}

fn lists_sctp(protocols: &str) -> bool {
    protocols
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .any(|name| name.starts_with("SCTP"))
}

/// What of a port a name stands for.
#[derive(Debug, Clone, Copy)]
enum Name {
    /// All addresses.
    All,
    /// One.
    At(IpAddr),
    /// That somebody has some: whoever wants all need not know which there are.
    Share(u8),
}

/// So many can have one port on different addresses.
const SHARES: u8 = 32;

fn port_name(carrier: Carrier, number: u16, name: Name) -> String {
    let place = match name {
        Name::All => "*".to_owned(),
        Name::At(address) => address.to_string(),
        Name::Share(share) => format!("share/{share}"),
    };
    match carrier {
        Carrier::Ip => format!("usctp/port/{number}/{place}"),
        Carrier::Udp(udp) => format!("usctp/udp/{udp}/port/{number}/{place}"),
    }
}

/// How a name is bound: at once, or with patience.
type Bind = fn(&str) -> io::Result<UnixDatagram>;

fn bind_name(
    bind: Bind,
    carrier: Carrier,
    number: u16,
    name: Name,
) -> Result<UnixDatagram, LinkError> {
    match bind(&port_name(carrier, number, name)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(in_use(number)),
        result => result.map_err(|source| LinkError::Io { what: "claim an SCTP port", source }),
    }
}

fn in_use(port: u16) -> LinkError {
    LinkError::AddressInUse { port }
}

/// A child process that another thread is just starting holds a copy of every descriptor until it has become another
/// program, and keeps a name for that moment beyond its owner: so a name in use is asked for again.
fn bind_patiently(name: &str) -> io::Result<UnixDatagram> {
    for _ in 1..ASKED {
        match bind(name) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
    bind(name)
}

const ASKED: u32 = 5;
const PAUSE: Duration = Duration::from_millis(4);

fn bind(name: &str) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}
