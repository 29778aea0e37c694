//! When which address is tried: the timetables of `connectx`.

use std::net::IpAddr;
use std::time::Duration;

use usctp_assoc::sim::{Ladder, LinkSettings, Status, a, z};
use usctp_assoc::{Compat, ConnectOptions, Event, LostReason, MovedOn, NoticeKind, RemovedReason};
use usctp_chunk::{Chunk, ChunkType};

use crate::world::{HOUR, config, ms, secs};

fn zs(count: u8) -> Vec<IpAddr> {
    (1..=count).map(z).collect()
}

fn ladder(name: &str, addresses: u8) -> Ladder {
    Ladder::with(name, config(|_| {}), &[a(1), a(2)], &zs(addresses))
}

/// Every INIT of an attempt that nobody answers, as "A0 B1" with seconds, and when it fails.
fn timetable(name: &str, addresses: u8, options: ConnectOptions) -> (String, u64) {
    let mut ladder = ladder(name, addresses);
    ladder.connectx_with(&zs(addresses), options);
    ladder.network.run_for(HOUR);
    let heard = ladder.hears_all();
    let rows: Vec<_> = heard
        .iter()
        .map(|one| {
            assert_eq!(one.bytes, heard[0].bytes, "the same INIT each time");
            let number = zs(addresses).iter().position(|z| *z == one.destination).unwrap();
            let letter = char::from(b'A' + u8::try_from(number).unwrap());
            assert_eq!(one.at.subsec_nanos(), 0, "exactly on the second");
            format!("{letter}{}", one.at.as_secs())
        })
        .collect();
    let failures: Vec<_> = (ladder.network.events(ladder.ours).iter())
        .filter(|logged| logged.event == Event::CommLost(LostReason::SetupTimeout))
        .map(|logged| logged.at)
        .collect();
    assert_eq!(failures.len(), 1, "the failure is reported once");
    (rows.join(" "), failures[0].as_secs())
}

fn compat(compat: Compat) -> ConnectOptions {
    ConnectOptions::default().with(|options| options.compat = compat)
}

#[test]
fn one_dead_address_gets_nine_inits_in_243_seconds() {
    let name = "one_dead_address_gets_nine_inits_in_243_seconds";
    for mode in [Compat::Rfc, Compat::FreeBsd] {
        let (rows, failure) = timetable(name, 1, compat(mode));
        assert_eq!((&*rows, failure), ("A0 A1 A3 A7 A15 A31 A63 A123 A183", 243), "{mode:?}");
    }
}

#[test]
fn two_dead_addresses_take_turns_each_with_its_own_time_out() {
    let name = "two_dead_addresses_take_turns_each_with_its_own_time_out";
    for mode in [Compat::Rfc, Compat::FreeBsd] {
        let (rows, failure) = timetable(name, 2, compat(mode));
        assert_eq!((&*rows, failure), ("A0 B1 A2 B4 A6 B10 A14 B22 A30", 46), "{mode:?}");
    }
}

#[test]
fn three_dead_addresses_fail_after_21_seconds() {
    let name = "three_dead_addresses_fail_after_21_seconds";
    for mode in [Compat::Rfc, Compat::FreeBsd] {
        let (rows, failure) = timetable(name, 3, compat(mode));
        assert_eq!((&*rows, failure), ("A0 B1 C2 A3 B5 C7 A9 B13 C17", 21), "{mode:?}");
    }
}

#[test]
fn linux_doubles_one_time_out_after_each_full_cycle() {
    let name = "linux_doubles_one_time_out_after_each_full_cycle";
    let expected = [
        (1, "A0 A3 A9 A21 A45 A93 A153 A213 A273", 333),
        (2, "A0 B3 A6 B12 A18 B30 A42 B66 A90", 138),
        (3, "A0 B3 C6 A9 B15 C21 A27 B39 C51", 63),
        (12, "A0 B3 C6 D9 E12 F15 G18 H21 I24", 27),
    ];
    for (addresses, rows, failure) in expected {
        assert_eq!(timetable(name, addresses, compat(Compat::Linux)), (rows.to_owned(), failure));
    }
}

#[test]
fn every_listed_address_gets_an_init_unless_freebsd_is_followed() {
    let name = "every_listed_address_gets_an_init_unless_freebsd_is_followed";
    let (rows, failure) = timetable(name, 12, compat(Compat::Rfc));
    assert_eq!((&*rows, failure), ("A0 B1 C2 D3 E4 F5 G6 H7 I8 J9 K10 L11", 12));
    let (rows, failure) = timetable(name, 12, compat(Compat::FreeBsd));
    assert_eq!((&*rows, failure), ("A0 B1 C2 D3 E4 F5 G6 H7 I8", 9));
}

#[test]
fn the_caller_may_set_the_number_of_retransmissions() {
    let options = ConnectOptions::default().with(|options| options.init_max = Some(2));
    let (rows, failure) = timetable("the_caller_may_set_the_number_of_retransmissions", 1, options);
    assert_eq!((&*rows, failure), ("A0 A1 A3", 7));
}

#[test]
fn a_deadline_ends_the_attempt() {
    let mut ladder = ladder("a_deadline_ends_the_attempt", 2);
    let options = ConnectOptions::default().with(|options| options.deadline = Some(ms(2_500)));
    ladder.connectx_with(&zs(2), options);
    ladder.network.run_for(HOUR);
    let end = ladder.network.events(ladder.ours).last().unwrap();
    assert_eq!((end.at, &end.event), (ms(2_500), &Event::CommLost(LostReason::Deadline)));
    assert_eq!(ladder.hears_all().len(), 3, "A0 B1 A2");
}

#[test]
fn the_first_address_is_tried_and_suffices() {
    let mut ladder = ladder("the_first_address_is_tried_and_suffices", 3);
    ladder.establishes(&zs(3));
    let tried: Vec<_> =
        ladder.events().into_iter().filter(|event| matches!(event, Event::Tried { .. })).collect();
    assert_eq!(tried, [Event::Tried { peer: z(1), attempt: 1 }]);
    let primary: Vec<_> =
        ladder.paths().iter().filter(|path| path.primary).map(|path| path.peer).collect();
    assert_eq!(primary, [z(1)]);
}

#[test]
fn the_second_address_answers_when_the_first_is_dead() {
    let mut ladder = ladder("the_second_address_answers_when_the_first_is_dead", 2);
    ladder.connectx(&zs(2));
    ladder.expects(z(1), &[ChunkType::INIT]);
    let init = ladder.expects_within(secs(2), z(2), &[ChunkType::INIT]);
    assert_eq!(init.at, secs(1));
    ladder.says(z(2), &[ladder.init_ack(&zs(2))]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(2), &[Chunk::CookieAck]);
    let events = ladder.events();
    let expected = [
        Event::Tried { peer: z(1), attempt: 1 },
        Event::MovedOn { peer: z(1), reason: MovedOn::Timeout },
        Event::Tried { peer: z(2), attempt: 2 },
    ];
    assert_eq!(events[..3], expected);
    assert!(events.iter().any(|event| matches!(event, Event::CommUp { .. })));
    assert_eq!(ladder.paths().len(), 2, "the silent address was listed by both sides and stays");
}

#[test]
fn the_twelfth_of_twelve_addresses_is_reached() {
    let mut ladder = ladder("the_twelfth_of_twelve_addresses_is_reached", 12);
    ladder.connectx(&zs(12));
    for number in 1..=12 {
        ladder.expects_within(secs(1), z(number), &[ChunkType::INIT]);
    }
    ladder.says(z(12), &[ladder.init_ack(&[z(12)])]);
    ladder.expects(z(12), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(12), &[Chunk::CookieAck]);
    assert_eq!(ladder.paths().len(), 1);
    let removed = ladder.events().into_iter().filter(|event| {
        use usctp_assoc::AddressChange::Removed;
        let reason = Removed(RemovedReason::NotInInitAck);
        matches!(event, Event::PeerAddressChange { change, .. } if *change == reason)
    });
    assert_eq!(removed.count(), 11);
}

#[test]
fn an_unreachable_address_is_left_at_once_and_costs_no_time() {
    let mut ladder = ladder("an_unreachable_address_is_left_at_once_and_costs_no_time", 3);
    let icmp = Status::Icmp(NoticeKind::Unreachable);
    ladder.network.alter(a(1), z(1), |link| link.status = icmp);
    ladder.network.alter(a(1), z(2), |link| link.status = Status::SendFailed);
    ladder.connectx(&zs(3));
    assert_eq!(ladder.expects(z(3), &[ChunkType::INIT]).at, Duration::ZERO);
    let moved: Vec<_> = ladder
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::MovedOn { .. }))
        .collect();
    let reason = MovedOn::Unreachable;
    assert_eq!(
        moved,
        [Event::MovedOn { peer: z(1), reason }, Event::MovedOn { peer: z(2), reason }]
    );
}

#[test]
fn local_send_errors_for_all_addresses_end_the_attempt() {
    let mut ladder = ladder("local_send_errors_for_all_addresses_end_the_attempt", 2);
    for own in [a(1), a(2)] {
        for peer in zs(2) {
            ladder.network.alter(own, peer, |link| link.status = Status::SendFailed);
        }
    }
    ladder.connectx(&zs(2));
    ladder.network.run_for(HOUR);
    let lost: Vec<_> =
        ladder.events().into_iter().filter(|event| matches!(event, Event::CommLost(_))).collect();
    assert_eq!(lost, [Event::CommLost(LostReason::Unreachable)]);
    assert!(ladder.network.trace().0 <= 20, "no storm of attempts");
}

#[test]
fn routers_that_call_all_addresses_unreachable_cause_no_storm() {
    let mut ladder = ladder("routers_that_call_all_addresses_unreachable_cause_no_storm", 2);
    for own in [a(1), a(2)] {
        for peer in zs(2) {
            let icmp = LinkSettings {
                status: Status::Icmp(NoticeKind::Unreachable),
                ..LinkSettings::with_latency(ms(1))
            };
            ladder.network.alter(own, peer, |link| *link = icmp.clone());
        }
    }
    ladder.connectx(&zs(2));
    ladder.network.run_for(HOUR);
    assert!(ladder.events().iter().any(|event| matches!(event, Event::CommLost(_))));
    assert!(ladder.network.trace().0 <= 40, "{} packets", ladder.network.trace().0);
}

#[test]
fn the_state_machine_keeps_to_the_published_schedule_for_any_number_of_addresses() {
    let name = "the_state_machine_keeps_to_the_published_schedule_for_any_number_of_addresses";
    let rto = usctp_assoc::Options::default().rto;
    for mode in [Compat::Rfc, Compat::FreeBsd, Compat::Linux] {
        for (addresses, init_max) in [(1, 3), (2, 8), (4, 8), (5, 20), (9, 8), (13, 8), (2, 0)] {
            let options = compat(mode).with(|options| options.init_max = Some(init_max));
            let (rows, failure) = timetable(name, addresses, options);
            let schedule = usctp_assoc::init_schedule(mode, &rto, usize::from(addresses), init_max);
            let attempts = schedule.attempts.iter().map(|(at, index)| {
                format!("{}{}", char::from(b'A' + u8::try_from(*index).unwrap()), at.as_secs())
            });
            let published = attempts.collect::<Vec<_>>().join(" ");
            assert_eq!((rows, failure), (published, schedule.fails_at.as_secs()), "{mode:?}");
        }
    }
}

#[test]
fn where_an_old_stack_is_followed_only_the_time_out_moves_on() {
    let name = "where_an_old_stack_is_followed_only_the_time_out_moves_on";
    for (mode, time_out) in [(Compat::Linux, 3), (Compat::FreeBsd, 1)] {
        for kind in [NoticeKind::Unreachable, NoticeKind::SendFailed] {
            let mut ladder = ladder(name, 2);
            ladder.connectx_with(&zs(2), compat(mode));
            let init = ladder.expects(z(1), &[ChunkType::INIT]);
            ladder.is_told(kind, &init);
            let next = ladder.expects_within(secs(9), z(2), &[ChunkType::INIT]);
            assert_eq!(next.at, secs(time_out), "{mode:?} {kind:?}");
        }
    }
}

#[test]
fn an_unreachable_address_between_two_silent_ones_leaves_linux_its_full_cycles() {
    let name = "an_unreachable_address_between_two_silent_ones_leaves_linux_its_full_cycles";
    let mut ladder = ladder(name, 3);
    ladder.network.alter(a(1), z(2), |link| link.status = Status::SendFailed);
    ladder.connectx_with(&zs(3), compat(Compat::Linux));
    ladder.network.run_for(HOUR);
    let heard: Vec<_> =
        ladder.hears_all().iter().map(|one| (one.destination, one.at.as_secs())).collect();
    let expected = [(z(1), 0), (z(3), 6), (z(1), 9), (z(3), 21), (z(1), 27), (z(3), 51)];
    assert_eq!(heard, expected, "the table of three addresses, without the second one");
}

#[test]
fn the_deadline_holds_until_the_association_is_established() {
    let mut ladder = ladder("the_deadline_holds_until_the_association_is_established", 2);
    let options = ConnectOptions::default().with(|options| options.deadline = Some(ms(2_500)));
    ladder.connectx_with(&zs(2), options.clone());
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&zs(2))]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.network.run_for(HOUR);
    let end = ladder.network.events(ladder.ours).last().unwrap();
    assert_eq!((end.at, &end.event), (ms(2_500), &Event::CommLost(LostReason::Deadline)));

    let mut ladder = self::ladder("the_deadline_holds_until_the_association_is_established", 2);
    ladder.connectx_with(&zs(2), options);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&zs(2))]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(1), &[Chunk::CookieAck]);
    ladder.network.run_for(secs(10));
    assert_eq!(ladder.state(), usctp_assoc::AssociationState::Established);
}
