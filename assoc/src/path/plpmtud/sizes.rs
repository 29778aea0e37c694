//! Which sizes of packets are worth a probe (RFC 8899, sections 5.1.2 and 5.3.2).

use crate::config::Config;

/// MIN_PLPMTU, BASE_PLPMTU and MAX_PLPMTU with the headers below SCTP, and what a search has learned.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// What a path starts with.
    pub(super) start: usize,
    pub(super) min: usize,
    pub(super) base: usize,
    pub(super) max: usize,
    /// The least size that is known not to pass.
    too_big: Option<usize>,
    /// What a router said would pass.
    hint: Option<usize>,
    /// A size that was lost once: it has another try.
    lost: Option<usize>,
}

impl Sizes {
    pub(super) fn new(config: &Config, v4: bool, overhead: usize) -> Self {
        // RFC 8200, section 5: every link of IPv6 takes 1,280 bytes.
        let floor = if v4 { 0 } else { 1280 };
        let max = (usize::from(config.pmtud.max.unwrap_or(config.path_mtu)) & !3).max(floor);
        let start = (usize::from(config.path_mtu) & !3).max(floor);
        let base = (BASE_PLPMTU + overhead).max(floor).min(start);
        let min = usize::from(config.pmtud.min).next_multiple_of(4).max(floor).min(base);
        Self { start, min, base, max, too_big: None, hint: None, lost: None }
    }

    /// What is tried, and fallen back to, where `size` does not pass: BASE_PLPMTU, what nearly every path takes, MIN_PLPMTU.
    pub(super) fn below(&self, size: usize) -> usize {
        let usual = COMMON.clamp(self.min, self.base);
        [self.base, usual].into_iter().find(|below| *below < size).unwrap_or(self.min.min(size))
    }

    /// The local link takes packets of `size`.
    pub(super) fn learn_link(&mut self, size: usize) {
        self.max = self.max.max(size & !3);
    }

    /// Whether it is known that `size` does not pass.
    pub(super) fn exclude(&self, size: usize) -> bool {
        self.too_big.is_some_and(|too_big| too_big <= size)
    }

    pub(super) fn forget_failures(&mut self) {
        (self.too_big, self.hint, self.lost) = (None, None, None);
    }

    /// A router says that this size passes it, and no larger one.
    pub(super) fn learn_limit(&mut self, size: usize) {
        self.too_big = Some(size + 4);
        self.hint = Some(size);
    }

    pub(super) fn fails_at(&mut self, size: usize) {
        self.too_big = Some(self.too_big.map_or(size, |too_big| too_big.min(size)));
        self.lost = None;
    }

    /// A probe was lost. A usual size has a second try; what lies between those has not, as most of them fail.
    pub(super) fn note_loss(&mut self, size: usize) {
        let usual = USUAL.contains(&size) || [self.base, self.max].contains(&size);
        if (usual || self.hint == Some(size)) && self.lost != Some(size) {
            self.lost = Some(size);
        } else {
            self.hint = self.hint.filter(|hint| *hint < size);
            self.fails_at(size);
        }
    }

    /// The size to try next where `good` passes; up to BASE_PLPMTU only, if `limited`. With `last`, another loss ends
    /// the search.
    ///
    /// Sizes that pass cost a round trip each, and sizes that do not, PROBE_TIMERs: so the usual sizes are tried
    /// upwards, and only between the last that passed and the first that did not, the range is halved.
    pub(super) fn next(&self, good: usize, limited: bool, last: bool) -> Option<usize> {
        let most = self.max.min(if limited { self.base } else { usize::MAX });
        let beyond = self.too_big.unwrap_or(usize::MAX).min(most + 4);
        let fits = |size: &usize| *size > good && *size < beyond;
        if let Some(hint) = self.hint.filter(fits) {
            return Some(hint);
        }
        let usual = USUAL.into_iter().chain([most]).filter(fits).min();
        let step = if last { 4 } else { 2 };
        let between = || good + ((beyond.saturating_sub(good) / step) & !3).max(4);
        usual.or_else(|| Some(between()).filter(fits))
    }
}

/// BASE_PLPMTU (RFC 8899, section 5.1.2), a size of SCTP packets.
const BASE_PLPMTU: usize = 1200;

/// A size below which hardly a path is: RFC 791 has every host take 576 bytes, and links that pass less are rare.
pub(super) const COMMON: usize = 512;

// Slow serial lines, the least of a host and of IPv6, tunnels, PPPoE, Ethernet, WLAN, FDDI, jumbo frames, loopback of FreeBSD, all of IP;
// and some between, as those that pass cost little.
const USUAL: [usize; 26] = [
    128, 256, 296, 400, 576, 1004, 1280, 1340, 1400, 1420, 1440, 1460, 1480, 1492, 1500, 2000,
    2304, 3000, 4352, 6000, 9000, 9216, 12_000, 16_384, 32_768, 65_532,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_sizes_are_whole_words_upwards_and_those_of_common_links_are_among_them() {
        assert!(USUAL.is_sorted());
        assert!(USUAL.iter().all(|size| size % 4 == 0), "SCTP packets are padded to that");
        // Of a host, IPv6, PPPoE, Ethernet, WLAN, FDDI, jumbo frames, FreeBSD's loopback, all of IP.
        for size in [576, 1280, 1492, 1500, 2304, 4352, 9000, 9216, 16_384, 65_532] {
            assert!(USUAL.contains(&size), "{size}");
        }
    }
}
