//! Hosts that crash and begin anew, in any state and again and again, at the same addresses or at others, while the other
//! side goes on, closes, or wants nothing more.

use std::net::IpAddr;
use std::time::Duration;

use rand::Rng;
use usctp_assoc::AssociationState;
use usctp_assoc::sim::{a, for_each_seed, z};

use crate::faults::{Faults, NONE};
use crate::run::Run;
use crate::{ms, secs};

/// What hosts do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A side crashes, and a fresh host takes its place.
    BeginsAnew { side: usize, moves: Moves },
    /// A side opens.
    Opens { side: usize },
    /// The application of a side closes what it has.
    Closes { side: usize },
    /// The application of a side wants nothing more of what it has.
    Forsakes { side: usize },
    /// A side gets or loses an address that leads nowhere.
    Bridges { side: usize, address: IpAddr },
}

/// Where a host is when it begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moves {
    Nowhere,
    /// It has its first address only.
    ToFewer,
    /// Some of its addresses are others; so many were given out before.
    ToOthers,
}

impl Run {
    pub(crate) fn draw_restarts(&mut self) {
        if !self.random.random_bool(self.faults.restarts) {
            return;
        }
        let mut at = ms(self.random.random_range(0..8_000));
        for _ in 0..self.random.random_range(1..4) {
            let side = self.random.random_range(0..2);
            let moves = match self.random.random_range(0..6) {
                0 => Moves::ToFewer,
                1 => Moves::ToOthers,
                _ => Moves::Nowhere,
            };
            let down = ms(self.random.random_range(0..12_000));
            self.timetable.push((at, Act::BeginsAnew { side, moves }));
            self.timetable.push((at + down, Act::Opens { side }));
            self.silence = self.silence.max(down);
            let survivor = 1 - side;
            let then = at + self.random.random_range(Duration::ZERO..=down + secs(1));
            let then = then.saturating_sub(ms(500));
            match self.random.random_range(0..4) {
                0 => self.timetable.push((then, Act::Forsakes { side: survivor })),
                1 => self.timetable.push((then, Act::Closes { side: survivor })),
                _ => {}
            }
            at += down + ms(self.random.random_range(0..10_000));
        }
        self.silence += secs(10);
    }

    /// Does what the timetable says up to now.
    pub(crate) fn act(&mut self) {
        while let Some((at, act)) = self.timetable.first().copied() {
            if at > self.network.elapsed() {
                return;
            }
            self.timetable.remove(0);
            match act {
                Act::BeginsAnew { side, moves } => self.begins_anew(side, moves),
                Act::Opens { side } => {
                    self.intent.close_at = self.network.elapsed() + secs(5);
                    self.tally.restarts += 1;
                    self.opens(side);
                }
                Act::Closes { side } => self.for_each_open(side, Self::close),
                Act::Bridges { side, address } => self.bridges(side, address),
                Act::Forsakes { side } => self.for_each_open(side, Self::forsake),
            }
        }
    }

    fn begins_anew(&mut self, side: usize, moves: Moves) {
        let old = self.hosts()[side];
        match moves {
            Moves::Nowhere => {}
            Moves::ToFewer => {
                self.addresses[side].truncate(1);
            }
            Moves::ToOthers => self.move_some(side),
        }
        let addresses = self.all_addresses(side);
        let new = self.network.reboot_at(old, &addresses);
        self.known.retain(|(host, _), _| *host != old);
        self.hosts[side] = new;
        self.rebooted_at = Some(self.network.elapsed());
        self.network.listen(new, true);
    }

    /// Some addresses of a side, at least one, are others from now on, with links of their own.
    fn move_some(&mut self, side: usize) {
        let first = self.random.random_range(0..self.addresses[side].len());
        for at in first..self.addresses[side].len() {
            self.moved += 1;
            let fresh: IpAddr = match side {
                0 => a(10 + self.moved),
                _ => z(10 + self.moved),
            };
            self.addresses[side][at] = fresh;
            let peers = self.addresses[1 - side].clone();
            let peer = peers[at.min(peers.len() - 1)];
            self.link(fresh, peer);
        }
    }

    fn for_each_open(
        &mut self,
        side: usize,
        act: fn(&mut Self, usize, usctp_assoc::AssociationId),
    ) {
        let host = self.hosts()[side];
        let ids: Vec<_> = self.network.endpoint(host).associations().collect();
        for id in ids {
            if self.network.state(host, id) == AssociationState::Established {
                act(self, side, id);
            }
        }
    }

    fn close(&mut self, side: usize, id: usctp_assoc::AssociationId) {
        self.network.close_when_sent(self.hosts[side], id);
    }

    fn forsake(&mut self, side: usize, id: usctp_assoc::AssociationId) {
        self.network.forsake(self.hosts[side], id);
    }
}

#[test]
fn whatever_happens_at_a_restart_messages_arrive_once_or_come_back_or_lie_before_it() {
    let name = "whatever_happens_at_a_restart_messages_arrive_once_or_come_back_or_lie_before_it";
    for_each_seed(300, |seed| {
        let mut run =
            Run::new(name, seed, Faults { restarts: 1.0, bad_links: 0.5, bursts: 1.0, ..NONE });
        run.run();
        run.judge();
    });
}
