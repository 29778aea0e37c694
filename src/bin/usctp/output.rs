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

/// Writes text that a peer chose to a terminal: what that would obey instead of showing it is written as in a string of
/// Rust (`\u{1b}`), and what is no UTF-8 as `\x9b`. Line ends and tabs stay.
pub(crate) fn write_escaped(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(is_obeyed) {
            let (plain, from) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let mut from = from.chars();
            if let Some(obeyed) = from.next() {
                write!(out, "{}", obeyed.escape_default())?;
            }
            rest = from.as_str();
        }
        out.write_all(rest.as_bytes())?;
        chunk.invalid().iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))?;
    }
    Ok(())
}

/// Controls of ASCII and of Latin-1, and the marks that change the direction of the text that follows them.
fn is_obeyed(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{061c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_escaped(&mut out, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_written_as_it_is() {
        assert_eq!(escaped(b"\x1b]0;title\x07\x1b[2J"), r"\u{1b}]0;title\u{7}\u{1b}[2J");
        assert_eq!(escaped(b"over\rwritten\x08\x7f\0"), r"over\rwritten\u{8}\u{7f}\u{0}");
        // CSI as a control of Latin-1: in UTF-8, and as a bare byte.
        assert_eq!(escaped("\u{9b}2J".as_bytes()), r"\u{9b}2J");
        assert_eq!(escaped(b"\x9b2J\xff"), r"\x9b2J\xff");
        assert_eq!(escaped("\u{202e}txt.exe".as_bytes()), r"\u{202e}txt.exe");
        for byte in (0..=255_u8).filter(|byte| !matches!(byte, b'\n' | b'\t')) {
            let told = escaped(&[byte, b'[', b'A']);
            assert!(told.chars().all(|c| !c.is_control()), "{byte}: {told}");
        }
    }

    #[test]
    fn text_stays_as_it_is() {
        for text in ["", "two\nlines\n", "a\ttab", "Grüße, 世界 🙂", r"back\slash"] {
            assert_eq!(escaped(text.as_bytes()), text);
        }
        assert_eq!(escaped("cut €".as_bytes().split_at(6).0), r"cut \xe2\x82");
    }
}
