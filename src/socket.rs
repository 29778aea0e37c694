//! One-to-many sockets (RFC 6458, section 3): one port, a set of local addresses, any number of associations.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use usctp_assoc::{ConnectOptions, Counters};

use crate::association::Association;
use crate::driver::endpoint::SharedEndpoint;
use crate::driver::wait::{Attempt, Interest, Queue, Wait};
use crate::error::Error;
use crate::item::Arrival;

mod connecting;

pub use connecting::Connecting;

/// How many associations wait to be accepted, unless it is chosen otherwise.
const BACKLOG: usize = 1024;

/// A port with a set of local addresses, from which associations are opened and on which they are accepted.
///
/// Dropping it stops listening and closes in the background what nobody holds a handle of; associations with a handle
/// live on. [`close`](Self::close) closes those too.
#[derive(Debug)]
pub struct Socket {
    endpoint: Arc<SharedEndpoint>,
    linger: Duration,
}

impl Socket {
    pub(crate) fn new(endpoint: Arc<SharedEndpoint>, linger: Duration) -> Self {
        Self { endpoint, linger }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.endpoint.port()
    }

    /// The local addresses it is bound to: those that INIT and INIT ACK list, and IPv6 link-local ones, which neighbours
    /// know without being told.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.endpoint.look(Vec::new(), |inner| inner.addresses().to_vec())
    }

    /// Binds more addresses (RFC 6458, section 9.1, `SCTP_BINDX_ADD_ADDR`): all of them or none.
    ///
    /// Associations that begin from now on have them. Those that exist keep the addresses they began with: their peers were
    /// not told of others, and telling them takes ASCONF (RFC 5061), which this stack does not speak yet. FreeBSD and Linux
    /// do the same where ASCONF was not agreed on.
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`] with the index of an address that is not this host's, has no link, or is bound already; or
    /// because the socket is bound to all addresses. [`Error::StackClosed`].
    pub fn bindx_add(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        self.endpoint.bind_more(addresses)
    }

    /// Unbinds addresses (RFC 6458, section 9.1, `SCTP_BINDX_REM_ADDR`): all of them or none.
    ///
    /// Peers that ask for an association at one of them are refused from now on, and associations that begin from now on do
    /// without. Those that exist keep the addresses they began with, as with [`bindx_add`](Self::bindx_add).
    ///
    /// # Errors
    /// [`Error::BadLocalAddress`] with the index of an address that is not bound, or that would be the last; or because the
    /// socket is bound to all addresses. [`Error::StackClosed`].
    pub fn bindx_remove(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        self.endpoint.unbind(addresses)
    }

    /// What became of the packets for this port.
    pub fn counters(&self) -> Counters {
        self.endpoint.look(Counters::default(), |inner| *inner.counters())
    }

    /// Begins to answer peers that want an association. At most 1,024 wait to be accepted; then peers are refused.
    ///
    /// # Errors
    /// [`Error::StackClosed`].
    pub fn listen(&self) -> Result<(), Error> {
        self.listen_backlog(BACKLOG)
    }

    /// As [`listen`](Self::listen), with so many that may wait to be accepted, at least one.
    ///
    /// # Errors
    /// [`Error::StackClosed`].
    pub fn listen_backlog(&self, backlog: usize) -> Result<(), Error> {
        self.endpoint.with(|inner, _| {
            inner.check_open()?;
            inner.listen(Some(backlog.max(1)));
            Ok(())
        })
    }

    /// Refuses peers from now on; associations that are there stay, and those that wait can still be accepted.
    ///
    /// # Errors
    /// [`Error::StackClosed`].
    pub fn stop_listening(&self) -> Result<(), Error> {
        self.endpoint.with(|inner, _| {
            inner.check_open()?;
            inner.listen(None);
            Ok(())
        })
    }

    /// Takes the next association that a peer opened; waits for one.
    ///
    /// # Errors
    /// [`Error::NotListening`], [`Error::StackClosed`].
    pub fn accept(&self) -> Result<Association, Error> {
        self.accepting().block(None)
    }

    /// As [`accept`](Self::accept), waiting at most `timeout`.
    ///
    /// # Errors
    /// As for `accept`, and [`Error::TimedOut`].
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Association, Error> {
        self.accepting().block(Some(timeout))
    }

    /// As [`accept`](Self::accept), without waiting.
    ///
    /// # Errors
    /// As for `accept`, and [`Error::WouldBlock`].
    pub fn try_accept(&self) -> Result<Association, Error> {
        self.accepting().now()
    }

    /// As [`accept`](Self::accept), as a future. Dropping it loses no association.
    pub fn accept_async(&self) -> impl Future<Output = Result<Association, Error>> + Send + '_ {
        self.accepting()
    }

    /// Takes the next of what came to the socket, new associations among it; waits for something. One loop so serves any
    /// number of peers.
    ///
    /// A peer that wants an association comes first, if the socket listens: it is accepted, and its handle given. Then each
    /// association whose handle the application holds has its turn, one item at a time as
    /// [`Association::next`] gives them. Handles that are dropped close their associations, and nothing comes of them any
    /// more.
    ///
    /// # Errors
    /// [`Error::StackClosed`].
    pub fn next_any(&self) -> Result<Arrival, Error> {
        self.taking_any().block(None)
    }

    /// As [`next_any`](Self::next_any), waiting at most `timeout`.
    ///
    /// # Errors
    /// As for `next_any`, and [`Error::TimedOut`].
    pub fn next_any_timeout(&self, timeout: Duration) -> Result<Arrival, Error> {
        self.taking_any().block(Some(timeout))
    }

    /// As [`next_any`](Self::next_any), without waiting.
    ///
    /// # Errors
    /// As for `next_any`, and [`Error::WouldBlock`].
    pub fn try_next_any(&self) -> Result<Arrival, Error> {
        self.taking_any().now()
    }

    /// As [`next_any`](Self::next_any), as a future. Dropping it loses nothing.
    pub fn next_any_async(&self) -> impl Future<Output = Result<Arrival, Error>> + Send + '_ {
        self.taking_any()
    }

    /// Opens an association with the peer that has these addresses, tried in their order until one answers.
    ///
    /// It returns at once; the first INIT is on its way then. An IPv6 link-local address needs the zone it belongs to
    /// (`scope_id` of [`SocketAddrV6`](std::net::SocketAddrV6), the number of the interface).
    ///
    /// # Errors
    /// [`Error::Connect`] with the index of the address at fault; [`Error::StackClosed`].
    pub fn connectx(
        &self,
        peers: &[SocketAddr],
        mut options: ConnectOptions,
    ) -> Result<Connecting, Error> {
        options.advertise = self.endpoint.advertise(peers, options.advertise)?;
        let id = self.endpoint.with(|inner, now| {
            inner.check_open()?;
            let id = inner.endpoint().connectx(now, peers, options)?;
            inner.opened(id);
            Ok::<_, Error>(id)
        })?;
        tracing::debug!(port = self.port(), association = %id, ?peers, "connecting");
        Ok(Connecting::new(Association::new(Arc::clone(&self.endpoint), id)))
    }

    /// Opens an association with a peer of which one address is known: [`connectx`](Self::connectx) with a list of one.
    ///
    /// # Errors
    /// As for `connectx`.
    pub fn connect(&self, peer: SocketAddr) -> Result<Connecting, Error> {
        self.connectx(&[peer], ConnectOptions::default())
    }

    /// Closes every association, those with handles too: gracefully within the stack's linger, then by ABORT.
    /// Waits until that is done, and gives the port back. A waker that must not wait leaves that to the background.
    pub fn close(&self) {
        self.endpoint.close(self.linger);
        let idle = Wait::new(&self.endpoint, Queue::Endpoint, Interest::IDLE, |inner, _| {
            if inner.is_idle() { Poll::Ready(Ok(())) } else { Poll::Pending }
        });
        // The I/O thread aborts at the end of the linger; that it may have ended itself is why there is a bound here.
        let waited = idle.block(Some(self.linger.saturating_add(Duration::from_secs(1))));
        if !matches!(waited, Err(Error::WouldBlock)) {
            self.endpoint.end();
        }
    }

    fn taking_any(&self) -> Wait<'_, impl Attempt<Arrival>> {
        let interest = Interest::ACCEPT.and(Interest::ANY);
        Wait::new(&self.endpoint, Queue::Endpoint, interest, |inner, _| {
            if let Err(closed) = inner.check_open() {
                return Poll::Ready(Err(closed));
            }
            if let Some(id) = inner.accept() {
                let association = Association::new(Arc::clone(&self.endpoint), id);
                return Poll::Ready(Ok(Arrival::Accepted(association)));
            }
            match inner.next_of_any() {
                Some((id, item)) => Poll::Ready(Ok(Arrival::Item(id, item))),
                None => Poll::Pending,
            }
        })
    }

    fn accepting(&self) -> Wait<'_, impl Attempt<Association>> {
        Wait::new(&self.endpoint, Queue::Endpoint, Interest::ACCEPT, |inner, _| {
            if let Err(closed) = inner.check_open() {
                return Poll::Ready(Err(closed));
            }
            match inner.accept() {
                Some(id) => Poll::Ready(Ok(Association::new(Arc::clone(&self.endpoint), id))),
                None if inner.is_listening() => Poll::Pending,
                None => Poll::Ready(Err(Error::NotListening)),
            }
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.endpoint.abandon(self.linger);
    }
}
