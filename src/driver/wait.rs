//! Waiting without losing anything: who waits for what, the future that every call is, and its blocking form.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use usctp_assoc::AssociationId;

use super::Driver;
use super::endpoint::{Inner, SharedEndpoint};
use super::lead::Waiter;
use super::turn;
use crate::error::Error;

/// What a waiter waits for; a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest(u8);

impl Interest {
    /// A message can be received.
    pub(crate) const READ: Self = Self(1);
    /// A message can be sent.
    pub(crate) const WRITE: Self = Self(2);
    /// An event can be taken.
    pub(crate) const EVENT: Self = Self(4);
    /// The association was established.
    pub(crate) const SETTLED: Self = Self(8);
    /// An association can be accepted.
    pub(crate) const ACCEPT: Self = Self(16);
    /// No association is left that has not ended.
    pub(crate) const IDLE: Self = Self(32);
    /// The association has come to its end.
    pub(crate) const END: Self = Self(64);
    /// Something came to some association.
    pub(crate) const ANY: Self = Self(128);
    /// Whatever it was, it has come to its end.
    pub(crate) const ALL: Self = Self(u8::MAX);

    /// Both sets.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Names a waiter of one list, so that a future that is polled again or dropped finds its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u64);

/// Those who wait. All of them are woken, not one: a woken future may be dropped before it looks.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    next: u64,
    list: Vec<(Token, Interest, Waker)>,
}

impl Waiters {
    /// Enters a waiter, or renews the waker of one that is entered already and gives back the old one.
    ///
    /// Here and below: wakers are dropped, as they are woken, by a caller that holds no lock; they may run anything,
    /// such as the end of a task that owns an association of this very endpoint.
    #[must_use]
    pub(crate) fn register(
        &mut self,
        token: &mut Option<Token>,
        interest: Interest,
        waker: &Waker,
    ) -> Option<Waker> {
        if let Some(token) = *token
            && let Some((_, _, known)) = self.list.iter_mut().find(|(known, ..)| *known == token)
        {
            return (!known.will_wake(waker)).then(|| std::mem::replace(known, waker.clone()));
        }
        let fresh = Token(self.next);
        self.next += 1;
        *token = Some(fresh);
        self.list.push((fresh, interest, waker.clone()));
        None
    }

    /// Forgets a waiter that no longer waits.
    #[must_use]
    pub(crate) fn remove(&mut self, token: Token) -> Option<Waker> {
        let index = self.list.iter().position(|(known, ..)| *known == token)?;
        Some(self.list.swap_remove(index).2)
    }

    /// Takes out those whose interest is met.
    pub(crate) fn take(&mut self, met: Interest, woken: &mut Vec<Waker>) {
        if self.list.is_empty() {
            return;
        }
        woken.extend(
            self.list
                .extract_if(.., |(_, interest, _)| interest.meets(met))
                .map(|(.., waker)| waker),
        );
    }
}

/// Whose list of waiters a call joins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Queue {
    /// The endpoint's.
    Endpoint,
    /// An association's.
    Association(AssociationId),
}

/// One attempt at something, made under the endpoint's lock.
pub(crate) trait Attempt<T>:
    FnMut(&mut Inner, Instant) -> Poll<Result<T, Error>> + Unpin + Send
{
}

impl<T, F> Attempt<T> for F where
    F: FnMut(&mut Inner, Instant) -> Poll<Result<T, Error>> + Unpin + Send
{
}

/// Tries under the endpoint's lock; what cannot be done yet is waited for, if there is a waker.
pub(crate) fn attempt_or_register<T, F>(
    endpoint: &SharedEndpoint,
    queue: Queue,
    interest: Interest,
    token: &mut Option<Token>,
    waker: Option<&Waker>,
    attempt: &mut F,
) -> Poll<Result<T, Error>>
where
    F: FnMut(&mut Inner, Instant) -> Poll<Result<T, Error>>,
{
    if !endpoint.is_here() {
        return Poll::Ready(Err(Error::Forked));
    }
    let (result, _renewed) = endpoint.act(|inner, now| {
        let result = attempt(inner, now);
        if result.is_ready() {
            return (result, None);
        }
        if inner.is_dead() {
            return (Poll::Ready(Err(Error::StackClosed)), None);
        }
        let (Some(waker), Some(waiters)) = (waker, inner.waiters(queue)) else {
            return (result, None);
        };
        (result, waiters.register(token, interest, waker))
    });
    result
}

/// A call that may have to wait: it tries under the endpoint's lock, and waits in the list if it cannot.
///
/// Nothing is taken before the moment it is handed over, so dropping it loses nothing.
#[derive(Debug)]
pub(crate) struct Wait<'a, F> {
    endpoint: &'a SharedEndpoint,
    queue: Queue,
    interest: Interest,
    token: Option<Token>,
    attempt: F,
}

impl<'a, T, F> Wait<'a, F>
where
    F: FnMut(&mut Inner, Instant) -> Poll<Result<T, Error>> + Unpin,
{
    /// A call that is done when `attempt` is ready.
    pub(crate) fn new(
        endpoint: &'a SharedEndpoint,
        queue: Queue,
        interest: Interest,
        attempt: F,
    ) -> Self {
        Self { endpoint, queue, interest, token: None, attempt }
    }

    /// Tries once.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if it cannot be done now; those of the call.
    pub(crate) fn now(mut self) -> Result<T, Error> {
        match self.attempt(None) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(Error::WouldBlock),
        }
    }

    /// Waits until it is done, or until `timeout` has passed if there is one.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::WouldBlock`] to a waker on the thread that serves the links, which would wait for
    /// itself; those of the call.
    pub(crate) fn block(mut self, timeout: Option<Duration>) -> Result<T, Error> {
        if let Poll::Ready(result) = self.attempt(None) {
            return result;
        }
        if turn::is_in_turn(self.endpoint.weak_driver().as_ptr()) {
            return Err(Error::WouldBlock);
        }
        block_on(self.endpoint.weak_driver(), self, timeout).unwrap_or(Err(Error::TimedOut))
    }

    fn attempt(&mut self, waker: Option<&Waker>) -> Poll<Result<T, Error>> {
        let Self { endpoint, queue, interest, token, attempt } = self;
        attempt_or_register(endpoint, *queue, *interest, token, waker, attempt)
    }
}

impl<T, F> Future for Wait<'_, F>
where
    F: FnMut(&mut Inner, Instant) -> Poll<Result<T, Error>> + Unpin,
{
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.attempt(Some(context.waker()))
    }
}

impl<F> Drop for Wait<'_, F> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.endpoint.forget_waiter(self.queue, token);
        }
    }
}

/// Runs a future on this thread, which reads the links while it has to wait; `None` if `timeout` has passed.
pub(crate) fn block_on<F: Future>(
    driver: &Weak<Driver>,
    future: F,
    timeout: Option<Duration>,
) -> Option<F::Output> {
    // A time-out beyond what the clock can count is none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let waiter = Arc::new(Waiter::new(Weak::clone(driver)));
    let waker = Waker::from(Arc::clone(&waiter));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if !waiter.wait(deadline) {
            // A sender is woken when half of its buffer is free, and may find room for one message before that.
            return match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_that_waits_again_keeps_its_place_and_one_that_is_dropped_leaves_none() {
        let mut waiters = Waiters::default();
        let [first, second] = [(), ()].map(|()| Waker::from(Arc::new(Waiter::new(Weak::new()))));
        let (mut token, mut other) = (None, None);
        assert!(waiters.register(&mut token, Interest::READ, &first).is_none());
        assert!(waiters.register(&mut token, Interest::READ, &first).is_none());
        let renewed = waiters.register(&mut token, Interest::READ, &second);
        assert!(renewed.is_some_and(|old| old.will_wake(&first)));
        assert!(waiters.register(&mut other, Interest::READ, &first).is_none());
        assert_eq!(waiters.list.len(), 2);
        assert!(waiters.remove(token.unwrap()).is_some_and(|old| old.will_wake(&second)));
        assert!(waiters.remove(token.unwrap()).is_none());
        assert_eq!(waiters.list.len(), 1);
    }

    #[test]
    fn all_waiters_whose_interest_is_met_are_taken_and_the_others_stay() {
        let mut waiters = Waiters::default();
        let waker = Waker::noop();
        for interest in [Interest::READ, Interest::WRITE, Interest::READ.and(Interest::EVENT)] {
            assert!(waiters.register(&mut None, interest, waker).is_none());
        }
        let mut woken = Vec::new();
        waiters.take(Interest::READ, &mut woken);
        assert_eq!((woken.len(), waiters.list.len()), (2, 1));
        waiters.take(Interest::ALL, &mut woken);
        assert_eq!((woken.len(), waiters.list.len()), (3, 0));
    }
}
