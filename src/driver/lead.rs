//! Who reads the links: the I/O thread, or a thread of the application for as long as it has to wait anyway.
//!
//! A thread in a blocking call would be woken by the I/O thread for everything that it waits for, and waking it costs
//! more than the packet does. So it takes the lead: it reads the links until it has what it waits for. The I/O thread
//! steps aside for it, looks once in a [`TICK`] whether anybody leads, and takes the lead back when nobody wanted it
//! for that long. Threads that wait while another one leads sleep, and one of them is called when the lead is left.
//!
//! A thread of low priority may sleep long after it was woken, with what came for others. So the I/O thread also takes the
//! lead from a thread that sleeps while something is overdue; that one finds out when it runs, and is *absent* until then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::{Driver, turn};

/// How long nobody may lead: what came meanwhile is looked at by the I/O thread at the end of it.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// The lead, which one thread has at a time.
#[derive(Debug)]
pub(super) struct Lead {
    /// Who leads, to read without the lock, and above those two bits a count of its changes. It is written under the lock, but
    /// for the sleep of a thread of the application that leads.
    word: AtomicU64,
    state: Mutex<State>,
}

/// The bits of the word that say who leads.
const HOLDER: u64 = 0b11;
const NOBODY: u64 = 0;
const IO_THREAD: u64 = 1;
const WAITER: u64 = 2;
/// A thread of the application that sleeps: the lead can be taken from it.
const WAITER_ASLEEP: u64 = 3;

/// The sleep of a thread that leads, as it is told from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asleep(u64);

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    IoThread,
    Waiter,
}

#[derive(Debug, Default)]
struct State {
    /// How often a thread of the application took the lead.
    takings: u64,
    /// What the count was when the I/O thread looked last.
    seen: u64,
    /// The I/O thread sleeps until it is called, since one thread has led for a whole tick.
    sleeps_long: bool,
    /// Threads that the lead was taken from, and that do not know it yet.
    absent: usize,
    /// Threads that wait for another one to lead, the longest first.
    followers: Vec<Arc<Waiter>>,
}

/// What the I/O thread is to do when it has looked who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It has the lead, and keeps it.
    Lead,
    /// It has the lead for one turn.
    HelpOut,
    /// Another thread leads: look again after a tick.
    LookAgain,
    /// Another thread leads, and will call.
    Sleep,
}

impl Lead {
    /// The I/O thread has the lead: what is to be done at first, it does.
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(IO_THREAD), state: Mutex::default() }
    }

    /// Who leads at the moment.
    pub(super) fn holder(&self) -> Holder {
        match self.word.load(Ordering::SeqCst) & HOLDER {
            NOBODY => Holder::Nobody,
            IO_THREAD => Holder::IoThread,
            _ => Holder::Waiter,
        }
    }

    /// Changes whenever a thread that leads looks up from its sleep, or the lead changes hands.
    pub(super) fn pulse(&self) -> u64 {
        self.word.load(Ordering::SeqCst) | (WAITER ^ WAITER_ASLEEP)
    }

    /// The thread of the application that leads goes to sleep, and holds nothing that others need.
    pub(super) fn fall_asleep(&self) -> Asleep {
        let asleep = self.word.load(Ordering::SeqCst) | WAITER_ASLEEP;
        self.word.store(asleep, Ordering::SeqCst);
        Asleep(asleep)
    }

    /// The thread is awake; false if the lead was taken from it.
    #[must_use]
    pub(super) fn wake_up(&self, Asleep(asleep): Asleep) -> bool {
        let awake = next(asleep, WAITER);
        self.word.compare_exchange(asleep, awake, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The I/O thread takes the lead from a thread that sleeps; false if none does. It is to be rung for.
    #[must_use]
    pub(super) fn depose(&self) -> bool {
        let mut state = self.lock();
        let asleep = self.word.load(Ordering::SeqCst);
        let (taken, order) = (next(asleep, IO_THREAD), Ordering::SeqCst);
        let is_taken = asleep & HOLDER == WAITER_ASLEEP
            && self.word.compare_exchange(asleep, taken, order, order).is_ok();
        if is_taken {
            state.absent += 1;
            state.sleeps_long = false;
        }
        is_taken
    }

    /// A thread that the lead was taken from knows it now.
    fn come_back(&self) {
        self.lock().absent -= 1;
    }

    /// Whether there are threads that the lead was taken from and that do not know it. Until they do, the bell rings on: they
    /// may be about to sleep on it.
    pub(super) fn has_absent(&self) -> bool {
        self.lock().absent > 0
    }

    /// A thread that has to wait takes the lead if nobody has it; otherwise it will be called when it is left.
    fn take(&self, waiter: &Arc<Waiter>) -> bool {
        let mut state = self.lock();
        if self.holder() == Holder::Nobody {
            self.hand_to(Holder::Waiter);
            state.takings += 1;
            state.followers.retain(|follower| !Arc::ptr_eq(follower, waiter));
            return true;
        }
        if !state.followers.iter().any(|follower| Arc::ptr_eq(follower, waiter)) {
            state.followers.push(Arc::clone(waiter));
        }
        false
    }

    /// A thread of the application leaves the lead; says whether the I/O thread must be called.
    #[must_use]
    fn leave(&self) -> bool {
        let mut state = self.lock();
        let must_call = std::mem::take(&mut state.sleeps_long);
        self.pass_on(state);
        must_call
    }

    /// A thread no longer waits. Had it been called to lead, another one is.
    fn forget(&self, waiter: &Arc<Waiter>) {
        let mut state = self.lock();
        state.followers.retain(|follower| !Arc::ptr_eq(follower, waiter));
        if self.holder() == Holder::Nobody {
            self.pass_on(state);
        }
    }

    /// The I/O thread, which leads, steps aside if threads of the application wait; whether it did.
    pub(super) fn step_aside(&self) -> bool {
        let mut state = self.lock();
        if state.followers.is_empty() || state.absent > 0 {
            return false;
        }
        state.seen = state.takings;
        self.pass_on(state);
        true
    }

    /// The I/O thread, which stood aside, looks what it is to do: at the end of a tick, or because it was called.
    /// If `for_good`, it is to lead as soon as it can.
    pub(super) fn look(&self, is_tick: bool, for_good: bool) -> Duty {
        let mut state = self.lock();
        let was_wanted = state.takings != state.seen;
        if is_tick {
            state.seen = state.takings;
        }
        match self.holder() {
            Holder::Waiter => {
                state.sleeps_long = is_tick && !was_wanted && !for_good;
                if state.sleeps_long { Duty::Sleep } else { Duty::LookAgain }
            }
            Holder::Nobody | Holder::IoThread => {
                self.hand_to(Holder::IoThread);
                if for_good || (is_tick && !was_wanted) { Duty::Lead } else { Duty::HelpOut }
            }
        }
    }

    /// The I/O thread has helped out, and stands aside again.
    pub(super) fn end_help(&self) {
        self.pass_on(self.lock());
    }

    /// Nobody leads; the thread that is to lead next is called, when the lock is no longer held.
    fn pass_on(&self, state: MutexGuard<'_, State>) {
        self.hand_to(Holder::Nobody);
        let next = state.first_asleep();
        drop(state);
        if let Some(next) = next {
            next.thread.unpark();
        }
    }

    fn hand_to(&self, holder: Holder) {
        let code = match holder {
            Holder::Nobody => NOBODY,
            Holder::IoThread => IO_THREAD,
            Holder::Waiter => WAITER,
        };
        self.word.store(next(self.word.load(Ordering::SeqCst), code), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word that follows.
fn next(word: u64, holder: u64) -> u64 {
    (word | HOLDER).wrapping_add(1) | holder
}

impl State {
    /// The thread that is to lead next: it waits, and has not been woken by what it waits for.
    fn first_asleep(&self) -> Option<Arc<Waiter>> {
        self.followers.iter().find(|waiter| !waiter.is_woken()).cloned()
    }
}

/// A thread in a blocking call.
#[derive(Debug)]
pub(super) struct Waiter {
    thread: Thread,
    driver: Weak<Driver>,
    is_woken: AtomicBool,
    /// It leads, and sleeps on the links.
    sleeps_on_links: AtomicBool,
}

impl Waiter {
    pub(super) fn new(driver: Weak<Driver>) -> Self {
        Self {
            thread: thread::current(),
            driver,
            is_woken: AtomicBool::new(false),
            sleeps_on_links: AtomicBool::new(false),
        }
    }

    /// Waits until it is woken, reading the links meanwhile if no other thread does; false once `deadline` has passed.
    pub(super) fn wait(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let mut follows = false;
        let mut is_in_time = true;
        while !self.is_woken.swap(false, Ordering::SeqCst) {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                is_in_time = false;
                break;
            }
            // Held only while it is used: whoever drops the stack waits for its end.
            let driver = self.driver.upgrade();
            if driver.as_deref().is_some_and(|driver| self.lead(driver, deadline)) {
                follows = false;
                continue;
            }
            follows = driver.is_some();
            drop(driver);
            match left {
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
        if let (true, Some(driver)) = (follows, self.driver.upgrade()) {
            driver.lead.forget(self);
        }
        is_in_time
    }

    /// Leads until it is woken or its time is over; false if another thread has the lead, or threads are not to have it.
    fn lead(self: &Arc<Self>, driver: &Driver, deadline: Option<Instant>) -> bool {
        if !driver.lets_lead || !driver.is_served() || !driver.lead.take(self) {
            return false;
        }
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        while !self.is_woken() && driver.is_served() && !is_over() {
            if !turn::take_for_waiter(driver, self, deadline) {
                driver.lead.come_back();
                return true;
            }
        }
        if driver.lead.leave() || driver.is_closing() {
            driver.call_io_thread();
        }
        true
    }

    /// Whether what it waits for has come.
    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst)
    }

    /// It is about to sleep on the links, or no longer does: whoever wakes it has to know.
    pub(super) fn note_sleep(&self, sleeps: bool) {
        self.sleeps_on_links.store(sleeps, Ordering::SeqCst);
    }
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.sleeps_on_links.load(Ordering::SeqCst) {
            self.thread.unpark();
        } else if let Some(driver) = self.driver.upgrade() {
            driver.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter() -> Arc<Waiter> {
        Arc::new(Waiter::new(Weak::new()))
    }

    #[test]
    fn the_io_thread_begins_and_steps_aside_only_for_threads_that_wait() {
        let lead = Lead::new();
        assert_eq!(lead.holder(), Holder::IoThread);
        assert!(!lead.step_aside(), "nobody waits");
        let first = waiter();
        assert!(!lead.take(&first), "the I/O thread leads");
        assert!(lead.step_aside());
        assert_eq!(lead.holder(), Holder::Nobody);
        assert!(lead.take(&first));
        assert!(!lead.take(&waiter()), "one leads at a time");
    }

    #[test]
    fn the_io_thread_takes_the_lead_back_when_nobody_wanted_it_for_a_tick() {
        let lead = Lead::new();
        let first = waiter();
        assert!(!lead.take(&first));
        assert!(lead.step_aside());
        assert!(lead.take(&first));
        assert!(!lead.leave(), "the I/O thread looks by itself");
        assert_eq!(lead.look(true, false), Duty::HelpOut, "it was wanted within the tick");
        lead.end_help();
        assert_eq!(lead.look(false, false), Duty::HelpOut, "called, not the end of a tick");
        lead.end_help();
        assert_eq!(lead.look(true, false), Duty::Lead);
        assert_eq!(lead.holder(), Holder::IoThread);
    }

    #[test]
    fn the_io_thread_sleeps_while_one_thread_leads_for_long_and_is_called_when_it_leaves() {
        let lead = Lead::new();
        let first = waiter();
        assert!(!lead.take(&first));
        assert!(lead.step_aside());
        assert!(lead.take(&first));
        assert_eq!(lead.look(true, false), Duty::LookAgain);
        assert_eq!(lead.look(true, true), Duty::LookAgain, "the stack is being closed");
        assert_eq!(lead.look(true, false), Duty::Sleep);
        assert!(lead.leave(), "nobody would look");
        assert!(lead.take(&first));
        assert!(!lead.leave(), "it was called");
    }

    #[test]
    fn the_lead_is_taken_from_a_thread_only_in_its_sleep_and_it_finds_out() {
        let lead = Lead::new();
        let [first, second] = [waiter(), waiter()];
        assert!(!lead.take(&first) && lead.step_aside() && lead.take(&first));
        assert!(!lead.depose(), "it is awake");
        let before = lead.pulse();
        let asleep = lead.fall_asleep();
        assert_eq!(lead.holder(), Holder::Waiter);
        assert_eq!(lead.pulse(), before, "to sleep is no sign of life");
        assert!(lead.wake_up(asleep));
        assert_ne!(lead.pulse(), before);
        let asleep = lead.fall_asleep();
        assert!(lead.depose() && !lead.depose());
        assert_eq!(lead.holder(), Holder::IoThread);
        assert!(!lead.take(&second) && !lead.step_aside(), "the first does not know yet");
        assert!(lead.has_absent() && !lead.wake_up(asleep));
        lead.come_back();
        assert!(!lead.has_absent() && lead.step_aside() && lead.take(&second));
        let _ = lead.fall_asleep();
        assert!(!lead.wake_up(asleep), "that is the sleep of another one");
    }

    #[test]
    fn the_lead_is_passed_on_to_a_thread_that_still_waits() {
        let lead = Lead::new();
        let [woken, asleep] = [waiter(), waiter()];
        assert!(!lead.take(&woken) && !lead.take(&asleep));
        woken.wake_by_ref();
        assert!(Arc::ptr_eq(&lead.lock().first_asleep().unwrap(), &asleep));
        lead.forget(&woken);
        lead.forget(&asleep);
        assert!(!lead.step_aside(), "nobody waits any more");
    }

    #[test]
    fn a_wait_ends_when_it_is_woken_or_its_time_is_over_without_a_stack_too() {
        let waiter = waiter();
        assert!(!waiter.wait(Some(Instant::now())));
        waiter.wake_by_ref();
        assert!(waiter.wait(None));
        assert!(!waiter.wait(Some(Instant::now())), "it was woken once");
    }
}
