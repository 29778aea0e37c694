//! What may go wrong in a run, and how often: one field for each kind of fault.

/// Shares, from 0 to 1, of what a field names that the fault befalls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// Hosts that look at several inputs before they take out what follows.
    pub(crate) batches: f64,
    /// Runs whose links delay, lose, double, damage and reorder packets.
    pub(crate) bad_links: f64,
    /// Runs whose bad links lose packets in rows, which may be all that an end or a set-up has.
    pub(crate) bursts: f64,
    /// Directions of links that are silent for some time.
    pub(crate) outages: f64,
    /// Hosts that are not served for some time.
    pub(crate) naps: f64,
    /// Directions of links whose MTU becomes smaller.
    pub(crate) smaller_mtus: f64,
    /// Runs in which hosts crash and begin anew, some of them elsewhere, while the other side does as it likes.
    pub(crate) restarts: f64,
    /// Hosts whose application reads slowly, or not for some time.
    pub(crate) slow_readers: f64,
    /// Runs over UDP, through translators that change their ports.
    pub(crate) rebinding: f64,
    /// Messages that are not worth sending after some time.
    pub(crate) lifetimes: f64,
    /// Runs whose hosts have addresses in common, such as those of bridges, which come and go, and several in a network.
    pub(crate) neighbours: f64,
    /// Runs in which a graceful close may take as long as it needs.
    pub(crate) patient_closes: f64,
    /// Runs without HEARTBEATs.
    pub(crate) no_heartbeats: f64,
    /// Runs that end by an ABORT.
    pub(crate) aborts: f64,
}

/// Nothing goes wrong, and hosts are served as they are in practice.
pub(crate) const NONE: Faults = Faults {
    batches: 0.8,
    bad_links: 0.0,
    bursts: 0.0,
    outages: 0.0,
    naps: 0.0,
    smaller_mtus: 0.0,
    restarts: 0.0,
    slow_readers: 0.0,
    rebinding: 0.0,
    lifetimes: 0.0,
    neighbours: 0.0,
    patient_closes: 1.0,
    no_heartbeats: 0.0,
    aborts: 0.0,
};
