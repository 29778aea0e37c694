//! What a stack keeps of what was sent, once nothing is: the bytes that the allocator has given out.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::alloc::System;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use usctp::{Message, Options, Stack};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PORTS: usize = 100;

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[test]
fn ports_whose_associations_are_idle_or_gone_keep_no_packet_buffers() {
    let server_stack = Stack::builder().udp(0).open().unwrap();
    let udp = server_stack.udp_port().unwrap();
    let stack = Stack::builder().udp(0).udp_peer(udp).open().unwrap();
    let server = server_stack.bind(7, &[LOCAL], Options::default()).unwrap();
    server.listen().unwrap();
    let peer = SocketAddr::new(LOCAL, 7);
    let mut pairs = Vec::new();
    let open = |pairs: &mut Vec<_>| {
        let socket = stack.bind(0, &[LOCAL], Options::default()).unwrap();
        let association = socket.connect(peer).unwrap().wait_timeout(PATIENCE).unwrap();
        let accepted = server.accept_timeout(PATIENCE).unwrap();
        // Packets of loopback are as large as they get.
        let mut message = Message::new(0, vec![7_u8; 100_000]);
        message.immediate = true;
        association.send(message).unwrap();
        let there = accepted.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(there.payload.len(), 100_000);
        let until = Instant::now() + PATIENCE;
        while association.send_buffered() > 0 {
            assert!(Instant::now() < until, "it is not acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
        pairs.push((socket, association, accepted));
    };
    // What is shared by all is there then.
    (0..20).for_each(|_| open(&mut pairs));
    let before = held();
    (0..PORTS).for_each(|_| open(&mut pairs));
    let each = (held() - before) / PORTS;
    println!("{each} bytes for a port and both ends of its idle association");
    assert!(each < 20_000, "{each} bytes");
    let mut sockets = Vec::new();
    for (socket, association, accepted) in pairs {
        association.shutdown_timeout(PATIENCE).unwrap();
        drop(accepted);
        sockets.push(socket);
    }
    let each = held().saturating_sub(before) / sockets.len();
    println!("{each} bytes for a port that had an association");
    assert!(each < 8_000, "{each} bytes");
}
