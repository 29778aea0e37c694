//! `connectx` as a race: INITs to the listed addresses one shortly after the other; the first INIT ACK wins.

use std::net::IpAddr;
use std::time::Duration;

use usctp_assoc::sim::{Heard, Ladder, Status, a, z};
use usctp_assoc::{
    AssociationState, Compat, ConnectOptions, Event, LostReason, MovedOn, NoticeKind, OnRefused,
    RACE_INTERVAL,
};
use usctp_chunk::{Abort, Cause, Chunk, ChunkType, VerificationTag};

use crate::world::{HOUR, config, ms, secs};

fn zs(count: u8) -> Vec<IpAddr> {
    (1..=count).map(z).collect()
}

fn race() -> ConnectOptions {
    ConnectOptions::default().with(|options| options.race = Some(RACE_INTERVAL))
}

fn racing(name: &str, addresses: u8, options: ConnectOptions) -> Ladder {
    let mut ladder = Ladder::with(name, config(|_| {}), &[a(1)], &zs(addresses));
    ladder.connectx_with(&zs(addresses), options);
    ladder
}

/// Where each INIT went, and when, in milliseconds.
fn written(heard: &[Heard]) -> Vec<(IpAddr, u128)> {
    heard.iter().map(|one| (one.destination, one.at.as_millis())).collect()
}

fn end(ladder: &Ladder) -> (Duration, Event) {
    let last = ladder.network.events(ladder.ours).last().unwrap();
    (last.at, last.event.clone())
}

#[test]
fn all_addresses_are_asked_250_ms_apart_with_the_same_init_and_then_each_by_its_own_t1() {
    let name =
        "all_addresses_are_asked_250_ms_apart_with_the_same_init_and_then_each_by_its_own_t1";
    let mut ladder = racing(name, 3, race());
    ladder.network.run_for(HOUR);
    let heard = ladder.hears_all();
    assert!(heard.iter().all(|one| one.bytes == heard[0].bytes), "tag and TSN are the same");
    let expected = [
        (z(1), 0),
        (z(2), 250),
        (z(3), 500),
        (z(1), 1000),
        (z(2), 1250),
        (z(3), 1500),
        (z(1), 3000),
        (z(2), 3250),
        (z(3), 3500),
    ];
    assert_eq!(written(&heard), expected, "nine INITs: Max.Init.Retransmits is 8");
    // The last one had 4 s for its answer.
    assert_eq!(end(&ladder), (ms(7500), Event::CommLost(LostReason::SetupTimeout)));
    let tried = ladder.events().into_iter().filter_map(|event| match event {
        Event::Tried { peer, attempt } => Some((peer, attempt)),
        _ => None,
    });
    let order: Vec<_> = expected.iter().map(|(peer, _)| *peer).zip(1..).collect();
    assert_eq!(tried.collect::<Vec<_>>(), order);
    assert!(!ladder.events().iter().any(|event| matches!(event, Event::MovedOn { .. })));
}

#[test]
fn the_first_init_ack_wins_the_race_and_ends_it() {
    let mut ladder = racing("the_first_init_ack_wins_the_race_and_ends_it", 3, race());
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.expects_within(ms(250), z(2), &[ChunkType::INIT]);
    ladder.says(z(2), &[ladder.init_ack(&zs(3))]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    // The answer of the first address comes late, with another tag, and changes nothing.
    let tag = std::mem::replace(&mut ladder.peer_tag, VerificationTag(0x0bad_0bad));
    ladder.says(z(1), &[ladder.init_ack(&zs(3))]);
    ladder.peer_tag = tag;
    ladder.says(z(2), &[Chunk::CookieAck]);
    assert_eq!(ladder.state(), AssociationState::Established);
    assert!(ladder.path(z(2)).primary);
    let inits = |ladder: &mut Ladder| {
        ladder.hears_all().iter().filter(|one| matches!(one.chunks[0], Chunk::Init(_))).count()
    };
    ladder.network.run_for(secs(10));
    assert_eq!(inits(&mut ladder), 0);
    // Only one INIT was answered, and not the only one: no round trip was measured from it.
    assert_eq!(ladder.path(z(1)).srtt, None);
}

#[test]
fn a_first_address_that_answers_in_time_leaves_the_others_alone() {
    let name = "a_first_address_that_answers_in_time_leaves_the_others_alone";
    let mut ladder = racing(name, 3, race());
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.network.run_for(ms(249));
    ladder.says(z(1), &[ladder.init_ack(&zs(3))]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert!(ladder.path(z(1)).srtt.is_some(), "RFC 9260, 6.3.1 (C5)");
}

#[test]
fn without_the_option_nobody_races() {
    let mut ladder = racing("without_the_option_nobody_races", 3, ConnectOptions::default());
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.silence(ms(999));
}

#[test]
fn an_unreachable_address_lets_the_next_one_enter_the_race_at_once() {
    let name = "an_unreachable_address_lets_the_next_one_enter_the_race_at_once";
    let mut ladder = racing(name, 3, race());
    let init = ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.is_told(NoticeKind::Unreachable, &init);
    assert_eq!(ladder.expects(z(2), &[ChunkType::INIT]).at, ms(0));
    assert!(ladder.events().contains(&Event::MovedOn { peer: z(1), reason: MovedOn::Unreachable }));
    assert_eq!(ladder.expects_within(secs(1), z(3), &[ChunkType::INIT]).at, ms(250));
    // Its own T1 has lost nothing.
    assert_eq!(ladder.expects_within(secs(1), z(1), &[ChunkType::INIT]).at, secs(1));
}

#[test]
fn a_race_in_which_nothing_can_be_sent_fails_at_once() {
    let name = "a_race_in_which_nothing_can_be_sent_fails_at_once";
    let mut ladder = Ladder::with(name, config(|_| {}), &[a(1)], &zs(3));
    for peer in zs(3) {
        ladder.network.alter(a(1), peer, |link| link.status = Status::SendFailed);
    }
    ladder.connectx_with(&zs(3), race());
    ladder.network.run_for(HOUR);
    assert_eq!(end(&ladder), (ms(0), Event::CommLost(LostReason::Unreachable)));
}

#[test]
fn a_refusal_ends_the_race_or_with_the_option_only_one_address_part_in_it() {
    let name = "a_refusal_ends_the_race_or_with_the_option_only_one_address_part_in_it";
    let abort = || {
        let causes = Ladder::causes(Cause::OutOfResource);
        Chunk::Abort(Abort { tag_reflected: false, causes })
    };
    let mut ladder = racing(name, 2, race());
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[abort()]);
    assert_eq!(ladder.state(), AssociationState::Closed);
    ladder.silence(HOUR);

    let mut ladder =
        racing(name, 3, race().with(|options| options.on_refused = OnRefused::TryNext));
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[abort()]);
    assert_eq!(ladder.expects(z(2), &[ChunkType::INIT]).at, ms(0));
    assert!(ladder.events().contains(&Event::MovedOn { peer: z(1), reason: MovedOn::Refused }));
    assert_eq!(ladder.expects_within(secs(1), z(3), &[ChunkType::INIT]).at, ms(250));
    ladder.says(z(2), &[abort()]);
    // Who refused is asked no more.
    assert_eq!(ladder.expects_within(secs(2), z(3), &[ChunkType::INIT]).at, ms(1250));
    ladder.says(z(3), &[abort()]);
    let (_, event) = end(&ladder);
    assert!(matches!(event, Event::CommLost(LostReason::Refused { peer, .. }) if peer == z(3)));
    ladder.silence(HOUR);
}

#[test]
fn a_race_keeps_to_the_deadline_and_to_the_budget_of_inits() {
    let name = "a_race_keeps_to_the_deadline_and_to_the_budget_of_inits";
    let mut ladder = racing(name, 3, race().with(|options| options.deadline = Some(ms(700))));
    ladder.network.run_for(HOUR);
    assert_eq!(written(&ladder.hears_all()), [(z(1), 0), (z(2), 250), (z(3), 500)]);
    assert_eq!(end(&ladder), (ms(700), Event::CommLost(LostReason::Deadline)));

    // Twelve addresses: each one is asked once, and then nobody again, unless the old stacks are followed.
    for (compat, count) in [(Compat::Rfc, 12), (Compat::FreeBsd, 9), (Compat::Linux, 9)] {
        let mut ladder = racing(name, 12, race().with(|options| options.compat = compat));
        ladder.network.run_for(HOUR);
        let heard = written(&ladder.hears_all());
        assert_eq!(heard.len(), count, "{heard:?}");
        if compat == Compat::Rfc {
            // A's T1 expires when there are still eight to enter, and leaves the INITs to them.
            let asked = |peer| heard.iter().filter(|(asked, _)| *asked == peer).count();
            assert!(zs(12).into_iter().all(|peer| asked(peer) == 1), "{heard:?}");
        }
    }
}

#[test]
fn after_a_stale_cookie_only_the_address_that_answered_is_asked() {
    let name = "after_a_stale_cookie_only_the_address_that_answered_is_asked";
    let mut ladder = racing(name, 3, race());
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.expects_within(ms(250), z(2), &[ChunkType::INIT]);
    ladder.says(z(2), &[ladder.init_ack(&zs(3))]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    let stale = Chunk::Error(Ladder::causes(Cause::StaleCookie { staleness_us: 1 }));
    ladder.says(z(2), &[stale]);
    ladder.expects(z(2), &[ChunkType::INIT]);
    ladder.silence(ms(999));
}

#[test]
fn a_race_slower_than_t1_still_lets_every_address_enter() {
    let name = "a_race_slower_than_t1_still_lets_every_address_enter";
    let mut ladder = racing(name, 12, race().with(|options| options.race = Some(secs(3))));
    ladder.network.run_for(HOUR);
    let heard = written(&ladder.hears_all());
    assert_eq!(heard.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), zs(12));
    assert_eq!(end(&ladder), (secs(34), Event::CommLost(LostReason::SetupTimeout)));
}
