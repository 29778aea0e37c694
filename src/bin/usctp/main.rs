//! The program `usctp`: a demonstration, a server, a client, measurements and a decoder of captures.

mod args;
mod connect;
mod decode;
mod demo;
mod events;
mod exit;
mod input;
mod interrupt;
mod listen;
mod network;
mod output;
mod peer;
mod perf;
mod ping;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let watches = matches!(&arguments.command, Command::Connect(options) if options.watch);
    trace(arguments.verbose, watches);
    let result = match &arguments.command {
        Command::Demo(options) => demo::run(options),
        Command::Listen(options) => listen::run(options),
        Command::Connect(options) => connect::run(options),
        Command::Decode(options) => decode::run(options),
        Command::Perf(options) => perf::run(options),
        Command::Ping(options) => ping::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Sends what the library traces to standard error: warnings always, more with each `-v`.
/// A live view is not written across.
fn trace(verbose: u8, watches: bool) {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let level = match verbose {
        _ if watches && is_terminal => LevelFilter::OFF,
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
}
