//! AS 1.15 and 1.16: INIT, INIT ACK and COOKIE ECHO where an association exists (RFC 9260, 5.2.1 to 5.2.4, 9.2).

use usctp_assoc::sim::{Heard, a, z};
use usctp_assoc::{AssociationState, Event};
use usctp_chunk::{Cause, Chunk, ChunkType, Tsn, VerificationTag};

use crate::tester::{NEW, NONE, Tester, addresses, causes, data, secs};
use AssociationState::{
    CookieEchoed, CookieWait, Established, ShutdownAckSent, ShutdownPending, ShutdownReceived,
    ShutdownSent,
};

#[test]
fn as_1_15_1_an_init_in_cookie_wait_is_answered_with_the_tag_of_the_iuts_own_init() {
    init_during_the_set_up(CookieWait);
}

#[test]
fn as_1_15_2_an_init_in_cookie_echoed_is_answered_with_the_tag_of_the_iuts_own_init() {
    init_during_the_set_up(CookieEchoed);
}

fn init_during_the_set_up(state: AssociationState) {
    let mut t = Tester::in_state(state);
    let (tag, tsn) = (t.iut_tag, t.iut_tsn);
    t.says_with_tag(NONE, &[t.init()]);
    let heard = t.expects_at(z(1), &[ChunkType::INIT_ACK]);
    assert_eq!((heard.init().initiate_tag, heard.init().initial_tsn), (tag, tsn));
    assert_eq!(heard.header.verification_tag, t.tag);
    t.is(state);
    // RFC 9260, 5.2.1: T1 was left running.
    let again = if state == CookieWait { ChunkType::INIT } else { ChunkType::COOKIE_ECHO };
    t.expects_within(secs(1), &[again]);
}

#[test]
fn as_1_15_3_an_init_in_established_is_answered_with_a_new_tag_and_changes_nothing() {
    for state in [Established, ShutdownPending, ShutdownSent, ShutdownReceived] {
        let mut t = Tester::in_state(state);
        let (old_tag, paths) = (t.iut_tag, t.iut.paths());
        t.tag = NEW;
        t.says_with_tag(NONE, &[t.init()]);
        let heard = t.expects(&[ChunkType::INIT_ACK]);
        assert_eq!(heard.header.verification_tag, NEW);
        assert_ne!(heard.init().initiate_tag, old_tag, "RFC 9260, 5.2.2");
        t.is(state);
        assert_eq!((t.iut.paths(), t.restarts()), (paths, 0));
    }
}

#[test]
fn as_1_15_4_an_init_that_adds_an_address_to_an_association_is_answered_with_abort() {
    for state in [CookieEchoed, Established, ShutdownPending, ShutdownSent, ShutdownReceived] {
        let mut t = Tester::in_state(state);
        t.tag = NEW;
        t.says_with_tag(NONE, &[Chunk::Init(t.offer(addresses(&[z(1), z(4)])))]);
        let heard = t.expects(&[ChunkType::ABORT]);
        assert_eq!(heard.header.verification_tag, NEW);
        let causes = causes(&[heard]);
        let [Cause::RestartWithNewAddresses(added)] = &causes[..] else { panic!("{causes:?}") };
        let added: Vec<_> = added.iter().filter_map(|parameter| parameter.unwrap().ip()).collect();
        assert_eq!(added, [z(4)]);
        t.is(state);
        assert_eq!(t.peers(), [z(1)]);
    }
}

#[test]
fn as_1_15_5_an_init_in_shutdown_ack_sent_brings_the_shutdown_ack_again() {
    let mut t = Tester::in_state(ShutdownAckSent);
    let tag = t.tag;
    t.tag = NEW;
    t.says_with_tag(NONE, &[t.init()]);
    let heard = t.expects(&[ChunkType::SHUTDOWN_ACK]);
    assert_eq!(heard.header.verification_tag, tag, "RFC 9260, 9.2");
    t.is(ShutdownAckSent);
}

#[test]
fn as_1_15_6_an_init_in_cookie_wait_from_an_address_that_the_user_did_not_name_gets_no_init_ack() {
    let mut t = Tester::in_state(CookieWait);
    let packet = t.packet(NONE, &[Chunk::Init(t.offer(addresses(&[z(1), z(2)])))]);
    t.iut.carry(z(2), a(1), packet);
    // RFC 9260, 5.2.1 (1): to an address of the user's only.
    let heard = t.hears_all();
    let elsewhere = |heard: &Heard| heard.destination != z(1);
    assert!(!heard.iter().any(elsewhere), "{heard:?}");
    t.is(CookieWait);
}

/// The tester restarts: another tag, and another first TSN.
fn restarts(t: &mut Tester, tag: VerificationTag) -> Chunk {
    t.tag = tag;
    t.tsn = Tsn::new(77_000);
    t.says_with_tag(NONE, &[t.init()]);
    Chunk::CookieEcho(t.expects(&[ChunkType::INIT_ACK]).cookie())
}

#[test]
fn as_1_16_1_case_a_a_peer_that_restarted_gets_a_new_association_and_the_user_is_told() {
    for state in [Established, ShutdownPending, ShutdownSent, ShutdownReceived] {
        let mut t = Tester::in_state(state);
        let echo = restarts(&mut t, NEW);
        t.says(&[echo]);
        let heard = t.hears_all();
        assert_eq!(heard[0].chunks[0], Chunk::CookieAck);
        assert_eq!(heard[0].header.verification_tag, NEW);
        assert_eq!((t.restarts(), t.iut.associations(), t.lost()), (1, 1, None));
        if matches!(state, ShutdownPending | ShutdownSent) {
            // ESTABLISHED is passed through: the user's close is of the peer as it is now.
            assert!(matches!(heard[0].chunks[1..], [Chunk::Shutdown(_)]), "{heard:?}");
            t.is(ShutdownSent);
            continue;
        }
        t.is(Established);
        // Both directions begin at the TSNs of the new set-up.
        t.says(&[t.data(0, "hello again")]);
        t.expects(&[ChunkType::SACK]);
        assert_eq!(t.received(), ["hello again"]);
        t.user_sends("you too");
        let heard = t.expects(&[ChunkType::DATA]);
        assert_eq!(data(&[heard])[0].tsn, t.iut_tsn);
    }
}

#[test]
fn as_1_16_2_case_a_in_shutdown_ack_sent_the_cookie_is_refused_and_shutdown_ack_sent_again() {
    // An INIT in SHUTDOWN-ACK-SENT gets no cookie, so the tester has one from before.
    let mut t = Tester::in_state(Established);
    let (old_tag, shutdown) = (t.iut_tag, t.shutdown(0));
    let echo = restarts(&mut t, NEW);
    let new_tag = t.iut_tag;
    t.says_with_tag(old_tag, &[shutdown]);
    t.hears_all();
    t.is(ShutdownAckSent);
    t.says_with_tag(new_tag, &[echo]);
    let heard = t.hears_all();
    let kinds: Vec<_> = heard.iter().flat_map(|heard| &heard.chunks).map(Chunk::kind).collect();
    assert!(kinds.contains(&ChunkType::SHUTDOWN_ACK), "{kinds:?}");
    assert_eq!(causes(&heard), [Cause::CookieReceivedWhileShuttingDown]);
    t.is(ShutdownAckSent);
    assert_eq!(t.restarts(), 0);
}

#[test]
fn as_1_16_3_case_b_a_collision_ends_in_one_association_with_the_tag_of_the_cookie() {
    for state in [CookieWait, CookieEchoed] {
        let mut t = Tester::in_state(state);
        t.tag = NEW;
        t.says_with_tag(NONE, &[t.init()]);
        let cookie = t.expects(&[ChunkType::INIT_ACK]).cookie();
        t.says(&[Chunk::CookieEcho(cookie)]);
        let heard = t.expects(&[ChunkType::COOKIE_ACK]);
        assert_eq!(heard.header.verification_tag, NEW, "RFC 9260, 5.2.4 (B)");
        t.is(Established);
        assert_eq!((t.restarts(), t.iut.associations()), (0, 1));
        // T1 was stopped.
        t.silence(secs(100));
    }
}

#[test]
fn as_1_16_4_case_c_a_cookie_of_an_attempt_that_is_over_is_discarded() {
    let mut t = Tester::new();
    let late = t.asks_with(t.init());
    let late_tag = t.iut_tag;
    t.opens();
    let (events, paths) = (t.iut.events(), t.iut.paths());
    t.says_with_tag(late_tag, &[Chunk::CookieEcho(late)]);
    t.silence(secs(10));
    t.is(Established);
    assert_eq!((t.iut.events(), t.iut.paths(), t.iut.associations()), (events, paths, 1));
}

#[test]
fn as_1_16_5_case_d_a_repeated_cookie_is_acknowledged_again_even_when_it_is_old() {
    let mut t = Tester::with(|options| options.cookie.lifetime = secs(5));
    let cookie = t.asks_with(t.init());
    t.says(&[Chunk::CookieEcho(cookie.clone())]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    t.iut.wait(secs(20));
    t.says(&[Chunk::CookieEcho(cookie), t.data(0, "bundled")]);
    assert_eq!(t.hears_all()[0].chunks[0], Chunk::CookieAck);
    t.is(Established);
    let ups = t.iut.events().iter().filter(|event| matches!(event, Event::CommUp { .. })).count();
    assert_eq!((ups, t.restarts(), t.iut.associations()), (1, 0, 1));
    assert_eq!(t.received(), ["bundled"]);
}

#[test]
fn as_1_16_6_both_sides_open_at_once_and_one_association_comes_of_it() {
    let mut t = Tester::new();
    t.iut.associate(&[z(1)]);
    t.expects(&[ChunkType::INIT]);
    // The tester's INIT and the IUT's cross; each side answers the other's.
    t.says_with_tag(NONE, &[t.init()]);
    let theirs = t.expects(&[ChunkType::INIT_ACK]).cookie();
    t.says(&[t.init_ack()]);
    t.expects(&[ChunkType::COOKIE_ECHO]);
    t.says(&[Chunk::CookieEcho(theirs)]);
    t.expects(&[ChunkType::COOKIE_ACK]);
    t.says(&[Chunk::CookieAck]);
    t.is(Established);
    assert_eq!((t.restarts(), t.iut.associations(), t.lost()), (0, 1, None));
    t.silence(secs(100));
}

#[test]
fn as_1_16_7_a_restart_whose_tie_tags_are_of_another_association_is_discarded() {
    let mut t = Tester::in_state(Established);
    let echo = restarts(&mut t, NEW);
    t.says(std::slice::from_ref(&echo));
    t.hears_all();
    assert_eq!(t.restarts(), 1);
    let tag = t.iut_tag;
    // The tester restarts once more; what belonged to the first association fits nothing now.
    let second = restarts(&mut t, VerificationTag(0x0123_4567));
    t.says(&[second]);
    t.hears_all();
    assert_eq!(t.restarts(), 2);
    t.says_with_tag(tag, &[echo]);
    t.silence(secs(10));
    assert_eq!((t.restarts(), t.iut.associations()), (2, 1));
    t.is(Established);
}
