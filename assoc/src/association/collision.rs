//! INIT and COOKIE ECHO for an association that exists already (RFC 9260, section 5.2).

use std::net::IpAddr;

use usctp_chunk::VerificationTag;

use crate::cookie::{Cookie, Tags, Ties};

/// What a COOKIE ECHO is to an association that exists (RFC 9260, table 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieAction {
    /// (A) The peer restarted.
    Restart,
    /// (B) Both sides set up at the same time, and the peer chose a new tag since.
    Collision,
    /// (C) The cookie of an attempt of ours that is over: discarded.
    Late,
    /// (D) The peer repeats its cookie: COOKIE ACK got lost, or has not been sent.
    Duplicate,
    /// Not in the table: discarded.
    None,
}

/// RFC 9260, table 12. The peer's tag of the association is 0 while it is not known.
pub(crate) fn cookie_action(tags: Tags, ties: Ties, cookie: &Cookie) -> CookieAction {
    let local = cookie.tags.local == tags.local;
    let peer = cookie.tags.peer == tags.peer;
    let tied = cookie.ties == ties && ties != Ties::default();
    match (local, peer) {
        (true, true) => CookieAction::Duplicate,
        (true, false) => CookieAction::Collision,
        (false, true) if cookie.ties == Ties::default() => CookieAction::Late,
        (false, false) if tied => CookieAction::Restart,
        (false, _) => CookieAction::None,
    }
}

/// What to do about an INIT for an association that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InitAction {
    /// (5.2.1) Answered with the tag and the TSN of our own INIT, and these ties.
    AnswerAsOffered(Ties),
    /// (5.2.1) The same, but not where it came from: as if it had come from this address that the application listed.
    AnswerAt {
        peer: IpAddr,
        udp_port: Option<u16>,
        zone: u32,
    },
    /// (5.2.2) Answered with a new tag; the cookie is tied to the association.
    AnswerAnew(Ties),
    /// It adds these addresses, which would let a stranger take the association over.
    RefuseNewAddresses(Vec<IpAddr>),
    /// (9.2) SHUTDOWN ACK is sent once more.
    RepeatShutdownAck,
    Discard,
}

/// The tags of an association whose peer's tag may not be known.
pub(crate) fn tags(local: VerificationTag, peer: Option<VerificationTag>) -> Tags {
    Tags { local, peer: peer.unwrap_or(VerificationTag::ZERO) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use usctp_chunk::Tsn;

    use super::*;
    use crate::cookie::{Ports, Route};
    use crate::negotiate::Negotiated;
    use crate::wire::AddressSet;

    fn cookie(local: u32, peer: u32, ties: Ties) -> Cookie {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Cookie {
            created: Duration::ZERO,
            lifetime: Duration::from_secs(60),
            ports: Ports { local: 1, peer: 2 },
            tags: Tags { local: VerificationTag(local), peer: VerificationTag(peer) },
            ties,
            local_tsn: Tsn::default(),
            peer_tsn: Tsn::default(),
            negotiated: Negotiated { outbound_streams: 1, inbound_streams: 1 },
            peer_rwnd: 1500,
            adaptation: None,
            route: Route {
                local: address,
                peer: address,
                udp_port: None,
                zone: 0,
                sources: AddressSet::default(),
            },
            addresses: vec![],
        }
    }

    #[test]
    fn every_row_of_table_12_and_every_case_outside_it_is_decided_as_written() {
        use CookieAction::*;
        let (m, x) = (10, 99);
        let (tie_m, tie_x) = (Ties { local: 3, peer: 4 }, Ties { local: 5, peer: 6 });
        let tie_half = Ties { local: 3, peer: 6 };
        let tie_0 = Ties::default();
        let known = tags(VerificationTag(m), Some(VerificationTag(m + 1)));
        let rows = [
            (x, x, tie_m, Restart),
            (x, x, tie_x, None),
            (x, x, tie_half, None),
            (x, x, tie_0, None),
            (m, x, tie_m, Collision),
            (m, x, tie_x, Collision),
            (m, x, tie_0, Collision),
            (x, m + 1, tie_0, Late),
            (x, m + 1, tie_m, None),
            (x, m + 1, tie_x, None),
            (m, m + 1, tie_0, Duplicate),
            (m, m + 1, tie_m, Duplicate),
            (m, m + 1, tie_x, Duplicate),
        ];
        for (local, peer, ties, action) in rows {
            let found = cookie_action(known, tie_m, &cookie(local, peer, ties));
            assert_eq!(found, action, "local {local} peer {peer} {ties:?}");
        }
        let unknown = tags(VerificationTag(m), Option::None);
        assert_eq!(cookie_action(unknown, tie_0, &cookie(m, x, tie_0)), Collision);
        assert_eq!(cookie_action(unknown, tie_0, &cookie(x, x, tie_0)), None, "no tie at all");
    }
}
