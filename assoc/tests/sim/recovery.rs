//! Loss recovery beyond RFC 9260: RACK and tail loss probes, CUBIC and pacing, and how they share with others.

use std::time::Duration;

use usctp_assoc::sim::{Ladder, LinkSettings, Loss, Network, PEER_PORT, PORT, Rate, a, payload, z};
use usctp_assoc::{
    CongestionControl, ConnectOptions, Event, LossDetection, Message, Options, RecoveryOptions,
};
use usctp_chunk::{Chunk, VerificationTag};

use crate::rfc::{
    FULL, PMDCS, acks, alone, chunks, grow, hears_numbers, send, single_with, t3_expiries, wait,
};
use crate::throughput::assert_kept;
use crate::world::{World, config, ms, ports, secs};

const RACK: RecoveryOptions = RecoveryOptions::new(LossDetection::Rack, CongestionControl::Rfc9260);
const CUBIC: RecoveryOptions =
    RecoveryOptions::new(LossDetection::Rack, CongestionControl::Cubic).paced();

pub(crate) fn rack(options: &mut Options) {
    options.recovery = RACK;
}

/// Acknowledges single chunks, each after 40 ms, until that is the smoothed round trip; how many.
pub(crate) fn settle(ladder: &mut Ladder) -> u32 {
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
pub(crate) fn hears_after(ladder: &mut Ladder, base: u32) -> Vec<u32> {
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
fn what_the_peer_takes_back_is_lost_after_a_round_trip_and_not_only_by_t3() {
    let name = "what_the_peer_takes_back_is_lost_after_a_round_trip_and_not_only_by_t3";
    let mut ladder = single_with(name, rack);
    let base = settle(&mut ladder);
    send(&mut ladder, 5, 800);
    wait(&mut ladder, ms(40));
    assert_eq!(hears_after(&mut ladder, base), [1, 2, 3, 4, 5]);
    acks(&mut ladder, base, &[(2, 4)]);
    assert_eq!(hears_after(&mut ladder, base), [1]);
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base + 2, &[(3, 3)]);
    wait(&mut ladder, ms(38));
    assert!(hears_numbers(&mut ladder).is_empty(), "an older SACK would say the same");
    wait(&mut ladder, ms(4));
    assert_eq!(hears_after(&mut ladder, base), [3, 4]);
    assert_eq!(t3_expiries(&ladder), 0);
}

#[test]
fn an_older_sack_that_was_overtaken_takes_nothing_back() {
    let mut ladder = single_with("an_older_sack_that_was_overtaken_takes_nothing_back", rack);
    let base = settle(&mut ladder);
    send(&mut ladder, 4, 800);
    wait(&mut ladder, ms(40));
    hears_numbers(&mut ladder);
    acks(&mut ladder, base, &[(2, 4)]);
    assert_eq!(hears_after(&mut ladder, base), [1]);
    acks(&mut ladder, base, &[(2, 3)]);
    wait(&mut ladder, ms(20));
    acks(&mut ladder, base, &[(2, 4)]);
    wait(&mut ladder, ms(20));
    acks(&mut ladder, base + 4, &[]);
    wait(&mut ladder, secs(2));
    assert!(hears_numbers(&mut ladder).is_empty());
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
fn a_retransmission_that_is_lost_as_well_cuts_the_window_once_more() {
    let name = "a_retransmission_that_is_lost_as_well_cuts_the_window_once_more";
    let mut ladder = single_with(name, |options| {
        rack(options);
        options.max_burst = 100;
    });
    let base = grow(&mut ladder, 32 * PMDCS, FULL);
    send(&mut ladder, 100, FULL);
    let out = hears_after(&mut ladder, base).len() as u16;
    let before = ladder.path(z(1));
    acks(&mut ladder, base, &[(2, 4)]);
    assert_eq!(hears_after(&mut ladder, base)[0], 1);
    let cut = ladder.path(z(1));
    assert_eq!((cut.cwnd, cut.counts.fast_retransmits), (cut.ssthresh, 1));
    assert!(cut.cwnd <= before.cwnd / 2 + PMDCS);
    // New chunks follow 1, and arrive before it. RFC 5681, 4.3: one more sign of congestion, in the same recovery.
    acks(&mut ladder, base, &[(2, out)]);
    assert!(hears_after(&mut ladder, base).contains(&(u32::from(out) + 1)));
    acks(&mut ladder, base, &[(2, out + 1)]);
    assert_eq!(hears_after(&mut ladder, base)[0], 1);
    let again = ladder.path(z(1));
    assert_eq!((again.cwnd, again.counts.fast_retransmits), (cut.cwnd / 2, 2));
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
    assert_eq!(at_once, 2, "the others wait");
    wait(&mut ladder, ms(80));
    assert_eq!(hears_numbers(&mut ladder).len(), 2, "they follow before the SACK");
}

/// What two transfers share: there and back, in bytes and bytes a second.
struct Bottleneck {
    rate: u64,
    queue: u64,
    round_trip: Duration,
    time: Duration,
}

/// Two transfers over one bottleneck, from hosts of their own; the messages that arrived of each in the time.
fn share(name: &str, recoveries: [RecoveryOptions; 2], bottleneck: &Bottleneck) -> [u64; 2] {
    let mut network = Network::new(name, 1);
    let count = bottleneck.rate * bottleneck.time.as_secs() / FULL as u64;
    let settings = |recovery| {
        config(|options: &mut Options| {
            options.recovery = recovery;
            options.limits.send_buffer = 2 * FULL * count as usize;
        })
    };
    let link = LinkSettings {
        rate: Some(Rate { bytes_per_second: bottleneck.rate, queue: bottleneck.queue }),
        ..LinkSettings::with_latency(bottleneck.round_trip / 2)
    };
    let ends = [(a(1), z(1)), (a(2), z(2))];
    let servers = [0, 1].map(|index| {
        let ((ours, theirs), recovery) = (ends[index], recoveries[index]);
        let client = network.add_endpoint("A", &[ours], PORT, settings(recovery));
        let server = network.add_endpoint("Z", &[theirs], PEER_PORT, settings(RACK));
        network.listen(server, true);
        network.link(ours, theirs, &link);
        let id = network.connectx(client, &ports(&[theirs]), ConnectOptions::default()).unwrap();
        let messages = (0..count).map(|number| Message::new(0, payload(number, FULL)));
        network.offer(client, id, messages);
        server
    });
    network.share((a(2), z(2)), (a(1), z(1)));
    network.run_for(bottleneck.time);
    servers.map(|host| {
        let id = network.newest(host).unwrap();
        network.endpoint(host).view(id).unwrap().statistics().messages_received
    })
}

#[test]
fn whoever_shares_a_bottleneck_with_an_rfc_9260_sender_leaves_it_a_fair_part() {
    let name = "whoever_shares_a_bottleneck_with_an_rfc_9260_sender_leaves_it_a_fair_part";
    let bottlenecks = [
        Bottleneck { rate: 2_500_000, queue: 100_000, round_trip: ms(40), time: secs(20) },
        // A long one, where an RFC 9260 sender takes minutes to fill what CUBIC fills in seconds.
        Bottleneck { rate: 3_750_000, queue: 200_000, round_trip: ms(100), time: secs(15) },
    ];
    let mut text = String::from(
        "# What an RFC 9260 sender gets of a bottleneck that it shares\n\n\
         Two transfers from hosts of their own, begun at once, virtual time, seed 1: the part of the RFC 9260 sender\n\
         beside one with the options of the row, and how much of the bottleneck both use.\n\
         `USCTP_WRITE=1 cargo test -p usctp-assoc fair_part` writes this file.\n\n\
         | beside | 20 Mbit/s, 40 ms, 100 kB queue, 20 s | used | 30 Mbit/s, 100 ms, 200 kB queue, 15 s | used |\n\
         |--------|---:|---:|---:|---:|\n",
    );
    let rfc = RecoveryOptions::default();
    let cubic = RecoveryOptions::new(LossDetection::Rfc9260, CongestionControl::Cubic);
    for (beside, other) in [
        ("RFC 9260", rfc),
        ("RACK", RACK),
        ("CUBIC", cubic),
        ("pacing", rfc.paced()),
        ("all", CUBIC),
    ] {
        let cells = bottlenecks.each_ref().map(|bottleneck| {
            let [mine, its] = share(name, [rfc, other], bottleneck);
            let part = mine as f64 / (mine + its) as f64;
            let most = bottleneck.rate * bottleneck.time.as_secs() / 1_500;
            let used = (mine + its) as f64 / most as f64;
            assert!(used > 0.75, "the link is used: {mine} and {its} of {most}");
            (part, used)
        });
        assert!((0.25..=0.75).contains(&cells[0].0), "{cells:?} beside {other:?}");
        let cells =
            cells.map(|(part, used)| format!("{:.0} % | {:.0} %", part * 100.0, used * 100.0));
        text += &format!("| {beside} | {} |\n", cells.join(" | "));
    }
    assert_kept("fairness.md", &text);
}

/// A sends with this from now on.
fn switch(ladder: &mut Ladder, recovery: RecoveryOptions) {
    let (ours, id) = (ladder.ours, ladder.id());
    ladder.network.with(ours, id, |association, now| association.set_recovery(now, recovery));
}

#[test]
fn what_connectx_is_told_counts_for_its_association_and_for_no_other() {
    let name = "what_connectx_is_told_counts_for_its_association_and_for_no_other";
    let mut network = Network::new(name, 1);
    let ends = [(a(1), z(1)), (a(2), z(2))];
    let client = network.add_endpoint("A", &ends.map(|(ours, _)| ours), PORT, config(rack));
    let link = LinkSettings::with_latency(ms(10));
    let ids = ends.map(|(ours, theirs)| {
        let server = network.add_endpoint("Z", &[theirs], PEER_PORT, config(|_| {}));
        network.listen(server, true);
        network.link(ours, theirs, &link);
        let recovery = (theirs == z(1)).then_some(CUBIC);
        let options = ConnectOptions::default().with(|options| options.recovery = recovery);
        (server, network.connectx(client, &ports(&[theirs]), options).unwrap())
    });
    network.run_for(secs(1));
    let recovery = |host, id| network.endpoint(host).view(id).unwrap().recovery();
    assert_eq!(ids.map(|(_, id)| recovery(client, id)), [CUBIC, RACK], "told, and by default");
    for (server, _) in ids {
        let theirs = network.newest(server).unwrap();
        assert_eq!(recovery(server, theirs), RecoveryOptions::default(), "the peer has its own");
    }
}

#[test]
fn an_association_told_at_connectx_loses_three_tenths_of_its_window() {
    let name = "an_association_told_at_connectx_loses_three_tenths_of_its_window";
    let reduced = |recovery: Option<RecoveryOptions>| {
        let mut ladder = alone(name, config(|options| options.max_burst = 100));
        let options = ConnectOptions::default().with(|options| options.recovery = recovery);
        ladder.connectx_with(&[z(1)], options);
        ladder.hears();
        let init_ack = ladder.init_ack(&[]);
        ladder.says(z(1), &[init_ack]);
        ladder.hears();
        ladder.says(z(1), &[Chunk::CookieAck]);
        let acked = grow(&mut ladder, 30 * PMDCS, FULL);
        let before = ladder.path(z(1)).cwnd;
        send(&mut ladder, 10, FULL);
        hears_numbers(&mut ladder);
        for last in 2..=4 {
            acks(&mut ladder, acked, &[(2, last)]);
        }
        ladder.path(z(1)).cwnd as f64 / before as f64
    };
    let cubic =
        RecoveryOptions::default().with(|options| options.control = CongestionControl::Cubic);
    assert!((reduced(Some(cubic)) - 0.7).abs() < 0.01);
    assert!((reduced(None) - 0.5).abs() < 0.01);
}

#[test]
fn rack_takes_over_what_is_in_flight_and_what_overtook_it() {
    let name = "rack_takes_over_what_is_in_flight_and_what_overtook_it";
    let mut ladder = single_with(name, |_| {});
    let base = settle(&mut ladder);
    send(&mut ladder, 3, FULL);
    assert_eq!(hears_after(&mut ladder, base), [1, 2, 3]);
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base, &[(2, 2)]);
    wait(&mut ladder, ms(20));
    assert!(hears_numbers(&mut ladder).is_empty(), "one report is no loss to RFC 9260");
    let before = ladder.path(z(1));
    switch(&mut ladder, RACK);
    let path = ladder.path(z(1));
    assert_eq!(
        hears_after(&mut ladder, base),
        [1],
        "2 came more than a quarter of a round trip ago"
    );
    assert_eq!(path.srtt, before.srtt);
    assert!(path.flight <= before.flight && path.ssthresh < before.ssthresh, "it is a loss");
    wait(&mut ladder, ms(40));
    acks(&mut ladder, base + 3, &[]);
    // And what is sent from now on is watched over, its end too.
    send(&mut ladder, 2, FULL);
    assert_eq!(hears_after(&mut ladder, base), [4, 5]);
    wait(&mut ladder, ms(200));
    assert_eq!(hears_after(&mut ladder, base), [5], "a probe");
    assert_eq!(t3_expiries(&ladder), 0);
}

#[test]
fn a_probe_asks_for_a_tail_that_was_in_flight_when_rack_began() {
    let name = "a_probe_asks_for_a_tail_that_was_in_flight_when_rack_began";
    let mut ladder = single_with(name, |_| {});
    let base = settle(&mut ladder);
    send(&mut ladder, 3, FULL);
    assert_eq!(hears_after(&mut ladder, base), [1, 2, 3]);
    switch(&mut ladder, RACK);
    wait(&mut ladder, ms(70));
    assert!(hears_numbers(&mut ladder).is_empty());
    wait(&mut ladder, ms(20));
    assert_eq!(hears_after(&mut ladder, base), [3]);
}

#[test]
fn reports_count_again_once_losses_are_no_more_found_by_time() {
    let name = "reports_count_again_once_losses_are_no_more_found_by_time";
    let mut ladder = single_with(name, rack);
    let base = settle(&mut ladder);
    send(&mut ladder, 4, 800);
    assert_eq!(hears_after(&mut ladder, base), [1, 2, 3, 4]);
    switch(&mut ladder, RecoveryOptions::default());
    wait(&mut ladder, ms(40));
    for last in 2..=3 {
        acks(&mut ladder, base, &[(2, last)]);
        wait(&mut ladder, ms(300));
        assert!(hears_numbers(&mut ladder).is_empty(), "neither time nor a probe finds a loss");
    }
    acks(&mut ladder, base, &[(2, 4)]);
    assert_eq!(hears_after(&mut ladder, base), [1], "the third report");
    assert_eq!(ladder.path(z(1)).counts.tail_loss_probes, 0);
}

#[test]
fn what_pacing_held_back_still_leaves_in_its_time_when_pacing_ends() {
    let name = "what_pacing_held_back_still_leaves_in_its_time_when_pacing_ends";
    let mut ladder = single_with(name, |options| options.recovery = CUBIC);
    send(&mut ladder, 1, FULL);
    wait(&mut ladder, ms(90));
    acks(&mut ladder, 1, &[]);
    hears_numbers(&mut ladder);
    send(&mut ladder, 20, FULL);
    assert_eq!(hears_numbers(&mut ladder).len(), 2);
    switch(&mut ladder, RACK);
    assert!(hears_numbers(&mut ladder).is_empty());
    wait(&mut ladder, ms(40));
    assert!(hears_numbers(&mut ladder).len() >= 2, "no SACK was needed");
}

#[test]
fn options_that_change_all_the_time_under_loss_lose_nothing() {
    let name = "options_that_change_all_the_time_under_loss_lose_nothing";
    let link = LinkSettings {
        loss: Loss::Uniform(0.03),
        reorder: 0.02,
        hold: ms(5),
        ..LinkSettings::with_latency(ms(10))
    };
    for seed in 1..=4 {
        let mut world = World::new(name, seed, 2, &config(|_| {}), &link);
        let (id, _) = world.establish();
        let a = world.a;
        let messages = (0..400).map(|number| Message::new(0, payload(number, 3000)));
        world.network.offer(a, id, messages);
        let choices = [RACK, CUBIC, RecoveryOptions::default(), RACK.paced()];
        for turn in 0..400 {
            let choice = choices[turn % choices.len()];
            world.network.with(a, id, |association, now| association.set_recovery(now, choice));
            world.network.run_for(ms(23));
        }
        world.network.close_when_sent(a, id);
        world.run_until_ended(id);
        world.assert_graceful(id);
    }
}

#[test]
fn a_peer_that_restarts_changes_nothing_of_what_was_chosen() {
    let name = "a_peer_that_restarts_changes_nothing_of_what_was_chosen";
    let mut ladder = single_with(name, |_| {});
    switch(&mut ladder, CUBIC);
    ladder.peer_tag = VerificationTag(0x0ace_0ace);
    ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[])]);
    let cookie = ladder.hears().cookie();
    ladder.says(z(1), &[Chunk::CookieEcho(cookie)]);
    let acked = ladder.hears_all();
    assert!(acked.iter().any(|heard| heard.chunks.contains(&Chunk::CookieAck)));
    let (ours, id) = (ladder.ours, ladder.id());
    assert!(ladder.events().contains(&Event::Restart));
    assert_eq!(ladder.network.endpoint(ours).view(id).unwrap().recovery(), CUBIC);
    // What it does now is what was chosen: a lost tail is asked for by a probe.
    ladder.hears_all();
    for count in 1..=2 {
        send(&mut ladder, 1, FULL);
        assert_eq!(hears_numbers(&mut ladder), [count]);
        wait(&mut ladder, ms(40));
        if count == 1 {
            acks(&mut ladder, 1, &[]);
        }
    }
    wait(&mut ladder, ms(300));
    assert_eq!(ladder.path(z(1)).counts.tail_loss_probes, 1);
}
