//! What routing said for a while: which of an endpoint's addresses packets leave from, and what the link there takes.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use usctp_assoc::AddressSet;

/// How long an answer of the routing table is believed.
const LIFETIME: Duration = Duration::from_secs(5);
/// How many answers are remembered.
const CAPACITY: usize = 1024;

/// The set to choose from, a destination and its zone.
type Way = (AddressSet, IpAddr, u32);

/// Which of the bound addresses packets leave from when the protocol leaves that to routing.
pub(crate) type Sources = Answers<Way, IpAddr>;

/// The greatest IP packet in bytes that the link takes by which packets to a destination leave.
pub(crate) type LinkMtus = Answers<IpAddr, u16>;

/// Remembers what routing said for a while: asking costs system calls.
#[derive(Debug)]
pub(crate) struct Answers<K, V> {
    known: HashMap<K, (V, Instant)>,
    /// Everything was to be forgotten, also what is taken out at the moment.
    is_outdated: bool,
}

impl<K: Eq + Hash, V: Copy> Answers<K, V> {
    /// The answer for packets that go this way; `ask` is called if it is not known, or old. That there is none is
    /// asked again each time: a destination that cannot be reached gets few packets, and is to be found as soon as it
    /// can be.
    pub(crate) fn towards(
        &mut self,
        way: K,
        now: Instant,
        ask: impl FnOnce() -> Option<V>,
    ) -> Option<V> {
        if let Some(&(answer, asked)) = self.known.get(&way)
            && now.saturating_duration_since(asked) < LIFETIME
        {
            return Some(answer);
        }
        self.known.remove(&way);
        let answer = ask()?;
        if self.known.len() >= CAPACITY {
            self.known.retain(|_, (_, asked)| now.saturating_duration_since(*asked) < LIFETIME);
        }
        if self.known.len() < CAPACITY {
            self.known.insert(way, (answer, now));
        }
        Some(answer)
    }

    /// Forgets everything: addresses have changed.
    pub(crate) fn forget_all(&mut self) {
        self.known.clear();
        self.is_outdated = true;
    }

    /// Takes out what is known, to be used without the lock.
    pub(crate) fn take_out(&mut self) -> Self {
        self.is_outdated = false;
        std::mem::take(self)
    }

    /// Puts back what was taken out, unless it was to be forgotten meanwhile.
    pub(crate) fn put_back(&mut self, sources: Self) {
        if !self.is_outdated {
            *self = sources;
        }
    }
}

impl Sources {
    /// A packet for this destination could not be sent: its route or its source may be gone, so it is asked anew.
    pub(crate) fn forget(&mut self, destination: IpAddr) {
        self.known.retain(|(_, known, _), _| *known != destination);
    }
}

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), is_outdated: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_is_asked_once_for_each_destination_until_the_answer_is_old() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [first, second] = [2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let way = |zone| (AddressSet::default(), IpAddr::from([192, 0, 2, 1]), zone);
        let destination = way(0);
        assert_eq!(sources.towards(destination, now, || Some(first)), Some(first));
        assert_eq!(sources.towards(destination, now, || panic!("it is known")), Some(first));
        assert_eq!(sources.towards(way(1), now, || Some(second)), Some(second));
        assert_eq!(sources.towards(destination, now + LIFETIME, || Some(second)), Some(second));
        sources.forget_all();
        assert_eq!(sources.towards(destination, now + LIFETIME, || Some(first)), Some(first));
    }

    #[test]
    fn a_destination_without_a_way_is_found_as_soon_as_there_is_one() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, source] = [1, 2].map(|n| IpAddr::from([192, 0, 2, n]));
        let destination = (AddressSet::default(), destination, 0);
        assert_eq!(sources.towards(destination, now, || None), None);
        assert_eq!(sources.towards(destination, now, || Some(source)), Some(source));
        // Nor does an answer that is old come back when there is none any more.
        assert_eq!(sources.towards(destination, now + LIFETIME, || None), None);
        assert_eq!(sources.towards(destination, now, || None), None);
    }

    #[test]
    fn what_is_taken_out_when_addresses_change_is_forgotten_too() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, first, second] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let way = (AddressSet::default(), destination, 0);
        sources.forget_all();
        let mut out = sources.take_out();
        assert_eq!(out.towards(way, now, || Some(first)), Some(first));
        sources.put_back(out);
        let mut out = sources.take_out();
        assert_eq!(out.towards(way, now, || panic!("it is known")), Some(first));
        sources.forget_all();
        sources.put_back(out);
        assert_eq!(sources.take_out().towards(way, now, || Some(second)), Some(second));
    }

    #[test]
    fn a_source_that_packets_were_refused_from_is_asked_for_anew() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, first, second] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let way = (AddressSet::default(), destination, 0);
        assert_eq!(sources.towards(way, now, || Some(first)), Some(first));
        sources.forget(destination);
        assert_eq!(sources.towards(way, now, || Some(second)), Some(second));
    }
}
