//! An association that is being set up: wait for it, watch it, let it go on, or drop it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use usctp_assoc::{AssociationId, Event};

use crate::association::Association;
use crate::driver::endpoint::Inner;
use crate::driver::wait::{Attempt, Interest, Queue, Token, Wait, attempt_or_register};
use crate::error::Error;

/// What [`connectx`](super::Socket::connectx) began: a future of the established association.
///
/// Dropping it before it is ready ends the attempt, with an ABORT to a peer that knows of it already.
#[derive(Debug)]
#[must_use = "dropping it ends the attempt"]
pub struct Connecting {
    /// None once the association was handed over.
    association: Option<Association>,
    id: AssociationId,
    token: Option<Token>,
}

impl Connecting {
    pub(super) fn new(association: Association) -> Self {
        Self { id: association.id(), association: Some(association), token: None }
    }

    /// The association's name.
    pub fn id(&self) -> AssociationId {
        self.id
    }

    /// Waits until the association is established.
    ///
    /// # Errors
    /// [`Error::Lost`] says why it could not be; [`Error::StackClosed`].
    pub fn wait(mut self) -> Result<Association, Error> {
        self.wait_at_most(None)
    }

    /// As [`wait`](Self::wait), at most so long; after [`Error::TimedOut`] the attempt goes on and can be waited for again.
    ///
    /// # Errors
    /// As for `wait`, and [`Error::TimedOut`]; [`Error::Closed`] if the association was handed over before.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Association, Error> {
        self.wait_at_most(Some(timeout))
    }

    /// The association as it is, established or not: messages may be sent already and leave with the handshake.
    ///
    /// # Panics
    /// If the association was handed over before.
    pub fn detach(mut self) -> Association {
        self.forget_waiter();
        self.hand_over().expect("the association has not been handed over")
    }

    /// Waits for the next event of the attempt: an address tried, left behind or dropped, then CommUp or CommLost.
    /// Events not taken here are found at the association later.
    ///
    /// # Errors
    /// As for [`Association::next_event`].
    pub fn next_event(&self) -> Result<Event, Error> {
        self.attempt()?.next_event()
    }

    /// As [`next_event`](Self::next_event), waiting at most `timeout`.
    ///
    /// # Errors
    /// As for `next_event`, and [`Error::TimedOut`].
    pub fn event_timeout(&self, timeout: Duration) -> Result<Event, Error> {
        self.attempt()?.event_timeout(timeout)
    }

    /// As [`next_event`](Self::next_event), without waiting.
    ///
    /// # Errors
    /// As for `next_event`, and [`Error::WouldBlock`].
    pub fn try_event(&self) -> Result<Event, Error> {
        self.attempt()?.try_event()
    }

    /// As [`next_event`](Self::next_event), as a future.
    pub async fn event_async(&self) -> Result<Event, Error> {
        self.attempt()?.event_async().await
    }

    fn attempt(&self) -> Result<&Association, Error> {
        self.association.as_ref().ok_or(Error::Closed)
    }

    fn wait_at_most(&mut self, timeout: Option<Duration>) -> Result<Association, Error> {
        let settled = settled(self.id);
        let endpoint = self.attempt()?.endpoint();
        Wait::new(endpoint, Queue::Association(self.id), Interest::SETTLED, settled)
            .block(timeout)?;
        self.hand_over().ok_or(Error::Closed)
    }

    fn hand_over(&mut self) -> Option<Association> {
        let association = self.association.take()?;
        // In a forked child the handle says whose it is.
        let _ = association.endpoint().with(|inner, _| {
            inner.handed_over(self.id);
            Ok(())
        });
        Some(association)
    }

    fn forget_waiter(&mut self) {
        if let (Some(association), Some(token)) = (&self.association, self.token.take()) {
            association.endpoint().forget_waiter(Queue::Association(self.id), token);
        }
    }
}

impl Future for Connecting {
    type Output = Result<Association, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(association) = &this.association else { return Poll::Ready(Err(Error::Closed)) };
        let result = attempt_or_register(
            association.endpoint(),
            Queue::Association(this.id),
            Interest::SETTLED,
            &mut this.token,
            Some(context.waker()),
            &mut settled(this.id),
        );
        match result {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                this.forget_waiter();
                Poll::Ready(this.hand_over().ok_or(Error::Closed))
            }
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(association) = &self.association {
            association.endpoint().cancel(self.id);
        }
    }
}

/// Ready once the association is established, or has failed to be.
fn settled(id: AssociationId) -> impl Attempt<()> {
    move |inner: &mut Inner, _| {
        let open = inner.check_open();
        let Some(slot) = inner.slot(id) else { return Poll::Ready(Err(Error::Closed)) };
        // One that was established and has ended already still has its messages.
        if slot.was_up {
            return Poll::Ready(Ok(()));
        }
        match slot.end() {
            Some(end) => Poll::Ready(open.and(Err(end))),
            None => Poll::Pending,
        }
    }
}
