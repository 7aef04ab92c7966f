//! Host names of targets to addresses.

use sluice_config::Target;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Host names and their addresses, or why there are none.
pub(crate) type Names = HashMap<String, Result<Vec<IpAddr>, String>>;

/// Asks the system's resolver, once for each name.
#[derive(Default)]
pub(crate) struct Resolver {
    known: Names,
}

impl Resolver {
    /// One that knows these already.
    pub(crate) fn knowing(known: Names) -> Self {
        Self { known }
    }

    /// Everything that it knows now.
    pub(crate) fn into_names(self) -> Names {
        self.known
    }

    /// Every address of the target's host, in the resolver's order: each gets its share of the traffic.
    pub(crate) fn addresses(&mut self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        if let Ok(ip) = target.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, target.port)]);
        }
        let answer = self.known.entry(target.host.clone()).or_insert_with(|| ask(&target.host));
        answer.clone().map(|ips| ips.into_iter().map(|ip| SocketAddr::new(ip, target.port)).collect())
    }
}

fn ask(host: &str) -> Result<Vec<IpAddr>, String> {
    let answers = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut ips: Vec<IpAddr> = Vec::new();
    for answer in answers {
        if !ips.contains(&answer.ip()) {
            ips.push(answer.ip());
        }
    }
    if ips.is_empty() { Err("it has no address".to_owned()) } else { Ok(ips) }
}
