//! `usctp decode`: prints every SCTP packet of a capture file.

mod describe;
mod file;
mod layers;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::args::DecodeOptions;
use crate::exit::{Failure, Status};
use crate::output::{Output, Styles, json_line, standard_output};
use describe::Description;
use file::{CaptureError, CaptureFile, Frame};

/// Prints the packets of the file as far as it can be read, then says what stopped it.
pub(crate) fn run(options: &DecodeOptions) -> Result<(), Failure> {
    let name = options.file.display();
    let source = open(&options.file).map_err(|error| {
        Failure::new(Status::Failed, format_args!("cannot open {name}: {error}"))
    })?;
    let mut printer = Printer::new(options.json);
    let mut decoder = Decoder::new(&options.udp_port);
    let read = decoder.each_packet(source, |description| printer.print(description));
    printer.out.flush()?;
    for link_type in &decoder.unsupported {
        let _ = writeln!(
            io::stderr(),
            "usctp: {name}: frames of link type {link_type} were not looked into"
        );
    }
    match read {
        Ok(()) => Ok(()),
        Err(Stopped::Output(error)) => Err(error.into()),
        Err(Stopped::Capture(error)) => Err(Failure::failed(format_args!(
            "{name}: {error} ({} frames before it were read)",
            decoder.frames
        ))),
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(path)?))
}

/// What ended the reading early.
#[derive(Debug)]
enum Stopped {
    Capture(CaptureError),
    Output(io::Error),
}

/// Goes through the frames of a file.
struct Decoder<'a> {
    /// UDP ports that SCTP packets are looked for behind.
    udp_ports: &'a [u16],
    /// All frames so far, with SCTP or without.
    frames: u64,
    /// The time of the first frame.
    start: Option<i128>,
    /// Link types that were met and are not read.
    unsupported: BTreeSet<u16>,
}

impl<'a> Decoder<'a> {
    fn new(udp_ports: &'a [u16]) -> Self {
        Self { udp_ports, frames: 0, start: None, unsupported: BTreeSet::new() }
    }

    /// Describes each packet to `sink`, until the file ends or either side fails.
    fn each_packet(
        &mut self,
        source: impl Read + 'static,
        mut sink: impl FnMut(&Description) -> io::Result<()>,
    ) -> Result<(), Stopped> {
        let mut capture = CaptureFile::open(source).map_err(Stopped::Capture)?;
        while let Some(frame) = capture.next_frame().map_err(Stopped::Capture)? {
            if let Some(description) = self.describe(frame) {
                sink(&description).map_err(Stopped::Output)?;
            }
        }
        Ok(())
    }

    fn describe(&mut self, frame: Frame) -> Option<Description> {
        self.frames += 1;
        let at_ms = frame.time.map(|time| {
            let start = *self.start.get_or_insert(time);
            time.saturating_sub(start) as f64 / 1e6
        });
        let link_type = frame.link_type?;
        if !layers::is_supported(link_type) {
            self.unsupported.insert(link_type);
            return None;
        }
        let carried = layers::sctp(link_type, frame.bytes, self.udp_ports)?;
        Some(describe::describe(self.frames, at_ms, carried))
    }
}

/// Writes descriptions to standard output.
struct Printer {
    out: Output,
    json: bool,
    styles: Styles,
}

impl Printer {
    fn new(json: bool) -> Self {
        Self { out: standard_output(), json, styles: Styles::for_standard_output() }
    }

    fn print(&mut self, description: &Description) -> io::Result<()> {
        if self.json {
            json_line(&mut self.out, description)
        } else {
            text::write(&mut self.out, description, &self.styles)
        }
    }
}
