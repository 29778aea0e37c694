//! Receive buffers: packets come out as [`Bytes`] without a copy, yet no small packet holds on to large memory.
//!
//! Every packet is received into a slot of its own. One that fills at least half of its slot keeps it and
//! leaves without a copy; a smaller one is copied into memory of its own length and the slot is used again.
//! So the memory that a packet pins is at most twice its length, however long the application sits on it,
//! and however few packets of a batch survive. Slots given away return by themselves once their last reader
//! is gone. The slots grow when a packet exceeds them (a loopback path carries 65,535 bytes, jumbo frames
//! 9,000) and shrink when large packets cease; a packet that exceeds its slot overflows into scratch memory
//! and is put together by a copy.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::sys::{BATCH, GREATEST_PACKET};

/// Slots for the usual MTU of 1,500 bytes, for jumbo frames, for a path without a frame (loopback).
const SIZES: [usize; 3] = [2_048, 9_216, GREATEST_PACKET + 1];

/// Batches in a row without a packet that needs the size before slots shrink.
const QUIET_BATCHES: u32 = 1_024;

/// Bytes of slots given away that are remembered for use again.
const LENT_LIMIT: usize = 2 << 20;

/// A stock of initialised buffers of one size that come back when nobody reads them any more.
#[derive(Debug)]
pub(super) struct Pool {
    size: usize,
    lent: VecDeque<Bytes>,
}

impl Pool {
    /// A stock of buffers of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Self { size, lent: VecDeque::new() }
    }

    /// A buffer of `size` initialised bytes, an old one if one has come back.
    pub(super) fn take(&mut self) -> BytesMut {
        match self.lent.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(buffer)) if buffer.len() == self.size => buffer,
            // The oldest is still being read: it is forgotten, and its reader frees it.
            _ => BytesMut::zeroed(self.size),
        }
    }

    /// Gives the buffer away; it may come back.
    pub(super) fn lend(&mut self, buffer: BytesMut) -> Bytes {
        let buffer = buffer.freeze();
        if self.lent.len() * self.size < LENT_LIMIT {
            self.lent.push_back(buffer.clone());
        }
        buffer
    }

    /// Takes the first `len` bytes out of a slot by the rule above.
    pub(super) fn take_packet(&mut self, slot: &mut BytesMut, len: usize) -> Bytes {
        if len < self.size / 2 {
            return Bytes::copy_from_slice(slot.get(..len).unwrap_or_default());
        }
        let fresh = self.take();
        let mut packet = self.lend(std::mem::replace(slot, fresh));
        packet.truncate(len);
        packet
    }
}

/// The slots of one batch of a raw socket.
#[derive(Debug)]
pub(super) struct Slots {
    pool: Pool,
    slots: Vec<BytesMut>,
    /// One stretch of [`Slots::OVERFLOW`] bytes for each slot; the system gives pages when they are
    /// touched.
    overflow: Vec<u8>,
    /// Slots to offer to the next call; follows the load, because offering them costs time too.
    offer: usize,
    quiet: u32,
}

impl Slots {
    /// Bytes of overflow behind each slot: together with the smallest slot it holds the greatest
    /// packet.
    pub(super) const OVERFLOW: usize = GREATEST_PACKET + 1 - SIZES[0];

    /// Slots offered when little comes in.
    const LEAST: usize = 8;

    /// No slots yet; they are made when first offered.
    pub(super) fn new() -> Self {
        Self {
            pool: Pool::new(SIZES[0]),
            slots: Vec::new(),
            overflow: vec![0; BATCH * Self::OVERFLOW],
            offer: Self::LEAST,
            quiet: 0,
        }
    }

    /// The slots and their overflows for the next call.
    pub(super) fn offer(&mut self) -> (&mut [BytesMut], &mut [u8]) {
        while self.slots.len() < self.offer {
            let slot = self.pool.take();
            self.slots.push(slot);
        }
        (self.slots.get_mut(..self.offer).unwrap_or_default(), &mut self.overflow)
    }

    /// The packet of `len` bytes that arrived in slot `index`; `None` if it was longer than slot
    /// and overflow.
    pub(super) fn take_packet(&mut self, index: usize, len: usize) -> Option<Bytes> {
        let slot = self.slots.get_mut(index)?;
        if len <= slot.len() {
            return Some(self.pool.take_packet(slot, len));
        }
        let start = index * Self::OVERFLOW;
        let rest = self.overflow.get(start..start + Self::OVERFLOW)?.get(..len - slot.len())?;
        let mut packet = BytesMut::with_capacity(len);
        packet.extend_from_slice(slot);
        packet.extend_from_slice(rest);
        Some(packet.freeze())
    }

    /// Fits number and size of the slots to what the last call brought: packets and the longest of
    /// them.
    pub(super) fn adapt(&mut self, packets: usize, longest: usize) {
        self.offer = (packets * 2).clamp(Self::LEAST, BATCH);
        let fitting = SIZES.into_iter().find(|size| longest <= *size).unwrap_or(SIZES[0]);
        if fitting > self.pool.size {
            self.resize(fitting);
        } else if fitting == self.pool.size {
            self.quiet = 0;
        } else {
            self.quiet += 1;
            if self.quiet >= QUIET_BATCHES {
                self.resize(fitting);
            }
        }
    }

    fn resize(&mut self, size: usize) {
        self.pool = Pool::new(size);
        self.slots.clear();
        self.quiet = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills slot `index` as the kernel would with `len` bytes that count up from `mark`.
    fn fill(slots: &mut Slots, index: usize, len: usize, mark: u8) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len).map(|at| mark.wrapping_add(at as u8)).collect();
        let (offered, overflow) = slots.offer();
        let slot = &mut offered[index];
        let (front, back) = bytes.split_at(len.min(slot.len()));
        slot[..front.len()].copy_from_slice(front);
        let start = index * Slots::OVERFLOW;
        overflow[start..start + back.len()].copy_from_slice(back);
        bytes
    }

    #[test]
    fn packets_of_every_size_come_out_as_they_came_in() {
        let mut slots = Slots::new();
        for len in [0, 1, 1_023, 1_024, 2_047, 2_048, 2_049, 9_000, 65_535, 65_536, 40, 9_216] {
            let sent = fill(&mut slots, 3, len, 9);
            assert_eq!(slots.take_packet(3, len).unwrap(), sent, "{len}");
            slots.adapt(1, len);
        }
    }

    #[test]
    fn a_packet_longer_than_slot_and_overflow_is_given_up() {
        let mut slots = Slots::new();
        slots.offer();
        assert_eq!(slots.take_packet(0, usize::MAX), None);
        assert_eq!(slots.take_packet(0, GREATEST_PACKET + 2), None);
    }

    #[test]
    fn a_small_packet_leaves_its_slot_behind_and_a_large_one_takes_it_along() {
        let mut slots = Slots::new();
        let place = slots.offer().0[0].as_ptr();
        let small = slots.take_packet(0, 100).unwrap();
        assert_eq!(slots.offer().0[0].as_ptr(), place);
        assert_ne!(small.as_ptr(), place);
        let large = slots.take_packet(0, 1_024).unwrap();
        assert_eq!(large.as_ptr(), place, "not copied");
        assert_ne!(slots.offer().0[0].as_ptr(), place, "the slot was replaced");
    }

    #[test]
    fn a_buffer_comes_back_when_its_last_reader_is_gone_and_not_before() {
        let mut pool = Pool::new(2_048);
        let mut slot = pool.take();
        let place = slot.as_ptr();
        let packet = pool.take_packet(&mut slot, 1_500);
        let slice = packet.slice(100..200);
        drop(packet);
        assert_ne!(pool.take().as_ptr(), place, "still read");
        drop(slice);
        let packet = pool.take_packet(&mut slot, 2_000);
        let place = packet.as_ptr();
        drop(packet);
        let back = pool.take();
        assert_eq!((back.as_ptr(), back.len()), (place, 2_048));
    }

    #[test]
    fn slots_grow_at_once_and_shrink_after_a_long_quiet() {
        let mut slots = Slots::new();
        slots.adapt(64, 60_000);
        assert_eq!(slots.pool.size, GREATEST_PACKET + 1);
        assert_eq!(slots.offer().0.len(), BATCH);
        for _ in 1..QUIET_BATCHES {
            slots.adapt(1, 1_500);
        }
        assert_eq!(slots.pool.size, GREATEST_PACKET + 1);
        slots.adapt(1, 1_500);
        assert_eq!((slots.pool.size, slots.offer().0.len()), (2_048, Slots::LEAST));
    }
}
