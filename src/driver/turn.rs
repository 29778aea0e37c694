//! One turn of whoever leads: sleep on the links, give each endpoint what came for it, look at those that are due.

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use usctp_assoc::{Datagram, PathNotice};

use super::Driver;
use super::endpoints::Key;
use super::lead::Waiter;
use super::outgoing::Batch;
use super::strangers::{Strangers, destination_port, has_no_tag};
use crate::link::{Inbox, Ready};

/// What only the thread that leads uses.
#[derive(Debug)]
pub(super) struct Turn {
    inbox: Inbox,
    datagrams: Vec<Datagram>,
    notices: Vec<PathNotice>,
    /// Endpoints whose deadline has come.
    due: Vec<Key>,
    strangers: Strangers,
    answers: Batch,
    /// Until when INITs are left to the kernel, because more came than are answered.
    inits_due: Option<Instant>,
}

/// How long INITs are left to the kernel once more came than are answered. It drops those that find their buffer full
/// before it has copied anything or woken anybody, which a flood of them would do for each. A batch is read every so
/// often: more than are answered by default, so that those for other ports are among them.
const INIT_PAUSE: Duration = Duration::from_millis(2);

/// A sleep to come.
#[derive(Debug, Clone, Copy)]
struct Plan {
    timeout: Option<Duration>,
    leaves_inits: bool,
}

/// A turn of the I/O thread, which sleeps until the nearest deadline or `limit`.
///
/// # Errors
/// What waiting for the links says.
pub(super) fn take(driver: &Driver, limit: Option<Instant>) -> io::Result<()> {
    let plan = driver.lock_turn().prepare(driver, limit);
    let ready = plan.sleep(driver);
    wake_up(driver, ready?);
    Ok(())
}

/// A turn of a thread of the application; false if the lead was taken from it in its sleep. If it fails, whoever waits is
/// told, as when one of the I/O thread does.
pub(super) fn take_for_waiter(driver: &Driver, waiter: &Waiter, limit: Option<Instant>) -> bool {
    let turn = || {
        waiter.note_sleep(true);
        let mut plan = driver.lock_turn().prepare(driver, limit);
        // What it waits for may have come before it was known to sleep.
        if waiter.is_woken() {
            plan.timeout = Some(Duration::ZERO);
        }
        let asleep = driver.lead.fall_asleep();
        let ready = plan.sleep(driver);
        waiter.note_sleep(false);
        if !driver.lead.wake_up(asleep) {
            return Ok(false);
        }
        wake_up(driver, ready?);
        Ok(true)
    };
    match panic::catch_unwind(AssertUnwindSafe(turn)) {
        Ok(Ok(leads)) => leads,
        Ok(Err(error)) => fail(driver, waiter, Ok(Err(error))),
        Err(panic) => fail(driver, waiter, Err(panic)),
    }
}

fn fail(driver: &Driver, waiter: &Waiter, failure: thread::Result<io::Result<()>>) -> bool {
    // It may have ended in its sleep.
    waiter.note_sleep(false);
    driver.fail(&failure);
    true
}

impl Plan {
    fn sleep(self, driver: &Driver) -> io::Result<Ready> {
        if self.leaves_inits {
            driver.links.wait_past_inits(&driver.waiting, self.timeout)
        } else {
            driver.links.wait(&driver.waiting, self.timeout)
        }
    }
}

thread_local! {
    /// The driver whose turn this thread is taking.
    static SERVED: Cell<*const Driver> = const { Cell::new(ptr::null()) };
}

/// Whether this thread is in a turn of the driver's, as one that a waker runs on may be: it cannot wait, since nobody else
/// would bring what it waits for.
pub(crate) fn is_in_turn(driver: *const Driver) -> bool {
    SERVED.get() == driver
}

/// The time in which a thread takes turns.
pub(super) struct InTurn {
    before: *const Driver,
}

impl InTurn {
    pub(super) fn new(driver: &Driver) -> Self {
        Self { before: SERVED.replace(driver) }
    }
}

impl Drop for InTurn {
    fn drop(&mut self) {
        SERVED.set(self.before);
    }
}

fn wake_up(driver: &Driver, ready: Ready) {
    let _turn = InTurn::new(driver);
    driver.lock_schedule().wake_up();
    if ready.woken && !driver.lead.has_absent() {
        // Read so that it rings anew; what it rang for is looked at in any case.
        let _ = driver.lead_bell.read();
    }
    driver.lock_turn().work(driver, ready);
}

impl Turn {
    pub(super) fn new(strangers: Strangers) -> Self {
        Self {
            inbox: Inbox::new(),
            datagrams: Vec::new(),
            notices: Vec::new(),
            due: Vec::new(),
            strangers,
            answers: Batch::default(),
            inits_due: None,
        }
    }

    /// What is to be done before the sleep, and how long that is to be.
    fn prepare(&mut self, driver: &Driver, limit: Option<Instant>) -> Plan {
        let now = Instant::now();
        self.review_strangers(driver, now);
        self.inits_due = self.inits_due.filter(|due| now < *due);
        let limits = [limit, self.inits_due, self.strangers.review_due()];
        let limit = limits.into_iter().flatten().min();
        let until = driver.lock_schedule().fall_asleep(limit);
        let timeout = until.map(|until| until.saturating_duration_since(now));
        Plan { timeout, leaves_inits: self.inits_due.is_some() }
    }

    fn work(&mut self, driver: &Driver, ready: Ready) {
        if ready.any() {
            let Self { inbox, datagrams, notices, .. } = self;
            driver.links.receive(inbox, ready, datagrams, notices);
            if inbox.take_host_change() {
                driver.look_at_host();
            }
            let gained = inbox.take_gained();
            if !gained.is_empty() {
                // Before any packet is looked at that came back from one of them.
                driver.endpoints().iter().for_each(|endpoint| endpoint.host_gained(&gained));
            }
            self.deliver(driver);
        }
        self.fire(driver);
    }

    /// Gives packets and notices to the endpoints they are for, each endpoint's in one go.
    fn deliver(&mut self, driver: &Driver) {
        // Sorting keeps the order within a port, but for INITs: packets of associations do not wait for them.
        self.datagrams.sort_by_key(|datagram| (destination_port(datagram), has_no_tag(datagram)));
        let mut has_left_inits = false;
        let mut datagrams = self.datagrams.drain(..).peekable();
        while let Some(first) = datagrams.next() {
            let port = destination_port(&first);
            let endpoint = port.and_then(|port| driver.endpoint_at(port, first.destination));
            let Some(endpoint) = endpoint else {
                // A port of this stack counts too: the packet was for an address that its socket is not bound to.
                if port.is_some_and(|port| driver.has_port(port)) || driver.has_sent_astray(&first)
                {
                    continue;
                }
                let Batch { bytes, transmits } = &mut self.answers;
                transmits.extend(self.strangers.answer(Instant::now(), &first, bytes));
                has_left_inits |= has_no_tag(&first) && self.strangers.is_spent();
                continue;
            };
            let address = first.destination;
            let same = |next: &Datagram| {
                destination_port(next) == port
                    && (next.destination == address || driver.is_for(&endpoint, next.destination))
            };
            let rest = std::iter::from_fn(|| datagrams.next_if(same));
            has_left_inits |= endpoint.receive(std::iter::once(first).chain(rest));
        }
        drop(datagrams);
        if has_left_inits {
            self.inits_due = Some(Instant::now() + INIT_PAUSE);
        }
        self.notices.sort_by_key(|notice| notice.quote.source_port);
        let mut notices = self.notices.drain(..).peekable();
        while let Some(first) = notices.next() {
            tracing::debug!(notice = ?first, "the network reports");
            let port = first.quote.source_port;
            let local = first.local;
            let same = |next: &PathNotice| next.quote.source_port == port && next.local == local;
            let rest: Vec<_> = std::iter::from_fn(|| notices.next_if(same)).collect();
            for endpoint in driver.endpoints_from(port, local) {
                endpoint.notice(std::iter::once(first).chain(rest.iter().copied()));
            }
        }
        drop(notices);
        self.send_answers(driver);
    }

    fn send_answers(&mut self, driver: &Driver) {
        let Batch { bytes, transmits } = &mut self.answers;
        if transmits.is_empty() {
            return;
        }
        driver.answered.fetch_add(transmits.len() as u64, Ordering::Relaxed);
        // What cannot be sent is no loss to anyone here.
        driver.links.send(bytes, transmits, &mut Vec::new());
        bytes.clear();
        transmits.clear();
    }

    /// Looks at the endpoints whose deadline has come, at each once: packets are not to wait for long.
    fn fire(&mut self, driver: &Driver) {
        let now = Instant::now();
        let mut schedule = driver.lock_schedule();
        self.due.extend(std::iter::from_fn(|| schedule.due(now)));
        drop(schedule);
        for key in self.due.drain(..) {
            if let Some(endpoint) = driver.endpoint(key) {
                endpoint.time_out();
            }
        }
    }

    fn review_strangers(&mut self, driver: &Driver, now: Instant) {
        if let Some(hears) = self.strangers.review(now) {
            tracing::debug!(hears, "packets for ports of nobody are listened to, or no more");
            driver.hears_strangers.store(hears, Ordering::SeqCst);
            if let Err(error) = driver.filter() {
                tracing::debug!(%error, "packets for other ports are not heard");
            }
        }
    }
}
