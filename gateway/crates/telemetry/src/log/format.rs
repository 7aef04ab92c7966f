//! One line per record: JSON with the names of API Gateway's `$context` variables, or the combined Common Log Format.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html>

use super::codec::Entry;
use super::text::{self, Addresses, Clock};
use crate::names::{Names, OVERFLOW};
use crate::record::CacheOutcome;

/// The slots' names as they stand in a line, with what stands around them.
#[derive(Debug)]
struct NameCache {
    before: &'static str,
    after: &'static str,
    by_slot: Vec<Box<[u8]>>,
}

impl NameCache {
    fn new(before: &'static str, after: &'static str) -> Self {
        Self { before, after, by_slot: Vec::new() }
    }

    #[inline]
    fn get(&mut self, names: &Names, slot: u32) -> &[u8] {
        if slot as usize >= self.by_slot.len() {
            self.update(names);
        }
        let name = self.by_slot.get(slot as usize).or_else(|| self.by_slot.get(OVERFLOW as usize));
        name.map_or(b"", |name| name)
    }

    #[cold]
    fn update(&mut self, names: &Names) {
        for name in names.since(self.by_slot.len()) {
            let mut text = self.before.as_bytes().to_vec();
            text::json(&mut text, name.as_bytes());
            text.extend_from_slice(self.after.as_bytes());
            self.by_slot.push(text.into());
        }
    }
}

/// Where names come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameTables<'a> {
    pub(super) routes: &'a Names,
    pub(super) upstreams: &'a Names,
    pub(super) limits: &'a Names,
    pub(super) keys: &'a Names,
}

/// Formats records; keeps what stays the same between them.
#[derive(Debug)]
pub(super) struct Formatter {
    clock: Clock,
    addresses: Addresses,
    routes: NameCache,
    upstreams: NameCache,
    limits: NameCache,
    keys: NameCache,
    users: NameCache,
}

impl Formatter {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::new(),
            addresses: Addresses::new(),
            routes: NameCache::new("\",\"routeKey\":\"", "\",\"status\":"),
            upstreams: NameCache::new(",\"upstream\":\"", "\""),
            limits: NameCache::new(",\"limit\":\"", "\""),
            keys: NameCache::new(",\"apiKey\":\"", "\""),
            users: NameCache::new("", ""),
        }
    }

    pub(super) fn json(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>, names: NameTables<'_>) {
        out.extend_from_slice(b"{\"requestId\":\"");
        text::json(out, entry.request_id);
        out.extend_from_slice(b"\",\"ip\":\"");
        self.addresses.write(out, entry.source);
        out.extend_from_slice(b"\",");
        self.clock.json(out, entry.time_unix_ms);
        match entry.method {
            b"GET" => out.extend_from_slice(b",\"httpMethod\":\"GET\",\"path\":\""),
            b"POST" => out.extend_from_slice(b",\"httpMethod\":\"POST\",\"path\":\""),
            other => {
                out.extend_from_slice(b",\"httpMethod\":\"");
                text::json(out, other);
                out.extend_from_slice(b"\",\"path\":\"");
            }
        }
        let (path, query) = text::split_query(entry.target);
        text::json(out, path);
        if let Some(query) = query {
            out.extend_from_slice(b"\",\"query\":\"");
            text::json(out, query);
        }
        out.extend_from_slice(self.routes.get(names.routes, entry.route));
        text::decimal(out, u64::from(entry.status));
        out.extend_from_slice(match entry.version {
            0 => b",\"protocol\":\"HTTP/1.0\",\"requestLength\":",
            2 => b",\"protocol\":\"HTTP/2.0\",\"requestLength\":",
            _ => b",\"protocol\":\"HTTP/1.1\",\"requestLength\":",
        });
        text::decimal(out, entry.bytes_in);
        out.extend_from_slice(b",\"responseLength\":");
        text::decimal(out, entry.bytes_out);
        out.extend_from_slice(b",\"responseLatency\":");
        text::milliseconds(out, entry.latency_us);
        self.json_optional(out, entry, names);
        out.extend_from_slice(b"}\n");
    }

    /// The fields that are left out when there is nothing to say.
    fn json_optional(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>, names: NameTables<'_>) {
        if let Some(integration_us) = entry.integration_us {
            out.extend_from_slice(b",\"integrationLatency\":");
            text::milliseconds(out, integration_us);
        }
        if let Some(upstream) = entry.upstream {
            out.extend_from_slice(self.upstreams.get(names.upstreams, upstream));
        }
        if let Some(key) = entry.key {
            out.extend_from_slice(self.keys.get(names.keys, key));
        }
        if let Some(limit) = entry.limit {
            out.extend_from_slice(self.limits.get(names.limits, limit));
        }
        out.extend_from_slice(match entry.cache {
            CacheOutcome::None => b"",
            CacheOutcome::Hit => b",\"cache\":\"HIT\"",
            CacheOutcome::Miss => b",\"cache\":\"MISS\"",
            CacheOutcome::Refresh => b",\"cache\":\"REFRESH\"",
        });
        if !entry.user_agent.is_empty() {
            out.extend_from_slice(b",\"userAgent\":\"");
            text::json(out, entry.user_agent);
            out.push(b'"');
        }
        if !entry.referer.is_empty() {
            out.extend_from_slice(b",\"referer\":\"");
            text::json(out, entry.referer);
            out.push(b'"');
        }
        if !entry.tls.is_empty() {
            tls_fields(out, entry.tls);
        }
        if !entry.principal.is_empty() {
            out.extend_from_slice(b",\"principalId\":\"");
            text::json(out, entry.principal);
            out.push(b'"');
        }
        if let Some(refusal) = entry.refusal {
            out.extend_from_slice(b",\"error\":\"");
            out.extend_from_slice(refusal.label().as_bytes());
            out.extend_from_slice(b"\",\"errorResponseType\":\"");
            out.extend_from_slice(refusal.response_type().as_bytes());
            out.push(b'"');
        }
    }

    /// `ip - key [date] "request line" status bytes "referer" "user agent"`; the API key's name stands for the user.
    pub(super) fn clf(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>, names: NameTables<'_>) {
        self.addresses.write(out, entry.source);
        out.extend_from_slice(b" - ");
        match entry.key {
            // A name is one word, or the fields after it would shift.
            Some(key) => {
                let name = self.users.get(names.keys, key);
                out.extend(
                    name.iter()
                        .map(|byte| if byte.is_ascii_graphic() && *byte != b'"' { *byte } else { b'_' }),
                );
            }
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" [");
        self.clock.date(out, entry.time_unix_ms);
        out.extend_from_slice(b"] \"");
        text::clf(out, entry.method);
        out.push(b' ');
        text::clf(out, entry.target);
        out.extend_from_slice(match entry.version {
            0 => b" HTTP/1.0\" ",
            2 => b" HTTP/2.0\" ",
            _ => b" HTTP/1.1\" ",
        });
        text::decimal(out, u64::from(entry.status));
        out.push(b' ');
        text::decimal(out, entry.bytes_out);
        for field in [entry.referer, entry.user_agent] {
            out.extend_from_slice(b" \"");
            text::clf(out, if field.is_empty() { b"-" } else { field });
            out.push(b'"');
        }
        out.push(b'\n');
    }
}

/// What the TLS handshake settled: see `Record::tls`.
fn tls_fields(out: &mut Vec<u8>, facts: &[u8]) {
    let names = ["tlsVersion", "cipherSuite", "clientCertSubject"];
    for (name, value) in names.into_iter().zip(facts.splitn(3, |byte| *byte == b'\n')) {
        if !value.is_empty() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            text::json(out, value);
            out.push(b'"');
        }
    }
}
