//! The state cookie: all that an INIT ACK's sender must know again, signed and handed to the peer (RFC 9260, section 5.1.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use hmac::{Hmac, Mac};
use rand::RngCore;
use rand::rngs::StdRng;
use sha2::Sha256;
use usctp_chunk::{Tsn, VerificationTag};

use crate::negotiate::Negotiated;
use crate::wire::AddressSet;

/// The contents of a state cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie {
    /// When it was made, since the endpoint's epoch.
    pub(crate) created: Duration,
    pub(crate) lifetime: Duration,
    pub(crate) ports: Ports,
    pub(crate) tags: Tags,
    pub(crate) ties: Ties,
    pub(crate) local_tsn: Tsn,
    pub(crate) peer_tsn: Tsn,
    pub(crate) negotiated: Negotiated,
    pub(crate) peer_rwnd: u32,
    /// The peer's Adaptation Layer Indication.
    pub(crate) adaptation: Option<u32>,
    pub(crate) route: Route,
    /// The addresses the INIT listed.
    pub(crate) addresses: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) local: u16,
    pub(crate) peer: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) local: VerificationTag,
    pub(crate) peer: VerificationTag,
}

/// Nonces that tie a cookie to an association that existed when it was made; 0 if there was none.
///
/// They are not the tags, so a cookie that somebody reads gives nothing away (RFC 9260, 5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ties {
    pub(crate) local: u32,
    pub(crate) peer: u32,
}

/// The addresses that the INIT travelled between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) local: IpAddr,
    pub(crate) peer: IpAddr,
    pub(crate) udp_port: Option<u16>,
    /// The interface it came in by if an address is link-local.
    pub(crate) zone: u32,
    /// The local addresses that the INIT ACK told.
    pub(crate) sources: AddressSet,
}

/// The secret keys: the one that signs, and the one before it, which is still accepted.
pub(crate) struct KeyRing {
    current: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
    made_at: Instant,
    lifetime: Duration,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are shown to nobody.
        f.debug_struct("KeyRing").field("made_at", &self.made_at).finish_non_exhaustive()
    }
}

impl KeyRing {
    pub(crate) fn new(now: Instant, lifetime: Duration, rng: &mut StdRng) -> Self {
        Self { current: new_key(rng), previous: None, made_at: now, lifetime }
    }

    /// Signs a cookie.
    pub(crate) fn seal(&mut self, now: Instant, cookie: &Cookie, rng: &mut StdRng) -> Bytes {
        self.rotate(now, rng);
        // A vector is written to without a call for each field.
        let mut out = Vec::with_capacity(256);
        cookie.write(&mut out);
        let mac = self.current.clone().chain_update(&out).finalize().into_bytes();
        out.extend_from_slice(mac.get(..MAC_LEN).unwrap_or(&mac));
        out.into()
    }

    /// Authenticates a cookie and reads it (RFC 9260, 5.1.5, steps 1 and 2); `None` if it is not ours.
    pub(crate) fn open(&mut self, now: Instant, bytes: &Bytes, rng: &mut StdRng) -> Option<Cookie> {
        self.rotate(now, rng);
        let at = bytes.len().checked_sub(MAC_LEN)?;
        let (body, mac) = bytes.split_at_checked(at)?;
        let keys = [Some(&self.current), self.previous.as_ref()];
        // The comparison takes the same time wherever the MACs differ. A fuzzer cannot guess MACs.
        let ours = cfg!(fuzzing)
            || keys
                .into_iter()
                .flatten()
                .any(|key| key.clone().chain_update(body).verify_truncated_left(mac).is_ok());
        if ours { Cookie::read(body) } else { None }
    }

    fn rotate(&mut self, now: Instant, rng: &mut StdRng) {
        let age = now.saturating_duration_since(self.made_at);
        if age < self.lifetime {
            return;
        }
        let last = std::mem::replace(&mut self.current, new_key(rng));
        self.previous = (age < self.lifetime * 2).then_some(last);
        self.made_at = now;
    }
}

impl Cookie {
    /// Bytes that all have, with the MAC and without any address.
    pub(crate) const LEAST: usize = 45 + MAC_LEN;

    /// Bytes that addresses take of one.
    pub(crate) fn size_of(addresses: &[IpAddr]) -> usize {
        addresses.iter().map(|address| if address.is_ipv4() { 5 } else { 17 }).sum()
    }

    /// Short, since it goes to whoever claims to have an address: what most cookies have no need of is left out.
    fn write(&self, out: &mut Vec<u8>) {
        let Route { local, peer, udp_port, zone, sources } = self.route;
        let ties = Some(self.ties).filter(|ties| *ties != Ties::default());
        let zone = Some(zone).filter(|zone| *zone != 0);
        out.put_u8(VERSION);
        let flags = [ties.is_some(), self.adaptation.is_some(), udp_port.is_some(), zone.is_some()];
        out.put_u8(flags.into_iter().fold(0, |bits, flag| bits << 1 | u8::from(flag)));
        out.put_uint(self.created.as_millis() as u64, TIME_LEN);
        out.put_u32(self.lifetime.as_millis() as u32);
        out.put_u16(self.ports.local);
        out.put_u16(self.ports.peer);
        out.put_u32(self.tags.local.0);
        out.put_u32(self.tags.peer.0);
        out.put_u32(self.local_tsn.value());
        out.put_u32(self.peer_tsn.value());
        out.put_u16(self.negotiated.outbound_streams);
        out.put_u16(self.negotiated.inbound_streams);
        out.put_u32(self.peer_rwnd);
        out.put_u32(sources.0);
        if let Some(Ties { local, peer }) = ties {
            out.put_u32(local);
            out.put_u32(peer);
        }
        if let Some(adaptation) = self.adaptation {
            out.put_u32(adaptation);
        }
        if let Some(port) = udp_port {
            out.put_u16(port);
        }
        if let Some(zone) = zone {
            out.put_u32(zone);
        }
        put_address(out, local);
        put_address(out, peer);
        out.put_u8(self.addresses.len() as u8);
        for &address in &self.addresses {
            put_address(out, address);
        }
    }

    /// Reads what `write` wrote. The bytes are authentic, and are read as if they were not.
    fn read(mut body: &[u8]) -> Option<Self> {
        if body.try_get_u8().ok()? != VERSION {
            return None;
        }
        let flags = body.try_get_u8().ok()?;
        let [ties, adaptation, udp_port, zone] = [8, 4, 2, 1].map(|bit| flags & bit != 0);
        let created = Duration::from_millis(body.try_get_uint(TIME_LEN).ok()?);
        let lifetime = Duration::from_millis(body.try_get_u32().ok()?.into());
        let ports = Ports { local: body.try_get_u16().ok()?, peer: body.try_get_u16().ok()? };
        let tags = Tags { local: get_tag(&mut body)?, peer: get_tag(&mut body)? };
        let local_tsn = Tsn::new(body.try_get_u32().ok()?);
        let peer_tsn = Tsn::new(body.try_get_u32().ok()?);
        let negotiated = Negotiated {
            outbound_streams: body.try_get_u16().ok()?,
            inbound_streams: body.try_get_u16().ok()?,
        };
        let peer_rwnd = body.try_get_u32().ok()?;
        let sources = AddressSet(body.try_get_u32().ok()?);
        let ties = match ties {
            true => Ties { local: body.try_get_u32().ok()?, peer: body.try_get_u32().ok()? },
            false => Ties::default(),
        };
        let adaptation = if adaptation { Some(body.try_get_u32().ok()?) } else { None };
        let udp_port = if udp_port { Some(body.try_get_u16().ok()?) } else { None };
        let zone = if zone { body.try_get_u32().ok()? } else { 0 };
        let (local, peer) = (get_address(&mut body)?, get_address(&mut body)?);
        let route = Route { local, peer, udp_port, zone, sources };
        let count = body.try_get_u8().ok()?;
        let addresses = (0..count).map(|_| get_address(&mut body)).collect::<Option<Vec<_>>>()?;
        body.is_empty().then_some(Self {
            created,
            lifetime,
            ports,
            tags,
            ties,
            local_tsn,
            peer_tsn,
            negotiated,
            peer_rwnd,
            adaptation,
            route,
            addresses,
        })
    }
}

fn new_key(rng: &mut StdRng) -> Hmac<Sha256> {
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    Hmac::new_from_slice(&key).expect("HMAC takes keys of any length")
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.put_u8(4);
            out.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.put_u8(6);
            out.put_slice(&v6.octets());
        }
    }
}

fn get_address(body: &mut &[u8]) -> Option<IpAddr> {
    match body.try_get_u8().ok()? {
        4 => Some(IpAddr::V4(Ipv4Addr::from(body.try_get_u32().ok()?))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(body.try_get_u128().ok()?))),
        _ => None,
    }
}

fn get_tag(body: &mut &[u8]) -> Option<VerificationTag> {
    body.try_get_u32().ok().map(VerificationTag)
}

const VERSION: u8 = 3;
/// Half of what HMAC-SHA-256 gives: 128 bits (RFC 2104, section 5).
const MAC_LEN: usize = 16;
/// Milliseconds of 8,900 years.
const TIME_LEN: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn cookie(addresses: Vec<IpAddr>) -> Cookie {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Cookie {
            created: Duration::from_millis(1234),
            lifetime: Duration::from_secs(60),
            ports: Ports { local: 5, peer: 6 },
            tags: Tags { local: VerificationTag(7), peer: VerificationTag(8) },
            ties: Ties { local: 9, peer: 10 },
            local_tsn: Tsn::new(11),
            peer_tsn: Tsn::new(12),
            negotiated: Negotiated { outbound_streams: 13, inbound_streams: 14 },
            peer_rwnd: 15,
            adaptation: Some(16),
            route: Route {
                local: localhost,
                peer: localhost,
                udp_port: Some(9899),
                zone: 3,
                sources: AddressSet(4),
            },
            addresses,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary starting point; nothing waits for it"
    )]
    fn ring() -> (Instant, KeyRing, StdRng) {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::now();
        (now, KeyRing::new(now, Duration::from_secs(600), &mut rng), rng)
    }

    #[test]
    fn a_cookie_comes_back_as_it_was_until_its_key_was_rotated_twice() {
        let (now, mut ring, mut rng) = ring();
        let cookie = cookie(vec![IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let sealed = ring.seal(now, &cookie, &mut rng);
        let minute = Duration::from_secs(60);
        assert_eq!(ring.open(now, &sealed, &mut rng).as_ref(), Some(&cookie));
        assert_eq!(ring.open(now + minute * 11, &sealed, &mut rng), Some(cookie));
        assert_eq!(ring.open(now + minute * 22, &sealed, &mut rng), None);
    }

    #[test]
    fn what_few_cookies_need_is_left_out_of_the_others_and_how_long_one_is_is_known() {
        let (now, mut ring, mut rng) = ring();
        let mut full = cookie(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        full.route.peer = Ipv6Addr::LOCALHOST.into();
        let addresses = Cookie::size_of(&full.addresses)
            + Cookie::size_of(&[full.route.local, full.route.peer]);
        for left_out in 0..16 {
            let (mut some, mut len) = (full.clone(), Cookie::LEAST + addresses + 8 + 4 + 2 + 4);
            if left_out & 1 != 0 {
                (some.ties, len) = (Ties::default(), len - 8);
            }
            if left_out & 2 != 0 {
                (some.adaptation, len) = (None, len - 4);
            }
            if left_out & 4 != 0 {
                (some.route.udp_port, len) = (None, len - 2);
            }
            if left_out & 8 != 0 {
                (some.route.zone, len) = (0, len - 4);
            }
            let sealed = ring.seal(now, &some, &mut rng);
            assert_eq!(sealed.len(), len);
            assert_eq!(ring.open(now, &sealed, &mut rng), Some(some));
        }
    }

    proptest! {
        #[test]
        fn a_cookie_with_any_bit_changed_or_any_byte_missing_is_not_ours(bit in 0usize..8 * 130) {
            let (now, mut ring, mut rng) = ring();
            let sealed = ring.seal(now, &cookie(vec![IpAddr::V6(Ipv6Addr::LOCALHOST)]), &mut rng);
            let mut forged = sealed.to_vec();
            let at = bit / 8 % forged.len();
            forged[at] ^= 1 << (bit % 8);
            prop_assert_eq!(ring.open(now, &forged.into(), &mut rng), None);
            prop_assert_eq!(ring.open(now, &sealed.slice(..at), &mut rng), None);
        }

        #[test]
        fn reading_authentic_nonsense_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Cookie::read(&body);
            let mut body = body;
            if let Some(version) = body.first_mut() {
                *version = VERSION;
            }
            let _ = Cookie::read(&body);
        }
    }
}
