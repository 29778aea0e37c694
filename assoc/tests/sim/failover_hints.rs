//! What the network says of a path: a hint, looked into and never believed blindly (RFC 9260, section 10; RFC 7829).

use usctp_assoc::sim::z;
use usctp_assoc::{
    ActiveReason, AddressChange, AssociationState, FailureReason, NoticeKind, PathState, Quote,
};
use usctp_chunk::VerificationTag;

use crate::failover_play::Play;
use crate::rfc::{WIDE, sack, send};
use crate::world::{ms, secs};

/// Lets A hear from the network about its last packet to the first path.
fn told(play: &mut Play, kind: NoticeKind, change: impl FnOnce(&mut Quote)) {
    let heard = play.heard.iter().rev().find(|heard| heard.destination == z(1)).unwrap();
    let (mut quote, packet) = (Quote::parse(&heard.bytes).unwrap(), heard);
    change(&mut quote);
    play.ladder.is_told_with(kind, packet, quote);
}

#[test]
fn an_unreachable_destination_is_a_hint_that_moves_data_and_is_looked_into_at_once() {
    let name = "an_unreachable_destination_is_a_hint_that_moves_data_and_is_looked_into_at_once";
    for kind in [NoticeKind::Unreachable, NoticeKind::SendFailed] {
        let mut play = Play::new(name, 2, |_| {});
        play.run(secs(5));
        play.cut(z(1));
        let cut = play.elapsed();
        play.ladder.sends("lost");
        play.run(ms(10));
        // However often it is said, it counts once, and not for the association.
        for _ in 0..20 {
            told(&mut play, kind, |_| {});
            play.run(ms(1));
        }
        let failing = AddressChange::PotentiallyFailed(FailureReason::Unreachable);
        assert_eq!(play.changes(cut), [(ms(10), z(1), failing)]);
        assert_eq!(play.ladder.path(z(1)).errors, 1);
        assert_eq!(play.heartbeats(z(1), cut), [ms(10)]);
        play.ladder.sends("elsewhere");
        play.run(secs(0));
        assert_eq!(play.first_sent().last().map(|(_, to, _)| *to), Some(z(2)));
        assert_eq!(play.ladder.state(), AssociationState::Established);
    }
}

#[test]
fn a_hint_that_is_wrong_costs_a_round_trip() {
    let name = "a_hint_that_is_wrong_costs_a_round_trip";
    let mut play = Play::new(name, 2, |_| {});
    play.run(secs(5));
    play.ladder.sends("arrives");
    play.run(secs(0));
    let now = play.elapsed();
    for _ in 0..20 {
        told(&mut play, NoticeKind::Unreachable, |_| {});
        play.run(ms(10));
    }
    let failing = AddressChange::PotentiallyFailed(FailureReason::Unreachable);
    let active = AddressChange::Active(ActiveReason::HeartbeatAcked);
    assert_eq!(play.changes(now), [(ms(0), z(1), failing), (ms(0), z(1), active)]);
    assert_eq!(play.heartbeats(z(1), now).len(), 1, "one in each RTO");
}

#[test]
fn a_forged_hint_changes_nothing() {
    let mut play = Play::new("a_forged_hint_changes_nothing", 2, |_| {});
    play.run(secs(5));
    play.ladder.sends("lost");
    play.run(ms(10));
    let before = play.ladder.paths();
    let forgeries: [fn(&mut Quote); 3] = [
        |quote| quote.verification_tag = VerificationTag(quote.verification_tag.0 ^ 1),
        |quote| quote.source_port ^= 1,
        |quote| quote.verification_tag = VerificationTag::ZERO,
    ];
    for forge in forgeries {
        told(&mut play, NoticeKind::Unreachable, forge);
        assert_eq!(play.ladder.paths(), before);
        assert!(play.ladder.hears_all().is_empty());
    }
}

#[test]
fn a_hint_never_makes_a_path_inactive_and_leaves_the_only_path_active() {
    let name = "a_hint_never_makes_a_path_inactive_and_leaves_the_only_path_active";
    for (paths, path_max) in [(1, 5), (2, 0)] {
        let mut play = Play::new(name, paths, |options| options.retransmission.path_max = path_max);
        play.run(secs(5));
        play.ladder.sends("a message");
        play.run(ms(10));
        told(&mut play, NoticeKind::Unreachable, |_| {});
        let path = play.ladder.path(z(1));
        assert_eq!((path.state, path.errors), (PathState::Active, 0));
        play.run(ms(10));
        assert_eq!(play.ladder.path(z(1)).counts.heartbeats_sent, 1);
    }
}

#[test]
fn the_timer_of_a_path_from_which_everything_was_taken_is_no_time_out() {
    let name = "the_timer_of_a_path_from_which_everything_was_taken_is_no_time_out";
    let mut play = Play::new(name, 2, |_| {});
    play.alive.clear();
    send(&mut play.ladder, 4, 1_000);
    play.run(ms(10));
    told(&mut play, NoticeKind::Unreachable, |_| {});
    assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
    // The first chunk is reported missing three times, and sent by way of the other path.
    for last in 2..=4 {
        let answer = sack(&play.ladder, 0, &[(2, last)], WIDE);
        play.ladder.says(z(2), &[answer]);
    }
    play.run(ms(500));
    assert_eq!(play.data(z(2), ms(0)).len(), 1);
    assert_eq!(play.ladder.path(z(1)).flight, 0);
    // RFC 9260, 6.3.2 (R2): nothing is outstanding at the first path, so nothing times out there but the HEARTBEAT.
    play.run(ms(495));
    play.restore(z(2));
    play.run(ms(10));
    assert_eq!(play.ladder.path(z(1)).counts.t3_expiries, 0);
}
