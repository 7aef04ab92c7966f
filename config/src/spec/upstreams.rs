//! Keys of upstream groups.

use super::{Default, Kind, Section, TIMEOUT, key};

pub(crate) const UPSTREAMS: Section = Section {
    name: "upstreams",
    named: true,
    doc: "Groups of equivalent servers.",
    keys: &[
        key(
            "targets",
            Kind::TextList,
            Default::Required,
            "`host:port`, IPv6 in brackets, with `https://` before it for TLS (then the port may be left out), optionally followed by ` weight=N` and ` drain`; names are resolved when the configuration is loaded.",
        ),
        key(
            "protocol",
            Kind::Choice(&["http1", "h2", "auto"]),
            Default::Text("http1"),
            "`h2`: HTTP/2, many requests on few connections; gRPC needs it. Over TLS the target has to choose it by ALPN. `auto`, TLS only: HTTP/2 where ALPN chooses it, else HTTP/1.1.",
        ),
        key(
            "http2_connections",
            Kind::Integer(1, 64, "connections"),
            Default::Integer(2),
            "HTTP/2 connections to a target, per core; a further one is opened when those there are full.",
        ),
        key("tls", Kind::Bool, Default::Bool(false), "Speak TLS to the targets, as `https://` does."),
        key(
            "tls_server_name",
            Kind::Text,
            Default::Absent,
            "Name asked for (SNI) and verified. Default: the target's host.",
        ),
        key(
            "tls_ca_file",
            Kind::Text,
            Default::Absent,
            "PEM file of the authorities that are trusted. Default: the system's.",
        ),
        key(
            "tls_cert_file",
            Kind::Text,
            Default::Absent,
            "PEM file of the certificate shown to the targets, with its chain.",
        ),
        key("tls_key_file", Kind::Text, Default::Absent, "PEM file of its private key."),
        key("connect_timeout_ms", TIMEOUT, Default::Integer(1000), "For a TCP connection (504)."),
        key("read_timeout_ms", TIMEOUT, Default::Integer(29_000), "Between two reads of a response (504)."),
        key(
            "total_timeout_ms",
            TIMEOUT,
            Default::Integer(29_000),
            "From the request until the response head (504).",
        ),
        key(
            "keepalive_connections",
            Kind::Integer(0, 65_536, "connections"),
            Default::Integer(64),
            "Idle connections kept, per core.",
        ),
        key(
            "keepalive_idle_ms",
            TIMEOUT,
            Default::Integer(30_000),
            "How long an idle connection is kept. Less than the server's own idle timeout.",
        ),
        key(
            "max_failures",
            Kind::Integer(0, 1_000_000, "failures"),
            Default::Integer(3),
            "Consecutive failures that put a target aside, 0: never.",
        ),
        key("fail_timeout_ms", TIMEOUT, Default::Integer(10_000), "How long a failed target is left aside."),
        key(
            "retries",
            Kind::Integer(0, 16, "tries"),
            Default::Integer(1),
            "Further tries of an idempotent request after a connect failure or on a stale connection.",
        ),
        key(
            "balance",
            Kind::Choice(&["round_robin", "least_request"]),
            Default::Text("round_robin"),
            "Who gets a request: each target in turn, by weight; or, of two, the one with fewer requests under way for its weight.",
        ),
        key(
            "health_check",
            Kind::Choice(&["off", "tcp", "http"]),
            Default::Text("off"),
            "How targets are checked, whether there are requests or not: by a connection, TLS included, or by a request.",
        ),
        key("health_path", Kind::Text, Default::Text("/"), "Path and query that the check asks for (GET)."),
        key(
            "health_status",
            Kind::Text,
            Default::Text("200-399"),
            "Statuses of a healthy target: `200`, `200-299`, or several of these with commas between.",
        ),
        key("health_host", Kind::Text, Default::Absent, "`Host` of the check. Default: the target's."),
        key(
            "health_interval_ms",
            TIMEOUT,
            Default::Integer(5_000),
            "From one check of a target to the next.",
        ),
        key("health_timeout_ms", TIMEOUT, Default::Integer(2_000), "For a check; then it has failed."),
        key(
            "health_rise",
            Kind::Integer(1, 1_000, "checks"),
            Default::Integer(2),
            "Good checks in a row that bring a target back.",
        ),
        key(
            "health_fall",
            Kind::Integer(1, 1_000, "checks"),
            Default::Integer(3),
            "Failed checks in a row after which a target gets no requests, if another one is healthy.",
        ),
    ],
};
