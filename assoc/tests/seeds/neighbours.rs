//! Hosts that have addresses in common, as those of bridges and tunnels are, which come and go; and several in one network.

use std::net::{IpAddr, Ipv4Addr};

use rand::Rng;
use rand::seq::SliceRandom;
use usctp_assoc::sim::for_each_seed;

use crate::faults::{Faults, NONE};
use crate::ms;
use crate::restarts::Act;
use crate::run::Run;

/// Addresses that many hosts have, each for itself.
fn common(number: u8) -> IpAddr {
    Ipv4Addr::new(172, 17 + number, 0, 1).into()
}

impl Run {
    pub(crate) fn draw_neighbours(&mut self) {
        if !self.random.random_bool(self.faults.neighbours) {
            return;
        }
        if self.random.random() {
            self.mesh();
        }
        self.lists_one = self.random.random();
        for side in 0..2 {
            for number in 0..3 {
                if self.random.random_bool(0.6) {
                    self.bridges[side].push(common(number));
                }
            }
            self.tell_addresses(side);
            for _ in 0..self.random.random_range(0..3) {
                let at = ms(self.random.random_range(0..10_000));
                let address = common(self.random.random_range(0..4));
                self.timetable.push((at, Act::Bridges { side, address }));
            }
        }
    }

    /// All addresses are in one network: each leads to each.
    fn mesh(&mut self) {
        let [ours, theirs] = self.addresses.clone();
        for (at, one) in ours.iter().enumerate() {
            for (to, other) in theirs.iter().enumerate() {
                if at != to {
                    self.link(*one, *other);
                }
            }
        }
    }

    /// A side gets an address that leads nowhere, or loses it.
    pub(crate) fn bridges(&mut self, side: usize, address: IpAddr) {
        let bridges = &mut self.bridges[side];
        match bridges.contains(&address) {
            true => bridges.retain(|bridge| *bridge != address),
            false => bridges.push(address),
        }
        self.tell_addresses(side);
    }

    fn tell_addresses(&mut self, side: usize) {
        let addresses = self.all_addresses(side);
        self.network.change_addresses(self.hosts[side], &addresses);
    }

    /// All that a host has, in any order.
    pub(crate) fn all_addresses(&mut self, side: usize) -> Vec<IpAddr> {
        let mut all = [&self.addresses[side][..], &self.bridges[side]].concat();
        all.shuffle(&mut self.random);
        all
    }
}

#[test]
fn addresses_that_both_hosts_have_disturb_no_association() {
    let name = "addresses_that_both_hosts_have_disturb_no_association";
    for_each_seed(100, |seed| {
        let mut run = Run::new(name, seed, Faults { neighbours: 1.0, bad_links: 0.3, ..NONE });
        run.run();
        run.judge();
        assert_eq!(run.losses, [], "nothing else goes wrong");
    });
}
