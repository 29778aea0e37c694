//! Tests: the threads of an application over links that fail now and then, from a seed (`USCTP_FAULT_SEED`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::link::faults;
use crate::{Association, LostReason, Message, Options, Socket, Stack};

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const THREADS: u64 = 4;
const ROUNDS: u32 = 6;

/// A waker of an application that is broken. It says nothing, since nobody is to look at it.
struct Broken;

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("a waker"));
    }
}

/// A stack over a socket that fails.
fn open(peer: Option<u16>, seed: u64) -> (Stack, RawFd, u16) {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    let (port, number) = (socket.local_addr().unwrap().port(), socket.as_raw_fd());
    let mut builder = Stack::builder().from_fds([OwnedFd::from(socket)]);
    if let Some(peer) = peer {
        builder = builder.udp_peer(peer);
    }
    let stack = builder.open().unwrap();
    faults::begin(number, seed);
    (stack, number, port)
}

fn options() -> Options {
    let mut options = Options::default();
    options.rto.min = Duration::from_millis(20);
    options.rto.initial = Duration::from_millis(50);
    options.rto.max = Duration::from_millis(500);
    options
}

/// Sends back what comes until the peer closes or aborts.
fn echo(association: &Association) {
    loop {
        match association.recv_timeout(PATIENCE) {
            Ok(Some(message)) => {
                // The peer may have gone meanwhile.
                let sent = association.send_timeout(Message::new(0, message.payload), PATIENCE);
                assert!(!sent.is_err_and(|error| error.is_timed_out()), "a send hangs");
            }
            Ok(None) => return,
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        crate::Error::Lost(_) | crate::Error::Closed | crate::Error::StackClosed
                    ),
                    "{error}"
                );
                return;
            }
        }
    }
}

/// Sets up an association. What the host refuses to send for some time ends an attempt: there is no other path.
fn connect(socket: &Socket, peer: SocketAddr) -> Association {
    for _ in 0..20 {
        match socket.connect(peer).unwrap().wait_timeout(PATIENCE) {
            Ok(association) => return association,
            Err(crate::Error::Lost(LostReason::Unreachable)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is refused for ever");
}

/// What one thread does with a socket of its own: messages come back once and in order, and the association ends as it is
/// told to.
fn play(socket: &Socket, peer: SocketAddr, rng: &mut StdRng) {
    let association = connect(socket, peer);
    let broken = Waker::from(Arc::new(Broken));
    let count = rng.random_range(1..200_u32);
    thread::scope(|scope| {
        let mut waited = pin!(association.recv_async());
        if rng.random() {
            let _ = waited.as_mut().poll(&mut Context::from_waker(&broken)).is_ready();
        }
        scope.spawn(|| {
            for number in 0..count {
                let payload = number.to_be_bytes().repeat(100);
                association.send_timeout(Message::new(0, payload), PATIENCE).unwrap();
            }
        });
        for number in 0..count {
            let message = association.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(message.payload, number.to_be_bytes().repeat(100));
        }
    });
    let statistics = association.statistics();
    assert_eq!(statistics.messages_sent, u64::from(count));
    assert_eq!(statistics.messages_received, u64::from(count));
    match rng.random_range(0..4) {
        0 => association.abort("enough"),
        1 => drop(association),
        2 => socket.close(),
        _ => association.shutdown_timeout(PATIENCE).unwrap(),
    }
}

/// The application; how many calls went wrong below it.
fn run(seed: u64) -> u64 {
    let (server_stack, server_number, port) = open(None, seed);
    let (stack, number, _) = open(Some(port), seed ^ 1);
    let server = server_stack.bind(0, &[SERVER], options()).unwrap();
    server.listen().unwrap();
    let peer = SocketAddr::new(SERVER, server.port());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                // An attempt that failed may have left one here that nobody uses.
                if let Ok(association) = server.accept_timeout(Duration::from_millis(50)) {
                    scope.spawn(move || echo(&association));
                }
            }
            server.close();
        });
        let playing = (0..THREADS).map(|thread| {
            let mut rng = StdRng::seed_from_u64(seed.wrapping_add(thread));
            let stack = &stack;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let socket = stack.bind(0, &[CLIENT], options()).unwrap();
                    play(&socket, peer, &mut rng);
                }
            })
        });
        let playing: Vec<_> = playing.collect();
        let results: Vec<_> = playing.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        for result in results {
            result.unwrap();
        }
    });
    // What is received was sent, which is counted only behind the call: it is looked at first.
    let links = |stack: &Stack| stack.statistics().links;
    let received = [links(&stack).received, links(&server_stack).received];
    thread::sleep(Duration::from_millis(20));
    let sent = [links(&server_stack).sent, links(&stack).sent];
    assert!(received.iter().zip(&sent).all(|(there, here)| there <= here), "{received:?} {sent:?}");
    faults::end(number) + faults::end(server_number)
}

#[test]
fn over_links_that_fail_now_and_then_nobody_hangs_and_messages_arrive_once_and_in_order() {
    let seed = std::env::var("USCTP_FAULT_SEED")
        .ok()
        .map_or_else(rand::random, |text| text.parse().unwrap());
    println!("USCTP_FAULT_SEED={seed}");
    let (tell, told) = mpsc::channel();
    let application = thread::spawn(move || tell.send(run(seed)));
    match told.recv_timeout(2 * PATIENCE) {
        Ok(faults) => assert!(faults > 0, "nothing went wrong"),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("somebody hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(application.join().unwrap_err());
        }
    }
}
