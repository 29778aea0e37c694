//! Messages for a simulated application to send, drawn from a seed.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use crate::Message;

/// What kind of messages to draw.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many.
    pub messages: usize,
    /// On streams 0 to `streams` - 1.
    pub streams: u16,
    /// The least number of bytes.
    pub least: usize,
    /// The greatest number of bytes; small sizes are as frequent as large ones.
    pub most: usize,
    /// The share of unordered messages, 0 to 1.
    pub unordered: f64,
}

impl Plan {
    /// Draws the messages.
    pub fn draw(&self, random: &mut StdRng) -> Vec<Message> {
        (0..self.messages).map(|number| self.message(number, random)).collect()
    }

    fn message(&self, number: usize, random: &mut StdRng) -> Message {
        let (least, most) = ((self.least.max(1) as f64).ln(), (self.most.max(1) as f64).ln());
        let size = random.random_range(least..=most).exp().round() as usize;
        let stream = random.random_range(0..self.streams);
        let message =
            Message::new(stream, payload(random.random(), size.clamp(self.least, self.most)))
                .ppid(u32::try_from(number).unwrap_or(u32::MAX));
        if random.random::<f64>() < self.unordered { message.unordered() } else { message }
    }
}

/// `len` bytes that depend on the seed, so that a byte out of place shows.
pub fn payload(seed: u64, len: usize) -> Bytes {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64 (Marsaglia): cheap, and good enough to tell one place from another.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}
