//! A transfer that does not end by itself: numbered messages at a steady pace, each checked and timed on arrival.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use usctp::{
    AddressChange, Association, ConnectOptions, Error, Event, Message, Options, PathState,
    PathStatus, Received, Socket, Stack,
};

use crate::scene::Scene;
use crate::support::payload::{PPID, pattern};
use crate::support::suite::Outcome;

/// Nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// One message of 1 to 4,000 bytes each so often: some 700 kB/s, so that hundreds of packets are on their way when
/// something breaks, and nothing waits for the processor.
const PACE: Duration = Duration::from_millis(3);

/// Every stream is in order by itself.
const STREAMS: u16 = 3;

const PORT: u16 = 7;

/// Both ends of an association, and messages from the near one to the far one.
pub(crate) struct Transfer {
    pub(crate) association: Arc<Association>,
    pub(crate) peer: Arc<Association>,
    record: Arc<Record>,
    sender: JoinHandle<Result<u64, Error>>,
    receiver: JoinHandle<Result<u64, String>>,
    _socket: Socket,
    _stack: Stack,
}

#[derive(Default)]
struct Record {
    stop: AtomicBool,
    /// When each message was handed over.
    sent: Mutex<Vec<Instant>>,
    /// When which message was delivered.
    delivered: Mutex<Vec<(Instant, u64)>>,
}

impl Transfer {
    /// Connects the near host to all addresses of the far one, waits until all paths are confirmed, and begins.
    pub(crate) fn begin(scene: &Scene, options: &Options) -> Outcome<Self> {
        let record = Arc::new(Record::default());
        let (opened, accepted) = channel();
        let (addresses, theirs) = (scene.far_addresses(), options.clone());
        let (ready, listening) = channel();
        let shared = Arc::clone(&record);
        let receiver = scene.far.spawn("receiver", move || {
            let stack = Stack::builder().raw().open().map_err(text)?;
            let socket = stack.bind(PORT, &addresses, theirs).map_err(text)?;
            socket.listen().map_err(text)?;
            let _ = ready.send(());
            receive(&socket, &opened, &shared)
        })?;
        listening.recv_timeout(PATIENCE)?;
        let stack = Stack::builder().raw().open()?;
        let socket = stack.bind(0, &scene.near_addresses(), options.clone())?;
        let mut connecting = socket.connectx(&scene.peers(PORT), ConnectOptions::default())?;
        let association = Arc::new(connecting.wait_timeout(PATIENCE)?);
        let peer = accepted.recv_timeout(PATIENCE)?;
        let (shared, ours) = (Arc::clone(&record), Arc::clone(&association));
        let sender = thread::Builder::new().spawn(move || send(&ours, &shared))?;
        let transfer =
            Self { association, peer, record, sender, receiver, _socket: socket, _stack: stack };
        transfer.until("all paths are active", PATIENCE, Self::is_whole)?;
        // On a host that has just come up the first INIT may be lost, and the answer to the second sets the primary.
        transfer.association.set_primary(scene.far_addresses()[0])?;
        transfer.until_delivered(100, PATIENCE)?;
        Ok(transfer)
    }

    /// The path over a link, as our end sees it.
    pub(crate) fn path(&self, link: usize) -> PathStatus {
        self.association.paths().swap_remove(link)
    }

    /// Bytes of DATA that went over a link, or were meant to.
    pub(crate) fn bytes_sent(&self, link: usize) -> u64 {
        self.path(link).counts.bytes_sent
    }

    /// The link of the primary path.
    pub(crate) fn primary(&self) -> Option<usize> {
        self.association.paths().iter().position(|path| path.primary)
    }

    /// What our end has told of the path over a link since this was last asked.
    pub(crate) fn changes(&self, link: usize) -> Vec<AddressChange> {
        let address = self.path(link).peer;
        let mut changes = Vec::new();
        while let Ok(event) = self.association.try_event() {
            match event {
                Event::PeerAddressChange { peer, change } if peer == address => {
                    changes.push(change);
                }
                _ => {}
            }
        }
        changes
    }

    /// Whether every path of both ends is active.
    pub(crate) fn is_whole(&self) -> bool {
        [&self.association, &self.peer].iter().all(|end| {
            let paths = end.paths();
            !paths.is_empty() && paths.iter().all(|path| path.state == PathState::Active)
        })
    }

    /// Waits until something is so; how long that took.
    pub(crate) fn until(
        &self,
        what: &str,
        bound: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Outcome<Duration> {
        let begun = Instant::now();
        while !is_so(self) {
            if begun.elapsed() > bound || self.sender.is_finished() || self.receiver.is_finished() {
                return Err(self.explain(&format!("not within {bound:?}: {what}")).into());
            }
            sleep(Duration::from_millis(2));
        }
        Ok(begun.elapsed())
    }

    /// Waits until so many more messages were delivered.
    pub(crate) fn until_delivered(&self, count: usize, bound: Duration) -> Outcome<Duration> {
        let before = lock(&self.record.delivered).len();
        let enough = |transfer: &Self| lock(&transfer.record.delivered).len() >= before + count;
        self.until(&format!("{count} messages are delivered"), bound, enough)
    }

    /// Waits until everything is delivered that was handed over so far.
    pub(crate) fn until_caught_up(&self, bound: Duration) -> Outcome<Duration> {
        let sent = lock(&self.record.sent).len();
        let all = |transfer: &Self| lock(&transfer.record.delivered).len() >= sent;
        self.until(&format!("all of {sent} messages are delivered"), bound, all)
    }

    /// Waits until DATA leaves on the path over a link again.
    pub(crate) fn until_used(&self, link: usize, bound: Duration) -> Outcome<Duration> {
        let before = self.bytes_sent(link);
        let what = format!("traffic goes over link {link}");
        self.until(&what, bound, |transfer| transfer.bytes_sent(link) > before + 20_000)
    }

    /// How long after `fault` the first message arrived that was handed over after it.
    pub(crate) fn switched_after(&self, fault: Instant) -> Option<Duration> {
        let first = lock(&self.record.sent).partition_point(|at| *at <= fault);
        let delivered = lock(&self.record.delivered);
        let later = delivered.iter().filter(|(_, number)| *number >= first as u64);
        later.map(|(at, _)| at.saturating_duration_since(fault)).min()
    }

    /// How long after `fault` a message arrived, whenever it was handed over.
    pub(crate) fn resumed_after(&self, fault: Instant) -> Option<Duration> {
        let delivered = lock(&self.record.delivered);
        let after = delivered.iter().map(|(at, _)| at.checked_duration_since(fault));
        after.flatten().min()
    }

    /// The longest time without a delivery from `fault` until now.
    pub(crate) fn silence_since(&self, fault: Instant) -> Duration {
        let delivered = lock(&self.record.delivered);
        let after = delivered.iter().map(|(at, _)| *at).filter(|at| *at > fault);
        let mut times: Vec<Instant> = std::iter::once(fault).chain(after).collect();
        times.push(Instant::now());
        let gaps = times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]));
        gaps.max().unwrap_or_default()
    }

    /// Sends no more, closes gracefully, and checks that all messages came.
    pub(crate) fn end(self) -> Outcome<()> {
        self.record.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("no panic")?;
        self.association.shutdown_timeout(PATIENCE)?;
        let received = self.receiver.join().expect("no panic")?;
        assert_eq!(received, sent, "every message arrives before the close");
        Ok(())
    }

    /// What was so when a test failed.
    pub(crate) fn explain(&self, what: &str) -> String {
        let mut text = format!(
            "{what}; {} sent, {} delivered, sender ended: {}, receiver ended: {}",
            lock(&self.record.sent).len(),
            lock(&self.record.delivered).len(),
            self.sender.is_finished(),
            self.receiver.is_finished()
        );
        for (name, end) in [("near", &self.association), ("far", &self.peer)] {
            text += &format!("\n{name}: {:?}", end.statistics());
            while let Ok(event) = end.try_event() {
                text += &format!("\n  {event:?}");
            }
            for path in end.paths() {
                text += &format!("\n  {path:?}");
            }
        }
        text
    }
}

fn send(association: &Association, record: &Record) -> Result<u64, Error> {
    let mut number = 0;
    while !record.stop.load(Ordering::Relaxed) {
        let stream = (number % u64::from(STREAMS)) as u16;
        let message = Message::new(stream, payload(number)).ppid(PPID);
        lock(&record.sent).push(Instant::now());
        association.send_timeout(message, PATIENCE)?;
        number += 1;
        sleep(PACE);
    }
    Ok(number)
}

/// Takes one association and its messages until the peer closes: each exactly once, in the order of its stream, with
/// the bytes that were sent.
fn receive(
    socket: &Socket,
    opened: &Sender<Arc<Association>>,
    record: &Record,
) -> Result<u64, String> {
    let association = Arc::new(socket.accept_timeout(PATIENCE).map_err(text)?);
    let _ = opened.send(Arc::clone(&association));
    let mut expected: BTreeMap<u16, u64> = (0..STREAMS).map(|s| (s, u64::from(s))).collect();
    let mut count = 0;
    while let Some(message) = association.recv_timeout(PATIENCE).map_err(text)? {
        let Received { stream, payload: bytes, .. } = message;
        let next = expected.get_mut(&stream.0).ok_or(format!("nobody sends on {stream:?}"))?;
        if bytes != payload(*next) {
            let number = bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            return Err(format!("{stream:?}: {number:?} in the place of {next}, or damaged"));
        }
        lock(&record.delivered).push((Instant::now(), *next));
        *next += u64::from(STREAMS);
        count += 1;
    }
    // What is not there at the end was lost: the numbers of the streams must meet.
    match expected.values().max().zip(expected.values().min()) {
        Some((most, least)) if most - least < u64::from(STREAMS) => Ok(count),
        _ => Err(format!("a stream is short: {expected:?}")),
    }
}

/// The number of the message, and bytes that depend on it.
fn payload(number: u64) -> Vec<u8> {
    let length = (number.wrapping_mul(7919) % 3993) as usize;
    [&number.to_be_bytes()[..], &pattern(number, length)].concat()
}

fn text(error: Error) -> String {
    error.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}
