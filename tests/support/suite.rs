//! A list of tests that tells plainly what it skips and why.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use usctp::lab::{Lab, LabError};

use super::linux::{Guest, Guests};
use super::peer::{usrsctp, usrsctp_sender};
use super::tshark;

/// What a test gives: an assertion panics, an error says what failed before it could be checked.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The tests of one test program.
pub(crate) struct Suite {
    name: &'static str,
    lab: Result<Arc<Lab>, LabError>,
    trials: Vec<Trial>,
    /// How many tests run at a time, unless the command line says it.
    pub(crate) at_a_time: usize,
}

impl Suite {
    /// Takes up the lab; to be called first in `main`.
    pub(crate) fn enter(name: &'static str) -> Self {
        Self { name, lab: Lab::enter().map(Arc::new), trials: Vec::new(), at_a_time: 2 }
    }

    /// Adds a test that needs hosts; skipped where there can be none.
    pub(crate) fn in_lab(
        &mut self,
        name: impl Into<String>,
        test: impl FnOnce(&Lab) -> Outcome<()> + Send + 'static,
    ) {
        let name = name.into();
        match &self.lab {
            Ok(lab) => {
                let lab = Arc::clone(lab);
                self.trials.push(Trial::test(name, move || {
                    test(&lab).map_err(|error| Failed::from(error.to_string()))
                }));
            }
            Err(error) => {
                let reason = error.to_string();
                self.skip(name, &reason);
            }
        }
    }

    /// Adds a test that needs hosts and one of usrsctp's programs, and tshark to judge; skipped where one is missing.
    pub(crate) fn with_program(
        &mut self,
        name: impl Into<String>,
        program: &str,
        test: impl FnOnce(&Lab) -> Outcome<()> + Send + 'static,
    ) {
        if usrsctp(program).is_none() {
            self.skip(name, &format!("usrsctp's {program} is not installed (Debian: apt-get install libusrsctp-examples)"));
        } else if let Some(reason) = tshark::missing() {
            self.skip(name, reason);
        } else {
            self.in_lab(name, test);
        }
    }

    /// Adds a test that needs hosts and the sender over usrsctp that is compiled with a package to be downloaded; skipped
    /// in the class of [`with_linux`](Self::with_linux) where that is not to be had.
    pub(crate) fn with_usrsctp_sender(
        &mut self,
        name: impl Into<String>,
        test: impl FnOnce(&Lab, &Path) -> Outcome<()> + Send + 'static,
    ) {
        match usrsctp_sender() {
            Ok(sender) => self.with_program(name, "echo_server", move |lab| test(lab, &sender)),
            Err(reason) => {
                let name = name.into();
                let line = format!("SKIPPED-PEER: {}::{name}: {reason}", self.name);
                self.skip_saying(name, reason, line);
            }
        }
    }

    /// Adds a test that borrows a peer with a Linux kernel; skipped where there can be none. Whether there can be depends
    /// on what is downloaded, so that these skips are of a class of their own (`SKIPPED-PEER`) and fail nowhere.
    pub(crate) fn with_linux(
        &mut self,
        name: impl Into<String>,
        guests: &Arc<Guests>,
        test: impl FnOnce(&Guest) -> Outcome<()> + Send + 'static,
    ) {
        let (name, guests) = (name.into(), Arc::clone(guests));
        if let Some(reason) = tshark::missing() {
            return self.skip(name, reason);
        }
        let told = format!("{}::{name}", self.name);
        self.trials.push(Trial::ignorable_test(name, move || guests.lend(&told, test)));
    }

    /// Adds a test that is skipped for a reason.
    pub(crate) fn skip(&mut self, name: impl Into<String>, reason: &str) {
        let (name, reason) = (name.into(), reason.to_owned());
        let line = format!("SKIPPED: {}::{name}: {reason}", self.name);
        self.skip_saying(name, reason, line);
    }

    fn skip_saying(&mut self, name: String, reason: String, line: String) {
        self.trials.push(Trial::ignorable_test(name, move || {
            // On standard error, where it stands among the results whatever format they are printed in.
            eprintln!("{line}");
            Ok(Completion::ignored_with(reason))
        }));
    }

    /// Runs what the command line asks for.
    pub(crate) fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // Hosts and peers keep their time only if they get theirs.
        arguments.test_threads.get_or_insert(self.at_a_time);
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }
}
