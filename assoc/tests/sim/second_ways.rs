//! Second ways: what RFC 9260 asks where code is reached by another way than the usual one.

use usctp_assoc::sim::{Ladder, z};
use usctp_assoc::{
    AddressChange, AssociationState, ConnectOptions, Event, LostReason, PathSettings, PathState,
};
use usctp_chunk::{Chunk, ChunkType, VerificationTag};

use crate::rfc::{FULL, PMDCS, acks, data, double, double_with, grow, hears_numbers, send, wait};
use crate::rfc::{alone, set_primary};
use crate::world::{config, ms, secs};

/// Z opened from z(1) and lists z(3), which A does not know yet and which answers no HEARTBEAT.
fn opened_with_a_claim(name: &str) -> Ladder {
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(3)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.id = ladder.network.newest(ladder.ours);
    ladder.hears_all();
    assert_eq!(ladder.path(z(3)).state, PathState::Unconfirmed);
    ladder
}

#[test]
fn an_abort_goes_to_a_confirmed_address_although_the_violation_came_from_another() {
    let name = "an_abort_goes_to_a_confirmed_address_although_the_violation_came_from_another";
    // RFC 9260, 5.4: an unconfirmed address MUST NOT get anything but HEARTBEATs and their answers.
    for violation in ["no user data", "a SACK of what was never sent", "a SHUTDOWN of that"] {
        let mut ladder = opened_with_a_claim(name);
        let chunk = match violation {
            "no user data" => data(1000, 0, "BE", ""),
            "a SACK of what was never sent" => ladder.sack(7),
            _ => ladder.shutdown(7),
        };
        ladder.says(z(3), &[chunk]);
        assert_eq!(ladder.state(), AssociationState::Closed, "{violation}");
        ladder.expects(z(1), &[ChunkType::ABORT]);
        assert!(ladder.hears_all().is_empty(), "{violation}");
    }
}

#[test]
fn shutdown_complete_goes_to_a_confirmed_address_although_shutdown_ack_came_from_another() {
    let name =
        "shutdown_complete_goes_to_a_confirmed_address_although_shutdown_ack_came_from_another";
    let mut ladder = opened_with_a_claim(name);
    ladder.shuts_down();
    ladder.expects(z(1), &[ChunkType::SHUTDOWN]);
    ladder.says(z(3), &[Chunk::ShutdownAck]);
    assert_eq!(ladder.events().last(), Some(&Event::ShutdownComplete));
    ladder.expects(z(1), &[ChunkType::SHUTDOWN_COMPLETE]);
}

#[test]
fn the_window_of_an_idle_path_has_decayed_when_retransmissions_are_the_first_to_use_it() {
    let name =
        "the_window_of_an_idle_path_has_decayed_when_retransmissions_are_the_first_to_use_it";
    let mut ladder = double_with(name, |options| options.heartbeat.interval = None);
    let acked = grow(&mut ladder, 30 * PMDCS, FULL);
    let before = ladder.path(z(1)).cwnd;
    set_primary(&mut ladder, z(2));
    wait(&mut ladder, secs(20));
    send(&mut ladder, 1, FULL);
    assert_eq!(hears_numbers(&mut ladder), [acked + 1]);
    assert_eq!(ladder.path(z(1)).cwnd, before, "nobody looked at it");
    let again = ladder.hears_within(secs(3));
    assert_eq!(again.destination, z(1), "T3-rtx moves what was lost");
    // RFC 9260, 7.2.1: halved once per RTO, down to four chunks.
    assert_eq!(ladder.path(z(1)).cwnd, 4 * PMDCS);
}

#[test]
fn a_shutdown_that_acknowledges_by_another_path_revives_no_path_in_doubt() {
    let name = "a_shutdown_that_acknowledges_by_another_path_revives_no_path_in_doubt";
    for by_shutdown in [false, true] {
        let mut ladder = double_with(name, |options| options.max_burst = 10);
        let acked = grow(&mut ladder, 15 * FULL, FULL);
        send(&mut ladder, 10, FULL);
        assert_eq!(hears_numbers(&mut ladder).len(), 10);
        // z(1) falls silent. What T3-rtx finds lost goes to z(2), as far as the window there takes it; the rest went to
        // z(1) alone, and arrived from before the cut.
        wait(&mut ladder, secs(1));
        ladder.hears_all();
        assert_eq!(ladder.path(z(1)).state, PathState::PotentiallyFailed);
        let before = ladder.events().len();
        let count = acked + 10;
        let chunk = if by_shutdown { ladder.shutdown(count) } else { ladder.sack(count) };
        ladder.says(z(2), &[chunk]);
        assert_eq!(ladder.path(z(1)).state, PathState::PotentiallyFailed, "{by_shutdown}");
        let active = |event: &Event| {
            matches!(event, Event::PeerAddressChange { change: AddressChange::Active(_), .. })
        };
        assert!(!ladder.events()[before..].iter().any(active), "{by_shutdown}");
    }
}

#[test]
fn an_attempt_that_ends_when_the_cookie_is_out_is_told_to_the_peer() {
    let name = "an_attempt_that_ends_when_the_cookie_is_out_is_told_to_the_peer";
    // The peer may have the association already: only its COOKIE ACK was lost (RFC 9260, 9.1).
    let mut ladder = alone(name, config(|_| {}));
    let options = ConnectOptions::default().with(|options| options.deadline = Some(ms(1_500)));
    ladder.connectx_with(&[z(1)], options);
    ladder.hears();
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    ladder.expects_within(secs(1), z(1), &[ChunkType::COOKIE_ECHO]);
    let abort = ladder.expects_within(secs(1), z(1), &[ChunkType::ABORT]);
    assert_eq!(abort.header.verification_tag, ladder.peer_tag);
    assert_eq!(ladder.events().last(), Some(&Event::CommLost(LostReason::Deadline)));
}

#[test]
fn what_was_set_for_all_addresses_holds_after_a_restart_of_the_peer() {
    let name = "what_was_set_for_all_addresses_holds_after_a_restart_of_the_peer";
    let mut ladder = double(name);
    let (ours, id) = (ladder.ours, ladder.id());
    let of = |ladder: &mut Ladder, peer| -> PathSettings {
        ladder.network.with(ours, id, |association, _| association.path_settings(peer).unwrap())
    };
    let mut settings = of(&mut ladder, z(1));
    settings.rto.max = secs(10);
    settings.max_retrans = 2;
    ladder
        .network
        .with(ours, id, |association, now| association.set_all_path_settings(now, settings))
        .unwrap();
    ladder.peer_tag = VerificationTag(0x0ace_0ace);
    ladder.says_with_tag(VerificationTag::ZERO, z(2), &[ladder.init(&[z(1), z(2)])]);
    let heard = ladder.expects(z(2), &[ChunkType::INIT_ACK]);
    ladder.says(z(2), &[Chunk::CookieEcho(heard.cookie())]);
    assert!(ladder.events().contains(&Event::Restart));
    assert_eq!((of(&mut ladder, z(1)), of(&mut ladder, z(2))), (settings, settings));
    // And an interval of none stays none.
    acks(&mut ladder, 0, &[]);
}
