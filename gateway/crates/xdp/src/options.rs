//! What the program should do.

use ipnet::{IpNet, Ipv4Net};
use sluice_common::{ALLOW_ENTRIES_MAX, BLOCK_ENTRIES_MAX, Gcra, RULES_MAX};
use std::collections::{BTreeMap, BTreeSet};

use crate::{XdpError, plan::Tables};

/// What the program should do. [`Default`] attaches nowhere and drops nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub mode: Mode,
    /// Networks to drop, each with the id of its rule, under which its drops are counted. Ids lie below
    /// [`Options::RULES_MAX`]; networks may share one. Of equal networks the first counts, of nested ones the
    /// narrower.
    pub block: Vec<(IpNet, u32)>,
    /// Networks that no list, ban or rate applies to.
    pub allow: Vec<IpNet>,
    /// Packets of each source: an IPv4 address, an IPv6 /64.
    pub source_packets: Option<Rate>,
    /// Attempts to connect of each source.
    pub source_syns: Option<Rate>,
    /// TCP ports of this host that all of this applies to; everything else passes.
    pub served_ports: Vec<u16>,
    /// Drop nothing, only count what would be.
    pub dry_run: bool,
    /// Samples of drops that each CPU reports in a second at most, see [`Xdp::events`](crate::Xdp::events). 0: none.
    pub events_per_s: u32,
}

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Native, or generic where the driver has no support.
    #[default]
    Auto,
    /// In the driver, before the kernel allocates anything for the packet.
    Native,
    /// In the network stack: any interface, higher cost.
    Generic,
    /// Not at all.
    Off,
}

impl Mode {
    /// Its name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
        }
    }
}

/// A token bucket for each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second: 1 to 10 million.
    pub per_second: u32,
    /// Tokens at most: at least 1, and at most what an hour brings.
    pub burst: u32,
}

impl Options {
    /// Rule ids lie below this.
    pub const RULES_MAX: u32 = RULES_MAX as u32;
    /// Networks of each address family that a block list may have.
    pub const BLOCK_MAX: usize = BLOCK_ENTRIES_MAX;
    /// Networks of each address family that the allow-list may have.
    pub const ALLOW_MAX: usize = ALLOW_ENTRIES_MAX;

    /// Checks everything, and resolves it into what the maps should hold.
    pub(crate) fn resolve(&self) -> Result<Tables, XdpError> {
        let mut block = BTreeMap::new();
        for &(net, rule) in &self.block {
            if rule >= Self::RULES_MAX {
                return Err(XdpError::Options(format!(
                    "rule id {rule} of {net}: expected one below {}",
                    Self::RULES_MAX
                )));
            }
            block.entry(canonical(net)).or_insert(rule);
        }
        let allow: BTreeSet<IpNet> = self.allow.iter().copied().map(canonical).collect();
        within("block list", block.keys(), Self::BLOCK_MAX)?;
        within("allow-list", allow.iter(), Self::ALLOW_MAX)?;
        Ok(Tables {
            ports: self.served_ports.iter().copied().collect(),
            allow,
            block,
            packets: bucket("source packets", self.source_packets)?,
            syns: bucket("source SYNs", self.source_syns)?,
            is_dry: self.dry_run,
            event_interval_ns: 1_000_000_000u64.checked_div(self.events_per_s.into()).unwrap_or_default(),
        })
    }
}

/// Without host bits, and as IPv4 if it is a mapped one (`::ffff:192.0.2.0/120`): packets of either form mean it.
fn canonical(net: IpNet) -> IpNet {
    const MAPPED_PREFIX: u8 = 96;
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= MAPPED_PREFIX
        && let Some(address) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(address, v6.prefix_len() - MAPPED_PREFIX)
    {
        return IpNet::V4(v4.trunc());
    }
    net.trunc()
}

fn within<'a>(list: &str, nets: impl Iterator<Item = &'a IpNet>, max: usize) -> Result<(), XdpError> {
    let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) = nets.partition(|net| matches!(net, IpNet::V4(_)));
    let longest = v4.len().max(v6.len());
    if longest > max {
        return Err(XdpError::Options(format!(
            "{list} with {longest} networks of one family: expected at most {max}"
        )));
    }
    Ok(())
}

fn bucket(what: &str, rate: Option<Rate>) -> Result<Option<Gcra>, XdpError> {
    let Some(Rate { per_second, burst }) = rate else {
        return Ok(None);
    };
    match Gcra::new(per_second, burst) {
        Some(gcra) => Ok(Some(gcra)),
        None => Err(XdpError::Options(format!(
            "{what} of {per_second}/s with a burst of {burst}: expected 1 to 10000000 a second, and a burst of at \
             least 1 that fills within an hour"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn networks_lose_host_bits_duplicates_and_mapped_form() {
        let options = Options {
            block: nets(&["192.0.2.9/24", "192.0.2.0/24", "::ffff:198.51.100.0/120"])
                .into_iter()
                .zip(1..)
                .collect(),
            allow: nets(&["2001:db8::1/32"]),
            ..Options::default()
        };
        let tables = options.resolve().unwrap();
        let block: Vec<_> = tables.block.into_iter().collect();
        assert_eq!(block, [("192.0.2.0/24".parse().unwrap(), 1), ("198.51.100.0/24".parse().unwrap(), 3)]);
        assert_eq!(tables.allow.into_iter().collect::<Vec<_>>(), nets(&["2001:db8::/32"]));
    }

    #[test]
    fn what_the_maps_cannot_hold_is_refused_before_anything_changes() {
        let rule = Options { block: vec![("192.0.2.0/24".parse().unwrap(), 4_096)], ..Options::default() };
        assert!(rule.resolve().unwrap_err().to_string().contains("rule id 4096"));

        let rate = Options { source_syns: Some(Rate { per_second: 1, burst: 4_000 }), ..Options::default() };
        assert!(rate.resolve().unwrap_err().to_string().contains("source SYNs of 1/s"));

        let many = (0..=Options::ALLOW_MAX as u32)
            .map(|host| IpNet::from(std::net::IpAddr::from(host.to_be_bytes())));
        let long = Options { allow: many.collect(), ..Options::default() };
        assert!(long.resolve().unwrap_err().to_string().contains("16385 networks"));
    }
}
