//! What an endpoint does with its packets where no link takes them.

use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::thread;

use usctp_assoc::{Config, ConnectOptions, Options};

use super::*;
use crate::driver::wait::Interest;
use crate::link::Links;

/// Runs something when it is woken.
struct Act<F>(F);

impl<F: Fn() + Send + Sync> Wake for Act<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// An endpoint of a driver without links.
fn endpoint() -> (Arc<Driver>, Arc<SharedEndpoint>) {
    let driver = Arc::new(Driver::new(Links::new(), true).unwrap());
    let own = vec![[192, 0, 2, 1].into()];
    let config = Config::new(Options::default()).unwrap();
    let guard = config.shutdown_guard();
    let endpoint = Endpoint::new(config, 5000, own.clone(), [7; 32], Instant::now());
    let shared = SharedEndpoint::new(endpoint, own, guard, Vec::new(), &driver);
    (driver, Arc::new(shared))
}

#[test]
fn what_a_refused_packet_leads_to_may_wait_for_room_without_waiting_for_itself() {
    let (driver, endpoint) = endpoint();
    let (done, is_done) = mpsc::channel();
    let woken = Arc::clone(&endpoint);
    let waker = Waker::from(Arc::new(Act(move || {
        // Another thread has given very much to send.
        let bytes = vec![0; 9 << 20].as_slice().into();
        woken.outgoing.push(&mut Batch { bytes, transmits: Vec::new() });
        woken.act(|_, _| ());
        done.send(()).unwrap();
    })));
    thread::spawn(move || {
        let connected = endpoint.with(|inner, now| {
            let peer = [SocketAddr::from(([192, 0, 2, 2], 7))];
            let id = inner.endpoint().connectx(now, &peer, ConnectOptions::default())?;
            inner.opened(id);
            let waiters = inner.waiters(Queue::Association(id)).unwrap();
            assert!(waiters.register(&mut None, Interest::END, &waker).is_none());
            Ok(())
        });
        connected.unwrap();
        drop(driver);
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("it waits for itself");
}
