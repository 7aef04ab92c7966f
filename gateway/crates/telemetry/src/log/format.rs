//! One line per record: JSON with the names of API Gateway's `$context` variables, or the combined Common Log Format.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html>

use super::codec::Entry;
use super::text::{self, Clock};
use crate::names::{Names, OVERFLOW};
use crate::record::CacheOutcome;

/// A copy of the slots' names, ready to be put between quotes.
#[derive(Debug, Default)]
struct NameCache {
    by_slot: Vec<Box<[u8]>>,
}

impl NameCache {
    fn get(&mut self, names: &Names, slot: u32) -> &[u8] {
        if slot as usize >= self.by_slot.len() {
            for name in names.since(self.by_slot.len()) {
                let mut escaped = Vec::new();
                text::json(&mut escaped, name.as_bytes());
                self.by_slot.push(escaped.into());
            }
        }
        let name = self.by_slot.get(slot as usize).or_else(|| self.by_slot.get(OVERFLOW as usize));
        name.map_or(b"", |name| name)
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
    routes: NameCache,
    upstreams: NameCache,
    limits: NameCache,
    keys: NameCache,
}

impl Formatter {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::new(),
            routes: NameCache::default(),
            upstreams: NameCache::default(),
            limits: NameCache::default(),
            keys: NameCache::default(),
        }
    }

    pub(super) fn json(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>, names: NameTables<'_>) {
        out.extend_from_slice(b"{\"requestId\":\"");
        text::json(out, entry.request_id);
        out.extend_from_slice(b"\",\"ip\":\"");
        text::address(out, entry.source);
        out.extend_from_slice(b"\",\"requestTime\":\"");
        self.clock.date(out, entry.time_unix_ms);
        out.extend_from_slice(b"\",\"requestTimeEpoch\":");
        self.clock.epoch_ms(out, entry.time_unix_ms);
        out.extend_from_slice(b",\"httpMethod\":\"");
        text::json(out, entry.method);
        out.extend_from_slice(b"\",\"path\":\"");
        let (path, query) = split_query(entry.target);
        text::json(out, path);
        if let Some(query) = query {
            out.extend_from_slice(b"\",\"query\":\"");
            text::json(out, query);
        }
        out.extend_from_slice(b"\",\"routeKey\":\"");
        out.extend_from_slice(self.routes.get(names.routes, entry.route));
        out.extend_from_slice(b"\",\"status\":");
        text::decimal(out, u64::from(entry.status));
        out.extend_from_slice(b",\"protocol\":\"");
        out.extend_from_slice(protocol(entry.version));
        out.extend_from_slice(b"\",\"requestLength\":");
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
        let mut quoted = |name: &[u8], value: &[u8]| {
            out.extend_from_slice(name);
            text::json(out, value);
            out.push(b'"');
        };
        if entry.cache != CacheOutcome::None {
            quoted(b",\"cache\":\"", entry.cache.label().as_bytes());
        }
        if !entry.user_agent.is_empty() {
            quoted(b",\"userAgent\":\"", entry.user_agent);
        }
        if !entry.referer.is_empty() {
            quoted(b",\"referer\":\"", entry.referer);
        }
        if let Some(refusal) = entry.refusal {
            quoted(b",\"error\":\"", refusal.label().as_bytes());
            quoted(b",\"errorResponseType\":\"", refusal.response_type().as_bytes());
        }
        // Names are escaped in their caches.
        let mut named = |name: &[u8], value: &[u8]| {
            out.extend_from_slice(name);
            out.extend_from_slice(value);
            out.push(b'"');
        };
        if let Some(upstream) = entry.upstream {
            named(b",\"upstream\":\"", self.upstreams.get(names.upstreams, upstream));
        }
        if let Some(key) = entry.key {
            named(b",\"apiKey\":\"", self.keys.get(names.keys, key));
        }
        if let Some(limit) = entry.limit {
            named(b",\"limit\":\"", self.limits.get(names.limits, limit));
        }
    }

    /// `ip - key [date] "request line" status bytes "referer" "user agent"`; the API key's name stands for the user.
    pub(super) fn clf(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>, names: NameTables<'_>) {
        text::address(out, entry.source);
        out.extend_from_slice(b" - ");
        match entry.key {
            // A name is one word, or the fields after it would shift.
            Some(key) => {
                let name = self.keys.get(names.keys, key);
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
        out.push(b' ');
        out.extend_from_slice(protocol(entry.version));
        out.extend_from_slice(b"\" ");
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

fn protocol(version: u8) -> &'static [u8] {
    match version {
        0 => b"HTTP/1.0",
        _ => b"HTTP/1.1",
    }
}

fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|byte| *byte == b'?').and_then(|mark| target.split_at_checked(mark)) {
        Some((path, query)) => (path, query.get(1..)),
        None => (target, None),
    }
}
