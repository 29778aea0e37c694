//! Standard input as messages: lines, or blocks of one size.

use std::io::{self, BufRead, Read};
use std::thread;

use futures::SinkExt;
use futures::channel::mpsc::{Receiver, channel};
use futures::executor::block_on;
use usctp::Bytes;

use crate::args::MESSAGE_MAX;
use crate::exit::Failure;

/// Reads in a thread of its own, a few messages ahead of whoever takes them.
///
/// `block` is the size of a message in bytes; `None` makes each line one.
pub(crate) fn read(block: Option<usize>) -> Result<Receiver<Result<Bytes, Failure>>, Failure> {
    let (mut sender, receiver) = channel(16);
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let message = match block {
                Some(size) => next_block(&mut input, size),
                None => next_line(&mut input),
            };
            let Some(message) = message.transpose() else { break };
            let failed = message.is_err();
            if block_on(sender.send(message)).is_err() || failed {
                break;
            }
        }
    };
    thread::Builder::new().name("input".to_owned()).spawn(read)?;
    Ok(receiver)
}

fn next_block(input: &mut impl Read, size: usize) -> Result<Option<Bytes>, Failure> {
    let mut block = Vec::with_capacity(size);
    input.take(size as u64).read_to_end(&mut block).map_err(unreadable)?;
    Ok((!block.is_empty()).then(|| block.into()))
}

/// A line without its end. A message has a byte at least, so an empty line is the end itself.
fn next_line(input: &mut impl BufRead) -> Result<Option<Bytes>, Failure> {
    let mut line = Vec::new();
    input.take(MESSAGE_MAX as u64 + 1).read_until(b'\n', &mut line).map_err(unreadable)?;
    if line.len() > MESSAGE_MAX {
        return Err(Failure::failed(format_args!(
            "a line of standard input is longer than {MESSAGE_MAX} bytes; --binary takes it in blocks"
        )));
    }
    if line.len() > 1 && line.ends_with(b"\n") {
        line.pop();
    }
    Ok((!line.is_empty()).then(|| line.into()))
}

fn unreadable(error: io::Error) -> Failure {
    Failure::failed(format_args!("cannot read standard input: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Bytes> {
        std::iter::from_fn(|| next_line(&mut input).unwrap()).collect()
    }

    #[test]
    fn each_line_is_a_message_and_an_empty_one_its_end() {
        assert_eq!(lines(b"one\ntwo\n\nlast"), ["one", "two", "\n", "last"]);
        assert_eq!(lines(b""), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        assert!(next_line(&mut endless).is_err());
    }

    #[test]
    fn blocks_have_the_size_asked_for_and_the_last_one_what_is_left() {
        let mut input: &[u8] = b"abcdefg";
        let blocks: Vec<_> = std::iter::from_fn(|| next_block(&mut input, 3).unwrap()).collect();
        assert_eq!(blocks, ["abc", "def", "g"]);
    }
}
