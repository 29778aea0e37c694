//! Messages over bad networks.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use usctp_assoc::sim::{LinkSettings, Loss, Plan, Rate, Status, for_each_seed, payload, seed};
use usctp_assoc::{
    ActiveReason, AddressChange, Association, AssociationId, AssociationState, Event,
    FailureReason, Message, PathState,
};

use crate::world::{HOUR, World, config, ms, secs};

fn share(random: &mut StdRng, most: f64) -> f64 {
    random.random_range(0.0..=most)
}

/// A link as bad as links get that still carry a transfer.
fn bad_link(random: &mut StdRng) -> LinkSettings {
    let loss = match random.random_range(0..3) {
        0 => Loss::None,
        1 => Loss::Uniform(share(random, 0.06)),
        _ => Loss::Burst { enter: share(random, 0.01), leave: 0.3, good: 0.0, bad: 0.7 },
    };
    LinkSettings {
        latency: ms(random.random_range(0..80)),
        jitter: ms(random.random_range(0..30)),
        loss,
        duplicate: share(random, 0.03),
        reorder: share(random, 0.1),
        hold: ms(random.random_range(0..100)),
        rate: random.random_bool(0.5).then(|| Rate {
            bytes_per_second: random.random_range(100_000..5_000_000),
            queue: 60_000,
        }),
        ..LinkSettings::default()
    }
}

fn plan(random: &mut StdRng) -> Plan {
    let most = random.random_range(100..20_000);
    Plan { messages: random.random_range(1..60), streams: 10, least: 1, most, unordered: 0.3 }
}

/// A world of two or three bad paths with traffic in both directions and a close at the end.
fn bad_world(name: &str, seed: u64) -> World {
    // A dead path is found dead within half a minute, and the guard of the close leaves time for that; two dead
    // paths of three and a row of losses on the third do not end the association.
    let config = config(|options| {
        options.rto.max = secs(4);
        options.retransmission.association_max = 25;
        options.retransmission.init_max = 30;
        options.shutdown_guard = Some(secs(300));
    });
    let mut world = World::new(name, seed, 3, &config, &LinkSettings::default());
    let paths = world.network.random().random_range(2..=3);
    let pairs: Vec<_> = world.ours.iter().copied().zip(world.theirs.iter().copied()).collect();
    for (number, (one, other)) in pairs.into_iter().enumerate() {
        for (from, to) in [(one, other), (other, one)] {
            let settings = match number < paths {
                true => bad_link(world.network.random()),
                false => LinkSettings { status: Status::Down, ..LinkSettings::default() },
            };
            world.network.alter(from, to, |link| *link = settings.clone());
        }
    }
    world
}

/// What came of a transfer in both directions.
struct Transfer {
    world: World,
    id: AssociationId,
    /// Whether both sides had confirmed the second path when they were asked to close: Z, which was opened, must
    /// verify it first, and may not use it before (RFC 9260, 5.4).
    confirmed: bool,
}

fn transfer_while(name: &str, seed: u64, spoil: impl Fn(&mut World)) -> Transfer {
    let mut world = bad_world(name, seed);
    spoil(&mut world);
    let id = world.connect();
    let (a, z) = (world.a, world.z);
    let messages = plan(world.network.random()).draw(world.network.random());
    world.network.offer(a, id, messages);
    let came_up = world.network.run_until(HOUR, |network| {
        matches!(network.state(a, id), AssociationState::Established | AssociationState::Closed)
    });
    assert!(came_up, "the set-up ends one way or the other");
    if let Some(theirs) = world.network.newest(z) {
        let messages = plan(world.network.random()).draw(world.network.random());
        world.network.offer(z, theirs, messages);
        world.network.close_when_sent(z, theirs);
    }
    world.network.close_when_sent(a, id);
    let second = world.ours[1];
    let confirmed = world.network.newest(z).is_some_and(|theirs| {
        let view = world.network.endpoint(z).view(theirs);
        let mut paths = view.into_iter().flat_map(Association::paths);
        paths.any(|path| path.peer == second && path.state == PathState::Active)
    });
    world.run_until_ended(id);
    Transfer { world, id, confirmed }
}

/// Lets path `number` die, for some time or for good.
fn kill(world: &mut World, number: usize, at: Duration, until: Option<Duration>) {
    let (one, other) = (world.ours[number], world.theirs[number]);
    world.network.at(at, move |network| {
        network.alter_both(one, other, |link| link.status = Status::Down);
    });
    if let Some(until) = until {
        world.network.at(until, move |network| {
            network.alter_both(one, other, |link| link.status = Status::Up);
        });
    }
}

#[test]
fn a_multi_homed_transfer_survives_loss_reordering_duplication_and_a_dying_path() {
    let name = "a_multi_homed_transfer_survives_loss_reordering_duplication_and_a_dying_path";
    for_each_seed(1_000, |seed| {
        let transfer = transfer_while(name, seed, |world| {
            let at = ms(world.network.random().random_range(0..3_000));
            let until = world.network.random().random_bool(0.3).then(|| at + secs(20));
            kill(world, 0, at, until);
        });
        let Transfer { mut world, id, confirmed } = transfer;
        if confirmed {
            world.assert_graceful(id);
        } else {
            world.assert_both_learned(id);
        }
    });
}

#[test]
fn both_applications_learn_of_it_when_every_path_dies() {
    for_each_seed(200, |seed| {
        let name = "both_applications_learn_of_it_when_every_path_dies";
        let transfer = transfer_while(name, seed, |world| {
            for number in 0..3 {
                let at = ms(world.network.random().random_range(0..1_500));
                kill(world, number, at, None);
            }
        });
        let Transfer { mut world, id, .. } = transfer;
        world.assert_both_learned(id);
    });
}

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    let run = |seed| {
        let name = "the_same_seed_gives_the_same_run_byte_for_byte";
        transfer_while(name, seed, |world| kill(world, 0, ms(300), None)).world.network.trace()
    };
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(0), run(1));
}

#[test]
fn many_streams_carry_messages_of_1_byte_to_64_kib_ordered_and_unordered() {
    for_each_seed(20, |seed| {
        let name = "many_streams_carry_messages_of_1_byte_to_64_kib_ordered_and_unordered";
        let config = config(|options| options.limits.outbound_streams = 300);
        let link = LinkSettings {
            loss: Loss::Uniform(0.02),
            reorder: 0.05,
            hold: ms(20),
            ..LinkSettings::with_latency(ms(10))
        };
        let mut world = World::new(name, seed, 2, &config, &link);
        let (id, theirs) = world.establish();
        let plan = Plan { messages: 200, streams: 300, least: 1, most: 65_536, unordered: 0.4 };
        for (host, id) in [(world.a, id), (world.z, theirs)] {
            let mut messages = plan.draw(world.network.random());
            messages.push(Message::new(299, payload(seed, 65_536)));
            messages.push(Message::new(0, payload(seed, 1)));
            world.network.offer(host, id, messages);
        }
        let (a, z) = (world.a, world.z);
        let sent = world.network.run_until(HOUR, |network| {
            network.backlog(a, id) == 0 && network.backlog(z, theirs) == 0
        });
        assert!(sent, "everything was taken");
        world.network.close_when_sent(a, id);
        world.run_until_ended(id);
        world.assert_graceful(id);
        for (host, id) in [(a, id), (z, theirs)] {
            assert_eq!(world.network.application(host, id).received().len(), plan.messages + 2);
        }
    });
}

#[test]
fn a_small_receive_window_and_a_slow_reader_slow_the_sender_and_lose_nothing() {
    for_each_seed(20, |seed| {
        let name = "a_small_receive_window_and_a_slow_reader_slow_the_sender_and_lose_nothing";
        let config = config(|options| options.limits.receive_buffer = 8192);
        let link = LinkSettings { loss: Loss::Uniform(0.02), ..LinkSettings::with_latency(ms(5)) };
        let mut world = World::new(name, seed, 2, &config, &link);
        let (id, theirs) = world.establish();
        let (a, z) = (world.a, world.z);
        let plan = Plan { messages: 100, streams: 4, least: 1, most: 3_000, unordered: 0.2 };
        let messages = plan.draw(world.network.random());
        world.network.receive_eagerly(z, false);
        world.network.offer(a, id, messages);
        let mut received = 0;
        while received < plan.messages {
            world.network.run_for(ms(200));
            received += usize::from(world.network.receive(z, theirs).is_some());
            assert!(world.network.elapsed() < HOUR, "only {received} messages were received");
        }
        assert_eq!(world.network.application(a, id).missing(), 0);
        assert_eq!(world.network.state(a, id), AssociationState::Established);
    });
}

#[test]
fn a_reader_that_stops_for_minutes_does_not_end_the_association() {
    let name = "a_reader_that_stops_for_minutes_does_not_end_the_association";
    let config = config(|options| options.limits.receive_buffer = 8192);
    let mut world = World::new(name, seed(0), 1, &config, &LinkSettings::with_latency(ms(5)));
    let (id, theirs) = world.establish();
    let (a, z) = (world.a, world.z);
    world.network.receive_eagerly(z, false);
    world.network.offer(a, id, (0..50).map(|number| Message::new(0, payload(number, 1_000))));
    world.network.run_for(secs(600));
    // RFC 9260, 6.1 A: answered probes of a closed window are no errors.
    assert_eq!(world.network.state(a, id), AssociationState::Established);
    for _ in 0..50 {
        while world.network.receive(z, theirs).is_some() {}
        world.network.run_for(secs(5));
    }
    assert_eq!(world.network.application(a, id).missing(), 0);
}

#[test]
fn packets_shrink_to_the_mtu_that_a_router_reports() {
    let name = "packets_shrink_to_the_mtu_that_a_router_reports";
    let narrow =
        LinkSettings { mtu: 600, tells_too_big: true, ..LinkSettings::with_latency(ms(10)) };
    let mut world = World::new(name, seed(0), 2, &config(|_| {}), &narrow);
    let (id, theirs) = world.establish();
    let (a, z) = (world.a, world.z);
    for (host, id) in [(a, id), (z, theirs)] {
        world.network.offer(
            host,
            id,
            (0..20).map(|number| Message::new(0, payload(number, 5_000))),
        );
        world.network.close_when_sent(host, id);
    }
    world.network.run_for(secs(2));
    if let Some(association) = world.network.endpoint(a).view(id) {
        assert!(association.paths().any(|path| path.mtu == 600), "the first path was told");
    }
    world.run_until_ended(id);
    world.assert_graceful(id);
}

#[test]
fn a_dead_primary_is_reported_and_its_return_too() {
    let name = "a_dead_primary_is_reported_and_its_return_too";
    let mut world =
        World::new(name, seed(0), 2, &config(|_| {}), &LinkSettings::with_latency(ms(10)));
    let (id, _) = world.establish();
    let (a, first) = (world.a, world.theirs[0]);
    world.network.run_for(secs(5));
    let at = world.network.elapsed();
    kill(&mut world, 0, at, Some(at + secs(400)));
    for number in 0..60 {
        world.network.offer(a, id, [Message::new(0, payload(number, 2_000))]);
        world.network.run_for(secs(10));
    }
    let changes: Vec<_> = (world.network.events(a).iter())
        .filter_map(|logged| match logged.event {
            Event::PeerAddressChange { peer, change } if peer == first && logged.at >= at => {
                Some(change)
            }
            _ => None,
        })
        .filter(|change| matches!(change, AddressChange::Inactive(_) | AddressChange::Active(_)))
        .collect();
    assert_eq!(
        changes,
        [
            AddressChange::Inactive(FailureReason::HeartbeatUnanswered),
            AddressChange::Active(ActiveReason::HeartbeatAcked)
        ]
    );
    assert_eq!(world.network.application(a, id).missing(), 0);
}
