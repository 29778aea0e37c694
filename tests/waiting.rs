//! Threads that wait in blocking calls read the links themselves: nobody is left unserved when they come and go.
#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::future::{Future as _, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use usctp::{Association, Error, Event, Message, Options, Socket, Stack};

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
/// So long that a thread that leads does so for good, as far as the I/O thread can see.
const LONG: Duration = Duration::from_millis(30);
const ROUNDS: usize = 50;

/// Two stacks in one process, over UDP on the loopback interface.
struct Pair {
    server: Socket,
    client_stack: Stack,
    _server_stack: Stack,
}

impl Pair {
    fn new() -> Self {
        let server_stack = Stack::builder().udp(0).open().unwrap();
        let port = server_stack.udp_port().unwrap();
        let client_stack = Stack::builder().udp(0).udp_peer(port).open().unwrap();
        let server = server_stack.bind(0, &[ip("127.0.0.2")], options()).unwrap();
        server.listen().unwrap();
        Self { server, client_stack, _server_stack: server_stack }
    }

    fn connect(&self) -> (Association, Association) {
        let peer = SocketAddr::new(ip("127.0.0.2"), self.server.port());
        // Each from a port of its own; the association outlives its socket.
        let socket = self.client_stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
        let client = socket.connect(peer).unwrap().wait_timeout(PATIENCE).unwrap();
        (client, self.server.accept_timeout(PATIENCE).unwrap())
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.sack.delay = Duration::from_millis(20);
    options
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn send(association: &Association, text: &str) {
    association.send_timeout(Message::new(0, text.to_owned()), PATIENCE).unwrap();
}

fn receive(association: &Association) -> String {
    let message = association.recv_timeout(PATIENCE).unwrap().expect("the peer does not close");
    String::from_utf8(message.payload.to_vec()).unwrap()
}

/// Sends back what comes until the peer closes.
fn echo(association: &Association) {
    while let Ok(Some(message)) = association.recv_timeout(PATIENCE) {
        association.send_timeout(Message::new(0, message.payload), PATIENCE).unwrap();
    }
}

/// Waits until everything that was sent is acknowledged.
fn until_dry(association: &Association) {
    while association.event_timeout(PATIENCE).unwrap() != Event::SenderDry {}
}

#[test]
fn an_association_is_served_while_the_thread_that_waited_for_it_does_something_else() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    for round in 0..ROUNDS {
        thread::scope(|scope| {
            // Now and then the thread has waited for long.
            let pause = if round % 10 == 0 { LONG } else { Duration::ZERO };
            let server = &server;
            scope.spawn(move || {
                thread::sleep(pause);
                send(server, "first");
            });
            assert_eq!(receive(&client), "first");
        });
        // The client's thread led until now; from here on it calls nothing of its stack, whose part it is to
        // acknowledge both, each after SACK.Delay.
        until_dry(&server);
        send(&server, "second");
        until_dry(&server);
        assert_eq!(client.try_recv().unwrap().unwrap().payload, "second");
    }
}

#[test]
fn threads_that_wait_for_different_associations_of_a_stack_all_get_what_is_theirs() {
    let pair = Pair::new();
    let ends: Vec<_> = (0..4).map(|_| pair.connect()).collect();
    thread::scope(|scope| {
        for (client, server) in &ends {
            scope.spawn(|| echo(server));
            scope.spawn(|| {
                for round in 0..4 * ROUNDS {
                    let text = format!("{} {round}", client.id());
                    send(client, &text);
                    assert_eq!(receive(client), text);
                }
                client.shutdown_timeout(PATIENCE).unwrap();
            });
        }
    });
}

#[test]
fn a_future_is_woken_whoever_reads_what_it_waits_for() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let (other_client, other_server) = pair.connect();
    thread::scope(|scope| {
        scope.spawn(|| echo(&server));
        // A thread comes and goes with the lead all the time.
        let busy = scope.spawn(|| {
            for _ in 0..20 * ROUNDS {
                send(&client, "busy");
                assert_eq!(receive(&client), "busy");
            }
            client.shutdown_timeout(PATIENCE).unwrap();
        });
        for round in 0..ROUNDS {
            let text = format!("{round}");
            send(&other_server, &text);
            // An executor that knows nothing of the stack.
            let message = futures::executor::block_on(other_client.recv_async()).unwrap().unwrap();
            assert_eq!(message.payload, text);
        }
        busy.join().unwrap();
    });
}

#[test]
fn block_on_runs_futures_of_the_stack_and_of_others() {
    let pair = Pair::new();
    let (client, server) = pair.connect();
    let (wakers, to_wake) = mpsc::channel::<Waker>();
    let waking = thread::spawn(move || {
        let waker: Waker = to_wake.recv().unwrap();
        // By now the one that waits sleeps, most likely on the links.
        thread::sleep(LONG);
        waker.wake();
    });
    let mut polls = 0;
    pair.client_stack.block_on(poll_fn(|context| {
        polls += 1;
        if polls > 1 {
            return Poll::Ready(());
        }
        wakers.send(context.waker().clone()).unwrap();
        Poll::Pending
    }));
    assert_eq!(polls, 2);
    waking.join().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| echo(&server));
        pair.client_stack.block_on(async {
            for round in 0..ROUNDS {
                let text = format!("{round}");
                client.send_async(Message::new(0, text.clone())).await.unwrap();
                assert_eq!(client.recv_async().await.unwrap().unwrap().payload, text);
            }
        });
        client.shutdown_timeout(PATIENCE).unwrap();
    });
}

#[test]
fn a_thread_that_reads_the_links_is_told_when_the_stack_goes() {
    for pause in [Duration::ZERO, LONG] {
        let pair = Pair::new();
        let (association, _server) = pair.connect();
        let begun = Instant::now();
        let waiting = thread::spawn(move || association.recv_timeout(PATIENCE).map(|_| ()));
        thread::sleep(pause);
        drop(pair.client_stack);
        // Closed gracefully, it ends like a stream; or it is told why it did not.
        drop(waiting.join().unwrap());
        assert!(begun.elapsed() < PATIENCE);
    }
}

/// Runs something once when it is woken.
struct Act(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Act {
    fn waker(act: impl FnOnce() + Send + 'static) -> Waker {
        Waker::from(Arc::new(Self(Mutex::new(Some(Box::new(act))))))
    }
}

impl Wake for Act {
    fn wake(self: Arc<Self>) {
        let act = self.0.lock().unwrap().take();
        act.into_iter().for_each(|act| act());
    }
}

/// A message for `client`, for which `waker` waits: it runs on the thread that leads, which is one of the application's if
/// `is_led`.
fn wake_by_a_message(pair: &Pair, is_led: bool, waker: Waker) {
    let (client, server) = pair.connect();
    let (leading, leading_server) = pair.connect();
    thread::scope(|scope| {
        if is_led {
            scope.spawn(|| assert_eq!(receive(&leading), "the end"));
            thread::sleep(LONG);
        }
        let mut receiving = Box::pin(client.recv_async());
        assert!(receiving.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        send(&server, "woken");
        // What the waker does stops nobody.
        let mut other = Box::pin(client.recv_async());
        let end = Instant::now() + PATIENCE / 2;
        while other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            assert!(Instant::now() < end, "nobody reads the links");
            thread::sleep(Duration::from_millis(1));
        }
        send(&leading_server, "the end");
        send(&client, "back");
        assert_eq!(receive(&server), "back");
    });
}

#[test]
fn a_waker_that_would_wait_on_the_thread_that_leads_is_told_so_and_stops_nobody() {
    for is_led in [false, true] {
        let pair = Pair::new();
        let (quiet, quiet_server) = pair.connect();
        let (said, says) = mpsc::channel();
        let waker = Act::waker(move || {
            let waited = (quiet.recv_timeout(PATIENCE), quiet.shutdown_timeout(PATIENCE));
            said.send(waited).unwrap();
        });
        wake_by_a_message(&pair, is_led, waker);
        let (received, shut_down) = says.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(received, Err(Error::WouldBlock)), "{received:?}");
        assert!(matches!(shut_down, Err(Error::WouldBlock)), "{shut_down:?}");
        assert!(quiet_server.recv_timeout(PATIENCE).unwrap().is_none(), "it is closed");
    }
}

#[test]
fn a_waker_that_panics_on_the_thread_that_leads_stops_nobody() {
    for is_led in [false, true] {
        let pair = Pair::new();
        wake_by_a_message(&pair, is_led, Act::waker(|| panic!("that is what is tested")));
        let (client, server) = pair.connect();
        send(&client, "still there");
        assert_eq!(receive(&server), "still there");
    }
}

#[test]
fn a_waker_may_drop_the_stack_whichever_thread_leads() {
    for is_led in [false, true] {
        let Pair { client_stack, server, _server_stack } = Pair::new();
        let peer = SocketAddr::new(ip("127.0.0.2"), server.port());
        let socket = client_stack.bind(0, &[ip("127.0.0.1")], options()).unwrap();
        let client = socket.connect(peer).unwrap().wait_timeout(PATIENCE).unwrap();
        let server = server.accept_timeout(PATIENCE).unwrap();
        socket.listen().unwrap();
        let (done, is_done) = mpsc::channel();
        let waker = Act::waker(move || {
            drop(client_stack);
            done.send(()).unwrap();
        });
        let mut events = Box::pin(client.recv_async());
        assert!(events.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        thread::scope(|scope| {
            if is_led {
                scope.spawn(|| drop(socket.accept_timeout(PATIENCE)));
                thread::sleep(LONG);
            }
            send(&server, "woken");
            is_done.recv_timeout(PATIENCE / 2).expect("it waits for itself");
        });
    }
}
