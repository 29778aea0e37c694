//! Our stack in a host, with a capture of all that it sends and receives.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use usctp::{Association, ConnectOptions, Connecting, Error, Options, Socket, Stack};

use super::suite::Outcome;
use super::topology::Ends;
use super::tshark;

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Raw,
    Udp,
}

impl Transport {
    pub(crate) fn is_udp(self) -> bool {
        self == Self::Udp
    }

    /// The two ports that usrsctp's servers take as arguments, theirs and ours.
    pub(crate) fn server_arguments(self) -> &'static [&'static str] {
        if self.is_udp() { &["9899", "9899"] } else { &[] }
    }
}

/// A stack of ours in the first host of a topology.
pub(crate) struct Ours {
    stack: Stack,
    socket: Socket,
    capture: Capture,
}

/// How long anything that should happen at once may take on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

impl Ours {
    /// Opens a stack with a socket on a port (0: any) and all the addresses of its host's links.
    pub(crate) fn open(hosts: &impl Ends, transport: Transport, port: u16) -> Outcome<Self> {
        Self::open_with(hosts, transport, port, Options::default())
    }

    /// The same with options.
    pub(crate) fn open_with(
        hosts: &impl Ends,
        transport: Transport,
        port: u16,
        options: Options,
    ) -> Outcome<Self> {
        Self::open_on(&hosts.our_addresses(), transport, port, options)
    }

    /// The same on some addresses only.
    pub(crate) fn open_on(
        addresses: &[IpAddr],
        transport: Transport,
        port: u16,
        options: Options,
    ) -> Outcome<Self> {
        let capture = Capture::new();
        let open = || {
            let builder = Stack::builder().capture(&capture.0);
            let builder = if transport.is_udp() { builder.udp(9899) } else { builder.raw() };
            builder.open()
        };
        let stack = once_free(open, Error::is_address_in_use)?;
        let bind = || stack.bind(port, addresses, options.clone());
        let socket = once_free(bind, Error::is_address_in_use)?;
        Ok(Self { stack, socket, capture })
    }

    /// Listens; associations are accepted with [`accept`](Self::accept).
    pub(crate) fn listen(&self) -> Outcome<()> {
        Ok(self.socket.listen()?)
    }

    /// The next association that a peer opens.
    pub(crate) fn accept(&self) -> Outcome<Association> {
        Ok(self.socket.accept_timeout(SOON)?)
    }

    /// An association with the peer's addresses of the topology.
    pub(crate) fn connect(&self, hosts: &impl Ends, port: u16) -> Outcome<Association> {
        let peers = hosts.their_addresses(port);
        Ok(self.socket.connectx(&peers, ConnectOptions::default())?.wait_timeout(SOON)?)
    }

    /// The beginning of an association with these addresses.
    pub(crate) fn connectx(&self, peers: &[SocketAddr]) -> Outcome<Connecting> {
        Ok(self.socket.connectx(peers, ConnectOptions::default())?)
    }

    /// Closes everything; what was captured.
    pub(crate) fn close(self) -> Capture {
        self.socket.close();
        self.stack.close();
        self.capture
    }

    /// Closes everything and lets tshark judge every packet that was sent.
    pub(crate) fn close_and_check(self, hosts: &impl Ends) -> Outcome<()> {
        self.close().check(hosts)
    }
}

/// Opens what an earlier part of a test, or an earlier test, had open on the same port: a child that another test of this
/// process is just starting may hold a copy of the old socket until it has become its program.
pub(crate) fn once_free<T, E>(
    mut open: impl FnMut() -> Result<T, E>,
    is_in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let end = Instant::now() + SOON;
    loop {
        match open() {
            Err(error) if is_in_use(&error) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// A file that is gone with the test.
pub(crate) struct Capture(PathBuf);

impl Capture {
    /// The capture's file, for our program's `--pcap`.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// tshark's word on every packet of ours in it.
    pub(crate) fn check(&self, hosts: &impl Ends) -> Outcome<()> {
        tshark::check(&self.0, &hosts.our_addresses())
    }

    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("usctp-{}-{number}.pcapng", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Kept where a failure is to be looked into.
        if std::thread::panicking() || std::env::var_os("USCTP_KEEP_CAPTURES").is_some() {
            eprintln!("the capture is kept: {}", self.0.display());
            return;
        }
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Starts our program in a host.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_usctp"))
}
