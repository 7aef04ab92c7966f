//! Who the client is when proxies stand in between.
//!
//! Only an address that is configured as a proxy is believed, and only about the hop before it: the list of addresses is
//! walked from the right, past trusted ones, up to the first that is not. Whatever stands left of that the client may have
//! made up.

use sluice_server::Conn;
use sluice_snapshot::{ServerPlan, TrustedHeader};
use sluice_wire::{KnownHeader, RequestHead};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The client of a request that came from `peer`.
#[inline]
pub(crate) fn address(peer: IpAddr, server: &ServerPlan, head: &RequestHead, bytes: &[u8]) -> IpAddr {
    if server.trusted_proxies.is_empty() || !server.trusted_proxies.contain(peer) {
        return peer;
    }
    walk(peer, server, head, bytes)
}

/// Whether the connection is the client's own. A proxy is not judged by what its clients do, and behind a balancer the
/// kernel never meets them.
#[inline]
pub(crate) fn is_direct(conn: &Conn, server: &ServerPlan) -> bool {
    let trusted = &server.trusted_proxies;
    !conn.via_balancer && (trusted.is_empty() || !trusted.contain(conn.peer.ip()))
}

/// Reads the address of one element.
type Read = fn(&[u8]) -> Option<IpAddr>;

fn walk(peer: IpAddr, server: &ServerPlan, head: &RequestHead, bytes: &[u8]) -> IpAddr {
    let (id, read): (_, Read) = match server.trusted_header {
        TrustedHeader::XForwardedFor => (KnownHeader::XForwardedFor, node),
        TrustedHeader::Forwarded => (KnownHeader::Forwarded, forwarded_for),
    };
    let mut client = peer;
    let lines = head.headers.iter().rev().filter(|h| h.id == id && !h.hop_by_hop);
    for element in lines.flat_map(|h| h.value.of(bytes).rsplit(|b| *b == b',')) {
        let element = element.trim_ascii();
        if element.is_empty() {
            continue;
        }
        // What can't be read hides who was there: the proxy that passed it on is the last that is known.
        let Some(before) = read(element) else { break };
        client = before;
        if !server.trusted_proxies.contain(client) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|s| s.ip())).ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    bare.or_else(bracketed).map(|address| address.to_canonical())
}

/// The `for` of one element of `Forwarded` (RFC 7239 section 4). Names (`_hidden`, `unknown`) are no addresses.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    element.split(|b| *b == b';').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let (name, value) = pair.split_at_checked(at)?;
        let value = value.get(1..)?.trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| node(value))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_snapshot::Networks;
    use sluice_wire::{Limits, parse_request};

    fn plan() -> ServerPlan {
        ServerPlan {
            limits: Limits::default(),
            header_timeout_ms: 0,
            idle_timeout_ms: 0,
            body_timeout_ms: 0,
            max_connections: 0,
            max_connections_per_address: 0,
            http2_streams: 0,
            x_forwarded: true,
            forwarded: false,
            via: false,
            trusted_proxies: Networks::default(),
            trusted_header: TrustedHeader::default(),
            proxy_protocol_from: Networks::default(),
        }
    }

    fn client(peer: &str, header: TrustedHeader, lines: &str) -> String {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines.replace('|', "\r\n")).into_bytes();
        let mut head = RequestHead::new();
        parse_request(&bytes, &Limits::default(), &mut head).unwrap();
        let server = ServerPlan {
            trusted_proxies: Networks::new([
                ("10.0.0.0".parse().unwrap(), 8),
                ("fd00::".parse().unwrap(), 8),
            ]),
            trusted_header: header,
            ..plan()
        };
        address(peer.parse().unwrap(), &server, &head, &bytes).to_string()
    }

    #[test]
    fn the_list_is_walked_from_the_right_past_trusted_proxies() {
        for (peer, lines, expected) in [
            ("192.0.2.1", "X-Forwarded-For: 203.0.113.9|", "192.0.2.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9|", "203.0.113.9"),
            ("::ffff:10.0.0.1", "X-Forwarded-For: 203.0.113.9|", "203.0.113.9"),
            ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 203.0.113.9|", "203.0.113.9"),
            ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.2.3.4|", "203.0.113.9"),
            ("10.0.0.1", "X-Forwarded-For: 1.1.1.1|X-Forwarded-For: 203.0.113.9|", "203.0.113.9"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9|X-Forwarded-For: 10.2.3.4,fd00::1|", "203.0.113.9"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9, garbage|", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9, garbage, 10.9.9.9|", "10.9.9.9"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.9:1234|", "203.0.113.9"),
            ("fd00::1", "X-Forwarded-For: [2001:db8::1]:80|", "2001:db8::1"),
            ("10.0.0.1", "X-Forwarded-For: 2001:db8::1, ,|", "2001:db8::1"),
            ("10.0.0.1", "X-Forwarded-For: 10.0.0.2, 10.0.0.3|", "10.0.0.2"),
            ("10.0.0.1", "Forwarded: for=203.0.113.9|", "10.0.0.1"),
        ] {
            assert_eq!(client(peer, TrustedHeader::XForwardedFor, lines), expected, "{peer}: {lines}");
        }
        for (lines, expected) in [
            ("Forwarded: for=203.0.113.9;proto=http;by=10.0.0.1|", "203.0.113.9"),
            ("Forwarded: proto=http; For=\"[2001:db8::1]:80\"|", "2001:db8::1"),
            ("Forwarded: for=1.1.1.1, for=203.0.113.9, for=10.0.0.2|", "203.0.113.9"),
            ("Forwarded: for=203.0.113.9, for=_hidden|", "10.0.0.1"),
            ("Forwarded: for=unknown|", "10.0.0.1"),
            ("Forwarded: proto=http|", "10.0.0.1"),
            ("X-Forwarded-For: 203.0.113.9|", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", TrustedHeader::Forwarded, lines), expected, "{lines}");
        }
    }
}
