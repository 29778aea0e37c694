//! The client: sends, exchanges or connects for as long as it is told to, and reports each second.

mod setup;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use usctp::{Association, Bytes, ConnectOptions, Error, Message, Socket};

use super::ECHO;
use super::histogram::Histogram;
use super::report::{Figures, Line, Reporter, Volume};
use crate::args::{PerfMode, PerfOptions};
use crate::events;
use crate::exit::Failure;
use crate::interrupt::{Interrupter, Interrupts};
use crate::watch::Watch;

/// How long a measurement takes unless it is told.
const TIME: Duration = Duration::from_secs(10);

/// How often a line is printed.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest wait for a peer before it is looked whether the user wants to end it.
const LOOK: Duration = Duration::from_millis(100);

/// After so many messages the clock is looked at: small ones take little longer than that.
const LOOK_EVERY: u64 = 16;

/// Bytes in a message, unless it is told.
const BULK_SIZE: usize = 1400;
const LATENCY_SIZE: usize = 64;

/// A client of `usctp perf`.
pub(super) struct Client<'a> {
    options: &'a PerfOptions,
    /// As many as there are associations at a time: two of one socket cannot have the same peer.
    sockets: &'a [Socket],
    peers: &'a [SocketAddr],
    reporter: Reporter<'a>,
    interrupts: Interrupts,
}

/// When to report, and when to end.
struct Clock {
    begun: Instant,
    /// When the interval began that the next line tells of.
    since: Instant,
    end: Option<Instant>,
}

impl Clock {
    fn start(options: &PerfOptions) -> Self {
        let begun = Instant::now();
        let time = options.time.or(options.bytes.is_none().then_some(TIME));
        // A time beyond what the clock can count is none.
        let end = time.and_then(|time| begun.checked_add(time));
        Self { begun, since: begun, end }
    }

    /// Whether the time is over.
    fn is_over(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end)
    }

    /// How long the interval took that is over now, if it is.
    fn interval(&mut self, now: Instant) -> Option<Duration> {
        let time = now.duration_since(self.since);
        (time >= INTERVAL).then(|| {
            self.since = now;
            time
        })
    }
}

/// Messages handed over.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    bytes: u64,
    messages: u64,
    /// Chunks sent again.
    retransmitted: u64,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        options: &'a PerfOptions,
        sockets: &'a [Socket],
        peers: &'a [SocketAddr],
        reporter: Reporter<'a>,
        interrupts: Interrupts,
    ) -> Self {
        Self { options, sockets, peers, reporter, interrupts }
    }

    /// Measures what the options say, and prints the summary.
    ///
    /// With a live view, `quit` gets what is pressed to end it.
    pub(super) fn measure(mut self, quit: Interrupter) -> Result<(), Failure> {
        let figures = match self.options.mode {
            PerfMode::Setup => self.setup(),
            mode => self.exchange(mode, quit),
        }?;
        self.reporter.summarize(figures)?;
        self.interrupts.end()
    }

    /// Measures within one association.
    fn exchange(&mut self, mode: PerfMode, quit: Interrupter) -> Result<Figures, Failure> {
        let association = Arc::new(self.connect()?);
        let watch = match self.options.watch {
            true => Some(self.watch(&association, quit)?),
            false => None,
        };
        self.reporter.set_log(watch.as_ref().map(Watch::log));
        self.tell_up(&association)?;
        let figures = match mode {
            PerfMode::Latency => self.latency(&association),
            _ => self.bulk(&association),
        };
        // The terminal is given back before the summary.
        drop(watch);
        self.reporter.set_log(None);
        figures
    }

    /// Begins the live view.
    fn watch(&self, association: &Arc<Association>, quit: Interrupter) -> Result<Watch, Failure> {
        let named = ("perf", self.options.port, self.options.addresses.as_slice());
        let watch = Watch::association(association, named, quit)?;
        let (reporter, heard) = (events::Reporter::with_log(watch.log()), Arc::clone(association));
        let listen = move || {
            while let Ok(event) = heard.next_event() {
                // It writes to the log of the view, which does not fail.
                let _ = reporter.event(&heard, &event);
            }
        };
        thread::Builder::new().name("events".to_owned()).spawn(listen)?;
        Ok(watch)
    }

    /// Sends until the end; the time is counted until the last byte was acknowledged.
    fn bulk(&mut self, association: &Association) -> Result<Figures, Failure> {
        let payload = payload(self.options.message.size.unwrap_or(BULK_SIZE));
        let (mut sent, mut told) = (Sent::default(), Sent::default());
        let mut clock = Clock::start(self.options);
        let mut now = clock.begun;
        while !self.is_interrupted() {
            let left = self.options.bytes.map_or(u64::MAX, |bytes| bytes - sent.bytes);
            let mut payload = payload.clone();
            payload.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes = payload.len() as u64;
            let mut message = self.message(sent.messages, payload);
            // The last one is acknowledged at once (RFC 9260, section 3.3.1, I bit): the peer's delay is not measured.
            message.immediate = bytes == left || clock.is_over(now);
            let is_last = message.immediate;
            match association.send_timeout(message, LOOK) {
                Ok(()) => {
                    sent.messages += 1;
                    sent.bytes += bytes;
                    if is_last {
                        break;
                    }
                    if sent.messages % LOOK_EVERY > 0 {
                        continue;
                    }
                }
                Err(Error::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            now = Instant::now();
            if let Some(time) = clock.interval(now) {
                let figures = figures(association, &mut sent, told, time);
                told = sent;
                self.reporter.tell(&Line::Second(figures))?;
            }
        }
        let path_mtu = path_mtu(association);
        self.close(association, &mut sent)?;
        let volume = Volume::new(clock.begun.elapsed(), sent.bytes, sent.messages);
        Ok(Figures::Bulk { volume, retransmitted: sent.retransmitted, path_mtu })
    }

    /// Sends a message when the answer to the one before is there.
    fn latency(&mut self, association: &Association) -> Result<Figures, Failure> {
        let payload = payload(self.options.message.size.unwrap_or(LATENCY_SIZE));
        let (mut all, mut interval, mut count) = (Histogram::default(), Histogram::default(), 0);
        let mut clock = Clock::start(self.options);
        let mut now = clock.begun;
        while !clock.is_over(now) && !self.is_done(count * payload.len() as u64) {
            let message = self.message(count, payload.clone()).ppid(ECHO);
            let begun = now;
            association.send(message)?;
            if !self.await_answer(association, &clock)? {
                break;
            }
            now = Instant::now();
            count += 1;
            interval.record(now.duration_since(begun));
            if let Some(time) = clock.interval(now) {
                self.reporter.tell(&Line::Second(Figures::latency(time, &interval)))?;
                all.add(&std::mem::take(&mut interval));
            }
            if self.is_interrupted() {
                break;
            }
        }
        all.add(&interval);
        let time = now.duration_since(clock.begun);
        self.close(association, &mut Sent::default())?;
        Ok(Figures::latency(time, &all))
    }

    /// `false` if the measurement ends before the answer comes.
    fn await_answer(&mut self, association: &Association, clock: &Clock) -> Result<bool, Failure> {
        loop {
            match association.recv_timeout(LOOK) {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => return Err(Failure::failed("the server closed the association")),
                Err(Error::TimedOut) => {
                    let now = Instant::now();
                    if clock.is_over(now) || self.is_interrupted() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn connect(&self) -> Result<Association, Failure> {
        let Some(socket) = self.sockets.first() else {
            return Err(Failure::failed("there is no socket to connect with"));
        };
        Ok(socket.connectx(self.peers, self.connect_options())?.wait()?)
    }

    fn connect_options(&self) -> ConnectOptions {
        let default = usctp::Options::default().limits.outbound_streams;
        ConnectOptions::default().with(|options| {
            options.outbound_streams = Some(self.options.message.streams.max(default));
            options.recovery = Some(self.options.recovery.chosen());
        })
    }

    fn tell_up(&mut self, association: &Association) -> Result<(), Failure> {
        let paths = association.paths();
        match paths.iter().find(|path| path.primary) {
            Some(path) => self.reporter.tell(&Line::CommUp { primary: path.peer }),
            None => Ok(()),
        }
    }

    /// The message of a number: streams take turns.
    fn message(&self, number: u64, payload: Bytes) -> Message {
        // A remainder of a u16 is one.
        let stream = (number % u64::from(self.options.message.streams)) as u16;
        let mut message = Message::new(stream, payload);
        message.unordered = self.options.message.unordered;
        message
    }

    /// Closes gracefully; a further interrupt aborts.
    fn close(&mut self, association: &Association, sent: &mut Sent) -> Result<(), Failure> {
        let before = self.interrupts.look();
        loop {
            sent.note(association);
            match association.shutdown_timeout(LOOK) {
                Err(Error::TimedOut) => {
                    if self.interrupts.look() > before {
                        association.abort("");
                        return Err(Failure::interrupted());
                    }
                }
                closed => {
                    sent.note(association);
                    return Ok(closed?);
                }
            }
        }
    }

    /// Whether as many bytes were sent as were asked for.
    fn is_done(&self, sent: u64) -> bool {
        self.options.bytes.is_some_and(|bytes| sent >= bytes)
    }

    fn is_interrupted(&mut self) -> bool {
        self.interrupts.look() > 0
    }
}

impl Sent {
    /// What is counted of an association is gone with it, so it is asked while it is there.
    fn note(&mut self, association: &Association) {
        let retransmitted = association.statistics().data_chunks_retransmitted;
        self.retransmitted = self.retransmitted.max(retransmitted);
    }
}

/// What an interval brought.
fn figures(association: &Association, sent: &mut Sent, told: Sent, time: Duration) -> Figures {
    sent.note(association);
    Figures::Bulk {
        volume: Volume::new(time, sent.bytes - told.bytes, sent.messages - told.messages),
        retransmitted: sent.retransmitted - told.retransmitted,
        path_mtu: path_mtu(association),
    }
}

fn path_mtu(association: &Association) -> usize {
    association.paths().iter().find(|path| path.primary).map_or(0, |path| path.mtu)
}

fn payload(size: usize) -> Bytes {
    (b'a'..=b'z').cycle().take(size).collect()
}
