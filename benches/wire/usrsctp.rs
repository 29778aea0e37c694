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
    /// Builds what is missing or older than its source here; `None` if that fails, as it does without Debian or a network.
    pub(crate) fn obtain() -> Option<Self> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("usrsctp");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wire/usrsctp");
        let programs =
            Self { tsctp: directory.join("tsctp"), exchange: directory.join("exchange") };
        if programs.are_current(&source) {
            return Some(programs);
        }
        eprintln!("building usrsctp in {} ...", directory.display());
        let status = Command::new(source.join("build")).arg(&directory).status();
        let built = status.is_ok_and(|status| status.success()) && programs.are_current(&source);
        built.then_some(programs)
    }

    fn are_current(&self, source: &Path) -> bool {
        let time = |file: &Path| file.metadata().and_then(|metadata| metadata.modified()).ok();
        self.tsctp.exists() && time(&self.exchange) > time(&source.join("exchange.c"))
    }
}
