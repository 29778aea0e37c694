//! Links that are cut in turn, silently, one way or by loss: how long nothing arrives although one of them works.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use usctp_assoc::sim::{LinkSettings, Loss, Status, for_each_seed, payload};
use usctp_assoc::{AddressChange, AssociationId, Event, Message, PathState};

use crate::world::{World, config, ms, secs};

/// How a link is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Silent,
    TowardsZ,
    TowardsA,
    Lossy(f64),
}

/// A link that does not work well from one time to another.
#[derive(Debug, Clone, Copy)]
struct Cut {
    link: usize,
    from: Duration,
    to: Duration,
    kind: Kind,
}

fn cut(link: usize, from: Duration, to: Duration, kind: Kind) -> Cut {
    Cut { link, from, to, kind }
}

/// Two hosts, a flow from A to Z, and links that are cut.
struct Flow {
    world: World,
    id: AssociationId,
    theirs: AssociationId,
    cuts: Vec<Cut>,
    sent: usize,
    last: Duration,
    /// For how long nothing came while one and the same link worked all the time.
    silence: Duration,
    /// When that ended.
    until: Duration,
}

impl Flow {
    fn new(name: &str, seed: u64, links: u8, link: &LinkSettings) -> Self {
        let config = config(|options| options.retransmission.association_max = 100);
        let mut world = World::new(name, seed, links, &config, link);
        let (id, theirs) = world.establish();
        Self {
            world,
            id,
            theirs,
            cuts: Vec::new(),
            sent: 0,
            last: secs(0),
            silence: secs(0),
            until: secs(0),
        }
    }

    fn cut(&mut self, cut: Cut) {
        self.degrade(cut);
        self.cuts.push(cut);
    }

    /// The same for a link that counts as one that works.
    fn degrade(&mut self, cut: Cut) {
        let (one, other) = (self.world.ours[cut.link], self.world.theirs[cut.link]);
        for (at, kind) in [(cut.from, Some(cut.kind)), (cut.to, None)] {
            self.world.network.at(at, move |network| {
                let dead = |link: &mut LinkSettings| link.status = Status::Down;
                match kind {
                    None => network.alter_both(one, other, |link| link.status = Status::Up),
                    Some(Kind::Silent) => network.alter_both(one, other, dead),
                    Some(Kind::TowardsZ) => network.alter(one, other, dead),
                    Some(Kind::TowardsA) => network.alter(other, one, dead),
                    Some(Kind::Lossy(share)) => {
                        network.alter_both(one, other, |link| link.loss = Loss::Uniform(share));
                    }
                }
            });
        }
    }

    /// For how long one link has worked without a break.
    fn best_link(&self) -> Duration {
        let now = self.world.network.elapsed();
        let since = |link: usize| {
            let mut cuts = self.cuts.iter().filter(|cut| cut.link == link && cut.from < now);
            let ended =
                cuts.try_fold(secs(0), |ended, cut| (cut.to < now).then_some(ended.max(cut.to)));
            ended.map_or(secs(0), |ended| now - ended)
        };
        (0..self.world.ours.len()).map(since).max().unwrap_or_default()
    }

    /// A message every 20 ms until then.
    fn run_until(&mut self, end: Duration) {
        let (a, z) = (self.world.a, self.world.z);
        while self.world.network.elapsed() < end {
            let message = Message::new(0, payload(self.sent as u64, 100));
            self.world.network.offer(a, self.id, [message]);
            self.sent += 1;
            let before = self.world.network.application(z, self.theirs).received().len();
            self.world.network.run_for(ms(20));
            if self.world.network.application(z, self.theirs).received().len() > before {
                self.last = self.world.network.elapsed();
            }
            let silence = self.world.network.elapsed() - self.last;
            let silence = silence.min(self.best_link());
            if silence > self.silence {
                (self.silence, self.until) = (silence, self.world.network.elapsed());
            }
        }
    }

    fn assert_never_silent_for(&self, most: Duration) {
        let near = |cut: &&Cut| cut.from < self.until && cut.to + secs(10) > self.until;
        let cuts: Vec<_> = self.cuts.iter().filter(near).collect();
        assert!(self.silence <= most, "{:?} until {:?}: {cuts:#?}", self.silence, self.until);
    }

    /// When a path was active again after a moment, at A.
    fn back(&self, link: usize, since: Duration) -> Option<Duration> {
        let mut log = self.world.network.events(self.world.a).iter();
        let found = log.find(|logged| {
            let back = matches!(&logged.event, Event::PeerAddressChange {
                peer, change: AddressChange::Active(_) } if *peer == self.world.theirs[link]);
            back && logged.at >= since
        });
        found.map(|logged| logged.at - since)
    }

    fn state(&self, link: usize) -> PathState {
        let endpoint = self.world.network.endpoint(self.world.a);
        let mut paths = endpoint.view(self.id).unwrap().paths();
        paths.find(|path| path.peer == self.world.theirs[link]).unwrap().state
    }

    fn assert_all_arrives(&mut self) {
        let z = self.world.z;
        self.world.network.run_for(secs(10));
        assert_eq!(self.world.network.application(z, self.theirs).received().len(), self.sent);
    }
}

#[test]
fn a_link_that_came_back_is_used_when_the_other_one_fails() {
    let name = "a_link_that_came_back_is_used_when_the_other_one_fails";
    let mut flow = Flow::new(name, 0, 2, &LinkSettings::with_latency(LATENCY));
    flow.cut(cut(0, secs(12), secs(46), Kind::Silent));
    flow.cut(cut(1, secs(60), secs(68), Kind::Silent));
    flow.run_until(secs(80));
    let back = flow.back(0, secs(46)).expect("the first link is used again");
    assert!(back <= FOUND, "{back:?}");
    flow.assert_never_silent_for(SILENCE);
    flow.assert_all_arrives();
}

#[test]
fn when_the_last_active_path_fails_the_others_are_asked_at_once() {
    let name = "when_the_last_active_path_fails_the_others_are_asked_at_once";
    let mut flow = Flow::new(name, 0, 2, &LinkSettings::with_latency(LATENCY));
    flow.cut(cut(0, secs(12), secs(60), Kind::Silent));
    // The first link is whole for less than a second before the second one is cut: nobody can have noticed.
    flow.cut(cut(1, secs(60), secs(90), Kind::Silent));
    flow.run_until(secs(100));
    flow.assert_never_silent_for(SILENCE);
    flow.assert_all_arrives();
}

#[test]
fn after_an_outage_of_all_links_the_first_that_works_is_found_by_the_pace_of_heartbeats() {
    let name =
        "after_an_outage_of_all_links_the_first_that_works_is_found_by_the_pace_of_heartbeats";
    // The RTOs are backed off to a minute by then, and both paths are inactive.
    for (outage, link) in [(5, 0), (30, 1), (250, 0), (250, 1)] {
        let mut flow = Flow::new(name, 0, 2, &LinkSettings::with_latency(LATENCY));
        flow.cut(cut(link, secs(10), secs(10 + outage), Kind::Silent));
        flow.cut(cut(1 - link, secs(10), secs(1_000), Kind::Silent));
        flow.run_until(secs(20 + outage));
        flow.assert_never_silent_for(SILENCE);
        assert_eq!(flow.state(link), PathState::Active);
    }
}

#[test]
fn an_inactive_path_that_works_again_is_found_within_seconds_even_if_a_probe_is_lost() {
    let name = "an_inactive_path_that_works_again_is_found_within_seconds_even_if_a_probe_is_lost";
    let mut flow = Flow::new(name, 0, 2, &LinkSettings::with_latency(LATENCY));
    flow.cut(cut(1, secs(10), secs(400), Kind::Silent));
    flow.run_until(secs(400));
    assert_eq!(flow.state(1), PathState::Inactive);
    // Long enough for one more to be lost.
    flow.cut(cut(1, secs(400), secs(400) + FAILED_INTERVAL, Kind::Silent));
    flow.run_until(secs(420));
    let back = flow.back(1, secs(400)).expect("the second link is used again");
    assert!(back <= FAILED_INTERVAL + FOUND, "{back:?}");
}

#[test]
fn while_any_link_works_nothing_is_silent_for_long_whatever_is_cut_when() {
    let name = "while_any_link_works_nothing_is_silent_for_long_whatever_is_cut_when";
    for_each_seed(30, |seed| {
        let links = if seed % 2 == 0 { 2 } else { 3 };
        let mut flow = Flow::new(name, seed, links, &LinkSettings::with_latency(LATENCY));
        let mut plan = Vec::new();
        for link in 0..usize::from(links) {
            plan.extend(draw(link, flow.world.network.random()));
        }
        plan.iter().for_each(|cut| flow.cut(*cut));
        flow.run_until(secs(210));
        // What is lost may be sent again by a link that has just been cut as well, and what follows waits for it.
        let unnoticed = secs(1) * (u32::from(links) - 1);
        flow.assert_never_silent_for(SILENCE + unnoticed);
        flow.assert_all_arrives();
    });
}

#[test]
fn where_links_lose_packets_as_well_nothing_is_silent_for_long_either() {
    let name = "where_links_lose_packets_as_well_nothing_is_silent_for_long_either";
    for_each_seed(10, |seed| {
        let mut flow = Flow::new(name, seed, 2, &LinkSettings::with_latency(LATENCY));
        for link in 0..2 {
            let lossy = cut(link, secs(1), secs(200), Kind::Lossy(0.02));
            flow.degrade(lossy);
        }
        // In turn: while one is dead for up to a minute the other one loses packets.
        let plan = draw(0, flow.world.network.random());
        for (number, cut) in plan.into_iter().enumerate() {
            flow.cut(Cut { link: number % 2, ..cut });
        }
        flow.run_until(secs(210));
        // Two losses of the same message, or of the HEARTBEATs that look for a path, in a row.
        flow.assert_never_silent_for(LOSSY);
        flow.assert_all_arrives();
    });
}

/// Cuts of a link one after the other, of a tenth of a second to a minute, for three minutes.
fn draw(link: usize, random: &mut StdRng) -> Vec<Cut> {
    let span = |random: &mut StdRng| ms(10_f64.powf(random.random_range(2.0..4.8)) as u64);
    let mut cuts = Vec::new();
    let mut at = secs(5) + span(random);
    while at < secs(185) {
        let to = at + span(random);
        let kind = match random.random_range(0..3) {
            0 => Kind::TowardsZ,
            1 => Kind::TowardsA,
            _ => Kind::Silent,
        };
        cuts.push(cut(link, at, to.min(secs(200)), kind));
        at = to + span(random);
    }
    cuts
}

const LATENCY: Duration = Duration::from_millis(10);

/// The default of `HeartbeatOptions::failed_interval`.
const FAILED_INTERVAL: Duration = Duration::from_secs(3);
/// The return of a path is found by the next HEARTBEAT and its answer.
const FOUND: Duration = Duration::from_millis(3_000 + 2 * 10);
/// T3-rtx of an active path after RTO.Min, which a SACK for what came before the cut may start anew (a round trip and
/// SACK.Delay); a HEARTBEAT to another path and its answer; the message itself; the step of the flow.
const SILENCE: Duration = Duration::from_millis(1_000 + 20 + 200 + 20 + 10 + 20);
/// Three RTOs in a row, backed off.
const LOSSY: Duration = Duration::from_secs(1 + 2 + 4 + 1);
