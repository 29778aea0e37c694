//! Applications that read slowly, a little at a time, or not at all for seconds to minutes.

use rand::Rng;
use usctp_assoc::sim::for_each_seed;

use crate::faults::{Faults, NONE};
use crate::ms;
use crate::run::Run;

/// How an application reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// What is there, at once; except in pauses.
    Eager,
    /// So many messages at each look.
    Sips(usize),
}

impl Run {
    pub(crate) fn draw_readers(&mut self) {
        for (side, host) in self.hosts().into_iter().enumerate() {
            if !self.random.random_bool(self.faults.slow_readers) {
                continue;
            }
            if self.random.random_bool(0.3) {
                self.readers[side] = Reader::Sips(self.random.random_range(1..4));
                self.network.receive_eagerly(host, false);
                continue;
            }
            let mut at = ms(self.random.random_range(0..3_000));
            for _ in 0..self.random.random_range(1..4) {
                // A moment is as frequent as minutes.
                let lasts = ms(10_f64.powf(self.random.random_range(2.0..5.2)) as u64);
                self.network.at(at, move |network| network.receive_eagerly(host, false));
                self.network.at(at + lasts, move |network| network.receive_eagerly(host, true));
                self.pause = self.pause.max(lasts);
                at += lasts + ms(self.random.random_range(0..2_000));
            }
        }
    }

    /// Applications that read a little at a time do so.
    pub(crate) fn sip(&mut self) {
        for (side, host) in self.hosts().into_iter().enumerate() {
            let Reader::Sips(most) = self.readers[side] else { continue };
            let ids: Vec<_> = self.network.endpoint(host).associations().collect();
            for id in ids {
                let _ = (0..most).map_while(|_| self.network.receive(host, id)).count();
            }
        }
    }

    /// In the end everything is read that came.
    pub(crate) fn read_all(&mut self) {
        for host in self.hosts() {
            self.network.receive_eagerly(host, true);
            let ids: Vec<_> = self.network.endpoint(host).associations().collect();
            for id in ids {
                while self.network.receive(host, id).is_some() {}
            }
        }
    }
}

#[test]
fn a_peer_that_reads_slowly_or_not_at_all_for_minutes_is_waited_for() {
    let name = "a_peer_that_reads_slowly_or_not_at_all_for_minutes_is_waited_for";
    for_each_seed(100, |seed| {
        let mut run = Run::new(
            name,
            seed,
            Faults { slow_readers: 0.8, bad_links: 0.3, no_heartbeats: 0.5, ..NONE },
        );
        run.run();
        run.judge();
        assert_eq!(run.losses, [], "nothing else goes wrong");
    });
}
