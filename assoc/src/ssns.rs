//! The stream sequence number of each stream's next ordered message, in memory for the streams that were used.

use usctp_chunk::{Ssn, StreamId};

/// Numbers in pages: a stream with a high number costs a page and the way to it, and not all streams below it.
#[derive(Debug, Default)]
pub(crate) struct NextSsns {
    pages: Vec<Option<Box<Page>>>,
    /// How many of the pages there are.
    used: usize,
}

type Page = [Ssn; PAGE];

impl NextSsns {
    /// The next number of a stream: 0 if none was used.
    #[inline]
    pub(crate) fn of(&self, StreamId(stream): StreamId) -> Ssn {
        let stream = usize::from(stream);
        let page = self.pages.get(stream / PAGE).and_then(Option::as_ref);
        page.and_then(|page| page.get(stream % PAGE)).copied().unwrap_or_default()
    }

    /// Takes this number if it is the next one of its stream. Whether it is.
    #[inline]
    pub(crate) fn take_if_next(&mut self, stream: StreamId, ssn: Ssn) -> bool {
        match self.used(stream) {
            Some(next) if *next == ssn => *next = ssn.next(),
            None if ssn == Ssn::default() => self.set(stream, ssn.next()),
            _ => return false,
        }
        true
    }

    pub(crate) fn set(&mut self, stream: StreamId, next: Ssn) {
        if self.used(stream).is_none() {
            self.add(usize::from(stream.0) / PAGE);
        }
        if let Some(place) = self.used(stream) {
            *place = next;
        }
    }

    /// The next number of a stream, which is used with that.
    #[inline]
    pub(crate) fn take(&mut self, stream: StreamId) -> Ssn {
        let Some(next) = self.used(stream) else {
            self.set(stream, Ssn::default().next());
            return Ssn::default();
        };
        std::mem::replace(next, next.next())
    }

    /// Starts all streams anew.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes it takes.
    pub(crate) fn memory(&self) -> usize {
        self.pages.len() * size_of::<Option<Box<Page>>>() + self.used * size_of::<Page>()
    }

    /// The next number of a stream if there is a page for it.
    #[inline]
    fn used(&mut self, StreamId(stream): StreamId) -> Option<&mut Ssn> {
        let stream = usize::from(stream);
        self.pages.get_mut(stream / PAGE)?.as_mut()?.get_mut(stream % PAGE)
    }

    #[cold]
    fn add(&mut self, page: usize) {
        if page >= self.pages.len() {
            self.pages.reserve_exact(page + 1 - self.pages.len());
            self.pages.resize_with(page + 1, || None);
        }
        if let Some(place) = self.pages.get_mut(page) {
            *place = Some(Box::new([Ssn::default(); PAGE]));
            self.used += 1;
        }
    }
}

/// Streams of a page: 256 bytes, and at most 4,096 for the way to all pages.
const PAGE: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_those_of_a_plain_table(steps in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..60)) {
            let mut ssns = NextSsns::default();
            let mut table = std::collections::BTreeMap::new();
            for (stream, ssn) in steps {
                prop_assert_eq!(ssns.of(StreamId(stream)).value(), table.get(&stream).copied().unwrap_or(0));
                ssns.set(StreamId(stream), Ssn::new(ssn));
                prop_assert!(!ssns.take_if_next(StreamId(stream), Ssn::new(ssn).next()));
                prop_assert_eq!(ssns.take(StreamId(stream)).value(), ssn);
                table.insert(stream, ssn.wrapping_add(1));
                prop_assert_eq!(ssns.of(StreamId(stream)).value(), ssn.wrapping_add(1));
            }
        }
    }

    #[test]
    fn a_number_that_is_not_the_next_costs_nothing_and_the_first_of_a_stream_is_0() {
        let mut ssns = NextSsns::default();
        assert!(!ssns.take_if_next(StreamId(9), Ssn::new(1)));
        assert_eq!(ssns.memory(), 0);
        assert!(ssns.take_if_next(StreamId(9), Ssn::new(0)));
        assert!(ssns.take_if_next(StreamId(9), Ssn::new(1)));
        assert_eq!(ssns.of(StreamId(9)), Ssn::new(2));
    }

    #[test]
    fn one_high_stream_costs_no_more_than_a_packet_or_three() {
        let mut ssns = NextSsns::default();
        ssns.set(StreamId(u16::MAX), Ssn::new(1));
        assert!(ssns.memory() < 4_500, "{}", ssns.memory());
    }

    #[test]
    fn what_it_takes_is_the_pages_in_use_and_the_way_to_them() {
        let mut ssns = NextSsns::default();
        assert_eq!(ssns.memory(), 0);
        ssns.set(StreamId(u16::MAX), Ssn::new(1));
        for stream in [0, 1, 127] {
            ssns.take(StreamId(stream));
        }
        assert_eq!(ssns.memory(), 4_096 + 2 * 256);
        ssns.clear();
        assert_eq!(ssns.memory(), 0);
        for stream in [0, 1_000, u16::MAX] {
            ssns.take(StreamId(stream));
            assert_eq!(ssns.pages.capacity(), ssns.pages.len(), "no more than is counted");
        }
    }
}
