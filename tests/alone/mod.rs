//! Tests in a process of their own, since what they do is done to the whole process.

use std::process::Command;

const CHILD: &str = "USCTP_TEST_OWN_PROCESS";

/// Runs this test again in a process of its own; true in that process.
pub(crate) fn in_process_of_its_own(name: &str) -> bool {
    in_process_by(Command::new(std::env::current_exe().unwrap()), name)
}

/// Runs this test again in the process that the command makes of it; true in that process.
pub(crate) fn in_process_by(mut command: Command, name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = command.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
    if said.contains("SKIPPED") {
        println!("{said}");
    }
    false
}
