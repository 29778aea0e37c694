//! A peer whose addresses fail and come back, and what is to be seen of it by the clock.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use usctp_assoc::sim::{Heard, Ladder, a, z};
use usctp_assoc::{
    AddressChange, Association, Config, Event, FailureReason, Options, PathSettings,
    PathSettingsError, PathState,
};
use usctp_chunk::Chunk;

use crate::rfc::{WIDE, sack};
use crate::world::{HOUR, config, secs};

pub(crate) const HEARTBEATS: FailureReason = FailureReason::HeartbeatUnanswered;
pub(crate) const T3: FailureReason = FailureReason::T3Expired;

/// A ladder whose Z answers at once what it hears at some of its addresses, and has not heard the rest.
pub(crate) struct Play {
    pub(crate) ladder: Ladder,
    pub(crate) alive: Vec<IpAddr>,
    /// Which of A's chunks came to Z, the first being 1.
    pub(crate) have: BTreeSet<u32>,
    /// Everything that was sent to Z, heard or not.
    pub(crate) heard: Vec<Heard>,
}

impl Play {
    /// An RTO of a second until it is backed off, and no HEARTBEATs to paths that do well.
    pub(crate) fn new(name: &str, paths: u8, change: impl FnOnce(&mut Options)) -> Self {
        let options = config(|options| {
            options.heartbeat.interval = Some(secs(24 * 3600));
            options.retransmission.association_max = u16::MAX;
            change(options);
        });
        Self::with(name, paths, options)
    }

    pub(crate) fn with(name: &str, paths: u8, config: Config) -> Self {
        let ours: Vec<_> = (1..=paths).map(a).collect();
        let theirs: Vec<_> = (1..=paths).map(z).collect();
        let mut ladder = Ladder::with(name, config, &ours, &theirs);
        ladder.establishes(&theirs);
        Self { ladder, alive: theirs, have: BTreeSet::new(), heard: Vec::new() }
    }

    pub(crate) fn cut(&mut self, peer: IpAddr) {
        self.alive.retain(|alive| *alive != peer);
    }

    pub(crate) fn restore(&mut self, peer: IpAddr) {
        self.alive.push(peer);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.ladder.network.elapsed()
    }

    /// Runs for some time, at every moment of which something happens.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.elapsed() + time;
        self.listen();
        while let Some(at) = self.ladder.network.next_at() {
            let after = at - self.ladder.network.now();
            if self.elapsed() + after > end {
                break;
            }
            self.ladder.network.run_for(after);
            self.listen();
        }
        self.ladder.network.run_for(end - self.elapsed());
        self.listen();
    }

    /// Runs until a path is in a state.
    pub(crate) fn run_until(&mut self, peer: IpAddr, state: PathState) {
        self.listen();
        while self.state(peer) != state {
            let at = self.ladder.network.next_at().expect("something is to happen");
            self.ladder.network.run_for(at - self.ladder.network.now());
            self.listen();
            assert!(self.elapsed() < HOUR * 24, "{peer} never became {state:?}");
        }
    }

    pub(crate) fn listen(&mut self) {
        loop {
            let heard = self.ladder.hears_all();
            if heard.is_empty() {
                return;
            }
            for heard in heard {
                if self.alive.contains(&heard.destination) {
                    self.answer(&heard);
                }
                self.heard.push(heard);
            }
        }
    }

    pub(crate) fn answer(&mut self, heard: &Heard) {
        let mut answers = Vec::new();
        let numbers = numbers(&self.ladder, heard);
        for chunk in &heard.chunks {
            if let Chunk::Heartbeat(heartbeat) = chunk {
                answers.push(Chunk::HeartbeatAck(heartbeat.clone()));
            }
        }
        if !numbers.is_empty() {
            self.have.extend(numbers);
            answers.push(self.sack());
        }
        if !answers.is_empty() {
            self.ladder.says(heard.destination, &answers);
        }
    }

    pub(crate) fn sack(&self) -> Chunk {
        let cumulative = (1..).take_while(|number| self.have.contains(number)).last().unwrap_or(0);
        let beyond = self.have.iter().filter(|number| **number > cumulative);
        let gaps: Vec<_> = beyond
            .map(|number| {
                let at = u16::try_from(number - cumulative).unwrap();
                (at, at)
            })
            .collect();
        sack(&self.ladder, cumulative, &gaps, WIDE)
    }

    /// When and where each DATA chunk was sent first, as seconds.
    pub(crate) fn first_sent(&self) -> Vec<(u32, IpAddr, Duration)> {
        let mut seen = BTreeSet::new();
        let mut first = Vec::new();
        for heard in &self.heard {
            for number in numbers(&self.ladder, heard) {
                if seen.insert(number) {
                    first.push((number, heard.destination, heard.at));
                }
            }
        }
        first
    }

    pub(crate) fn heartbeats(&self, to: IpAddr, since: Duration) -> Vec<Duration> {
        let sent = self.heard.iter().filter(|heard| heard.destination == to && heard.at >= since);
        let heartbeats = sent
            .filter(|heard| heard.chunks.iter().any(|chunk| matches!(chunk, Chunk::Heartbeat(_))));
        heartbeats.map(|heard| heard.at - since).collect()
    }

    pub(crate) fn data(&self, to: IpAddr, since: Duration) -> Vec<Duration> {
        let sent = self.heard.iter().filter(|heard| heard.destination == to && heard.at >= since);
        let data = sent.filter(|heard| !numbers(&self.ladder, heard).is_empty());
        data.map(|heard| heard.at - since).collect()
    }

    pub(crate) fn state(&self, peer: IpAddr) -> PathState {
        self.ladder.path(peer).state
    }

    /// The changes of all addresses since a moment, with their times from there.
    pub(crate) fn changes(&self, since: Duration) -> Vec<(Duration, IpAddr, AddressChange)> {
        let events = self.ladder.network.events(self.ladder.ours).iter();
        let changes = events.filter_map(|logged| match logged.event {
            Event::PeerAddressChange { peer, change } if logged.at >= since => {
                Some((logged.at - since, peer, change))
            }
            _ => None,
        });
        changes.collect()
    }

    pub(crate) fn with_association<T>(
        &mut self,
        act: impl FnOnce(&mut Association, std::time::Instant) -> T,
    ) -> T {
        let (ours, id) = (self.ladder.ours, self.ladder.id());
        self.ladder.network.with(ours, id, act)
    }

    pub(crate) fn settings(&mut self, peer: IpAddr) -> PathSettings {
        self.with_association(|association, _| association.path_settings(peer)).unwrap()
    }

    pub(crate) fn change(
        &mut self,
        peer: IpAddr,
        change: impl FnOnce(&mut PathSettings),
    ) -> Result<(), PathSettingsError> {
        let mut settings = self.settings(peer);
        change(&mut settings);
        self.with_association(|association, now| association.set_path_settings(now, peer, settings))
    }

    /// Makes a path potentially failed, or inactive, by DATA that is lost there.
    pub(crate) fn fail(&mut self, peer: IpAddr, state: PathState) {
        while self.state(peer) != state {
            self.ladder.sends("to be lost");
            self.run(secs(130));
        }
    }
}

pub(crate) fn numbers(ladder: &Ladder, heard: &Heard) -> Vec<u32> {
    crate::rfc::numbers(ladder, std::slice::from_ref(heard))
}

/// The sum of so many time-outs in a row, each twice the one before, up to a bound.
pub(crate) fn time_outs(first: Duration, most: Duration, count: u16) -> Duration {
    (0..u32::from(count)).map(|number| (first * 2_u32.pow(number)).min(most)).sum()
}
