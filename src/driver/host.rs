//! The addresses of this host as the I/O thread last saw them.

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
}

impl Host {
    /// Knows these addresses.
    pub(super) fn new(addresses: Vec<HostAddress>, now: Instant) -> Self {
        // Sockets may have been bound before.
        Self { addresses, next: now + PAUSE, is_doubtful: true }
    }

    pub(super) fn addresses(&self) -> &[HostAddress] {
        &self.addresses
    }

    /// The system says that something changed.
    pub(super) fn is_said_to_change(&mut self) {
        self.is_doubtful = true;
    }

    /// When the next look is due, if one is.
    pub(super) fn look_due(&self) -> Option<Instant> {
        self.is_doubtful.then_some(self.next)
    }

    /// Looks, if that is due; the addresses that are gone. A look that fails changes nothing, and is taken again.
    pub(super) fn look(
        &mut self,
        now: Instant,
        look: impl FnOnce() -> io::Result<Vec<HostAddress>>,
    ) -> Option<Vec<IpAddr>> {
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
        let before = std::mem::replace(&mut self.addresses, found);
        let is_lost = |lost: &IpAddr| self.addresses.iter().all(|own| own.address != *lost);
        Some(before.into_iter().map(|own| own.address).filter(is_lost).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_changes_is_looked_at_once_in_a_while_and_its_outcome_is_seen() {
        let own = |n| HostAddress { address: [192, 0, 2, n].into(), interface: 1, is_inner: false };
        let [first, second, third] = [1, 2, 3].map(own);
        let now = Instant::now();
        let mut host = Host::new(vec![first, second], now);
        assert_eq!(host.look(now, || panic!("it is too early")), None);
        let later = now + PAUSE;
        assert_eq!(host.look_due(), Some(later));
        assert_eq!(host.look(later, || Ok(vec![second, third])), Some(vec![first.address]));
        assert_eq!(host.look_due(), None);
        host.is_said_to_change();
        host.is_said_to_change();
        assert_eq!(host.look(later, || panic!("it is too early")), None);
        assert_eq!(host.look(later + PAUSE, || Ok(vec![third])), Some(vec![second.address]));
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
        assert_eq!(host.look(due, || Ok(vec![])), Some(vec![own.address]));
        assert_eq!(host.look_due(), None);
    }
}
