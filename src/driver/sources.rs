//! Which of an endpoint's addresses packets leave from when the protocol leaves that to routing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use usctp_assoc::AddressSet;

/// How long an answer of the routing table is believed.
const LIFETIME: Duration = Duration::from_secs(5);
/// How many destinations are remembered.
const CAPACITY: usize = 1024;

/// The set to choose from, a destination and its zone.
type Way = (AddressSet, IpAddr, u32);

/// Remembers what routing said for a while: asking costs system calls.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    known: HashMap<Way, (Option<IpAddr>, Instant)>,
}

impl Sources {
    /// The source of packets that go this way; `ask` is called if the answer is not known, or old.
    pub(crate) fn towards(
        &mut self,
        way: Way,
        now: Instant,
        ask: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        if let Some(&(source, asked)) = self.known.get(&way)
            && now.saturating_duration_since(asked) < LIFETIME
        {
            return source;
        }
        let source = ask();
        if self.known.len() >= CAPACITY {
            self.known.retain(|_, (_, asked)| now.saturating_duration_since(*asked) < LIFETIME);
        }
        if self.known.len() < CAPACITY {
            self.known.insert(way, (source, now));
        }
        source
    }

    /// Forgets everything: addresses have changed.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
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
        assert_eq!(sources.towards(way(1), now, || None), None);
        assert_eq!(sources.towards(destination, now + LIFETIME, || Some(second)), Some(second));
        sources.forget();
        assert_eq!(sources.towards(destination, now + LIFETIME, || Some(first)), Some(first));
    }
}
