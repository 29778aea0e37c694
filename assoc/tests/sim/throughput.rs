//! Goodput of transfers for each loss, delay, window and option of the sender, kept as a table that a change must explain.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use usctp_assoc::sim::{LinkSettings, Loss, Rate, payload};
use usctp_assoc::{CongestionControl, LossDetection, Message, RecoveryOptions};

use crate::world::{HOUR, World, config, ms};

const BYTES: usize = 8 << 20;
const MESSAGE: usize = 8 << 10;
const SEED: u64 = 1;
const LOSSES: [f64; 4] = [0.0, 0.001, 0.01, 0.03];
const DELAYS: [u64; 3] = [1, 20, 100];
const WINDOWS: [usize; 2] = [64 << 10, 1 << 20];
/// A row about options is of so many transfers with seeds of their own: a single one is a matter of luck.
const TRANSFERS: u64 = 3;
/// Where packets are lost: which share of them, and the delay in ms.
const LOSSY: [(f64, u64); 6] =
    [(0.001, 20), (0.001, 100), (0.01, 1), (0.01, 20), (0.01, 100), (0.03, 20)];

/// One transfer, or several one after the other.
#[derive(Debug, Clone)]
struct Transfer {
    bytes: usize,
    window: usize,
    link: LinkSettings,
    /// What befalls packets once the association is there, so that no row is about the set-up.
    loss: f64,
    reorder: f64,
}

impl Transfer {
    /// Over 100 Mbit/s with a queue of 256 KiB and this delay in each direction.
    fn new(bytes: usize, window: usize, delay: u64) -> Self {
        let rate = Rate { bytes_per_second: 12_500_000, queue: 256 << 10 };
        let link = LinkSettings { rate: Some(rate), ..LinkSettings::with_latency(ms(delay)) };
        Self { bytes, window, link, loss: 0.0, reorder: 0.0 }
    }

    fn world(&self, seed: u64, recovery: RecoveryOptions) -> World {
        let config = config(|options| {
            options.recovery = recovery;
            options.limits.receive_buffer = self.window;
            options.limits.send_buffer = 2 * self.bytes;
        });
        World::new("the_throughput_is_as_in_the_table", seed, 1, &config, &self.link)
    }

    /// The virtual time from the first message's sending to the last one's arrival.
    fn run(&self, seed: u64, recovery: RecoveryOptions) -> Duration {
        let times = self.exchanges(seed, recovery, 1, self.bytes / MESSAGE, MESSAGE);
        times.first().copied().unwrap_or_default()
    }

    /// In kbit/s, of transfers with several seeds together.
    fn goodput(&self, seeds: std::ops::RangeInclusive<u64>, recovery: RecoveryOptions) -> u128 {
        let count = seeds.clone().count() as u128;
        let took: Duration = seeds.map(|seed| self.run(seed, recovery)).sum();
        count * self.bytes as u128 * 8 * 1_000 / took.as_micros()
    }

    /// So many times, with a pause after each, a number of messages is sent: how long each time took.
    fn exchanges(
        &self,
        seed: u64,
        recovery: RecoveryOptions,
        times: usize,
        count: usize,
        len: usize,
    ) -> Vec<Duration> {
        let mut world = self.world(seed, recovery);
        let (id, theirs) = world.establish();
        world.network.alter_both(world.ours[0], world.theirs[0], |link| {
            (link.loss, link.reorder) = (Loss::Uniform(self.loss), self.reorder);
        });
        let (a, z) = (world.a, world.z);
        let mut took = Vec::new();
        for time in 1..=times {
            let begin = world.network.elapsed();
            let messages = (0..count).map(|number| Message::new(0, payload(number as u64, len)));
            world.network.offer(a, id, messages);
            let all = (time * count) as u64;
            let arrived = world.network.run_until(HOUR, |network| {
                network
                    .endpoint(z)
                    .view(theirs)
                    .is_some_and(|association| association.statistics().messages_received == all)
            });
            assert!(arrived, "everything arrives within an hour");
            took.push(world.network.elapsed() - begin);
            if time < times {
                world.network.run_for(PAUSE);
            }
        }
        took
    }
}

/// Long enough for every acknowledgement to come.
const PAUSE: Duration = Duration::from_millis(500);

/// Each option of the sender on its own, and all of them.
fn recoveries() -> [RecoveryOptions; 5] {
    let rfc = RecoveryOptions::default();
    let rack = rfc.with(|options| options.detection = LossDetection::Rack);
    let cubic = rfc.with(|options| options.control = CongestionControl::Cubic);
    let paced = rfc.paced();
    let all = rack.with(|options| {
        options.control = CongestionControl::Cubic;
        options.pacing = true;
    });
    [rfc, rack, cubic, paced, all]
}

/// What the options are for: a name, and a transfer.
fn situations() -> [(&'static str, Transfer); 5] {
    const MIB: usize = 1 << 20;
    let over = |rate: u64, queue: u64, transfer: Transfer| {
        let rate = Some(Rate { bytes_per_second: rate, queue });
        Transfer { link: LinkSettings { rate, ..transfer.link }, ..transfer }
    };
    let held = |hold| {
        let transfer = Transfer { reorder: 0.01, ..Transfer::new(4 * MIB, MIB, 20) };
        Transfer { link: LinkSettings { hold: ms(hold), ..transfer.link }, ..transfer }
    };
    let long = |delay| Transfer::new(16 * MIB, 4 * MIB, delay);
    [
        ("long: 50 ms, window 4 MiB", long(50)),
        (
            "fast: 400 Mbit/s, queue of 1 MiB, 25 ms, window 4 MiB",
            over(50_000_000, 1 << 20, long(25)),
        ),
        ("small queue of 16 KiB", over(12_500_000, 16 << 10, Transfer::new(8 * MIB, MIB, 20))),
        ("1 % of packets held back by up to 5 ms", held(5)),
        ("1 % of packets held back by up to 20 ms", held(20)),
    ]
}

fn table() -> String {
    let mut text = format!(
        "# Goodput by loss, delay and receive window\n\n\
         {} KiB in messages of {} KiB on one stream, one path of 100 Mbit/s with a queue of 256 KiB, RFC 9260's\n\
         parameters, virtual time, seed {SEED}. Loss is each packet's in either direction, delay is one way; goodput is\n\
         in kbit/s. `USCTP_WRITE=1 cargo test -p usctp-assoc throughput` writes this file.\n\n\
         | loss % | delay ms | window 64 KiB | window 1 MiB |\n\
         |-------:|---------:|--------------:|-------------:|\n",
        BYTES >> 10,
        MESSAGE >> 10,
    );
    for loss in LOSSES {
        for delay in DELAYS {
            let [small, large] = WINDOWS.map(|window| {
                Transfer { loss, ..Transfer::new(BYTES, window, delay) }
                    .goodput(SEED..=SEED, RecoveryOptions::default())
            });
            let loss = loss * 100.0;
            writeln!(text, "| {loss:>6.1} | {delay:>8} | {small:>13} | {large:>12} |").unwrap();
        }
    }
    add_losses(&mut text);
    add_situations(&mut text);
    add_exchanges(&mut text);
    text
}

fn add_losses(text: &mut String) {
    write!(
        text,
        "\n## What the options of the sender bring\n\n\
         The same with a window of 1 MiB, where packets are lost: {TRANSFERS} transfers with seeds of their own together; each\n\
         option alone, and all of them.\n\n\
         | loss % | delay ms | RFC 9260 | RACK, tail probes |  CUBIC | pacing |    all |\n\
         |-------:|---------:|---------:|------------------:|-------:|-------:|-------:|\n",
    )
    .unwrap();
    for (loss, delay) in LOSSY {
        let transfer = Transfer { loss, ..Transfer::new(BYTES, WINDOWS[1], delay) };
        let [rfc, rack, cubic, paced, all] =
            recoveries().map(|recovery| transfer.goodput(1..=TRANSFERS, recovery));
        let loss = loss * 100.0;
        writeln!(
            text,
            "| {loss:>6.1} | {delay:>8} | {rfc:>8} | {rack:>17} | {cubic:>6} | {paced:>6} | {all:>6} |"
        )
        .unwrap();
    }
}

fn add_situations(text: &mut String) {
    text.push_str(
        "\n## What each of them is for\n\n\
         Goodput in kbit/s where nothing is lost but what finds a queue full: 100 Mbit/s, a queue of 256 KiB, 20 ms, window\n\
         1 MiB, unless the row says otherwise.\n\n\
         | path | RFC 9260 | RACK | CUBIC | pacing | all |\n\
         |------|---------:|-----:|------:|-------:|----:|\n",
    );
    for (name, transfer) in situations() {
        let [rfc, rack, cubic, paced, all] =
            recoveries().map(|recovery| transfer.goodput(SEED..=SEED, recovery));
        writeln!(text, "| {name} | {rfc} | {rack} | {cubic} | {paced} | {all} |").unwrap();
    }
}

/// How long little takes where some of it is lost.
fn add_exchanges(text: &mut String) {
    const TIMES: usize = 500;
    write!(
        text,
        "\n## Short transfers\n\n\
         {TIMES} times so many messages of 1,400 bytes, half a second apart, 20 ms of delay: how long it takes until all of\n\
         them are there, mean / 99th percentile in ms.\n\n\
         | messages | loss % | RFC 9260 | RACK | CUBIC | pacing | all |\n\
         |---------:|-------:|---------:|-----:|------:|-------:|----:|\n",
    )
    .unwrap();
    for (count, loss) in [(1, 0.03), (10, 0.01), (10, 0.03)] {
        let transfer = Transfer { loss, ..Transfer::new(1 << 20, WINDOWS[1], 20) };
        let cells = recoveries().map(|recovery| {
            let mut took = transfer.exchanges(SEED, recovery, TIMES, count, 1400);
            took.sort_unstable();
            let mean = took.iter().sum::<Duration>() / TIMES as u32;
            let high = took[TIMES * 99 / 100];
            format!("{} / {}", mean.as_millis(), high.as_millis())
        });
        let loss = loss * 100.0;
        writeln!(text, "| {count} | {loss:.1} | {} |", cells.join(" | ")).unwrap();
    }
}

#[test]
fn the_throughput_is_as_in_the_table() {
    assert_kept("throughput.md", &table());
}

/// Compares a text with the kept one of that name, or writes that.
pub(crate) fn assert_kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("USCTP_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{} is out of date; if the change is meant, write it with USCTP_WRITE=1. Now:\n{text}",
        path.display()
    );
}
