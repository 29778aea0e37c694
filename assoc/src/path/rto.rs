//! The retransmission time-out of one path (RFC 9260, section 6.3.1).

use std::time::Duration;

use crate::config::RtoOptions;

/// SRTT, RTTVAR and the RTO that follows from them, with its back-off.
#[derive(Debug, Clone)]
pub(crate) struct Rto {
    srtt: Option<Duration>,
    rttvar: Duration,
    rto: Duration,
}

impl Rto {
    /// RFC 9260, 6.3.1 (C1): RTO.Initial until a round trip was measured.
    pub(crate) fn new(options: &RtoOptions) -> Self {
        Self { srtt: None, rttvar: Duration::ZERO, rto: options.initial }
    }

    /// Sets the time-out to begin with, in the place of RTO.Initial.
    pub(crate) fn start_at(&mut self, rto: Duration) {
        self.rto = rto;
    }

    /// The time-out in force, back-off included.
    pub(crate) fn current(&self) -> Duration {
        self.rto
    }

    /// The smoothed round-trip time, once one was measured.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.srtt
    }

    /// Takes a measured round trip in.
    pub(crate) fn measure(&mut self, rtt: Duration, options: &RtoOptions) {
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
        self.rto = (srtt + self.rttvar * 4).clamp(options.min, options.max);
    }

    /// RFC 9260, 6.3.3 (E2): doubles the time-out, up to RTO.Max.
    pub(crate) fn back_off(&mut self, options: &RtoOptions) {
        self.rto = self.rto.saturating_mul(2).min(options.max);
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
        rto.measure(Duration::from_millis(800), &options);
        assert_eq!(rto.srtt(), Some(Duration::from_millis(800)));
        assert_eq!(rto.current(), Duration::from_millis(2400));
    }

    #[test]
    fn later_measurements_weigh_an_eighth_and_a_quarter() {
        let options = Options::default().rto;
        let mut rto = Rto::new(&options);
        rto.measure(Duration::from_millis(800), &options);
        rto.measure(Duration::from_millis(1600), &options);
        assert_eq!(rto.srtt(), Some(Duration::from_millis(900)));
        assert_eq!(rto.current(), Duration::from_millis(900 + 4 * 500));
    }

    #[test]
    fn the_time_out_stays_between_rto_min_and_rto_max() {
        let options = Options::default().rto;
        let mut rto = Rto::new(&options);
        rto.measure(Duration::from_micros(100), &options);
        assert_eq!(rto.current(), options.min);
        for _ in 0..80 {
            rto.back_off(&options);
        }
        assert_eq!(rto.current(), options.max);
        rto.measure(Duration::from_micros(100), &options);
        assert_eq!(rto.current(), options.min, "a new measurement ends the back-off");
    }
}
