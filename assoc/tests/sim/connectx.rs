//! What `connectx` refuses, and what it makes of odd lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use usctp_assoc::sim::{Ladder, PEER_PORT, PORT, a, a6, z, z6};
use usctp_assoc::{AssociationState, ConnectError, ConnectOptions, LostReason};
use usctp_chunk::{CauseCode, Chunk, ChunkType};

use crate::world::{config, ports, secs};

const EINVAL: i32 = 22;
const E2BIG: i32 = 7;
const ENOBUFS_FREEBSD: i32 = 55;

fn dual(name: &str) -> Ladder {
    Ladder::with(name, config(|_| {}), &[a(1), a6(1)], &[z(1), z(2), z6(1)])
}

fn refusal(ladder: &mut Ladder, list: &[SocketAddr]) -> ConnectError {
    let error = ladder.network.connectx(ladder.ours, list, ConnectOptions::default()).unwrap_err();
    ladder.silence(std::time::Duration::ZERO);
    assert_eq!(ladder.network.trace().0, 0, "nothing was sent");
    assert_eq!(ladder.network.newest(ladder.ours), None, "nothing was created");
    error
}

fn socket(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), PEER_PORT)
}

#[test]
fn each_fault_of_a_list_is_named_with_its_index_and_errnos() {
    let ladder = &mut dual("each_fault_of_a_list_is_named_with_its_index_and_errnos");
    let good = socket(z(1));
    let (zero, zero6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    let multicast: IpAddr = Ipv4Addr::new(224, 0, 0, 1).into();
    let multicast6: IpAddr = "ff02::1".parse().unwrap();
    let link_local: IpAddr = "fe80::1".parse().unwrap();
    let other_port = SocketAddr::new(z(2), 7001);
    let table = [
        (vec![], ConnectError::Empty, EINVAL),
        (vec![SocketAddr::new(z(1), 0)], ConnectError::PortZero { index: 0 }, EINVAL),
        (vec![good, SocketAddr::new(z(2), 0)], ConnectError::PortZero { index: 1 }, EINVAL),
        (
            vec![good, other_port],
            ConnectError::PortMismatch { index: 1, port: 7001, first: PEER_PORT },
            EINVAL,
        ),
        (
            vec![good, socket(zero)],
            ConnectError::Unspecified { index: 1, address: zero },
            ENOBUFS_FREEBSD,
        ),
        (vec![good, socket(zero6)], ConnectError::Unspecified { index: 1, address: zero6 }, EINVAL),
        (vec![socket(multicast)], ConnectError::Multicast { index: 0, address: multicast }, EINVAL),
        (
            vec![good, socket(multicast6)],
            ConnectError::Multicast { index: 1, address: multicast6 },
            EINVAL,
        ),
        (vec![good, socket(Ipv4Addr::BROADCAST)], ConnectError::Broadcast { index: 1 }, EINVAL),
        (
            vec![good, socket(link_local)],
            ConnectError::LinkLocalNoScope { index: 1, address: link_local },
            EINVAL,
        ),
        (
            vec![SocketAddr::new(a(1), PORT)],
            ConnectError::SelfConnect { index: 0, address: a(1) },
            EINVAL,
        ),
    ];
    for (list, error, freebsd) in table {
        assert_eq!(refusal(ladder, &list), error);
        assert_eq!((error.errno_linux(), error.errno_freebsd()), (EINVAL, freebsd), "{error}");
    }
}

#[test]
fn an_address_of_a_family_the_endpoint_lacks_is_refused() {
    let name = "an_address_of_a_family_the_endpoint_lacks_is_refused";
    let mut ladder = Ladder::new(name);
    let error = refusal(&mut ladder, &[socket(z(1)), socket(z6(1))]);
    assert_eq!(error, ConnectError::FamilyDisabled { index: 1, address: z6(1) });
    let mut ladder = Ladder::with(name, config(|_| {}), &[a6(1)], &[z6(1)]);
    let error = refusal(&mut ladder, &[socket(z(1))]);
    assert_eq!(error, ConnectError::FamilyDisabled { index: 0, address: z(1) });
}

#[test]
fn a_link_local_address_with_its_zone_is_taken() {
    let mut ladder = dual("a_link_local_address_with_its_zone_is_taken");
    let zoned = SocketAddrV6::new("fe80::1".parse().unwrap(), PEER_PORT, 0, 2);
    let list = [socket(z(1)), zoned.into()];
    ladder.network.connectx(ladder.ours, &list, ConnectOptions::default()).unwrap();
}

#[test]
fn sixty_four_addresses_are_taken_and_sixty_five_are_not() {
    let name = "sixty_four_addresses_are_taken_and_sixty_five_are_not";
    let many: Vec<_> = (1..=65).map(|host| socket(Ipv4Addr::new(192, 0, 2, host))).collect();
    let mut ladder = Ladder::new(name);
    let error = refusal(&mut ladder, &many);
    assert_eq!(error, ConnectError::TooMany { count: 65, max: 64 });
    assert_eq!((error.errno_linux(), error.errno_freebsd()), (EINVAL, E2BIG));
    ladder.network.connectx(ladder.ours, &many[..64], ConnectOptions::default()).unwrap();
}

#[test]
fn a_duplicate_counts_once_and_does_not_escape_the_drop_rule() {
    let mapped = match z(1) {
        IpAddr::V4(address) => socket(address.to_ipv6_mapped()),
        IpAddr::V6(_) => unreachable!(),
    };
    for list in [[socket(z(1)), socket(z(1)), socket(z(2))], [socket(z(1)), mapped, socket(z(2))]] {
        let mut ladder = dual("a_duplicate_counts_once_and_does_not_escape_the_drop_rule");
        let options = ConnectOptions::default();
        ladder.id = Some(ladder.network.connectx(ladder.ours, &list, options).unwrap());
        assert_eq!(ladder.paths().iter().map(|path| path.peer).collect::<Vec<_>>(), [z(1), z(2)]);
        ladder.expects(z(1), &[ChunkType::INIT]);
        ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
        ladder.says(z(2), &[ladder.init_ack(&[z(2)])]);
        ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
        assert_eq!(ladder.paths().iter().map(|path| path.peer).collect::<Vec<_>>(), [z(2)]);
    }
}

#[test]
fn a_mixed_list_uses_both_families() {
    let mut ladder = dual("a_mixed_list_uses_both_families");
    ladder.establishes(&[z6(1), z(1)]);
    assert_eq!(ladder.paths().iter().map(|path| path.peer).collect::<Vec<_>>(), [z6(1), z(1)]);
}

#[test]
fn an_overlap_with_an_association_in_any_state_is_refused_and_creates_nothing() {
    use AssociationState as S;
    let name = "an_overlap_with_an_association_in_any_state_is_refused_and_creates_nothing";
    let states = [
        (S::CookieWait, 114),
        (S::CookieEchoed, 114),
        (S::Established, 106),
        (S::ShutdownPending, 106),
        (S::ShutdownSent, 106),
        (S::ShutdownReceived, 106),
        (S::ShutdownAckSent, 106),
    ];
    for (state, linux) in states {
        let mut ladder = Ladder::in_state(name, state);
        let list = ports(&[z(2), z(1)]);
        let error =
            ladder.network.connectx(ladder.ours, &list, ConnectOptions::default()).unwrap_err();
        let association = ladder.id();
        assert_eq!(error, ConnectError::InUse { index: 1, address: z(1), association, state });
        assert_eq!((error.errno_linux(), error.errno_freebsd()), (linux, 37));
        assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 1);
        assert_eq!(ladder.state(), state);
        assert!(ladder.hears_all().is_empty());
    }
}

#[test]
fn the_same_address_with_another_port_is_another_peer() {
    let mut ladder = Ladder::in_state(
        "the_same_address_with_another_port_is_another_peer",
        AssociationState::Established,
    );
    let list = [SocketAddr::new(z(1), PEER_PORT + 1)];
    ladder.network.connectx(ladder.ours, &list, ConnectOptions::default()).unwrap();
    assert_eq!(ladder.network.endpoint(ladder.ours).associations().count(), 2);
}

#[test]
fn a_disjoint_list_may_be_opened_beside_and_an_ended_association_is_no_obstacle() {
    let name = "a_disjoint_list_may_be_opened_beside_and_an_ended_association_is_no_obstacle";
    let mut ladder = Ladder::in_state(name, AssociationState::Established);
    let first = ladder.id();
    ladder.connectx(&[z(2), z(3)]);
    ladder.expects(z(2), &[ChunkType::INIT]);
    ladder
        .network
        .with(ladder.ours, first, |association, now| association.abort(now, Default::default()));
    assert!(matches!(ladder.hears().only(), Chunk::Abort(_)));
    ladder.connectx(&[z(1)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
}

#[test]
fn a_connection_beyond_the_limit_of_associations_is_refused() {
    let name = "a_connection_beyond_the_limit_of_associations_is_refused";
    let config = config(|options| options.limits.associations = 1);
    let mut ladder = Ladder::with(name, config, &[a(1)], &[z(1), z(2)]);
    ladder.connectx(&[z(1)]);
    let error = ladder.network.connectx(ladder.ours, &ports(&[z(2)]), ConnectOptions::default());
    assert_eq!(error.unwrap_err(), ConnectError::TooManyAssociations { max: 1 });
}

#[test]
fn each_way_to_lose_an_association_has_the_errno_of_both_systems() {
    let refused = |no_sctp| LostReason::Refused { peer: z(1), cause: None, no_sctp };
    let table = [
        (LostReason::SetupTimeout, 110, 60),
        (LostReason::Deadline, 110, 60),
        (LostReason::TooManyRetransmissions, 110, 60),
        (LostReason::ShutdownTimeout, 110, 60),
        (LostReason::Unreachable, 101, 51),
        (refused(false), 111, 61),
        // connectx.md, 1: ENOPROTOOPT, and like an ABORT.
        (refused(true), 92, 61),
        (LostReason::PeerAborted { cause: None, reason: bytes::Bytes::new() }, 104, 54),
        (LostReason::LocalAbort, 103, 53),
        (LostReason::PeerViolation(CauseCode::PROTOCOL_VIOLATION), 103, 53),
    ];
    for (reason, linux, freebsd) in table {
        assert_eq!((reason.errno_linux(), reason.errno_freebsd()), (linux, freebsd), "{reason:?}");
    }
}

#[test]
fn what_became_of_each_attempt_is_counted() {
    let mut ladder = dual("what_became_of_each_attempt_is_counted");
    ladder.connectx(&[z(1), z(2)]);
    ladder.expects(z(1), &[ChunkType::INIT]);
    ladder.expects_within(secs(1), z(2), &[ChunkType::INIT]);
    ladder.says(z(2), &[ladder.init_ack(&[z(2)])]);
    ladder.expects(z(2), &[ChunkType::COOKIE_ECHO]);
    ladder.says(z(2), &[Chunk::CookieAck]);
    let options = ConnectOptions::default().with(|options| options.deadline = Some(secs(1)));
    ladder.connectx_with(&[z6(1)], options);
    ladder.network.run_for(secs(2));
    let counters = ladder.network.endpoint(ladder.ours).counters().connects;
    assert_eq!((counters.begun, counters.established, counters.failed), (2, 1, 1));
    assert_eq!(
        (counters.inits_sent, counters.moved_on, counters.addresses_dropped),
        (3, 1, 1),
        "{counters:?}"
    );
}
