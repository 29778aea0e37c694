//! Graceful closes that collide, and aborts.

use bytes::Bytes;
use rand::Rng;
use usctp_assoc::sim::{LinkSettings, Loss, Plan, for_each_seed, seed};
use usctp_assoc::{Association, AssociationState, Event, LostReason, Message, SendError};

use crate::world::{World, config, ms};

fn lossy(name: &str, seed: u64) -> World {
    let link = LinkSettings {
        loss: Loss::Uniform(0.15),
        duplicate: 0.05,
        reorder: 0.1,
        hold: ms(40),
        ..LinkSettings::with_latency(ms(20))
    };
    World::new(name, seed, 2, &config(|_| {}), &link)
}

/// Both sides send, and close within some milliseconds of each other.
fn collide(name: &str, seed: u64, messages: usize) {
    let mut world = lossy(name, seed);
    let (id, theirs) = world.establish();
    let plan = Plan { messages, streams: 3, least: 1, most: 4_000, unordered: 0.2 };
    let apart = ms(world.network.random().random_range(0..100));
    for (host, id) in [(world.a, id), (world.z, theirs)] {
        let messages = plan.draw(world.network.random());
        world.network.offer(host, id, messages);
        world.network.close_when_sent(host, id);
        world.network.run_for(apart);
    }
    world.run_until_ended(id);
    world.assert_graceful(id);
}

#[test]
fn two_closes_at_once_with_nothing_to_send_end_gracefully_under_loss() {
    let name = "two_closes_at_once_with_nothing_to_send_end_gracefully_under_loss";
    for_each_seed(200, |seed| collide(name, seed, 0));
}

#[test]
fn two_closes_at_once_deliver_what_both_sides_still_had_to_send() {
    let name = "two_closes_at_once_deliver_what_both_sides_still_had_to_send";
    for_each_seed(200, |seed| collide(name, seed, 20));
}

#[test]
fn a_close_waits_for_the_peer_to_send_the_rest() {
    for_each_seed(200, |seed| {
        let mut world = lossy("a_close_waits_for_the_peer_to_send_the_rest", seed);
        let (id, theirs) = world.establish();
        let plan = Plan { messages: 30, streams: 3, least: 1, most: 4_000, unordered: 0.2 };
        let messages = plan.draw(world.network.random());
        let (a, z) = (world.a, world.z);
        for message in messages {
            world.network.send(z, theirs, message).unwrap();
        }
        world.network.close_when_sent(a, id);
        world.run_until_ended(id);
        world.assert_graceful(id);
        let events = world.network.events(z).iter().map(|logged| &logged.event);
        assert_eq!(events.filter(|event| **event == Event::PeerShutdown).count(), 1);
    });
}

#[test]
fn a_peer_that_still_sends_hears_of_the_window_that_opens_while_we_close() {
    let name = "a_peer_that_still_sends_hears_of_the_window_that_opens_while_we_close";
    let small = config(|options| options.limits.receive_buffer = 16 << 10);
    let mut world = World::new(name, seed(0), 1, &small, &LinkSettings::with_latency(ms(10)));
    let (id, theirs) = world.establish();
    let (a, z) = (world.a, world.z);
    for _ in 0..100 {
        world.network.send(z, theirs, Message::new(0, vec![7; 1000])).unwrap();
    }
    world.network.with(a, id, Association::shutdown);
    let begun = world.network.now();
    world.run_until_ended(id);
    world.assert_graceful(id);
    // A round trip for each window; with one chunk for each RTO it would be minutes.
    let took = world.network.now() - begun;
    assert!(took < ms(5_000), "{took:?}");
}

#[test]
fn nothing_can_be_sent_once_the_close_began() {
    let mut world = World::new(
        "nothing_can_be_sent_once_the_close_began",
        seed(0),
        1,
        &config(|_| {}),
        &LinkSettings::with_latency(ms(10)),
    );
    let (id, _) = world.establish();
    let a = world.a;
    world.network.send(a, id, Message::new(0, "last")).unwrap();
    world.network.with(a, id, Association::shutdown);
    let refused = world.network.send(a, id, Message::new(0, "too late")).unwrap_err();
    assert_eq!(refused, SendError::NotOpen { state: AssociationState::ShutdownPending });
    world.run_until_ended(id);
    world.assert_graceful(id);
}

#[test]
fn an_abort_tells_the_peer_its_reason_and_gives_back_what_was_not_acknowledged() {
    let name = "an_abort_tells_the_peer_its_reason_and_gives_back_what_was_not_acknowledged";
    let mut world =
        World::new(name, seed(0), 1, &config(|_| {}), &LinkSettings::with_latency(ms(10)));
    let (id, theirs) = world.establish();
    let (a, z) = (world.a, world.z);
    world.network.send(a, id, Message::new(0, "never acknowledged")).unwrap();
    let reason = Bytes::from_static(b"tired");
    world.network.with(a, id, |association, now| association.abort(now, reason.clone()));
    world.run_until_ended(id);
    assert_eq!(world.end(a, id), Some(LostReason::LocalAbort));
    let lost = world.end(z, theirs);
    assert!(matches!(lost, Some(LostReason::PeerAborted { reason: told, .. }) if told == reason));
    let failed = Event::SendFailed { message: Message::new(0, "never acknowledged"), sent: true };
    assert!(world.network.events(a).iter().any(|logged| logged.event == failed));
}
