//! What was under way to an address whose path ends: because the address became one of this host, or was never the peer's.

use usctp_assoc::sim::{Heard, Ladder, a, kinds, z};
use usctp_assoc::{AssociationState, Datagram, Ecn};
use usctp_chunk::{Abort, Chunk, ChunkType, Heartbeat, VerificationTag};

use crate::rfc::{double, hears_numbers};
use crate::world::ms;

/// A's host gets one of Z's addresses; what A sends then.
fn gains(ladder: &mut Ladder, address: std::net::IpAddr) -> Vec<Heard> {
    ladder.network.with_endpoint(ladder.ours, |endpoint, _| {
        endpoint.set_host_addresses([(a(1), 0), (a(2), 0), (address, 0)]);
    });
    ladder.hears_all()
}

/// Where packets of these chunks alone went.
fn went(heard: &[Heard], chunk: ChunkType) -> Vec<std::net::IpAddr> {
    let those = heard.iter().filter(|heard| kinds(&heard.chunks) == [chunk]);
    those.map(|heard| heard.destination).collect()
}

/// A packet of Z's, for several that come before A answers.
fn packet(ladder: &Ladder, tag: VerificationTag, from: std::net::IpAddr, chunk: Chunk) -> Datagram {
    Datagram {
        source: from,
        destination: a(1),
        udp_port: None,
        zone: 0,
        ecn: Ecn::NotEct,
        payload: ladder.packet(tag, &[chunk]),
    }
}

#[test]
fn a_cookie_that_went_to_an_address_which_becomes_this_hosts_goes_to_another_at_once() {
    let name = "a_cookie_that_went_to_an_address_which_becomes_this_hosts_goes_to_another_at_once";
    for gained in [z(1), z(2)] {
        let mut ladder = Ladder::new(name);
        ladder.connectx(&[z(1), z(2)]);
        ladder.expects(z(1), &[ChunkType::INIT]);
        ladder.says(z(1), &[ladder.init_ack(&[z(1), z(2)])]);
        ladder.expects(z(1), &[ChunkType::COOKIE_ECHO]);
        let heard = gains(&mut ladder, gained);
        let again = went(&heard, ChunkType::COOKIE_ECHO);
        assert_eq!(again, if gained == z(1) { vec![z(2)] } else { vec![] });
        let rest = if gained == z(1) { z(2) } else { z(1) };
        ladder.says(rest, &[Chunk::CookieAck]);
        assert_eq!(ladder.state(), AssociationState::Established);
    }
}

#[test]
fn a_close_goes_on_by_another_path_at_once_when_its_own_ends() {
    let name = "a_close_goes_on_by_another_path_at_once_when_its_own_ends";
    for chunk in [ChunkType::SHUTDOWN, ChunkType::SHUTDOWN_ACK] {
        for gained in [z(1), z(2)] {
            let mut ladder = double(name);
            if chunk == ChunkType::SHUTDOWN {
                ladder.shuts_down();
            } else {
                ladder.says(z(1), &[ladder.shutdown(0)]);
            }
            ladder.expects(z(1), &[chunk]);
            let heard = gains(&mut ladder, gained);
            let again = went(&heard, chunk);
            assert_eq!(again, if gained == z(1) { vec![z(2)] } else { vec![] }, "{gained}");
        }
    }
}

#[test]
fn an_answer_to_an_address_that_ends_before_it_left_goes_to_another_and_holds_nothing_up() {
    let name = "an_answer_to_an_address_that_ends_before_it_left_goes_to_another";
    let asks = |text: &'static [u8]| Chunk::Heartbeat(Heartbeat::new(text.into()));
    for disowned in [false, true] {
        let mut ladder = Ladder::new(name);
        ladder.network.listen(ladder.ours, true);
        ladder.says_with_tag(VerificationTag::ZERO, z(1), &[ladder.init(&[z(1), z(2)])]);
        let init_ack = ladder.expects(z(1), &[ChunkType::INIT_ACK]);
        ladder.says(z(1), &[Chunk::CookieEcho(init_ack.cookie())]);
        ladder.id = ladder.network.newest(ladder.ours);
        ladder.hears_all();
        // z(2) is not confirmed yet: a HEARTBEAT of whoever has it, and then its word that it knows nothing of us.
        let asked = packet(&ladder, ladder.our_tag, z(2), asks(b"from z(2)"));
        let abort = Chunk::Abort(Abort { tag_reflected: true, causes: Default::default() });
        let disowns = packet(&ladder, ladder.peer_tag, z(2), abort);
        ladder.network.with_endpoint(ladder.ours, |endpoint, now| {
            endpoint.handle_datagram(now, asked);
            if disowned {
                endpoint.handle_datagram(now, disowns);
            } else {
                endpoint.set_host_addresses([(a(1), 0), (a(2), 0), (z(2), 0)]);
            }
        });
        assert_eq!(ladder.state(), AssociationState::Established);
        assert_eq!(ladder.paths().len(), 1);
        let heard = ladder.hears_all();
        assert_eq!(went(&heard, ChunkType::HEARTBEAT_ACK), [z(1)]);
        ladder.says(z(1), &[asks(b"from z(1)")]);
        ladder.expects(z(1), &[ChunkType::HEARTBEAT_ACK]);
        ladder.sends("and DATA");
        assert_eq!(hears_numbers(&mut ladder), [1]);
        ladder.silence(ms(0));
    }
}
