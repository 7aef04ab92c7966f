//! The PROXY protocol, versions 1 and 2: how a load balancer tells whose connection it passes on
//! (haproxy.org/download/3.0/doc/proxy-protocol.txt).
//!
//! Strict: what is not exactly a header is an error, because whoever may send one is trusted to name any client.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest version 1 header, with its CRLF (section 2.1).
const V1_MAX_BYTES: usize = 107;
/// Longest version 2 header taken. Addresses need 216 bytes; the rest is for TLVs, which are skipped.
const V2_MAX_BYTES: usize = 4096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// More bytes are needed; parse again from the start when they have come.
    Partial,
    /// The header is whole.
    Complete {
        /// Bytes of the header.
        len: usize,
        /// The client; `None`: the sender speaks for itself (LOCAL, UNKNOWN), or for something without an IP address.
        source: Option<SocketAddr>,
    },
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// It begins neither with `PROXY ` nor with the signature of version 2.
    NoHeader,
    /// Longer than its version allows, or than is taken.
    TooLong,
    /// A line of version 1 that is not as section 2.1 says.
    BadLine,
    /// A version, command, family or length of version 2 that there isn't.
    BadBinary,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "expected a PROXY protocol header, found something else",
            Self::TooLong => {
                "expected a PROXY protocol header of at most 107 (v1) or 4096 (v2) bytes, found more"
            }
            Self::BadLine => {
                "expected PROXY, TCP4, TCP6 or UNKNOWN, two addresses and two ports, found something else"
            }
            Self::BadBinary => {
                "expected version 2, LOCAL or PROXY, a known family and its length, found something else"
            }
        })
    }
}

impl std::error::Error for ProxyError {}

/// Parses a header at the start of `bytes`.
///
/// # Errors
/// What the header breaks.
pub fn parse_proxy_header(bytes: &[u8]) -> Result<Proxied, ProxyError> {
    const WORD: &[u8] = b"PROXY ";
    let begins = |with: &[u8]| {
        let n = with.len().min(bytes.len());
        bytes.get(..n) == with.get(..n)
    };
    if begins(SIGNATURE) {
        return if bytes.len() < 16 { Ok(Proxied::Partial) } else { version_2(bytes) };
    }
    if !begins(WORD) {
        return Err(ProxyError::NoHeader);
    }
    let line = bytes.get(..bytes.len().min(V1_MAX_BYTES)).unwrap_or_default();
    match line.windows(2).position(|two| two == b"\r\n") {
        Some(end) => {
            let source = version_1(line.get(WORD.len()..end).unwrap_or_default())?;
            Ok(Proxied::Complete { len: end + 2, source })
        }
        None if bytes.len() >= V1_MAX_BYTES => Err(ProxyError::TooLong),
        None => Ok(Proxied::Partial),
    }
}

/// What stands between `PROXY ` and CRLF.
fn version_1(line: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    // Whatever follows UNKNOWN is ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| ProxyError::BadLine)?;
    let words: Vec<&str> = text.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = *words else {
        return Err(ProxyError::BadLine);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    // Decimal without leading zeros or signs.
    let port = |text: &str| -> Option<u16> {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| plain)
    };
    let (Some(source), Some(_), Some(source_port), Some(_)) =
        (address(source), address(destination), port(source_port), port(destination_port))
    else {
        return Err(ProxyError::BadLine);
    };
    Ok(Some(SocketAddr::new(source, source_port)))
}

/// At least the 16 bytes of the fixed part.
fn version_2(bytes: &[u8]) -> Result<Proxied, ProxyError> {
    let Some(([_, _, _, _, _, _, _, _, _, _, _, _, command, family, high, low], rest)) =
        bytes.split_first_chunk::<16>()
    else {
        return Ok(Proxied::Partial);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if 16 + length > V2_MAX_BYTES {
        return Err(ProxyError::TooLong);
    }
    // Version in the high half: 0x20 is LOCAL, 0x21 is PROXY.
    if !matches!(command, 0x20 | 0x21) {
        return Err(ProxyError::BadBinary);
    }
    // Family in the high half: unspecified, IPv4, IPv6, UNIX; transport in the low one: unspecified, stream, datagram.
    let needed = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(ProxyError::BadBinary),
    };
    if length < needed {
        return Err(ProxyError::BadBinary);
    }
    let Some(addresses) = rest.get(..length) else { return Ok(Proxied::Partial) };
    let source = match (*command, *family) {
        (0x21, 0x11) => source_v4(addresses),
        (0x21, 0x21) => source_v6(addresses),
        // Datagrams don't come over a stream, UNIX addresses name no client, LOCAL is the balancer's own health check.
        _ => None,
    };
    Ok(Proxied::Complete { len: 16 + length, source })
}

fn source_v4(addresses: &[u8]) -> Option<SocketAddr> {
    let [a, b, c, d, _, _, _, _, high, low] = *addresses.first_chunk::<10>()?;
    Some(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))))
}

fn source_v6(addresses: &[u8]) -> Option<SocketAddr> {
    let source: [u8; 16] = *addresses.first_chunk()?;
    let port: [u8; 2] = *addresses.get(32..)?.first_chunk()?;
    Some(SocketAddr::from((source, u16::from_be_bytes(port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(bytes: &[u8]) -> (usize, Option<String>) {
        for end in 0..bytes.len() {
            assert_ne!(
                parse_proxy_header(&bytes[..end]).map(|p| p != Proxied::Partial),
                Ok(true),
                "whole at {end}"
            );
        }
        match parse_proxy_header(bytes).unwrap() {
            Proxied::Complete { len, source } => (len, source.map(|s| s.to_string())),
            Proxied::Partial => panic!("{bytes:?} is not whole"),
        }
    }

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend_from_slice(&[command, family]);
        out.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn lines_of_version_1() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 5000 80\r\n", Some("192.0.2.1:5000")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n", Some("[2001:db8::1]:0")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 whatever 1 2\r\n", None),
        ] {
            assert_eq!(complete(line.as_bytes()), (line.len(), source.map(str::to_owned)), "{line}");
            let more = format!("{line}GET / HTTP/1.1\r\n");
            let source = source.map(|s| s.parse().unwrap());
            assert_eq!(
                parse_proxy_header(more.as_bytes()),
                Ok(Proxied::Complete { len: line.len(), source })
            );
        }
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 80 \r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 5000 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 05000 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +5000 80\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 80\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 5000 80\r\n",
            "PROXY TCP4 ::1 ::1 5000 80\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 5000 80\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.2 5000 80\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY TCP4 \u{fc} 198.51.100.2 5000 80\r\n",
        ] {
            assert_eq!(parse_proxy_header(line.as_bytes()), Err(ProxyError::BadLine), "{line:?}");
        }
        assert_eq!(parse_proxy_header(b"GET / HTTP/1.1\r\n"), Err(ProxyError::NoHeader));
        assert_eq!(parse_proxy_header(b"proxy TCP4"), Err(ProxyError::NoHeader));
        assert_eq!(
            parse_proxy_header(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()),
            Err(ProxyError::TooLong)
        );
        assert_eq!(parse_proxy_header(b""), Ok(Proxied::Partial));
    }

    #[test]
    fn headers_of_version_2() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 0, 80];
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[32..34].copy_from_slice(&[0x13, 0x88]);
        let tlv = [four.as_slice(), &[0x04, 0, 3, 1, 2, 3]].concat();
        for (header, source) in [
            (v2(0x21, 0x11, &four), Some("192.0.2.1:5000")),
            (v2(0x21, 0x11, &tlv), Some("192.0.2.1:5000")),
            (v2(0x21, 0x21, &six), Some("[2001::]:5000")),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[9; 30]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x21, 0x12, &four), None),
        ] {
            assert_eq!(complete(&header), (header.len(), source.map(str::to_owned)), "{header:?}");
        }
        for header in [
            v2(0x11, 0x11, &four),
            v2(0x22, 0x11, &four),
            v2(0x21, 0x41, &four),
            v2(0x21, 0x13, &four),
            v2(0x21, 0x11, &four[..11]),
            v2(0x21, 0x21, &four),
        ] {
            assert_eq!(parse_proxy_header(&header), Err(ProxyError::BadBinary), "{header:?}");
        }
        assert_eq!(parse_proxy_header(&v2(0x21, 0x11, &[0; 5000])), Err(ProxyError::TooLong));
    }
}
