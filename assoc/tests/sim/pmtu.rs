//! Path MTU discovery (RFC 8899) over the simulated network: what is found, black holes, routers that speak or lie.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::sim::{
    Heard, HostId, Ladder, LinkSettings, Network, PEER_PORT, PORT, Rate, a, a6, payload, seed, z,
    z6,
};
use usctp_assoc::{
    AssociationId, Config, Event, Message, MtuReason, NoticeKind, PathMtuError, PathStatus,
    PmtudMode, PmtudState, Quote,
};
use usctp_chunk::{Chunk, ChunkType, Heartbeat, VerificationTag};

use crate::world::{HOUR, World, config, ms, secs};

const LATENCY: Duration = Duration::from_millis(20);

fn silent(mtu: usize) -> LinkSettings {
    LinkSettings { mtu, ..LinkSettings::with_latency(LATENCY) }
}

fn world_of(name: &str, ours: &[IpAddr], theirs: &[IpAddr], config: &Config, mtu: usize) -> World {
    let mut network = Network::new(name, seed(0));
    let a = network.add_endpoint("A", ours, PORT, config.clone());
    let z = network.add_endpoint("Z", theirs, PEER_PORT, config.clone());
    network.link_in_parallel(ours, theirs, &silent(mtu));
    network.listen(z, true);
    World { network, a, z, ours: ours.to_vec(), theirs: theirs.to_vec() }
}

fn paths(world: &World, host: HostId, id: AssociationId) -> Vec<PathStatus> {
    world.network.endpoint(host).view(id).unwrap().paths().collect()
}

fn probes(world: &World, host: HostId, id: AssociationId) -> u64 {
    world.network.endpoint(host).view(id).unwrap().statistics().mtu_probes_sent
}

/// When the MTU of any path changed, to what and why.
fn changes(world: &World, host: HostId) -> Vec<(Duration, usize, MtuReason)> {
    let events = world.network.events(host).iter();
    let changes = events.filter_map(|logged| match logged.event {
        Event::PathMtuChange { mtu, reason, .. } => Some((logged.at, mtu, reason)),
        _ => None,
    });
    changes.collect()
}

fn offer(world: &mut World, id: AssociationId, count: u64, len: usize) {
    let a = world.a;
    let messages = (0..count).map(|number| Message::new(0, payload(number, len)));
    world.network.offer(a, id, messages);
}

#[test]
fn the_greatest_mtu_is_found_by_probes() {
    let (v4, v6) = ((a(1), z(1)), (a6(1), z6(1)));
    // The addresses, the MTU of the links, where the search starts and may end, over UDP or not, what is found, and
    // after how many probes at most.
    let table = [
        (v4, 1500, 1500, 1500, false, 1500, 1),
        (v4, 1500, 1280, 1500, false, 1500, 10),
        (v4, 1400, 1500, 1500, false, 1400, 10),
        (v4, 1400, 1500, 1500, true, 1400, 10),
        (v4, 9000, 1500, 65_535, false, 9000, 10),
        (v4, 9000, 1500, 65_535, true, 9000, 10),
        (v4, 65_535, 1500, 65_535, false, 65_532, 12),
        (v4, 576, 1500, 1500, false, 576, 12),
        (v6, 1500, 1500, 9000, false, 1500, 5),
        (v6, 1400, 1500, 1500, true, 1400, 10),
        (v6, 1280, 1500, 1500, false, 1280, 8),
    ];
    for ((one, other), mtu, start, max, udp, found, most) in table {
        let config = config(|options| {
            options.path_mtu = start;
            options.pmtud.max = Some(max);
            options.udp_port = udp.then_some(9899);
        });
        let name = "the_greatest_mtu_is_found_by_probes";
        let mut world = world_of(name, &[one], &[other], &config, mtu);
        let (id, theirs) = world.establish();
        world.network.run_for(secs(300));
        for (host, id) in [(world.a, id), (world.z, theirs)] {
            let path = paths(&world, host, id).remove(0);
            let case = format!("{mtu} from {start} to {max}, UDP {udp}: {path:?}");
            assert_eq!(path.mtu, found, "{case}");
            assert!([PmtudState::SearchComplete, PmtudState::Error].contains(&path.pmtud));
            assert!(
                probes(&world, host, id) <= most,
                "{} probes: {case}",
                probes(&world, host, id)
            );
            assert_eq!(path.errors, 0, "a lost probe is no failure of the path");
            // RFC 9260, 7.2.1: before there is data the window is no more than the initial one of each size on the way, and
            // with what is found it does not grow (RFC 8899, 3, 7). The way to 576 leads by 512.
            let window = if found == 576 { 4 * 480 } else { 4404 };
            assert!([window, window.min(4344)].contains(&path.cwnd), "{case}");
        }
        // What was found carries data.
        offer(&mut world, id, 20, 20_000);
        let a = world.a;
        world.network.close_when_sent(a, id);
        world.run_until_ended(id);
        world.assert_graceful(id);
        assert_eq!(world.network.cut_packets(), 0);
    }
}

/// Sends a message that is acknowledged, and hears the probe that follows.
fn first_probe(ladder: &mut Ladder) -> Heard {
    ladder.sends("first");
    ladder.expects(z(1), &[ChunkType::DATA]);
    let answer = ladder.sack(1);
    ladder.says(z(1), &[answer]);
    ladder.expects(z(1), &[ChunkType::HEARTBEAT, ChunkType::PAD])
}

#[test]
fn small_messages_that_arrive_say_nothing_of_the_size_that_passes() {
    let name = "small_messages_that_arrive_say_nothing_of_the_size_that_passes";
    let mut ladder = Ladder::probing(name, config(|_| {}), &[a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    for count in 1..=3 {
        crate::rfc::send(&mut ladder, 1, 400);
        crate::rfc::acks(&mut ladder, count, &[]);
        assert_eq!(ladder.path(z(1)).pmtud, PmtudState::Base);
    }
}

#[test]
fn small_messages_that_arrive_do_not_confirm_the_size_that_a_path_starts_with() {
    let name = "small_messages_that_arrive_do_not_confirm_the_size_that_a_path_starts_with";
    let mut ladder = Ladder::probing(name, config(|_| {}), &[a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    crate::rfc::send(&mut ladder, 1, 400);
    crate::rfc::acks(&mut ladder, 1, &[]);
    crate::rfc::send(&mut ladder, 1, crate::rfc::FULL);
    ladder.hears_all();
    assert_eq!(ladder.path(z(1)).mtu, 1500);
    // It takes less, as one expiry shows and a smaller probe that is answered.
    ladder.network.run_for(secs(1));
    let heard = ladder.hears_all();
    let probe = heard.iter().find_map(|heard| match &heard.chunks[..] {
        [Chunk::Heartbeat(probe), Chunk::Pad(_)] if heard.bytes.len() < 1_300 => Some(probe),
        _ => None,
    });
    let probe = probe.unwrap_or_else(|| panic!("{heard:?}")).clone();
    ladder.says(z(1), &[Chunk::HeartbeatAck(probe)]);
    assert!(ladder.path(z(1)).mtu < 1_300);
}

#[test]
fn a_side_that_closes_probes_no_more() {
    let mut ladder =
        Ladder::probing("a_side_that_closes_probes_no_more", config(|_| {}), &[a(1)], &[z(1)]);
    ladder.establishes(&[z(1)]);
    first_probe(&mut ladder);
    ladder.shuts_down();
    ladder.network.run_for(secs(20));
    let heard = ladder.hears_all();
    assert!(heard.len() > 2, "{heard:?}");
    for heard in heard {
        assert_eq!(usctp_assoc::sim::kinds(&heard.chunks), [ChunkType::SHUTDOWN]);
    }
    assert_eq!(ladder.path(z(1)).pmtud, usctp_assoc::PmtudState::Disabled);
}

#[test]
fn a_probe_is_a_heartbeat_with_padding_and_only_its_exact_answer_counts() {
    let name = "a_probe_is_a_heartbeat_with_padding_and_only_its_exact_answer_counts";
    let mut ladder = Ladder::probing(name, config(|_| {}), &[a(1)], &[z(1)]);
    ladder.connectx(&[z(1)]);
    ladder.hears();
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.hears();
    ladder.says(z(1), &[Chunk::CookieAck]);
    // Nobody's first packet is a probe: it follows when something was answered.
    assert!(ladder.hears_all().is_empty());
    let probe = first_probe(&mut ladder);
    assert_eq!(probe.bytes.len(), 1480, "1,500 bytes with the header of IPv4");
    let Chunk::Heartbeat(heartbeat) = &probe.chunks[0] else { unreachable!() };
    assert_eq!(ladder.path(z(1)).pmtud, PmtudState::Base);
    // An ordinary HEARTBEAT is another matter.
    let id = ladder.id();
    let asked = |association: &mut usctp_assoc::Association, now| {
        association.request_heartbeat(now, z(1)).unwrap();
    };
    ladder.network.with(ladder.ours, id, asked);
    let other = ladder.expects(z(1), &[ChunkType::HEARTBEAT]);
    ladder.says(
        z(1),
        &[Chunk::HeartbeatAck(match other.only() {
            Chunk::Heartbeat(heartbeat) => heartbeat.clone(),
            _ => unreachable!(),
        })],
    );
    let mut forged = heartbeat.info.to_vec();
    forged[0] ^= 1;
    ladder.says(z(1), &[Chunk::HeartbeatAck(Heartbeat::new(Bytes::from(forged)))]);
    assert_eq!(ladder.path(z(1)).pmtud, PmtudState::Base);
    // A probe that is not answered is sent again after PROBE_TIMER, and nothing is thought of it.
    let again = ladder.expects_within(secs(16), z(1), &[ChunkType::HEARTBEAT, ChunkType::PAD]);
    assert_eq!((again.at - probe.at, again.bytes.len()), (secs(16), 1480));
    assert_eq!(ladder.path(z(1)).errors, 0);
    ladder.says(z(1), &[Chunk::HeartbeatAck(heartbeat.clone())]);
    assert_eq!(ladder.path(z(1)).pmtud, PmtudState::Base, "the first one is forgotten");
    let Chunk::Heartbeat(heartbeat) = &again.chunks[0] else { unreachable!() };
    ladder.says(z(1), &[Chunk::HeartbeatAck(heartbeat.clone())]);
    assert_eq!(ladder.path(z(1)).pmtud, PmtudState::SearchComplete);
    assert_eq!(ladder.path(z(1)).mtu, 1500);
}

/// A transfer over links of which one becomes narrower after a second.
fn narrowed(name: &str, mtu: usize, tells: bool) -> World {
    let rate = Some(Rate { bytes_per_second: 500_000, queue: 60_000 });
    let link = LinkSettings { rate, tells_too_big: tells, ..silent(1500) };
    let mut world = World::new(name, seed(0), 1, &config(|_| {}), &link);
    let (id, _) = world.establish();
    for len in [5_000, 300, 1_452] {
        offer(&mut world, id, 300, len);
    }
    let a = world.a;
    world.network.close_when_sent(a, id);
    let (one, other) = (world.ours[0], world.theirs[0]);
    world.network.at(secs(1), move |n| n.alter_both(one, other, |link| link.mtu = mtu));
    world.run_until_ended(id);
    world.assert_graceful(id);
    world
}

#[test]
fn a_black_hole_in_the_middle_of_a_transfer_loses_nothing() {
    for (mtu, found) in [(1300, 1300), (1400, 1400), (1000, 1000)] {
        let name = "a_black_hole_in_the_middle_of_a_transfer_loses_nothing";
        let world = narrowed(name, mtu, false);
        let changes = changes(&world, world.a);
        let fall = changes.iter().find(|(_, _, reason)| *reason == MtuReason::BlackHole);
        let (at, size, _) = fall.expect("the black hole was found");
        assert!(*size <= mtu);
        // Two expiries of T3-rtx with an RTO of about 1 s, or three where BASE_PLPMTU does not pass either.
        let most = if mtu < 1220 { secs(10) } else { secs(5) };
        assert!(*at < secs(1) + most, "{changes:?}");
        assert!(changes.iter().all(|(_, size, _)| *size <= found), "{changes:?}");
        assert!(world.network.cut_packets() > 0, "what had its TSN went in fragments of IP");
        assert!(world.network.elapsed() < secs(60), "{:?}", world.network.elapsed());
    }
}

#[test]
fn a_path_of_ipv4_below_512_bytes_carries_everything() {
    let name = "a_path_of_ipv4_below_512_bytes_carries_everything";
    for (mtu, tells, narrow) in [
        (400, false, true),
        (296, false, true),
        (400, false, false),
        (296, false, false),
        (400, true, true),
        (296, true, false),
        (128, true, true),
    ] {
        let link = LinkSettings { tells_too_big: tells, ..silent(1500) };
        let mut world = World::new(name, seed(0), 1, &config(|_| {}), &link);
        let (one, other) = (world.ours[0], world.theirs[0]);
        let narrowed = move |link: &mut LinkSettings| link.mtu = mtu;
        let id = if narrow {
            let (id, _) = world.establish();
            world.network.run_for(secs(2));
            world.network.alter_both(one, other, narrowed);
            id
        } else {
            world.network.alter_both(one, other, narrowed);
            world.establish().0
        };
        let case = format!("{mtu} bytes, told: {tells}, later: {narrow}");
        let begun = world.network.elapsed();
        offer(&mut world, id, 20, 5_000);
        offer(&mut world, id, 50, mtu);
        let a = world.a;
        let arrived = world.network.run_until(secs(60), |network| {
            let application = network.endpoint(a).view(id).unwrap();
            application.statistics().send_buffered == 0
        });
        assert!(arrived, "{case}");
        // Three expiries of T3-rtx (1, 2 and 4 s), or none.
        let took = world.network.elapsed() - begun;
        assert!(took < if tells { secs(3) } else { secs(12) }, "{case}: {took:?}");
        assert_eq!(world.network.application(a, id).missing(), 0, "{case}");
        world.network.run_for(secs(120));
        let path = paths(&world, a, id).remove(0);
        assert_eq!((path.mtu, path.pmtud), (mtu, PmtudState::Error), "{case}");
        world.network.close_when_sent(a, id);
        world.run_until_ended(id);
        world.assert_graceful(id);
    }
}

#[test]
fn a_router_that_says_what_fits_makes_it_fast() {
    let name = "a_router_that_says_what_fits_makes_it_fast";
    let world = narrowed(name, 1380, true);
    let changes = changes(&world, world.a);
    let [(fell, 1220, MtuReason::PacketTooBig), (found, 1380, MtuReason::Probed)] = changes[..]
    else {
        panic!("{changes:?}")
    };
    assert!(fell < secs(1) + ms(250) && found - fell < ms(500), "{changes:?}");
}

#[test]
fn a_path_that_never_took_the_size_it_started_with_costs_one_time_out() {
    let name = "a_path_that_never_took_the_size_it_started_with_costs_one_time_out";
    let mut world = World::new(name, seed(0), 1, &config(|_| {}), &silent(1400));
    let (id, _) = world.establish();
    let begun = world.network.elapsed();
    offer(&mut world, id, 50, 5_000);
    let a = world.a;
    world.network.close_when_sent(a, id);
    world.run_until_ended(id);
    world.assert_graceful(id);
    let changes = changes(&world, a);
    assert_eq!(changes[0].2, MtuReason::BlackHole);
    assert!(changes[0].0 - begun < ms(1_200), "{changes:?}");
    assert!(changes.iter().any(|(_, mtu, _)| *mtu == 1400), "{changes:?}");
}

#[test]
fn larger_packets_are_tried_again_after_ten_minutes() {
    let name = "larger_packets_are_tried_again_after_ten_minutes";
    let mut world = World::new(name, seed(0), 1, &config(|_| {}), &silent(1400));
    let (id, _) = world.establish();
    let (a, one, other) = (world.a, world.ours[0], world.theirs[0]);
    world.network.run_for(secs(200));
    assert_eq!(paths(&world, a, id)[0].mtu, 1400);
    let since = changes(&world, a).last().unwrap().0;
    world.network.alter_both(one, other, |link| link.mtu = 1500);
    while world.network.elapsed() < since + secs(590) {
        offer(&mut world, id, 1, 3_000);
        world.network.run_for(secs(10));
    }
    assert_eq!(paths(&world, a, id)[0].mtu, 1400);
    world.network.run_for(secs(90));
    assert_eq!(paths(&world, a, id)[0].mtu, 1500);
    assert_eq!(world.network.application(a, id).missing(), 0);
}

#[test]
fn an_outage_and_probes_lost_in_it_shrink_nothing() {
    let name = "an_outage_and_probes_lost_in_it_shrink_nothing";
    let mut world = World::new(name, seed(0), 2, &config(|_| {}), &silent(1500));
    let (id, _) = world.establish();
    let (a, one, other) = (world.a, world.ours[0], world.theirs[0]);
    let down = |link: &mut LinkSettings| link.status = usctp_assoc::sim::Status::Down;
    world.network.alter_both(one, other, down);
    offer(&mut world, id, 100, 5_000);
    world.network.run_for(secs(400));
    world.network.alter_both(one, other, |link| link.status = usctp_assoc::sim::Status::Up);
    offer(&mut world, id, 100, 5_000);
    world.network.run_for(secs(300));
    assert_eq!(changes(&world, a), []);
    let paths = paths(&world, a, id);
    assert!(paths.iter().all(|path| path.pmtud == PmtudState::SearchComplete), "{paths:?}");
    assert_eq!(world.network.application(a, id).missing(), 0);
}

#[test]
fn messages_are_cut_for_the_smallest_path_so_that_a_failover_needs_no_fragments_of_ip() {
    let name = "messages_are_cut_for_the_smallest_path_so_that_a_failover_needs_no_fragments_of_ip";
    let mut world = World::new(name, seed(0), 2, &config(|_| {}), &silent(1500));
    let (a, one, other) = (world.a, world.ours[0], world.theirs[0]);
    let second = (world.ours[1], world.theirs[1]);
    world.network.alter_both(second.0, second.1, |link| link.mtu = 1400);
    let (id, _) = world.establish();
    world.network.run_for(secs(300));
    let mtus: Vec<_> = paths(&world, a, id).iter().map(|path| path.mtu).collect();
    assert_eq!(mtus, [1500, 1400]);
    let down = |link: &mut LinkSettings| link.status = usctp_assoc::sim::Status::Down;
    offer(&mut world, id, 100, 5_000);
    world.network.at(secs(301), move |network| network.alter_both(one, other, down));
    offer(&mut world, id, 100, 5_000);
    world.network.run_for(secs(100));
    assert_eq!(world.network.application(a, id).missing(), 0);
    assert_eq!(world.network.cut_packets(), 0);
}

#[test]
fn a_forged_packet_too_big_changes_nothing_and_a_real_one_only_lowers() {
    let name = "a_forged_packet_too_big_changes_nothing_and_a_real_one_only_lowers";
    let mut ladder = Ladder::probing(name, config(|_| {}), &[a(1)], &[z(1)]);
    ladder.connectx(&[z(1)]);
    ladder.hears();
    ladder.says(z(1), &[ladder.init_ack(&[])]);
    ladder.hears();
    ladder.says(z(1), &[Chunk::CookieAck]);
    let probe = first_probe(&mut ladder);
    let Chunk::Heartbeat(heartbeat) = &probe.chunks[0] else { unreachable!() };
    ladder.says(z(1), &[Chunk::HeartbeatAck(heartbeat.clone())]);
    let quote = Quote::parse(&probe.bytes).unwrap();
    let too_big = |mtu| NoticeKind::PacketTooBig { mtu };
    for forged in [
        Quote { verification_tag: VerificationTag(1), ..quote },
        Quote { source_port: 1, ..quote },
        Quote { destination_port: 1, ..quote },
    ] {
        for mtu in [0, 600, 1400] {
            ladder.is_told_with(too_big(mtu), &probe, forged);
            assert_eq!(ladder.path(z(1)).mtu, 1500);
        }
    }
    for nonsense in [4, 67, 1500, 9000, u32::MAX] {
        ladder.is_told(too_big(nonsense), &probe);
        assert_eq!(ladder.path(z(1)).mtu, 1500, "{nonsense}");
    }
    assert!(ladder.events().iter().all(|event| !matches!(event, Event::PathMtuChange { .. })));
    ladder.is_told(too_big(1400), &probe);
    assert_eq!(ladder.path(z(1)).mtu, 1220, "never the reported size without a probe");
    ladder.is_told(too_big(1300), &probe);
    ladder.is_told(too_big(1400), &probe);
    assert_eq!(ladder.path(z(1)).mtu, 1220);
}

#[test]
fn an_mtu_that_the_application_sets_stays_until_it_is_to_be_discovered_again() {
    let name = "an_mtu_that_the_application_sets_stays_until_it_is_to_be_discovered_again";
    let mut world = World::new(name, seed(0), 1, &config(|_| {}), &silent(1500));
    let (id, _) = world.establish();
    let (a, peer) = (world.a, world.theirs[0]);
    let set = |world: &mut World, peer, mtu| {
        world.network.with(a, id, |association, now| association.set_path_mtu(now, peer, mtu))
    };
    assert_eq!(set(&mut world, peer, Some(1300)), Ok(()));
    let before = probes(&world, a, id);
    offer(&mut world, id, 20, 5_000);
    world.network.run_for(secs(1_000));
    let path = paths(&world, a, id).remove(0);
    assert_eq!((path.mtu, path.pmtud), (1300, PmtudState::Disabled));
    assert_eq!(probes(&world, a, id), before);
    assert_eq!(set(&mut world, peer, None), Ok(()));
    world.network.run_for(secs(10));
    let path = paths(&world, a, id).remove(0);
    assert_eq!((path.mtu, path.pmtud), (1500, PmtudState::SearchComplete));
    let small = PathMtuError::OutOfRange { mtu: 67, least: 68 };
    assert_eq!(set(&mut world, peer, Some(67)), Err(small));
    let stranger = z(9);
    assert_eq!(set(&mut world, stranger, None), Err(PathMtuError::NoSuchPath(stranger)));
    let reasons: Vec<_> = changes(&world, a).iter().map(|change| change.2).collect();
    assert_eq!(reasons.first(), Some(&MtuReason::Set));
}

#[test]
fn without_discovery_no_probe_is_sent_and_the_mtu_stays() {
    let name = "without_discovery_no_probe_is_sent_and_the_mtu_stays";
    let config = config(|options| options.pmtud.mode = PmtudMode::Off);
    let mut world = World::new(name, seed(0), 1, &config, &silent(1500));
    let (id, _) = world.establish();
    offer(&mut world, id, 20, 5_000);
    world.network.run_for(HOUR);
    let path = paths(&world, world.a, id).remove(0);
    assert_eq!((path.mtu, path.pmtud), (1500, PmtudState::Disabled));
    assert_eq!(probes(&world, world.a, id), 0);
}

#[test]
fn limits_of_the_discovery_are_checked() {
    let refused = |change: fn(&mut usctp_assoc::PmtudOptions)| {
        let mut options = usctp_assoc::Options::default();
        change(&mut options.pmtud);
        Config::new(options).map(|_| ()).unwrap_err().to_string()
    };
    let text = refused(|pmtud| pmtud.min = 67);
    assert_eq!(text, "option pmtud.min is 67: 68 to path_mtu bytes");
    let text = refused(|pmtud| pmtud.min = 1501);
    assert_eq!(text, "option pmtud.min is 1501: 68 to path_mtu bytes");
    let text = refused(|pmtud| pmtud.max = Some(1499));
    assert_eq!(text, "option pmtud.max is 1499: path_mtu to 65,535 bytes");
    let text = refused(|pmtud| pmtud.probe_timer = ms(999));
    assert_eq!(text, "option pmtud.probe_timer is 999ms: 1 s to 1 h");
    let text = refused(|pmtud| pmtud.raise_timer = ms(999));
    assert_eq!(text, "option pmtud.raise_timer is 999ms: 1 s to 24 h");
}
