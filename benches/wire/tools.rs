//! The programs that cases need: installed where that may be, else said what is missing before anything is measured.

use std::process::{Command, Stdio};

use crate::case::{Case, Way};

/// A program, Debian's package that has it, and what it is for.
struct Tool {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
    is_needed: fn(&Case) -> bool,
}

const TOOLS: [Tool; 2] = [
    Tool {
        program: "nft",
        package: "nftables",
        purpose: "loses packets",
        is_needed: |case| case.loss > 0,
    },
    Tool {
        program: "ethtool",
        package: "ethtool",
        purpose: "switches off segmentation offload",
        is_needed: |case| case.way == Way::UdpCut,
    },
];

/// Brings in what the cases need, and leaves out those that cannot be played, with a word for each tool that is missing.
pub(crate) fn provide(cases: &mut Vec<Case>) {
    for tool in TOOLS {
        if tool.is_there() || !cases.iter().any(tool.is_needed) || tool.install() {
            continue;
        }
        let before = cases.len();
        cases.retain(|case| !(tool.is_needed)(case));
        let Tool { program, package, purpose, .. } = tool;
        eprintln!(
            "SKIPPED: {} cases need `{program}`, which {purpose}: it is not installed (apt-get install {package})",
            before - cases.len()
        );
    }
}

impl Tool {
    fn is_there(&self) -> bool {
        succeeds(Command::new(self.program).arg("--version"))
    }

    /// Installs the package where this process may: as root, with apt-get. An old list of packages is refreshed only if it
    /// has to be.
    fn install(&self) -> bool {
        if !nix::unistd::geteuid().is_root() || !succeeds(Command::new("apt-get").arg("--version"))
        {
            return false;
        }
        eprintln!("Installing {} ...", self.package);
        let apt = |words: &[&str]| {
            let mut command = Command::new("timeout");
            command.args(["-k", "10", "200", "apt-get"]);
            command.args(["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=2"]);
            command.args(["-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20"]);
            succeeds(command.args(words).env("DEBIAN_FRONTEND", "noninteractive"))
        };
        let install = ["install", "-y", "-qq", "--no-install-recommends", self.package];
        apt(&install) || (apt(&["update", "-qq"]) && apt(&install))
    }
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
