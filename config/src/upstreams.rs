//! `[upstreams.NAME]`, and the groups that routes name by address.

use crate::diagnostic::{Located, Reporter};
use crate::entries::choice;
use crate::read::Fields;
use crate::secure::upstream_tls;
use crate::settings::{Balance, HealthCheck, HealthRequest, Protocol, Route, Target, Upstream};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

const WEIGHT_MAX: u32 = 1000;
/// The target that the quick start's own backend stands in for.
const DEMO: &str = "demo";

pub(crate) fn upstream(
    name: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    demo: Option<SocketAddr>,
    out: &mut Reporter<'_>,
) -> Upstream {
    let written = fields.texts("targets", out);
    if fields.is_empty_list("targets") {
        out.error(fields.place("targets", out), "`targets` expects at least one target", None);
    }
    let targets: Vec<Target> = written.iter().filter_map(|text| target(text, demo, out)).collect();
    if !targets.is_empty() && targets.iter().all(|target| target.drain) {
        let help = "to have nobody served, drop the routes to it".to_owned();
        let message = "`targets` expects one that does not drain";
        out.error(fields.place("targets", out), message, Some(help));
    }
    if let (false, true, Some(plain)) =
        (fields.bool("tls"), targets.iter().any(|t| t.tls), targets.iter().find(|t| !t.tls))
    {
        let help = "write https:// before each, or none".to_owned();
        out.error(plain.at, "a group is https:// as a whole", Some(help));
    }
    group(name, targets, fields, out)
}

fn group(
    name: Located<Arc<str>>,
    targets: Vec<Target>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> Upstream {
    let tls = upstream_tls(&targets, fields, out);
    let protocol = match choice(fields, "protocol", out).as_str() {
        "h2" => Protocol::Http2,
        "auto" => Protocol::Auto,
        _ => Protocol::Http1,
    };
    if protocol == Protocol::Auto && tls.is_none() {
        let help = "write https:// before the targets, or say \"http1\" or \"h2\"".to_owned();
        out.error(fields.place("protocol", out), "`protocol` \"auto\" expects TLS: ALPN chooses", Some(help));
    }
    Upstream {
        tls,
        name,
        targets,
        connect_timeout_ms: fields.integer("connect_timeout_ms"),
        read_timeout_ms: fields.integer("read_timeout_ms"),
        total_timeout_ms: fields.integer("total_timeout_ms"),
        keepalive_connections: fields.integer("keepalive_connections"),
        keepalive_idle_ms: fields.integer("keepalive_idle_ms"),
        protocol,
        http2_connections: fields.integer("http2_connections"),
        max_failures: fields.integer("max_failures"),
        fail_timeout_ms: fields.integer("fail_timeout_ms"),
        retries: fields.integer("retries"),
        balance: match choice(fields, "balance", out).as_str() {
            "least_request" => Balance::LeastRequest,
            _ => Balance::RoundRobin,
        },
        health: health(fields, out),
    }
}

/// Keys that only a check by a request has.
const HEALTH_OF_HTTP: &[&str] = &["health_path", "health_status", "health_host"];
/// Keys that every check has.
const HEALTH: &[&str] = &["health_interval_ms", "health_timeout_ms", "health_rise", "health_fall"];

fn health(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Option<HealthCheck> {
    let kind = choice(fields, "health_check", out);
    let (useless, help): (Vec<_>, _) = match kind.as_str() {
        "http" => (Vec::new(), ""),
        "tcp" => (HEALTH_OF_HTTP.to_vec(), "write health_check = \"http\", or drop it"),
        _ => ([HEALTH_OF_HTTP, HEALTH].concat(), "write health_check = \"http\" or \"tcp\", or drop it"),
    };
    for key in useless.into_iter().filter(|key| fields.has(key)) {
        let message = format!("`{key}` has no use with `health_check = \"{kind}\"`");
        out.error(fields.place(key, out), message, Some(help.to_owned()));
    }
    let request = match kind.as_str() {
        "http" => Some(health_request(fields, out)),
        "tcp" => None,
        _ => return None,
    };
    Some(HealthCheck {
        request,
        interval_ms: fields.integer("health_interval_ms"),
        timeout_ms: fields.integer("health_timeout_ms"),
        rise: fields.integer("health_rise"),
        fall: fields.integer("health_fall"),
    })
}

fn health_request(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> HealthRequest {
    let path = fields.text("health_path", out);
    for path in path.iter().filter(|path| !is_path(&path.value)) {
        let message =
            format!("`health_path` expects a path, a query at most after it, found \"{}\"", path.value);
        out.error(path.at, message, Some("for example \"/health\"".to_owned()));
    }
    let host = fields.text("health_host", out);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    for host in host.iter().filter(|host| host.value.is_empty() || !host.value.bytes().all(allowed)) {
        out.error(host.at, format!("`health_host` expects a host, found \"{}\"", host.value), None);
    }
    let written = fields.text("health_status", out);
    let statuses = written.iter().flat_map(|text| text.value.split(',').map(|part| statuses(part.trim())));
    let statuses = statuses.collect::<Option<Vec<_>>>();
    if let (None, Some(written)) = (&statuses, &written) {
        let message =
            format!("`health_status` expects statuses from 200 to 599, found \"{}\"", written.value);
        out.error(written.at, message, Some("for example \"200\", \"200-299\" or \"200,302\"".to_owned()));
    }
    HealthRequest {
        path: path.map(|path| path.value).unwrap_or_default(),
        host: host.map(|host| host.value),
        statuses: statuses.unwrap_or_default(),
    }
}

/// A path with a query, as it stands in a request line.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// `200` or `200-299`.
fn statuses(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (200..=599).contains(status));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some((first, last))
}

fn target(text: &Located<String>, demo: Option<SocketAddr>, out: &mut Reporter<'_>) -> Option<Target> {
    let mut words = text.value.split_ascii_whitespace();
    let written = words.next().unwrap_or("");
    let (tls, authority) = match written.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, written),
    };
    if let (DEMO, Some(addr)) = (authority, demo) {
        let (host, authority) = (addr.ip().to_string(), addr.to_string().into());
        return Some(Target {
            host,
            port: addr.port(),
            weight: 1,
            drain: false,
            tls,
            authority,
            at: text.at,
        });
    }
    let https = format!("{authority}:443");
    let place = host_port(authority).or_else(|| host_port(&https).filter(|_| tls));
    let Some((host, port)) = place else {
        let help = if authority == DEMO {
            "\"demo\" is the backend that `sluice run` without --config starts; name your own".to_owned()
        } else {
            "for example \"127.0.0.1:9001\", \"[::1]:9001\" or \"users.internal:9001 weight=2\"".to_owned()
        };
        out.error(text.at, format!("a target expects host:port, found \"{}\"", text.value), Some(help));
        return None;
    };
    let (mut weight, mut drain) = (1, false);
    for word in words {
        match word.strip_prefix("weight=").map(str::parse::<u32>) {
            Some(Ok(number)) if (1..=WEIGHT_MAX).contains(&number) => weight = number,
            None if word == "drain" => drain = true,
            _ => {
                let message = format!(
                    "a target expects host:port, weight=N (1 to {WEIGHT_MAX}) and drain, found \"{word}\""
                );
                out.error(text.at, message, None);
            }
        }
    }
    Some(Target { host: host.to_owned(), port, weight, drain, tls, authority: authority.into(), at: text.at })
}

/// `host:port` or `[ipv6]:port`; the port is not 0.
fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = if digits { port.parse().ok().filter(|port| *port != 0)? } else { return None };
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok().then_some((inner, port));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(allowed)).then_some((host, port))
}

/// A route may name an address instead of a group: one group of default settings for each such address.
pub(crate) fn implicit_upstreams(
    defaults: &Fields<'_, '_>,
    routes: &[Route],
    upstreams: &mut Vec<Upstream>,
    out: &mut Reporter<'_>,
) {
    for written in routes.iter().filter_map(|route| route.upstream.as_ref()) {
        if !written.value.contains(':') || upstreams.iter().any(|u| *u.name.value == *written.value) {
            continue;
        }
        if let Some(target) = target(written, None, out) {
            upstreams.push(group(
                Located::new(written.value.as_str().into(), written.at),
                vec![target],
                defaults,
                out,
            ));
        }
    }
}
