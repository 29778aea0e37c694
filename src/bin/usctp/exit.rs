//! How the program ends: the exit statuses and the one line that says why.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// The exit statuses; other programs rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// All that was asked for was done.
    Done = 0,
    /// Something failed while running.
    Failed = 1,
    /// Wrong usage, or an address that cannot be used.
    Usage = 2,
    /// The peer refused: ABORT, or ICMP protocol unreachable.
    Refused = 3,
    /// Nobody answered in time.
    TimedOut = 4,
    /// Raw sockets are not permitted.
    NoPermission = 5,
    /// An address or port is in use.
    InUse = 6,
    /// Interrupted by the user.
    Interrupted = 130,
}

/// Why the program does not end with success.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    /// What standard error says; `None` where there is nobody to read it or nothing to add.
    message: Option<String>,
}

impl Failure {
    /// A failure with a status of its own.
    pub(crate) fn new(status: Status, message: impl Display) -> Self {
        Self { status, message: Some(message.to_string()) }
    }

    /// Something failed while running.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self::new(Status::Failed, message)
    }

    /// The user ended it, and knows.
    pub(crate) fn interrupted() -> Self {
        Self { status: Status::Interrupted, message: None }
    }

    /// Nobody reads standard output any more (`usctp decode FILE | head`): no fault, and nothing to say.
    pub(crate) fn nobody_reads() -> Self {
        Self { status: Status::Done, message: None }
    }

    /// Writes the message to standard error and turns the failure into the process's status.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            // Where even standard error is closed, the status still tells.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("usctp: {message}\n"));
        }
        ExitCode::from(self.status as u8)
    }
}
