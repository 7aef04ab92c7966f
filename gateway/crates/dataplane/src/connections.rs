//! The connections of all cores: how many, and how many of each client.

use crate::exchange::client_of;
use sluice_throttle::ConnectionTable;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts of open client connections, shared by all cores of the process.
#[derive(Debug)]
pub struct Connections {
    all: AtomicUsize,
    by_client: ConnectionTable,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Granted,
    /// The process has as many as it may.
    Full,
    /// The client has as many as it may.
    ClientFull,
}

impl Connections {
    /// None open; room to tell this many clients apart.
    #[must_use]
    pub fn new(clients: usize) -> Self {
        Self { all: AtomicUsize::new(0), by_client: ConnectionTable::new(clients) }
    }

    /// Counts a connection in. `max_per_client` 0: no limit; it is counted all the same, since a reload may set one.
    pub(crate) fn enter(&self, client: IpAddr, max: usize, max_per_client: u32) -> Entry {
        if self.all.fetch_add(1, Ordering::Relaxed) >= max {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Entry::Full;
        }
        let most = if max_per_client == 0 { ConnectionTable::COUNT_MAX } else { max_per_client };
        if self.by_client.open(client_of(client), most) || max_per_client == 0 {
            return Entry::Granted;
        }
        self.all.fetch_sub(1, Ordering::Relaxed);
        Entry::ClientFull
    }

    /// How many a client has open.
    #[must_use]
    pub fn of(&self, client: IpAddr) -> u32 {
        self.by_client.count(client_of(client))
    }

    pub(crate) fn leave(&self, client: IpAddr) {
        self.by_client.close(client_of(client));
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_what_is_refused_is_not_counted() {
        let connections = Connections::new(16);
        let [one, other]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        assert_eq!(connections.enter(one, 4, 2), Entry::Granted);
        assert_eq!(connections.enter(one, 4, 2), Entry::Granted);
        assert_eq!(connections.enter(one, 4, 2), Entry::ClientFull);
        assert_eq!(connections.enter(other, 4, 2), Entry::Granted);
        assert_eq!(connections.enter("2001:db8::2".parse().unwrap(), 4, 2), Entry::Granted, "the same /64");
        assert_eq!(connections.enter(other, 9, 2), Entry::ClientFull);
        assert_eq!(connections.enter(one, 4, 2), Entry::Full);
        connections.leave(one);
        assert_eq!(connections.enter(one, 4, 0), Entry::Granted);
    }
}
