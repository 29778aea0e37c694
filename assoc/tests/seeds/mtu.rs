//! Links whose MTU becomes smaller while packets are under way, down to the smallest that are in use.

use rand::Rng;
use usctp_assoc::sim::for_each_seed;

use crate::faults::{Faults, NONE};
use crate::ms;
use crate::run::Run;

/// The smallest MTU that a link gets.
const SMALLEST: usize = 256;

impl Run {
    pub(crate) fn draw_mtus(&mut self) {
        for (from, to) in self.directions() {
            if self.random.random_bool(self.faults.smaller_mtus) {
                let at = ms(self.random.random_range(0..6_000));
                let mtu = self.random.random_range(SMALLEST..1_400);
                self.network.at(at, move |n| n.alter(from, to, |link| link.mtu = mtu));
            }
        }
    }
}

#[test]
fn an_association_outlives_that_its_links_take_ever_smaller_packets() {
    let name = "an_association_outlives_that_its_links_take_ever_smaller_packets";
    let faults = Faults { smaller_mtus: 1.0, bad_links: 0.5, ..NONE };
    for_each_seed(100, |seed| {
        let mut run = Run::new(name, seed, faults);
        run.run();
        run.judge();
        assert_eq!(run.losses, [], "nothing else goes wrong");
    });
}
