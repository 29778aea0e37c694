//! What happened and when: told as it happens, kept for the report.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::options;
use super::stage::Addresses;
use crate::output::{Output, Styles, json_line, standard_output};

/// Something worth telling; the fields are those of the JSON line.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Happening {
    NoNamespaces {
        reason: String,
        chosen: bool,
    },
    Scene {
        transport: &'static str,
        #[serde(flatten)]
        addresses: Addresses,
        stage: String,
    },
    Connecting {
        addresses: Vec<IpAddr>,
    },
    Tried {
        address: IpAddr,
        attempt: u32,
    },
    MovedOn {
        address: IpAddr,
        reason: &'static str,
    },
    Dropped {
        address: IpAddr,
        reason: &'static str,
    },
    CommUp {
        primary: IpAddr,
        peer: Vec<IpAddr>,
    },
    Sending {
        bytes: u64,
        message_bytes: usize,
    },
    Cut {
        link: usize,
        address: IpAddr,
        sent: u64,
    },
    Path {
        address: IpAddr,
        state: &'static str,
    },
    Failover {
        address: IpAddr,
        failover_ms: f64,
    },
    Restored {
        link: usize,
        address: IpAddr,
    },
    Interrupted,
    Closed,
}

/// The story so far.
pub(crate) struct Story {
    json: bool,
    started: Instant,
    out: Output,
    styles: Styles,
    bar: Option<ProgressBar>,
    told: Vec<(Duration, Happening)>,
}

#[derive(Serialize)]
struct Timed<'a> {
    #[serde(flatten)]
    happening: &'a Happening,
    at_ms: f64,
}

impl Story {
    /// Times count from now.
    pub(crate) fn new(json: bool) -> Self {
        let styles = if json { Styles::plain() } else { Styles::for_standard_output() };
        let started = Instant::now();
        Self { json, started, out: standard_output(), styles, bar: None, told: Vec::new() }
    }

    /// Tells something that happened now.
    pub(crate) fn tell(&mut self, happening: Happening) -> io::Result<()> {
        self.tell_at(Instant::now(), happening)
    }

    /// Tells something that happened a moment ago.
    pub(crate) fn tell_at(&mut self, at: Instant, happening: Happening) -> io::Result<()> {
        let at = at.saturating_duration_since(self.started);
        if self.json {
            json_line(&mut self.out, &Timed { happening: &happening, at_ms: milliseconds(at) })?;
            self.out.flush()?;
        } else {
            let Styles { strong, faint, good, bad } = self.styles;
            let style = match &happening {
                Happening::CommUp { .. } | Happening::Failover { .. } | Happening::Closed => good,
                Happening::Cut { .. } => bad,
                Happening::Scene { .. } | Happening::Restored { .. } => strong,
                _ => Default::default(),
            };
            let seconds = at.as_secs_f64();
            let line = format!("{faint}{seconds:8.3} s{faint:#}  {style}{happening}{style:#}\n");
            self.write(&line)?;
        }
        self.told.push((at, happening));
        Ok(())
    }

    /// Writes text as it is, above the progress bar if there is one; nothing where JSON is wanted.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let out = &mut self.out;
        let mut write = || {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Writes an object as a line where JSON is wanted.
    pub(crate) fn write_json(&mut self, object: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        json_line(&mut self.out, object)?;
        self.out.flush()
    }

    /// Shows a progress bar on standard error, if that is a terminal.
    pub(crate) fn begin_progress(&mut self, bytes: u64) {
        const LINE: &str = "           {bar:38.green/black} {percent:>3} %  {bytes} at {binary_bytes_per_sec}  {msg}";
        if self.json {
            return;
        }
        let bar = ProgressBar::new(bytes);
        // A template that is wrong would leave the bar as it is by default.
        if let Ok(style) = ProgressStyle::with_template(LINE) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        self.bar = Some(bar);
    }

    /// Moves the progress bar.
    pub(crate) fn progress(&self, bytes: u64, message: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.set_position(bytes);
        }
    }

    /// Takes the progress bar away.
    pub(crate) fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// All that was told, with times from the start.
    pub(crate) fn told(&self) -> &[(Duration, Happening)] {
        &self.told
    }

    pub(crate) fn styles(&self) -> Styles {
        self.styles
    }
}

/// Milliseconds with three decimals: microseconds are as exact as it gets.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNamespaces { chosen: true, .. } => {
                write!(f, "without network namespaces, as --udp asks")
            }
            Self::NoNamespaces { reason, .. } => {
                write!(f, "no network namespaces here, so over UDP on loopback instead: {reason}")
            }
            Self::Scene { addresses, stage, .. } => write!(
                f,
                "{stage}\n            client {}   server {}\n            {}",
                List(&addresses.client),
                List(&addresses.server),
                options::IN_WORDS,
            ),
            Self::Connecting { addresses } => {
                write!(f, "connectx to {}", List(addresses))
            }
            Self::Tried { address, attempt } => write!(f, "INIT {attempt} to {address}"),
            Self::MovedOn { address, reason } => {
                write!(f, "{address}: {reason}; on to the next address")
            }
            Self::Dropped { address, reason } => write!(f, "{address} dropped: {reason}"),
            Self::CommUp { primary, peer } => {
                write!(f, "established with {}; primary path {primary}", List(peer))
            }
            Self::Sending { bytes, message_bytes } => write!(
                f,
                "sending {} in messages of {}",
                HumanBytes(*bytes),
                HumanBytes(*message_bytes as u64)
            ),
            Self::Cut { link, address, sent } => write!(
                f,
                "link {link} ({address}) is cut after {}: what is sent to it reaches nobody",
                HumanBytes(*sent)
            ),
            Self::Path { address, state } => {
                write!(f, "path {address} is {}", state.replace('_', " "))
            }
            Self::Failover { address, failover_ms } => {
                write!(f, "failover: traffic goes to {address}, {failover_ms:.0} ms after the cut")
            }
            Self::Restored { link, address } => write!(f, "link {link} ({address}) is restored"),
            Self::Interrupted => write!(f, "interrupted: closing gracefully (again: at once)"),
            Self::Closed => write!(f, "closed gracefully"),
        }
    }
}

/// Addresses with spaces between.
pub(crate) struct List<'a>(pub(crate) &'a [IpAddr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{address}")?;
        }
        Ok(())
    }
}
