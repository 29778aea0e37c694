//! Network namespaces for tests over real sockets.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a fresh network namespace with its loopback interface up. A namespace belongs to
/// the thread, so tests do not meet each other.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            println!("SKIPPED: a network namespace needs root");
            return;
        }
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the namespace of this thread.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}
