//! The network itself: virtual time, the queue of what is under way, hosts and links.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::queue::{Happening, Queue};
use super::answers::Mark;
use super::epoch;
use super::host::{Application, Host, HostId, Member, Node};
use super::invariant::ip_overhead;
use super::link::{Fate, Link, LinkSettings};
use super::pcap::Record;
use super::recording::Recording;
use crate::{
    AssociationId, Config, Datagram, Endpoint, NoticeKind, PathNotice, Quote, Received, Transmit,
};

mod queue;
mod serve;
mod user;

pub(super) use serve::Letterbox;
pub use serve::Pace;

/// Steps at one instant after which the network is held to run in a circle.
const CIRCLE: usize = 200_000;

/// A packet as a wire host hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Virtual time.
    pub at: Duration,
    /// The packet.
    pub datagram: Datagram,
}

/// A simulated network.
pub struct Network {
    now: Instant,
    random: StdRng,
    hosts: Vec<Host>,
    /// Who has an address; several hosts may have the same.
    owners: BTreeMap<IpAddr, Vec<HostId>>,
    /// The UDP port that a translator gives the packets of an address.
    translated: BTreeMap<IpAddr, u16>,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    /// Which directions take another one's place in the queue.
    shared: BTreeMap<(IpAddr, IpAddr), (IpAddr, IpAddr)>,
    queue: Queue,
    recording: Recording,
    buffer: BytesMut,
    steps_at_once: usize,
    cut_packets: usize,
}

impl Network {
    /// An empty network; the name is that of the test, for messages and for the pcap file.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            now: epoch(),
            random: StdRng::seed_from_u64(seed),
            hosts: Vec::new(),
            owners: BTreeMap::new(),
            translated: BTreeMap::new(),
            links: BTreeMap::new(),
            shared: BTreeMap::new(),
            queue: Queue::default(),
            recording: Recording::new(name, seed),
            buffer: BytesMut::new(),
            steps_at_once: 0,
            cut_packets: 0,
        }
    }

    /// Sets where the pcap file of a failing run goes; cargo's `target/tmp` if unset.
    pub fn set_pcap_directory(&mut self, directory: impl Into<PathBuf>) {
        self.recording.set_directory(directory.into());
    }

    /// The seed's random numbers, for tests that draw their own.
    pub fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - epoch()
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How many packets were sent so far that IP may cut into fragments.
    pub fn cut_packets(&self) -> usize {
        self.cut_packets
    }

    /// How many packets were sent so far, and a digest of all of them with their times and addresses.
    pub fn trace(&self) -> (usize, u64) {
        self.recording.digest()
    }

    /// The greatest number of packets that overtook a single one on its link.
    pub fn most_overtaken(&self) -> usize {
        self.links.values().map(Link::most_overtaken).max().unwrap_or(0)
    }

    // --- hosts ---

    /// Adds a host with an endpoint that is bound to all its addresses.
    pub fn add_endpoint(
        &mut self,
        name: &str,
        addresses: &[IpAddr],
        port: u16,
        config: Config,
    ) -> HostId {
        let seed = self.random.random();
        let endpoint = Endpoint::new(config.clone(), port, addresses.to_vec(), seed, self.now);
        self.add(name, addresses, Node::Endpoint(Box::new(Member::new(endpoint, config))))
    }

    /// Adds a host whose packets the test writes and reads.
    pub fn add_wire(&mut self, name: &str, addresses: &[IpAddr]) -> HostId {
        self.add(name, addresses, Node::Wire(Default::default()))
    }

    fn add(&mut self, name: &str, addresses: &[IpAddr], node: Node) -> HostId {
        let id = HostId(self.hosts.len());
        addresses.iter().for_each(|address| self.owners.entry(*address).or_default().push(id));
        self.hosts.push(Host { name: name.to_owned(), addresses: addresses.to_vec(), node });
        id
    }

    // --- links ---

    /// Links two addresses in both directions.
    pub fn link(&mut self, one: IpAddr, other: IpAddr, settings: &LinkSettings) {
        for pair in [(one, other), (other, one)] {
            self.links.insert(pair, Link::new(settings.clone(), self.now));
        }
    }

    /// Links the first address of one side with the first of the other, the second with the second, and so on.
    pub fn link_in_parallel(
        &mut self,
        ones: &[IpAddr],
        others: &[IpAddr],
        settings: &LinkSettings,
    ) {
        ones.iter().zip(others).for_each(|(one, other)| self.link(*one, *other, settings));
    }

    /// Links every address of one side with every address of the same family of the other.
    pub fn link_all(&mut self, ones: &[IpAddr], others: &[IpAddr], settings: &LinkSettings) {
        for one in ones {
            for other in others.iter().filter(|other| other.is_ipv4() == one.is_ipv4()) {
                self.link(*one, *other, settings);
            }
        }
    }

    /// Packets of one pair, as (source, destination), pass the link of another: a bottleneck for both.
    pub fn share(&mut self, pair: (IpAddr, IpAddr), with: (IpAddr, IpAddr)) {
        self.shared.insert(pair, with);
    }

    /// Changes one direction of a link.
    ///
    /// # Panics
    /// If there is no such link.
    pub fn alter(&mut self, from: IpAddr, to: IpAddr, change: impl Fn(&mut LinkSettings)) {
        let link = self.links.get_mut(&(from, to)).expect("only links that were made are changed");
        change(&mut link.settings);
    }

    /// Changes both directions of a link.
    pub fn alter_both(&mut self, one: IpAddr, other: IpAddr, change: impl Fn(&mut LinkSettings)) {
        self.alter(one, other, &change);
        self.alter(other, one, &change);
    }

    /// Does something at a time to come, measured from the beginning.
    pub fn at(&mut self, when: Duration, action: impl FnOnce(&mut Network) + Send + 'static) {
        self.queue.push(epoch() + when, Happening::Act(Box::new(action)));
    }

    // --- time ---

    /// Lets the next thing happen, then checks the invariants; `false` if nothing is left that could happen.
    ///
    /// The invariants: messages arrive once, unaltered, in order on their stream; the flight stays within what cwnd
    /// permits; a deadline exists while anything is outstanding; memory stays within its budget; states follow each
    /// other as RFC 9260 draws them; DATA goes to confirmed addresses only; every packet decodes, has a good checksum,
    /// fits the MTU, encodes to itself and carries the right tag; INIT, INIT ACK and SHUTDOWN COMPLETE travel alone; packets
    /// without DATA do not answer each other without end, and no address is asked more often than its RTO allows.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub fn step(&mut self) -> bool {
        let timer = self.next_timer();
        let queued = self.queue.next_at();
        let at = match (queued, timer) {
            (None, None) => return false,
            (Some(queued), Some((timer, _))) => queued.min(timer),
            (Some(at), None) | (None, Some((at, _))) => at,
        };
        self.advance(at);
        match (queued == Some(at), timer) {
            (true, _) => {
                if let Some(happening) = self.queue.pop() {
                    self.happen(happening);
                }
            }
            (false, Some((_, host))) => self.time_out(host),
            (false, None) => {}
        }
        true
    }

    /// Runs for this long.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.advance(end);
    }

    /// Runs until the condition holds; `false` if it does not within this long.
    pub fn run_until(&mut self, within: Duration, condition: impl Fn(&Network) -> bool) -> bool {
        let end = self.now + within;
        while !condition(self) {
            if self.next_at().is_none_or(|at| at > end) {
                self.advance(end);
                return condition(self);
            }
            self.step();
        }
        true
    }

    /// When the next thing happens, if any.
    pub fn next_at(&self) -> Option<Instant> {
        self.queue.next_at().into_iter().chain(self.next_timer().map(|(at, _)| at)).min()
    }

    fn next_timer(&self) -> Option<(Instant, HostId)> {
        let timers = self.hosts.iter().enumerate().filter_map(|(number, host)| match &host.node {
            Node::Endpoint(member) => member.next_timer().map(|at| (at, HostId(number))),
            Node::Wire(_) => None,
        });
        timers.min()
    }

    fn advance(&mut self, to: Instant) {
        if to > self.now {
            self.now = to;
            self.steps_at_once = 0;
        }
        self.steps_at_once += 1;
        assert!(self.steps_at_once < CIRCLE, "{CIRCLE} steps at {:?}: a circle", self.elapsed());
    }

    fn judge(&self, host: HostId, transmit: &Transmit, bytes: &Bytes) {
        let Node::Endpoint(member) = &self.host(host).node else { return };
        let mtu = usize::from(member.config.path_mtu);
        self.hold(host, member.watch.packet(transmit, bytes, mtu));
        let own =
            transmit.source.is_none_or(|source| member.endpoint.addresses().contains(&source));
        assert!(
            own,
            "{} sends from {:?}, which is not its own",
            self.host(host).name,
            transmit.source
        );
    }

    fn hold(&self, host: HostId, verdict: Result<(), String>) {
        if let Err(fault) = verdict {
            self.fails(host, &fault);
        }
    }

    fn fails(&self, host: HostId, fault: &str) -> ! {
        panic!("at {:?}, host {}: {fault}", self.elapsed(), self.host(host).name);
    }

    /// Puts a packet on the link it takes, with what it carries unseen. A packet without a source takes the first link
    /// to its destination that it may.
    fn put(&mut self, host: HostId, transmit: &Transmit, payload: Bytes, mark: Mark) {
        let destination = transmit.destination;
        if self.host(host).addresses.contains(&destination) {
            return self.loop_back(host, transmit, payload, mark);
        }
        let addresses = match &self.host(host).node {
            Node::Endpoint(member) => member.endpoint.address_set(transmit.sources),
            Node::Wire(_) => &self.host(host).addresses,
        };
        let fits = |own: &&IpAddr| own.is_ipv4() == destination.is_ipv4();
        let leads = |own: &&IpAddr| self.links.contains_key(&(**own, destination));
        // Routing knows of no filter: where no link leads, any will do.
        let routed = addresses.iter().find(leads).or_else(|| addresses.iter().find(fits));
        let Some(source) = transmit.source.or(routed.copied()) else {
            let notice = (self.now, NoticeKind::SendFailed);
            return self.notice(host, notice, destination, None, &payload);
        };
        let len = payload.len() + ip_overhead(transmit);
        self.cut_packets += usize::from(transmit.fragmentable);
        // Where no link leads, a filter on the way drops what does not come from its own network.
        let pair = (source, destination);
        let towards = self.translated.get(&destination).copied();
        let is_stray = towards.is_some_and(|port| transmit.udp_port.is_some_and(|to| to != port));
        let fate = match self.links.get_mut(self.shared.get(&pair).unwrap_or(&pair)) {
            // A translator knows of no such port.
            Some(_) if is_stray => Fate::Lost,
            Some(link) => link.carry(self.now, len, transmit.fragmentable, &mut self.random),
            None => Fate::Lost,
        };
        self.recording.add(Record {
            at: self.now - epoch(),
            source,
            destination,
            udp_port: transmit.udp_port,
            lost: !matches!(fate, Fate::Arrives(..)),
            payload: payload.clone(),
        });
        match fate {
            Fate::Lost => {}
            Fate::Noticed(at, kind) => {
                self.notice(host, (at, kind), destination, Some(source), &payload);
            }
            Fate::Arrives(first, second) => {
                let (udp_port, ecn) = (self.udp_source(host, source, transmit), transmit.ecn);
                for at in second.into_iter().chain([first]) {
                    let link = self.links.get(&(source, destination));
                    let payload =
                        link.map_or(payload.clone(), |l| l.damage(&payload, &mut self.random));
                    let datagram =
                        Datagram { source, destination, udp_port, zone: 0, ecn, payload };
                    self.queue.push(at, Happening::Arrive(host, datagram, mark));
                }
            }
        }
    }

    /// What a host sends to an address of its own never leaves it, whoever else has the same address.
    fn loop_back(&mut self, host: HostId, transmit: &Transmit, payload: Bytes, mark: Mark) {
        let destination = transmit.destination;
        let (source, udp_port) = (transmit.source.unwrap_or(destination), transmit.udp_port);
        let datagram =
            Datagram { source, destination, udp_port, zone: 0, ecn: transmit.ecn, payload };
        self.queue.push(self.now, Happening::Arrive(host, datagram, mark));
    }

    /// The UDP port that an encapsulated packet seems to come from: its host's, or what a translator made of that.
    fn udp_source(&self, host: HostId, source: IpAddr, transmit: &Transmit) -> Option<u16> {
        let to = transmit.udp_port?;
        // A wire host hears which port it was sent to.
        let receiver = self.owner(host, transmit.destination).map(|other| &self.host(other).node);
        if matches!(receiver, Some(Node::Wire(_))) {
            return Some(to);
        }
        let own = match &self.host(host).node {
            Node::Endpoint(member) => member.config.udp_port.unwrap_or(to),
            Node::Wire(_) => to,
        };
        Some(self.translated.get(&source).copied().unwrap_or(own))
    }

    /// Whose an address is for a host that sends there: its own, or that of the host that has it since the latest.
    fn owner(&self, sender: HostId, address: IpAddr) -> Option<HostId> {
        if self.host(sender).addresses.contains(&address) {
            return Some(sender);
        }
        self.owners.get(&address)?.last().copied()
    }

    fn notice(
        &mut self,
        host: HostId,
        (at, kind): (Instant, NoticeKind),
        peer: IpAddr,
        local: Option<IpAddr>,
        packet: &[u8],
    ) {
        let Some(quote) = Quote::parse(packet) else { return };
        self.queue
            .push(at, Happening::Notice(host, PathNotice { peer, zone: 0, local, kind, quote }));
    }

    /// Finds the other side of an association that came up, so that what arrives can be compared with what was sent.
    fn introduce(&mut self, host: HostId, id: AssociationId) {
        if let Some((other, theirs)) = self.counterpart(host, id) {
            self.application_mut(host, id).meets((other, theirs));
            self.application_mut(other, theirs).meets((host, id));
        }
    }

    fn counterpart(&self, host: HostId, id: AssociationId) -> Option<(HostId, AssociationId)> {
        let own = &self.host(host).addresses;
        let own_port = self.member(host).endpoint.port();
        let association = self.member(host).endpoint.view(id)?;
        let other = association.paths().find_map(|path| {
            // An address that this host has too tells nothing.
            self.owner(host, path.peer).filter(|other| *other != host)
        })?;
        let Node::Endpoint(member) = &self.host(other).node else { return None };
        if member.endpoint.port() != association.port() {
            return None;
        }
        let leads_back = |theirs: &AssociationId| {
            member.endpoint.view(*theirs).is_some_and(|theirs| {
                // Where the other host began anew, the association that this one is with is gone.
                theirs.port() == own_port
                    && association.peer_tag() == Some(theirs.ctx.me.local_tag)
                    && theirs.paths().any(|path| own.contains(&path.peer))
            })
        };
        let theirs = member.endpoint.associations().filter(leads_back).max()?;
        Some((other, theirs))
    }

    fn deliver(&mut self, host: HostId, id: AssociationId, received: Received) {
        let application = self.application_mut(host, id);
        let (whole, peers) = (application.join(&received), application.peers.clone());
        if let Some(whole) = whole {
            // What was not read before the peer began anew is of the one before.
            let verdicts = peers
                .into_iter()
                .rev()
                .map(|(peer, theirs)| self.application_mut(peer, theirs).ledger.arrived(&whole));
            let verdict = first_good(verdicts);
            self.hold(host, verdict);
        }
        self.application_mut(host, id).received.push(received);
    }

    fn host(&self, id: HostId) -> &Host {
        self.hosts.get(id.0).expect("a HostId comes from this network")
    }

    fn host_mut(&mut self, id: HostId) -> &mut Host {
        self.hosts.get_mut(id.0).expect("a HostId comes from this network")
    }

    fn member(&self, id: HostId) -> &Member {
        match &self.host(id).node {
            Node::Endpoint(member) => member,
            Node::Wire(_) => panic!("{} is a wire host", self.host(id).name),
        }
    }

    fn member_mut(&mut self, id: HostId) -> &mut Member {
        match &mut self.host_mut(id).node {
            Node::Endpoint(member) => member,
            Node::Wire(_) => panic!("a wire host has no endpoint"),
        }
    }

    fn application_mut(&mut self, host: HostId, id: AssociationId) -> &mut Application {
        self.member_mut(host).applications.entry(id).or_default()
    }
}

/// Good if one of them is, or if there is none; else the first.
fn first_good(verdicts: impl Iterator<Item = Result<(), String>>) -> Result<(), String> {
    let mut first = Ok(());
    for verdict in verdicts {
        if verdict.is_ok() {
            return verdict;
        }
        first = first.and(verdict);
    }
    first
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("at", &self.elapsed()).finish_non_exhaustive()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.recording.report(self.elapsed());
        }
    }
}
