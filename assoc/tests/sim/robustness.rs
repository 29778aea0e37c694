//! Every fault of a network at once, by seed: what is sent arrives once and in order, or both sides learn of the end.
//!
//! What is demanded of every run, besides the invariants that the network checks after each step:
//!
//! * Every association on a host that lives ends with exactly one event, and nothing stalls: while an association is
//!   not over, something advances within [`Faults::patience`].
//! * Messages arrive unaltered, once, and in order on their stream, whatever happens to the association.
//! * A side that is told of a graceful end has had all its messages delivered. The other side may be told of a loss
//!   all the same: when SHUTDOWN COMPLETE and the answers to the repeated SHUTDOWN ACK are lost, it cannot know.
//! * What did not arrive is given back to its sender, except for the message that was partly acknowledged and the one
//!   that was partly sent at each end or restart.
//! * An ABORT may be lost: then the other side learns of the end from the answer to its next packet, or by counting
//!   what is not answered. Which of them is not demanded, only that it does, in time.
//! * A host that begins anew takes its old applications with it; they are told nothing. Its peer is told of a restart,
//!   or of the end of the old association.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use usctp_assoc::sim::{
    HostId, LinkSettings, Loss, PEER_PORT, PORT, Plan, Rate, Status, for_each_seed,
};
use usctp_assoc::{
    AssociationId, AssociationState, Config, CongestionControl, ConnectOptions, Event,
    LossDetection, Message, RecoveryOptions,
};

use crate::world::{HOUR, World, config, ms, secs};

const NAME: &str = "every_fault_at_once_loses_nothing_silently_and_stalls_nothing";
/// How often the run is looked at.
const TICK: Duration = Duration::from_millis(500);
const BEAT: Duration = Duration::from_secs(5);
/// The longest time until something is asked for that has yet to be: a close, or an opening after a restart.
const IDLE: Duration = Duration::from_secs(17);

/// What goes wrong in one run.
struct Faults {
    /// The longest time that nothing passes a link in one direction.
    outage: Duration,
    /// The longest time that a host is not served.
    sleep: Duration,
    restart: Option<Restart>,
    /// When the sides that close do so, and whether Z and A are among them; with an ABORT if `abort`.
    close_at: Duration,
    closers: [bool; 2],
    abort: bool,
    /// Who opens: A, Z or both.
    openers: [bool; 2],
}

struct Restart {
    at: Duration,
    /// Who begins anew, 0 for A.
    side: usize,
    /// How long it takes until it opens again.
    down: Duration,
}

/// What is sent, and what is there to hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Messages that the receive buffer holds twice.
    Ordinary,
    /// Messages up to twice as large as the receive buffer: they are delivered in parts.
    Large,
    /// Hundreds of messages and wide windows on fast links: hundreds of packets overtake one that is held back.
    Fast,
}

fn parameters(random: &mut StdRng, load: Load) -> Config {
    let (receive, send) = match load {
        Load::Ordinary => (24_000..100_000, 30_000..100_000),
        Load::Large => (8_000..20_000, 60_000..100_000),
        Load::Fast => (500_000..2_000_000, 500_000..2_000_000),
    };
    let (receive, send) = (random.random_range(receive), random.random_range(send));
    config(|options| {
        options.rto.max = secs(4);
        options.heartbeat.interval = Some(BEAT);
        options.recovery = recovery(receive);
        options.limits.receive_buffer = receive;
        options.limits.send_buffer = send;
    })
}

/// How losses are found and what follows, by what was drawn already.
fn recovery(drawn: usize) -> RecoveryOptions {
    RecoveryOptions {
        detection: if drawn & 1 == 0 { LossDetection::Rack } else { LossDetection::Rfc9260 },
        control: if drawn & 2 == 0 { CongestionControl::Cubic } else { CongestionControl::Rfc9260 },
        pacing: drawn & 4 == 0,
    }
}

fn bad_link(random: &mut StdRng, load: Load) -> LinkSettings {
    if load == Load::Fast {
        // No loss by chance, which would keep the window small.
        return LinkSettings {
            latency: ms(random.random_range(1..20)),
            reorder: random.random_range(0.0..0.02),
            hold: ms(random.random_range(0..1_000)),
            duplicate: random.random_range(0.0..0.02),
            tells_too_big: true,
            ..LinkSettings::default()
        };
    }
    let share = |random: &mut StdRng, most: f64| random.random_range(0.0..=most);
    LinkSettings {
        latency: ms(random.random_range(0..100)),
        jitter: ms(random.random_range(0..30)),
        loss: Loss::Burst { enter: share(random, 0.02), leave: 0.2, good: 0.005, bad: 0.8 },
        duplicate: share(random, 0.05),
        corrupt: share(random, 0.03),
        reorder: share(random, 0.1),
        hold: ms(random.random_range(0..1_000)),
        rate: random.random_bool(0.5).then(|| Rate {
            bytes_per_second: random.random_range(100_000..5_000_000),
            queue: 60_000,
        }),
        tells_too_big: random.random_bool(0.5),
        ..LinkSettings::default()
    }
}

fn plan(random: &mut StdRng, load: Load) -> Vec<Message> {
    let (messages, most) = match load {
        Load::Ordinary => (1..40, 100..12_000),
        Load::Large => (1..20, 20_000..40_000),
        Load::Fast => (200..1_000, 1_000..2_000),
    };
    let plan = Plan {
        messages: random.random_range(messages),
        streams: 10,
        least: 1,
        most: random.random_range(most),
        unordered: 0.3,
    };
    plan.draw(random)
}

impl Faults {
    fn draw(random: &mut StdRng) -> Self {
        let close_at = ms(random.random_range(0..15_000));
        Self {
            outage: Duration::ZERO,
            sleep: Duration::ZERO,
            restart: random.random_bool(0.4).then(|| Restart {
                at: ms(random.random_range(0..8_000)),
                side: random.random_range(0..2),
                down: ms(random.random_range(0..12_000)),
            }),
            close_at,
            closers: [[true, true], [true, false], [false, true]][random.random_range(0..3)],
            abort: random.random_bool(0.1),
            openers: [[true, true], [true, false], [false, true]][random.random_range(0..3)],
        }
    }

    /// How long nothing may advance. Until Association.Max.Retrans is exceeded (RFC 9260, 8.1), one failure after the
    /// other takes the greatest RTO, or for an idle path HB.interval and one and a half RTOs more (8.3); an outage or
    /// a sleep may be waited out in vain first, and another round may be needed where an answer to a HEARTBEAT came
    /// through, which clears the count, while DATA did not.
    fn patience(&self, config: &Config) -> Duration {
        let failures = u32::from(config.retransmission.association_max) + 1;
        let failure = config.rto.max * 5 / 2 + BEAT;
        self.outage + self.sleep + IDLE + 2 * failures * failure
    }
}

/// Spoils the links, now and at times to come.
fn spoil_links(world: &mut World, faults: &mut Faults, load: Load) {
    let pairs: Vec<_> = world.ours.iter().copied().zip(world.theirs.iter().copied()).collect();
    for (one, other) in pairs {
        for (from, to) in [(one, other), (other, one)] {
            let link = bad_link(world.network.random(), load);
            world.network.alter(from, to, |settings| *settings = link.clone());
            let random = world.network.random();
            if random.random_bool(0.3) {
                // One way only: what goes back still arrives.
                let at = ms(random.random_range(0..10_000));
                let lasts = ms(random.random_range(100..60_000));
                let for_ever = random.random_bool(0.15);
                let network = &mut world.network;
                network.at(at, move |n| n.alter(from, to, |link| link.status = Status::Down));
                if !for_ever {
                    network.at(at + lasts, move |n| {
                        n.alter(from, to, |link| link.status = Status::Up);
                    });
                    faults.outage = faults.outage.max(lasts);
                }
            }
            let random = world.network.random();
            if random.random_bool(0.4) {
                let (at, mtu) =
                    (ms(random.random_range(0..6_000)), random.random_range(600..1_400));
                world.network.at(at, move |n| n.alter(from, to, |link| link.mtu = mtu));
            }
        }
    }
}

/// One run: the two hosts as they are now, and what their associations were given to do.
struct Run {
    world: World,
    faults: Faults,
    load: Load,
    config: Config,
    /// The associations of the hosts that live, and after how many restarts of its peer each was told to close: a
    /// restart makes a new association of it, which nobody has closed (RFC 9260, 5.2.4.1).
    known: BTreeMap<(HostId, AssociationId), Option<usize>>,
    /// Restarts, graceful ends, losses, damaged packets, messages that came in parts.
    tally: [u64; 5],
    /// How many packets overtook a single one.
    overtaken: u64,
}

/// Everything that only moves on: what was received, what was taken, what was acknowledged, how far states are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    associations: usize,
    received: usize,
    backlog: usize,
    states: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = <StdRng as rand::SeedableRng>::seed_from_u64(seed);
        let load = match random.random_range(0..20) {
            0..5 => Load::Large,
            5 => Load::Fast,
            _ => Load::Ordinary,
        };
        let config = parameters(&mut random, load);
        let paths = random.random_range(1..=3);
        let mut faults = Faults::draw(&mut random);
        let mut world = World::new(NAME, seed, paths, &config, &LinkSettings::default());
        world.network.listen(world.a, true);
        spoil_links(&mut world, &mut faults, load);
        for side in 0..2 {
            if random.random_bool(0.4) {
                let at = ms(random.random_range(0..10_000));
                let lasts = ms(random.random_range(500..15_000));
                let first = random.random_bool(0.5);
                let host = [world.a, world.z][side];
                world.network.at(at, move |network| network.sleep(host, lasts, first));
                faults.sleep = faults.sleep.max(lasts);
            }
        }
        Self { world, faults, load, config, known: BTreeMap::new(), tally: [0; 5], overtaken: 0 }
    }

    fn hosts(&self) -> [HostId; 2] {
        [self.world.a, self.world.z]
    }

    fn opens(&mut self, side: usize) {
        let host = self.hosts()[side];
        let (addresses, port) = [(&self.world.theirs, PEER_PORT), (&self.world.ours, PORT)][side];
        let peers: Vec<_> = addresses.iter().map(|ip| (*ip, port).into()).collect();
        // Refused only where the peer was faster.
        let opened = self.world.network.connectx(host, &peers, ConnectOptions::default());
        assert!(opened.is_ok() || self.world.network.newest(host).is_some(), "{opened:?}");
    }

    /// Gives every new association its messages, and closes those whose time has come.
    fn direct(&mut self) {
        for (side, host) in self.hosts().into_iter().enumerate() {
            let ids: Vec<_> = self.world.network.endpoint(host).associations().collect();
            for id in ids {
                if let Entry::Vacant(new) = self.known.entry((host, id)) {
                    new.insert(None);
                    let messages = plan(self.world.network.random(), self.load);
                    self.world.network.offer(host, id, messages);
                }
                let state = self.world.network.state(host, id);
                let due = self.world.network.elapsed() >= self.faults.close_at;
                // Where one side alone was to close and its association never came up, the other must.
                let closer = self.faults.closers[side] || self.is_alone(side);
                let restarts = self.restarts(host, id);
                let told = self.known.get_mut(&(host, id)).unwrap();
                if due
                    && closer
                    && state == AssociationState::Established
                    && *told != Some(restarts)
                {
                    *told = Some(restarts);
                    if self.faults.abort {
                        self.world.network.with(host, id, |association, now| {
                            association.abort(now, Default::default());
                        });
                    } else {
                        self.world.network.close_when_sent(host, id);
                    }
                }
            }
        }
    }

    fn restarts(&self, host: HostId, id: AssociationId) -> usize {
        let events = self.world.network.events(host).iter();
        events.filter(|l| l.association == id && l.event == Event::Restart).count()
    }

    /// Whether the other side has nothing that could still close.
    fn is_alone(&self, side: usize) -> bool {
        let other = self.hosts()[1 - side];
        let endpoint = self.world.network.endpoint(other);
        endpoint
            .associations()
            .all(|id| self.world.network.state(other, id) == AssociationState::Closed)
    }

    fn is_over(&self) -> bool {
        self.hosts().into_iter().enumerate().all(|(side, _)| self.is_alone(side))
    }

    fn progress(&mut self) -> Progress {
        let ids: Vec<_> = self.known.keys().copied().collect();
        let mut progress = Progress { associations: ids.len(), received: 0, backlog: 0, states: 0 };
        for (host, id) in ids {
            progress.received += self.world.network.application(host, id).received().len();
            progress.backlog += self.world.network.backlog(host, id);
            let events = self.world.network.events(host);
            progress.states += events
                .iter()
                .filter(|logged| {
                    matches!(
                        logged.event,
                        Event::CommUp { .. }
                            | Event::Restart
                            | Event::CommLost(_)
                            | Event::PeerShutdown
                            | Event::ShutdownComplete
                            | Event::SenderDry
                    )
                })
                .count();
        }
        progress
    }

    fn begins_anew(&mut self, side: usize) {
        let old = self.hosts()[side];
        let new = self.world.network.reboot(old);
        self.known.retain(|(host, _), _| *host != old);
        match side {
            0 => self.world.a = new,
            _ => self.world.z = new,
        }
        self.world.network.listen(new, true);
    }

    fn run(&mut self) {
        (0..2)
            .filter(|side| self.faults.openers[*side])
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|side| self.opens(side));
        let mut restart = self.faults.restart.take();
        let mut opens_at = None;
        let patience = self.faults.patience(&self.config);
        let mut moved = (self.world.network.elapsed(), self.progress());
        loop {
            self.direct();
            let now = self.world.network.elapsed();
            if let Some(Restart { side, down, .. }) = restart.take_if(|restart| restart.at <= now) {
                self.begins_anew(side);
                opens_at = Some((now + down, side));
            }
            if let Some((_, side)) = opens_at.take_if(|(at, _)| *at <= now) {
                self.faults.close_at = now + secs(5);
                self.opens(side);
                self.tally[0] += 1;
                continue;
            }
            if restart.is_none() && opens_at.is_none() && self.is_over() {
                return;
            }
            let progress = self.progress();
            if progress != moved.1 {
                moved = (now, progress);
            }
            assert!(
                now - moved.0 <= patience,
                "nothing advances for {:?}: {progress:?}",
                now - moved.0
            );
            assert!(now < HOUR, "no run takes an hour");
            self.world.network.run_for(TICK);
        }
    }

    /// How every association ended, and that nothing was lost without a word.
    fn judge(&mut self) {
        self.overtaken = self.world.network.most_overtaken() as u64;
        let ids: Vec<_> = self.known.keys().copied().collect();
        for (host, id) in ids {
            let events = self.world.network.events(host).iter().filter(|l| l.association == id);
            let (mut given_back, mut breaks, mut ends, mut up) = (0, 0, Vec::new(), false);
            for logged in events {
                match &logged.event {
                    Event::CommUp { .. } => {
                        up = true;
                        // What went with a cookie to a peer that was then gone (RFC 9260, 5.2.4, B).
                        breaks += usize::from(given_back > 0);
                        assert!(given_back == 0 || self.tally[0] > 0, "nobody began anew");
                    }
                    Event::SendFailed { .. } => given_back += 1,
                    Event::Restart => breaks += 1,
                    Event::CommLost(_) | Event::ShutdownComplete => ends.push(&logged.event),
                    _ => {}
                }
            }
            assert!(up || !ends.contains(&&Event::ShutdownComplete), "closed, and never was up");
            let [end] = ends[..] else { panic!("an association ends once, and here: {ends:?}") };
            let graceful = *end == Event::ShutdownComplete;
            breaks += usize::from(!graceful);
            let end = end.clone();
            // Without a restart, a graceful end has nothing given back and leaves nothing missing.
            let missing = self.world.network.application(host, id).missing();
            assert!(
                missing <= given_back + 2 * breaks,
                "{missing} messages did not arrive, {given_back} were given back: {end:?}"
            );
            assert!(!graceful || breaks > 0 || given_back == 0, "given back at a graceful end");
            self.tally[if graceful { 1 } else { 2 }] += 1;
            self.tally[3] += self.world.network.endpoint(host).counters().bad_checksum;
            self.tally[4] += self.world.network.application(host, id).joined() as u64;
        }
    }
}

#[test]
fn every_fault_at_once_loses_nothing_silently_and_stalls_nothing() {
    let tallies: [AtomicU64; 5] = Default::default();
    let overtaken = AtomicU64::new(0);
    for_each_seed(2_000, |seed| {
        let mut run = Run::new(seed);
        run.run();
        run.judge();
        for (sum, count) in tallies.iter().zip(run.tally) {
            sum.fetch_add(count, Ordering::Relaxed);
        }
        overtaken.fetch_max(run.overtaken, Ordering::Relaxed);
    });
    let (tallies, overtaken) = (tallies.map(AtomicU64::into_inner), overtaken.into_inner());
    if std::env::var_os("USCTP_SIM_SEED").is_none() {
        assert!(tallies.iter().all(|count| *count > 0), "every kind occurs");
        assert!(overtaken >= 200, "hundreds of packets overtake one, and not {overtaken}");
    }
    let [restarts, graceful, lost, damaged, joined] = tallies;
    println!(
        "{restarts} restarts, {graceful} graceful ends, {lost} losses, {damaged} damaged packets, {joined} messages in \
         parts, up to {overtaken} packets overtook one"
    );
}

#[test]
fn damaged_packets_are_counted_and_open_nothing() {
    let link = LinkSettings { corrupt: 1.0, ..LinkSettings::with_latency(ms(5)) };
    let name = "damaged_packets_are_counted_and_open_nothing";
    let mut world = World::new(name, 0, 1, &config(|_| {}), &link);
    let id = world.connect();
    world.run_until_ended(id);
    assert_eq!(world.network.newest(world.z), None);
    let counters = world.network.endpoint(world.z).counters();
    assert_eq!((counters.bad_checksum, counters.packets_sent), (counters.packets_received, 0));
    assert!(counters.bad_checksum > 1);
}
