//! Which headers cross a REST API, and under which name.
//!
//! The table is the developer guide's ("Amazon API Gateway important notes for REST APIs"), for the columns `http` and
//! `http_proxy`. One line of it is not followed: a request's `Content-Encoding` is handed on by proxy integrations too, as
//! the body that it describes is.

use sluice_wire::KnownHeader;

/// What becomes of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It goes on as it is.
    Pass,
    /// It stays behind.
    Drop,
    /// It goes on as `x-amzn-Remapped-…`.
    Remap,
}

/// Of a request's header towards the integration. What belongs to one connection has been dropped before.
#[inline]
pub(crate) fn of_request(id: KnownHeader, name: &[u8], value: &[u8]) -> Passage {
    match id {
        KnownHeader::Server | KnownHeader::Via | KnownHeader::WwwAuthenticate => Passage::Drop,
        // What was signed for us says nothing to the backend.
        KnownHeader::Authorization if value.starts_with(b"AWS4-HMAC-SHA256") => Passage::Drop,
        KnownHeader::Other if is(name, b"content-md5") || is(name, b"max-forwards") => Passage::Drop,
        _ => Passage::Pass,
    }
}

/// Of an integration's header towards the client.
#[inline]
pub(crate) fn of_response(id: KnownHeader, name: &[u8]) -> Passage {
    match id {
        KnownHeader::Authorization
        | KnownHeader::Connection
        | KnownHeader::Date
        | KnownHeader::Server
        | KnownHeader::UserAgent
        | KnownHeader::WwwAuthenticate
        | KnownHeader::XAmznRequestId => Passage::Remap,
        KnownHeader::Expect
        | KnownHeader::Host
        | KnownHeader::ProxyAuthenticate
        | KnownHeader::Te
        | KnownHeader::Trailer
        | KnownHeader::TransferEncoding
        | KnownHeader::Upgrade
        | KnownHeader::Via => Passage::Drop,
        KnownHeader::Other if is(name, b"content-md5") || is(name, b"max-forwards") => Passage::Remap,
        _ => Passage::Pass,
    }
}

/// Whether a header that a mapping names may be written: those that frame a message, or belong to a connection, are ours.
pub(crate) fn may_be_mapped(name: &[u8]) -> bool {
    let id = KnownHeader::from_name(name);
    !id.hop_by_hop()
        && !matches!(
            id,
            KnownHeader::Host | KnownHeader::ContentLength | KnownHeader::Expect | KnownHeader::Via
        )
        && !is(name, b"max-forwards")
        && !name.is_empty()
}

/// Appends a value that a mapping made. Line ends in it would be headers of the caller's own.
pub(crate) fn push_value(out: &mut Vec<u8>, value: &str) {
    out.extend(value.bytes().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte }));
}

#[inline]
fn is(name: &[u8], lower: &[u8]) -> bool {
    name.len() == lower.len() && name.eq_ignore_ascii_case(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let of = |name: &str, value: &str| {
            of_request(
                KnownHeader::from_name(name.to_ascii_lowercase().as_bytes()),
                name.as_bytes(),
                value.as_bytes(),
            )
        };
        for name in ["Server", "Via", "WWW-Authenticate", "Content-MD5", "Max-Forwards"] {
            assert_eq!(of(name, "x"), Passage::Drop, "{name}");
        }
        assert_eq!(of("Authorization", "AWS4-HMAC-SHA256 Credential=x"), Passage::Drop);
        for name in
            ["Authorization", "Accept", "Date", "Content-Type", "User-Agent", "X-Own", "Pragma", "Range"]
        {
            assert_eq!(of(name, "x"), Passage::Pass, "{name}");
        }
    }

    #[test]
    fn responses() {
        let of = |name: &str| {
            of_response(KnownHeader::from_name(name.to_ascii_lowercase().as_bytes()), name.as_bytes())
        };
        for name in [
            "Authorization",
            "Connection",
            "Content-MD5",
            "Date",
            "Max-Forwards",
            "Server",
            "User-Agent",
            "WWW-Authenticate",
            "x-amzn-RequestId",
        ] {
            assert_eq!(of(name), Passage::Remap, "{name}");
        }
        for name in
            ["Expect", "Host", "Proxy-Authenticate", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Via"]
        {
            assert_eq!(of(name), Passage::Drop, "{name}");
        }
        for name in ["Accept-Charset", "Age", "Content-Type", "Pragma", "Referer", "Set-Cookie", "X-Own"] {
            assert_eq!(of(name), Passage::Pass, "{name}");
        }
    }

    #[test]
    fn mapped_values_hold_no_line() {
        let mut out = Vec::new();
        push_value(&mut out, "a\r\nset-cookie: b\0");
        assert_eq!(out, b"a  set-cookie: b ");
        assert!(!may_be_mapped(b"Transfer-Encoding") && !may_be_mapped(b"content-length"));
        assert!(may_be_mapped(b"x-own") && may_be_mapped(b"Content-Type"));
    }
}
