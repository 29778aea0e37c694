//! Test hosts on one machine: network namespaces joined by veth pairs, gone without a trace when the process ends.
//!
//! A network namespace belongs to a thread: a [`Host`] is a thread that left the machine's network, and whatever
//! that thread opens or starts lives in a network of its own. Nothing is named and nothing is mounted, so the kernel
//! takes everything back when the process ends, however it ends. No program (`ip`, `tc`) is needed.

mod host;
mod link;
mod netlink;
mod prefix;
mod relay;
mod rule;
mod too_big;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, unshare};
use thiserror::Error;

pub use host::{Host, Route};
pub use link::{End, Link, LinkOptions, Loss};
pub use prefix::Prefix;
pub use relay::RelayCounters;
pub use rule::{Rule, Way};

/// The permission to make hosts.
#[derive(Debug)]
pub struct Lab {
    user_namespace: bool,
}

/// Why there can be no hosts, or not this one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LabError {
    /// The kernel, or a policy of this machine, forbids user namespaces.
    #[error(
        "user namespaces are not allowed here ({0}), and making network namespaces without them needs CAP_SYS_ADMIN"
    )]
    NoUserNamespace(#[source] io::Error),
    /// A user namespace was had and cannot be used.
    #[error("the user namespace cannot be set up: {what}: {source}")]
    UserMap {
        /// The file of `/proc` that was to be written.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Network namespaces are not allowed, or the kernel has none.
    #[error("network namespaces are not allowed here: {0}")]
    NoNetworkNamespace(#[source] io::Error),
    /// The kernel refused to set something up.
    #[error("{what}: {source}")]
    Setup {
        /// What was to be done.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl Lab {
    /// Makes sure that this process may make hosts. To be called first in `main`, before any thread is started:
    /// without CAP_SYS_ADMIN the process enters a user namespace, which the kernel allows to a single-threaded
    /// process only; it is root there, and stays its own user towards the rest of the machine.
    ///
    /// # Errors
    /// Whatever forbids it, in words that can be shown to the user.
    pub fn enter() -> Result<Self, LabError> {
        // A capability that is looked at, not tried: a thread that tries may still be leaving
        // while the process asks for its user namespace.
        let user_namespace = !has_cap_sys_admin();
        if user_namespace {
            enter_user_namespace()?;
        }
        let lab = Self { user_namespace };
        lab.host("probe")?;
        Ok(lab)
    }

    /// Whether the process had to enter a user namespace.
    pub fn user_namespace(&self) -> bool {
        self.user_namespace
    }

    /// Makes a host without links; its loopback interface is up.
    ///
    /// # Errors
    /// Network namespaces are not allowed, or are used up.
    pub fn host(&self, name: &str) -> Result<Host, LabError> {
        Host::new(name)
    }
}

/// The effective capabilities of this process, as the kernel tells them in `/proc`.
fn has_cap_sys_admin() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_SYS_ADMIN != 0)
}

fn enter_user_namespace() -> Result<(), LabError> {
    let me = fs::metadata("/proc/self")
        .map_err(|source| LabError::UserMap { what: "/proc/self", source })?;
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| LabError::NoUserNamespace(error.into()))?;
    // user_namespaces(7): an unprivileged process gives up setgroups before it may map its group.
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {} 1", me.uid())),
        ("/proc/self/gid_map", format!("0 {} 1", me.gid())),
    ];
    for (what, map) in maps {
        fs::write(what, map).map_err(|source| LabError::UserMap { what, source })?;
    }
    Ok(())
}
