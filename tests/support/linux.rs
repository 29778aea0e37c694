//! Peers with a Linux kernel's SCTP, brought up by `tests/interop/linux-peer`, and tests that borrow one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Completion, Failed};
use nix::sched::{CloneFlags, setns};

use super::peer::Peer;
use super::suite::Outcome;
use super::topology::{Ends, Family};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/linux-peer");

/// How many links lead to a guest.
const LINKS: u8 = 2;

/// A command that has nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(20);

/// What the script answers where there can be no peer.
const CANNOT: i32 = 77;

/// Short timers, so that a failover takes no minute, and no UDP encapsulation: how every test finds the kernel. The
/// smallest that Linux accepts for a delayed acknowledgement is 200 ms.
const SETTINGS: &str = "\
    sysctl -qw net.sctp.rto_min=200 net.sctp.rto_initial=500 net.sctp.rto_max=500 net.sctp.sack_timeout=200 \
    net.sctp.path_max_retrans=2 net.sctp.pf_retrans=0 net.sctp.hb_interval=500 \
    net.sctp.encap_port=0 net.sctp.udp_port=0";

/// A running guest; dropping it ends it.
pub(crate) struct Guest {
    name: String,
    run: Child,
    /// The network of the host that its links lead to.
    network: File,
}

impl Guest {
    /// Boots one; the inner error is the reason why there can be none here.
    pub(crate) fn boot() -> Outcome<Result<Self, String>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        // It lives as long as its standard input is open; however this process ends, that ends with it.
        let mut run = Command::new(SCRIPT)
            .args(["run", &name, &LINKS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        let stdout = run.stdout.take().ok_or("the script has a standard output")?;
        BufReader::new(stdout).read_line(&mut ready)?;
        let Some(pid) = ready.trim().rsplit(' ').next().filter(|pid| !pid.is_empty()) else {
            let mut reason = String::new();
            run.stderr
                .take()
                .ok_or("the script has a standard error")?
                .read_to_string(&mut reason)?;
            if run.wait()?.code() == Some(CANNOT) {
                eprintln!("{reason}");
                let last = reason.lines().last().unwrap_or_default();
                return Ok(Err(last.trim_start_matches("linux-peer: ").to_owned()));
            }
            return Err(reason.into());
        };
        let network = File::open(format!("/proc/{pid}/ns/net"))?;
        Ok(Ok(Self { name, run, network }))
    }

    /// Moves the calling thread into the host's network, and gives both kernels what a test begins with.
    pub(crate) fn enter(&self) -> Outcome<()> {
        setns(&self.network, CloneFlags::CLONE_NEWNET)?;
        for link in 1..=LINKS {
            self.restore(link)?;
        }
        self.run(SETTINGS)?;
        Ok(())
    }

    /// Starts a shell command in the guest; dropping what it gives ends the command.
    pub(crate) fn start(&self, command: &str) -> Outcome<Peer> {
        Peer::start_here(Path::new(SCRIPT), &["exec", &self.name, command])
    }

    /// Runs a shell command in the guest and gives its output.
    pub(crate) fn run(&self, command: &str) -> Outcome<String> {
        let (status, text) = self.start(command)?.wait(AT_ONCE)?;
        if !status.success() {
            return Err(format!("{command} in the guest: {status}: {text}").into());
        }
        Ok(text)
    }

    /// Makes a link, counted from 1, a silent black hole.
    pub(crate) fn cut(&self, link: u8) -> Outcome<()> {
        self.script("cut", link)
    }

    /// Takes back [`cut`](Self::cut).
    pub(crate) fn restore(&self, link: u8) -> Outcome<()> {
        self.script("restore", link)
    }

    /// Lets frames to an address on the first link reach nobody; otherwise our own kernel would find that there is no
    /// such neighbour and say so.
    pub(crate) fn add_dead_neighbour(&self, address: IpAddr) -> Outcome<()> {
        let address = address.to_string();
        let to_nobody = ["lladdr", "02:00:00:00:00:00", "dev", "link1", "nud", "permanent"];
        let mut command = Command::new(SCRIPT);
        command.args(["host", &self.name, "ip", "neigh", "replace", &address]).args(to_nobody);
        if !command.status()?.success() {
            return Err(format!("{address} cannot be made a neighbour").into());
        }
        Ok(())
    }

    fn script(&self, what: &str, link: u8) -> Outcome<()> {
        let output = Command::new(SCRIPT).args([what, &self.name, &link.to_string()]).output()?;
        if !output.status.success() {
            return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(())
    }

    /// Whether its kernel still runs.
    fn answers(&self) -> bool {
        self.run("true").is_ok()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.run.stdin.take());
        let _ = self.run.wait();
    }
}

/// Guests that tests borrow, one at a time each; booted when they are needed.
#[derive(Default)]
pub(crate) struct Guests(Mutex<Pool>);

#[derive(Default)]
struct Pool {
    idle: Vec<Guest>,
    /// Why there can be none.
    cannot: Option<String>,
}

impl Guests {
    /// Runs a test with a guest. Where there can be none the test is skipped, and so it is if the guest's kernel dies
    /// under it: that is no fault of what is tested, and nobody could act on it.
    pub(crate) fn lend(
        self: &Arc<Self>,
        name: &str,
        test: impl FnOnce(&Guest) -> Outcome<()>,
    ) -> Result<Completion, Failed> {
        let skipped = |reason: String| {
            eprintln!("SKIPPED-PEER: {name}: {reason}");
            Ok(Completion::ignored_with(reason))
        };
        let guest = match self.take()? {
            Ok(guest) => guest,
            Err(reason) => return skipped(reason),
        };
        let result = catch_unwind(AssertUnwindSafe(|| guest.enter().and_then(|()| test(&guest))));
        if matches!(result, Ok(Ok(()))) {
            self.lock().idle.push(guest);
            return Ok(Completion::Completed);
        }
        if !guest.answers() {
            return skipped("the guest's kernel died during this test".to_owned());
        }
        match result {
            Ok(result) => {
                result.map(|()| Completion::Completed).map_err(|error| error.to_string().into())
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    fn take(&self) -> Result<Result<Guest, String>, Failed> {
        let mut pool = self.lock();
        if let Some(guest) = pool.idle.pop() {
            return Ok(Ok(guest));
        }
        if let Some(reason) = &pool.cannot {
            return Ok(Err(reason.clone()));
        }
        drop(pool);
        // On a thread of its own: this one may be in the network of a guest that is no more.
        let booted = thread::spawn(Guest::boot).join().map_err(|_| "booting panicked")?;
        let booted = booted.map_err(|error| error.to_string())?;
        if let Err(reason) = &booted {
            self.lock().cannot = Some(reason.clone());
        }
        Ok(booted)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of the two ends of a guest's links, in one family; the script gives them.
#[derive(Clone, Copy)]
pub(crate) struct Wires(pub(crate) Family);

impl Wires {
    /// An address on a link: of ours (1), the guest's (2), or nobody.
    pub(crate) fn address(self, link: u8, host: u8) -> IpAddr {
        match self.0 {
            Family::V4 => Ipv4Addr::new(10, link, 0, host).into(),
            // fd00:LINK::HOST; the numbers are below ten, so that digits and numbers are the same.
            Family::V6 => Ipv6Addr::new(0xfd00, link.into(), 0, 0, 0, 0, 0, host.into()).into(),
        }
    }

    /// One of the guest's addresses.
    pub(crate) fn theirs(self, link: u8) -> IpAddr {
        self.address(link, 2)
    }

    /// One of our addresses.
    pub(crate) fn ours(self, link: u8) -> IpAddr {
        self.address(link, 1)
    }
}

impl Ends for Wires {
    fn our_addresses(&self) -> Vec<IpAddr> {
        (1..=LINKS).map(|link| self.ours(link)).collect()
    }

    fn their_addresses(&self, port: u16) -> Vec<SocketAddr> {
        (1..=LINKS).map(|link| SocketAddr::new(self.theirs(link), port)).collect()
    }
}
