//! Translators of addresses that give packets over UDP another port from time to time (RFC 6951, 5.4).

use rand::Rng;
use rand::rngs::StdRng;
use usctp_assoc::sim::for_each_seed;
use usctp_assoc::{Event, LostReason, Options};

use crate::faults::{Faults, NONE};
use crate::ms;
use crate::run::Run;

/// Whether a run goes over UDP, which is decided before there are hosts.
pub(crate) fn encapsulate(random: &mut StdRng, faults: &Faults, options: &mut Options) {
    if random.random_bool(faults.rebinding) {
        options.udp_port = Some(9_899);
    }
}

impl Run {
    /// A translator stands before the addresses of A.
    pub(crate) fn draw_rebinding(&mut self) {
        if self.config.udp_port.is_none() {
            return;
        }
        for address in self.addresses[0].clone() {
            let mut at = ms(0);
            for _ in 0..self.random.random_range(1..4) {
                let port = self.random.random_range(20_000..60_000);
                self.network.at(at, move |network| network.translate(address, port));
                self.rebound_at = self.rebound_at.max(at);
                at += ms(self.random.random_range(500..15_000));
            }
        }
    }
}

impl Run {
    /// Whether what was lost is lost to Z alone, and as it must be: A, behind the translator, had its graceful end, its SHUTDOWN
    /// COMPLETE was lost, and then the port where it is answered. It says nothing more, so nobody can know of the new one.
    fn cannot_know(&self) -> bool {
        let [ours, theirs] = self.hosts();
        let at = |host, wanted: &Event| {
            let told = self.network.events(host).iter().find(|logged| logged.event == *wanted);
            told.map(|logged| logged.at)
        };
        let given_up = Event::CommLost(LostReason::TooManyRetransmissions);
        let ended = at(ours, &Event::ShutdownComplete);
        // SHUTDOWN ACK was on its way for less than that.
        let is_cut_off = ended.is_some_and(|ended| ended < self.rebound_at + ms(500));
        let waited = at(theirs, &Event::PeerShutdown).is_some() || self.intent.closers[1];
        is_cut_off && waited && at(theirs, &given_up).is_some() && self.losses == [given_up]
    }
}

#[test]
fn an_association_over_udp_follows_the_port_that_a_translator_changes() {
    let name = "an_association_over_udp_follows_the_port_that_a_translator_changes";
    for_each_seed(100, |seed| {
        let mut run = Run::new(name, seed, Faults { rebinding: 1.0, bad_links: 0.3, ..NONE });
        run.run();
        run.judge();
        let is_well = run.losses.is_empty() || run.cannot_know();
        assert!(is_well, "nothing else goes wrong: {:?}", run.losses);
    });
}
