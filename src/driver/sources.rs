//! What routing said for a while: which of an endpoint's addresses packets leave from, and what the link there takes.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
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

/// After a question that found no answer, how long the next one waits.
const RETRY: Duration = Duration::from_millis(100);

/// Remembers what routing said for a while: asking costs system calls.
#[derive(Debug)]
pub(crate) struct Answers<K, V> {
    known: HashMap<K, Answer<V>>,
    /// Everything was to be asked anew, also what is taken out at the moment.
    is_outdated: bool,
}

/// An answer, and until when it is believed; none if it is to be asked anew.
#[derive(Debug, Clone, Copy)]
struct Answer<V> {
    said: V,
    until: Option<Instant>,
}

impl<K: Eq + Hash, V: Copy> Answers<K, V> {
    /// The answer for packets that go this way; `ask` is called if it is not known, or old. That there is none is
    /// asked again each time: a destination that cannot be reached gets few packets, and is to be found as soon as it
    /// can be.
    ///
    /// A question that fails says nothing: what was known is good for a little longer, and then asked for again.
    ///
    /// # Errors
    /// The question failed, and nothing was known.
    pub(crate) fn towards(
        &mut self,
        way: K,
        now: Instant,
        ask: impl FnOnce() -> io::Result<Option<V>>,
    ) -> io::Result<Option<V>> {
        let known = self.known.get_mut(&way);
        if let Some(answer) = &known
            && answer.until.is_some_and(|until| now < until)
        {
            return Ok(Some(answer.said));
        }
        let said = match (ask(), known) {
            (Ok(Some(said)), _) => said,
            (Ok(None), _) => {
                self.known.remove(&way);
                return Ok(None);
            }
            (Err(error), Some(answer)) => {
                tracing::debug!(%error, "routing does not answer: what it said last holds");
                answer.until = Some(now + RETRY);
                return Ok(Some(answer.said));
            }
            (Err(error), None) => return Err(error),
        };
        if self.known.len() >= CAPACITY {
            self.known.retain(|_, answer| answer.until.is_some_and(|until| now < until));
        }
        if self.known.len() < CAPACITY || self.known.contains_key(&way) {
            self.known.insert(way, Answer { said, until: Some(now + LIFETIME) });
        }
        Ok(Some(said))
    }

    /// Asks for everything anew: addresses have changed.
    pub(crate) fn forget_all(&mut self) {
        self.known.values_mut().for_each(|answer| answer.until = None);
        self.is_outdated = true;
    }

    /// Takes out what is known, to be used without the lock.
    pub(crate) fn take_out(&mut self) -> Self {
        self.is_outdated = false;
        Self { known: std::mem::take(&mut self.known), is_outdated: false }
    }

    /// Puts back what was taken out; if addresses changed meanwhile, it is to be asked for anew.
    pub(crate) fn put_back(&mut self, mut sources: Self) {
        if self.is_outdated {
            sources.forget_all();
        }
        self.known = sources.known;
    }
}

impl Sources {
    /// A packet for this destination could not be sent: its route or its source may be gone, so it is asked anew.
    pub(crate) fn forget(&mut self, destination: IpAddr) {
        let concerned = self.known.iter_mut().filter(|((_, known, _), _)| *known == destination);
        concerned.for_each(|(_, answer)| answer.until = None);
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
        assert_eq!(sources.towards(destination, now, || Ok(Some(first))).unwrap(), Some(first));
        assert_eq!(
            sources.towards(destination, now, || panic!("it is known")).unwrap(),
            Some(first)
        );
        assert_eq!(sources.towards(way(1), now, || Ok(Some(second))).unwrap(), Some(second));
        assert_eq!(
            sources.towards(destination, now + LIFETIME, || Ok(Some(second))).unwrap(),
            Some(second)
        );
        sources.forget_all();
        assert_eq!(
            sources.towards(destination, now + LIFETIME, || Ok(Some(first))).unwrap(),
            Some(first)
        );
    }

    #[test]
    fn a_destination_without_a_way_is_found_as_soon_as_there_is_one() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, source] = [1, 2].map(|n| IpAddr::from([192, 0, 2, n]));
        let destination = (AddressSet::default(), destination, 0);
        assert_eq!(sources.towards(destination, now, || Ok(None)).unwrap(), None);
        assert_eq!(sources.towards(destination, now, || Ok(Some(source))).unwrap(), Some(source));
        // Nor does an answer that is old come back when there is none any more.
        assert_eq!(sources.towards(destination, now + LIFETIME, || Ok(None)).unwrap(), None);
        assert_eq!(sources.towards(destination, now, || Ok(None)).unwrap(), None);
    }

    #[test]
    fn a_question_that_fails_leaves_what_was_known_and_is_asked_again() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, first, second] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let way = (AddressSet::default(), destination, 0);
        let fail = || Err(io::ErrorKind::OutOfMemory.into());
        assert!(
            sources.towards(way, now, fail).is_err(),
            "that is not to say that there is no way"
        );
        assert_eq!(sources.towards(way, now, || Ok(Some(first))).unwrap(), Some(first));
        let later = now + LIFETIME;
        assert_eq!(sources.towards(way, later, fail).unwrap(), Some(first));
        assert_eq!(sources.towards(way, later, || panic!("just asked")).unwrap(), Some(first));
        let later = later + RETRY;
        assert_eq!(sources.towards(way, later, || Ok(Some(second))).unwrap(), Some(second));
        // Nor does it lose what a refused packet, or a change of addresses, made doubtful.
        sources.forget(destination);
        assert_eq!(sources.towards(way, later, fail).unwrap(), Some(second));
        sources.forget_all();
        assert_eq!(sources.towards(way, later, fail).unwrap(), Some(second));
        assert_eq!(sources.towards(way, later + RETRY, || Ok(None)).unwrap(), None);
        assert!(sources.towards(way, later + RETRY, fail).is_err());
    }

    #[test]
    fn what_is_taken_out_when_addresses_change_is_forgotten_too() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, first, second] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let way = (AddressSet::default(), destination, 0);
        sources.forget_all();
        let mut out = sources.take_out();
        assert_eq!(out.towards(way, now, || Ok(Some(first))).unwrap(), Some(first));
        sources.put_back(out);
        let mut out = sources.take_out();
        assert_eq!(out.towards(way, now, || panic!("it is known")).unwrap(), Some(first));
        sources.forget_all();
        sources.put_back(out);
        assert_eq!(
            sources.take_out().towards(way, now, || Ok(Some(second))).unwrap(),
            Some(second)
        );
    }

    #[test]
    fn a_source_that_packets_were_refused_from_is_asked_for_anew() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, first, second] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let way = (AddressSet::default(), destination, 0);
        assert_eq!(sources.towards(way, now, || Ok(Some(first))).unwrap(), Some(first));
        sources.forget(destination);
        assert_eq!(sources.towards(way, now, || Ok(Some(second))).unwrap(), Some(second));
    }
}
