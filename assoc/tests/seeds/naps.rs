//! Hosts that are not served for some time, as if their clocks jumped.

use rand::Rng;

use crate::ms;
use crate::run::Run;

impl Run {
    pub(crate) fn draw_naps(&mut self) {
        for host in self.hosts() {
            if !self.random.random_bool(self.faults.naps) {
                continue;
            }
            let at = ms(self.random.random_range(0..10_000));
            let lasts = ms(self.random.random_range(500..15_000));
            let timers_first = self.random.random();
            self.network.at(at, move |network| network.sleep(host, lasts, timers_first));
            self.nap = self.nap.max(lasts);
        }
    }
}
