//! Two endpoints of `sctp-proto`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Payload,
    PayloadProtocolIdentifier, ServerConfig, TransportConfig,
};

use super::{PACKET, Pair, TURN, WINDOW};

const MESSAGE_MAX: u32 = 1 << 16;
const STREAM: u16 = 0;

pub struct SctpProto {
    ends: [End; 2],
    now: Instant,
}

struct End {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    /// Packets that a poll gave beyond the turn's.
    ready: VecDeque<Bytes>,
    is_open: bool,
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1 + end as u8], 5000))
}

fn transport() -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(WINDOW)
        .with_max_send_message_size(MESSAGE_MAX)
        .with_max_receive_message_size(MESSAGE_MAX)
}

impl Pair for SctpProto {
    fn connect() -> Self {
        let now = Instant::now();
        let ends = [0, 1].map(|end| {
            let mut config = EndpointConfig::new();
            // Behind the common header and the header of a DATA chunk.
            config.max_payload_size(PACKET - 12 - 16);
            let server = (end == 1).then(|| {
                let mut server = ServerConfig::new();
                server.transport = Arc::new(transport());
                Arc::new(server)
            });
            let endpoint = Endpoint::new(Arc::new(config), server);
            End { endpoint, association: None, ready: VecDeque::new(), is_open: false }
        });
        let mut pair = Self { ends, now };
        let mut client = ClientConfig::new();
        client.transport = Arc::new(transport());
        let connected = pair.ends[0].endpoint.connect(client, address(1));
        pair.ends[0].association = connected.ok();
        for _ in 0..4 {
            pair.turn(0);
            pair.turn(1);
            pair.pass(50);
        }
        let (_, association) = pair.ends[0].association.as_mut().unwrap();
        association.open_stream(STREAM, PayloadProtocolIdentifier::Binary).unwrap();
        pair
    }

    fn send(&mut self, message: &Bytes) -> bool {
        let (_, association) = self.ends[0].association.as_mut().unwrap();
        let mut stream = association.stream(STREAM).unwrap();
        stream.write_sctp(message, PayloadProtocolIdentifier::Binary).is_ok()
    }

    fn turn(&mut self, from: usize) -> u64 {
        let mut packets = 0;
        let [client, server] = &mut self.ends;
        let (from_end, to_end) = if from == 0 { (client, server) } else { (server, client) };
        while packets < TURN as u64 {
            let Some(packet) = from_end.next(self.now) else { break };
            packets += 1;
            to_end.take(1 - from, self.now, packet);
        }
        packets
    }

    fn receive(&mut self) -> usize {
        let end = &mut self.ends[1];
        let Some((_, association)) = &mut end.association else { return 0 };
        if !end.is_open {
            end.is_open = association.accept_stream().is_some();
        }
        let Ok(mut stream) = association.stream(STREAM) else { return 0 };
        let mut bytes = 0;
        while let Ok(Some(message)) = stream.read_sctp() {
            bytes += message.len();
        }
        bytes
    }

    fn pass(&mut self, microseconds: u64) {
        self.now += Duration::from_micros(microseconds);
    }
}

impl End {
    fn next(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(packet) = self.ready.pop_front() {
            return Some(packet);
        }
        let (handle, association) = self.association.as_mut()?;
        if association.poll_timeout().is_some_and(|at| at <= now) {
            association.handle_timeout(now);
        }
        while let Some(event) = association.poll_endpoint_event() {
            self.endpoint.handle_event(*handle, event);
        }
        while association.poll().is_some() {}
        let transmit = association.poll_transmit(now)?;
        if let Payload::RawEncode(packets) = transmit.payload {
            self.ready.extend(packets);
        }
        self.ready.pop_front()
    }

    fn take(&mut self, own: usize, now: Instant, packet: Bytes) {
        match self.endpoint.handle(now, address(1 - own), None, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                }
            }
            None => {}
        }
    }
}
