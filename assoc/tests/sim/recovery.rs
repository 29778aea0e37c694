//! Loss recovery beyond RFC 9260: RACK and tail loss probes, CUBIC and pacing, and how they share with others.

use usctp_assoc::sim::{Ladder, LinkSettings, Network, PEER_PORT, PORT, Rate, a, payload, z};
use usctp_assoc::{
    CongestionControl, ConnectOptions, LossDetection, Message, Options, RecoveryOptions,
};

use crate::rfc::{FULL, acks, chunks, hears_numbers, send, single_with, t3_expiries, wait};
use crate::world::{config, ms, ports, secs};

const RACK: RecoveryOptions = RecoveryOptions {
    detection: LossDetection::Rack,
    control: CongestionControl::Rfc9260,
    pacing: false,
};
const CUBIC: RecoveryOptions =
    RecoveryOptions { control: CongestionControl::Cubic, pacing: true, ..RACK };

fn rack(options: &mut Options) {
    options.recovery = RACK;
}

/// Acknowledges single chunks, each after 40 ms, until that is the smoothed round trip; how many.
fn settle(ladder: &mut Ladder) -> u32 {
    const COUNT: u32 = 40;
    for number in 1..=COUNT {
        send(ladder, 1, FULL);
        wait(ladder, ms(40));
        acks(ladder, number, &[]);
    }
    hears_numbers(ladder);
    COUNT
}

/// The numbers of what Z hears now, counted from `base`.
fn hears_after(ladder: &mut Ladder, base: u32) -> Vec<u32> {
    hears_numbers(ladder).into_iter().map(|number| number - base).collect()
}

#[test]
fn a_lost_last_chunk_is_found_by_a_probe_long_before_t3_expires() {
    let name = "a_lost_last_chunk_is_found_by_a_probe_long_before_t3_expires";
    let mut ladder = single_with(name, rack);
    let base = settle(&mut ladder);
    send(&mut ladder, 3, FULL);
    assert_eq!(hears_after(&mut ladder, base), [1, 2, 3]);
    // 2 and 3 are lost, which no later chunk can show; twice the round trip is 80 ms.
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base + 1, &[]);
    wait(&mut ladder, ms(70));
    assert!(hears_numbers(&mut ladder).is_empty());
    wait(&mut ladder, ms(20));
    let heard = ladder.hears_all();
    let probes = chunks(&heard);
    assert_eq!(probes.len(), 1, "{probes:?}");
    assert!(probes[0].flags.immediate, "the probe asks for a SACK at once");
    assert_eq!(probes[0].tsn, ladder.our_tsn.plus(base + 2), "the last chunk");
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base + 1, &[(2, 2)]);
    wait(&mut ladder, ms(50));
    assert_eq!(hears_after(&mut ladder, base), [2]);
    assert_eq!(t3_expiries(&ladder), 0);
    assert_eq!(ladder.path(z(1)).counts.tail_loss_probes, 1);
}

#[test]
fn a_chunk_overtaken_by_a_round_trip_is_lost_without_three_reports() {
    let name = "a_chunk_overtaken_by_a_round_trip_is_lost_without_three_reports";
    let mut ladder = single_with(name, rack);
    let base = settle(&mut ladder);
    send(&mut ladder, 2, FULL);
    wait(&mut ladder, ms(40));
    assert_eq!(hears_after(&mut ladder, base), [1, 2]);
    acks(&mut ladder, base, &[(2, 2)]);
    assert!(hears_numbers(&mut ladder).is_empty(), "1 may have been overtaken");
    wait(&mut ladder, ms(9));
    assert!(hears_numbers(&mut ladder).is_empty(), "a quarter of the least round trip is 10 ms");
    wait(&mut ladder, ms(2));
    assert_eq!(hears_after(&mut ladder, base), [1]);
}

#[test]
fn what_was_only_overtaken_is_waited_for_longer_from_then_on() {
    let name = "what_was_only_overtaken_is_waited_for_longer_from_then_on";
    let mut ladder = single_with(name, rack);
    let base = settle(&mut ladder);
    send(&mut ladder, 2, FULL);
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base, &[(2, 2)]);
    acks(&mut ladder, base + 2, &[]);
    assert_eq!(hears_after(&mut ladder, base), [1, 2]);
    // Reordering was seen: three reports at once do not prove a loss any more.
    send(&mut ladder, 4, 800);
    wait(&mut ladder, ms(40));
    assert_eq!(hears_after(&mut ladder, base), [3, 4, 5, 6]);
    acks(&mut ladder, base + 2, &[(2, 4)]);
    assert!(hears_numbers(&mut ladder).is_empty());
    wait(&mut ladder, ms(11));
    assert_eq!(hears_after(&mut ladder, base), [3]);
}

#[test]
fn a_paced_window_leaves_over_the_round_trip_and_not_in_one_burst() {
    let name = "a_paced_window_leaves_over_the_round_trip_and_not_in_one_burst";
    let mut ladder = single_with(name, |options| options.recovery = CUBIC);
    send(&mut ladder, 1, FULL);
    wait(&mut ladder, ms(90));
    acks(&mut ladder, 1, &[]);
    hears_numbers(&mut ladder);
    send(&mut ladder, 20, FULL);
    let at_once = hears_numbers(&mut ladder).len();
    assert_eq!(at_once, 1, "the others wait");
    wait(&mut ladder, ms(80));
    assert!(hears_numbers(&mut ladder).len() > at_once, "they follow before the SACK");
}

/// Two transfers over one bottleneck of 20 Mbit/s and 40 ms there and back, from hosts of their own; the messages that
/// arrived of each after half a minute.
fn share(name: &str, recoveries: [RecoveryOptions; 2]) -> [u64; 2] {
    let mut network = Network::new(name, 1);
    let settings = |recovery| {
        config(|options: &mut Options| {
            options.recovery = recovery;
            options.limits.send_buffer = 128 << 20;
        })
    };
    let link = LinkSettings {
        rate: Some(Rate { bytes_per_second: 2_500_000, queue: 100_000 }),
        ..LinkSettings::with_latency(ms(20))
    };
    let ends = [(a(1), z(1)), (a(2), z(2))];
    let servers = [0, 1].map(|index| {
        let ((ours, theirs), recovery) = (ends[index], recoveries[index]);
        let client = network.add_endpoint("A", &[ours], PORT, settings(recovery));
        let server = network.add_endpoint("Z", &[theirs], PEER_PORT, settings(RACK));
        network.listen(server, true);
        network.link(ours, theirs, &link);
        let id = network.connectx(client, &ports(&[theirs]), ConnectOptions::default()).unwrap();
        let messages = (0..60_000).map(|number| Message::new(0, payload(number, FULL)));
        network.offer(client, id, messages);
        server
    });
    network.share((a(2), z(2)), (a(1), z(1)));
    network.run_for(secs(30));
    servers.map(|host| {
        let id = network.newest(host).unwrap();
        network.endpoint(host).view(id).unwrap().statistics().messages_received
    })
}

#[test]
fn whoever_shares_a_bottleneck_with_an_rfc_9260_sender_leaves_it_a_fair_part() {
    let name = "whoever_shares_a_bottleneck_with_an_rfc_9260_sender_leaves_it_a_fair_part";
    let rfc = RecoveryOptions::default();
    for other in [rfc, RACK, CUBIC, RecoveryOptions { pacing: true, ..RACK }] {
        let [mine, its] = share(name, [rfc, other]);
        let part = mine as f64 / (mine + its) as f64;
        println!("RFC 9260 gets {:.0} % beside {other:?}", part * 100.0);
        assert!((0.25..=0.75).contains(&part), "{mine} beside {its} of {other:?}");
        // 2.5 MB/s for 30 s in packets of 1,500 bytes.
        assert!(mine + its > 50_000 * 3 / 4, "the link is used: {mine} and {its}");
    }
}
