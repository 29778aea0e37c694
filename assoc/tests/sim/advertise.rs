//! Which of A's addresses the peer is told of, and that packets leave from no other one.

use std::net::{IpAddr, SocketAddr};

use usctp_assoc::sim::{Heard, Ladder, PEER_PORT, a, a6, z, z6};
use usctp_assoc::{Advertise, ConnectError, ConnectOptions, Message};
use usctp_chunk::{Chunk, ChunkType, ParameterType, VerificationTag};

use crate::world::{config, ms, secs};

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn advertise(advertise: Advertise) -> ConnectOptions {
    ConnectOptions::default().with(|options| options.advertise = advertise)
}

/// A with these addresses; Z with three IPv4 addresses and one IPv6 address.
fn with(name: &str, ours: &[IpAddr]) -> Ladder {
    // HEARTBEATs come often, to see where they leave from.
    let config = config(|options| options.heartbeat.interval = Some(ms(500)));
    Ladder::with(name, config, ours, &[z(1), z(2), z(3), z6(1)])
}

fn refusal(ladder: &mut Ladder, peers: &[IpAddr], how: Advertise) -> ConnectError {
    let peers: Vec<_> = peers.iter().map(|peer| SocketAddr::new(*peer, PEER_PORT)).collect();
    ladder.network.connectx(ladder.ours, &peers, advertise(how)).unwrap_err()
}

/// From the INIT on, through data and HEARTBEATs on all paths for a while.
fn everything_said(ladder: &mut Ladder, peers: &[IpAddr]) -> Vec<Heard> {
    let mut said = ladder.hears_all();
    let towards = said[0].source;
    ladder.towards = towards;
    ladder.says(peers[0], &[ladder.init_ack(peers)]);
    said.extend(ladder.hears_all());
    ladder.says(peers[0], &[Chunk::CookieAck]);
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.offer(ours, id, (0..10).map(|_| Message::new(0, vec![7; 3000])));
    ladder.network.run_for(secs(20));
    said.extend(ladder.hears_all());
    said
}

#[test]
fn init_lists_the_bound_addresses_unless_the_caller_chooses() {
    let name = "init_lists_the_bound_addresses_unless_the_caller_chooses";
    let global = ip("198.51.100.1");
    let table = [
        (Advertise::Bound, vec![a(1), a(2), global, a6(1)]),
        (Advertise::Explicit(vec![global, a(1)]), vec![global, a(1)]),
        (Advertise::SameScope, vec![a(1), a(2), global, a6(1)]),
        (Advertise::Nothing, vec![]),
        (Advertise::Explicit(vec![]), vec![]),
    ];
    for (how, listed) in table {
        let mut ladder = with(name, &[a(1), a(2), global, a6(1)]);
        ladder.connectx_with(&[z(1)], advertise(how.clone()));
        assert_eq!(ladder.hears().addresses(), listed, "{how:?}");
    }
}

#[test]
fn a_global_first_address_is_told_of_global_addresses_only_and_a_loopback_one_of_all() {
    let name = "a_global_first_address_is_told_of_global_addresses_only_and_a_loopback_one_of_all";
    let (own, other, local) = (ip("198.51.100.1"), ip("2001:db8::1"), ip("127.0.0.1"));
    let (peer, local_peer) = (ip("203.0.113.1"), ip("127.0.0.2"));
    let all = [a(1), local, own, other];
    for (first, listed) in
        [(peer, vec![own, other]), (local_peer, all.to_vec()), (z(1), vec![a(1), own, other])]
    {
        let mut ladder = Ladder::with(name, config(|_| {}), &all, &[peer, local_peer, z(1)]);
        ladder.connectx_with(&[first], advertise(Advertise::SameScope));
        assert_eq!(ladder.hears().addresses(), listed, "{first}");
    }
    let mut ladder = Ladder::with(name, config(|_| {}), &[a(1), a(2)], &[peer]);
    let error = refusal(&mut ladder, &[peer], Advertise::SameScope);
    assert_eq!(error, ConnectError::NoAddressInScope { address: peer });
    assert_eq!((error.errno_linux(), error.errno_freebsd()), (101, 51));
}

#[test]
fn an_address_that_is_not_bound_is_not_advertised() {
    let mut ladder = with("an_address_that_is_not_bound_is_not_advertised", &[a(1), a(2)]);
    let list = vec![a(2), a(3)];
    let error = refusal(&mut ladder, &[z(1)], Advertise::Explicit(list));
    assert_eq!(error, ConnectError::NotBound { index: 1, address: a(3) });
    assert_eq!((error.errno_linux(), error.errno_freebsd()), (99, 49));
}

#[test]
fn a_peer_address_of_a_family_that_is_not_advertised_is_refused() {
    let name = "a_peer_address_of_a_family_that_is_not_advertised_is_refused";
    for how in [Advertise::Explicit(vec![a(1), a(2)]), Advertise::Nothing] {
        let mut ladder = with(name, &[a(1), a(2), a6(1)]);
        let error = refusal(&mut ladder, &[z(1), z6(1)], how.clone());
        assert_eq!(error, ConnectError::FamilyDisabled { index: 1, address: z6(1) });
        // The peer is told which family it is of use to list, too.
        ladder.connectx_with(&[z(1)], advertise(how));
        let init = ladder.hears().init().clone();
        let types = init.parameters.iter().find_map(|parameter| match parameter.unwrap() {
            usctp_chunk::Parameter::SupportedAddressTypes(types) => Some(types),
            _ => None,
        });
        let types: Vec<_> = types.unwrap().iter().collect();
        assert_eq!(types, [ParameterType::IPV4_ADDRESS.0]);
    }
}

#[test]
fn packets_leave_only_from_addresses_that_init_lists() {
    let name = "packets_leave_only_from_addresses_that_init_lists";
    // Routing would pick a(1) for everything.
    let mut ladder = with(name, &[a(1), a(2), a(3), a6(1)]);
    let told = [a(2), a(3)];
    ladder.connectx_with(&[z(1), z(2)], advertise(Advertise::Explicit(told.to_vec())));
    let said = everything_said(&mut ladder, &[z(1), z(2), z(3)]);
    assert!(said.len() > 10, "{}", said.len());
    assert!(said.iter().all(|heard| told.contains(&heard.source)), "{said:?}");
    assert!(said.iter().any(|heard| heard.destination == z(3)), "a learned address, too");
}

#[test]
fn a_peer_that_is_told_nothing_hears_from_the_address_it_answered_and_no_other() {
    let name = "a_peer_that_is_told_nothing_hears_from_the_address_it_answered_and_no_other";
    let mut ladder = with(name, &[a(1), a(2), a6(1)]);
    ladder.connectx_with(&[z(1), z(2)], advertise(Advertise::Nothing));
    let said = everything_said(&mut ladder, &[z(1), z(2), z(3), z6(1)]);
    assert!(said[0].addresses().is_empty());
    assert!(said.len() > 10, "{}", said.len());
    let source = said[0].source;
    assert!(said.iter().all(|heard| heard.source == source), "{said:?}");
    let paths: Vec<_> = ladder.paths().iter().map(|path| path.peer).collect();
    assert_eq!(paths, [z(1), z(2), z(3)], "the other family would have no known source");
}

#[test]
fn a_peer_that_is_told_nothing_and_answers_elsewhere_hears_from_there_on_every_path() {
    let name = "a_peer_that_is_told_nothing_and_answers_elsewhere_hears_from_there_on_every_path";
    let mut ladder = with(name, &[a(1), a(2)]);
    ladder.connectx_with(&[z(1), z(2)], advertise(Advertise::Nothing));
    // Routing has the INIT leave from a(1), and would have everything; a translator may bring the answer to a(2).
    assert_eq!(ladder.expects(z(1), &[ChunkType::INIT]).source, a(1));
    ladder.towards = a(2);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2), z(3)])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    ladder.sends("data");
    ladder.network.run_for(secs(20));
    let said = ladder.hears_all();
    for peer in [z(1), z(2), z(3)] {
        assert!(said.iter().any(|heard| heard.destination == peer), "{peer}");
    }
    assert!(said.iter().all(|heard| heard.source == a(2)), "{said:?}");
}

#[test]
fn the_init_ack_of_a_restart_lists_what_the_init_did() {
    let name = "the_init_ack_of_a_restart_lists_what_the_init_did";
    for (how, listed) in [
        (Advertise::Bound, vec![a(1), a(2), a(3)]),
        (Advertise::Explicit(vec![a(2), a(3)]), vec![a(2), a(3)]),
        (Advertise::Nothing, vec![]),
    ] {
        let mut ladder = with(name, &[a(1), a(2), a(3)]);
        ladder.connectx_with(&[z(1)], advertise(how.clone()));
        ladder.towards = ladder.expects(z(1), &[ChunkType::INIT]).source;
        ladder.says(z(1), &[ladder.init_ack(&[])]);
        ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
        ladder.says(z(1), &[Chunk::CookieAck]);
        ladder.hears_all();
        ladder.peer_tag = VerificationTag(0x1111_2222);
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
        let answer = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        assert_eq!(answer.addresses(), listed, "{how:?}");
        // And after the restart, too, nothing leaves from elsewhere.
        ladder.says(z(1), &[Chunk::CookieEcho(answer.cookie())]);
        ladder.sends("after");
        ladder.network.run_for(secs(10));
        let said = ladder.hears_all();
        assert!(said.iter().any(|heard| matches!(heard.chunks[0], Chunk::Data(_))), "{said:?}");
        let known = |source| source == answer.source || listed.contains(&source);
        assert!(said.iter().all(|heard| known(heard.source)), "{how:?} {said:?}");
    }
}

#[test]
fn an_init_that_collides_is_answered_with_what_our_init_listed() {
    let name = "an_init_that_collides_is_answered_with_what_our_init_listed";
    for (how, listed) in
        [(Advertise::Explicit(vec![a(2), a(3)]), vec![a(2), a(3)]), (Advertise::Nothing, vec![])]
    {
        let mut ladder = with(name, &[a(1), a(2), a(3)]);
        ladder.connectx_with(&[z(1), z(2)], advertise(how));
        ladder.expects(z(1), &[ChunkType::INIT]);
        ladder.towards = a(2);
        ladder.says_with_tag(VerificationTag::ZERO, z(2), &[ladder.init(&[z(1), z(2)])]);
        let answer = ladder.expects(z(2), &[ChunkType::INIT_ACK]);
        assert_eq!((answer.addresses(), answer.source), (listed, a(2)));
        ladder.says(z(2), &[Chunk::CookieEcho(answer.cookie())]);
        ladder.network.run_for(secs(10));
        assert!(ladder.hears_all().iter().all(|heard| [a(2), a(3)].contains(&heard.source)));
    }
}
