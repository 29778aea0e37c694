//! An alarm clock for a task: one moment at a time.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};

/// Rings at the moment that was set last.
pub(super) struct Alarm(Sender<Option<Instant>>);

impl Alarm {
    /// Starts the clock; each ring is an item. The clock ends with the alarm.
    pub(super) fn start() -> io::Result<(Self, UnboundedReceiver<()>)> {
        let (set, moments) = mpsc::channel::<Option<Instant>>();
        let (ring, rings) = unbounded();
        let wait = move || {
            let mut moment = None;
            loop {
                moment = match moment {
                    None => match moments.recv() {
                        Ok(moment) => moment,
                        Err(_) => return,
                    },
                    Some(at) => {
                        let left = Instant::saturating_duration_since(&at, Instant::now());
                        match moments.recv_timeout(left) {
                            Ok(moment) => moment,
                            Err(RecvTimeoutError::Disconnected) => return,
                            Err(RecvTimeoutError::Timeout) if ring.unbounded_send(()).is_err() => {
                                return;
                            }
                            Err(RecvTimeoutError::Timeout) => None,
                        }
                    }
                };
            }
        };
        thread::Builder::new().name("alarm".to_owned()).spawn(wait)?;
        Ok((Self(set), rings))
    }

    /// Sets the moment, in the place of the one before; `None` for never.
    pub(super) fn set(&self, moment: Option<Instant>) {
        // The clock runs as long as the alarm is there.
        let _ = self.0.send(moment);
    }
}
