//! `usctp demo`: two hosts of two links each, a dead address, a link cut halfway, and what became of every byte.

mod act;
mod conductor;
mod loopback;
mod namespaces;
mod options;
mod report;
mod stage;
mod story;
mod transfer;

use usctp::lab::Lab;

use self::conductor::Conductor;
use self::loopback::Loopback;
use self::namespaces::Namespaces;
use self::stage::Stage;
use self::story::{Happening, Story};
use crate::args::DemoOptions;
use crate::exit::{Failure, Status};
use crate::interrupt::{self, Interrupts};

/// Builds the hosts, runs the transfer and tells what happened.
pub(crate) fn run(options: &DemoOptions) -> Result<(), Failure> {
    if options.bytes == 0 {
        return Err(Failure::new(Status::Usage, "--bytes: at least one byte is needed"));
    }
    // A user namespace can be entered only while there is one thread: this comes before anything that starts one.
    let lab = if options.udp { None } else { Some(Lab::enter()) };
    let interrupts = interrupt::interrupts(interrupt::CLOSE_WITHIN)?;
    let mut story = Story::new(options.json);
    let namespaces = match lab {
        Some(Ok(lab)) => Namespaces::build(&lab, options).map_err(|error| error.to_string()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("--udp was given".to_owned()),
    };
    match namespaces {
        Ok(namespaces) => play(namespaces, options, story, interrupts),
        Err(reason) => {
            story.tell(Happening::NoNamespaces { reason, chosen: options.udp })?;
            play(Loopback::build(options)?, options, story, interrupts)
        }
    }
}

/// The same play on either stage.
fn play(
    stage: impl Stage + Sync,
    options: &DemoOptions,
    mut story: Story,
    interrupts: Interrupts,
) -> Result<(), Failure> {
    if let Some(file) = &options.pcap {
        // Tried here, so that a file that must not be written is not taken for sockets that must not be opened.
        std::fs::File::create(file).map_err(|error| {
            Failure::failed(format_args!("cannot write {}: {error}", file.display()))
        })?;
    }
    story.tell(stage.scene(options.loss))?;
    Conductor::new(&stage, options.bytes, story, interrupts).run(options.pcap.as_deref())
}
