//! The stack's own thread: it leads unless a waiting thread of the application does, and follows the addresses of the host.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::host::Host;
use super::lead::{Duty, TICK};
use super::turn::InTurn;
use super::{Driver, turn};
use crate::address;

/// Runs until the stack is closed. If it fails, whoever waits is told.
pub(crate) fn run(driver: &Driver) {
    // Wakers run between its turns, too.
    let _turns = InTurn::new(driver);
    let result = panic::catch_unwind(AssertUnwindSafe(|| IoThread::new(driver).run()));
    if !matches!(result, Ok(Ok(()))) {
        driver.fail(&result);
        driver.write_endpoints().clear();
    }
}

/// How often it looks whether a thread that leads for long makes headway, while there is something to do.
const WATCH: Duration = Duration::from_millis(5);
/// How long a thread that leads may leave what is due.
const GRACE: Duration = Duration::from_millis(5);
/// How long it leads itself once it took the lead from another thread, and how long at most if that happens again and again.
const DISTRUST: Duration = Duration::from_secs(1);
const GREATEST_DISTRUST: Duration = Duration::from_secs(60);

/// What only the I/O thread uses.
pub(super) struct IoThread<'a> {
    driver: &'a Driver,
    host: Host,
    /// While it stands aside: when it looks next whether anybody leads.
    tick: Instant,
    vigil: Vigil,
    /// The pulse of the lead when it looked last.
    pulse: u64,
    /// How long it did without other threads, or will, and until when.
    distrust: Duration,
    distrusts_until: Instant,
}

/// How the I/O thread watches a thread that leads for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vigil {
    /// It made headway just now.
    Busy,
    /// It sleeps, and rightly so.
    Idle,
    /// There is something that it should have seen to.
    Due,
}

impl<'a> IoThread<'a> {
    pub(super) fn new(driver: &'a Driver) -> Self {
        let now = Instant::now();
        // Without an answer they are looked at again, as they are in any case.
        let host = driver.host_addresses().unwrap_or_default();
        Self {
            driver,
            host: Host::new(host, now),
            tick: now,
            vigil: Vigil::Busy,
            pulse: 0,
            distrust: Duration::ZERO,
            distrusts_until: now,
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let mut duty = Duty::Lead;
        // A waker may do anything, even fork; then the parent goes on.
        while self.driver.origin.is_here() && !self.is_over() {
            duty = match duty {
                Duty::Lead => self.lead()?,
                Duty::HelpOut => self.help_out()?,
                Duty::LookAgain => self.stand_aside()?,
                Duty::Sleep => self.watch()?,
            };
            self.follow_host();
        }
        Ok(())
    }

    /// A turn with the lead; if threads wait that can lead themselves, it is left to them.
    fn lead(&mut self) -> io::Result<Duty> {
        let driver = self.driver;
        let limits = [driver.closing.get().copied(), self.host.look_due()];
        turn::take(driver, limits.into_iter().flatten().min())?;
        if driver.lead.has_absent() {
            // The bell rings on.
            driver.io_waiting.wait(Some(TICK))?;
        }
        let is_kept = driver.is_closing() || Instant::now() < self.distrusts_until;
        if is_kept || !driver.lead.step_aside() {
            return Ok(Duty::Lead);
        }
        self.tick = Instant::now() + TICK;
        Ok(Duty::LookAgain)
    }

    /// A turn without sleep while nobody leads.
    fn help_out(&mut self) -> io::Result<Duty> {
        turn::take(self.driver, Some(Instant::now()))?;
        self.driver.lead.end_help();
        Ok(Duty::LookAgain)
    }

    /// Sleeps until the next tick, or until it is called, then looks who leads.
    fn stand_aside(&mut self) -> io::Result<Duty> {
        self.sleep_aside(Some(self.tick))?;
        if self.driver.is_closing() && self.driver.lead.depose() {
            return Ok(self.take_over());
        }
        let now = Instant::now();
        let is_tick = now >= self.tick;
        if is_tick {
            self.tick = now + TICK;
        }
        self.vigil = Vigil::Busy;
        self.pulse = self.driver.lead.pulse();
        Ok(self.driver.lead.look(is_tick, self.driver.is_closing()))
    }

    /// Sleeps while one thread leads, until it is called; but when there is something that this thread leaves lying, it takes
    /// the lead from it.
    fn watch(&mut self) -> io::Result<Duty> {
        let driver = self.driver;
        let now = Instant::now();
        let ready = match self.vigil {
            Vigil::Busy => self.sleep_aside(Some(now + WATCH))?,
            Vigil::Due => self.sleep_aside(Some(now + GRACE))?,
            Vigil::Idle => {
                let next = driver.lock_schedule().next();
                // Without the memory for it, it looks now and then.
                let is_told = driver.io_waiting.watch(&driver.waiting, true).is_ok();
                let now_and_then = (!is_told).then_some(now + 20 * WATCH);
                let ready = self.sleep_aside([next, now_and_then].into_iter().flatten().min());
                if is_told {
                    driver.io_waiting.watch(&driver.waiting, false)?;
                }
                ready?
            }
        };
        if ready {
            self.tick = Instant::now() + TICK;
            return Ok(driver.lead.look(false, driver.is_closing()));
        }
        let pulse = driver.lead.pulse();
        let is_alive = std::mem::replace(&mut self.pulse, pulse) != pulse;
        self.vigil = match self.vigil {
            _ if is_alive => Vigil::Busy,
            _ if !self.is_overdue()? => Vigil::Idle,
            Vigil::Due if driver.lead.depose() => return Ok(self.take_over()),
            _ => Vigil::Due,
        };
        Ok(Duty::Sleep)
    }

    /// Whether there is something to be done by the thread that leads.
    fn is_overdue(&self) -> io::Result<bool> {
        let next = self.driver.lock_schedule().next();
        Ok(next.is_some_and(|next| next <= Instant::now()) || self.driver.waiting.is_ready()?)
    }

    /// It has taken the lead from another thread, and keeps it for a while, longer each time soon after the last.
    fn take_over(&mut self) -> Duty {
        tracing::debug!("the thread that leads is late: the I/O thread does it");
        self.driver.ring_leader();
        let now = Instant::now();
        let is_again = now < self.distrusts_until + GREATEST_DISTRUST.min(10 * self.distrust);
        self.distrust = if is_again { GREATEST_DISTRUST.min(2 * self.distrust) } else { DISTRUST };
        self.distrusts_until = now + self.distrust;
        Duty::Lead
    }

    /// Sleeps until then, or until it is called; whether it was.
    fn sleep_aside(&self, until: Option<Instant>) -> io::Result<bool> {
        let until = [until, self.host.look_due()].into_iter().flatten().min();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let is_called = self.driver.io_waiting.wait(left)?.woken;
        if is_called {
            let _ = self.driver.io_bell.read();
        }
        Ok(is_called)
    }

    /// Tells the endpoints of addresses that came and went.
    pub(super) fn follow_host(&mut self) {
        if self.driver.is_host_doubtful.swap(false, Ordering::SeqCst) {
            self.host.is_said_to_change();
        }
        if self.driver.is_host_new_to_some.swap(false, Ordering::SeqCst) {
            self.host.is_new_to_some();
        }
        let look = || address::host_addresses(self.driver.links.routing());
        let Some(seen) = self.host.look(Instant::now(), look) else { return };
        if seen.is_news {
            tracing::debug!(addresses = ?self.host.addresses(), ?seen, "the host's addresses changed");
        }
        let all = self.driver.bound_to_all(self.host.addresses());
        for endpoint in self.driver.endpoints() {
            // One bind after the other is not to cost all endpoints what they know of routes.
            if endpoint.begins_to_follow_host() || seen.is_news {
                endpoint.host_changed(self.host.addresses(), &all, &seen.lost);
            }
        }
    }

    /// Whether the stack is closed and all its associations have ended, by themselves or by ABORT.
    fn is_over(&mut self) -> bool {
        let Some(&by) = self.driver.closing.get() else { return false };
        let endpoints = self.driver.endpoints();
        if Instant::now() < by && !endpoints.iter().all(|endpoint| endpoint.is_idle()) {
            return false;
        }
        for endpoint in endpoints {
            endpoint.end();
        }
        self.driver.write_endpoints().clear();
        true
    }
}
