//! `usctp listen`: accepts associations and discards, echoes or prints their messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use futures::future::{self, Either, FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use usctp::{Association, AssociationId, Error, Message, Socket};

use crate::args::{ListenMode, ListenOptions};
use crate::events::{Closed, Line, Reporter, Tally};
use crate::exit::Failure;
use crate::interrupt::Interrupts;
use crate::{interrupt, network};

/// Serves until interrupted, or until as many associations have ended as asked for.
pub(crate) fn run(options: &ListenOptions) -> Result<(), Failure> {
    let stack = network::open(&options.network)?;
    let interrupts = interrupt::interrupts(options.network.close_within)?;
    let endpoint = network::endpoint_options(&options.network);
    let socket = stack.bind(options.port, &options.network.local, endpoint)?;
    socket.listen()?;
    let reporter = Reporter::new(options.network.json);
    reporter.tell(&Line::Listening {
        port: socket.port(),
        addresses: socket.addresses(),
        transport: network::transport(&options.network),
    })?;
    let listener = Listener {
        mode: options.mode,
        left: options.max,
        socket: &socket,
        reporter: &reporter,
        associations: BTreeMap::new(),
        serving: FuturesUnordered::new(),
    };
    block_on(listener.serve(interrupts))
}

/// All associations are served by one thread: each is a future that waits for its own peer only.
struct Listener<'a> {
    mode: ListenMode,
    /// How many more associations are accepted; `None` for any number.
    left: Option<u64>,
    socket: &'a Socket,
    reporter: &'a Reporter,
    associations: BTreeMap<AssociationId, Arc<Association>>,
    serving: FuturesUnordered<LocalBoxFuture<'a, Result<AssociationId, Failure>>>,
}

/// What the listener waits for.
enum Input {
    Accepted(Result<Association, Error>),
    Ended(Result<AssociationId, Failure>),
    Interrupted(u32),
}

impl Listener<'_> {
    async fn serve(mut self, mut interrupts: Interrupts) -> Result<(), Failure> {
        let mut interrupted = 0_u32;
        loop {
            let accepting = interrupted == 0 && self.left != Some(0);
            if !accepting && self.associations.is_empty() {
                return interrupts.end();
            }
            match self.input(accepting, &mut interrupts).await {
                Input::Accepted(association) => self.accept(association?)?,
                Input::Ended(id) => {
                    self.associations.remove(&id?);
                }
                Input::Interrupted(times) => {
                    interrupted = times;
                    self.interrupt(times);
                }
            }
        }
    }

    async fn input(&mut self, accepting: bool, interrupts: &mut Interrupts) -> Input {
        let accepted = match accepting {
            true => Either::Left(self.socket.accept_async()),
            false => Either::Right(future::pending()),
        };
        futures::select! {
            accepted = accepted.fuse() => Input::Accepted(accepted),
            ended = self.serving.select_next_some() => Input::Ended(ended),
            times = interrupts.select_next_some() => Input::Interrupted(times),
        }
    }

    fn accept(&mut self, association: Association) -> Result<(), Failure> {
        let association = Arc::new(association);
        self.associations.insert(association.id(), Arc::clone(&association));
        self.serving.push(serve(association, self.mode, self.reporter).boxed_local());
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                // Peers that come now are told so, instead of being accepted and left alone.
                self.socket.stop_listening()?;
            }
        }
        Ok(())
    }

    /// First closes gracefully, then aborts.
    fn interrupt(&self, times: u32) {
        if times == 1 {
            // An association that comes all the same is closed with the stack.
            let _ = self.socket.stop_listening();
        }
        for association in self.associations.values() {
            if times > 1 {
                association.abort("interrupted");
            } else {
                // One that is closing already needs no more.
                let _ = association.start_shutdown();
            }
        }
    }
}

/// One association until its end.
async fn serve(
    association: Arc<Association>,
    mode: ListenMode,
    reporter: &Reporter,
) -> Result<AssociationId, Failure> {
    let events = events(&association, reporter);
    let messages = messages(&association, mode, reporter);
    let (lost, (received, answered)) = future::try_join(events, messages).await?;
    let id = association.id();
    if !lost {
        reporter.tell(&Line::Closed(Closed::new(id, received, answered)))?;
    }
    Ok(id)
}

/// Tells all events; `true` if the association was lost.
async fn events(association: &Association, reporter: &Reporter) -> Result<bool, Failure> {
    loop {
        match association.event_async().await {
            Ok(event) => reporter.event(association, &event)?,
            Err(error) => return Ok(matches!(error, Error::Lost(_))),
        }
    }
}

/// Treats all messages as the mode says; how many there were, and how many were answered.
async fn messages(
    association: &Association,
    mode: ListenMode,
    reporter: &Reporter,
) -> Result<(Tally, Tally), Failure> {
    let (mut received, mut answered) = (Tally::default(), Tally::default());
    loop {
        let message = match association.try_recv() {
            Err(Error::WouldBlock) => {
                reporter.flush()?;
                association.recv_async().await
            }
            message => message,
        };
        // What ended it is told by the events.
        let Ok(Some(message)) = message else { break };
        let bytes = message.payload.len();
        received.add(bytes);
        match mode {
            ListenMode::Discard => {}
            ListenMode::Print => reporter.message(association.id(), &message, false)?,
            ListenMode::Echo => {
                let mut answer = Message::new(0, message.payload).ppid(message.ppid.0);
                // Streams that only the peer has are answered on those there are.
                answer.stream.0 = message.stream.0 % association.outbound_streams().max(1);
                answer.unordered = message.unordered;
                // A peer that closes takes no more answers; its own messages still count.
                if association.send_async(answer).await.is_ok() {
                    answered.add(bytes);
                }
            }
        }
    }
    reporter.flush()?;
    Ok((received, answered))
}
