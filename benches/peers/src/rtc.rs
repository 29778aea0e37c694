//! An end of `rtc-sctp`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Payload,
    PayloadProtocolIdentifier, ServerConfig, TransportConfig,
};
use rtc_shared::TransportProtocol;

use super::polled::{End, MESSAGE_MAX, STREAM};
use super::{PACKET, WINDOW};

pub struct Rtc {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
}

fn transport() -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(WINDOW)
        .with_max_message_size(MESSAGE_MAX)
}

impl Rtc {
    fn association(&mut self) -> &mut Association {
        &mut self.association.as_mut().unwrap().1
    }
}

impl End for Rtc {
    fn new(own: SocketAddr, is_server: bool) -> Self {
        let mut config = EndpointConfig::new();
        config.max_payload_size(rtc_sctp::max_payload_size_for_mtu(PACKET));
        let server = is_server.then(|| Arc::new(ServerConfig::new(transport())));
        let endpoint = Endpoint::new(own, TransportProtocol::UDP, Arc::new(config), server);
        Self { endpoint, association: None }
    }

    fn connect(&mut self, now: Instant, peer: SocketAddr) {
        self.association = self.endpoint.connect(now, ClientConfig::new(transport()), peer).ok();
    }

    fn open(&mut self) {
        self.association().open_stream(STREAM, PayloadProtocolIdentifier::Binary).unwrap();
    }

    fn write(&mut self, now: Instant, message: &Bytes) -> bool {
        let mut stream = self.association().stream(STREAM).unwrap();
        stream.write_sctp(now, message, PayloadProtocolIdentifier::Binary).is_ok()
    }

    fn poll(&mut self, now: Instant) -> Vec<Bytes> {
        let Some((handle, association)) = &mut self.association else { return Vec::new() };
        if association.poll_timeout().is_some_and(|at| at <= now) {
            association.handle_timeout(now);
        }
        while let Some(event) = association.poll_endpoint_event() {
            self.endpoint.handle_event(*handle, event);
        }
        while association.poll().is_some() {}
        match association.poll_transmit(now).map(|transmit| transmit.message) {
            Some(Payload::RawEncode(packets)) => packets,
            _ => Vec::new(),
        }
    }

    fn take(&mut self, now: Instant, from: SocketAddr, packet: Bytes) {
        match self.endpoint.handle(now, from, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                self.association().handle_event(event);
            }
            _ => {}
        }
    }

    fn accept(&mut self) -> bool {
        self.association().accept_stream().is_some()
    }

    fn read(&mut self) -> Option<usize> {
        let message = self.association().stream(STREAM).ok()?.read_sctp().ok()??;
        Some(message.len())
    }
}
