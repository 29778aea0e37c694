//! The stack in the process that it lives in: threads that bind at once, forks, descriptors, namespaces and priorities.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use usctp::port::Responder;
use usctp::{Association, Connecting, Error, Message, Options, Socket, Stack};

use self::alone::in_process_of_its_own;
use self::namespace::in_namespace;

mod alone;
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
        Self::of(server_stack, Stack::builder().udp(0).udp_peer(port).open().unwrap())
    }

    fn of(server_stack: Stack, stack: Stack) -> Self {
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

/// From now on this process gets no descriptor.
fn forbid_descriptors() {
    setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
    assert!(UdpSocket::bind("127.0.0.1:0").is_err(), "there are descriptors left");
}

#[test]
fn without_descriptors_left_associations_live_on_and_new_ones_are_set_up() {
    if !in_process_of_its_own(
        "without_descriptors_left_associations_live_on_and_new_ones_are_set_up",
    ) {
        return;
    }
    let pair = Pair::new();
    let (client, server) = pair.connect();
    forbid_descriptors();
    // Longer than an answer of routing is believed.
    for _ in 0..3 {
        send(&client, "there");
        assert_eq!(receive(&server), "there");
        thread::sleep(Duration::from_secs(2));
    }
    let second = pair.client.connect(pair.peer()).unwrap().wait_timeout(PATIENCE).unwrap();
    let other = pair.server.accept_timeout(PATIENCE).unwrap();
    send(&second, "and back");
    assert_eq!(receive(&other), "and back");
    // Neither is a thread that waits alone without what it waits for.
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            send(&server, "late");
        });
        assert_eq!(receive(&client), "late");
    });
    client.shutdown_timeout(PATIENCE).unwrap();
    second.shutdown_timeout(PATIENCE).unwrap();
}

/// Runs a shell that does `then` in the network namespace of this thread once it is told to, and waits for it.
fn prepare(then: &str) -> impl FnOnce() {
    let mut shell = Command::new("sh")
        .args(["-ec", &format!("read word; {then}; echo done")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    move || {
        shell.stdin.take().unwrap().write_all(b"now\n").unwrap();
        let mut said = String::new();
        shell.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "done\n");
        shell.wait().unwrap();
    }
}

/// Waits until a socket is bound to these IPv4 addresses.
fn until_bound(socket: &Socket, expected: &[&str]) {
    let mut expected: Vec<IpAddr> = expected.iter().map(|address| ip(address)).collect();
    expected.sort_unstable();
    let end = Instant::now() + PATIENCE;
    loop {
        let mut bound = socket.addresses();
        bound.retain(IpAddr::is_ipv4);
        bound.sort_unstable();
        if bound == expected {
            return;
        }
        assert!(Instant::now() < end, "{bound:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_descriptors_left_a_socket_follows_the_addresses_of_the_host() {
    if !in_process_of_its_own("without_descriptors_left_a_socket_follows_the_addresses_of_the_host")
    {
        return;
    }
    in_namespace(|| {
        namespace::ip("link add one type veth peer name two");
        namespace::ip("link set one up");
        namespace::ip("addr add 192.0.2.1/24 dev one");
        let stack = Stack::builder().udp(0).open().unwrap();
        let early = stack.bind(0, &[], Options::default()).unwrap();
        until_bound(&early, &["192.0.2.1"]);
        let gain = prepare("ip addr add 192.0.2.2/24 dev one");
        let lose = prepare("ip addr del 192.0.2.1/24 dev one");
        forbid_descriptors();
        gain();
        until_bound(&early, &["192.0.2.1", "192.0.2.2"]);
        lose();
        // The second went with the first, unless the kernel makes it one of its own.
        let end = Instant::now() + PATIENCE;
        while early.addresses().contains(&ip("192.0.2.1")) {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_call_from_a_thread_in_another_network_namespace_is_answered_for_that_of_the_stack() {
    in_namespace(|| {
        namespace::ip("link add one type veth peer name two");
        namespace::ip("link set one up");
        namespace::ip("link set two up");
        namespace::ip("addr add 192.0.2.1/24 dev one");
        namespace::ip("addr add 198.51.100.1/24 dev one");
        let stack = Arc::new(Stack::builder().udp(0).open().unwrap());
        let far = Arc::clone(&stack);
        in_namespace(move || {
            // What the stack knows nothing of.
            namespace::ip("link add other type veth peer name another");
            namespace::ip("link set other up");
            namespace::ip("addr add 203.0.113.1/24 dev other");
            let all = far.bind(0, &[], Options::default()).unwrap();
            until_bound(&all, &["192.0.2.1", "198.51.100.1"]);
            far.bind(0, &[ip("198.51.100.1")], Options::default()).unwrap();
            let wrong = far.bind(0, &[ip("203.0.113.1")], Options::default()).unwrap_err();
            assert!(wrong.is_address_not_local(), "{wrong}");
            let peer = SocketAddr::new(ip("198.51.100.7"), 7);
            let towards = far.bind_towards(0, &[peer], Options::default()).unwrap();
            assert_eq!(towards.addresses(), [ip("198.51.100.1")]);
            // It is sent from this thread, which has another way there.
            namespace::ip("route add 198.51.100.0/24 dev other");
            let mut connecting = all.connect(peer).unwrap();
            let waited = connecting.wait_timeout(Duration::from_millis(300)).unwrap_err();
            assert!(matches!(waited, Error::TimedOut), "{waited}");
        });
    });
}

/// Lets the calling thread run only where nobody else wants to.
#[expect(unsafe_code, reason = "no library sets this policy")]
fn run_last() {
    // SAFETY: it reads one structure of this frame.
    let result = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &libc::sched_param { sched_priority: 0 })
    };
    assert_eq!(result, 0);
}

/// The calling thread runs on one processor alone, the same for all.
fn stay_on_one() {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let first = (0..CpuSet::count()).find(|number| all.is_set(*number).unwrap()).unwrap();
    let mut set = CpuSet::new();
    set.set(first).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// How long exchanges over one association take while another thread of the stack, which nearly never gets to run, waits for
/// another one.
fn exchanges_beside_a_starved_thread(pair: &Pair, count: usize) -> Vec<Duration> {
    let (idle, idle_server) = pair.connect();
    let (client, server) = pair.connect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(message) = server.recv_timeout(PATIENCE).unwrap() {
                server.send_timeout(Message::new(0, message.payload), PATIENCE).unwrap();
            }
        });
        scope.spawn(|| {
            stay_on_one();
            run_last();
            assert_eq!(receive(&idle), "at last");
        });
        thread::sleep(Duration::from_millis(100));
        // Two, so that each of them runs whenever the other one may not.
        for _ in 0..2 {
            scope.spawn(|| {
                stay_on_one();
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let took = (0..count).map(|_| {
            let begun = Instant::now();
            send(&client, "there");
            // This thread does not read the links itself.
            let back = futures::executor::block_on(client.recv_async()).unwrap().unwrap();
            assert_eq!(back.payload, "there");
            begun.elapsed()
        });
        let took = took.collect();
        send(&idle_server, "at last");
        is_over.store(true, Ordering::Relaxed);
        client.shutdown_timeout(PATIENCE).unwrap();
        took
    })
}

#[test]
fn a_thread_that_waits_but_does_not_get_to_run_holds_up_nobody_else() {
    let pair = Pair::new();
    let mut took = exchanges_beside_a_starved_thread(&pair, 30);
    took.sort_unstable();
    // Before it is found out, one is late.
    let most = took.iter().filter(|took| **took < Duration::from_millis(60)).count();
    assert!(most >= 27, "{took:?}");
}

#[test]
fn threads_that_wait_do_not_read_the_links_if_they_are_told_not_to() {
    let server_stack = Stack::builder().udp(0).lead(false).open().unwrap();
    let port = server_stack.udp_port().unwrap();
    let stack = Stack::builder().udp(0).udp_peer(port).lead(false).open().unwrap();
    let pair = Pair::of(server_stack, stack);
    let took = exchanges_beside_a_starved_thread(&pair, 30);
    let most = took.iter().filter(|took| **took < Duration::from_millis(60)).count();
    assert!(most >= 27, "{took:?}");
}
