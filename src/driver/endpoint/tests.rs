//! What an endpoint does with its packets where no link takes them.

use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::thread;

use usctp_assoc::{Config, ConnectOptions, Options};

use super::*;
use crate::driver::Choices;
use crate::driver::io_thread::IoThread;
use crate::driver::wait::Interest;
use crate::link::Links;

const CHOICES: Choices = Choices { answers_strangers: true, lets_lead: true };

/// Runs something when it is woken.
struct Act<F>(F);

impl<F: Fn() + Send + Sync> Wake for Act<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// An endpoint of a driver without links.
fn endpoint() -> (Arc<Driver>, Arc<SharedEndpoint>) {
    let driver = Arc::new(Driver::new(Links::new(), CHOICES).unwrap());
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

#[test]
fn a_bind_costs_no_other_socket_what_it_knows_of_routes() {
    let mut links = Links::new();
    links.watch_addresses();
    let driver = Arc::new(Driver::new(links, CHOICES).unwrap());
    let bind = |port| {
        let config = Config::new(Options::default()).unwrap();
        let guard = config.shutdown_guard();
        let own = vec![[192, 0, 2, 1].into()];
        let endpoint = Endpoint::new(config, port, own.clone(), [7; 32], Instant::now());
        let endpoint = SharedEndpoint::new(endpoint, own, guard, Vec::new(), &driver);
        let endpoint = Arc::new(endpoint);
        driver.insert(Arc::clone(&endpoint)).unwrap();
        driver.look_at_host_for_new();
        endpoint
    };
    let mut io_thread = IoThread::new(&driver);
    let mut look = || {
        thread::sleep(Duration::from_millis(60));
        io_thread.follow_host();
    };
    let first = bind(5000);
    look();
    let peer: IpAddr = [192, 0, 2, 2].into();
    let known = |ask: &dyn Fn() -> Option<u16>| {
        first.lock_link_mtus().towards(peer, Instant::now(), || Ok(ask())).unwrap()
    };
    assert_eq!(known(&|| Some(1400)), Some(1400));
    let second = bind(5001);
    look();
    assert_eq!(known(&|| None), Some(1400), "it was asked for anew");
    assert!(!second.begins_to_follow_host(), "it was told");
    driver.look_at_host();
    look();
    assert_eq!(known(&|| None), None, "what the system says concerns all");
}
