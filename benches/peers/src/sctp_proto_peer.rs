//! An end of `sctp-proto`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Payload,
    PayloadProtocolIdentifier, ServerConfig, TransportConfig,
};

use super::polled::{End, MESSAGE_MAX, STREAM};
use super::{PACKET, WINDOW};

pub struct SctpProto {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
}

fn transport() -> Arc<TransportConfig> {
    let transport = TransportConfig::default()
        .with_max_receive_buffer_size(WINDOW)
        .with_max_send_message_size(MESSAGE_MAX)
        .with_max_receive_message_size(MESSAGE_MAX);
    Arc::new(transport)
}

impl SctpProto {
    fn association(&mut self) -> &mut Association {
        &mut self.association.as_mut().unwrap().1
    }
}

impl End for SctpProto {
    fn new(_own: SocketAddr, is_server: bool) -> Self {
        let mut config = EndpointConfig::new();
        // Behind the common header and the header of a DATA chunk.
        config.max_payload_size(PACKET - 12 - 16);
        let server = is_server.then(|| {
            let mut server = ServerConfig::new();
            server.transport = transport();
            Arc::new(server)
        });
        Self { endpoint: Endpoint::new(Arc::new(config), server), association: None }
    }

    fn connect(&mut self, _now: Instant, peer: SocketAddr) {
        let mut client = ClientConfig::new();
        client.transport = transport();
        self.association = self.endpoint.connect(client, peer).ok();
    }

    fn open(&mut self) {
        self.association().open_stream(STREAM, PayloadProtocolIdentifier::Binary).unwrap();
    }

    fn write(&mut self, _now: Instant, message: &Bytes) -> bool {
        let mut stream = self.association().stream(STREAM).unwrap();
        stream.write_sctp(message, PayloadProtocolIdentifier::Binary).is_ok()
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
        match association.poll_transmit(now).map(|transmit| transmit.payload) {
            Some(Payload::RawEncode(packets)) => packets,
            _ => Vec::new(),
        }
    }

    fn take(&mut self, now: Instant, from: SocketAddr, packet: Bytes) {
        match self.endpoint.handle(now, from, None, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                self.association().handle_event(event);
            }
            None => {}
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
