//! Packets on their way out of one endpoint: in the order they were made, with no lock held while they are sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::BytesMut;
use usctp_assoc::{NoticeKind, PathNotice, Quote, Transmit};

/// With so many bytes waiting to be sent, an endpoint takes no further input.
const FULL: usize = 8 << 20;
/// After so many batches in a row, a thread leaves the rest to the I/O thread.
const TURNS: u32 = 16;
/// Buffers of sent batches that a stack keeps for later ones, of whichever of its endpoints.
const SPARES: usize = 16;
/// A buffer that grew beyond this many bytes is not kept.
const SPARE_BYTES: usize = 1 << 20;

/// Packets made under one hold of the endpoint's lock: the packets one after the other, and where each goes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: BytesMut,
    pub(crate) transmits: Vec<Transmit>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.transmits.is_empty()
    }

    /// Whether it has a buffer, in use or not.
    pub(crate) fn has_buffer(&self) -> bool {
        self.transmits.capacity() > 0
    }

    /// Moves the packets with these numbers, in rising order, behind those of another batch, up to so many bytes there; how
    /// many found no place.
    pub(super) fn move_to(
        &mut self,
        numbers: impl Iterator<Item = usize>,
        to: &mut Self,
        most: usize,
    ) -> usize {
        let mut numbers = numbers.peekable();
        let mut rest = &self.bytes[..];
        let mut refused = 0;
        for (number, transmit) in self.transmits.drain(..).enumerate() {
            let (packet, behind) = rest.split_at_checked(transmit.len).unwrap_or((rest, &[]));
            rest = behind;
            if numbers.next_if_eq(&number).is_none() {
                continue;
            }
            if to.bytes.len() + packet.len() > most {
                refused += 1;
                continue;
            }
            to.bytes.extend_from_slice(packet);
            to.transmits.push(transmit);
        }
        self.bytes.clear();
        refused
    }

    /// Takes out the packets that cannot be sent, and gives notice of each.
    pub(crate) fn refuse(
        &mut self,
        notices: &mut Vec<PathNotice>,
        is_refused: impl Fn(&Transmit) -> bool,
    ) {
        let mut all = self.bytes.split();
        self.transmits.retain(|transmit| {
            let packet = all.split_to(transmit.len.min(all.len()));
            if !is_refused(transmit) {
                self.bytes.extend_from_slice(&packet);
                return true;
            }
            notices.extend(Quote::parse(&packet).map(|quote| PathNotice {
                peer: transmit.destination,
                zone: transmit.zone,
                local: None,
                kind: NoticeKind::SendFailed,
                quote,
            }));
            false
        });
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.transmits.clear();
    }
}

/// Buffers for batches, which the endpoints of a stack share: those that have nothing to send keep none.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<Batch>>);

impl Spares {
    /// A batch that holds nothing, with room if there was a buffer.
    pub(crate) fn take(&self) -> Batch {
        self.lock().pop().unwrap_or_default()
    }

    /// Takes back a batch that holds nothing.
    pub(crate) fn give_back(&self, batch: Batch) {
        let mut spares = self.lock();
        if spares.len() < SPARES && batch.bytes.capacity() <= SPARE_BYTES {
            spares.push(batch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue that is filled under the endpoint's lock and emptied without it, by one thread at a time.
///
/// A thread that finds another one sending leaves its packets to that one: so none of them waits for the other,
/// and packets leave in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    state: Mutex<State>,
    room: Condvar,
    spares: Arc<Spares>,
    /// Whether more than [`FULL`] bytes wait, to be asked without the lock.
    is_full: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Batch>,
    bytes: usize,
    is_sending: bool,
    /// When held packets are tried again.
    held: Option<Instant>,
    /// Threads that wait for room: to wake nobody costs a system call, too.
    waiting: usize,
}

/// What comes after a batch was sent.
#[derive(Debug)]
pub(crate) enum Next {
    /// This batch is to be sent.
    Send(Batch),
    /// Nothing is left.
    Done,
    /// This thread has sent enough: the I/O thread is to go on.
    HandOver,
}

/// Held by the thread that sends until it has [ended](Self::end): if a panic takes it away, others send on.
#[derive(Debug)]
pub(crate) struct Sending<'a>(Option<&'a Outgoing>);

impl<'a> Sending<'a> {
    pub(crate) fn new(outgoing: &'a Outgoing) -> Self {
        Self(Some(outgoing))
    }

    /// It has left the rest to others, if there is any.
    pub(crate) fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some(outgoing) = self.0 {
            outgoing.give_up();
        }
    }
}

impl Outgoing {
    /// One of a stack, which keeps the buffers of what was sent.
    pub(crate) fn new(spares: Arc<Spares>) -> Self {
        Self { spares, ..Self::default() }
    }

    /// Queues what `batch` holds and leaves one without buffers in its place. Called under the endpoint's lock.
    pub(crate) fn push(&self, batch: &mut Batch) {
        let full = std::mem::take(batch);
        let mut state = self.lock();
        state.bytes += full.bytes.len();
        self.note_fill(&state);
        state.queue.push_back(full);
    }

    /// The first batch to send, unless there is none or another thread is sending; an empty one if there are held packets
    /// whose time has come.
    pub(crate) fn begin(&self) -> Option<Batch> {
        let mut state = self.lock();
        if state.is_sending {
            return None;
        }
        let is_due = |held: Option<Instant>| held.is_some_and(|due| due <= Instant::now());
        let Some(batch) = state.queue.pop_front() else {
            state.is_sending = is_due(state.held);
            return state.is_sending.then(Batch::default);
        };
        state.bytes -= batch.bytes.len();
        self.note_fill(&state);
        state.is_sending = true;
        Some(batch)
    }

    /// The thread that sends went another way than it should: what is left is for others.
    fn give_up(&self) {
        self.lock().is_sending = false;
        self.room.notify_all();
    }

    /// Takes back the batch that was sent, the `turn`th in a row, and gives the next one.
    pub(crate) fn next(&self, mut sent: Batch, turn: u32) -> Next {
        sent.clear();
        self.spares.give_back(sent);
        let mut state = self.lock();
        let next = match state.queue.pop_front() {
            Some(batch) if turn >= TURNS => {
                state.queue.push_front(batch);
                Next::HandOver
            }
            Some(batch) => {
                state.bytes -= batch.bytes.len();
                self.note_fill(&state);
                Next::Send(batch)
            }
            None => Next::Done,
        };
        state.is_sending = matches!(next, Next::Send(_));
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.room.notify_all();
        }
        next
    }

    /// When held packets are to be tried again, if there are any.
    pub(crate) fn hold_until(&self, due: Option<Instant>) {
        self.lock().held = due;
    }

    /// Whether very much is to be sent.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    fn note_fill(&self, state: &State) {
        self.is_full.store(state.bytes > FULL, Ordering::Relaxed);
    }

    /// Waits while another thread has very much to send; false if nobody is sending it, so that the caller should.
    pub(crate) fn wait_for_room(&self) -> bool {
        let mut state = self.lock();
        while state.bytes > FULL {
            if !state.is_sending {
                return false;
            }
            state.waiting += 1;
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use usctp_assoc::{AddressSet, Ecn};

    use super::*;

    fn batch(bytes: &[u8]) -> Batch {
        Batch { bytes: bytes.into(), transmits: Vec::new() }
    }

    #[test]
    fn batches_leave_in_order_through_one_thread_at_a_time() {
        let outgoing = Outgoing::default();
        outgoing.push(&mut batch(b"first"));
        outgoing.push(&mut batch(b"second"));
        let first = outgoing.begin().unwrap();
        assert_eq!(&first.bytes[..], b"first");
        assert!(outgoing.begin().is_none(), "another thread is sending");
        outgoing.push(&mut batch(b"third"));
        let Next::Send(second) = outgoing.next(first, 1) else { panic!("more is to be sent") };
        assert_eq!(&second.bytes[..], b"second");
        let Next::Send(third) = outgoing.next(second, 2) else { panic!("more is to be sent") };
        assert_eq!(&third.bytes[..], b"third");
        assert!(matches!(outgoing.next(third, 3), Next::Done));
        assert!(outgoing.begin().is_none());
    }

    #[test]
    fn packets_that_cannot_be_sent_are_taken_out_with_a_notice_each() {
        let packet = |n: u8| [0, n, 0, 7, 0, 0, 0, n].repeat(usize::from(n));
        let peer = |n: u8| IpAddr::from([192, 0, 2, n]);
        let mut batch = Batch::default();
        for n in 1..=4 {
            batch.bytes.extend_from_slice(&packet(n));
            batch.transmits.push(Transmit {
                source: (n % 2 == 1).then_some(peer(100)),
                destination: peer(n),
                udp_port: None,
                zone: 0,
                sources: AddressSet::default(),
                ecn: Ecn::NotEct,
                len: packet(n).len(),
                fragmentable: false,
            });
        }
        let mut refused = Vec::new();
        batch.refuse(&mut refused, |transmit| transmit.source.is_none());
        assert_eq!(batch.bytes[..], [packet(1), packet(3)].concat());
        let left: Vec<_> = batch.transmits.iter().map(|transmit| transmit.destination).collect();
        assert_eq!(left, [peer(1), peer(3)]);
        let told: Vec<_> =
            refused.iter().map(|notice| (notice.peer, notice.quote.source_port)).collect();
        assert_eq!(told, [(peer(2), 2), (peer(4), 4)]);
        assert!(refused.iter().all(|notice| notice.kind == NoticeKind::SendFailed));
    }

    #[test]
    fn a_thread_that_has_sent_for_long_hands_over_what_is_left() {
        let outgoing = Outgoing::default();
        outgoing.push(&mut batch(b"first"));
        outgoing.push(&mut batch(b"second"));
        let first = outgoing.begin().unwrap();
        assert!(matches!(outgoing.next(first, TURNS), Next::HandOver));
        assert_eq!(&outgoing.begin().unwrap().bytes[..], b"second");
    }

    #[test]
    fn when_a_panic_takes_the_thread_that_sends_away_others_send_on() {
        let outgoing = Arc::new(Outgoing::default());
        for _ in 0..2 {
            outgoing.push(&mut batch(&vec![0; FULL + 1]));
        }
        let first = outgoing.begin();
        assert!(first.is_some());
        let (done, is_done) = mpsc::channel();
        let other = Arc::clone(&outgoing);
        let waiting = thread::spawn(move || done.send(other.wait_for_room()));
        while outgoing.lock().waiting == 0 {
            thread::yield_now();
        }
        let sending = Arc::clone(&outgoing);
        let sending = thread::spawn(move || {
            let _sending = Sending::new(&sending);
            panic!("that is what is tested");
        });
        assert!(sending.join().is_err());
        let has_room = is_done.recv_timeout(Duration::from_secs(10)).expect("it waits for nobody");
        assert!(!has_room && outgoing.begin().is_some());
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_full_queue_that_nobody_sends_is_not_waited_for() {
        let outgoing = Outgoing::default();
        assert!(outgoing.wait_for_room() && !outgoing.is_full());
        outgoing.push(&mut batch(&vec![0; FULL + 1]));
        assert!(!outgoing.wait_for_room() && outgoing.is_full());
        assert!(outgoing.begin().is_some());
        assert!(!outgoing.is_full());
    }
}
