//! `usctp decode`: prints every SCTP packet of a capture file.

mod describe;
mod file;
mod layers;
mod tally;
mod text;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::args::DecodeOptions;
use crate::exit::{Failure, Status};
use crate::output::{Output, Styles, json_line, standard_output};
use describe::Description;
use file::{CaptureError, CaptureFile};
use layers::{Found, Layers, Origin};
use tally::Tally;

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
    let damage = match read {
        Ok(()) => None,
        // Nobody reads on: what is left to say would be about the part that was read.
        Err(Stopped::Output(error)) => return Err(error.into()),
        Err(Stopped::Capture(error)) => Some(error),
    };
    for line in decoder.tally.lines() {
        let _ = writeln!(io::stderr(), "usctp: {name}: {line}");
    }
    match damage {
        None => Ok(()),
        Some(error) => Err(Failure::failed(format_args!(
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
    layers: Layers<'a>,
    /// All frames so far, with SCTP or without.
    frames: u64,
    /// The time of the first frame.
    start: Option<i128>,
    /// What became of them.
    tally: Tally,
}

impl<'a> Decoder<'a> {
    /// SCTP packets are looked for behind these UDP ports, too.
    fn new(udp_ports: &'a [u16]) -> Self {
        Self { layers: Layers::new(udp_ports), frames: 0, start: None, tally: Tally::default() }
    }

    /// Describes each packet to `sink`, until the file ends or either side fails.
    fn each_packet(
        &mut self,
        source: impl Read + 'static,
        mut sink: impl FnMut(&Description) -> io::Result<()>,
    ) -> Result<(), Stopped> {
        let read = self.each_frame(source, &mut sink);
        if matches!(read, Err(Stopped::Output(_))) {
            return read;
        }
        let left = self.layers.finish();
        self.show(left, &mut sink)?;
        read
    }

    fn each_frame(
        &mut self,
        source: impl Read + 'static,
        sink: &mut impl FnMut(&Description) -> io::Result<()>,
    ) -> Result<(), Stopped> {
        let mut capture = CaptureFile::open(source).map_err(Stopped::Capture)?;
        while let Some(frame) = capture.next_frame().map_err(Stopped::Capture)? {
            self.frames += 1;
            self.start = self.start.or(frame.time);
            if let Some(link_type) = frame.link_type {
                let origin = Origin { frame: self.frames, time: frame.time };
                let found = self.layers.frame(link_type, origin, frame.bytes);
                self.show(found, sink)?;
            }
        }
        Ok(())
    }

    fn show(
        &mut self,
        found: Vec<Found>,
        sink: &mut impl FnMut(&Description) -> io::Result<()>,
    ) -> Result<(), Stopped> {
        for found in found {
            match found {
                Ok(carried) => {
                    self.tally.packet();
                    let description = describe::describe(self.at_ms(carried.origin), carried);
                    sink(&description).map_err(Stopped::Output)?;
                }
                Err(miss) => self.tally.miss(miss),
            }
        }
        Ok(())
    }

    fn at_ms(&self, origin: Origin) -> Option<f64> {
        let (time, start) = origin.time.zip(self.start)?;
        Some(time.saturating_sub(start) as f64 / 1e6)
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
