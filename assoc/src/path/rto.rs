//! The retransmission time-out of one path (RFC 9260, section 6.3.1).

use std::time::Duration;

use crate::config::RtoOptions;

/// SRTT, RTTVAR and the RTO that follows from them, with its back-off.
#[derive(Debug, Clone)]
pub(crate) struct Rto {
    bounds: RtoOptions,
    srtt: Option<Duration>,
    rttvar: Duration,
    rto: Duration,
}

impl Rto {
    /// RFC 9260, 6.3.1 (C1): RTO.Initial until a round trip was measured.
    pub(crate) fn new(bounds: &RtoOptions) -> Self {
        Self { bounds: *bounds, srtt: None, rttvar: Duration::ZERO, rto: bounds.initial }
    }

    /// Sets other bounds: the time-out in force moves between them, or to RTO.Initial if nothing was measured.
    pub(crate) fn set_bounds(&mut self, bounds: &RtoOptions) {
        if self.srtt.is_none() && self.bounds.initial != bounds.initial {
            self.rto = bounds.initial;
        }
        self.bounds = *bounds;
        self.rto = self.rto.clamp(bounds.min, bounds.max);
    }

    /// Sets the time-out to begin with, in the place of RTO.Initial.
    pub(crate) fn start_at(&mut self, rto: Duration) {
        self.rto = rto;
    }

    /// The time-out in force, back-off included.
    pub(crate) fn current(&self) -> Duration {
        self.rto
    }

    /// The time-out without its back-off: what the last measurement gave.
    pub(crate) fn without_back_off(&self) -> Duration {
        match self.srtt {
            Some(srtt) => (srtt + self.rttvar * 4).clamp(self.bounds.min, self.bounds.max),
            None => self.bounds.initial,
        }
    }

    /// The smoothed round-trip time, once one was measured.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.srtt
    }

    /// How much round trips vary; zero until one was measured.
    pub(crate) fn rttvar(&self) -> Duration {
        self.rttvar
    }

    /// Takes a measured round trip in.
    pub(crate) fn measure(&mut self, rtt: Duration) {
        let srtt = match self.srtt {
            None => {
                // RFC 9260, 6.3.1 (C2)
                self.rttvar = rtt / 2;
                rtt
            }
            Some(srtt) => {
                // RFC 9260, 6.3.1 (C3): RTO.Beta is 1/4, RTO.Alpha 1/8; the old SRTT serves for RTTVAR.
                self.rttvar = self.rttvar * 3 / 4 + srtt.abs_diff(rtt) / 4;
                srtt * 7 / 8 + rtt / 8
            }
        };
        // RFC 9260, 6.3.1 (G1)
        self.rttvar = self.rttvar.max(GRANULARITY);
        self.srtt = Some(srtt);
        // RFC 9260, 6.3.1 (C6, C7)
        self.rto = self.without_back_off();
    }

    /// RFC 9260, 6.3.3 (E2): doubles the time-out, up to RTO.Max.
    pub(crate) fn back_off(&mut self) {
        self.rto = self.rto.saturating_mul(2).min(self.bounds.max);
    }
}

const GRANULARITY: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    #[test]
    fn the_first_measurement_sets_srtt_and_half_of_it_as_variation() {
        let options = Options::default().rto;
        let mut rto = Rto::new(&options);
        assert_eq!(rto.current(), Duration::from_secs(1));
        rto.measure(Duration::from_millis(800));
        assert_eq!(rto.srtt(), Some(Duration::from_millis(800)));
        assert_eq!(rto.current(), Duration::from_millis(2400));
    }

    #[test]
    fn later_measurements_weigh_an_eighth_and_a_quarter() {
        let options = Options::default().rto;
        let mut rto = Rto::new(&options);
        rto.measure(Duration::from_millis(800));
        rto.measure(Duration::from_millis(1600));
        assert_eq!(rto.srtt(), Some(Duration::from_millis(900)));
        assert_eq!(rto.current(), Duration::from_millis(900 + 4 * 500));
    }

    #[test]
    fn other_bounds_count_at_once_and_another_start_only_before_the_first_measurement() {
        let second = Duration::from_secs(1);
        let bounds = Options::default().rto;
        let mut rto = Rto::new(&bounds);
        rto.set_bounds(&RtoOptions { initial: second * 3, ..bounds });
        assert_eq!(rto.current(), second * 3);
        rto.back_off();
        rto.set_bounds(&RtoOptions { initial: second * 3, max: second * 5, ..bounds });
        assert_eq!(rto.current(), second * 5, "the back-off lasts, within the bounds");
        rto.measure(Duration::from_millis(100));
        assert_eq!(rto.current(), second);
        rto.set_bounds(&RtoOptions { initial: second * 3, min: second * 2, max: second * 4 });
        assert_eq!(rto.current(), second * 2);
    }

    #[test]
    fn the_time_out_stays_between_rto_min_and_rto_max() {
        let options = Options::default().rto;
        let mut rto = Rto::new(&options);
        rto.measure(Duration::from_micros(100));
        assert_eq!(rto.current(), options.min);
        for _ in 0..80 {
            rto.back_off();
        }
        assert_eq!(rto.current(), options.max);
        rto.measure(Duration::from_micros(100));
        assert_eq!(rto.current(), options.min, "a new measurement ends the back-off");
    }
}
