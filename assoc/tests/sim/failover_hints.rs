//! What the network says of a path: a hint, looked into and never believed blindly (RFC 9260, section 10; RFC 7829).

use usctp_assoc::sim::z;
use usctp_assoc::{
    ActiveReason, AddressChange, AssociationState, FailureReason, NoticeKind, PathState, Quote,
};
use usctp_chunk::VerificationTag;

use crate::failover_play::Play;
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
