//! A program in a host: its lines, its end, and the processor time it took.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use usctp::lab::Host;

use crate::Outcome;

/// Longer than any run takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running program; dropping it kills it.
pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts a program; its standard error is ours.
    pub(crate) fn start(host: &Host, mut command: Command) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = host.start(command).map_err(|error| format!("{name}: {error}"))?;
        let stdout = BufReader::new(child.stdout.take().ok_or("it has a standard output")?);
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name, child, lines })
    }

    /// The next line that contains the text.
    pub(crate) fn line(&self, text: &str) -> Outcome<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .map_err(|_| format!("{} wrote no line with {text:?}", self.name))?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Waits until it ends by itself: the processor time it took.
    pub(crate) fn finish(mut self) -> Outcome<Duration> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = children()?;
            // Only one child is waited for at a time, so what is added then is its time.
            if self.child.try_wait()?.is_some() {
                return Ok(children()? - before);
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not end", self.name).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it by a signal: the processor time it took.
    pub(crate) fn stop(self, signal: Signal) -> Outcome<Duration> {
        kill(Pid::from_raw(self.child.id().try_into()?), signal)?;
        self.finish()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time of all children that were waited for.
fn children() -> Outcome<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(microseconds.try_into()?))
}
