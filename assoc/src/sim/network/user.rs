//! What a test does in the network: it opens, sends, receives and closes, looks, and plays wire hosts.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Arrived, Network};
use crate::sim::answers::Mark;
use crate::sim::host::{Node, Sleep};
use crate::sim::{Application, HostId, Logged};
use crate::{
    AddressSet, Association, AssociationId, AssociationState, ConnectError, ConnectOptions, Ecn,
    Endpoint, Message, Received, SendError, Transmit,
};

impl Network {
    /// See [`Endpoint::connectx`].
    ///
    /// # Errors
    /// As there.
    pub fn connectx(
        &mut self,
        host: HostId,
        peers: &[SocketAddr],
        options: ConnectOptions,
    ) -> Result<AssociationId, ConnectError> {
        let now = self.now;
        self.input(host, |member| member.endpoint.connectx(now, peers, options))
    }

    /// See [`Endpoint::listen`].
    pub fn listen(&mut self, host: HostId, on: bool) {
        self.input(host, |member| member.endpoint.listen(on));
    }

    /// Does not serve a host for some time, as if its clock jumped: packets wait for it, and timers expire late, all
    /// of them before the first of the packets (`timers_first`) or after the last.
    pub fn sleep(&mut self, host: HostId, duration: Duration, timers_first: bool) {
        let until = self.now + duration;
        self.member_mut(host).asleep = Some(Sleep { until, timers_first });
    }

    /// Begins a host anew: a fresh endpoint with the same addresses, port and parameters takes the place of the old
    /// one, which forgets nothing but is never served again. The id of the fresh one.
    pub fn reboot(&mut self, host: HostId) -> HostId {
        let addresses = self.host(host).addresses.clone();
        self.reboot_at(host, &addresses)
    }

    /// The same with other addresses; those that it had belong to nobody.
    pub fn reboot_at(&mut self, host: HostId, addresses: &[IpAddr]) -> HostId {
        let name = self.host(host).name.clone();
        self.owners.values_mut().for_each(|owners| owners.retain(|owner| *owner != host));
        let old = self.member_mut(host);
        old.dead = true;
        let (port, config, pace) = (old.endpoint.port(), old.config.clone(), old.letterbox.pace);
        let new = self.add_endpoint(&name, addresses, port, config);
        self.set_pace(new, pace);
        new
    }

    /// From now on a translator of addresses gives the encapsulated packets of an address this UDP port; what goes to another
    /// one does not reach it.
    pub fn translate(&mut self, address: IpAddr, udp_port: u16) {
        self.translated.insert(address, udp_port);
    }

    /// The host has other addresses from now on, all of which its endpoint is bound to.
    pub fn change_addresses(&mut self, host: HostId, addresses: &[IpAddr]) {
        let mut lost = self.host(host).addresses.clone();
        lost.retain(|own| !addresses.contains(own));
        self.owners.values_mut().for_each(|owners| owners.retain(|owner| *owner != host));
        for address in addresses {
            self.owners.entry(*address).or_default().push(host);
        }
        self.host_mut(host).addresses = addresses.to_vec();
        self.with_endpoint(host, |endpoint, _| {
            endpoint.set_addresses(addresses.iter().copied());
            lost.iter().for_each(|address| endpoint.address_lost(*address));
        });
    }

    /// The application wants nothing more of an association: it is closed, what still comes is thrown away, and in the end it
    /// is forgotten.
    pub fn forsake(&mut self, host: HostId, id: AssociationId) {
        let now = self.now;
        self.input(host, |member| {
            member.applications.entry(id).or_default().forsaken = true;
            if let Some(association) = member.endpoint.association(id) {
                association.shutdown(now);
            }
        });
    }

    /// Whether the application of an association wants nothing more of it.
    pub fn is_forsaken(&self, host: HostId, id: AssociationId) -> bool {
        self.member(host).applications.get(&id).is_some_and(|application| application.forsaken)
    }

    /// Whether the application receives messages as soon as they are there (it does unless told otherwise).
    pub fn receive_eagerly(&mut self, host: HostId, eager: bool) {
        self.input(host, |member| member.eager = eager);
    }

    /// Receives one message.
    pub fn receive(&mut self, host: HostId, id: AssociationId) -> Option<Received> {
        let now = self.now;
        let received =
            self.act(host, |member| member.endpoint.association(id).and_then(|own| own.recv(now)));
        // Before anything that this leads to, such as the next message.
        received.iter().for_each(|received| self.deliver(host, id, received.clone()));
        self.drain(host);
        received
    }

    /// Sends one message.
    ///
    /// # Errors
    /// As [`Association::send`].
    pub fn send(
        &mut self,
        host: HostId,
        id: AssociationId,
        message: Message,
    ) -> Result<(), SendError> {
        let now = self.now;
        self.input(host, |member| {
            let association = member.endpoint.association(id).expect("tests send on what exists");
            association.send(now, message.clone())?;
            member.applications.entry(id).or_default().ledger.sent(message);
            Ok(())
        })
    }

    /// Sends messages as the send buffer takes them.
    pub fn offer(
        &mut self,
        host: HostId,
        id: AssociationId,
        messages: impl IntoIterator<Item = Message>,
    ) {
        self.input(host, |member| {
            member.applications.entry(id).or_default().backlog.extend(messages);
        });
    }

    /// Closes gracefully once everything offered was handed over.
    pub fn close_when_sent(&mut self, host: HostId, id: AssociationId) {
        self.input(host, |member| member.applications.entry(id).or_default().closes = true);
    }

    /// Does something with an association as one input; everything it leads to happens before this returns, unless the
    /// host is served in batches.
    ///
    /// # Panics
    /// If there is no such association.
    pub fn with<R>(
        &mut self,
        host: HostId,
        id: AssociationId,
        act: impl FnOnce(&mut Association, Instant) -> R,
    ) -> R {
        let now = self.now;
        self.input(host, |member| {
            act(member.endpoint.association(id).expect("tests use what exists"), now)
        })
    }

    /// Gives the endpoint an input of the caller's choice.
    pub fn with_endpoint<R>(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut Endpoint, Instant) -> R,
    ) -> R {
        let now = self.now;
        self.input(host, |member| act(&mut member.endpoint, now))
    }

    /// The endpoint of a host.
    pub fn endpoint(&self, host: HostId) -> &Endpoint {
        &self.member(host).endpoint
    }

    /// The state of an association, `Closed` if it is forgotten.
    pub fn state(&self, host: HostId, id: AssociationId) -> AssociationState {
        let association = self.member(host).endpoint.view(id);
        association.map_or(AssociationState::Closed, Association::state)
    }

    /// The newest association of a host, if it has one.
    pub fn newest(&self, host: HostId) -> Option<AssociationId> {
        self.member(host).endpoint.associations().max()
    }

    /// Everything the endpoint told its application so far.
    pub fn events(&self, host: HostId) -> &[Logged] {
        &self.member(host).events
    }

    /// How many messages an association has still to be offered.
    pub fn backlog(&self, host: HostId, id: AssociationId) -> usize {
        self.member(host).applications.get(&id).map_or(0, Application::backlog)
    }

    /// What the application of an association did so far.
    pub fn application(&mut self, host: HostId, id: AssociationId) -> &Application {
        self.application_mut(host, id)
    }

    /// Sends bytes from an address of a wire host.
    pub fn wire_sends(
        &mut self,
        host: HostId,
        source: IpAddr,
        destination: IpAddr,
        payload: Bytes,
    ) {
        self.wire_sends_over(host, (source, None), destination, payload);
    }

    /// The same from a UDP port, if there is one (RFC 6951).
    pub fn wire_sends_over(
        &mut self,
        host: HostId,
        (source, udp_port): (IpAddr, Option<u16>),
        destination: IpAddr,
        payload: Bytes,
    ) {
        let transmit = Transmit {
            source: Some(source),
            destination,
            udp_port,
            zone: 0,
            sources: AddressSet::default(),
            ecn: Ecn::NotEct,
            fragmentable: false,
            len: payload.len(),
        };
        self.put(host, &transmit, payload, Mark::NONE);
    }

    /// Takes the oldest packet that a wire host heard.
    pub fn wire_hears(&mut self, host: HostId) -> Option<Arrived> {
        match &mut self.host_mut(host).node {
            Node::Wire(inbox) => inbox.pop_front(),
            Node::Endpoint(_) => None,
        }
    }

    /// Whether a wire host has heard a packet that was not taken yet.
    pub fn wire_has_heard(&self, host: HostId) -> bool {
        matches!(&self.host(host).node, Node::Wire(inbox) if !inbox.is_empty())
    }
}
