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
                at += ms(self.random.random_range(500..15_000));
            }
        }
    }
}

#[test]
fn an_association_over_udp_follows_the_port_that_a_translator_changes() {
    let name = "an_association_over_udp_follows_the_port_that_a_translator_changes";
    for_each_seed(100, |seed| {
        let mut run = Run::new(name, seed, Faults { rebinding: 1.0, bad_links: 0.3, ..NONE });
        run.run();
        run.judge();
        // Where SHUTDOWN COMPLETE is lost, and then the port of a host that says nothing more, nobody answers any more.
        let cannot_know = run.losses == [Event::CommLost(LostReason::TooManyRetransmissions)]
            && run.tally.graceful == 1;
        assert!(run.losses.is_empty() || cannot_know, "nothing else goes wrong: {:?}", run.losses);
    });
}
