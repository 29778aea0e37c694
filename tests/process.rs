//! The stack in the process that it lives in: threads that bind at once, forks, descriptors, namespaces and priorities.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::net::{IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use usctp::port::Responder;
use usctp::{Association, Connecting, Error, Message, Options, Socket, Stack};

use self::namespace::in_namespace;

mod namespace;

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Two stacks in this process, over UDP on the loopback interface.
struct Pair {
    server: Socket,
    client: Socket,
    stack: Stack,
    _server_stack: Stack,
}

impl Pair {
    fn new() -> Self {
        let server_stack = Stack::builder().udp(0).open().unwrap();
        let port = server_stack.udp_port().unwrap();
        let stack = Stack::builder().udp(0).udp_peer(port).open().unwrap();
        let server = server_stack.bind(0, &[ip("127.0.0.2")], Options::default()).unwrap();
        server.listen().unwrap();
        let client = stack.bind(0, &[ip("127.0.0.1")], Options::default()).unwrap();
        Self { server, client, stack, _server_stack: server_stack }
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::new(ip("127.0.0.2"), self.server.port())
    }

    fn connect(&self) -> (Association, Association) {
        // Each from a port of its own; the association outlives its socket.
        let socket = self.stack.bind(0, &[ip("127.0.0.1")], Options::default()).unwrap();
        let client = socket.connect(self.peer()).unwrap().wait_timeout(PATIENCE).unwrap();
        (client, self.server.accept_timeout(PATIENCE).unwrap())
    }
}

fn send(association: &Association, text: &str) {
    association.send_timeout(Message::new(0, text.to_owned()), PATIENCE).unwrap();
}

fn receive(association: &Association) -> String {
    let message = association.recv_timeout(PATIENCE).unwrap().expect("the peer does not close");
    String::from_utf8(message.payload.to_vec()).unwrap()
}

/// Runs `body` in a forked child, which then ends at once; what the child is given is a copy.
#[expect(unsafe_code, reason = "a fork of a process with threads is what is tested")]
fn in_child(body: impl FnOnce()) {
    // SAFETY: the child calls the stack, which is under test, and the allocator, which glibc makes fit for that.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let result = panic::catch_unwind(AssertUnwindSafe(body));
            // SAFETY: it ends the child without anything else of the parent's.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        ForkResult::Parent { child } => {
            let end = Instant::now() + PATIENCE;
            loop {
                match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
                    WaitStatus::StillAlive if Instant::now() < end => {
                        thread::sleep(Duration::from_millis(2));
                    }
                    WaitStatus::Exited(_, 0) => return,
                    status => {
                        let _ = nix::sys::signal::kill(child, nix::sys::signal::SIGKILL);
                        panic!("the child: {status:?}");
                    }
                }
            }
        }
    }
}

/// What a child does with its copies: everything says whose they are, and nothing waits.
fn use_all(stack: &Stack, socket: &Socket, association: &Association, connecting: Connecting) {
    #[track_caller]
    fn refused<T>(result: Result<T, Error>) {
        assert!(matches!(result, Err(Error::Forked)));
    }
    let peer = ip("127.0.0.2");
    refused(stack.bind(0, &[], Options::default()));
    refused(stack.bind_towards(0, &[SocketAddr::new(peer, 7)], Options::default()));
    refused(socket.listen());
    refused(socket.stop_listening());
    refused(socket.try_accept());
    refused(socket.accept());
    refused(socket.connect(SocketAddr::new(peer, 7)));
    refused(socket.bindx_add(&[peer]));
    refused(socket.bindx_remove(&[peer]));
    refused(association.send(Message::new(0, "from the child")));
    refused(association.try_send(Message::new(0, "from the child")));
    refused(association.recv());
    refused(association.try_recv());
    refused(association.next_event());
    refused(association.set_primary(peer));
    refused(association.request_heartbeat(peer));
    refused(association.path_settings(peer));
    refused(association.start_shutdown());
    refused(association.shutdown());
    refused(stack.block_on(association.recv_async()));
    refused(connecting.wait());
    association.abort("from the child");
    socket.close();
    let _ = (stack.statistics(), socket.counters(), association.statistics());
    assert!(socket.addresses().is_empty() && association.paths().is_empty());
}

#[test]
fn a_forked_child_is_told_whose_the_stack_is_and_does_no_harm_to_it() {
    const CHILDREN: usize = 40;
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let (busy, busy_server) = pair.connect();
    // It never answers.
    let silent = SocketAddr::new(ip("127.0.0.3"), 7);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // The locks are held by threads that no child has.
        scope.spawn(|| {
            // A test that fails ends, too.
            let end = Instant::now() + 2 * PATIENCE;
            while !is_over.load(Ordering::SeqCst) && Instant::now() < end {
                send(&busy, "busy");
                assert_eq!(receive(&busy), "busy");
            }
            busy.shutdown_timeout(PATIENCE).unwrap();
        });
        scope.spawn(|| {
            while let Some(message) = busy_server.recv_timeout(PATIENCE).unwrap() {
                busy_server.send_timeout(Message::new(0, message.payload), PATIENCE).unwrap();
            }
        });
        let attempt = || pair.client.connect(silent).unwrap();
        for _ in 0..CHILDREN {
            let connecting = attempt();
            in_child(|| use_all(&pair.stack, &pair.client, &client, connecting));
            send(&client, "still there");
            assert_eq!(receive(&server), "still there");
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let mut held = Some((pair, client, server));
    // The parent's stay, since the child has dropped copies.
    in_child(|| {
        drop(held.take());
        let own = Pair::new();
        let (client, server) = own.connect();
        send(&client, "of the child");
        assert_eq!(receive(&server), "of the child");
        in_child(|| assert!(matches!(client.try_recv(), Err(Error::Forked))));
    });
    let (pair, client, server) = held.expect("the parent has dropped nothing");
    send(&server, "to the end");
    assert_eq!(receive(&client), "to the end");
    client.shutdown_timeout(PATIENCE).unwrap();
    pair.client.close();
}
