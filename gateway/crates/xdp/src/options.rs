//! What the program should do.

use ipnet::{IpNet, Ipv4Net};
use sluice_common::{ALLOW_ENTRIES_MAX, BLOCK_ENTRIES_MAX, Gcra, RULES_MAX};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    XdpError,
    tables::{LimitSet, Lists, Rates, Tables},
};

/// What the program should do. [`Default`] attaches nowhere and drops nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub mode: Mode,
    /// A folder of the BPF file system in which to pin links and bans, so that both survive the end of the process, a
    /// restart included: it fails closed. `None`: the end of the process detaches the program, it fails open.
    pub pin_path: Option<PathBuf>,
    /// Take programs of others off the interfaces.
    pub force: bool,
    /// Networks to drop, each with the id of its rule, under which its drops are counted. Ids lie below
    /// [`Options::RULES_MAX`]; networks may share one. Of equal networks the first counts, of nested ones the
    /// narrower.
    pub block: Vec<(IpNet, u32)>,
    /// Networks that no list, ban or rate applies to.
    pub allow: Vec<IpNet>,
    /// Rates of each source: an IPv4 address, an IPv6 /64.
    pub source: Limits,
    /// Rates of each wider network, so that many sources of one don't add up.
    pub prefix: Limits,
    /// How wide those are. 0 bits: as [`Options::PREFIX_V4_BITS`] and [`Options::PREFIX_V6_BITS`].
    pub prefix_v4_bits: u8,
    /// As above; at most 64.
    pub prefix_v6_bits: u8,
    /// Attempts to connect of all sources together, those on the allow-list aside. Up to 16 on each CPU come on top of
    /// the burst.
    pub syn_budget: Option<Rate>,
    /// Ports of this host that all of this applies to; everything else passes.
    pub served_ports: Vec<u16>,
    /// Drop UDP to these ports.
    pub drop_udp: bool,
    /// Drop the first fragments of packets to these ports. Others have no port: what they belong to is incomplete.
    pub drop_fragments: bool,
    /// Drop the other fragments of TCP, to whichever port they are, so that a flood of them costs the host nothing.
    pub drop_later_fragments: bool,
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

/// Token buckets; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Attempts to connect.
    pub syns: Option<Rate>,
    /// Packets.
    pub packets: Option<Rate>,
    /// Bytes of IP packets. The burst is at least 65,575: the largest packet.
    pub bytes: Option<Rate>,
}

/// A token bucket. The program's clock is the kernel's coarse one, so to an interval of any length a tick of that (1 to
/// 10 ms) must be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second: at least 1.
    pub per_second: u64,
    /// Tokens at most: at least 1 and what a hundredth of a second brings, at most what an hour brings.
    pub burst: u64,
}

impl Options {
    /// Rule ids lie below this.
    pub const RULES_MAX: u32 = RULES_MAX as u32;
    /// Networks of each address family that a block list may have.
    pub const BLOCK_MAX: usize = BLOCK_ENTRIES_MAX;
    /// Networks of each address family that the allow-list may have.
    pub const ALLOW_MAX: usize = ALLOW_ENTRIES_MAX;
    /// Bits of an IPv4 prefix, if nothing else is said.
    pub const PREFIX_V4_BITS: u8 = 24;
    /// Bits of an IPv6 prefix, if nothing else is said.
    pub const PREFIX_V6_BITS: u8 = 48;
    /// Length of the largest packet: an IPv6 header and the most that it can announce.
    pub const PACKET_BYTES_MAX: u64 = 40 + 65_535;

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
        if self.prefix_v4_bits > 32 || self.prefix_v6_bits > 64 {
            return Err(XdpError::Options(format!(
                "prefixes of {} and {} bits: expected at most 32 (IPv4) and 64 (IPv6)",
                self.prefix_v4_bits, self.prefix_v6_bits
            )));
        }
        let lists = Lists { ports: self.served_ports.iter().copied().collect(), allow, block };
        Ok(Tables { lists, rates: self.rates()? })
    }

    fn rates(&self) -> Result<Rates, XdpError> {
        let or = |bits: u8, default: u8| if bits == 0 { default } else { bits };
        Ok(Rates {
            source: limit_set("source", &self.source)?,
            prefix: limit_set("prefix", &self.prefix)?,
            prefix_v4_bits: or(self.prefix_v4_bits, Self::PREFIX_V4_BITS),
            prefix_v6_bits: or(self.prefix_v6_bits, Self::PREFIX_V6_BITS),
            syn_budget: bucket("SYN budget", self.syn_budget)?,
            syn_lease: self.syn_budget.map_or(0, |rate| rate.burst.min(SYN_LEASE_MAX)),
            event_interval_ns: 1_000_000_000u64.checked_div(self.events_per_s.into()).unwrap_or_default(),
            drops_udp: self.drop_udp,
            drops_fragments: self.drop_fragments,
            drops_later_fragments: self.drop_later_fragments,
            is_dry: self.dry_run,
        })
    }
}

/// SYNs that a CPU takes out of the budget at once.
const SYN_LEASE_MAX: u64 = 16;

fn limit_set(whose: &str, limits: &Limits) -> Result<LimitSet, XdpError> {
    if let Some(Rate { burst, .. }) = limits.bytes
        && burst < Options::PACKET_BYTES_MAX
    {
        return Err(XdpError::Options(format!(
            "{whose} bytes with a burst of {burst}: expected at least {}, the largest packet",
            Options::PACKET_BYTES_MAX
        )));
    }
    Ok(LimitSet {
        syns: bucket(&format!("{whose} SYNs"), limits.syns)?,
        packets: bucket(&format!("{whose} packets"), limits.packets)?,
        bytes: bucket(&format!("{whose} bytes"), limits.bytes)?,
    })
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
            "{what} of {per_second}/s with a burst of {burst}: expected at least 1 a second, and a burst of at least 1 \
             and a hundredth of the rate that fills within an hour"
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
        let block: Vec<_> = tables.lists.block.into_iter().collect();
        assert_eq!(block, [("192.0.2.0/24".parse().unwrap(), 1), ("198.51.100.0/24".parse().unwrap(), 3)]);
        assert_eq!(tables.lists.allow.into_iter().collect::<Vec<_>>(), nets(&["2001:db8::/32"]));
    }

    #[test]
    fn what_the_maps_cannot_hold_is_refused_before_anything_changes() {
        let rule = Options { block: vec![("192.0.2.0/24".parse().unwrap(), 4_096)], ..Options::default() };
        assert!(rule.resolve().unwrap_err().to_string().contains("rule id 4096"));

        let message = |options: Options| options.resolve().unwrap_err().to_string();
        let syns = |per_second, burst| Limits { syns: Some(Rate { per_second, burst }), ..Limits::default() };
        let rate = message(Options { source: syns(1, 4_000), ..Options::default() });
        assert!(rate.contains("source SYNs of 1/s"), "{rate}");
        let rate = message(Options { prefix: syns(10_000, 99), ..Options::default() });
        assert!(rate.contains("prefix SYNs of 10000/s with a burst of 99"), "{rate}");
        let bytes = Limits { bytes: Some(Rate { per_second: 1_000, burst: 1_500 }), ..Limits::default() };
        let bytes = message(Options { source: bytes, ..Options::default() });
        assert!(bytes.contains("source bytes with a burst of 1500: expected at least 65575"), "{bytes}");
        let bits = message(Options { prefix_v6_bits: 65, ..Options::default() });
        assert!(bits.contains("0 and 65 bits"), "{bits}");

        let many = (0..=Options::ALLOW_MAX as u32)
            .map(|host| IpNet::from(std::net::IpAddr::from(host.to_be_bytes())));
        let long = Options { allow: many.collect(), ..Options::default() };
        assert!(long.resolve().unwrap_err().to_string().contains("16385 networks"));
    }
}
