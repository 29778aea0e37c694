//! How a host is served: what comes in is given to its endpoint, and what that leads to is taken out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::Rng;
use usctp_chunk::Packet;

use super::queue::Happening;
use super::{Arrived, Network};
use crate::sim::HostId;
use crate::sim::answers::{Glance, Mark};
use crate::sim::calm::Link;
use crate::sim::host::{Member, Node};
use crate::{AssociationId, Datagram, PathNotice, Transmit, out_of_the_blue};

/// How soon a host looks at what came, and how much of it before it takes out what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// Each input on its own, at once, and then all that it leads to.
    #[default]
    Prompt,
    /// As a driver does: what came within a time drawn from zero to `gather` is looked at together, and outputs are
    /// taken out after k inputs, where k is drawn anew each time, from 1 to `most`. A timer that is due comes last.
    Batches {
        /// The longest time that something waits to be looked at.
        gather: Duration,
        /// The greatest number of inputs of which the outputs are taken out together; at least 1.
        most: usize,
    },
}

/// What waits for a host to look at it.
#[derive(Debug)]
enum Input {
    Datagram(HostId, Datagram, Mark),
    Notice(PathNotice),
}

/// What came for a host and was not looked at yet.
#[derive(Debug, Default)]
pub(in crate::sim) struct Letterbox {
    pub(super) pace: Pace,
    inputs: VecDeque<Input>,
    /// Whether it is settled when the host looks next.
    is_waking: bool,
}

impl Network {
    /// Sets how a host is served from now on; a [reboot](Network::reboot) keeps it.
    pub fn set_pace(&mut self, host: HostId, pace: Pace) {
        self.member_mut(host).letterbox.pace = pace;
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(sender, datagram, mark) => {
                // Whoever has the address now gets it: the host may have begun anew on the way.
                let Some(host) = self.owner(sender, datagram.destination) else { return };
                let at = self.elapsed();
                match &mut self.host_mut(host).node {
                    Node::Wire(inbox) => inbox.push_back(Arrived { at, datagram }),
                    Node::Endpoint(member) if member.dead => {}
                    Node::Endpoint(member) if !is_for(member, &datagram) => {
                        self.wonder(host, &datagram, mark);
                    }
                    Node::Endpoint(_) => {
                        self.comes(host, Input::Datagram(sender, datagram, mark));
                    }
                }
            }
            Happening::Notice(host, notice) => match &self.host(host).node {
                Node::Endpoint(member) if !member.dead => self.comes(host, Input::Notice(notice)),
                _ => {}
            },
            Happening::Wake(host) => self.wake(host),
            Happening::Act(action) => action(self),
        }
    }

    /// A packet came for a port that nobody has on this host: it is answered as a driver does, without any endpoint.
    fn wonder(&mut self, host: HostId, datagram: &Datagram, mark: Mark) {
        let mut answer = BytesMut::new();
        if let Some(transmit) = out_of_the_blue(datagram, &mut answer) {
            let mark = Mark { number: 0, link: mark.link.next() };
            self.put(host, &transmit, answer.freeze(), mark);
        }
    }

    /// Something came for a host, which looks at it now or later.
    fn comes(&mut self, host: HostId, input: Input) {
        let now = self.now;
        if let Some(until) = self.member(host).asleep(now) {
            let again = match input {
                Input::Datagram(sender, datagram, mark) => {
                    Happening::Arrive(sender, datagram, mark)
                }
                Input::Notice(notice) => Happening::Notice(host, notice),
            };
            return self.queue.push(until, again);
        }
        if self.member(host).letterbox.pace == Pace::Prompt {
            return self.input(host, |member| member.take_in(now, input));
        }
        self.member_mut(host).letterbox.inputs.push_back(input);
        self.wake_soon(host);
    }

    fn wake_soon(&mut self, host: HostId) {
        let Pace::Batches { gather, .. } = self.member(host).letterbox.pace else { return };
        if !std::mem::replace(&mut self.member_mut(host).letterbox.is_waking, true) {
            let after = self.random.random_range(Duration::ZERO..=gather);
            self.queue.push(self.now + after, Happening::Wake(host));
        }
    }

    /// A host looks at all that has come, takes out what follows from time to time, and then from the rest.
    fn wake(&mut self, host: HostId) {
        let now = self.now;
        let member = self.member_mut(host);
        member.letterbox.is_waking = false;
        if member.dead {
            return;
        }
        if let Some(until) = member.asleep(now) {
            member.letterbox.is_waking = true;
            return self.queue.push(until, Happening::Wake(host));
        }
        self.look(host);
        if self.member(host).next_timer().is_some_and(|at| at <= now) {
            self.act(host, |member| member.endpoint.handle_timeout(now));
        }
        self.drain(host);
    }

    fn look(&mut self, host: HostId) {
        let now = self.now;
        let mut left = self.batch(host);
        while let Some(input) = self.member_mut(host).letterbox.inputs.pop_front() {
            self.act(host, |member| member.take_in(now, input));
            left -= 1;
            if left == 0 {
                self.drain(host);
                left = self.batch(host);
            }
        }
    }

    /// How many inputs are given until outputs are taken out.
    fn batch(&mut self, host: HostId) -> usize {
        match self.member(host).letterbox.pace {
            Pace::Prompt => 1,
            Pace::Batches { most, .. } => self.random.random_range(1..=most.max(1)),
        }
    }

    /// The nearest deadline of a host has come.
    pub(super) fn time_out(&mut self, host: HostId) {
        let now = self.now;
        // What came is looked at first, unless the host wakes up and expires what is overdue.
        if self.member(host).asleep(now).is_none() {
            self.look(host);
        }
        self.act(host, |member| member.endpoint.handle_timeout(now));
        self.drain(host);
    }

    /// Gives an input; what it leads to is taken out at once or, in batches, perhaps together with what follows it.
    pub(super) fn input<R>(&mut self, host: HostId, act: impl FnOnce(&mut Member) -> R) -> R {
        let result = self.act(host, act);
        let is_prompt = self.member(host).letterbox.pace == Pace::Prompt;
        match is_prompt || self.random.random() {
            true => self.drain(host),
            false => self.wake_soon(host),
        }
        result
    }

    pub(super) fn act<R>(&mut self, host: HostId, act: impl FnOnce(&mut Member) -> R) -> R {
        let member = self.member_mut(host);
        let result = act(member);
        let verdict = member.watch.after_input(&member.endpoint);
        self.hold(host, verdict);
        result
    }

    pub(super) fn drain(&mut self, host: HostId) {
        let (now, at) = (self.now, self.elapsed());
        for round in 0.. {
            assert!(round < 10_000, "the application and its endpoint talk without end");
            let mut buffer = std::mem::take(&mut self.buffer);
            let member = self.member_mut(host);
            let before = member.watch.after_input(&member.endpoint);
            let packets = member.packets(now, &mut buffer);
            self.buffer = buffer;
            self.hold(host, before);
            for (transmit, bytes) in packets {
                self.judge(host, &transmit, &bytes);
                let (number, link) = self.member_mut(host).sends(now, &transmit, &bytes);
                let link = link.unwrap_or_else(|fault| self.fails(host, &fault));
                self.put(host, &transmit, bytes, Mark { number, link });
            }
            let member = self.member_mut(host);
            member.calm.rests();
            member.deadline = member.endpoint.poll_timeout();
            let after =
                member.watch.after_packets(&member.endpoint, &member.config, now, member.deadline);
            let turn = member.turn(now, at);
            self.hold(host, after.and(turn.fault.map_or(Ok(()), Err)));
            turn.came_up.iter().for_each(|id| self.introduce(host, *id));
            for (id, received) in turn.received {
                self.deliver(host, id, received);
            }
            if !turn.acted {
                break;
            }
        }
        let member = self.member_mut(host);
        member.deadline = member.endpoint.poll_timeout();
    }
}

/// Whether a packet is for the endpoint's port, or for none at all.
fn is_for(member: &Member, datagram: &Datagram) -> bool {
    let packet = Packet::parse(&datagram.payload);
    // What is no packet, or for port 0, is counted by the endpoint.
    let port = packet.map_or(0, |packet| packet.header.destination_port);
    port == 0 || port == member.endpoint.port()
}

impl Member {
    fn take_in(&mut self, now: Instant, input: Input) {
        match input {
            Input::Datagram(_, datagram, mark) => {
                self.calm.hears(mark.link);
                self.hears(&datagram, mark.number);
                self.endpoint.handle_datagram(now, datagram);
            }
            Input::Notice(notice) => self.endpoint.handle_notice(now, notice),
        }
    }
    /// Notes what an association hears from its peer.
    fn hears(&mut self, datagram: &Datagram, number: u64) {
        let Some(glance) = Glance::at(&datagram.payload) else { return };
        for id in self.endpoint.associations() {
            let Some(association) = self.endpoint.view(id) else { continue };
            let is_its = association.ctx.me.local_tag == glance.tag
                && association.paths().any(|path| path.peer == datagram.source);
            if is_its {
                let application = self.applications.entry(id).or_default();
                application.answers.hears(glance, number, association);
            }
        }
    }

    /// Notes what an association says to its peer; the number of what that answers, and its place in the chain of answers.
    fn sends(
        &mut self,
        now: Instant,
        transmit: &Transmit,
        payload: &Bytes,
    ) -> (u64, Result<Link, String>) {
        let link = self.calm.sends(now, transmit.destination, payload, &self.config);
        let Some(glance) = Glance::at(payload) else { return (0, link) };
        let is_its = |id: &AssociationId| {
            self.endpoint.view(*id).is_some_and(|view| view.peer_tag() == Some(glance.tag))
        };
        let id = self.endpoint.associations().find(is_its);
        let number =
            id.map_or(0, |id| self.applications.entry(id).or_default().answers.sends(glance));
        (number, link)
    }
}
