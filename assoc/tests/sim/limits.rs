//! Limits to the byte: what is just allowed is taken, and one more is not.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use usctp_assoc::sim::{Ladder, a, z};
use usctp_assoc::{
    Config, Datagram, Ecn, LossDetection, Message, Options, RecoveryOptions, SendError,
    out_of_the_blue,
};
use usctp_chunk::{Cause, Chunk, ChunkType, Init, Parameter, ParameterType, VerificationTag};

use crate::rfc::{acks, alone, single};
use crate::world::{config, ms, secs};

const ZERO: VerificationTag = VerificationTag::ZERO;

/// Z's INIT or INIT ACK with something changed.
fn altered(chunk: Chunk, change: impl FnOnce(&mut Init)) -> Chunk {
    match chunk {
        Chunk::Init(mut init) => {
            change(&mut init);
            Chunk::Init(init)
        }
        Chunk::InitAck(mut init) => {
            change(&mut init);
            Chunk::InitAck(init)
        }
        chunk => panic!("{chunk:?} is neither"),
    }
}

/// A parameter that wants to be reported, with so many bytes behind its header.
fn odd(len: usize) -> Parameter {
    Parameter::Unknown { kind: ParameterType(0xffff), value: Bytes::from(vec![1; len]) }
}

#[test]
fn the_greatest_message_is_what_the_empty_send_buffer_holds() {
    let mut ladder = single("the_greatest_message_is_what_the_empty_send_buffer_holds");
    let (ours, id) = (ladder.ours, ladder.id());
    let limit = Options::default().limits.send_buffer;
    let of = |len: usize| Message::new(0, Bytes::from(vec![0; len]));
    let refused = ladder.network.send(ours, id, of(limit + 1));
    let Err(SendError::TooLarge { len, max }) = refused else { panic!("{refused:?}") };
    assert_eq!(len, limit + 1);
    assert!(max <= limit && max > limit - 1_000);
    let refused = ladder.network.send(ours, id, of(max + 1));
    assert_eq!(refused, Err(SendError::TooLarge { len: max + 1, max }));
    // Waiting would help here, and not above.
    ladder.sends("some");
    assert_eq!(ladder.network.send(ours, id, of(max)), Err(SendError::WouldBlock));
    ladder.hears();
    acks(&mut ladder, 1, &[]);
    ladder.network.send(ours, id, of(max)).unwrap();
    assert_eq!(ladder.network.send(ours, id, of(1)), Err(SendError::WouldBlock));
}

#[test]
fn the_least_window_that_a_peer_may_offer_is_1500_bytes() {
    let name = "the_least_window_that_a_peer_may_offer_is_1500_bytes";
    // RFC 9260, 3.3.2 and 3.3.3
    for (a_rwnd, answer) in [(1500, ChunkType::INIT_ACK), (1499, ChunkType::ABORT)] {
        let mut ladder = alone(name, Config::default());
        ladder.network.listen(ladder.ours, true);
        ladder.says_with_tag(ZERO, z(1), &[altered(ladder.init(&[]), |init| init.a_rwnd = a_rwnd)]);
        ladder.expects(z(1), &[answer]);
    }
    for (a_rwnd, answer) in [(1500, ChunkType::COOKIE_ECHO), (1499, ChunkType::ABORT)] {
        let mut ladder = alone(name, Config::default());
        ladder.connectx(&[z(1)]);
        ladder.hears();
        ladder.says(z(1), &[altered(ladder.init_ack(&[]), |init| init.a_rwnd = a_rwnd)]);
        ladder.expects(z(1), &[answer]);
    }
}

#[test]
fn an_init_for_a_port_of_nobody_is_answered_only_if_its_tags_are_right() {
    let ladder = Ladder::new("an_init_for_a_port_of_nobody_is_answered_only_if_its_tags_are_right");
    let combinations = [(0, 5, true), (0, 0, false), (7, 5, false), (7, 0, false)];
    for (packet_tag, initiate_tag, answered) in combinations {
        let tag = VerificationTag(initiate_tag);
        let init = altered(ladder.init(&[]), |init| init.initiate_tag = tag);
        let datagram = Datagram {
            source: z(1),
            destination: a(1),
            udp_port: None,
            zone: 0,
            ecn: Ecn::NotEct,
            payload: ladder.packet(VerificationTag(packet_tag), &[init]),
        };
        let answer = out_of_the_blue(&datagram, &mut BytesMut::new());
        assert_eq!(answer.is_some(), answered, "{packet_tag} {initiate_tag}");
    }
}

#[test]
fn an_init_ack_reports_as_many_parameters_as_its_share_of_the_packet_holds() {
    let name = "an_init_ack_reports_as_many_parameters_as_its_share_of_the_packet_holds";
    // A third each of what 1,500 bytes leave, 420 bytes, is for the peer's addresses, for ours, and for the report.
    // Each is wrapped in a parameter of its own (RFC 9260, 3.2.2), and padded there.
    for (len, count) in [(0, 52), (1, 35), (408, 1), (412, 1), (413, 0)] {
        let mut ladder = alone(name, Config::default());
        ladder.network.listen(ladder.ours, true);
        let init = altered(ladder.init(&[]), |init| {
            init.parameters = std::iter::repeat_n(odd(len), 60.min(1_300 / (len + 4))).collect();
        });
        ladder.says_with_tag(ZERO, z(1), &[init]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        assert!(init_ack.bytes.len() <= 1480);
        let kinds = init_ack.init().parameters.raw_iter().map(|raw| raw.unwrap().kind);
        let reported = kinds.filter(|kind| *kind == ParameterType::UNRECOGNIZED_PARAMETER);
        assert_eq!(reported.count(), count, "of {len} bytes");
    }
}

#[test]
fn beside_a_cookie_parameters_are_reported_as_far_as_the_packet_holds_them() {
    let name = "beside_a_cookie_parameters_are_reported_as_far_as_the_packet_holds_them";
    // What A takes for the MTU less the headers of IP, SCTP, COOKIE ECHO, ERROR and its cause; Z's packets may be larger.
    const ROOM: usize = 1400 - 20 - 12 - 4 - 4 - 4;
    for (cookie, first, second, reported) in [
        (1_000, ROOM - 1_000, 0, Some(ROOM - 1_000)),
        (1_001, ROOM - 1_004, 0, Some(ROOM - 1_004)),
        (1_000, ROOM - 996, 0, None),
        (1_000, ROOM - 1_004, 4, Some(ROOM - 1_000)),
        (1_000, ROOM - 1_000, 4, Some(ROOM - 1_000)),
        (ROOM, 4, 0, None),
        (ROOM - 4, 4, 0, Some(4)),
    ] {
        let mut ladder = alone(name, config(|options| options.path_mtu = 1400));
        ladder.connectx(&[z(1)]);
        ladder.hears();
        let init_ack = altered(ladder.init_ack(&[]), |init| {
            let cookie = Parameter::StateCookie(Bytes::from(vec![7; cookie]));
            let odd = [first, second].into_iter().filter(|len| *len > 0).map(|len| odd(len - 4));
            init.parameters = std::iter::once(cookie).chain(odd).collect();
        });
        ladder.says(z(1), &[init_ack]);
        let heard = ladder.hears();
        let error = heard.chunks.iter().find_map(|chunk| match chunk {
            Chunk::Error(causes) => causes.iter().next(),
            _ => None,
        });
        let len = error.map(|cause| match cause.unwrap() {
            Cause::UnrecognizedParameters(parameters) => parameters.len(),
            cause => panic!("{cause:?}"),
        });
        assert_eq!(len, reported, "{cookie} {first} {second}");
        assert!(heard.bytes.len() <= 1380);
    }
}

/// Peers ask after each change of A's second address to one of these numbers.
fn changes(ladder: &mut Ladder, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let addresses: [IpAddr; 2] = [a(1), a(100 + number)];
        ladder.network.with_endpoint(ladder.ours, |endpoint, _| endpoint.set_addresses(addresses));
        ladder.says_with_tag(ZERO, z(2), &[ladder.init(&[])]);
        assert_eq!(ladder.expects(z(2), &[ChunkType::INIT_ACK]).addresses(), addresses);
    }
}

#[test]
fn a_cookie_opens_with_the_addresses_its_init_ack_told_although_the_host_changes_them_often() {
    let name =
        "a_cookie_opens_with_the_addresses_its_init_ack_told_although_the_host_changes_them_often";
    for before in 0..40 {
        let mut ladder = Ladder::with(name, Config::default(), &[a(1), a(2)], &[z(1), z(2)]);
        ladder.network.listen(ladder.ours, true);
        changes(&mut ladder, 0..before);
        ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[])]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        let (tag, told) = (ladder.our_tag, init_ack.addresses());
        // The latest sixteen changes are remembered.
        changes(&mut ladder, 50..66);
        ladder.says_with_tag(tag, z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
        ladder.expects(z(1), &[ChunkType::COOKIE_ACK]);
        let id = ladder.network.newest(ladder.ours).unwrap();
        let kept = |ladder: &Ladder| -> Vec<IpAddr> {
            ladder.network.endpoint(ladder.ours).addresses_of(id).unwrap().to_vec()
        };
        assert_eq!(kept(&ladder), told, "after {before}");
        // An association keeps them, whatever comes.
        changes(&mut ladder, 70..150);
        assert_eq!(kept(&ladder), told, "after {before}");
    }
}

#[test]
fn the_defaults_are_those_that_the_documentation_names() {
    // Those of RFC 9260, section 16, have a test of their own.
    let options = Options::default();
    assert_eq!(options.cookie.key_lifetime, secs(600));
    let failover = options.failover;
    assert_eq!((failover.potentially_failed_max, failover.primary_switchover_max), (Some(0), None));
    assert!(failover.expose_potentially_failed);
    let limits = options.limits;
    assert_eq!((limits.outbound_streams, limits.inbound_streams), (10, 65_535));
    assert_eq!((limits.receive_buffer, limits.send_buffer), (1 << 20, 1 << 20));
    assert_eq!((limits.associations, limits.peer_addresses), (100_000, 64));
    assert_eq!(options.path_mtu, 1500);
    assert_eq!((options.pmtud.probe_timer, options.pmtud.raise_timer), (secs(16), secs(600)));
    assert_eq!((options.udp_port, options.nagle, options.fragment_limit), (None, false, None));
    assert_eq!((options.adaptation, options.shutdown_guard), (None, None));
    let recovery = options.recovery;
    assert_eq!(recovery, RecoveryOptions::default());
    assert_eq!((recovery.detection, recovery.pacing), (LossDetection::Rfc9260, false));
}

#[test]
fn every_option_is_taken_up_to_its_ends_and_refused_one_beyond() {
    type Set<T> = fn(&mut Options, T);
    let verdict = |change: &dyn Fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        Config::new(options).map(|_| ()).map_err(|error| error.option)
    };
    let counts: [(&str, Set<u64>, std::ops::RangeInclusive<u64>); 9] = [
        ("max_burst", |o, n| o.max_burst = n as _, 1..=1024),
        ("sack.frequency", |o, n| o.sack.frequency = n as _, 1..=255),
        ("heartbeat.max_burst", |o, n| o.heartbeat.max_burst = n as _, 1..=64),
        ("limits.receive_buffer", |o, n| o.limits.receive_buffer = n as _, 4096..=1 << 30),
        ("limits.send_buffer", |o, n| o.limits.send_buffer = n as _, 4096..=1 << 30),
        ("limits.outbound_streams", |o, n| o.limits.outbound_streams = n as _, 1..=65_535),
        ("limits.inbound_streams", |o, n| o.limits.inbound_streams = n as _, 1..=65_535),
        ("limits.associations", |o, n| o.limits.associations = n as _, 1..=u64::MAX),
        ("limits.peer_addresses", |o, n| o.limits.peer_addresses = n as _, 1..=255),
    ];
    for (name, set, range) in counts {
        let of = |n: u64| verdict(&|options| set(options, n));
        assert_eq!((of(*range.start()), of(*range.end())), (Ok(()), Ok(())), "{name}");
        assert_eq!(of(range.start() - 1), Err(name));
        // A number that its type does not hold is none that can be asked for.
        let fits = !matches!(name, "sack.frequency" | "limits.associations")
            && !name.ends_with("_streams");
        assert!(!fits || of(range.end() + 1) == Err(name), "{name}");
    }
    let day = 24 * 3600;
    let failed_interval: Set<Duration> = |o, t| o.heartbeat.failed_interval = Some(t);
    let times: [(&str, Set<Duration>, Duration, Duration); 10] = [
        ("rto.initial", |o, t| (o.rto.initial, o.rto.min) = (t, t.min(o.rto.min)), ms(1), secs(60)),
        ("rto.max", |o, t| (o.rto.initial, o.rto.min, o.rto.max) = (t, t, t), ms(1), secs(3600)),
        ("rto.min", |o, t| o.rto.min = t, ms(1), secs(1)),
        ("sack.delay", |o, t| o.sack.delay = t, Duration::ZERO, ms(500)),
        ("cookie.lifetime", |o, t| o.cookie.lifetime = t, secs(1), secs(600)),
        ("cookie.key_lifetime", |o, t| o.cookie.key_lifetime = t, secs(60), secs(day)),
        ("heartbeat.interval", |o, t| o.heartbeat.interval = Some(t), Duration::ZERO, secs(day)),
        ("heartbeat.failed_interval", failed_interval, ms(10), secs(day)),
        ("pmtud.probe_timer", |o, t| o.pmtud.probe_timer = t, secs(1), secs(3600)),
        ("pmtud.raise_timer", |o, t| o.pmtud.raise_timer = t, secs(1), secs(day)),
    ];
    let step = Duration::from_nanos(1);
    for (name, set, least, most) in times {
        let of = |time: Duration| verdict(&|options| set(options, time));
        assert_eq!((of(least), of(most)), (Ok(()), Ok(())), "{name}");
        assert!(least.is_zero() || of(least - step).is_err(), "{name}");
        assert!(of(most + step).is_err(), "{name}");
    }
    let guard = |time| verdict(&|options| options.shutdown_guard = Some(time));
    assert_eq!((guard(secs(1)), guard(secs(day))), (Ok(()), Ok(())));
    assert_eq!(guard(secs(1) - step), Err("shutdown_guard"));
    assert_eq!(guard(secs(day) + step), Err("shutdown_guard"));
}
