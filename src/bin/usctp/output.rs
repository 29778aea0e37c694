//! Standard output: JSON lines or text, and the quiet end when nobody reads it any more.

use std::io::{self, BufWriter, Stdout, Write};

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::Failure;

/// Buffered standard output; what is lost with a closed pipe is lost quietly.
pub(crate) type Output = BufWriter<Stdout>;

/// Standard output with room for many lines before it is written.
pub(crate) fn standard_output() -> Output {
    BufWriter::with_capacity(1 << 16, io::stdout())
}

/// Every error of writing results comes through here.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::nobody_reads(),
            _ => Self::failed(format_args!("cannot write to standard output: {error}")),
        }
    }
}

/// Writes one object as one line.
pub(crate) fn json_line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// The styles of text output; all of them plain where standard output shows no colours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Styles {
    /// What a line is about.
    pub(crate) strong: Style,
    /// What is secondary.
    pub(crate) faint: Style,
    /// What is well.
    pub(crate) good: Style,
    /// What is wrong.
    pub(crate) bad: Style,
}

impl Styles {
    /// Colours on a terminal, unless the environment (`NO_COLOR`, `CLICOLOR`, `TERM`) says otherwise.
    pub(crate) fn for_standard_output() -> Self {
        if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
            return Self::plain();
        }
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        Self {
            strong: Style::new().bold(),
            faint: Style::new().dimmed(),
            good: color(AnsiColor::Green),
            bad: color(AnsiColor::Red).bold(),
        }
    }

    /// No colours.
    pub(crate) fn plain() -> Self {
        let plain = Style::new();
        Self { strong: plain, faint: plain, good: plain, bad: plain }
    }
}
