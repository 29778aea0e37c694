//! Which of an endpoint's addresses packets leave from when the protocol leaves that to routing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an answer of the routing table is believed.
const LIFETIME: Duration = Duration::from_secs(5);
/// How many destinations are remembered.
const CAPACITY: usize = 1024;

/// Remembers what routing said for a while: asking costs system calls.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    known: HashMap<IpAddr, (Option<IpAddr>, Instant)>,
}

impl Sources {
    /// The source for a destination; `ask` is called if the answer is not known, or old.
    pub(crate) fn towards(
        &mut self,
        destination: IpAddr,
        now: Instant,
        ask: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        if let Some(&(source, asked)) = self.known.get(&destination)
            && now.saturating_duration_since(asked) < LIFETIME
        {
            return source;
        }
        let source = ask();
        if self.known.len() >= CAPACITY {
            self.known.retain(|_, (_, asked)| now.saturating_duration_since(*asked) < LIFETIME);
        }
        if self.known.len() < CAPACITY {
            self.known.insert(destination, (source, now));
        }
        source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_is_asked_once_for_each_destination_until_the_answer_is_old() {
        let mut sources = Sources::default();
        let now = Instant::now();
        let [destination, first, second] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        assert_eq!(sources.towards(destination, now, || Some(first)), Some(first));
        assert_eq!(sources.towards(destination, now, || panic!("it is known")), Some(first));
        assert_eq!(sources.towards(second, now, || None), None);
        assert_eq!(sources.towards(destination, now + LIFETIME, || Some(second)), Some(second));
    }
}
