//! The endpoints of a stack: by their keys, and by the transport addresses that packets are sent to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::SharedEndpoint;

/// Names an endpoint of a stack for as long as the stack lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u64);

/// An endpoint is its set of transport addresses (RFC 9260, section 1.3): several can have one port, on different addresses.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    by_key: HashMap<Key, Arc<SharedEndpoint>>,
    /// All but always one.
    by_port: HashMap<u16, Vec<Arc<SharedEndpoint>>>,
}

impl Endpoints {
    pub(crate) fn insert(&mut self, endpoint: Arc<SharedEndpoint>) {
        self.by_key.insert(endpoint.key(), Arc::clone(&endpoint));
        self.by_port.entry(endpoint.port()).or_default().push(endpoint);
    }

    pub(crate) fn remove(&mut self, key: Key) {
        let Some(endpoint) = self.by_key.remove(&key) else { return };
        if let Some(all) = self.by_port.get_mut(&endpoint.port()) {
            all.retain(|other| other.key() != key);
            if all.is_empty() {
                self.by_port.remove(&endpoint.port());
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Arc<SharedEndpoint>> {
        self.by_key.get(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SharedEndpoint>> {
        self.by_key.values()
    }

    /// Those that have a port.
    pub(crate) fn of_port(&self, port: u16) -> &[Arc<SharedEndpoint>] {
        self.by_port.get(&port).map_or(&[], Vec::as_slice)
    }

    /// The one that packets to this address and port are for. One that is bound to the address itself comes before one that is
    /// bound to all: an address that came later may be of both.
    pub(crate) fn find(&self, port: u16, address: IpAddr) -> Option<&Arc<SharedEndpoint>> {
        let all = self.of_port(port);
        let accepting = |endpoint: &&Arc<SharedEndpoint>| endpoint.accepts(address);
        match all {
            [one] => Some(one).filter(accepting),
            all => {
                let own =
                    all.iter().find(|endpoint| !endpoint.is_bound_to_all() && accepting(endpoint));
                own.or_else(|| all.iter().find(accepting))
            }
        }
    }
}
