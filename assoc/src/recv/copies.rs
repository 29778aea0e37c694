//! Copies of messages that are too small to hold on to the packet they came in.

use bytes::{Bytes, BytesMut};

/// Keeps a few copies in one block of memory, which lives as long as one of them.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    block: BytesMut,
    /// How large the block was.
    size: usize,
}

impl Copies {
    /// A copy of a payload. It holds on to at most [`SHARE`] times its own length.
    pub(crate) fn copy(&mut self, payload: &[u8]) -> Bytes {
        let most = SHARE * payload.len();
        if self.block.capacity() < payload.len() || self.size > most {
            self.size = most;
            self.block = BytesMut::with_capacity(most);
        }
        self.block.extend_from_slice(payload);
        self.block.split().freeze()
    }
}

/// Copies of one length in a block.
const SHARE: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_copy_is_what_was_copied_and_in_a_block_of_at_most_eight_times_its_length(
            lengths in proptest::collection::vec(1usize..300, 1..40),
        ) {
            let mut copies = Copies::default();
            let payloads: Vec<Vec<u8>> =
                (0..).zip(&lengths).map(|(n, length)| vec![n; *length]).collect();
            let kept: Vec<Bytes> = payloads
                .iter()
                .map(|payload| {
                    let copy = copies.copy(payload);
                    assert!(copies.size <= SHARE * payload.len());
                    copy
                })
                .collect();
            prop_assert_eq!(kept, payloads);
        }
    }

    #[test]
    fn messages_of_one_length_share_blocks() {
        let mut copies = Copies::default();
        let kept: Vec<Bytes> = (0..SHARE).map(|_| copies.copy(b"sixty-four")).collect();
        assert!(
            kept.iter().zip(kept.iter().skip(1)).all(|(a, b)| a.as_ptr_range().end == b.as_ptr())
        );
    }
}
