//! What the two peers offer each other in INIT and INIT ACK, and what follows from it (RFC 9260, sections 3.3.2 and 5.1).

use std::net::IpAddr;

use bytes::Bytes;
use usctp_chunk::{
    AddressTypes, Cause, ChunkType, Init, Parameter, ParameterType, Parameters, RawParameter, Tsn,
    VerificationTag,
};

use crate::scope::is_unicast;
use crate::wire::AddressSet;

/// What this side offers; the same for every INIT of an association.
#[derive(Debug, Clone)]
pub(crate) struct LocalOffer {
    pub(crate) tag: VerificationTag,
    pub(crate) initial_tsn: Tsn,
    pub(crate) a_rwnd: u32,
    pub(crate) outbound_streams: u16,
    pub(crate) inbound_streams: u16,
    /// The addresses to list.
    pub(crate) addresses: Vec<IpAddr>,
    /// All addresses of the endpoint.
    pub(crate) own: Vec<IpAddr>,
    /// Those that packets may leave from.
    pub(crate) sources: AddressSet,
    /// Adaptation Layer Indication (RFC 5061, section 4.2.6).
    pub(crate) adaptation: Option<u32>,
}

/// What the peer's INIT or INIT ACK offers.
#[derive(Debug, Clone)]
pub(crate) struct PeerOffer {
    pub(crate) tag: VerificationTag,
    pub(crate) initial_tsn: Tsn,
    pub(crate) a_rwnd: u32,
    pub(crate) outbound_streams: u16,
    pub(crate) inbound_streams: u16,
    /// The addresses it lists, each once.
    pub(crate) addresses: Vec<IpAddr>,
    /// Link-local ones among them, which mean nothing but to who knows the link already.
    link_local: Vec<IpAddr>,
    pub(crate) cookie: Option<Bytes>,
    /// Cookie Preservative: what is to be added to the life of the cookie, in milliseconds.
    pub(crate) preservative: Option<u32>,
    /// Adaptation Layer Indication (RFC 5061, section 4.2.6).
    pub(crate) adaptation: Option<u32>,
    /// Whole parameters that were not recognized and want to be reported.
    pub(crate) unrecognized: Vec<Bytes>,
}

/// What holds for an association from its set-up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) outbound_streams: u16,
    pub(crate) inbound_streams: u16,
}

/// Why an INIT or INIT ACK is not processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The packet is dropped without an answer.
    Discard,
    /// The sender is answered with an ABORT.
    Abort(Box<Cause>),
    /// The window is too small: the same, but an attempt of ours that it answers goes on.
    SmallWindow,
}

impl LocalOffer {
    /// The INIT, or with a cookie the INIT ACK, of this offer.
    pub(crate) fn init(&self, extra: impl IntoIterator<Item = Parameter>) -> Init {
        // A single address is the packet's source: listing it would only break behind a translator.
        let single = self.own.len() == 1 && self.addresses == self.own;
        let listed = if single { &[] } else { self.addresses.as_slice() };
        let addresses = listed.iter().copied().map(Parameter::from_ip);
        let adaptation =
            self.adaptation.map(|indication| Parameter::AdaptationLayer { indication });
        Init {
            initiate_tag: self.tag,
            a_rwnd: self.a_rwnd,
            outbound_streams: self.outbound_streams,
            inbound_streams: self.inbound_streams,
            initial_tsn: self.initial_tsn,
            parameters: addresses.chain(extra).chain(adaptation).collect::<Parameters>(),
        }
    }

    /// The families that the endpoint can use, for INIT.
    pub(crate) fn address_types(&self) -> Parameter {
        let types = [
            (self.own.iter().any(IpAddr::is_ipv4), ParameterType::IPV4_ADDRESS),
            (self.own.iter().any(IpAddr::is_ipv6), ParameterType::IPV6_ADDRESS),
        ];
        let present = types.into_iter().filter(|(present, _)| *present);
        Parameter::SupportedAddressTypes(present.map(|(_, kind)| kind.0).collect::<AddressTypes>())
    }

    /// RFC 9260, 5.1.1: each side sends on as many streams as both allow.
    pub(crate) fn agree(&self, peer: &PeerOffer) -> Negotiated {
        Negotiated {
            outbound_streams: self.outbound_streams.min(peer.inbound_streams),
            inbound_streams: self.inbound_streams.min(peer.outbound_streams),
        }
    }
}

impl PeerOffer {
    /// Reads the fixed part and the parameters of an INIT or INIT ACK, taking at most `most` addresses.
    pub(crate) fn read(init: &Init, most: usize) -> Result<Self, Refusal> {
        let mut offer = Self {
            tag: init.initiate_tag,
            initial_tsn: init.initial_tsn,
            a_rwnd: init.a_rwnd,
            outbound_streams: init.outbound_streams,
            inbound_streams: init.inbound_streams,
            addresses: Vec::new(),
            link_local: Vec::new(),
            cookie: None,
            preservative: None,
            adaptation: None,
            unrecognized: Vec::new(),
        };
        offer.judge_fixed_part()?;
        for parameter in init.parameters.raw_iter() {
            // A parameter that runs over the end makes the whole chunk doubtful: nothing of it is used.
            let raw = parameter.map_err(|_| Refusal::Discard)?;
            if !offer.take(&raw, most)? {
                break;
            }
        }
        Ok(offer)
    }

    /// All addresses it lists, link-local ones last.
    pub(crate) fn listed(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().chain(&self.link_local).copied()
    }

    /// RFC 9260, 3.3.2: values that must not be.
    fn judge_fixed_part(&self) -> Result<(), Refusal> {
        if self.tag.is_zero() {
            return Err(Refusal::Discard);
        }
        let streams = self.outbound_streams > 0 && self.inbound_streams > 0;
        if !streams {
            return Err(Refusal::Abort(Box::new(Cause::InvalidMandatoryParameter)));
        }
        if self.a_rwnd < SMALLEST_WINDOW {
            return Err(Refusal::SmallWindow);
        }
        Ok(())
    }

    /// Takes a parameter in; whether the next one is to be looked at.
    fn take(&mut self, raw: &RawParameter<'_>, most: usize) -> Result<bool, Refusal> {
        if !is_read(raw.kind) {
            // Whatever else there is belongs to an extension that is not offered, so that the type's high bits decide as if
            // it were unknown, and nothing in it is looked at (RFC 9260, 3.2.1).
            let unrecognized = raw.kind.unrecognized();
            if unrecognized.report {
                self.unrecognized.push(raw.to_bytes());
            }
            return Ok(unrecognized.skip);
        }
        let parameter = raw.decode().map_err(|_| Refusal::Discard)?;
        match parameter {
            Parameter::Ipv4Address(_) | Parameter::Ipv6Address(_) => {
                if let Some(address) = parameter.ip().map(|ip| ip.to_canonical()) {
                    self.take_address(address, most);
                }
            }
            Parameter::StateCookie(cookie) => {
                self.cookie.get_or_insert(cookie);
            }
            Parameter::CookiePreservative { increment_ms } => {
                self.preservative = Some(increment_ms);
            }
            Parameter::AdaptationLayer { indication } => self.adaptation = Some(indication),
            // RFC 9260, 5.1.2 (B)
            Parameter::HostName(_) => {
                return Err(Refusal::Abort(Box::new(Cause::UnresolvableAddress(raw.to_bytes()))));
            }
            // They ask for nothing.
            _ => {}
        }
        Ok(true)
    }

    fn take_address(&mut self, address: IpAddr, most: usize) {
        let known = self.listed().any(|known| known == address);
        if known || self.addresses.len() + self.link_local.len() >= most {
            return;
        }
        if is_unicast(address) {
            self.addresses.push(address);
        } else if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            self.link_local.push(address);
        }
    }
}

/// Whether a chunk of this type is acted on. The others are unknown as long as no extension was agreed on: their high bits
/// decide (RFC 9260, 3.2), whatever is in them.
pub(crate) fn is_known(kind: ChunkType) -> bool {
    matches!(
        kind,
        ChunkType::DATA
            | ChunkType::INIT
            | ChunkType::INIT_ACK
            | ChunkType::SACK
            | ChunkType::HEARTBEAT
            | ChunkType::HEARTBEAT_ACK
            | ChunkType::ABORT
            | ChunkType::SHUTDOWN
            | ChunkType::SHUTDOWN_ACK
            | ChunkType::ERROR
            | ChunkType::COOKIE_ECHO
            | ChunkType::COOKIE_ACK
            | ChunkType::SHUTDOWN_COMPLETE
    )
}

/// Whether a parameter of this type is read in INIT and INIT ACK: those of RFC 9260, sections 3.3.2 and 3.3.3, and the
/// indication that is passed on.
fn is_read(kind: ParameterType) -> bool {
    matches!(
        kind,
        ParameterType::IPV4_ADDRESS
            | ParameterType::IPV6_ADDRESS
            | ParameterType::STATE_COOKIE
            | ParameterType::UNRECOGNIZED_PARAMETER
            | ParameterType::COOKIE_PRESERVATIVE
            | ParameterType::HOST_NAME_ADDRESS
            | ParameterType::SUPPORTED_ADDRESS_TYPES
            | ParameterType::ADAPTATION_LAYER_INDICATION
    )
}

// RFC 9260, 3.3.2
const SMALLEST_WINDOW: u32 = 1500;
