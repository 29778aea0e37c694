//! Two sockets of `dcsctp`.

use std::time::Duration;

use bytes::Bytes;
use dcsctp::api::{
    DcSctpSocket, Message, Options, PpId, SendOptions, SocketEvent, SocketTime, StreamId,
};

use super::{PACKET, Pair, TURN, WINDOW};

pub struct Dcsctp {
    ends: [Box<dyn DcSctpSocket>; 2],
    now: SocketTime,
}

impl Pair for Dcsctp {
    fn connect() -> Self {
        let options = Options {
            mtu: PACKET as usize,
            max_receiver_window_buffer_size: WINDOW as usize,
            ..Options::default()
        };
        let ends = ["client", "server"].map(|name| dcsctp::new_socket(name, &options));
        let mut pair = Self { ends, now: SocketTime::zero() };
        pair.ends[0].connect();
        for _ in 0..4 {
            pair.turn(0);
            pair.turn(1);
            pair.pass(50);
        }
        pair
    }

    fn send(&mut self, message: &Bytes) -> bool {
        let message = Message::new(StreamId(0), PpId(0), message.to_vec());
        self.ends[0].send(message, &SendOptions::default()).is_ok()
    }

    fn turn(&mut self, from: usize) -> u64 {
        let [client, server] = &mut self.ends;
        let (from_end, to_end) = if from == 0 { (client, server) } else { (server, client) };
        let mut packets = 0;
        while packets < TURN as u64 {
            match from_end.poll_event() {
                Some(SocketEvent::SendPacket(packet)) => {
                    packets += 1;
                    to_end.handle_input(&packet);
                }
                Some(_) => {}
                None => break,
            }
        }
        packets
    }

    fn receive(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(message) = self.ends[1].get_next_message() {
            bytes += message.payload.len();
        }
        bytes
    }

    fn pass(&mut self, microseconds: u64) {
        self.now = self.now + Duration::from_micros(microseconds);
        for end in &mut self.ends {
            end.advance_time(self.now);
        }
    }
}
