//! What is demanded of a run in the end, besides the invariants that the network checks after each step.
//!
//! * Every association on a host that lives ends with exactly one event, and nothing stalls (`progress.rs`).
//! * Messages arrive unaltered, once, and in order on their stream, whatever happens to the association.
//! * A side that is told of a graceful end has had all its messages delivered. The other side may be told of a loss
//!   all the same: when SHUTDOWN COMPLETE and the answers to the repeated SHUTDOWN ACK are lost, it cannot know.
//! * What did not arrive is given back to its sender, or was sent before the peer's last restart.
//! * An ABORT may be lost: then the other side learns of the end from the answer to its next packet, or by counting
//!   what is not answered. Which of them is not demanded, only that it does, in time.
//! * A host that begins anew takes its old applications with it; they are told nothing. Its peer is told of a restart,
//!   or of the end of the old association.

use std::time::Duration;

use usctp_assoc::sim::HostId;
use usctp_assoc::{AssociationId, Event, LostReason};

use crate::run::Run;
use crate::secs;

/// How often what happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) restarts: u64,
    pub(crate) graceful: u64,
    pub(crate) lost: u64,
    /// Packets that were damaged.
    pub(crate) damaged: u64,
    /// Messages that came in parts.
    pub(crate) joined: u64,
    /// Packets that overtook a single one.
    pub(crate) overtaken: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.restarts += other.restarts;
        self.graceful += other.graceful;
        self.lost += other.lost;
        self.damaged += other.damaged;
        self.joined += other.joined;
        self.overtaken = self.overtaken.max(other.overtaken);
    }

    pub(crate) fn has_all(&self) -> bool {
        [self.restarts, self.graceful, self.lost, self.damaged, self.joined].iter().all(|n| *n > 0)
    }
}

/// What one association told its application.
#[derive(Debug, Default)]
struct Story {
    came_up: bool,
    /// When it came up, or its peer restarted, for the last time.
    began: Duration,
    /// Restarts, or what is like one.
    breaks: usize,
    given_back: usize,
    /// Of those, messages whose lifetime was over.
    stale: usize,
    ends: Vec<Event>,
}

impl Run {
    /// How every association ended, and that nothing was lost without a word.
    pub(crate) fn judge(&mut self) {
        self.tally.overtaken = self.network.most_overtaken();
        let ids: Vec<_> = self.known.keys().copied().collect();
        for (host, id) in ids {
            self.judge_one(host, id);
        }
        let is_told_by_peer = |end: &Event| {
            matches!(end, Event::CommLost(LostReason::PeerAborted { cause: None, .. }))
        };
        assert!(
            self.rebooted_at.is_some()
                || self.losses.is_empty()
                || !self.losses.iter().all(is_told_by_peer),
            "nobody aborted, and yet: {:?}",
            self.losses
        );
    }

    fn judge_one(&mut self, host: HostId, id: AssociationId) {
        let story = self.story(host, id);
        let [end] = &story.ends[..] else {
            panic!("an association ends once, and here: {:?}", story.ends);
        };
        let graceful = *end == Event::ShutdownComplete;
        assert!(story.came_up || !graceful, "closed, and never was up");
        assert!(
            !graceful || story.breaks > 0 || story.given_back == story.stale,
            "given back at a graceful end"
        );
        // What was sent to a host that crashed lies before its restart, even if nobody was told of one.
        // Its COOKIE ACK, and a SHUTDOWN with it, may have been on their way when it crashed.
        let is_whole = self.rebooted_at.is_none_or(|at| story.began > at + secs(1));
        let missing = self.network.application(host, id).missing();
        assert!(
            missing == 0 || !is_whole,
            "{missing} messages neither arrived nor were given back: {end:?}"
        );
        self.tally.graceful += u64::from(graceful);
        self.tally.lost += u64::from(!graceful);
        self.losses.extend(story.ends.iter().filter(|_| !graceful).cloned());
        self.tally.damaged += self.network.endpoint(host).counters().bad_checksum;
        self.tally.joined += self.network.application(host, id).joined() as u64;
    }

    fn story(&self, host: HostId, id: AssociationId) -> Story {
        let mut story = Story::default();
        for logged in self.network.events(host).iter().filter(|l| l.association == id) {
            match &logged.event {
                Event::CommUp { .. } => {
                    story.came_up = true;
                    story.began = logged.at;
                    // What went with a cookie to a peer that was then gone (RFC 9260, 5.2.4, B).
                    story.breaks += usize::from(story.given_back > story.stale);
                    assert!(
                        story.given_back == story.stale || self.rebooted_at.is_some(),
                        "nobody began anew"
                    );
                }
                Event::SendFailed { message, sent } => {
                    story.given_back += 1;
                    let options = message.options.as_ref();
                    let is_stale =
                        !sent && options.is_some_and(|options| options.lifetime.is_some());
                    story.stale += usize::from(is_stale);
                }
                Event::Restart => {
                    story.breaks += 1;
                    story.began = logged.at;
                }
                Event::CommLost(_) | Event::ShutdownComplete => {
                    story.ends.push(logged.event.clone());
                }
                _ => {}
            }
        }
        story
    }
}
