//! The bytes: made and hashed on one end, hashed and counted on the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use usctp::{Association, Error, Message, Stack};

use super::act::Cut;
use super::options;
use super::stage::{Addresses, PORT};
use crate::exit::Failure;

/// A SHA-256 hash.
pub(crate) type Hash = [u8; 32];

/// How long one wait may take before it is looked whether the demonstration was interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// What both ends and the conductor share.
#[derive(Default)]
pub(crate) struct Progress {
    /// Everything is to end.
    pub(crate) stop: AtomicBool,
    /// The sender is to end.
    pub(crate) stop_sending: AtomicBool,
    /// Bytes that the server has received in order.
    received: AtomicU64,
    /// When how many bytes had been received, one entry for each message.
    deliveries: Mutex<Vec<(Instant, u64)>>,
}

impl Progress {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// When how many bytes had been received.
    pub(crate) fn deliveries(&self) -> Vec<(Instant, u64)> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first delivery after a time.
    pub(crate) fn first_after(&self, time: Instant) -> Option<Instant> {
        let deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        let later = deliveries.partition_point(|(at, _)| *at <= time);
        deliveries.get(later).map(|(at, _)| *at)
    }

    fn deliver(&self, bytes: usize) {
        let received = self.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        deliveries.push((Instant::now(), received));
    }
}

/// The server: takes one association and hashes all that comes until the client closes. Tells once that it listens,
/// and once the hash.
pub(crate) fn serve(
    stack: Result<Stack, Error>,
    addresses: Addresses,
    listening: &Sender<Result<(), Error>>,
    hash: &Sender<Result<Hash, Error>>,
    progress: &Progress,
) {
    let socket = stack.and_then(|stack| {
        let socket = stack.bind(PORT, &addresses.server, options::endpoint())?;
        socket.listen()?;
        Ok((stack, socket))
    });
    match socket {
        Ok((_stack, socket)) => {
            // Whoever does not listen any more has ended with an error of its own.
            let _ = listening.send(Ok(()));
            let accept = || socket.accept_timeout(LOOK);
            let result = patiently(&progress.stop, accept)
                .and_then(|association| receive(&association, progress));
            let _ = hash.send(result);
        }
        Err(error) => {
            let _ = listening.send(Err(error));
        }
    }
}

fn receive(association: &Association, progress: &Progress) -> Result<Hash, Error> {
    let mut hash = Sha256::new();
    while let Some(message) = patiently(&progress.stop, || association.recv_timeout(LOOK))? {
        hash.update(&message.payload);
        progress.deliver(message.payload.len());
    }
    Ok(hash.finalize().into())
}

/// Waits as long as it takes, or until the demonstration is to end.
fn patiently<T>(stop: &AtomicBool, mut wait: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match wait() {
            Err(Error::TimedOut) if !stop.load(Ordering::Relaxed) => {}
            result => return result,
        }
    }
}

/// What the sender has come to.
pub(crate) enum Milestone {
    /// So many bytes were handed over, half of all; the active link was cut just now.
    Cut { at: Instant, cut: Result<Cut, Failure>, sent: u64 },
    /// Three quarters were handed over: the sender waits until it may go on.
    ThreeQuarters,
    /// All was handed over.
    End(Result<Hash, Error>),
}

/// The client's sender.
pub(crate) struct Sending<'a> {
    pub(crate) association: &'a Association,
    pub(crate) bytes: u64,
    pub(crate) progress: &'a Progress,
    /// Where the conductor hears of milestones.
    pub(crate) milestones: Sender<Milestone>,
    /// Whence the word to go on comes.
    pub(crate) go_on: Receiver<()>,
}

/// The length of the messages, bytes: 64 KiB, or less so that there are enough of them for the play.
pub(crate) fn message_length(bytes: u64) -> usize {
    usize::try_from(bytes / 64).unwrap_or(usize::MAX).clamp(1, 1 << 16)
}

impl Sending<'_> {
    /// Sends everything; `cut` cuts the active link and tells which it was.
    pub(crate) fn run(self, cut: impl Fn() -> Result<Cut, Failure>) {
        let end = self.send_all(cut);
        self.reach(Milestone::End(end));
    }

    fn send_all(&self, cut: impl Fn() -> Result<Cut, Failure>) -> Result<Hash, Error> {
        let (half, three_quarters) = (self.bytes / 2, self.bytes - self.bytes / 4);
        let mut hash = Sha256::new();
        let mut random = StdRng::seed_from_u64(self.bytes);
        let mut sent = 0;
        let (mut was_cut, mut waited) = (false, false);
        while sent < self.bytes {
            if !was_cut && sent >= half {
                was_cut = true;
                let cut = cut();
                self.reach(Milestone::Cut { at: Instant::now(), cut, sent });
            }
            if !waited && sent >= three_quarters {
                waited = true;
                self.reach(Milestone::ThreeQuarters);
                // A conductor that is gone has ended the play.
                let _ = self.go_on.recv();
            }
            let message = self.next(&mut random, sent);
            hash.update(&message);
            sent += message.len() as u64;
            let message = Message::new(0, message);
            let send = || self.association.send_timeout(message.clone(), LOOK);
            patiently(&self.progress.stop_sending, send)?;
            if self.progress.stop_sending.load(Ordering::Relaxed) {
                return Err(Error::TimedOut);
            }
        }
        Ok(hash.finalize().into())
    }

    fn next(&self, random: &mut StdRng, sent: u64) -> bytes::Bytes {
        let left = usize::try_from(self.bytes - sent).unwrap_or(usize::MAX);
        let mut message = vec![0; message_length(self.bytes).min(left)];
        random.fill_bytes(&mut message);
        message.into()
    }

    fn reach(&self, milestone: Milestone) {
        // A conductor that is gone has ended the play.
        let _ = self.milestones.send(milestone);
    }
}

/// A server's end of the play, with the channels to it.
pub(crate) struct Server {
    pub(crate) listening: Receiver<Result<(), Error>>,
    pub(crate) hash: Receiver<Result<Hash, Error>>,
}

impl Server {
    /// The body of the server's thread and what is heard from it.
    pub(crate) fn prepare(
        addresses: Addresses,
        progress: &Arc<Progress>,
    ) -> (super::stage::Body, Self) {
        let (ready, listening) = std::sync::mpsc::channel();
        let (done, hash) = std::sync::mpsc::channel();
        let progress = Arc::clone(progress);
        let body = move |stack| serve(stack, addresses, &ready, &done, &progress);
        (Box::new(body), Self { listening, hash })
    }
}
