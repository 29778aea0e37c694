//! A host: a thread in a network namespace of its own, and what is run there.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

use super::LabError;
use super::link::{Link, LinkOptions};
use super::netlink::Netlink;
use super::prefix::Prefix;

/// Numbers the hosts of this process; a host's number stands in its interfaces' hardware addresses.
static NUMBER: AtomicU32 = AtomicU32::new(1);

type Job = Box<dyn FnOnce() + Send>;

/// A host with its own interfaces, addresses and routes. Dropping it ends its thread; its network is gone when all
/// that was opened and started in it is.
#[derive(Debug)]
pub struct Host {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub(super) network: Arc<Network>,
}

/// What links and hosts share of a host.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) netlink: Netlink,
    pub(super) namespace: File,
    /// The index of the next interface; 1 is the loopback interface.
    next_index: AtomicU32,
}

/// Where packets to a network go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To this neighbour, which is to pass them on.
    Via(IpAddr),
    /// Nowhere, and a sender is told so (host unreachable).
    Unreachable,
    /// Nowhere; a local sender is told that the address is invalid, others are told nothing.
    Blackhole,
}

impl Host {
    pub(super) fn new(name: &str) -> Result<Self, LabError> {
        let (jobs, todo) = channel::<Job>();
        let (ready, started) = channel();
        let thread = thread::Builder::new()
            .name(format!("host {name}"))
            .spawn(move || live(&todo, &ready))
            .map_err(|source| LabError::Setup { what: format!("host {name}"), source })?;
        let opened = started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
        let (netlink, namespace) = opened.map_err(LabError::NoNetworkNamespace)?;
        let network = Network {
            name: name.to_owned(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            netlink,
            namespace,
            next_index: AtomicU32::new(2),
        };
        let host = Self { jobs: Some(jobs), thread: Some(thread), network: Arc::new(network) };
        host.network
            .setup("setting its loopback interface up", |netlink| netlink.set_up(1, true))?;
        Ok(host)
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.network.name
    }

    /// Runs a closure on the host's thread and gives its result; sockets and threads that it opens and starts belong
    /// to the host, wherever they are used later. A panic in it becomes the caller's.
    ///
    /// # Panics
    /// If called from a closure that this host is running: its thread can do one thing at a time.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        assert_ne!(
            self.thread.as_ref().map(|thread| thread.thread().id()),
            Some(thread::current().id())
        );
        let (result, done) = channel();
        let job: Job = Box::new(move || {
            let _ = result.send(catch_unwind(AssertUnwindSafe(job)));
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        assert!(sent, "the thread of a host takes jobs until the host is dropped");
        match done.recv().expect("every job sends its result, panic or not") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Starts a thread in the host.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let thread = thread::Builder::new().name(format!("{} {name}", self.name()));
        self.run(move || thread.spawn(body))
    }

    /// Moves the calling thread, and it alone, into this host's network for good.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn adopt_thread(&self) -> io::Result<()> {
        Ok(setns(&self.network.namespace, CloneFlags::CLONE_NEWNET)?)
    }

    /// Starts a program in the host.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || command.spawn())
    }

    /// Joins this host to another one by a link: an interface on each, with addresses.
    ///
    /// # Errors
    /// The kernel refuses, with what it refused.
    pub fn link(&self, other: &Self, options: LinkOptions) -> Result<Link, LabError> {
        Link::join(self, other, options)
    }

    /// Adds a route.
    ///
    /// # Errors
    /// The kernel refuses: there is that route already, or the neighbour is on no link of this host.
    pub fn route(&self, to: Prefix, route: Route) -> Result<(), LabError> {
        self.network
            .setup(&format!("adding a route to {to}"), |netlink| netlink.add_route(to, route))
    }

    /// Removes a route that was added.
    ///
    /// # Errors
    /// The kernel refuses: there is no such route.
    pub fn unroute(&self, to: Prefix, route: Route) -> Result<(), LabError> {
        self.network
            .setup(&format!("removing a route to {to}"), |netlink| netlink.delete_route(to, route))
    }

    /// Writes a kernel setting of this host, such as `net/ipv4/conf/all/rp_filter`.
    ///
    /// # Errors
    /// There is no such setting, or it may not be written (inside many containers none may).
    pub fn set(&self, setting: &str, value: &str) -> io::Result<()> {
        // Below /proc/sys/net, a thread sees the settings of the namespace it is in.
        let (path, value) = (format!("/proc/sys/{setting}"), value.to_owned());
        self.run(move || std::fs::write(path, value))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Network {
    pub(super) fn next_index(&self) -> u32 {
        self.next_index.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn setup<T>(
        &self,
        what: &str,
        change: impl FnOnce(&Netlink) -> io::Result<T>,
    ) -> Result<T, LabError> {
        change(&self.netlink).map_err(|source| LabError::Setup {
            what: format!("host {}: {what}", self.name),
            source,
        })
    }
}

type Opened = io::Result<(Netlink, File)>;

/// The life of a host's thread: leave the network of the machine, then do what is asked.
fn live(todo: &Receiver<Job>, ready: &Sender<Opened>) {
    let opened = leave();
    let failed = opened.is_err();
    if ready.send(opened).is_err() || failed {
        return;
    }
    while let Ok(job) = todo.recv() {
        job();
    }
}

fn leave() -> Opened {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok((Netlink::open()?, File::open("/proc/thread-self/ns/net")?))
}
