//! `usctp ping`: HEARTBEATs to every address of a peer, on request, with what came of each.

mod alarm;
mod tally;

use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedReceiver;
use futures::executor::block_on;
use futures::future::FutureExt;
use futures::stream::StreamExt;
use usctp::{Association, Error, Event, Options, PathState};

use self::alarm::Alarm;
use self::tally::Tally;
use crate::args::PingOptions;
use crate::events::{Reporter, state_name};
use crate::exit::{Failure, Status};
use crate::interrupt::Interrupts;
use crate::{interrupt, network, peer};

/// Connects, pings every path, sums up, closes.
pub(crate) fn run(options: &PingOptions) -> Result<(), Failure> {
    let peers = peer::resolve(&options.addresses, options.port, &options.network.local)?;
    let stack = network::open(&options.network)?;
    let interrupts = interrupt::interrupts(options.network.close_within)?;
    let endpoint = endpoint_options(network::endpoint_options(&options.network));
    let socket =
        network::bind_towards(&stack, options.local_port, &peers, &options.network, endpoint)?;
    let reporter = Reporter::new(options.network.json);
    let connect =
        usctp::ConnectOptions::default().with(|connect| connect.deadline = options.timeout);
    // Detached, so that one loop takes the events of the set-up and of what follows it.
    let association = socket.connectx(&peers, connect)?.detach();
    let (alarm, rings) = Alarm::start()?;
    let pinger =
        Pinger { options, association: &association, reporter: &reporter, alarm, tallies: vec![] };
    block_on(pinger.ping(interrupts, rings))
}

/// Only what is asked for is sent, a lost HEARTBEAT is known for lost soon, and an outage ends nothing: it is to be seen.
fn endpoint_options(mut endpoint: Options) -> Options {
    endpoint.heartbeat.interval = None;
    endpoint.rto.max = Duration::from_secs(2);
    endpoint.retransmission.association_max = u16::MAX;
    endpoint.shutdown_guard = Some(Duration::from_secs(5));
    endpoint
}

struct Pinger<'a> {
    options: &'a PingOptions,
    association: &'a Association,
    reporter: &'a Reporter,
    alarm: Alarm,
    tallies: Vec<Tally>,
}

/// What the pinger waits for.
enum Input {
    Event(Result<Event, Error>),
    Rang,
    Interrupted,
}

impl Pinger<'_> {
    /// Everything from the first INIT on.
    async fn ping(
        mut self,
        mut interrupts: Interrupts,
        mut rings: UnboundedReceiver<()>,
    ) -> Result<(), Failure> {
        let mut end = None;
        loop {
            match self.input(&mut rings, &mut interrupts).await {
                Input::Event(Ok(event)) => self.on_event(&event)?,
                Input::Event(Err(error)) => {
                    end = Some(error);
                    break;
                }
                Input::Rang => {}
                Input::Interrupted => break,
            }
            self.send_what_is_due();
            if self.is_complete() {
                break;
            }
        }
        for tally in &self.tallies {
            self.reporter.result(&tally.summary())?;
        }
        if end.is_none() {
            self.close(&mut interrupts).await?;
        }
        interrupts.end()?;
        match end {
            Some(error @ Error::Lost(_)) => Err(error.into()),
            _ if !self.tallies.iter().any(Tally::is_answered) => {
                Err(Failure::failed("no HEARTBEAT was answered"))
            }
            Some(_) => Err(Failure::new(Status::Done, "the peer closed the association")),
            None => Ok(()),
        }
    }

    async fn input(&self, rings: &mut UnboundedReceiver<()>, interrupts: &mut Interrupts) -> Input {
        futures::select! {
            event = self.association.event_async().fuse() => Input::Event(event),
            _ = rings.select_next_some() => Input::Rang,
            _ = interrupts.select_next_some() => Input::Interrupted,
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<(), Failure> {
        if let Event::HeartbeatResult { peer, round_trip } = *event {
            let status = self.association.paths().into_iter().find(|path| path.peer == peer);
            // One that is gone meanwhile answers no more.
            let state = status.map_or(PathState::Inactive, |status| status.state);
            let tally = self.tallies.iter_mut().find(|tally| tally.address() == peer);
            if let Some(tally) = tally {
                let interval = self.options.interval;
                let line = tally.result(Instant::now(), interval, round_trip, state_name(state));
                self.reporter.result(&line)?;
            }
            return Ok(());
        }
        // As text, how it was lost is the last thing that the program says, and it says it once.
        if self.options.network.json || !matches!(event, Event::CommLost(_)) {
            self.reporter.event(self.association, event)?;
        }
        match event {
            Event::CommUp { .. } | Event::PeerAddressChange { .. } => self.follow_paths(),
            Event::Restart => {
                self.follow_paths();
                self.tallies.iter_mut().for_each(|tally| tally.forget(Instant::now()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Every address of the peer is pinged, those too that are not verified yet or come later.
    fn follow_paths(&mut self) {
        if !self.association.state().is_synchronized() {
            return;
        }
        let paths = self.association.paths();
        for tally in &mut self.tallies {
            let gone = !paths.iter().any(|path| path.peer == tally.address());
            tally.set_gone(gone);
        }
        for path in paths {
            if !self.tallies.iter().any(|tally| tally.address() == path.peer) {
                self.tallies.push(Tally::new(path.peer, Instant::now()));
            }
        }
    }

    fn send_what_is_due(&mut self) {
        let (now, count) = (Instant::now(), self.options.count);
        for tally in &mut self.tallies {
            // An address that is gone, and an association that is closing, take none.
            if tally.next(count).is_some_and(|next| next <= now)
                && self.association.request_heartbeat(tally.address()).is_ok()
            {
                tally.sent(now);
            }
        }
        let next = self.tallies.iter().filter_map(|tally| tally.next(count)).min();
        self.alarm.set(next.filter(|next| *next > now));
    }

    fn is_complete(&self) -> bool {
        !self.tallies.is_empty()
            && self.tallies.iter().all(|tally| tally.is_complete(self.options.count))
    }

    /// Closes gracefully; at an interrupt, and if the peer is silent, at once.
    async fn close(&self, interrupts: &mut Interrupts) -> Result<(), Failure> {
        if !self.association.state().is_synchronized() {
            self.association.abort("");
            return Ok(());
        }
        futures::select! {
            // What had been asked is known, however the close ends.
            _ = std::pin::pin!(self.association.shutdown_async().fuse()) => {}
            _ = interrupts.select_next_some() => self.association.abort(""),
        }
        while let Ok(event) = self.association.try_event() {
            if !matches!(event, Event::HeartbeatResult { .. } | Event::CommLost(_)) {
                self.reporter.event(self.association, &event)?;
            }
        }
        Ok(())
    }
}
