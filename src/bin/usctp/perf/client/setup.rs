//! Mode setup: associations that are set up and closed, one after the other or several at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::{Either, LocalBoxFuture, select};
use futures::stream::{FuturesUnordered, StreamExt};
use usctp::{ConnectOptions, Error, Socket};

use super::{Client, Clock};
use crate::exit::Failure;
use crate::perf::histogram::Histogram;
use crate::perf::report::{Figures, Line, Reporter};

/// How long associations took, in all and since the last line.
struct Tally {
    parallel: u16,
    clock: Clock,
    now: Instant,
    all: Histogram,
    interval: Histogram,
}

/// An association that was closed: the socket it came from, and how long it took.
type Closed<'a> = (&'a Socket, Result<Duration, Error>);

impl<'a> Client<'a> {
    /// Sets up and closes associations.
    pub(super) fn setup(&mut self) -> Result<Figures, Failure> {
        let clock = Clock::start(self.options);
        let mut tally = Tally {
            parallel: self.options.parallel,
            now: clock.begun,
            clock,
            all: Histogram::default(),
            interval: Histogram::default(),
        };
        match tally.parallel {
            1 => self.one_after_the_other(&mut tally),
            _ => self.several_at_a_time(&mut tally),
        }?;
        Ok(tally.end())
    }

    fn one_after_the_other(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        while !tally.is_over() && !self.is_interrupted() {
            let begun = tally.now;
            self.connect()?.shutdown()?;
            tally.note(begun.elapsed(), &mut self.reporter)?;
        }
        Ok(())
    }

    /// Whenever one is closed the next one begins, all in this thread; those that are there at the end are closed and count.
    fn several_at_a_time(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        let mut waiting: FuturesUnordered<LocalBoxFuture<'a, Closed<'a>>> =
            self.sockets.iter().map(|socket| self.set_up_and_close(socket)).collect();
        while let Some((socket, took)) = self.next_closed(&mut waiting)? {
            tally.note(took?, &mut self.reporter)?;
            if !tally.is_over() && !self.is_interrupted() {
                waiting.push(self.set_up_and_close(socket));
            }
        }
        Ok(())
    }

    fn set_up_and_close(&self, socket: &'a Socket) -> LocalBoxFuture<'a, Closed<'a>> {
        let (peers, options) = (self.peers, self.connect_options());
        Box::pin(async move { (socket, set_up_and_close(socket, peers, options).await) })
    }

    /// Waits for the next one; `None` once there are no more. A second interrupt does not wait.
    fn next_closed(
        &mut self,
        waiting: &mut FuturesUnordered<LocalBoxFuture<'a, Closed<'a>>>,
    ) -> Result<Option<Closed<'a>>, Failure> {
        loop {
            match block_on(select(waiting.next(), self.interrupts.next())) {
                Either::Left((closed, _)) => return Ok(closed),
                Either::Right((Some(times), _)) if times > 1 => return Err(Failure::interrupted()),
                Either::Right((Some(_), _)) => {}
                Either::Right((None, _)) => return Ok(block_on(waiting.next())),
            }
        }
    }
}

impl Tally {
    fn is_over(&self) -> bool {
        self.clock.is_over(self.now)
    }

    /// An association was set up and closed; once a second a line tells of it.
    fn note(&mut self, took: Duration, reporter: &mut Reporter) -> Result<(), Failure> {
        self.now = Instant::now();
        self.interval.record(took);
        let Some(time) = self.clock.interval(self.now) else { return Ok(()) };
        let interval = std::mem::take(&mut self.interval);
        self.all.add(&interval);
        reporter.tell(&Line::Second(Figures::setup(self.parallel, time, &interval)))
    }

    fn end(mut self) -> Figures {
        self.all.add(&self.interval);
        Figures::setup(self.parallel, self.now.duration_since(self.clock.begun), &self.all)
    }
}

async fn set_up_and_close(
    socket: &Socket,
    peers: &[SocketAddr],
    options: ConnectOptions,
) -> Result<Duration, Error> {
    let begun = Instant::now();
    let association = socket.connectx(peers, options)?.await?;
    association.shutdown_async().await?;
    Ok(begun.elapsed())
}
