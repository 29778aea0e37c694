//! What Gap Ack Blocks cover of the outstanding queue, as ranges of chunk numbers.

use std::ops::Range;

use usctp_chunk::GapBlock;

use super::NeverSent;

/// Ranges in order, that neither overlap nor touch each other.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    blocks: Vec<Range<u64>>,
    /// An empty list for those of the next SACK, so that none is asked for.
    spare: Vec<Range<u64>>,
}

/// What is left to be compared of the ranges that were covered before.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [Range<u64>],
}

impl Gaps {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The number behind the last range; 0 if there is none.
    pub(super) fn end(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.end)
    }

    /// How many chunks are covered.
    pub(super) fn chunks(&self) -> usize {
        self.blocks.iter().map(|block| (block.end - block.start) as usize).sum()
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.blocks.iter().cloned()
    }

    /// What is missing, from the lower edge of the queue to the last range.
    pub(super) fn holes(&self, first: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let ends = std::iter::once(first).chain(self.blocks.iter().map(|block| block.end));
        ends.zip(&self.blocks).map(|(end, next)| end..next.start)
    }

    /// The lower edge of the queue moved.
    pub(super) fn forget_before(&mut self, first: u64) {
        if self.blocks.first().is_some_and(|block| block.start < first) {
            self.blocks.retain_mut(|block| {
                block.start = block.start.max(first);
                block.start < block.end
            });
        }
    }

    /// What the blocks of a SACK cover of the chunks with these numbers, and what was covered before it.
    ///
    /// Blocks are taken in their order; what goes back behind an earlier one covers nothing.
    ///
    /// # Errors
    /// A block reaches beyond what was sent.
    pub(super) fn replaced(
        mut self,
        sent: Range<u64>,
        blocks: impl Iterator<Item = GapBlock>,
    ) -> Result<(Self, Self), NeverSent> {
        let mut fresh = Self { blocks: std::mem::take(&mut self.spare), spare: Vec::new() };
        for GapBlock { start, end } in blocks {
            let end = sent.start + u64::from(end);
            if end > sent.end {
                return Err(NeverSent);
            }
            let start = sent.start + u64::from(start).saturating_sub(1);
            match fresh.blocks.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ if start < end => fresh.blocks.push(start..end),
                _ => {}
            }
        }
        Ok((fresh, self))
    }

    /// The same, with the list of what was covered before to be used again.
    pub(super) fn recycling(mut self, before: Self) -> Self {
        self.spare = before.blocks;
        self.spare.clear();
        self
    }

    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor { rest: &self.blocks }
    }
}

impl Cursor<'_> {
    /// How far from `at` on, and up to `until`, chunks are alike, and whether they are covered. `at` never goes back.
    pub(super) fn alike(&mut self, at: u64, until: u64) -> (u64, bool) {
        while let Some((block, rest)) = self.rest.split_first() {
            if at < block.start {
                return (block.start.min(until), false);
            }
            if at < block.end {
                return (block.end.min(until), true);
            }
            self.rest = rest;
        }
        (until, false)
    }
}
