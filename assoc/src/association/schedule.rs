//! When INITs go to which of the listed addresses, and when the attempt is given up (RFC 9260, sections 5.1 and 5.1.6).

use std::time::Duration;

use crate::config::{Compat, RtoOptions};

/// The INITs of a [`connectx`](crate::Endpoint::connectx) that nobody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitSchedule {
    /// When each INIT leaves, from the first one, and the index of the address it goes to.
    pub attempts: Vec<(Duration, usize)>,
    /// When the attempt fails.
    pub fails_at: Duration,
}

/// The INITs that go out when none of `addresses` listed addresses (at least one) answers.
///
/// `init_max` is Max.Init.Retransmits. Addresses are tried in the caller's order, cyclic; the time-out
/// of an address doubles each time it expires, up to RTO.Max.
pub fn init_schedule(
    compat: Compat,
    rto: &RtoOptions,
    addresses: usize,
    init_max: u16,
) -> InitSchedule {
    let addresses = addresses.max(1);
    let mut at = Duration::ZERO;
    let mut attempts = Vec::new();
    for attempt in 0..init_budget(compat, addresses, init_max) {
        let attempt = attempt as usize;
        attempts.push((at, attempt % addresses));
        let rounds = u32::try_from(attempt / addresses).unwrap_or(u32::MAX);
        let doubled = 2u32.checked_pow(rounds).unwrap_or(u32::MAX);
        at += first_time_out(compat, rto).saturating_mul(doubled).min(rto.max);
    }
    InitSchedule { attempts, fails_at: at }
}

/// How many INITs are sent in all.
///
/// RFC 9260, 5.1.4 counts Max.Init.Retransmits for the whole attempt; with more addresses than that, each
/// still gets one INIT, unless the old stacks are followed.
pub(crate) fn init_budget(compat: Compat, addresses: usize, init_max: u16) -> u32 {
    let listed = u32::try_from(addresses).unwrap_or(u32::MAX);
    let counted = u32::from(init_max) + 1;
    match compat {
        Compat::Rfc => counted.max(listed),
        Compat::Linux | Compat::FreeBsd => counted,
    }
}

/// The time-out of the first INIT to each address.
pub(crate) fn first_time_out(compat: Compat, rto: &RtoOptions) -> Duration {
    match compat {
        Compat::Rfc | Compat::FreeBsd => rto.initial,
        Compat::Linux => LINUX_RTO_INITIAL.min(rto.max),
    }
}

/// One time-out for all addresses, which doubles when an address is tried once more than all were (Linux,
/// `sctp_cmd_t1_timer_update`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct FullCycle {
    time_out: Duration,
    /// How often all addresses were tried.
    cycle: u32,
}

impl FullCycle {
    /// As Linux begins; `None` where each address has its own time-out.
    pub(crate) fn of(compat: Compat, rto: &RtoOptions) -> Option<Self> {
        let time_out = first_time_out(compat, rto);
        (compat == Compat::Linux).then_some(Self { time_out, cycle: 0 })
    }

    /// The time-out of an INIT that is the `inits`th to its address, from 1.
    pub(crate) fn time_out(&mut self, inits: u32, rto: &RtoOptions) -> Duration {
        if inits > self.cycle.saturating_add(1) {
            self.cycle += 1;
            self.time_out = self.time_out.saturating_mul(2).min(rto.max);
        }
        self.time_out
    }
}

const LINUX_RTO_INITIAL: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    /// The schedule as "A0 B1 A2 … fail 46".
    fn written(compat: Compat, addresses: usize) -> String {
        let schedule = init_schedule(compat, &Options::default().rto, addresses, 8);
        let mut out = String::new();
        for (at, index) in &schedule.attempts {
            let name = char::from(b'A' + u8::try_from(*index).unwrap());
            out += &format!("{name}{} ", at.as_secs());
        }
        out + &format!("fail {}", schedule.fails_at.as_secs())
    }

    #[test]
    fn freebsd_and_linux_time_their_inits_as_their_sources_say() {
        use Compat::{FreeBsd, Linux};
        assert_eq!(written(FreeBsd, 1), "A0 A1 A3 A7 A15 A31 A63 A123 A183 fail 243");
        assert_eq!(written(Linux, 1), "A0 A3 A9 A21 A45 A93 A153 A213 A273 fail 333");
        assert_eq!(written(FreeBsd, 2), "A0 B1 A2 B4 A6 B10 A14 B22 A30 fail 46");
        assert_eq!(written(Linux, 2), "A0 B3 A6 B12 A18 B30 A42 B66 A90 fail 138");
        assert_eq!(written(FreeBsd, 3), "A0 B1 C2 A3 B5 C7 A9 B13 C17 fail 21");
        assert_eq!(written(Linux, 3), "A0 B3 C6 A9 B15 C21 A27 B39 C51 fail 63");
        assert_eq!(written(FreeBsd, 12), "A0 B1 C2 D3 E4 F5 G6 H7 I8 fail 9");
        assert_eq!(written(Linux, 12), "A0 B3 C6 D9 E12 F15 G18 H21 I24 fail 27");
    }

    #[test]
    fn with_more_addresses_than_retransmissions_the_last_one_is_still_tried() {
        assert_eq!(written(Compat::Rfc, 12), "A0 B1 C2 D3 E4 F5 G6 H7 I8 J9 K10 L11 fail 12");
        assert_eq!(written(Compat::Rfc, 2), written(Compat::FreeBsd, 2));
    }
}
