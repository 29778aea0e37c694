//! Where usrsctp's programs are, built from Debian's source package if they are not there yet.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that `benches/wire/usrsctp/build` makes.
#[derive(Debug, Clone)]
pub(crate) struct Usrsctp {
    pub(crate) tsctp: PathBuf,
    pub(crate) exchange: PathBuf,
}

impl Usrsctp {
    /// Builds what is missing; `None` if that fails, as it does without Debian or a network.
    pub(crate) fn obtain() -> Option<Self> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("usrsctp");
        let programs =
            Self { tsctp: directory.join("tsctp"), exchange: directory.join("exchange") };
        if programs.are_there() {
            return Some(programs);
        }
        eprintln!("building usrsctp in {} ...", directory.display());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wire/usrsctp/build");
        let status = Command::new(script).arg(&directory).status();
        let built = status.is_ok_and(|status| status.success()) && programs.are_there();
        built.then_some(programs)
    }

    fn are_there(&self) -> bool {
        self.tsctp.exists() && self.exchange.exists()
    }
}
