//! Links that delay, lose, double, damage and reorder packets, each direction in its own way.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use usctp_assoc::sim::{LinkSettings, Loss, Rate};

use crate::load::Load;
use crate::ms;
use crate::run::Run;

impl Run {
    pub(crate) fn draw_weather(&mut self) {
        self.is_stormy = self.random.random_bool(self.faults.bad_links);
        self.has_bursts = self.random.random_bool(self.faults.bursts);
    }

    /// How one direction of a link is in this run.
    pub(crate) fn draw_link(&mut self) -> LinkSettings {
        match self.is_stormy {
            true => bad_link(&mut self.random, self.load, self.has_bursts),
            false => LinkSettings::with_latency(ms(self.random.random_range(0..50))),
        }
    }
}

fn bad_link(random: &mut StdRng, load: Load, bursts: bool) -> LinkSettings {
    let share = |random: &mut StdRng, most: f64| random.random_range(0.0..=most);
    if load == Load::Fast {
        // No loss by chance, which would keep the window small.
        return LinkSettings {
            latency: ms(random.random_range(1..20)),
            reorder: share(random, 0.02),
            hold: ms(random.random_range(0..1_000)),
            duplicate: share(random, 0.02),
            tells_too_big: true,
            ..LinkSettings::default()
        };
    }
    LinkSettings {
        latency: ms(random.random_range(0..100)),
        jitter: ms(random.random_range(0..30)),
        loss: match bursts {
            true => Loss::Burst { enter: share(random, 0.02), leave: 0.2, good: 0.005, bad: 0.8 },
            false => Loss::Uniform(share(random, 0.05)),
        },
        duplicate: share(random, 0.05),
        corrupt: share(random, 0.03),
        reorder: share(random, 0.1),
        hold: hold(random),
        rate: random.random_bool(0.5).then(|| Rate {
            bytes_per_second: random.random_range(100_000..5_000_000),
            queue: 60_000,
        }),
        tells_too_big: random.random_bool(0.5),
        ..LinkSettings::default()
    }
}

/// How long packets are held back at most: a moment is as frequent as long.
fn hold(random: &mut StdRng) -> Duration {
    Duration::from_secs_f64(10_f64.powf(random.random_range(-4.0..0.0)))
}
