//! The one record of each exchange: metrics and the access log.

use crate::client;
use crate::core::Core;
use crate::exchange::Exchange;
use crate::respond::{
    GatewayResponse, error_body, error_head, gateway_response, parser_refusal, request_id_header,
};
use sluice_h1::HeadError;
use sluice_h2::{Out, Side};
use sluice_server::Conn;
use sluice_telemetry::{CacheOutcome, Record, Refusal, UNMATCHED};
use sluice_wire::{KnownHeader, Version};
use std::io;

/// Records an exchange that had a request head.
#[inline]
pub(crate) fn exchange(core: &Core, ex: &Exchange) {
    let bytes = ex.bytes.as_slice();
    let now_ns = sluice_rt::clock_ns();
    let latency_us = match (ex.report.status, ex.report.integration_us) {
        // How long a tunnel lasted says nothing of how fast it was answered.
        (101, Some(until_switched_us)) => until_switched_us,
        _ => now_ns.saturating_sub(ex.received_ns) / 1000,
    };
    core.metrics.record(&Record {
        route: ex.route().map_or(UNMATCHED, |r| r.metrics_slot),
        status: ex.report.status,
        refusal: ex.report.refusal,
        latency_us,
        integration_latency_us: ex.report.integration_us,
        upstream: ex.report.upstream,
        cache: ex.report.cache,
        key: ex.api_key().map(|k| k.metrics_slot),
        limit: ex.report.limit,
        bytes_in: ex.head.head_len as u64 + ex.report.bytes_in,
        bytes_out: ex.report.bytes_out,
        time_unix_ms: core.clock.unix_ms(ex.received_ns),
        method: ex.head.method_name.of(bytes),
        path: ex.head.target.of(bytes),
        version: match ex.head.version {
            Version::Http10 => 0,
            Version::Http11 => 1,
            Version::Http2 => 2,
        },
        source: ex.source,
        user_agent: ex.header(KnownHeader::UserAgent).unwrap_or_default(),
        referer: ex.header(KnownHeader::Referer).unwrap_or_default(),
        tls: ex.tls.as_ref().map_or(b"", |facts| &facts.log),
        principal: ex.principal.as_ref().map_or(b"", |principal| principal.name().as_bytes()),
        request_id: &ex.request_id,
    });
}

/// Answers and records a head that could not be read.
pub(crate) fn unreadable(core: &Core, conn: &Conn, error: &HeadError) {
    let status = match error {
        HeadError::Request(e) => e.status(),
        HeadError::Io { error, .. } if error.kind() == io::ErrorKind::TimedOut => 408,
        // The client closed or reset in the middle of its head: it hears nothing more.
        HeadError::Io { .. } | HeadError::Truncated | HeadError::Response(_) => {
            return bare(core, conn, Refusal::ClientGone, 400, 0);
        }
    };
    let (why, answer) = parser_refusal(status);
    closing_answer(core, conn, why, &answer);
}

/// Answers and records a connection beyond the limit.
pub(crate) fn shed(core: &Core, conn: &Conn) {
    closing_answer(core, conn, Refusal::Shed, &gateway_response(Refusal::Shed));
}

fn closing_answer(core: &Core, conn: &Conn, why: Refusal, answer: &GatewayResponse) {
    let id = core.ids.next_id();
    let written = match conn.client.out() {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            error_head(out, answer, None);
            request_id_header(out, &id);
            core.clock.write_date(out);
            out.extend_from_slice(b"Connection: close\r\n\r\n");
            error_body(out, answer);
            out.len() - before
        }),
        Out::H2(stream) => {
            let head = stream.write_head(false, |head| {
                error_head(head, answer, None);
                request_id_header(head, &id);
                core.clock.write_date(head);
            });
            let mut body = Vec::new();
            error_body(&mut body, answer);
            stream.write(&body, true);
            head + body.len()
        }
    };
    bare(core, conn, why, answer.status, written as u64);
}

/// A record without a request.
fn bare(core: &Core, conn: &Conn, why: Refusal, status: u16, bytes_out: u64) {
    if client::is_direct(conn, &core.view().snapshot.server) {
        core.lookout.note(conn.peer.ip(), Some(why), None);
    }
    let now_ns = sluice_rt::now_ns();
    core.metrics.record(&Record {
        route: UNMATCHED,
        status,
        refusal: Some(why),
        latency_us: 0,
        integration_latency_us: None,
        upstream: None,
        cache: CacheOutcome::None,
        key: None,
        limit: None,
        bytes_in: 0,
        bytes_out,
        time_unix_ms: core.clock.unix_ms(now_ns),
        method: b"-",
        path: b"-",
        version: if matches!(conn.client, Side::H2(..)) { 2 } else { 1 },
        source: conn.peer.ip(),
        user_agent: b"",
        referer: b"",
        tls: conn.tls.as_ref().map_or(b"", |facts| &facts.log),
        principal: b"",
        request_id: &core.ids.next_id(),
    });
}
