//! `usctp connect`: an association to a list of addresses; lines of standard input become messages.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::Receiver;
use futures::executor::block_on;
use futures::future::{self, FutureExt};
use futures::stream::StreamExt;
use usctp::{Association, Bytes, Error, Event, Message};

use crate::args::{ConnectOptions, MessageOptions, OnRefused};
use crate::events::{Closed, Line, Reporter, Tally};
use crate::exit::Failure;
use crate::interrupt::Interrupts;
use crate::watch::Watch;
use crate::{input, interrupt, network, peer};

/// Connects, sends, receives, closes.
pub(crate) fn run(options: &ConnectOptions) -> Result<(), Failure> {
    if options.watch {
        Watch::check()?;
    }
    let peers = peer::resolve(&options.addresses, options.port, &options.network.local)?;
    let stack = network::open(&options.network)?;
    let (quit, interrupts) = interrupt::interrupts_and_interrupter(options.network.close_within)?;
    let mut endpoint = network::endpoint_options(&options.network);
    if options.watch {
        endpoint.heartbeat.interval = Some(Duration::from_secs(1));
    }
    let socket =
        network::bind_towards(&stack, options.local_port, &peers, &options.network, endpoint)?;
    // Detached, so that one loop takes the events of the set-up and of what follows it.
    let association = Arc::new(socket.connectx(&peers, connect_options(options))?.detach());
    let watch = match options.watch {
        true => {
            let named = ("connect", options.port, options.addresses.as_slice());
            Some(Watch::association(&association, named, quit)?)
        }
        false => None,
    };
    let reporter = match &watch {
        Some(watch) => Reporter::with_log(watch.log()),
        None => Reporter::new(options.network.json),
    };
    let client =
        Client { options, association: &association, reporter: &reporter, sent: Cell::default() };
    block_on(client.talk(interrupts))
}

fn connect_options(options: &ConnectOptions) -> usctp::ConnectOptions {
    let mut connect = usctp::ConnectOptions::default();
    connect.deadline = options.timeout;
    connect.on_refused = match options.on_refused {
        OnRefused::Fail => usctp::OnRefused::Fail,
        OnRefused::Next => usctp::OnRefused::TryNext,
    };
    connect.race = options.race;
    // The default, unless the stream asked for lies beyond it.
    let default = usctp::Options::default().limits.outbound_streams;
    let needed = || options.message.stream.checked_add(1).filter(|needed| *needed > default);
    connect.outbound_streams = options.message.streams.or_else(needed);
    connect
}

struct Client<'a> {
    options: &'a ConnectOptions,
    association: &'a Association,
    reporter: &'a Reporter,
    sent: Cell<Tally>,
}

/// How sending ended.
enum Sent {
    /// All was sent.
    All,
    /// The association takes no more; its events say why.
    Ended,
}

impl Client<'_> {
    /// Everything from the first INIT on.
    async fn talk(&self, mut interrupts: Interrupts) -> Result<(), Failure> {
        {
            let mut up = pin!(self.until_up().fuse());
            futures::select! {
                result = up => result?,
                _ = interrupts.select_next_some() => {
                    self.association.abort("");
                    return Err(Failure::interrupted());
                }
            }
        }
        let mut sending = pin!(self.send_all().fuse());
        let mut receiving = pin!(future::try_join(self.events(), self.messages()).fuse());
        let mut failure = None;
        let (end, received) = loop {
            futures::select! {
                ended = receiving => break ended?,
                sent = sending => match sent {
                    // With --wait, the peer closes.
                    Ok(Sent::All) if self.options.wait => {}
                    Ok(Sent::Ended) => {}
                    Ok(Sent::All) => self.start_shutdown(),
                    Err(error) => {
                        failure = Some(error);
                        self.start_shutdown();
                    }
                },
                times = interrupts.select_next_some() => match times {
                    1 => self.start_shutdown(),
                    _ => self.association.abort("interrupted"),
                },
            }
        };
        if !matches!(end, Error::Lost(_)) {
            let closed = Closed::new(self.association.id(), received, self.sent.get());
            self.reporter.tell(&Line::Closed(closed))?;
        }
        interrupts.end()?;
        match (failure, end) {
            (Some(failure), _) => Err(failure),
            (None, end @ Error::Lost(_)) => Err(end.into()),
            (None, _) => Ok(()),
        }
    }

    /// Tells the events of the set-up, the last of which is that it succeeded.
    async fn until_up(&self) -> Result<(), Failure> {
        loop {
            let event = self.association.event_async().await?;
            self.tell(&event)?;
            if matches!(event, Event::CommUp { .. }) {
                return Ok(());
            }
        }
    }

    /// Tells all further events; how the association ended.
    async fn events(&self) -> Result<Error, Failure> {
        loop {
            match self.association.event_async().await {
                Ok(event) => self.tell(&event)?,
                Err(end) => return Ok(end),
            }
        }
    }

    fn tell(&self, event: &Event) -> Result<(), Failure> {
        // As text, it is the last thing that the program says, and it says it once.
        if matches!(event, Event::CommLost(_)) && !self.options.network.json {
            return Ok(());
        }
        Ok(self.reporter.event(self.association, event)?)
    }

    /// Writes all messages; how many there were.
    async fn messages(&self) -> Result<Tally, Failure> {
        let mut received = Tally::default();
        loop {
            let message = match self.association.try_recv() {
                Err(Error::WouldBlock) => {
                    self.reporter.flush()?;
                    self.association.recv_async().await
                }
                message => message,
            };
            // What ended it is told by the events.
            let Ok(Some(message)) = message else { break };
            received.add(message.payload.len());
            self.reporter.message(self.association.id(), &message, self.options.message.binary)?;
        }
        self.reporter.flush()?;
        Ok(received)
    }

    /// Sends standard input, or the messages asked for.
    async fn send_all(&self) -> Result<Sent, Failure> {
        let options = &self.options.message;
        match options.count {
            Some(count) => self.send_generated(options, count).await,
            // The keys are the view's.
            None if self.options.watch && io::stdin().is_terminal() => future::pending().await,
            None => {
                let block = options.binary.then_some(options.size);
                self.send_input(options, input::read(block)?).await
            }
        }
    }

    async fn send_input(
        &self,
        options: &MessageOptions,
        mut messages: Receiver<Result<Bytes, Failure>>,
    ) -> Result<Sent, Failure> {
        while let Some(payload) = messages.next().await {
            if let Sent::Ended = self.send(options, payload?).await? {
                return Ok(Sent::Ended);
            }
        }
        Ok(Sent::All)
    }

    async fn send_generated(&self, options: &MessageOptions, count: u64) -> Result<Sent, Failure> {
        let payload: Bytes = (b'a'..=b'z').cycle().take(options.size).collect();
        for _ in 0..count {
            if let Sent::Ended = self.send(options, payload.clone()).await? {
                return Ok(Sent::Ended);
            }
        }
        Ok(Sent::All)
    }

    async fn send(&self, options: &MessageOptions, payload: Bytes) -> Result<Sent, Failure> {
        let bytes = payload.len();
        let mut message = Message::new(options.stream, payload).ppid(options.ppid);
        message.unordered = options.unordered;
        match self.association.send_async(message).await {
            Ok(()) => {
                let mut sent = self.sent.get();
                sent.add(bytes);
                self.sent.set(sent);
                Ok(Sent::All)
            }
            Err(Error::Send(usctp::SendError::NotOpen { .. })) => Ok(Sent::Ended),
            Err(error) if error.is_closed() || matches!(error, Error::Lost(_)) => Ok(Sent::Ended),
            Err(error) => Err(error.into()),
        }
    }

    fn start_shutdown(&self) {
        // One that has ended, or is closing already, needs no more.
        let _ = self.association.start_shutdown();
    }
}
