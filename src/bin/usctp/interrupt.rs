//! What asks a command to end: Ctrl-C, SIGTERM, the keys of a live view; and, where its end takes too long, time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::{Failure, Status};
use crate::watch;

/// Asks a command to end. At the first request it closes its associations gracefully, at the second it aborts them.
#[derive(Clone)]
pub(crate) struct Interrupter {
    requests: UnboundedSender<()>,
    close_within: Duration,
    asked: Arc<AtomicBool>,
}

/// How long associations may take to close if no option says it.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How long a command may take to hear that it is to abort them. One that writes to a pipe that nobody reads hears nothing.
const HEARS_WITHIN: Duration = Duration::from_secs(1);

impl Interrupter {
    fn new(close_within: Duration) -> (Self, UnboundedReceiver<()>) {
        let (requests, asked) = unbounded();
        (Self { requests, close_within, asked: Arc::default() }, asked)
    }

    /// A request. A second one follows by itself, because a peer that is dead or takes nothing more would hold up the end
    /// for minutes. Whether there is still somebody to be asked.
    pub(crate) fn interrupt(&self) -> bool {
        let listens = self.requests.unbounded_send(()).is_ok();
        if !self.asked.swap(true, Ordering::SeqCst) {
            let (requests, close_within) = (self.requests.clone(), self.close_within);
            let insist = move || {
                thread::sleep(close_within);
                // If nobody is to be asked any more, all is well.
                if requests.unbounded_send(()).is_ok() {
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
fn end_unless_heard(requests: &UnboundedSender<()>) {
    if !requests.is_closed() && !requests.is_empty() {
        end();
    }
}

fn end() -> ! {
    watch::give_back_terminal();
    std::process::exit(Status::Interrupted as i32);
}

/// Each Ctrl-C or SIGTERM is an item; the third ends the process at once. Another item follows the first one after
/// `close_within`, and the process ends if nobody has taken it a second later.
pub(crate) fn interrupts(close_within: Duration) -> Result<UnboundedReceiver<()>, Failure> {
    Ok(interrupts_and_interrupter(close_within)?.1)
}

/// The same, and what adds to them: a live view takes keys in the place of signals.
pub(crate) fn interrupts_and_interrupter(
    close_within: Duration,
) -> Result<(Interrupter, UnboundedReceiver<()>), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::failed(format_args!("cannot wait for signals: {error}")))?;
    let (interrupter, requests) = Interrupter::new(close_within);
    let signalled = interrupter.clone();
    let wait = move || {
        for (count, _) in signals.forever().enumerate() {
            if count >= 2 || !signalled.interrupt() {
                end();
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok((interrupter, requests))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::stream::StreamExt;

    use super::*;

    #[test]
    fn a_request_is_followed_by_another_one_by_itself_and_once() {
        let (interrupter, mut requests) = Interrupter::new(Duration::from_millis(1));
        assert!(interrupter.interrupt());
        assert!(interrupter.interrupt());
        let heard =
            [block_on(requests.next()), block_on(requests.next()), block_on(requests.next())];
        assert_eq!(heard, [Some(()); 3]);
        drop(interrupter);
        assert_eq!(block_on(requests.next()), None, "there is nobody left to ask");
    }

    #[test]
    fn whoever_asks_learns_that_nobody_listens() {
        let (interrupter, requests) = Interrupter::new(Duration::from_millis(1));
        drop(requests);
        assert!(!interrupter.interrupt());
    }
}
