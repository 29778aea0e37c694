//! Cookies as no peer could make them meet: two peers that were given one tag, and the work that a repetition costs.

use bytes::BytesMut;
use rand::Rng;
use usctp_chunk::{CommonHeader, PacketBuilder, VerificationTag};

use super::*;
use crate::config::Config;
use crate::message::Message;
use crate::negotiate::Negotiated;
use crate::outbox;
use crate::wire::{AddressSet, Ecn};

const TAG: VerificationTag = VerificationTag(77);

#[test]
fn no_tag_is_given_out_whose_cookie_would_be_refused() {
    let now = base();
    let mut endpoint = Endpoint::new(Config::default(), 7, Vec::new(), [7; 32], now);
    let drawn = VerificationTag(endpoint.rng.clone().random_range(1..=u32::MAX));
    // In 120 s at 5,000 associations a second that comes to pass more often than not.
    endpoint.time_wait.insert(now, drawn, None, Duration::from_secs(120));
    let tag = endpoint.fresh_tag();
    assert_ne!(tag, drawn);
    assert!(!endpoint.time_wait.contains(now, tag));
    assert!(endpoint.time_wait.contains(now, drawn));
}

#[test]
fn a_cookie_of_one_peer_changes_nothing_of_the_association_of_another() {
    // RFC 9260, 5.2.4: before the first cookie came back, the others were given the same tag; or their INITs named the
    // first peer's address.
    for others in [(9, 5000, vec![]), (2, 1234, vec![]), (9, 1234, vec![]), (9, 5000, vec![ip(2)])]
    {
        let mut endpoint = listening();
        let (host, port, listed) = others.clone();
        echoes(&mut endpoint, 2, &cookie(2, 5000, 88));
        let id = endpoint.associations().next().expect("it was opened");
        let attack = Cookie { addresses: listed, ..cookie(host, port, 666) };
        // From its own address, and from that of the first peer.
        for from in [host, 2] {
            echoes(&mut endpoint, from, &attack);
            let association = endpoint.view(id).expect("it is there");
            assert_eq!(association.peer_tag(), Some(VerificationTag(88)), "{others:?}");
            let peers: Vec<_> = association.paths().map(|path| path.peer).collect();
            assert_eq!(peers, [ip(2)]);
            assert_eq!(endpoint.associations().count(), 1, "nor is there one with its tag");
            assert_eq!(endpoint.table.find_tag(TAG), Some(id));
        }
    }
}

#[test]
fn a_restart_by_a_cookie_whose_tag_another_association_has_is_none() {
    let mut endpoint = listening();
    echoes(&mut endpoint, 2, &cookie(2, 5000, 88));
    let other = Cookie {
        tags: Tags { local: VerificationTag(78), ..cookie(3, 5000, 89).tags },
        ..cookie(3, 5000, 89)
    };
    echoes(&mut endpoint, 3, &other);
    assert_eq!(endpoint.associations().count(), 2);
    let first = endpoint.table.find_tag(TAG).expect("it was opened");
    let second = endpoint.table.find_tag(VerificationTag(78)).expect("it was opened");
    let ties = match endpoint.table.look(second).expect("it is there").on_init(
        (ip(3), 0),
        &offer(),
        &[ip(1)],
        &|_| false,
    ) {
        InitAction::AnswerAnew(ties) => ties,
        action => panic!("{action:?}"),
    };
    let peer_tag = |endpoint: &Endpoint, id| endpoint.view(id).and_then(Association::peer_tag);
    let restart = Cookie { ties, ..cookie(3, 5000, 90) };
    echoes(&mut endpoint, 3, &restart);
    assert_eq!(endpoint.table.find_tag(TAG), Some(first));
    assert_eq!(endpoint.table.find_tag(VerificationTag(78)), Some(second));
    assert_eq!(peer_tag(&endpoint, first), Some(VerificationTag(88)));
    assert_eq!(peer_tag(&endpoint, second), Some(VerificationTag(89)));
    // With a tag of its own it is one.
    let tags = Tags { local: VerificationTag(79), ..restart.tags };
    echoes(&mut endpoint, 3, &Cookie { tags, ..restart });
    assert_eq!(endpoint.table.find_tag(VerificationTag(79)), Some(second));
    assert_eq!(peer_tag(&endpoint, second), Some(VerificationTag(90)));
}

#[test]
fn a_repeated_cookie_costs_no_look_at_the_messages_that_wait() {
    let mut endpoint = listening();
    echoes(&mut endpoint, 2, &cookie(2, 5000, 88));
    let id = endpoint.associations().next().expect("it was opened");
    for _ in 0..100 {
        let sent = endpoint.association(id).map(|a| a.send(base(), Message::new(0, "waits")));
        assert_eq!(sent, Some(Ok(())));
    }
    let before = outbox::SEARCHED.get();
    for _ in 0..10 {
        echoes(&mut endpoint, 2, &cookie(2, 5000, 88));
    }
    assert_eq!(outbox::SEARCHED.get(), before);
}

fn ip(host: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, host])
}

fn listening() -> Endpoint {
    let mut endpoint = Endpoint::new(Config::default(), 7, vec![ip(1)], [7; 32], base());
    endpoint.listen(true);
    endpoint
}

fn cookie(host: u8, port: u16, peer_tag: u32) -> Cookie {
    Cookie {
        created: Duration::ZERO,
        lifetime: Duration::from_secs(60),
        ports: Ports { local: 7, peer: port },
        tags: Tags { local: TAG, peer: VerificationTag(peer_tag) },
        ties: Ties::default(),
        local_tsn: Tsn::new(1),
        peer_tsn: Tsn::new(1),
        negotiated: Negotiated { outbound_streams: 10, inbound_streams: 10 },
        peer_rwnd: 100_000,
        adaptation: None,
        route: Route {
            local: ip(1),
            peer: ip(host),
            udp_port: None,
            zone: 0,
            sources: AddressSet::default(),
        },
        addresses: vec![],
    }
}

/// What the peer's INIT offers.
fn offer() -> PeerOffer {
    let init = Init {
        initiate_tag: VerificationTag(90),
        a_rwnd: 100_000,
        outbound_streams: 10,
        inbound_streams: 10,
        initial_tsn: Tsn::new(1),
        parameters: Parameters::default(),
    };
    PeerOffer::read(&init, 64).expect("nothing is wrong with it")
}

/// A host sends a cookie of the endpoint's back.
fn echoes(endpoint: &mut Endpoint, from: u8, cookie: &Cookie) {
    let now = base();
    let Endpoint { keys, rng, .. } = endpoint;
    let sealed = keys.seal(now, cookie, rng);
    let header = CommonHeader {
        source_port: cookie.ports.peer,
        destination_port: 7,
        verification_tag: cookie.tags.local,
    };
    let mut bytes = BytesMut::new();
    let mut packet = PacketBuilder::new(&mut bytes, header, 1400);
    assert!(packet.push(&Chunk::CookieEcho(sealed)));
    packet.finish();
    let datagram = Datagram {
        source: ip(from),
        destination: ip(1),
        udp_port: None,
        zone: 0,
        ecn: Ecn::NotEct,
        payload: bytes.freeze(),
    };
    endpoint.handle_datagram(now, datagram);
    let mut out = BytesMut::new();
    while endpoint.poll_transmit(now, &mut out).is_some() {}
}

/// An arbitrary starting point, the same for all.
fn base() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
    fn first() -> Instant {
        Instant::now()
    }
    static BASE: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BASE.get_or_init(first)
}

#[test]
fn what_makes_the_cookie_of_a_stranger_longer_leaves_less_room_for_addresses() {
    let endpoint = Endpoint::new(Config::default(), 7, Vec::new(), [7; 32], base());
    let datagram = |udp_port, zone| Datagram {
        source: ip(9),
        destination: ip(1),
        udp_port,
        zone,
        ecn: Ecn::NotEct,
        payload: vec![0; 100].into(),
    };
    let room = |udp_port, zone| endpoint.room_for_stranger(&datagram(udp_port, zone), &offer());
    let plain = room(None, 0);
    assert_eq!(plain - room(None, 5), 4);
    // The packet may be longer as well by three times the header of UDP, of which one is its own.
    assert_eq!(room(Some(9), 0), plain + 2 * 8 - 4);
}
