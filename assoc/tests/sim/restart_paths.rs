//! What a restart of the peer leaves of its addresses (RFC 9260, section 5.2.4, action A; RFC 5062, section 2).

use std::net::{IpAddr, Ipv4Addr};

use usctp_assoc::sim::{Heard, Ladder, a, z};
use usctp_assoc::{
    ActiveReason, AddressChange, AssociationState, Event, PathState, RecoveryOptions, RemovedReason,
};
use usctp_chunk::{Abort, Cause, Chunk, ChunkType, VerificationTag};

use crate::rfc::{
    FULL, double, double_with, hears_numbers, request_heartbeat, send, set_primary, wait,
};
use crate::rfc::{acks, chunks, t3_expiries};
use crate::world::{config, ms};

const NEW_TAG: VerificationTag = VerificationTag(0x0ace_0ace);

/// Z restarts and sends its INIT from this address; A's answer.
fn begins_anew(ladder: &mut Ladder, from: IpAddr, listed: &[IpAddr]) -> Heard {
    ladder.peer_tag = NEW_TAG;
    ladder.says_with_tag(VerificationTag::ZERO, from, &[ladder.init(listed)]);
    ladder.expects(from, &[ChunkType::INIT_ACK])
}

/// Z restarts; what A says then, from its COOKIE ACK on.
fn restarts(ladder: &mut Ladder, from: IpAddr, listed: &[IpAddr]) -> Vec<Heard> {
    let init_ack = begins_anew(ladder, from, listed);
    ladder.says(from, &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.hears_all()
}

/// What A's application was told of addresses since the restart.
fn changes(ladder: &Ladder) -> Vec<(IpAddr, AddressChange)> {
    let events = ladder.events();
    let restart = events.iter().rposition(|event| *event == Event::Restart).expect("a restart");
    let changes = events[restart..].iter().filter_map(|event| match event {
        Event::PeerAddressChange { peer, change } => Some((*peer, *change)),
        _ => None,
    });
    changes.collect()
}

fn removed(peer: IpAddr) -> (IpAddr, AddressChange) {
    (peer, AddressChange::Removed(RemovedReason::NotInInit))
}

#[test]
fn a_restart_leaves_only_the_addresses_of_the_new_init_and_speaks_where_that_did() {
    let name = "a_restart_leaves_only_the_addresses_of_the_new_init_and_speaks_where_that_did";
    let mut ladder = double(name);
    ladder.towards = a(2);
    let heard = restarts(&mut ladder, z(2), &[]);
    assert_eq!(heard[0].chunks[0], Chunk::CookieAck);
    assert_eq!((heard[0].source, heard[0].destination), (a(2), z(2)));
    let paths: Vec<_> = ladder.paths().iter().map(|path| (path.peer, path.primary)).collect();
    assert_eq!(paths, [(z(2), true)]);
    assert_eq!(changes(&ladder), [removed(z(1))]);
    ladder.sends("to the peer as it is now");
    let data = ladder.expects(z(2), &[ChunkType::DATA]);
    assert_eq!((data.source, data.header.verification_tag), (a(2), NEW_TAG));
}

#[test]
fn a_host_that_the_peer_no_longer_names_cannot_end_what_began_after_a_restart() {
    let name = "a_host_that_the_peer_no_longer_names_cannot_end_what_began_after_a_restart";
    let mut ladder = double(name);
    restarts(&mut ladder, z(2), &[]);
    // Its answer to whatever reached it of the new association (RFC 9260, 8.4, 8).
    let abort = Abort { tag_reflected: true, causes: Default::default() };
    ladder.says_with_tag(NEW_TAG, z(1), &[Chunk::Abort(abort)]);
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn who_camps_on_an_address_gets_nothing_of_what_is_for_its_owner() {
    // RFC 5062, 2.2, item 3: the attacker at z(4) lists the address of the host at z(1), which is not up yet.
    let name = "who_camps_on_an_address_gets_nothing_of_what_is_for_its_owner";
    let mut ladder = Ladder::new(name);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(4), &[ladder.init(&[z(4), z(1)])]);
    let init_ack = ladder.expects(z(4), &[ChunkType::INIT_ACK]);
    ladder.says(z(4), &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.id = ladder.network.newest(ladder.ours);
    ladder.network.run_for(ms(200));
    ladder.hears_all();
    assert_eq!(ladder.path(z(1)).state, PathState::Unconfirmed);
    restarts(&mut ladder, z(1), &[]);
    let confirmed = (z(1), AddressChange::Active(ActiveReason::Restarted));
    assert_eq!(changes(&ladder), [removed(z(4)), confirmed]);
    ladder.sends("a secret");
    ladder.expects(z(1), &[ChunkType::DATA]);
    ladder.network.run_for(ms(60_000));
    assert!(ladder.hears_all().iter().all(|heard| heard.destination == z(1)));
}

#[test]
fn a_restart_over_udp_is_answered_where_it_comes_from() {
    let mut ladder = Ladder::new("a_restart_over_udp_is_answered_where_it_comes_from");
    ladder.network.listen(ladder.ours, true);
    for (tag, port) in [(VerificationTag(1), Some(1000)), (NEW_TAG, Some(2000)), (NEW_TAG, None)] {
        ladder.peer_tag = VerificationTag(tag.0 + u32::from(port.unwrap_or(0)));
        let init = ladder.init(&[z(1), z(2)]);
        ladder.says_over_with_tag(VerificationTag::ZERO, z(1), port, &[init]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        ladder.says_over(z(1), port, &[Chunk::CookieEcho(init_ack.cookie())]);
        let heard = ladder.hears_all();
        assert_eq!((&heard[0].chunks[0], heard[0].udp_port), (&Chunk::CookieAck, port));
        let elsewhere: Vec<_> = heard.iter().filter(|heard| heard.destination == z(2)).collect();
        assert!(!elsewhere.is_empty(), "the other address is probed");
        assert!(elsewhere.iter().all(|heard| heard.udp_port == port), "{elsewhere:?}");
    }
    assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
}

#[test]
fn a_restart_keeps_the_statistics_of_an_address_and_what_the_application_set_for_it() {
    let name = "a_restart_keeps_the_statistics_of_an_address_and_what_the_application_set_for_it";
    let mut ladder = double(name);
    let (ours, id) = (ladder.ours, ladder.id());
    let mut settings = ladder.network.with(ours, id, |a, _| a.path_settings(z(1)).unwrap());
    settings.rto.initial = ms(1_200);
    ladder.network.with(ours, id, |a, now| a.set_path_settings(now, z(1), settings)).unwrap();
    request_heartbeat(&mut ladder, z(1));
    ladder.sends("counted");
    ladder.hears_all();
    let before = ladder.path(z(1)).counts;
    assert!(before.bytes_sent > 0 && before.heartbeats_sent == 1);
    restarts(&mut ladder, z(1), &[z(1), z(2)]);
    let path = ladder.path(z(1));
    assert_eq!((path.counts, path.rto), (before, ms(1_200)));
    assert_eq!(changes(&ladder), [], "nothing changed but the peer");
}

#[test]
fn a_cookie_that_comes_from_an_address_the_new_init_left_out_is_acknowledged_where_the_init_came_from()
 {
    let name = "a_cookie_that_comes_from_an_address_the_new_init_left_out";
    let mut ladder = double(name);
    let init_ack = begins_anew(&mut ladder, z(2), &[]);
    let message = ladder.data("with the cookie");
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie()), message]);
    let heard = ladder.hears();
    assert_eq!((&heard.chunks[0], heard.destination), (&Chunk::CookieAck, z(2)));
    ladder.sends("nothing is stuck behind it");
    assert!(ladder.hears_all().iter().all(|heard| heard.destination == z(2)));
    assert_eq!(ladder.paths().len(), 1);
}

#[test]
fn an_address_that_the_set_up_ignored_does_not_keep_the_peer_from_restarting() {
    // RFC 9260, 5.2.2: what would not be added is no new address of the association.
    let name = "an_address_that_the_set_up_ignored_does_not_keep_the_peer_from_restarting";
    let global = |host| IpAddr::from(Ipv4Addr::new(203, 0, 113, host));
    let private = IpAddr::from(Ipv4Addr::new(172, 17, 0, 1));
    let (ours, peers) = ([global(1)], [global(2), global(3)]);
    let mut ladder = Ladder::with(name, config(|_| {}), &ours, &peers);
    ladder.network.listen(ladder.ours, true);
    let init = ladder.init(&[peers[0], private]);
    ladder.says_with_tag(VerificationTag::ZERO, peers[0], &[init]);
    let init_ack = ladder.expects(peers[0], &[ChunkType::INIT_ACK]);
    ladder.says(peers[0], &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.id = ladder.network.newest(ladder.ours);
    assert_eq!(ladder.paths().len(), 1);
    ladder.hears_all();
    restarts(&mut ladder, peers[0], &[peers[0], private]);
    assert_eq!((changes(&ladder), ladder.paths().len()), (vec![], 1));
    // One that would be used is refused all the same.
    let init = ladder.init(&[peers[0], private, peers[1]]);
    ladder.says_with_tag(VerificationTag::ZERO, peers[0], &[init]);
    let refusal = ladder.hears();
    let Chunk::Abort(abort) = refusal.only() else { panic!("{refusal:?}") };
    let Some(Ok(Cause::RestartWithNewAddresses(added))) = abort.causes.iter().next() else {
        panic!("{:?}", abort.causes)
    };
    let added: Vec<_> = added.iter().filter_map(|parameter| parameter.ok()?.ip()).collect();
    assert_eq!(added, [peers[1]]);
}

#[test]
fn after_a_restart_an_address_that_failed_is_active_and_nothing_is_held_against_it() {
    let name = "after_a_restart_an_address_that_failed_is_active_and_nothing_is_held_against_it";
    let mut ladder = double_with(name, |options| options.heartbeat.interval = None);
    let fresh = ladder.path(z(1)).rto;
    ladder.sends("to a peer that has crashed");
    wait(&mut ladder, fresh * 4);
    ladder.hears_all();
    let failed = ladder.path(z(1));
    assert_eq!(failed.state, PathState::PotentiallyFailed);
    assert!(failed.errors > 0 && failed.rto > fresh);
    restarts(&mut ladder, z(1), &[z(1), z(2)]);
    for peer in [z(1), z(2)] {
        let path = ladder.path(peer);
        assert_eq!((path.state, path.errors, path.rto), (PathState::Active, 0, fresh), "{peer}");
    }
    ladder.sends("to the new one");
    ladder.expects(z(1), &[ChunkType::DATA]);
}

#[test]
fn t3_begins_anew_with_the_first_data_after_a_restart() {
    // RFC 9260, 6.3.2 (R1): the time-out of what the old peer was sent says nothing of what the new one is.
    let mut ladder = double("t3_begins_anew_with_the_first_data_after_a_restart");
    let rto = ladder.path(z(1)).rto;
    ladder.sends("to a peer that has crashed");
    wait(&mut ladder, rto * 9 / 10);
    ladder.hears_all();
    restarts(&mut ladder, z(1), &[z(1), z(2)]);
    ladder.sends("to the new one");
    ladder.expects(z(1), &[ChunkType::DATA]);
    wait(&mut ladder, rto * 9 / 10);
    assert_eq!((hears_numbers(&mut ladder), t3_expiries(&ladder)), (vec![], 0));
    wait(&mut ladder, rto / 5);
    assert_eq!(t3_expiries(&ladder), 1);
}

#[test]
fn the_first_packet_after_a_restart_is_not_held_back_for_what_the_old_peer_was_sent() {
    let name = "the_first_packet_after_a_restart_is_not_held_back_for_what_the_old_peer_was_sent";
    let mut ladder = double_with(name, |options| {
        options.recovery = RecoveryOptions::default().with(|options| options.pacing = true);
    });
    send(&mut ladder, 1, FULL);
    wait(&mut ladder, ms(900));
    acks(&mut ladder, 1, &[]);
    ladder.hears_all();
    send(&mut ladder, 10, FULL);
    let paced = hears_numbers(&mut ladder).len();
    assert!(paced < 4, "{paced} left at once: the window is spread over the round trip");
    let heard = restarts(&mut ladder, z(1), &[z(1), z(2)]);
    assert!(!chunks(&heard).is_empty(), "what waited goes with COOKIE ACK, or behind it");
}

#[test]
fn after_a_restart_packets_leave_from_the_address_that_the_new_init_came_to_and_no_old_one() {
    let name = "after_a_restart_packets_leave_from_the_address_that_the_new_init_came_to";
    let mut ladder = Ladder::with(name, config(|_| {}), &[a(1), a(2)], &[z(1), z(2)]);
    // The set-up went over a(2), and so does what is sent to z(1) afterwards.
    ladder.towards = a(2);
    ladder.establishes(&[z(1), z(2)]);
    ladder.towards = a(1);
    let heard = restarts(&mut ladder, z(2), &[z(1), z(2)]);
    assert_eq!((heard[0].source, heard[0].destination), (a(1), z(2)));
    ladder.sends("by the new way");
    assert_eq!(ladder.expects(z(2), &[ChunkType::DATA]).source, a(1));
    set_primary(&mut ladder, z(1));
    ladder.sends("by the way that routing has");
    assert_eq!(ladder.expects(z(1), &[ChunkType::DATA]).source, a(1));
    // And where the new INIT came to another address than the way out would have.
    let mut ladder = double(name);
    ladder.towards = a(2);
    let heard = restarts(&mut ladder, z(1), &[z(1), z(2)]);
    assert_eq!((heard[0].source, heard[0].destination), (a(2), z(1)));
}

#[test]
fn a_cookie_is_of_the_association_that_its_init_came_to_wherever_it_comes_from_itself() {
    let name = "a_cookie_is_of_the_association_that_its_init_came_to_wherever_it_comes_from_itself";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2)]);
    let init_ack = begins_anew(&mut ladder, z(2), &[z(1), z(2)]);
    // RFC 9260, 5.2.4: z(4) is no address of the association, and the cookie has those that count.
    ladder.says(z(4), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert!(ladder.events().contains(&Event::Restart));
    assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
    assert_eq!(ladder.expects(z(2), &[ChunkType::COOKIE_ACK]).header.verification_tag, NEW_TAG);
}

/// What docker0 has on every host.
const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));

/// A, which has a bridge, opens towards Z, whose INIT ACK lists one as well.
fn opens_with_a_bridge(name: &str) -> Ladder {
    let (ours, peers) = ([a(1), BRIDGE], [z(1), z(2), BRIDGE]);
    let mut ladder = Ladder::with(name, config(|_| {}), &ours, &peers);
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.says(z(1), &[ladder.init_ack(&[z(1), BRIDGE])]);
    ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
    assert_eq!(ladder.paths().len(), 1, "that of this host leads to nobody else");
    ladder
}

fn has(ladder: &mut Ladder, addresses: &[IpAddr]) {
    let ours = ladder.ours;
    ladder.network.change_addresses(ours, addresses);
}

/// The addresses that A refuses an INIT for.
fn refused(ladder: &mut Ladder, from: IpAddr, listed: &[IpAddr]) -> Vec<IpAddr> {
    let init = ladder.init(listed);
    ladder.says_with_tag(VerificationTag::ZERO, from, &[init]);
    let refusal = ladder.expects(from, &[ChunkType::ABORT]);
    let Chunk::Abort(abort) = refusal.only() else { panic!("{refusal:?}") };
    let Some(Ok(Cause::RestartWithNewAddresses(added))) = abort.causes.iter().next() else {
        panic!("{:?}", abort.causes)
    };
    added.iter().filter_map(|parameter| parameter.ok()?.ip()).collect()
}

#[test]
fn an_init_that_lists_what_the_init_ack_listed_adds_no_address_whatever_was_left_out() {
    let name = "an_init_that_lists_what_the_init_ack_listed_adds_no_address_whatever_was_left_out";
    let mut ladder = opens_with_a_bridge(name);
    has(&mut ladder, &[a(1)]);
    // RFC 9260, 5.2.1: Z opens as well.
    let init = ladder.init(&[z(1), BRIDGE]);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[init]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(ladder.state(), AssociationState::Established);
}

#[test]
fn a_peer_restarts_with_the_addresses_that_it_listed_whatever_was_left_out_of_them() {
    let name = "a_peer_restarts_with_the_addresses_that_it_listed_whatever_was_left_out_of_them";
    let mut ladder = opens_with_a_bridge(name);
    ladder.says(z(1), &[Chunk::CookieAck]);
    has(&mut ladder, &[a(1)]);
    let listed = [z(1), BRIDGE];
    let heard = restarts(&mut ladder, z(1), &listed);
    assert_eq!((&heard[0].chunks[0], changes(&ladder)), (&Chunk::CookieAck, vec![]));
    // And again, since the INIT of the restart has listed it as well.
    ladder.peer_tag = VerificationTag(1);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&listed)]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
    // What it did not list is refused all the same, and whoever has what was left out.
    assert_eq!(refused(&mut ladder, z(1), &[z(1), BRIDGE, z(2)]), [z(2)]);
    assert_eq!(refused(&mut ladder, BRIDGE, &listed), [BRIDGE]);
}

#[test]
fn a_peer_restarts_with_an_address_that_was_taken_out_since() {
    let mut ladder = double("a_peer_restarts_with_an_address_that_was_taken_out_since");
    // A has it for some time.
    has(&mut ladder, &[a(1), a(2), z(2)]);
    assert_eq!(ladder.paths().len(), 1);
    has(&mut ladder, &[a(1), a(2)]);
    let heard = restarts(&mut ladder, z(1), &[z(1), z(2)]);
    assert_eq!((&heard[0].chunks[0], changes(&ladder)), (&Chunk::CookieAck, vec![]));
    // What counts is the last INIT: Z has no other address from now on.
    ladder.peer_tag = VerificationTag(1);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1)])]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    assert_eq!(ladder.hears().chunks[0], Chunk::CookieAck);
    assert_eq!(refused(&mut ladder, z(1), &[z(1), z(2)]), [z(2)]);
}

#[test]
fn a_peer_with_more_addresses_than_a_cookie_holds_can_restart() {
    let name = "a_peer_with_more_addresses_than_a_cookie_holds_can_restart";
    let all = [z(1), z(2), z(3), z(4)];
    let small = config(|options| options.path_mtu = 300);
    let mut ladder = Ladder::with(name, small, &[a(1)], &all);
    ladder.network.listen(ladder.ours, true);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&all)]);
    let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
    ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
    ladder.id = ladder.network.newest(ladder.ours);
    ladder.hears_all();
    assert_eq!(ladder.paths().len(), 2, "as many as the cookie holds");
    let heard = restarts(&mut ladder, z(1), &all);
    assert_eq!((&heard[0].chunks[0], changes(&ladder)), (&Chunk::CookieAck, vec![]));
}
