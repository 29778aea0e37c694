//! Every fault of a network at once: what is sent arrives once and in order, or both sides learn of the end.

use std::sync::Mutex;

use usctp_assoc::sim::for_each_seed;

use crate::faults::Faults;
use crate::run::Run;
use crate::verdict::Tally;

const EVERY_FAULT: Faults = Faults {
    batches: 0.8,
    bad_links: 1.0,
    bursts: 1.0,
    outages: 0.3,
    naps: 0.4,
    smaller_mtus: 0.4,
    restarts: 0.4,
    slow_readers: 0.2,
    rebinding: 0.2,
    lifetimes: 0.1,
    neighbours: 0.3,
    patient_closes: 0.5,
    no_heartbeats: 0.0,
    aborts: 0.1,
};

#[test]
fn every_fault_at_once_loses_nothing_silently_and_stalls_nothing() {
    let name = "every_fault_at_once_loses_nothing_silently_and_stalls_nothing";
    let total = Mutex::new(Tally::default());
    for_each_seed(1_000, |seed| {
        let mut run = Run::new(name, seed, EVERY_FAULT);
        run.run();
        run.judge();
        total.lock().unwrap().add(&run.tally);
    });
    let total = total.into_inner().unwrap();
    if std::env::var_os("USCTP_SIM_SEED").is_none() {
        assert!(total.has_all(), "every kind occurs: {total:?}");
        assert!(total.overtaken >= 200, "hundreds of packets overtake one: {total:?}");
    }
    println!("{total:?}");
}
