//! The server: takes associations, counts their messages and sends back those that ask for it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use usctp::{Association, AssociationId, Error, Message, Received, Socket, Stack};

use super::ECHO;
use super::report::{Figures, Line, Reporter, Volume};
use crate::exit::Failure;
use crate::interrupt::Interrupts;

/// How often a line is printed while there are clients, and how soon a summary follows the last of them.
const INTERVAL: Duration = Duration::from_secs(1);

/// A server of `usctp perf`: one thread, in which whatever is waited for is a future that is looked at only when it
/// has something.
pub(super) struct Server<'a> {
    stack: &'a Stack,
    socket: &'a Socket,
    reporter: Reporter<'a>,
    /// What came since there were no clients.
    count: Rc<Cell<Count>>,
    /// What of it the lines have told.
    told: Count,
    told_at: Instant,
    associations: BTreeMap<AssociationId, Rc<Association>>,
    waiting: FuturesUnordered<LocalBoxFuture<'a, Input>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    bytes: u64,
    messages: u64,
    associations: u64,
    /// When the first client came, and when something was last heard of any.
    times: Option<(Instant, Instant)>,
}

/// What the server waits for.
enum Input {
    Accepted(Result<Association, Error>),
    Ended(AssociationId),
    Tick(UnboundedReceiver<()>),
    Interrupt(u32, Interrupts),
}

impl<'a> Server<'a> {
    pub(super) fn new(stack: &'a Stack, socket: &'a Socket, reporter: Reporter<'a>) -> Self {
        Self {
            stack,
            socket,
            reporter,
            count: Rc::default(),
            told: Count::default(),
            told_at: Instant::now(),
            associations: BTreeMap::new(),
            waiting: FuturesUnordered::new(),
        }
    }

    /// Serves until interrupted: clients are then closed gracefully, and aborted if interrupted again.
    pub(super) fn serve(
        mut self,
        transport: &'static str,
        interrupts: Interrupts,
    ) -> Result<(), Failure> {
        self.socket.listen()?;
        self.reporter.tell(&Line::Listening {
            port: self.socket.port(),
            addresses: self.socket.addresses(),
            transport,
        })?;
        self.accept();
        self.waiting.push(next_tick(ticks()?));
        self.waiting.push(next_interrupt(interrupts));
        let (mut interrupted, mut accepting, mut end) = (0, true, Ok(()));
        while accepting || !self.associations.is_empty() {
            match self.stack.block_on(self.waiting.select_next_some()) {
                Input::Accepted(Ok(association)) => {
                    self.take(association);
                    if interrupted > 0 {
                        self.interrupt(interrupted);
                    }
                    self.accept();
                }
                // Whatever was set up before the interrupt has been accepted now.
                Input::Accepted(Err(_)) if interrupted > 0 => accepting = false,
                Input::Accepted(Err(error)) => return Err(error.into()),
                Input::Ended(id) => {
                    self.associations.remove(&id);
                    // Told at the next second, since another may follow.
                }
                Input::Tick(ticks) => {
                    self.tick()?;
                    self.waiting.push(next_tick(ticks));
                }
                Input::Interrupt(times, interrupts) => {
                    interrupted = times;
                    self.interrupt(times);
                    end = interrupts.end();
                    self.waiting.push(next_interrupt(interrupts));
                }
            }
        }
        self.summary()?;
        end
    }

    fn accept(&self) {
        self.waiting.push(self.socket.accept_async().map(Input::Accepted).boxed_local());
    }

    fn take(&mut self, association: Association) {
        let association = Rc::new(association);
        self.associations.insert(association.id(), Rc::clone(&association));
        let mut count = self.count.get();
        if count.times.is_none() {
            self.told_at = Instant::now();
        }
        count.associations += 1;
        count.touch();
        self.count.set(count);
        self.waiting.push(receive(association, Rc::clone(&self.count)).boxed_local());
    }

    /// A line while there are clients, a summary once they are gone.
    fn tick(&mut self) -> Result<(), Failure> {
        if self.associations.is_empty() {
            return self.summary();
        }
        let (now, count) = (Instant::now(), self.count.get());
        let volume = Volume::new(
            now.duration_since(self.told_at),
            count.bytes - self.told.bytes,
            count.messages - self.told.messages,
        );
        let associations = count.associations - self.told.associations;
        (self.told, self.told_at) = (count, now);
        self.reporter.tell(&Line::Second(Figures::Server { volume, associations }))
    }

    fn summary(&mut self) -> Result<(), Failure> {
        let count = self.count.take();
        self.told = Count::default();
        let Some((first, last)) = count.times else { return Ok(()) };
        let volume = Volume::new(last.duration_since(first), count.bytes, count.messages);
        let associations = count.associations;
        self.reporter.summarize(Figures::Server { volume, associations })
    }

    fn interrupt(&self, times: u32) {
        // An association that comes all the same is closed with the stack.
        let _ = self.socket.stop_listening();
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

impl Count {
    fn add(&mut self, message: &Received) {
        self.messages += 1;
        self.bytes += message.payload.len() as u64;
    }

    fn touch(&mut self) {
        let now = Instant::now();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
    }
}

/// Counts the messages of one association until its end.
async fn receive(association: Rc<Association>, count: Rc<Cell<Count>>) -> Input {
    loop {
        let message = match association.try_recv() {
            Err(Error::WouldBlock) => {
                touch(&count);
                association.recv_async().await
            }
            message => message,
        };
        // How it ended matters to nobody here: what came is what counts.
        let Ok(Some(message)) = message else { break };
        let mut so_far = count.get();
        so_far.add(&message);
        count.set(so_far);
        if message.ppid.0 == ECHO {
            answer(&association, message).await;
        }
    }
    // The peer has closed; what is left is the end of the close.
    let _ = association.shutdown_async().await;
    touch(&count);
    Input::Ended(association.id())
}

async fn answer(association: &Association, message: Received) {
    let mut answer = Message::new(0, message.payload).ppid(ECHO);
    // Streams that only the peer has are answered on those there are.
    answer.stream.0 = message.stream.0 % association.outbound_streams().max(1);
    answer.unordered = message.unordered;
    // A peer that closes takes no more answers.
    let _ = association.send_async(answer).await;
}

fn touch(count: &Cell<Count>) {
    let mut so_far = count.get();
    so_far.touch();
    count.set(so_far);
}

/// The next tick, together with those that follow it.
fn next_tick<'a>(mut ticks: UnboundedReceiver<()>) -> LocalBoxFuture<'a, Input> {
    let next = async move {
        ticks.select_next_some().await;
        Input::Tick(ticks)
    };
    next.boxed_local()
}

/// The next request to end, together with those that follow it.
fn next_interrupt<'a>(mut interrupts: Interrupts) -> LocalBoxFuture<'a, Input> {
    let next = async move {
        let times = interrupts.select_next_some().await;
        Input::Interrupt(times, interrupts)
    };
    next.boxed_local()
}

/// An item each second, from a thread that ends with the channel.
fn ticks() -> io::Result<UnboundedReceiver<()>> {
    let (sender, receiver) = unbounded();
    let tick = move || {
        while sender.unbounded_send(()).is_ok() {
            thread::sleep(INTERVAL);
        }
    };
    thread::Builder::new().name("ticks".to_owned()).spawn(tick)?;
    Ok(receiver)
}
