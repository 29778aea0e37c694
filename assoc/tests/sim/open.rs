//! Set-ups: one side active, both at once, several at a time.

use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use usctp_assoc::sim::{LinkSettings, Loss, PORT, Plan, Status, for_each_seed, seed, z};
use usctp_assoc::{AssociationState, ConnectOptions, Event, Message, NoticeKind, OnRefused, Role};

use crate::world::{HOUR, World, config, ms, ports};

fn lossy(name: &str, seed: u64) -> World {
    let link = LinkSettings {
        loss: Loss::Uniform(0.2),
        duplicate: 0.05,
        reorder: 0.1,
        hold: ms(60),
        ..LinkSettings::with_latency(ms(30))
    };
    // So many attempts that they are not all lost in any of a million runs.
    let config = config(|options| options.retransmission.init_max = 30);
    World::new(name, seed, 2, &config, &link)
}

#[test]
fn one_side_opens_and_the_other_is_told() {
    let name = "one_side_opens_and_the_other_is_told";
    let mut world =
        World::new(name, seed(0), 2, &config(|_| {}), &LinkSettings::with_latency(ms(10)));
    let (id, theirs) = world.establish();
    let role = |event: &Event| match event {
        Event::CommUp { role, .. } => Some(*role),
        _ => None,
    };
    let roles = |host| -> Vec<_> {
        world.network.events(host).iter().filter_map(|logged| role(&logged.event)).collect()
    };
    assert_eq!((roles(world.a), roles(world.z)), (vec![Role::Active], vec![Role::Passive]));
    let z = &world.network.events(world.z)[0];
    assert_eq!(
        (z.association, role(&z.event)),
        (theirs, Some(Role::Passive)),
        "CommUp comes first"
    );
    assert_eq!(world.network.elapsed(), ms(40), "four packets, each 10 ms");
    assert_eq!(world.network.state(world.a, id), AssociationState::Established);
}

#[test]
fn a_message_sent_before_the_set_up_is_over_goes_with_the_cookie() {
    let name = "a_message_sent_before_the_set_up_is_over_goes_with_the_cookie";
    let mut world =
        World::new(name, seed(0), 1, &config(|_| {}), &LinkSettings::with_latency(ms(10)));
    let id = world.connect();
    let (a, z) = (world.a, world.z);
    world.network.send(a, id, Message::new(0, "early")).unwrap();
    // INIT, INIT ACK, COOKIE ECHO: the third packet.
    world.network.run_for(ms(31));
    let theirs = world.network.newest(z).unwrap();
    assert_eq!(world.network.application(z, theirs).received().len(), 1);
}

#[test]
fn two_opens_at_once_under_loss_make_one_association() {
    for_each_seed(300, |seed| {
        let mut world = lossy("two_opens_at_once_under_loss_make_one_association", seed);
        let (a, z) = (world.a, world.z);
        world.network.listen(a, true);
        let id = world.connect();
        let apart = ms(world.network.random().random_range(0..150));
        world.network.run_for(apart);
        let peers: Vec<_> = world.ours.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect();
        // A's INIT, or its COOKIE ECHO, may already have opened the association at Z.
        if world.network.newest(z).is_none() {
            world.network.connectx(z, &peers, ConnectOptions::default()).unwrap();
        }
        let up = world.network.run_until(HOUR, |network| {
            [a, z].into_iter().all(|host| {
                let id = network.newest(host);
                id.is_some_and(|id| network.state(host, id) == AssociationState::Established)
            })
        });
        assert!(up, "both came up");
        let theirs = world.network.newest(z).unwrap();
        for host in [a, z] {
            assert_eq!(world.network.endpoint(host).associations().count(), 1);
        }
        let plan = Plan { messages: 10, streams: 3, least: 1, most: 4_000, unordered: 0.2 };
        for (host, id) in [(a, id), (z, theirs)] {
            let messages = plan.draw(world.network.random());
            world.network.offer(host, id, messages);
            world.network.close_when_sent(host, id);
        }
        world.run_until_ended(id);
        world.assert_graceful(id);
    });
}

#[test]
fn a_set_up_under_heavy_loss_comes_up_or_fails_on_record() {
    for_each_seed(200, |seed| {
        let name = "a_set_up_under_heavy_loss_comes_up_or_fails_on_record";
        let link = LinkSettings { loss: Loss::Uniform(0.6), ..LinkSettings::with_latency(ms(10)) };
        let mut world = World::new(name, seed, 2, &config(|_| {}), &link);
        let id = world.connect();
        let a = world.a;
        let decided = world.network.run_until(HOUR, |network| {
            matches!(network.state(a, id), AssociationState::Established | AssociationState::Closed)
        });
        assert!(decided);
        if world.network.state(a, id) == AssociationState::Closed {
            assert!(world.end(a, id).is_some());
        }
    });
}

/// A calls `connectx` with 1 to 12 addresses, all of which are out of reach in a way of its own but perhaps one;
/// every other time it races.
fn through_trouble(name: &str, seed: u64, has_good_one: bool) -> (World, Option<IpAddr>, usize) {
    let count = 1 + u8::try_from(seed % 12).unwrap();
    let link = LinkSettings::with_latency(ms(10));
    let mut world = World::new(name, seed, count, &config(|_| {}), &link);
    let good = world.network.random().random_range(0..usize::from(count));
    let good = has_good_one.then_some(good);
    for index in (0..usize::from(count)).filter(|index| Some(*index) != good) {
        let troubles = [
            Status::Down,
            Status::SendFailed,
            Status::Icmp(NoticeKind::Unreachable),
            Status::Icmp(NoticeKind::ProtocolUnreachable),
            Status::Icmp(NoticeKind::PortUnreachable),
        ];
        let trouble = troubles[world.network.random().random_range(0..troubles.len())];
        let (from, to) = (world.ours[index], world.theirs[index]);
        world.network.alter(from, to, |link| link.status = trouble);
    }
    let race = seed.is_multiple_of(2).then(|| ms(world.network.random().random_range(0..1_500)));
    let options = ConnectOptions::default().with(|options| {
        options.on_refused = OnRefused::TryNext;
        options.race = race;
    });
    let id = world.network.connectx(world.a, &ports(&world.theirs), options).unwrap();
    let a = world.a;
    let decided = world.network.run_until(HOUR, |network| {
        matches!(network.state(a, id), AssociationState::Established | AssociationState::Closed)
    });
    assert!(decided, "it ends one way or the other");
    (world, good.map(|good| z(u8::try_from(good).unwrap() + 1)), count.into())
}

fn tried(world: &World) -> Vec<IpAddr> {
    let tried = |event: &Event| match event {
        Event::Tried { peer, .. } => Some(*peer),
        _ => None,
    };
    world.network.events(world.a).iter().filter_map(|logged| tried(&logged.event)).collect()
}

#[test]
fn one_good_address_is_found_wherever_it_stands_and_whatever_is_wrong_with_the_others() {
    let name = "one_good_address_is_found_wherever_it_stands_and_whatever_is_wrong_with_the_others";
    for_each_seed(300, |seed| {
        let (world, good, count) = through_trouble(name, seed, true);
        let primary = world.network.events(world.a).iter().find_map(|logged| match logged.event {
            Event::CommUp { primary, .. } => Some(primary),
            _ => None,
        });
        assert_eq!(primary, good);
        let tried = tried(&world);
        assert!(tried.len() <= count.max(9), "{tried:?}");
        // For the first time, each has its turn in the caller's order.
        let mut first: Vec<IpAddr> = Vec::new();
        for peer in tried {
            if !first.contains(&peer) {
                first.push(peer);
            }
        }
        assert_eq!(first, world.theirs[..first.len()]);
    });
}

#[test]
fn where_nothing_answers_the_attempt_ends_once_within_its_inits() {
    let name = "where_nothing_answers_the_attempt_ends_once_within_its_inits";
    for_each_seed(300, |seed| {
        let (mut world, _, count) = through_trouble(name, seed, false);
        world.network.run_for(HOUR);
        assert!(tried(&world).len() <= count.max(9));
        let lost = |event: &Event| matches!(event, Event::CommLost(_));
        let events = world.network.events(world.a);
        assert_eq!(events.iter().filter(|logged| lost(&logged.event)).count(), 1);
        assert!(lost(&events.last().unwrap().event), "nothing follows");
    });
}
