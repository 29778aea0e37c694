//! What INIT and INIT ACK say, and what they must not say (RFC 9260, sections 3.3.2, 3.3.3, 5.1.1 and 5.1.2).

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use usctp_assoc::sim::{Heard, Ladder, PEER_PORT, PORT, a, a6, z, z6};
use usctp_assoc::{
    Advertise, AssociationState, Config, ConnectOptions, Endpoint, Message, Options, PathState,
    SendError,
};
use usctp_chunk::{
    Cause, Chunk, ChunkType, CommonHeader, Init, Packet, PacketBuilder, Parameter, ParameterType,
    UnknownChunk, VerificationTag,
};

use crate::world::{config, ms};

use AssociationState::{CookieEchoed, CookieWait, Established, ShutdownPending, ShutdownSent};

const ZERO: VerificationTag = VerificationTag::ZERO;

/// A listens.
fn listening(name: &str, change: impl FnOnce(&mut Options)) -> Ladder {
    let mut ladder = Ladder::with(name, config(change), &[a(1)], &[z(1), z(2), z(3)]);
    ladder.network.listen(ladder.ours, true);
    ladder
}

/// A has sent its INIT.
fn asked(name: &str) -> (Ladder, Heard) {
    let mut ladder = Ladder::new(name);
    ladder.connectx(&[z(1)]);
    let init = ladder.expects(z(1), &[ChunkType::INIT]);
    (ladder, init)
}

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

/// The same chunk with more parameters behind its own.
fn with_parameters(chunk: Chunk, more: &[Parameter]) -> Chunk {
    altered(chunk, |init| {
        let own: Vec<_> = init.parameters.iter().map(Result::unwrap).collect();
        init.parameters = own.into_iter().chain(more.iter().cloned()).collect();
    })
}

fn unknown(kind: u16) -> Parameter {
    let value = Bytes::from_static(b"what?");
    Parameter::Unknown { kind: ParameterType(kind), value }
}

fn host_name() -> Parameter {
    Parameter::HostName(Bytes::from_static(b"z.example\0"))
}

fn parameter_types(heard: &Heard) -> Vec<ParameterType> {
    heard.init().parameters.raw_iter().map(|raw| raw.unwrap().kind).collect()
}

fn peers(ladder: &Ladder) -> Vec<IpAddr> {
    ladder.paths().iter().map(|path| path.peer).collect()
}

/// Z echoes the cookie of A's INIT ACK.
fn echoes(ladder: &mut Ladder, init_ack: &Heard) {
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
    ladder.id = ladder.network.newest(ladder.ours);
}

#[test]
fn init_and_init_ack_hold_each_parameter_once_and_no_host_name() {
    let name = "init_and_init_ack_hold_each_parameter_once_and_no_host_name";
    let both = [a(1), a6(1)];
    let mut ladder = Ladder::with(name, Config::default(), &both, &[z(1), z6(1)]);
    ladder.connectx(&[z(1)]);
    let init = ladder.hears();
    let mut ladder = Ladder::with(name, Config::default(), &both, &[z(1), z6(1)]);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[])]);
    let init_ack = ladder.hears();
    for heard in [&init, &init_ack] {
        assert_eq!(heard.addresses(), both);
        let mut types = parameter_types(heard);
        assert!(!types.contains(&ParameterType::HOST_NAME_ADDRESS));
        types.sort();
        let count = types.len();
        types.dedup();
        assert_eq!(types.len(), count, "{types:?}");
    }
    let supported = init.init().parameters.iter().find_map(|parameter| match parameter {
        Ok(Parameter::SupportedAddressTypes(types)) => Some(types.iter().collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(supported, Some(vec![5, 6]), "and not 11, Host Name Address");
}

#[test]
fn init_has_tag_0_and_init_ack_the_tag_of_the_init() {
    let name = "init_has_tag_0_and_init_ack_the_tag_of_the_init";
    let (_, init) = asked(name);
    assert_eq!((init.header.verification_tag, init.chunks.len()), (ZERO, 1));
    assert_ne!(init.init().initiate_tag, ZERO);
    let mut ladder = listening(name, |_| {});
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    assert_eq!(init_ack.header.verification_tag, ladder.peer_tag);
    assert_ne!(init_ack.init().initiate_tag, ZERO);
}

#[test]
fn an_association_keeps_its_tags_from_init_ack_to_shutdown() {
    let mut ladder = Ladder::new("an_association_keeps_its_tags_from_init_ack_to_shutdown");
    ladder.establishes(&[z(1)]);
    let (ours, theirs) = (ladder.our_tag, ladder.peer_tag);
    ladder.sends("data");
    let mut heard = ladder.hears_all();
    ladder.says_with_tag(ours, z(1), &[ladder.sack(1)]);
    let message = ladder.data("sack");
    ladder.says_with_tag(ours, z(1), &[message]);
    ladder.shuts_down();
    heard.extend(ladder.hears_all());
    ladder.says_with_tag(ours, z(1), &[Chunk::ShutdownAck]);
    heard.extend(ladder.hears_all());
    assert_eq!(ladder.state(), AssociationState::Closed);
    assert!(heard.len() >= 4, "DATA, SACK, SHUTDOWN, SHUTDOWN COMPLETE");
    assert!(heard.iter().all(|heard| heard.header.verification_tag == theirs));
}

#[test]
fn tag_and_initial_tsn_are_drawn_anew_for_each_attempt() {
    let mut ladder = Ladder::new("tag_and_initial_tsn_are_drawn_anew_for_each_attempt");
    let (mut tags, mut tsns) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let id = ladder.connectx(&[z(1)]);
        let init = ladder.hears();
        tags.push(init.init().initiate_tag.0);
        tsns.push(init.init().initial_tsn.value());
        ladder.network.with(ladder.ours, id, |association, now| {
            association.abort(now, Bytes::new());
        });
    }
    for drawn in [&mut tags, &mut tsns] {
        assert!(!drawn.contains(&0));
        let small = drawn.iter().filter(|number| **number < 1 << 31).count();
        assert!((2..=18).contains(&small), "{small} of 20 in the lower half");
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
    }
}

#[test]
fn the_window_of_init_and_init_ack_is_never_below_1500() {
    let name = "the_window_of_init_and_init_ack_is_never_below_1500";
    let mut options = Options::default();
    options.limits.receive_buffer = 4095;
    assert!(Config::new(options).is_err(), "the least is 4,096 bytes");
    let mut ladder = listening(name, |options| options.limits.receive_buffer = 4096);
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[])]);
    assert_eq!(ladder.hears().init().a_rwnd, 4096);
    let id = ladder.connectx(&[z(2)]);
    assert_eq!(ladder.hears().init().a_rwnd, 4096);
    assert_eq!(ladder.id(), id);
}

#[test]
fn no_streams_at_all_cannot_be_asked_for_or_allowed() {
    for change in [
        |options: &mut Options| options.limits.outbound_streams = 0,
        |options: &mut Options| options.limits.inbound_streams = 0,
    ] {
        let mut options = Options::default();
        change(&mut options);
        assert!(Config::new(options).is_err());
    }
    let mut ladder = Ladder::new("no_streams_at_all_cannot_be_asked_for_or_allowed");
    let options = ConnectOptions::default().with(|options| options.outbound_streams = Some(0));
    ladder.connectx_with(&[z(1)], options);
    assert_eq!(ladder.hears().init().outbound_streams, 1);
}

#[test]
fn the_streams_asked_for_and_allowed_are_told_and_the_lesser_ones_agreed_on() {
    let name = "the_streams_asked_for_and_allowed_are_told_and_the_lesser_ones_agreed_on";
    let change = |options: &mut Options| {
        options.limits.outbound_streams = 12;
        options.limits.inbound_streams = 7;
    };
    for (theirs_out, theirs_in, agreed) in [(20, 3, (3, 7)), (5, 30, (12, 5))] {
        let streams = |init: &mut Init| {
            (init.outbound_streams, init.inbound_streams) = (theirs_out, theirs_in);
        };
        let mut active = listening(name, change);
        active.connectx(&[z(1)]);
        let heard = active.expects(z(1), &[ChunkType::INIT]);
        assert_eq!((heard.init().outbound_streams, heard.init().inbound_streams), (12, 7));
        active.says(z(1), &[altered(active.init_ack(&[]), streams)]);
        active.expects(z(1), &[ChunkType::COOKIE_ECHO]);
        active.says(z(1), &[Chunk::CookieAck]);
        let mut passive = listening(name, change);
        passive.says_with_tag(ZERO, z(1), &[altered(passive.init(&[]), streams)]);
        let init_ack = passive.expects(z(1), &[ChunkType::INIT_ACK]);
        assert_eq!(init_ack.init().inbound_streams, 7);
        echoes(&mut passive, &init_ack);
        for ladder in [&mut active, &mut passive] {
            let (ours, id) = (ladder.ours, ladder.id());
            let association = ladder.network.endpoint(ours).view(id).unwrap();
            assert_eq!((association.outbound_streams(), association.inbound_streams()), agreed);
            ladder.network.send(ours, id, Message::new(agreed.0 - 1, "last")).unwrap();
            let refused = ladder.network.send(ours, id, Message::new(agreed.0, "one too far"));
            let (stream, streams) = (agreed.0, agreed.0);
            assert_eq!(refused, Err(SendError::NoSuchStream { stream, streams }));
        }
    }
}

#[test]
fn an_init_ack_asks_for_no_more_streams_than_the_init_allows() {
    let name = "an_init_ack_asks_for_no_more_streams_than_the_init_allows";
    for state in [None, Some(CookieWait), Some(Established)] {
        let mut ladder = state.map_or_else(|| Ladder::new(name), |s| Ladder::in_state(name, s));
        ladder.network.listen(ladder.ours, true);
        let init = altered(ladder.init(&[]), |init| init.inbound_streams = 3);
        ladder.says_with_tag(ZERO, z(1), &[init]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        assert_eq!(init_ack.init().outbound_streams, 3, "RFC 9260, 3.3.3, in {state:?}");
    }
}

#[test]
fn an_init_with_values_that_must_not_be_is_refused_and_changes_nothing() {
    let name = "an_init_with_values_that_must_not_be_is_refused_and_changes_nothing";
    let spoil: [fn(&mut Init); 4] = [
        |init| init.initiate_tag = VerificationTag::ZERO,
        |init| init.a_rwnd = 1499,
        |init| init.outbound_streams = 0,
        |init| init.inbound_streams = 0,
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        for state in [AssociationState::Closed, CookieWait, CookieEchoed, Established, ShutdownSent]
        {
            let mut ladder = Ladder::in_state(name, state);
            ladder.network.listen(ladder.ours, true);
            let paths = ladder.id.map(|_| ladder.paths());
            ladder.says_with_tag(ZERO, z(1), &[altered(ladder.init(&[]), spoil)]);
            let heard = ladder.hears_all();
            if number == 0 {
                assert!(heard.is_empty(), "RFC 9260, 3.3.2: silently");
            } else {
                let Chunk::Abort(abort) = heard[0].only() else { panic!("{heard:?}") };
                assert_eq!(abort.causes.iter().next(), Some(Ok(Cause::InvalidMandatoryParameter)));
                assert_eq!(heard[0].header.verification_tag, ladder.peer_tag);
                assert!(!abort.tag_reflected);
            }
            assert_eq!((ladder.state(), ladder.id.map(|_| ladder.paths())), (state, paths));
            let count = ladder.network.endpoint(ladder.ours).associations().count();
            assert_eq!(count, usize::from(state != AssociationState::Closed));
        }
    }
}

#[test]
fn an_init_ack_that_nobody_waits_for_changes_nothing_whatever_it_holds() {
    let name = "an_init_ack_that_nobody_waits_for_changes_nothing_whatever_it_holds";
    let make: [fn(&mut Init); 4] = [
        |_| {},
        |init| init.initiate_tag = VerificationTag::ZERO,
        |init| init.outbound_streams = 0,
        |init| init.inbound_streams = 0,
    ];
    for make in make {
        for state in [CookieEchoed, Established, ShutdownPending, ShutdownSent] {
            let mut ladder = Ladder::in_state(name, state);
            let (paths, events) = (ladder.paths(), ladder.events());
            ladder.says(z(1), &[altered(ladder.init_ack(&[z(1), z(3)]), make)]);
            assert!(ladder.hears_all().is_empty(), "{state:?}");
            assert_eq!((ladder.state(), ladder.paths(), ladder.events()), (state, paths, events));
        }
    }
}

#[test]
fn a_host_name_is_refused_with_an_abort_to_where_it_came_from() {
    let name = "a_host_name_is_refused_with_an_abort_to_where_it_came_from";
    let mut ladder = listening(name, |_| {});
    let init = with_parameters(ladder.init(&[z(1), z(2)]), &[host_name()]);
    ladder.says_with_tag(ZERO, z(2), &[init]);
    let to_init = ladder.expects(z(2), &[ChunkType::ABORT]);
    let (mut ladder, _) = asked(name);
    let init_ack = with_parameters(ladder.init_ack(&[z(1), z(2)]), &[host_name()]);
    ladder.says(z(2), &[init_ack]);
    let to_init_ack = ladder.expects(z(2), &[ChunkType::ABORT]);
    assert_eq!(ladder.state(), AssociationState::Closed);
    for heard in [to_init, to_init_ack] {
        let Chunk::Abort(abort) = heard.only() else { unreachable!() };
        let Some(Ok(Cause::UnresolvableAddress(parameter))) = abort.causes.iter().next() else {
            panic!("{abort:?}")
        };
        assert_eq!(parameter[..2], [0, 11]);
        assert_eq!(heard.header.verification_tag, ladder.peer_tag);
    }
}

#[test]
fn an_init_ack_without_a_cookie_is_refused_with_the_name_of_what_is_missing() {
    let (mut ladder, _) =
        asked("an_init_ack_without_a_cookie_is_refused_with_the_name_of_what_is_missing");
    let init_ack = altered(ladder.init_ack(&[]), |init| {
        init.parameters = std::iter::empty::<Parameter>().collect();
    });
    ladder.says(z(1), &[init_ack]);
    let heard = ladder.expects(z(1), &[ChunkType::ABORT]);
    assert_eq!(heard.header.verification_tag, ladder.peer_tag, "RFC 9260, 5.1");
    let Chunk::Abort(abort) = heard.only() else { unreachable!() };
    let Some(Ok(Cause::MissingMandatoryParameter(missing))) = abort.causes.iter().next() else {
        panic!("{abort:?}")
    };
    assert_eq!(missing.iter().collect::<Vec<_>>(), [ParameterType::STATE_COOKIE]);
}

#[test]
fn a_cookie_echo_for_which_there_is_no_room_is_refused() {
    let name = "a_cookie_echo_for_which_there_is_no_room_is_refused";
    let mut ladder = listening(name, |options| options.limits.associations = 1);
    ladder.connectx(&[z(2)]);
    ladder.hears_all();
    ladder.says_with_tag(ZERO, z(1), &[ladder.init(&[])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    let heard = ladder.expects(z(1), &[ChunkType::ABORT]);
    let Chunk::Abort(abort) = heard.only() else { unreachable!() };
    assert_eq!(abort.causes.iter().next(), Some(Ok(Cause::OutOfResource)));
    assert_eq!(heard.header.verification_tag, ladder.peer_tag);
}

#[test]
fn families_that_an_init_does_not_name_as_supported_are_used_all_the_same() {
    let name = "families_that_an_init_does_not_name_as_supported_are_used_all_the_same";
    for types in [&[5][..], &[6], &[11], &[5, 11]] {
        let ours = [a(1), a6(1)];
        let mut ladder = Ladder::with(name, Config::default(), &ours, &[z(1), z6(1)]);
        ladder.network.listen(ladder.ours, true);
        let types = Parameter::SupportedAddressTypes(types.iter().copied().collect());
        let init = with_parameters(ladder.init(&[z(1), z6(1)]), &[types]);
        ladder.says_with_tag(ZERO, z(1), &[init]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        let reported = parameter_types(&init_ack).contains(&ParameterType::UNRECOGNIZED_PARAMETER);
        assert!(!reported, "no error indication");
        echoes(&mut ladder, &init_ack);
        assert_eq!(peers(&ladder), [z(1), z6(1)]);
    }
}

#[test]
fn unrecognized_parameters_come_back_in_the_init_ack_as_their_high_bits_say() {
    let name = "unrecognized_parameters_come_back_in_the_init_ack_as_their_high_bits_say";
    for (kind, goes_on, reports) in
        [(0x3fff, false, false), (0x7fff, false, true), (0xbfff, true, false), (0xffff, true, true)]
    {
        let mut ladder = listening(name, |_| {});
        let address = Parameter::from_ip(z(3));
        let init = with_parameters(ladder.init(&[]), &[unknown(kind), address]);
        ladder.says_with_tag(ZERO, z(1), &[init]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        let reported: Vec<_> = (init_ack.init().parameters.iter())
            .filter_map(|parameter| match parameter {
                Ok(Parameter::UnrecognizedParameter(parameter)) => Some(parameter),
                _ => None,
            })
            .collect();
        assert_eq!(reported.len(), usize::from(reports), "{kind:#x}");
        if let Some(whole) = reported.first() {
            assert_eq!(whole[..2], kind.to_be_bytes());
            assert_eq!(&whole[4..9], b"what?");
        }
        echoes(&mut ladder, &init_ack);
        assert_eq!(peers(&ladder).contains(&z(3)), goes_on, "{kind:#x}: the address behind");
    }
}

#[test]
fn unrecognized_parameters_of_an_init_ack_are_reported_behind_its_cookie() {
    let (mut ladder, _) =
        asked("unrecognized_parameters_of_an_init_ack_are_reported_behind_its_cookie");
    let odd = [unknown(0xbfff), unknown(0xffff)];
    ladder.says(z(1), &[with_parameters(ladder.init_ack(&[]), &odd)]);
    let heard = ladder.expects(z(1), &[ChunkType::COOKIE_ECHO, ChunkType::ERROR]);
    assert_eq!(heard.chunks[0], Chunk::CookieEcho(Bytes::from_static(b"the cookie of Z")));
    let Chunk::Error(causes) = &heard.chunks[1] else { unreachable!() };
    let Some(Ok(Cause::UnrecognizedParameters(list))) = causes.iter().next() else {
        panic!("{causes:?}")
    };
    assert_eq!(list[..], [0xff, 0xff, 0, 9, b'w', b'h', b'a', b't', b'?'], "and not the other one");
    assert_eq!(ladder.state(), CookieEchoed);
}

#[test]
fn an_init_without_addresses_means_its_source_and_one_with_addresses_its_source_too() {
    let name = "an_init_without_addresses_means_its_source_and_one_with_addresses_its_source_too";
    for (listed, expected) in [(vec![], vec![z(1)]), (vec![z(2)], vec![z(1), z(2)])] {
        let mut ladder = listening(name, |_| {});
        ladder.says_with_tag(ZERO, z(1), &[ladder.init(&listed)]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        echoes(&mut ladder, &init_ack);
        assert_eq!(peers(&ladder), expected);
        assert_eq!(ladder.path(z(1)).state, PathState::Active);
    }
}

#[test]
fn an_init_that_lists_an_address_of_an_association_belongs_to_it() {
    let name = "an_init_that_lists_an_address_of_an_association_belongs_to_it";
    let mut ladder = Ladder::in_state(name, Established);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(ZERO, z(3), &[ladder.init(&[z(1)])]);
    let heard = ladder.expects(z(3), &[ChunkType::ABORT]);
    let Chunk::Abort(abort) = heard.only() else { unreachable!() };
    let Some(Ok(Cause::RestartWithNewAddresses(added))) = abort.causes.iter().next() else {
        panic!("a restart from z(3), not a new association: {abort:?}")
    };
    assert_eq!(added.iter().map(|p| p.unwrap().ip().unwrap()).collect::<Vec<_>>(), [z(3)]);
    assert_eq!(ladder.state(), Established);
}

#[test]
fn flags_of_init_and_init_ack_are_0_when_sent_and_ignored_when_received() {
    let name = "flags_of_init_and_init_ack_are_0_when_sent_and_ignored_when_received";
    // The same chunk with all flags set.
    let flagged = |chunk: &Chunk| {
        let mut bytes = BytesMut::new();
        chunk.encode(&mut bytes);
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let value = bytes.freeze().slice(4..length);
        Chunk::Unknown(UnknownChunk { kind: chunk.kind(), flags: 0xff, value })
    };
    let (mut ladder, init) = asked(name);
    assert_eq!(init.bytes[12..14], [1, 0]);
    ladder.says(z(1), &[flagged(&ladder.init_ack(&[]))]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    let mut ladder = listening(name, |_| {});
    ladder.says_with_tag(ZERO, z(1), &[flagged(&ladder.init(&[]))]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    assert_eq!(init_ack.bytes[12..14], [2, 0]);
}

#[test]
fn an_init_ack_larger_than_any_packet_of_ours_is_taken() {
    let name = "an_init_ack_larger_than_any_packet_of_ours_is_taken";
    let mut ladder = Ladder::with(name, Config::default(), &[a(1)], &[z(1)]);
    ladder.network.alter_both(a(1), z(1), |link| link.mtu = 9000);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    let many: Vec<_> = (1..=400_u16)
        .map(|host| IpAddr::from([192, 0, host.to_be_bytes()[0], host.to_be_bytes()[1]]))
        .collect();
    ladder.says(z(1), &[ladder.init_ack(&many)]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
}

#[test]
fn a_cookie_larger_than_any_packet_of_ours_is_echoed() {
    let name = "a_cookie_larger_than_any_packet_of_ours_is_echoed";
    for len in [1400, 1460, 1464, 1465, 3000, 60_000] {
        let mut ladder = Ladder::with(name, Config::default(), &[a(1)], &[z(1)]);
        ladder.network.alter(z(1), a(1), |link| link.mtu = 65_535);
        ladder.connectx(&[z(1)]);
        ladder.expects(z(1), &[ChunkType::INIT]);
        let cookie = Bytes::from(vec![0xc0; len]);
        let init_ack = altered(ladder.init_ack(&[]), |init| {
            init.parameters = [Parameter::StateCookie(cookie.clone())].into_iter().collect();
        });
        ladder.says(z(1), &[init_ack]);
        let echo = ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
        assert_eq!(*echo.only(), Chunk::CookieEcho(cookie));
        let again = ladder.expects_within(ms(1_000), z(1), &[ChunkType::COOKIE_ECHO]);
        assert_eq!(again.bytes, echo.bytes);
        ladder.says(z(1), &[Chunk::CookieAck]);
        assert_eq!(ladder.state(), Established);
    }
}

#[test]
fn an_ipv4_mapped_address_is_listed_as_the_ipv4_address_it_is() {
    let ladder = Ladder::new("an_ipv4_mapped_address_is_listed_as_the_ipv4_address_it_is");
    let now = ladder.network.now();
    let mapped: IpAddr = "::ffff:10.0.1.1".parse().unwrap();
    for advertise in [Advertise::Bound, Advertise::Explicit(vec![mapped, a(2)])] {
        let own = vec![mapped, a(2)];
        let mut endpoint = Endpoint::new(Config::default(), PORT, own, [7; 32], now);
        let options = ConnectOptions::default().with(|options| options.advertise = advertise);
        endpoint.connectx(now, &[SocketAddr::new(z(1), PEER_PORT)], options).unwrap();
        let mut out = BytesMut::new();
        endpoint.poll_transmit(now, &mut out).unwrap();
        let bytes = out.freeze();
        let packet = Packet::parse(&bytes).unwrap();
        let Chunk::Init(init) = packet.chunks().next().unwrap().unwrap().decode().unwrap() else {
            panic!("an INIT was expected")
        };
        let listed = init.parameters.iter().filter_map(|parameter| parameter.ok()?.ip());
        assert_eq!(listed.collect::<Vec<_>>(), [a(1), a(2)]);
    }
}

#[test]
fn packets_from_or_to_port_0_are_dropped() {
    let mut ladder = listening("packets_from_or_to_port_0_are_dropped", |_| {});
    for (source_port, destination_port) in [(0, PORT), (PEER_PORT, 0), (PEER_PORT, PORT)] {
        let header = CommonHeader { source_port, destination_port, verification_tag: ZERO };
        let mut bytes = BytesMut::new();
        let mut builder = PacketBuilder::new(&mut bytes, header, 1500);
        assert!(builder.push(&ladder.init(&[])));
        builder.finish();
        ladder.says_bytes(z(1), a(1), bytes.freeze());
        let answers = ladder.hears_all().len();
        assert_eq!(answers, usize::from(source_port != 0 && destination_port != 0));
    }
    ladder.silence(ms(100));
}
