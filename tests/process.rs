//! The stack in the process that it lives in: threads that bind at once, forks, descriptors, namespaces and priorities.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use usctp::port::Responder;
use usctp::{Options, Stack};

use self::namespace::in_namespace;

mod namespace;

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn however_many_threads_bind_at_once_each_port_hears_its_packets() {
    const THREADS: u16 = 8;
    const ROUNDS: usize = 400;
    in_namespace(|| {
        // The one that answers for ports of nobody hears all of them.
        let _responder = Responder::claim();
        let stack = Stack::builder().raw().open().unwrap();
        // They make each collection of the ports, and each filter, take its time.
        let _many: Vec<_> = (6000..6400)
            .map(|port| stack.bind(port, &[ip("127.0.0.1")], Options::default()).unwrap())
            .collect();
        let raw = RawSocket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(132))).unwrap();
        for round in 0..ROUNDS {
            let before = stack.statistics().links.received;
            let all_ready = Barrier::new(usize::from(THREADS));
            let bind = |port| {
                all_ready.wait();
                stack.bind(port, &[ip("127.0.0.1")], Options::default()).unwrap()
            };
            let ports = 5000..5000 + THREADS;
            let sockets: Vec<_> = thread::scope(|scope| {
                let binding: Vec<_> =
                    ports.clone().map(|port| scope.spawn(move || bind(port))).collect();
                binding.into_iter().map(|binding| binding.join().unwrap()).collect()
            });
            for port in ports {
                // A common header alone, with a tag that none of them has (RFC 9260, section 3.1).
                let header = [&[0, 9][..], &port.to_be_bytes(), &[7; 8]].concat();
                raw.send_to(&header, &SocketAddr::new(ip("127.0.0.1"), 0).into()).unwrap();
            }
            let end = Instant::now() + Duration::from_secs(2);
            let heard = || stack.statistics().links.received - before;
            while heard() < u64::from(THREADS) {
                assert!(Instant::now() < end, "{} of {THREADS} in round {round}", heard());
                thread::sleep(Duration::from_micros(100));
            }
            drop(sockets);
        }
    });
}
