//! A link: two interfaces of two hosts joined back to back, that can be cut and restored.

use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::LabError;
use super::host::{Host, Network};
use super::netlink::{Interface, Mac};
use super::prefix::Prefix;
use super::relay::{Relay, RelayCounters};
use super::rule::{Rule, Way};

/// The hardware address of nobody: frames to it reach no host.
const NOBODY: Mac = [0x02, 0, 0, 0, 0, 0];

/// What a link is to be like.
#[derive(Debug, Clone, Default)]
pub struct LinkOptions {
    /// The name of its interfaces, the same on both hosts; at most 15 bytes.
    pub name: String,
    /// Addresses of the first host on this link.
    pub near: Vec<Prefix>,
    /// Addresses of the second host on this link.
    pub far: Vec<Prefix>,
    /// The greatest IP packet in bytes; `None` is 1,500.
    pub mtu: Option<u32>,
    /// Frames to be lost, by a relay in the middle of the link; `None` loses none and has no relay.
    pub loss: Option<Loss>,
}

/// Random loss of frames, the same for the same seed and the same frames. The default loses none by chance: it is for a
/// link that [loses by rule](Link::lose).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    /// How many of a hundred frames are lost in each direction.
    pub percent: f64,
    /// Where the random numbers start.
    pub seed: u64,
}

/// Two interfaces joined back to back.
#[derive(Debug)]
pub struct Link {
    near: End,
    far: End,
    relay: Option<Relay>,
}

/// One end of a link.
#[derive(Debug)]
pub struct End {
    network: Arc<Network>,
    interface: Interface,
    addresses: Vec<Prefix>,
}

impl Link {
    pub(super) fn join(near: &Host, far: &Host, options: LinkOptions) -> Result<Self, LabError> {
        let near_end = End::new(near, &options, options.near.clone());
        let far_end = End::new(far, &options, options.far.clone());
        let relay = match options.loss {
            None => {
                near_end.pair_with(&far_end)?;
                None
            }
            Some(loss) => Some(Relay::between(&near_end, &far_end, &options.name, loss)?),
        };
        let link = Self { near: near_end, far: far_end, relay };
        link.set_up(true)?;
        for (end, host) in [(&link.near, near), (&link.far, far)] {
            end.allow_any_path(host);
        }
        Ok(link)
    }

    /// The first host's end.
    pub fn near(&self) -> &End {
        &self.near
    }

    /// The second host's end.
    pub fn far(&self) -> &End {
        &self.far
    }

    /// Cuts the link silently, like a switch that died between the hosts: both interfaces stay up, frames go out and
    /// reach nobody.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(&self) -> Result<(), LabError> {
        self.near.misdirect(&self.far)?;
        self.far.misdirect(&self.near)
    }

    /// Takes back [`cut`](Self::cut).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn restore(&self) -> Result<(), LabError> {
        self.near.redirect(&self.far)?;
        self.far.redirect(&self.near)
    }

    /// Sets both interfaces down or up, as if the cable were pulled: the hosts notice it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_up(&self, up: bool) -> Result<(), LabError> {
        let ends = [&self.near, &self.far];
        ends.iter().try_for_each(|end| end.set_up(up))?;
        if up {
            ends.iter().try_for_each(|end| end.wait_for_carrier())?;
            // The kernel takes IPv6 addresses from an interface that goes down.
            ends.iter().try_for_each(|end| end.assign())?;
            ends.iter().try_for_each(|end| end.wait_until_usable(end.addresses()))?;
        }
        Ok(())
    }

    /// Loses what goes this way and fits the rule from now on, until another rule takes its place.
    ///
    /// # Errors
    /// The link was made without [`LinkOptions::loss`] and so has no relay.
    pub fn lose(&self, way: Way, rule: Option<Rule>) -> Result<(), LabError> {
        let relay = self.relay.as_ref().ok_or_else(|| LabError::Setup {
            what: format!("losing frames of {}", self.near.interface()),
            source: io::Error::from(io::ErrorKind::Unsupported),
        })?;
        relay.lose(way, rule);
        Ok(())
    }

    /// Changes the greatest IP packet of both interfaces, in bytes. A host that is to send more is told by its own
    /// kernel; below 1,280 bytes the kernel takes IPv6 from an interface.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), LabError> {
        [&self.near, &self.far].iter().try_for_each(|end| end.set_mtu(mtu))
    }

    /// What the relay of a link with loss has done; `None` for a link without.
    pub fn relayed(&self) -> Option<RelayCounters> {
        self.relay.as_ref().map(Relay::counters)
    }
}

impl End {
    fn new(host: &Host, options: &LinkOptions, addresses: Vec<Prefix>) -> Self {
        let network = Arc::clone(&host.network);
        let interface = interface(&network, &options.name, options.mtu.unwrap_or(1500));
        Self { network, interface, addresses }
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface.name
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(|prefix| prefix.address)
    }

    /// Gives the interface one more address, at once usable. It does not come back of itself when the link was down.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_address(&self, prefix: Prefix) -> Result<(), LabError> {
        self.network.setup(&format!("adding the address {prefix}"), |netlink| {
            netlink.add_address(self.interface.index, prefix)
        })?;
        self.wait_until_usable([prefix.address])
    }

    /// Takes an address from the interface, and with it the kernel takes the route to its network.
    ///
    /// # Errors
    /// The kernel refuses: the interface has no such address.
    pub fn remove_address(&self, prefix: Prefix) -> Result<(), LabError> {
        self.network.setup(&format!("removing the address {prefix}"), |netlink| {
            netlink.delete_address(self.interface.index, prefix)
        })
    }

    /// Makes an address of this link, in the eyes of this end, that of a host that is dead: packets to it go out and
    /// are never answered.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_dead_neighbour(&self, address: IpAddr) -> Result<(), LabError> {
        self.network.setup(&format!("making {address} a dead neighbour"), |netlink| {
            netlink.fix_neighbour(self.interface.index, address, NOBODY)
        })
    }

    /// Makes the veth pair of which this is one end and `other` the other.
    pub(super) fn pair_with(&self, other: &Self) -> Result<(), LabError> {
        let what = format!("making the veth pair {}", self.interface.name);
        self.network.setup(&what, |netlink| {
            netlink.add_veth(&self.interface, &other.interface, &other.network.namespace)
        })
    }

    /// The end of a veth pair in another host that leads here and has no addresses.
    pub(super) fn opposite(&self, host: &Host, name: &str) -> Self {
        let network = Arc::clone(&host.network);
        let interface = interface(&network, name, self.interface.mtu);
        Self { network, interface, addresses: Vec::new() }
    }

    pub(super) fn set_up(&self, up: bool) -> Result<(), LabError> {
        let what = format!("setting {} {}", self.interface.name, if up { "up" } else { "down" });
        self.network.setup(&what, |netlink| {
            if up && self.has_ipv6() {
                netlink.make_no_link_local(self.interface.index)?;
            }
            netlink.set_up(self.interface.index, up)
        })
    }

    fn set_mtu(&self, mtu: u32) -> Result<(), LabError> {
        let what = format!("giving {} an MTU of {mtu}", self.interface.name);
        self.network.setup(&what, |netlink| netlink.set_mtu(self.interface.index, mtu))
    }

    /// A host of two links may be asked on one for an address of the other and answer on either: strict
    /// reverse-path filtering would hide that. Where settings may not be written, their defaults must do.
    fn allow_any_path(&self, host: &Host) {
        for scope in ["all", self.interface()] {
            let _ = host.set(&format!("net/ipv4/conf/{scope}/rp_filter"), "0");
        }
    }

    /// Until the kernel has noticed that a link is up, it drops what is sent on it.
    fn wait_for_carrier(&self) -> Result<(), LabError> {
        let what = format!("waiting for the carrier of {}", self.interface.name);
        self.network.setup(&what, |netlink| {
            wait(|| match netlink.is_running(self.interface.index)? {
                true => Ok(()),
                false => Err(io::ErrorKind::NetworkDown.into()),
            })
        })
    }

    /// An address can be used when it can be bound to, by a thread of this host.
    fn wait_until_usable(
        &self,
        addresses: impl IntoIterator<Item = IpAddr> + Send,
    ) -> Result<(), LabError> {
        let bind = || {
            setns(&self.network.namespace, CloneFlags::CLONE_NEWNET)?;
            for address in addresses {
                wait(|| UdpSocket::bind((address, 0)).map(drop))?;
            }
            Ok(())
        };
        self.network.setup("waiting for its addresses to be usable", |_| {
            let bound = thread::scope(|scope| scope.spawn(bind).join());
            bound.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        })
    }

    fn assign(&self) -> Result<(), LabError> {
        let link_local = self.has_ipv6().then(|| link_local(self.interface.mac));
        for prefix in self.addresses.iter().copied().chain(link_local) {
            self.network.setup(&format!("adding the address {prefix}"), |netlink| {
                netlink.add_address(self.interface.index, prefix)
            })?;
        }
        Ok(())
    }

    fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|prefix| prefix.address.is_ipv6())
    }

    /// Lets frames to all addresses of the other end go to nobody.
    fn misdirect(&self, other: &Self) -> Result<(), LabError> {
        for address in other.addresses() {
            self.add_dead_neighbour(address)?;
        }
        Ok(())
    }

    /// Tells where the other end is: if each end had to ask, the answer of one that still misdirects would be lost, and
    /// the kernel asks again only after a second.
    fn redirect(&self, other: &Self) -> Result<(), LabError> {
        for address in other.addresses() {
            self.network.setup(&format!("directing {address} again"), |netlink| {
                netlink.suggest_neighbour(self.interface.index, address, other.interface.mac)
            })?;
        }
        Ok(())
    }
}

fn interface(network: &Network, name: &str, mtu: u32) -> Interface {
    let index = network.next_index();
    // Locally administered; the host's number and the interface's make it readable in captures.
    let [_, _, host_high, host_low] = network.number.to_be_bytes();
    let [_, _, _, link] = index.to_be_bytes();
    let mac = [0x02, 0x75, host_high, host_low, 0, link];
    Interface { name: name.to_owned(), index, mac, mtu }
}

/// The link-local address that belongs to a hardware address (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: Mac) -> Prefix {
    let identifier = [a ^ 2, b, c, 0xFF, 0xFE, d, e, f];
    let address = u128::from(u64::from_be_bytes(identifier)) | 0xFE80 << 112;
    Prefix::new(Ipv6Addr::from_bits(address).into(), 64)
}

/// Tries again until it works, for 3 s at the most; the kernel looks after carriers once a second.
fn wait(mut condition: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..300 {
        if condition().is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    condition()
}
