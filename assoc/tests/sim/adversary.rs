//! What a hostile or unlucky peer can do to an association, found by reviewing it and by running it against a kernel.

use usctp_assoc::PathState;
use usctp_assoc::sim::{Heard, Ladder, z};
use usctp_chunk::{Chunk, ChunkType, Data};

use crate::world::secs;

fn answer_heartbeats(ladder: &mut Ladder, heard: &Heard) {
    let answers: Vec<_> = (heard.chunks.iter())
        .filter_map(|chunk| match chunk {
            Chunk::Heartbeat(heartbeat) => Some(Chunk::HeartbeatAck(heartbeat.clone())),
            _ => None,
        })
        .collect();
    if !answers.is_empty() {
        ladder.says(heard.destination, &answers);
    }
}

fn has_data(heard: &Heard) -> bool {
    heard.chunks.iter().any(|chunk| matches!(chunk, Chunk::Data(_)))
}

#[test]
fn what_is_lost_on_the_only_path_that_works_is_not_sent_to_one_that_is_down() {
    let name = "what_is_lost_on_the_only_path_that_works_is_not_sent_to_one_that_is_down";
    let mut ladder = Ladder::new(name);
    ladder.establishes(&[z(1), z(2)]);
    while ladder.path(z(2)).state == PathState::Active {
        let heard = ladder.hears_within(secs(120));
        if heard.destination == z(1) {
            answer_heartbeats(&mut ladder, &heard);
        }
    }
    ladder.hears_all();
    ladder.sends("lost once");
    ladder.expects(z(1), &[ChunkType::DATA]);
    // RFC 9260, 6.4 and 6.4.1: to an active address if there is one; this one failed but once.
    let again = loop {
        let heard = ladder.hears_within(secs(5));
        if has_data(&heard) {
            break heard;
        }
        if heard.destination == z(1) {
            answer_heartbeats(&mut ladder, &heard);
        }
    };
    assert_eq!(again.destination, z(1), "z(2) is inactive");
}
