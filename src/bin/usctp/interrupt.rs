//! What asks a command to end: Ctrl-C, SIGTERM, SIGHUP, the keys of a live view; and, where its end takes too long, time.

use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::{FusedStream, Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::{Failure, Status};
use crate::watch;

/// Who asks a command to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The user, by Ctrl-C or a key: the command was to do more.
    Interrupt,
    /// Who runs it, by SIGTERM or SIGHUP: it has done its duty if it closes gracefully.
    Terminate,
    /// Time: it was asked before, and has not ended.
    Insist,
}

/// The requests to end, each with its number from 1 on; what came is remembered for how the command ends.
#[derive(Debug)]
pub(crate) struct Interrupts {
    requests: UnboundedReceiver<Request>,
    heard: u32,
    first: Option<Request>,
}

impl Interrupts {
    fn new(requests: UnboundedReceiver<Request>) -> Self {
        Self { requests, heard: 0, first: None }
    }

    /// How many requests there are by now, for whoever does not wait for them.
    pub(crate) fn look(&mut self) -> u32 {
        while let Ok(request) = self.requests.try_recv() {
            self.hear(request);
        }
        self.heard
    }

    /// How a command ends that closed everything as it was asked to.
    ///
    /// # Errors
    /// It was interrupted, or asked more than once, so that not all was closed gracefully.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        match (self.heard, self.first) {
            (0, _) | (1, Some(Request::Terminate)) => Ok(()),
            _ => Err(Failure::interrupted()),
        }
    }

    fn hear(&mut self, request: Request) -> u32 {
        self.first.get_or_insert(request);
        self.heard += 1;
        self.heard
    }
}

impl Stream for Interrupts {
    type Item = u32;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<u32>> {
        let request = self.requests.poll_next_unpin(context);
        request.map(|request| request.map(|request| self.hear(request)))
    }
}

impl FusedStream for Interrupts {
    fn is_terminated(&self) -> bool {
        self.requests.is_terminated()
    }
}

/// Asks a command to end. At the first request it closes its associations gracefully, at the second it aborts them.
#[derive(Clone)]
pub(crate) struct Interrupter {
    requests: UnboundedSender<Request>,
    close_within: Duration,
    asked: Arc<AtomicBool>,
}

/// How long associations may take to close if no option says it.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How long a command may take to hear that it is to abort them. One that writes to a pipe that nobody reads hears nothing.
const HEARS_WITHIN: Duration = Duration::from_secs(1);

impl Interrupter {
    fn new(close_within: Duration) -> (Self, Interrupts) {
        let (requests, asked) = unbounded();
        (Self { requests, close_within, asked: Arc::default() }, Interrupts::new(asked))
    }

    /// A request. A second one follows by itself, because a peer that is dead or takes nothing more would hold up the end
    /// for minutes. Whether there is still somebody to be asked.
    pub(crate) fn ask(&self, request: Request) -> bool {
        let listens = self.requests.unbounded_send(request).is_ok();
        if !self.asked.swap(true, Ordering::SeqCst) {
            let (requests, close_within) = (self.requests.clone(), self.close_within);
            let insist = move || {
                thread::sleep(close_within);
                // If nobody is to be asked any more, all is well.
                if requests.unbounded_send(Request::Insist).is_ok() {
                    thread::sleep(HEARS_WITHIN);
                    end_unless_heard(&requests);
                }
            };
            // Without the thread, the second request is the user's.
            let _ = thread::Builder::new().name("insist".to_owned()).spawn(insist);
        }
        listens
    }
}

/// Ends the process if requests still wait to be heard.
fn end_unless_heard(requests: &UnboundedSender<Request>) {
    if !requests.is_closed() && !requests.is_empty() {
        end();
    }
}

fn end() -> ! {
    watch::give_back_terminal();
    std::process::exit(Status::Interrupted as i32);
}

/// Each Ctrl-C, SIGTERM or SIGHUP is an item; the third ends the process at once. Another item follows the first one after
/// `close_within`, and the process ends if nobody has taken it a second later.
pub(crate) fn interrupts(close_within: Duration) -> Result<Interrupts, Failure> {
    Ok(interrupts_and_interrupter(close_within)?.1)
}

/// The same, and what adds to them: a live view takes keys in the place of signals.
pub(crate) fn interrupts_and_interrupter(
    close_within: Duration,
) -> Result<(Interrupter, Interrupts), Failure> {
    // Under nohup, the end of the terminal is none of ours.
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))
        .map_err(|error| Failure::failed(format_args!("cannot wait for signals: {error}")))?;
    let (interrupter, requests) = Interrupter::new(close_within);
    let signalled = interrupter.clone();
    let wait = move || {
        for (count, signal) in signals.forever().enumerate() {
            let request = if signal == SIGINT { Request::Interrupt } else { Request::Terminate };
            if count >= 2 || !signalled.ask(request) {
                end();
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok((interrupter, requests))
}

/// Whether whoever started the program had it ignore a signal (proc_pid_status(5), SigIgn).
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (signal - 1) != 0
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn a_request_is_followed_by_another_one_by_itself_and_once() {
        let (interrupter, mut requests) = Interrupter::new(Duration::from_millis(1));
        assert!(interrupter.ask(Request::Interrupt));
        assert!(interrupter.ask(Request::Interrupt));
        let heard =
            [block_on(requests.next()), block_on(requests.next()), block_on(requests.next())];
        assert_eq!(heard, [Some(1), Some(2), Some(3)]);
        drop(interrupter);
        assert_eq!(block_on(requests.next()), None, "there is nobody left to ask");
    }

    #[test]
    fn only_who_was_told_to_end_once_by_a_signal_for_that_ends_well() {
        let ends_well = |asked: &[Request]| {
            let (sender, receiver) = unbounded();
            asked.iter().for_each(|request| sender.unbounded_send(*request).unwrap());
            let mut interrupts = Interrupts::new(receiver);
            assert_eq!(interrupts.look() as usize, asked.len());
            interrupts.end().is_ok()
        };
        assert!(ends_well(&[]));
        assert!(ends_well(&[Request::Terminate]));
        for badly in [
            &[Request::Interrupt][..],
            &[Request::Interrupt, Request::Terminate],
            &[Request::Terminate, Request::Interrupt],
            &[Request::Terminate, Request::Insist],
        ] {
            assert!(!ends_well(badly), "{badly:?}");
        }
    }

    #[test]
    fn whoever_asks_learns_that_nobody_listens() {
        let (interrupter, requests) = Interrupter::new(Duration::from_millis(1));
        drop(requests);
        assert!(!interrupter.ask(Request::Interrupt));
    }
}
