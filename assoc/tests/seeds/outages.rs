//! Nothing passes a link in one direction, for some time or for ever; what goes back still arrives.

use rand::Rng;
use usctp_assoc::sim::Status;

use crate::ms;
use crate::run::Run;

impl Run {
    pub(crate) fn draw_outages(&mut self) {
        for (from, to) in self.directions() {
            if !self.random.random_bool(self.faults.outages) {
                continue;
            }
            let at = ms(self.random.random_range(0..10_000));
            let lasts = ms(self.random.random_range(100..60_000));
            self.network.at(at, move |n| n.alter(from, to, |link| link.status = Status::Down));
            if !self.random.random_bool(0.15) {
                self.network.at(at + lasts, move |n| {
                    n.alter(from, to, |link| link.status = Status::Up);
                });
                self.outage = self.outage.max(lasts);
            }
        }
    }
}
