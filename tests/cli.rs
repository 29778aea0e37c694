//! The command line of `usctp`: usage, exit statuses and what is printed where.

#![cfg(feature = "cli")]

use std::process::{Command, Output};

fn usctp(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_usctp")).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_names_every_command() {
    let output = usctp(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for command in ["demo", "listen", "connect", "decode", "perf", "ping"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{help}");
    }
}

#[test]
fn wrong_usage_ends_with_status_2_and_says_what_is_wrong() {
    for (arguments, expected) in [
        (&[][..], "Usage"),
        (&["listen"], "--port"),
        (&["listen", "--port", "0"], "0 is not in 1..=65535"),
        (&["connect", "--port", "7"], "<ADDR>"),
        (&["connect", "--port", "7", "nowhere"], "nowhere"),
        (&["connect", "--port", "7", "127.0.0.1", "--timeout", "0"], "--timeout"),
        (&["connect", "--port", "7", "127.0.0.1", "--size", "0"], "--size"),
        (&["demo", "--loss", "100"], "--loss"),
        (&["connect", "--port", "7", "127.0.0.1", "--watch", "--json"], "--json"),
        (&["connect", "--port", "7", "127.0.0.1", "--watch"], "standard output is none"),
        (&["listen", "--port", "7", "--watch"], "--watch"),
        (&["ping", "--port", "7"], "<ADDR>"),
        (&["ping", "--port", "7", "127.0.0.1", "--count", "0"], "--count"),
        (&["ping", "--port", "7", "127.0.0.1", "--interval", "soon"], "--interval"),
        (&["perf", "--port", "7"], "<ADDR>"),
        (&["perf", "--server"], "--port"),
        (&["perf", "--server", "--port", "7", "127.0.0.1"], "--server"),
        (&["perf", "--port", "7", "127.0.0.1", "--bytes", "0"], "--bytes"),
        (&["perf", "--port", "7", "127.0.0.1", "--parallel", "0"], "--parallel"),
        (&["perf", "--server", "--port", "7", "--parallel", "2"], "--parallel"),
        (&["perf", "--port", "7", "127.0.0.1", "--congestion", "rack"], "--congestion"),
        (&["decode"], "<FILE>"),
    ] {
        let output = usctp(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = text(&output.stderr);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}
