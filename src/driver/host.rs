//! The addresses of this host as the I/O thread last saw them.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::address::HostAddress;

/// How long after a look the next one waits: of changes that come in a storm only the outcome counts.
const PAUSE: Duration = Duration::from_millis(50);
/// The same after a look that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The addresses, and whether they are to be looked at again.
#[derive(Debug)]
pub(super) struct Host {
    addresses: Vec<HostAddress>,
    next: Instant,
    is_doubtful: bool,
    /// The system said so; else they are looked at for the sake of those who came since the last look.
    is_said_to_change: bool,
}

/// What a look showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The addresses that are gone.
    pub(super) lost: Vec<IpAddr>,
    /// They changed, or the system said that something did: routes may have, too.
    pub(super) is_news: bool,
}

impl Host {
    /// Knows these addresses.
    pub(super) fn new(addresses: Vec<HostAddress>, now: Instant) -> Self {
        // Sockets may have been bound before.
        Self { addresses, next: now + PAUSE, is_doubtful: true, is_said_to_change: true }
    }

    pub(super) fn addresses(&self) -> &[HostAddress] {
        &self.addresses
    }

    /// The system says that something changed.
    pub(super) fn is_said_to_change(&mut self) {
        self.is_doubtful = true;
        self.is_said_to_change = true;
    }

    /// Somebody came who knows the addresses as they were shortly before.
    pub(super) fn is_new_to_some(&mut self) {
        self.is_doubtful = true;
    }

    /// When the next look is due, if one is.
    pub(super) fn look_due(&self) -> Option<Instant> {
        self.is_doubtful.then_some(self.next)
    }

    /// Looks, if that is due. A look that fails changes nothing, and is taken again.
    pub(super) fn look(
        &mut self,
        now: Instant,
        look: impl FnOnce() -> io::Result<Vec<HostAddress>>,
    ) -> Option<Seen> {
        if self.look_due().is_none_or(|due| now < due) {
            return None;
        }
        let found = match look() {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the host's addresses could not be asked for");
                self.next = now + RETRY;
                return None;
            }
        };
        self.is_doubtful = false;
        self.next = now + PAUSE;
        let is_news = std::mem::take(&mut self.is_said_to_change) || found != self.addresses;
        let before = std::mem::replace(&mut self.addresses, found);
        let left: HashSet<IpAddr> = self.addresses.iter().map(|own| own.address).collect();
        let lost = before.into_iter().map(|own| own.address).filter(|own| !left.contains(own));
        Some(Seen { lost: lost.collect(), is_news })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(lost: &[HostAddress]) -> Seen {
        Seen { lost: lost.iter().map(|own| own.address).collect(), is_news: true }
    }

    #[test]
    fn a_look_for_the_sake_of_one_is_news_only_if_it_shows_something() {
        let own = |n| HostAddress { address: [192, 0, 2, n].into(), interface: 1, is_inner: false };
        let mut now = Instant::now();
        let mut host = Host::new(vec![own(1)], now);
        let mut look = |host: &mut Host, found| {
            now += PAUSE;
            host.look(now, || Ok(found)).expect("it is due")
        };
        assert!(look(&mut host, vec![own(1)]).is_news, "nothing was told before");
        host.is_new_to_some();
        assert!(!look(&mut host, vec![own(1)]).is_news);
        host.is_new_to_some();
        assert!(look(&mut host, vec![own(1), own(2)]).is_news);
        host.is_said_to_change();
        assert!(look(&mut host, vec![own(1), own(2)]).is_news, "routes may have changed");
    }

    #[test]
    fn a_storm_of_changes_is_looked_at_once_in_a_while_and_its_outcome_is_seen() {
        let own = |n| HostAddress { address: [192, 0, 2, n].into(), interface: 1, is_inner: false };
        let [first, second, third] = [1, 2, 3].map(own);
        let now = Instant::now();
        let mut host = Host::new(vec![first, second], now);
        assert_eq!(host.look(now, || panic!("it is too early")), None);
        let later = now + PAUSE;
        assert_eq!(host.look_due(), Some(later));
        assert_eq!(host.look(later, || Ok(vec![second, third])), Some(news(&[first])));
        assert_eq!(host.look_due(), None);
        host.is_said_to_change();
        host.is_said_to_change();
        assert_eq!(host.look(later, || panic!("it is too early")), None);
        assert_eq!(host.look(later + PAUSE, || Ok(vec![third])), Some(news(&[second])));
        assert_eq!(host.addresses(), [third]);
    }

    #[test]
    fn a_look_that_fails_loses_no_address_and_is_taken_again() {
        let own = HostAddress { address: [192, 0, 2, 1].into(), interface: 1, is_inner: false };
        let now = Instant::now();
        let mut host = Host::new(vec![own], now);
        let later = now + PAUSE;
        assert_eq!(host.look(later, || Err(io::ErrorKind::OutOfMemory.into())), None);
        assert_eq!(host.addresses(), [own]);
        let due = host.look_due().expect("it is still in doubt");
        assert_eq!(host.look(due, || Ok(vec![])), Some(news(&[own])));
        assert_eq!(host.look_due(), None);
    }
}
