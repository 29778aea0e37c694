use rand::SeedableRng;

use super::*;
use crate::config::{Options, PmtudMode};

const RTT: Duration = Duration::from_millis(50);

/// A path of which one can ask everything, and what passes it.
struct Bench {
    pmtud: Plpmtud,
    now: Instant,
    rng: StdRng,
    /// The greatest packet that passes; 0 for a dead path.
    passes: usize,
    /// Routers and the local system say what fits.
    tells: bool,
    sent: Vec<usize>,
}

impl Bench {
    fn new(passes: usize, change: impl FnOnce(&mut Options)) -> Self {
        Self::with_headers(passes, true, 20, change)
    }

    fn with_headers(
        passes: usize,
        v4: bool,
        overhead: usize,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let config = Config::new(options).unwrap();
        let mut bench = Self {
            pmtud: Plpmtud::new(&config, v4, overhead),
            now: base(),
            rng: StdRng::seed_from_u64(1),
            passes,
            tells: false,
            sent: Vec::new(),
        };
        bench.pmtud.start(bench.now, RTT);
        bench
    }

    /// Sends the probe that is due, and takes its answer in, if there is one.
    fn step(&mut self) -> Option<usize> {
        let size = self.pmtud.due()?;
        let info = self.pmtud.make(self.now, PathId(0), &mut self.rng);
        self.sent.push(size);
        if size <= self.passes {
            self.now += RTT;
            assert_eq!(self.pmtud.take_answer(self.now, &info), Some(RTT));
            assert_eq!(self.pmtud.take_answer(self.now, &info), None, "an answer counts once");
        } else if self.tells {
            self.pmtud.on_packet_too_big(self.now, self.passes, RTT);
        }
        Some(size)
    }

    fn expire(&mut self) {
        self.now = self.pmtud.next_timeout().unwrap_or(self.now);
        self.pmtud.on_timeout(self.now, RTT);
    }

    /// Everything that happens within `time`.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.step().is_some() {}
            if self.pmtud.next_timeout().is_none_or(|at| at > end) {
                self.now = end;
                return;
            }
            self.expire();
        }
    }

    /// A T3-rtx expiry of packets of the MTU and, before the next one, what the probe it leads to finds out.
    fn t3(&mut self) {
        let size = self.pmtud.mtu();
        self.pmtud.on_t3(self.now, size, RTT);
        self.run(Duration::from_secs(1));
    }

    fn seen(&self) -> (usize, PmtudState) {
        (self.pmtud.mtu(), self.pmtud.state())
    }
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary starting point; nothing waits for it")]
fn base() -> Instant {
    Instant::now()
}

const MINUTES: Duration = Duration::from_secs(300);

#[test]
fn a_start_that_passes_and_cannot_be_raised_costs_one_probe() {
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1500, PmtudState::SearchComplete));
    assert_eq!(bench.sent, [1500]);
    assert_eq!(bench.pmtud.next_timeout(), None, "there is nothing to raise");
}

#[test]
fn the_greatest_size_is_found_with_few_probes() {
    // What passes, where the search starts and may end, what it finds, and after how many probes at most.
    let table: [(usize, u16, u16, usize, usize); 14] = [
        (1500, 1500, 1500, 1500, 1),
        (1500, 1220, 1500, 1500, 10),
        (1400, 1220, 1500, 1400, 8),
        (1396, 1220, 1500, 1396, 11),
        (1388, 1220, 1500, 1388, 11),
        (1360, 1220, 1500, 1360, 11),
        (1492, 1220, 1500, 1492, 12),
        (9000, 1500, 65_535, 9000, 10),
        (8500, 1500, 65_535, 8500, 22),
        (16_384, 1500, 65_535, 16_384, 14),
        (65_535, 1500, 65_535, 65_532, 12),
        (1500, 1500, 65_535, 1500, 4),
        (1000, 900, 1500, 1000, 10),
        (576, 512, 512, 512, 1),
    ];
    for (passes, start, max, found, most) in table {
        let mut bench = Bench::new(passes, |options| {
            options.path_mtu = start;
            options.pmtud.max = Some(max);
        });
        bench.run(MINUTES);
        let sent = bench.sent.len();
        assert_eq!(bench.pmtud.mtu(), found, "{passes} from {start}: {:?}", bench.sent);
        assert!(sent <= most, "{passes} from {start}: {sent} probes, {:?}", bench.sent);
        let too_large = bench.sent.windows(4).any(|w| w.iter().all(|size| *size > passes));
        assert!(!too_large, "MAX_PROBES in a row at most: {:?}", bench.sent);
    }
}

#[test]
fn routers_and_the_local_system_shorten_the_search() {
    for (passes, start, found, most) in
        [(1500, 1500, 1500, 2), (9000, 1500, 9000, 8), (1396, 1500, 1396, 3), (600, 1500, 600, 2)]
    {
        let mut bench = Bench::new(passes, |options| {
            options.path_mtu = start;
            options.pmtud.max = Some(65_535);
        });
        bench.tells = true;
        bench.run(Duration::from_secs(1));
        assert_eq!(bench.pmtud.mtu(), found);
        assert!(bench.sent.len() <= most, "{passes}: {:?}", bench.sent);
        let ends = [PmtudState::SearchComplete, PmtudState::Error];
        assert!(ends.contains(&bench.pmtud.state()));
    }
}

#[test]
fn an_unconfirmed_start_falls_when_base_passes_and_it_does_not() {
    let mut bench = Bench::new(1400, |_| {});
    bench.step();
    assert_eq!(bench.seen(), (1500, PmtudState::Base));
    for _ in 0..2 {
        bench.expire();
        assert_eq!(bench.step(), Some(1500), "MAX_PROBES tries");
    }
    bench.expire();
    assert_eq!(bench.pmtud.mtu(), 1500, "loss alone changes nothing");
    assert_eq!(bench.step(), Some(1220), "BASE_PLPMTU and the header of IPv4");
    assert_eq!(bench.seen(), (1220, PmtudState::Searching));
    assert_eq!(bench.pmtud.take_change(), Some(MtuReason::BlackHole));
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1400, PmtudState::SearchComplete));
}

#[test]
fn a_dead_path_keeps_its_mtu() {
    let mut bench = Bench::new(0, |_| {});
    bench.run(MINUTES * 10);
    assert_eq!(bench.seen(), (1500, PmtudState::Base));
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    bench.passes = 0;
    for _ in 0..6 {
        bench.t3();
    }
    assert_eq!(bench.seen(), (1500, PmtudState::SearchComplete));
    assert_eq!(bench.pmtud.take_change(), None);
}

#[test]
fn two_expiries_for_large_packets_show_a_black_hole_if_smaller_ones_pass() {
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    bench.passes = 1300;
    bench.t3();
    assert_eq!(bench.pmtud.mtu(), 1500, "one expiry is an ordinary loss");
    bench.t3();
    assert_eq!(bench.pmtud.take_change(), Some(MtuReason::Probed), "and the search goes up again");
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1300, PmtudState::SearchComplete));
    // 1,500 is known to fail until PMTU_RAISE_TIMER expires.
    assert_eq!(bench.sent.iter().filter(|size| **size == 1500).count(), 1, "{:?}", bench.sent);
}

#[test]
fn a_size_that_passed_and_then_times_out_itself_is_not_fallen_back_to() {
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    bench.passes = 1400;
    bench.pmtud.on_t3(bench.now, 1500, RTT);
    let passed = bench.step().expect("a smaller one is tried");
    bench.pmtud.on_t3(bench.now, passed, RTT);
    assert_eq!(bench.pmtud.mtu(), 1500);
    assert!(bench.pmtud.due().is_some_and(|next| next < passed));
}

#[test]
fn a_router_that_finds_the_least_size_too_big_changes_nothing() {
    let mut bench = Bench::with_headers(1280, false, 40, |_| {});
    bench.run(MINUTES);
    let before = bench.seen();
    assert_eq!(before.0, 1280);
    bench.pmtud.on_packet_too_big(bench.now, 0, RTT);
    assert_eq!(bench.seen(), before);
}

#[test]
fn a_start_that_nothing_confirmed_falls_after_one_expiry() {
    let mut bench = Bench::new(1300, |_| {});
    bench.step();
    bench.now += Duration::from_secs(1);
    bench.pmtud.on_t3(bench.now, 1500, RTT);
    assert_eq!(bench.step(), Some(1220));
    assert_eq!(bench.pmtud.mtu(), 1220);
}

#[test]
fn a_black_hole_below_base_ends_in_error_with_what_passes() {
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    bench.passes = 1000;
    for _ in 0..3 {
        bench.t3();
    }
    assert_eq!(bench.pmtud.state(), PmtudState::Error);
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1000, PmtudState::Error));
    bench.passes = 1500;
    bench.pmtud.on_sent();
    bench.run(MINUTES * 3);
    assert_eq!(bench.seen(), (1500, PmtudState::SearchComplete));
}

#[test]
fn a_black_hole_for_packets_smaller_than_base_is_found_though_none_is_larger() {
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    bench.passes = 1100;
    for _ in 0..2 {
        assert_eq!(bench.pmtud.mtu(), 1500);
        bench.pmtud.on_t3(bench.now, 1216, RTT);
        bench.run(Duration::from_secs(1));
    }
    assert_eq!(bench.pmtud.state(), PmtudState::Error);
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1100, PmtudState::Error));
}

#[test]
fn small_packets_that_time_out_and_large_ones_that_arrive_show_nothing() {
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    bench.pmtud.on_t3(bench.now, 512, RTT);
    bench.run(RTT);
    assert_eq!(bench.sent, [1500]);
    for _ in 0..5 {
        bench.t3();
        bench.pmtud.on_data_passed(bench.now, 1500, RTT);
    }
    assert_eq!(bench.seen(), (1500, PmtudState::SearchComplete));
    bench.t3();
    bench.pmtud.on_data_passed(bench.now, 1300, RTT);
    bench.t3();
    assert_eq!(bench.pmtud.take_change(), Some(MtuReason::Probed), "1,300 says nothing of 1,500");
}

#[test]
fn a_black_hole_for_the_smallest_packets_is_found_down_to_68_bytes() {
    for passes in [68, 128, 296, 400, 508] {
        let mut bench = Bench::new(1500, |_| {});
        bench.run(MINUTES);
        bench.passes = passes;
        for _ in 0..3 {
            bench.t3();
        }
        assert_eq!(bench.pmtud.state(), PmtudState::Error, "{passes}");
        assert!((68..=passes).contains(&bench.pmtud.mtu()), "{passes}");
        bench.run(MINUTES);
        assert_eq!(bench.seen(), (passes, PmtudState::Error));
    }
}

#[test]
fn small_packets_lost_for_another_reason_cost_a_few_round_trips_and_no_more() {
    for size in [200, COMMON] {
        let mut bench = Bench::new(1500, |_| {});
        bench.run(MINUTES);
        for expiry in 1..=4 {
            assert_eq!(bench.pmtud.mtu(), 1500, "{expiry}");
            bench.pmtud.on_t3(bench.now, size, RTT);
            let fell = bench.pmtud.mtu() < size;
            assert_eq!(fell, expiry == 4, "the fourth in a row counts: {expiry}");
            bench.run(RTT * 2);
        }
        bench.run(RTT * 30);
        assert_eq!(bench.pmtud.mtu(), 1500, "{size}");
    }
}

#[test]
fn a_local_link_that_takes_less_and_does_not_say_how_much_is_met_step_by_step() {
    let mut bench = Bench::new(300, |_| {});
    let mut sizes = Vec::new();
    for _ in 0..4 {
        // What was on its way is told of as well, and says nothing new.
        for _ in 0..3 {
            bench.pmtud.on_packet_too_big(bench.now, 0, RTT);
        }
        sizes.push(bench.pmtud.mtu());
        bench.now += RTT * 2;
    }
    assert_eq!(sizes, [1220, 512, 68, 68]);
}

#[test]
fn data_of_the_size_that_a_router_named_confirms_that() {
    let mut bench = Bench::new(1500, |_| {});
    bench.run(MINUTES);
    bench.pmtud.on_packet_too_big(bench.now, 1400, RTT);
    assert_eq!(bench.seen(), (1220, PmtudState::Base));
    bench.pmtud.on_data_passed(bench.now, 1216, RTT);
    assert_eq!(bench.pmtud.state(), PmtudState::Base);
    bench.pmtud.on_data_passed(bench.now, 1220, RTT);
    assert_eq!(bench.pmtud.state(), PmtudState::Searching);
}

#[test]
fn data_of_the_full_size_confirms_the_start() {
    let mut bench = Bench::new(1500, |_| {});
    bench.pmtud.make(bench.now, PathId(0), &mut StdRng::seed_from_u64(2));
    bench.pmtud.on_data_passed(bench.now, 1496, RTT);
    assert_eq!(bench.pmtud.state(), PmtudState::Base);
    bench.pmtud.on_data_passed(bench.now, 1500, RTT);
    assert_eq!(bench.seen(), (1500, PmtudState::SearchComplete));
}

#[test]
fn larger_packets_are_tried_again_after_ten_minutes_if_there_is_data() {
    let mut bench = Bench::new(1400, |_| {});
    bench.tells = true;
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1400, PmtudState::SearchComplete));
    let before = bench.sent.len();
    bench.passes = 1500;
    bench.run(MINUTES * 4);
    assert_eq!(bench.sent.len(), before, "nobody sends anything");
    bench.pmtud.on_sent();
    bench.run(MINUTES * 2);
    assert_eq!(bench.seen(), (1500, PmtudState::SearchComplete));
}

#[test]
fn a_reported_size_is_judged_by_what_is_known() {
    use MtuReason::PacketTooBig;
    use PmtudState::{Base, Error, SearchComplete};
    // RFC 8899, 4.6.2: what is reported, what the MTU becomes at once and why, and the state.
    let table = [
        (67, 1500, None, SearchComplete),
        (68, 68, Some(PacketTooBig), Error),
        (296, 296, Some(PacketTooBig), Error),
        (1000, 1000, Some(PacketTooBig), Error),
        (1216, 1216, Some(PacketTooBig), Error),
        (1220, 1220, Some(PacketTooBig), Base),
        (1499, 1220, Some(PacketTooBig), Base),
        (1500, 1500, None, SearchComplete),
        (9000, 1500, None, SearchComplete),
        (usize::MAX, 1500, None, SearchComplete),
        (0, 1220, Some(PacketTooBig), Base),
    ];
    for (reported, mtu, reason, state) in table {
        let mut bench = Bench::new(1500, |_| {});
        bench.run(MINUTES);
        bench.pmtud.on_packet_too_big(bench.now, reported, RTT);
        let change = bench.pmtud.take_change();
        assert_eq!((bench.seen(), change), ((mtu, state), reason), "{reported}");
        bench.run(MINUTES);
        assert!(bench.pmtud.mtu() <= reported.max(1500) && bench.pmtud.mtu() >= mtu);
    }
}

#[test]
fn ipv6_goes_no_lower_than_1280_bytes() {
    let mut bench = Bench::with_headers(1280, false, 40, |_| {});
    bench.pmtud.on_packet_too_big(bench.now, 1276, RTT);
    assert_eq!(bench.pmtud.mtu(), 1500);
    bench.pmtud.on_packet_too_big(bench.now, 1280, RTT);
    assert_eq!(bench.seen(), (1280, PmtudState::Base));
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1280, PmtudState::SearchComplete));
}

#[test]
fn probes_are_a_round_trip_apart() {
    let mut bench = Bench::new(2000, |options| options.pmtud.max = Some(9000));
    bench.step();
    assert_eq!(bench.step(), Some(2000));
    assert_eq!(bench.step(), Some(2304));
    bench.pmtud.on_packet_too_big(bench.now, 2100, RTT);
    assert_eq!(bench.pmtud.due(), None);
    assert_eq!(bench.pmtud.next_timeout(), Some(bench.now + RTT));
    bench.passes = 2100;
    bench.expire();
    assert_eq!(bench.step(), Some(2100));
    assert_eq!(bench.seen(), (2100, PmtudState::SearchComplete));
}

#[test]
fn a_fixed_mtu_stays_whatever_happens() {
    let mut bench = Bench::new(1500, |_| {});
    bench.pmtud.set(Some(1300));
    assert_eq!(bench.pmtud.take_change(), Some(MtuReason::Set));
    bench.pmtud.start(bench.now, RTT);
    bench.pmtud.on_packet_too_big(bench.now, 1280, RTT);
    bench.t3();
    bench.t3();
    assert_eq!(bench.seen(), (1300, PmtudState::Disabled));
    assert_eq!(bench.sent, [0; 0]);
    bench.pmtud.set(None);
    bench.pmtud.start(bench.now, RTT);
    bench.run(MINUTES);
    assert_eq!(bench.seen(), (1500, PmtudState::SearchComplete));
}

#[test]
fn a_path_starts_with_what_the_link_takes_and_confirms_that() {
    let mut bench = Bench::new(9000, |_| {});
    bench.pmtud.learn_link(9000);
    bench.pmtud.start(bench.now, RTT);
    assert_eq!(bench.pmtud.mtu(), 9000);
    bench.run(Duration::from_secs(1));
    assert_eq!((bench.pmtud.mtu(), &bench.sent[..]), (9000, &[9000][..]));
}

#[test]
fn a_router_behind_the_link_that_takes_less_is_found() {
    let mut bench = Bench::new(1500, |_| {});
    bench.pmtud.learn_link(9000);
    bench.pmtud.start(bench.now, RTT);
    bench.run(Duration::from_secs(600));
    assert_eq!(bench.pmtud.mtu(), 1500);
}

#[test]
fn what_the_link_takes_does_not_exceed_what_was_asked_for() {
    let mut bench = Bench::new(9000, |options| options.pmtud.max = Some(1500));
    bench.pmtud.learn_link(9000);
    assert_eq!(bench.pmtud.mtu(), 1500);
    let mut bench = Bench::new(9000, |options| options.pmtud.mode = PmtudMode::Off);
    bench.pmtud.learn_link(9000);
    assert_eq!(bench.pmtud.mtu(), 1500);
}

#[test]
fn by_icmp_alone_no_probe_is_sent_and_what_a_router_named_holds_for_ten_minutes() {
    let mut bench = Bench::new(1500, |options| options.pmtud.mode = PmtudMode::Icmp);
    bench.run(MINUTES);
    for (reported, mtu) in [(1400, 1400), (1450, 1400), (1300, 1300), (296, 296), (67, 296)] {
        bench.pmtud.on_packet_too_big(bench.now, reported, RTT);
        assert_eq!(bench.pmtud.mtu(), mtu, "{reported}");
    }
    // Losses show nothing.
    for _ in 0..5 {
        bench.t3();
    }
    assert_eq!(bench.pmtud.mtu(), 296);
    assert_eq!((bench.pmtud.take_change(), bench.sent.len()), (Some(MtuReason::PacketTooBig), 0));
    bench.run(MINUTES * 3);
    assert_eq!(bench.pmtud.take_change(), Some(MtuReason::Expired));
    assert_eq!((bench.seen(), bench.sent.len()), ((1500, PmtudState::Disabled), 0));
}
