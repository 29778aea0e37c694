//! One run: two hosts, what befalls them and the links between them, until everything is over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use usctp_assoc::sim::{HostId, LinkSettings, Network, PEER_PORT, PORT, a, z};
use usctp_assoc::{AssociationId, Config, Event};

use crate::ending::Intent;
use crate::faults::Faults;
use crate::load::Load;
use crate::readers::Reader;
use crate::rebinding::encapsulate;
use crate::restarts::Act;
use crate::verdict::Tally;
use crate::{HOUR, ms};

/// How often the run is looked at.
const TICK: Duration = Duration::from_millis(500);

/// A run; sides are 0 for A and 1 for Z.
pub(crate) struct Run {
    pub(crate) network: Network,
    pub(crate) random: StdRng,
    pub(crate) faults: Faults,
    pub(crate) load: Load,
    pub(crate) config: Config,
    /// The hosts as they are now, and their addresses; those at the same place are linked.
    pub(crate) hosts: [HostId; 2],
    pub(crate) addresses: [Vec<IpAddr>; 2],
    pub(crate) ports: [u16; 2],
    /// Addresses that hosts have beside those, and that lead nowhere.
    pub(crate) bridges: [Vec<IpAddr>; 2],
    pub(crate) intent: Intent,
    pub(crate) readers: [Reader; 2],
    /// Who opens lists one address of the peer only, and learns of the others.
    pub(crate) lists_one: bool,
    pub(crate) is_stormy: bool,
    pub(crate) has_bursts: bool,
    /// What is still to be done, by time.
    pub(crate) timetable: Vec<(Duration, Act)>,
    /// The longest outage, nap, pause of a reader, and time between a crash and what follows.
    pub(crate) outage: Duration,
    pub(crate) nap: Duration,
    pub(crate) pause: Duration,
    pub(crate) silence: Duration,
    /// When a translator changes a port for the last time.
    pub(crate) rebound_at: Duration,
    /// When a host began anew for the last time.
    pub(crate) rebooted_at: Option<Duration>,
    /// How many addresses were given out since the beginning.
    pub(crate) moved: u8,
    /// The associations of the hosts that live, and after how many restarts of its peer each was told to close.
    pub(crate) known: BTreeMap<(HostId, AssociationId), Option<usize>>,
    pub(crate) tally: Tally,
    /// The ends that were not graceful.
    pub(crate) losses: Vec<Event>,
}

impl Run {
    pub(crate) fn new(name: &str, seed: u64, faults: Faults) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let load = Load::draw(&mut random);
        let mut options = load.options(&mut random, &faults);
        let paths = random.random_range(1..=3);
        let addresses: [Vec<_>; 2] = [(1..=paths).map(a).collect(), (1..=paths).map(z).collect()];
        encapsulate(&mut random, &faults, &mut options);
        let intent = Intent::draw(&mut random, &faults, &options);
        let config = Config::new(options).unwrap();
        let mut network = Network::new(name, seed);
        // Both may have the same port, as servers that speak to each other do.
        let ports = [PORT, if random.random() { PORT } else { PEER_PORT }];
        let hosts = [("A", 0), ("Z", 1)].map(|(name, side): (_, usize)| {
            network.add_endpoint(name, &addresses[side], ports[side], config.clone())
        });
        let mut run = Self {
            network,
            random,
            faults,
            load,
            config,
            hosts,
            addresses,
            ports,
            bridges: Default::default(),
            intent,
            readers: [Reader::Eager; 2],
            lists_one: false,
            is_stormy: false,
            has_bursts: false,
            timetable: Vec::new(),
            outage: Duration::ZERO,
            nap: Duration::ZERO,
            pause: Duration::ZERO,
            silence: Duration::ZERO,
            rebound_at: Duration::ZERO,
            rebooted_at: None,
            moved: 0,
            known: BTreeMap::new(),
            tally: Tally::default(),
            losses: Vec::new(),
        };
        run.draw();
        run
    }

    /// Draws all that befalls the hosts and the links.
    fn draw(&mut self) {
        self.draw_weather();
        let [ours, theirs] = self.addresses.clone();
        ours.into_iter().zip(theirs).for_each(|(one, other)| self.link(one, other));
        self.draw_neighbours();
        self.draw_pace();
        self.draw_outages();
        self.draw_naps();
        self.draw_mtus();
        self.draw_readers();
        self.draw_rebinding();
        self.draw_restarts();
        self.timetable.sort_by_key(|(at, _)| *at);
    }

    /// Links two addresses, as the weather is.
    pub(crate) fn link(&mut self, one: IpAddr, other: IpAddr) {
        self.network.link(one, other, &LinkSettings::default());
        for (from, to) in [(one, other), (other, one)] {
            let link = self.draw_link();
            self.network.alter(from, to, |settings| *settings = link.clone());
        }
    }

    pub(crate) fn hosts(&self) -> [HostId; 2] {
        self.hosts
    }

    /// Both directions of all links.
    pub(crate) fn directions(&self) -> Vec<(IpAddr, IpAddr)> {
        let pairs = self.addresses[0].iter().zip(&self.addresses[1]);
        pairs.flat_map(|(one, other)| [(*one, *other), (*other, *one)]).collect()
    }

    /// Runs until every association is over and nothing is to be done any more.
    ///
    /// # Panics
    /// If nothing advances for too long.
    pub(crate) fn run(&mut self) {
        self.hosts().into_iter().for_each(|host| self.network.listen(host, true));
        for side in 0..2 {
            if self.intent.openers[side] {
                self.opens(side);
            }
        }
        let mut moved = (self.network.elapsed(), self.progress());
        loop {
            self.direct();
            self.act();
            self.sip();
            if self.timetable.is_empty() && self.is_over() {
                break;
            }
            let (now, progress) = (self.network.elapsed(), self.progress());
            if progress != moved.1 {
                moved = (now, progress);
            }
            let stands = now - moved.0;
            let patience = self.patience_now();
            assert!(stands <= patience, "nothing advances for {stands:?}: {progress:?}");
            assert!(now < HOUR, "no run takes an hour");
            self.network.run_for(TICK);
        }
        // What came last is looked at, by hosts that nap too.
        self.network.run_for(self.nap + ms(100));
        self.read_all();
        self.network.run_for(ms(100));
    }
}
