//! A relay in the middle of a link: a third host that passes frames on and loses some of them, by chance or by rule,
//! because few kernels come with a queueing discipline that can (netem), and firewalls want a program (nft).
//!
//! Frames pass as the hosts left them. UDP and TCP leave their checksum to the interface, and on a veth pair nobody
//! fills it in: over a relay their packets are dropped as damaged. SCTP from raw sockets comes with its checksum.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::LabError;
use super::host::Host;
use super::link::{End, Loss};
use super::rule::{Rule, Way};
use super::too_big;

/// What a relay has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayCounters {
    /// Frames passed on.
    pub forwarded: u64,
    /// Frames lost on purpose.
    pub lost: u64,
}

/// The relay; ends with its link.
#[derive(Debug)]
pub(super) struct Relay {
    /// Holds the relay's network namespace.
    _host: Host,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    forwarded: AtomicU64,
    lost: AtomicU64,
    to_far: Mutex<Option<Rule>>,
    to_near: Mutex<Option<Rule>>,
}

impl Shared {
    fn rule(&self, way: Way) -> &Mutex<Option<Rule>> {
        match way {
            Way::ToFar => &self.to_far,
            Way::ToNear => &self.to_near,
        }
    }
}

type Port = (Outlet, Box<dyn DataLinkReceiver>);

/// Written to by both threads: a frame that is lost may be answered.
type Outlet = Arc<Mutex<Box<dyn DataLinkSender>>>;

impl Relay {
    /// Makes the interfaces of both ends, and a host between them that forwards.
    pub(super) fn between(near: &End, far: &End, name: &str, loss: Loss) -> Result<Self, LabError> {
        let host = Host::new(&format!("relay of {name}"))?;
        for (end, name) in [(near, "near"), (far, "far")] {
            // The relay is no host of the network: it must not speak IPv6 on its interfaces.
            let _ = host.set("net/ipv6/conf/default/disable_ipv6", "1");
            let opposite = end.opposite(&host, name);
            end.pair_with(&opposite)?;
            opposite.set_up(true)?;
        }
        let failed = |source| LabError::Setup { what: format!("the relay of {name}"), source };
        let (near, far) = host.run(|| Ok((open("near")?, open("far")?))).map_err(failed)?;
        let mut relay = Self { _host: host, shared: Arc::default(), threads: Vec::new() };
        let outlets = (Arc::clone(&near.0), Arc::clone(&far.0));
        relay.pass(near, outlets.1, loss, Way::ToFar).map_err(failed)?;
        let back = Loss { seed: !loss.seed, ..loss };
        relay.pass(far, outlets.0, back, Way::ToNear).map_err(failed)?;
        Ok(relay)
    }

    /// Loses by this rule from now on, besides what is lost by chance.
    pub(super) fn lose(&self, way: Way, rule: Option<Rule>) {
        *self.shared.rule(way).lock().unwrap_or_else(PoisonError::into_inner) = rule;
    }

    pub(super) fn counters(&self) -> RelayCounters {
        RelayCounters {
            forwarded: self.shared.forwarded.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    fn pass(&mut self, from: Port, to: Outlet, loss: Loss, way: Way) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || forward(from, &to, loss, way, &shared))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Opens the interface of that name in the host whose thread calls.
fn open(name: &str) -> io::Result<Port> {
    let interface = datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == name)
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let config = Config {
        read_buffer_size: 1 << 16,
        write_buffer_size: 1 << 16,
        // How long it takes a relay to notice that it is to stop.
        read_timeout: Some(Duration::from_millis(50)),
        ..Config::default()
    };
    match datalink::channel(&interface, config)? {
        Channel::Ethernet(sender, receiver) => Ok((Arc::new(Mutex::new(sender)), receiver)),
        _ => Err(io::Error::other("no Ethernet channel")),
    }
}

fn forward((back, mut from): Port, to: &Outlet, loss: Loss, way: Way, shared: &Shared) {
    let chance = (loss.percent / 100.0).clamp(0.0, 1.0);
    let mut random = StdRng::seed_from_u64(loss.seed);
    while !shared.stop.load(Ordering::Relaxed) {
        // Time passed without a frame, or the interface is down for a while.
        let Ok(frame) = from.next() else { continue };
        let rule = *shared.rule(way).lock().unwrap_or_else(PoisonError::into_inner);
        if random.random_bool(chance) || rule.is_some_and(|rule| rule.applies_to(frame)) {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            if let Some(Rule::TooBig(mtu)) = rule
                && let Some(answer) = too_big::answer(frame, mtu)
            {
                write(&back, &answer);
            }
            continue;
        }
        if write(to, frame) {
            shared.forwarded.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(outlet: &Outlet, frame: &[u8]) -> bool {
    let mut outlet = outlet.lock().unwrap_or_else(PoisonError::into_inner);
    matches!(outlet.send_to(frame, None), Some(Ok(())))
}
