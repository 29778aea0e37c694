//! Which process a stack belongs to: a forked child has a copy of its memory, but neither its threads nor a right to its associations.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::link;

/// How many marks were given. A child goes on where its parent was, so it gives none that the parent knew.
static MARKS: AtomicU64 = AtomicU64::new(0);

/// The process that made it, as it is told from its children without a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// Holds the mark of this process; a child finds 0 there. None where the system has no such memory (Linux before 4.14).
    kept: Option<&'static AtomicU64>,
    /// The mark of the process, or else its number.
    mark: u64,
}

impl Origin {
    /// This process.
    pub(crate) fn here() -> Self {
        let Some(kept) = link::wiped_on_fork() else { return Self::by_number() };
        let fresh = MARKS.fetch_add(1, Ordering::SeqCst) + 1;
        let known = kept.compare_exchange(0, fresh, Ordering::SeqCst, Ordering::SeqCst);
        Self { kept: Some(kept), mark: known.map_or_else(|known| known, |_| fresh) }
    }

    fn by_number() -> Self {
        Self { kept: None, mark: process::id().into() }
    }

    /// Whether this process is it.
    pub(crate) fn is_here(self) -> bool {
        let mark =
            self.kept.map_or_else(|| process::id().into(), |kept| kept.load(Ordering::Relaxed));
        mark == self.mark
    }

    /// # Errors
    /// [`Error::Forked`] in a child.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.is_here() { Ok(()) } else { Err(Error::Forked) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_where_it_was_until_its_mark_is_wiped_and_another_one_is_never_taken_for_it() {
        let [first, second] = [Origin::here(), Origin::here()];
        assert!(first.is_here() && second.is_here() && Origin::by_number().is_here());
        // What a child sees of its parent's, before and after it opens something itself.
        let kept: &'static AtomicU64 = Box::leak(Box::default());
        let parent = Origin { kept: Some(kept), ..first };
        assert!(parent.check().is_err());
        kept.store(MARKS.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        assert!(parent.check().is_err());
    }
}
