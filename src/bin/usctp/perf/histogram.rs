//! Counts of durations in classes that are narrow where they are short: memory that does not grow with their number.

use std::time::Duration;

/// Classes for each doubling of the duration: a class is at most 1/64 of its lower edge wide.
const CLASSES: usize = 64;
const CLASS_BITS: u32 = CLASSES.trailing_zeros();

/// How often durations of each class were seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    /// Grows to the class of the longest: 3,776 entries at the most.
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts a duration, to the nanosecond up to 584 years.
    pub(crate) fn record(&mut self, duration: Duration) {
        let class = class_of(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        if class >= self.counts.len() {
            self.counts.resize(class + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(class) {
            *count += 1;
        }
        self.total += 1;
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The duration in microseconds that a share (0 to 1) of all does not exceed, to within 1 %; `None` if there are none.
    pub(crate) fn quantile_us(&self, share: f64) -> Option<f64> {
        // The rank is counted from 1; the share of a count is far from what a float cannot hold.
        let rank = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(middle_of(class) / 1e3);
            }
        }
        None
    }

    /// Adds the counts of another.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }
}

/// Below 64, each number is a class; from there on each doubling has 64.
fn class_of(nanoseconds: u64) -> usize {
    let doublings = nanoseconds.checked_ilog2().unwrap_or(0).saturating_sub(CLASS_BITS);
    // At most 127, so it fits whatever a usize is.
    let within = (nanoseconds >> doublings) as usize;
    doublings as usize * CLASSES + within
}

/// The middle of a class in nanoseconds.
fn middle_of(class: usize) -> f64 {
    let doublings = (class / CLASSES).saturating_sub(1);
    let within = class - doublings * CLASSES;
    let width = (doublings as f64).exp2();
    let edge = within as f64 * width;
    edge + (width - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(nanoseconds: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        nanoseconds.into_iter().map(Duration::from_nanos).for_each(|time| histogram.record(time));
        histogram
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Histogram::default().quantile_us(0.5), None);
    }

    #[test]
    fn quantiles_of_short_durations_are_exact() {
        let histogram = histogram(1..=60);
        assert_eq!(histogram.quantile_us(0.5), Some(0.030));
        assert_eq!(histogram.quantile_us(1.0), Some(0.060));
        assert_eq!(histogram.quantile_us(0.0), Some(0.001));
        assert_eq!(histogram.total(), 60);
    }

    #[test]
    fn the_sum_of_two_has_the_quantiles_of_both_together() {
        let mut sum = histogram([10; 98]);
        sum.add(&histogram([50_000; 2]));
        assert_eq!(sum.quantile_us(0.5), Some(0.010));
        assert!((49.0..51.0).contains(&sum.quantile_us(0.99).unwrap()));
    }

    proptest! {
        #[test]
        fn any_duration_is_told_to_within_a_hundredth(nanoseconds in 1_u64..) {
            let told = histogram([nanoseconds]).quantile_us(0.5).unwrap() * 1e3;
            let error = (told - nanoseconds as f64).abs() / nanoseconds as f64;
            prop_assert!(error < 0.01, "{nanoseconds} was told as {told}");
        }

        #[test]
        fn classes_are_in_the_order_of_durations(one in 0_u64.., other in 0_u64..) {
            let (less, more) = (one.min(other), one.max(other));
            prop_assert!(class_of(less) <= class_of(more));
        }
    }
}
