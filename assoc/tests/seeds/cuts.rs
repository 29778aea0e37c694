//! Links that are cut and return, over and over: silent, one way, lossy, in turn and at once. While any of them works, messages
//! arrive within a bound.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use usctp_assoc::sim::{
    HostId, LinkSettings, Loss, Network, PEER_PORT, PORT, Status, a, for_each_seed, payload, z,
};
use usctp_assoc::{
    AssociationId, AssociationState, Config, ConnectOptions, Message, Options, SendError,
};

use crate::{ms, secs};

/// How long messages are sent.
const LASTS: Duration = Duration::from_secs(150);
/// How often one is sent, and looked for.
const TICK: Duration = Duration::from_millis(100);

/// What is wrong with a link for some time.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Silent,
    /// Nothing passes in this direction.
    OneWay {
        back: bool,
    },
    Lossy(f64),
}

/// A cut of one of the links.
#[derive(Debug, Clone, Copy)]
struct Outage {
    link: usize,
    from: Duration,
    to: Duration,
    cut: Cut,
}

fn outages(random: &mut StdRng, links: usize) -> Vec<Outage> {
    let mut outages = Vec::new();
    for link in 0..links {
        let mut at = ms(random.random_range(0..30_000));
        while at < LASTS {
            let lasts = ms(10_f64.powf(random.random_range(2.0..4.8)) as u64);
            let cut = match random.random_range(0..4) {
                0 | 1 => Cut::Silent,
                2 => Cut::OneWay { back: random.random() },
                _ => Cut::Lossy(random.random_range(0.02..0.9)),
            };
            outages.push(Outage { link, from: at, to: at + lasts, cut });
            at += lasts + ms(10_f64.powf(random.random_range(2.0..4.8)) as u64);
        }
    }
    outages
}

struct Run {
    network: Network,
    config: Config,
    hosts: [HostId; 2],
    ids: [AssociationId; 2],
    links: Vec<(IpAddr, IpAddr)>,
    outages: Vec<Outage>,
    /// For each direction: how many messages have arrived, and since when messages wait and none arrives.
    arrived: [usize; 2],
    silent_since: [Option<Duration>; 2],
    /// The longest silence while a link worked all the time.
    worst: Duration,
}

impl Run {
    fn new(name: &str, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut options = Options::default();
        options.rto.max = secs([1, 4, 20, 60][random.random_range(0..4)]);
        let config = Config::new(options).unwrap();
        let paths = random.random_range(2..=3);
        let addresses: [Vec<IpAddr>; 2] =
            [(1..=paths).map(a).collect(), (1..=paths).map(z).collect()];
        let links: Vec<_> =
            addresses[0].iter().copied().zip(addresses[1].iter().copied()).collect();
        let mut network = Network::new(name, seed);
        let ours = network.add_endpoint("A", &addresses[0], PORT, config.clone());
        let theirs = network.add_endpoint("Z", &addresses[1], PEER_PORT, config.clone());
        for (one, other) in &links {
            let latency = ms(random.random_range(0..60));
            network.link(*one, *other, &LinkSettings::with_latency(latency));
        }
        network.listen(theirs, true);
        let peers: Vec<_> = addresses[1].iter().map(|ip| (*ip, PEER_PORT).into()).collect();
        let id = network.connectx(ours, &peers, ConnectOptions::default()).unwrap();
        network.run_for(secs(5));
        let ids = [id, network.newest(theirs).expect("the association is up")];
        let outages = outages(&mut random, links.len());
        let mut run = Self {
            network,
            config,
            hosts: [ours, theirs],
            ids,
            links,
            outages,
            arrived: [0; 2],
            silent_since: [None; 2],
            worst: Duration::ZERO,
        };
        run.schedule();
        run
    }

    fn schedule(&mut self) {
        let begin = self.network.elapsed();
        for outage in &mut self.outages {
            (outage.from, outage.to) = (outage.from + begin, outage.to + begin);
            let (one, other) = self.links[outage.link];
            let ways = match outage.cut {
                Cut::OneWay { back: false } => vec![(one, other)],
                Cut::OneWay { back: true } => vec![(other, one)],
                Cut::Silent | Cut::Lossy(_) => vec![(one, other), (other, one)],
            };
            for (from, to) in ways {
                let cut = outage.cut;
                self.network.at(outage.from, move |n| {
                    n.alter(from, to, |link| match cut {
                        Cut::Lossy(share) => link.loss = Loss::Uniform(share),
                        Cut::Silent | Cut::OneWay { .. } => link.status = Status::Down,
                    });
                });
                self.network.at(outage.to, move |n| {
                    n.alter(from, to, |link| (link.status, link.loss) = (Status::Up, Loss::None));
                });
            }
        }
    }

    fn run(&mut self) {
        let end = self.network.elapsed() + LASTS;
        let mut count = 0;
        while self.network.elapsed() < end {
            for side in 0..2 {
                count += 1;
                let message = Message::new(0, payload(count, 100)).ppid(count as u32);
                match self.network.send(self.hosts[side], self.ids[side], message) {
                    Ok(()) | Err(SendError::WouldBlock) => {}
                    Err(_) => return self.ends(side),
                }
            }
            self.network.run_for(TICK);
            self.look();
        }
    }

    /// An association that is lost: while a link worked for long enough, it must not be.
    fn ends(&self, side: usize) {
        let now = self.network.elapsed();
        assert_eq!(self.network.state(self.hosts[side], self.ids[side]), AssociationState::Closed);
        for link in 0..self.links.len() {
            let works = self.works_since(link, now).map(|since| now - since);
            assert!(
                works.is_none_or(|works| works <= self.bound()),
                "side {side} ended at {now:?}, although link {link} worked for {works:?}"
            );
        }
    }

    /// Looks for what has arrived; silence counts while one and the same link works.
    fn look(&mut self) {
        let now = self.network.elapsed();
        for side in 0..2 {
            let (host, id) = (self.hosts[side], self.ids[side]);
            let peer = 1 - side;
            let arrived =
                self.network.application(self.hosts[peer], self.ids[peer]).received().len();
            let waits = self.network.application(host, id).missing() > 0;
            if arrived > self.arrived[side] || !waits {
                self.silent_since[side] = waits.then_some(now);
            } else if self.silent_since[side].is_none() {
                self.silent_since[side] = Some(now - TICK);
            }
            self.arrived[side] = arrived;
            let Some(since) = self.silent_since[side] else { continue };
            for link in 0..self.links.len() {
                let Some(works_since) = self.works_since(link, now) else { continue };
                let silent = now - since.max(works_since);
                self.worst = self.worst.max(silent);
                let bound = self.bound();
                assert!(
                    silent <= bound,
                    "at {now:?} nothing arrived from side {side} for {silent:?}, although link {link} worked since {works_since:?}; the bound is {bound:?}"
                );
            }
        }
    }

    /// Since when a link works, if it does.
    fn works_since(&self, link: usize, now: Duration) -> Option<Duration> {
        let mut its = self.outages.iter().filter(|outage| outage.link == link);
        if its.clone().any(|outage| outage.from <= now && now < outage.to) {
            return None;
        }
        let ended = its.by_ref().filter(|outage| outage.to <= now).map(|outage| outage.to).max();
        Some(ended.unwrap_or_default())
    }

    /// A failure is found within an RTO, and so is that of the next path.
    fn bound(&self) -> Duration {
        2 * self.config.rto.max + secs(5)
    }
}

#[test]
fn while_any_link_works_messages_arrive_however_the_others_are_cut() {
    let name = "while_any_link_works_messages_arrive_however_the_others_are_cut";
    let worst = Mutex::new(Vec::new());
    for_each_seed(100, |seed| {
        let mut run = Run::new(name, seed);
        run.run();
        worst.lock().unwrap().push((run.config.rto.max, run.worst, seed));
    });
    let mut worst = worst.into_inner().unwrap();
    worst.sort();
    for rto_max in [1, 4, 20, 60] {
        let of = worst.iter().rfind(|(max, ..)| *max == secs(rto_max));
        println!("RTO.Max {rto_max}: {of:?}");
    }
}
