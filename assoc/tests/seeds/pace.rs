//! How hosts are served: seldom as promptly as most tests have it.

use rand::Rng;
use usctp_assoc::sim::Pace;

use crate::ms;
use crate::run::Run;

impl Run {
    pub(crate) fn draw_pace(&mut self) {
        for host in self.hosts() {
            if self.random.random_bool(self.faults.batches) {
                let gather = ms(self.random.random_range(0..10));
                let most = self.random.random_range(1..=16);
                self.network.set_pace(host, Pace::Batches { gather, most });
            }
        }
    }
}
