//! More INITs than are answered, over raw IP: they are left to the kernel, and associations go on.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use nix::sys::eventfd::EventFd;
use usctp::link::{Inbox, Links};
use usctp::{Association, Message, Options, Stack};
use usctp_assoc::{AddressSet, Ecn, Transmit};

use self::namespace::in_namespace;

mod namespace;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PORT: u16 = 5001;
/// How long anything that should happen at once may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// The beginning of a packet from port 4000, which is all that is looked at of INITs beyond the limit: they have tag 0.
fn packet(tag: u32) -> BytesMut {
    let mut packet = BytesMut::new();
    packet.put_u16(4000);
    packet.put_u16(PORT);
    packet.put_u32(tag);
    packet.put_bytes(0, 24);
    packet
}

/// Links that hear nothing.
fn open() -> Links {
    let mut links = Links::new();
    links.open_raw().unwrap();
    links
}

fn send(links: &Links, packet: &[u8], times: usize) {
    let to_loopback = Transmit {
        source: None,
        destination: LOOPBACK,
        udp_port: None,
        zone: 0,
        sources: AddressSet::default(),
        ecn: Ecn::NotEct,
        fragmentable: false,
        len: packet.len(),
    };
    links.send(&packet.repeat(times), &vec![to_loopback; times], &mut Vec::new());
}

/// Sends many messages, one at a time, and sees each come back.
fn exchange(association: &Association, echo: &Association, messages: usize) {
    for number in 0..messages {
        association.send(Message::new(0, format!("message {number}"))).unwrap();
        let there = echo.recv_timeout(SOON).unwrap().unwrap();
        echo.send(Message::new(0, there.payload)).unwrap();
        let back = association.recv_timeout(SOON).unwrap().unwrap();
        assert_eq!(back.payload, format!("message {number}"));
    }
}

#[test]
fn other_packets_can_be_waited_for_while_inits_stay_where_they_are() {
    in_namespace(|| {
        let links = open();
        links.accept_ports(&[PORT], false).unwrap();
        let (never, mut inbox) = (EventFd::new().unwrap(), Inbox::new());
        let waiting = links.waiting(never.as_fd()).unwrap();
        let (mut datagrams, mut notices) = (Vec::new(), Vec::new());
        send(&links, &packet(0), 1);
        let ready = links.wait_past_inits(&waiting, Some(Duration::from_millis(50))).unwrap();
        assert!(!ready.any(), "{ready:?}");
        send(&links, &packet(7), 1);
        let ready = links.wait_past_inits(&waiting, Some(SOON)).unwrap();
        links.receive(&mut inbox, ready, &mut datagrams, &mut notices);
        assert_eq!(datagrams.len(), 1);
        assert_eq!(datagrams[0].payload, packet(7));
        let ready = links.wait(&waiting, Some(SOON)).unwrap();
        links.receive(&mut inbox, ready, &mut datagrams, &mut notices);
        assert_eq!(datagrams.len(), 2);
        assert_eq!(datagrams[1].payload, packet(0));
    });
}

#[test]
fn what_came_before_an_init_is_taken_with_it() {
    in_namespace(|| {
        let links = open();
        links.accept_ports(&[PORT], false).unwrap();
        let never = EventFd::new().unwrap();
        let waiting = links.waiting(never.as_fd()).unwrap();
        let (mut inbox, mut datagrams) = (Inbox::new(), Vec::new());
        send(&links, &packet(0), 1);
        let ready = links.wait(&waiting, Some(SOON)).unwrap();
        // The INIT was seen to wait before the other socket had anything; and they are more than one batch.
        send(&links, &packet(7), 100);
        links.receive(&mut inbox, ready, &mut datagrams, &mut Vec::new());
        assert_eq!(datagrams.len(), 101);
    });
}

#[test]
fn inits_beyond_the_limit_are_left_to_the_kernel_for_a_while_and_associations_go_on() {
    in_namespace(|| {
        let [server, client] = [(); 2].map(|()| Stack::builder().raw().open().unwrap());
        let mut options = Options::default();
        options.limits.inits_per_second = 1;
        let listening = server.bind(PORT, &[LOOPBACK], options).unwrap();
        listening.listen().unwrap();
        let connect = || {
            let socket = client.bind(0, &[LOOPBACK], Options::default()).unwrap();
            let mut connecting = socket.connect(SocketAddr::new(LOOPBACK, PORT)).unwrap();
            connecting.wait_timeout(SOON).unwrap()
        };
        let association = connect();
        let echo = listening.accept_timeout(SOON).unwrap();

        // What is beyond the limit is read a batch of 64 at a time, with a pause of 2 ms behind each.
        let links = open();
        let read = || listening.counters().inits_dropped;
        let dropped = || server.statistics().links.init_drops;
        let begun = Instant::now();
        send(&links, &packet(0), 200);
        while read() + dropped() < 190 {
            assert!(begun.elapsed() < SOON, "{} read, {} dropped", read(), dropped());
            thread::sleep(Duration::from_micros(100));
        }
        let (read, took) = (read(), begun.elapsed());
        let pauses = u32::try_from(read / 64).unwrap();
        assert!(took >= pauses * Duration::from_millis(2), "{read} in {took:?}");

        // Messages pass while many more come than are read.
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    send(&links, &packet(0), 64);
                }
            });
            exchange(&association, &echo, 200);
            over.store(true, Ordering::Relaxed);
        });

        // It is over, and INITs are answered again.
        let second = connect();
        let echo = listening.accept_timeout(SOON).unwrap();
        exchange(&second, &echo, 10);
    });
}
