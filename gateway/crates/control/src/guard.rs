//! Keeps web pages out of the admin listener.
//!
//! A page that a user of this machine visits can make the browser call `http://127.0.0.1:8081`. Two things let it do
//! harm, and each has its bar:
//!
//! - It could *read* only by making our address look like its own origin, by a DNS name that resolves to us
//!   (rebinding). The `Host` header then carries that name. An address can't be rebound, so addresses pass; names
//!   don't, but `localhost` (RFC 6761 6.3) and those the operator allows.
//! - It could *act* with a form or a simple `fetch`. Those can't set `content-type: application/json` or a header of
//!   ours without asking first (CORS preflight), and we never agree. Neither can they set `Authorization`, so signed
//!   requests pass.

use crate::v1;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The header that vouches for a `POST` without a body.
pub(crate) const ADMIN_HEADER: &str = "x-sluice-admin";

pub(crate) async fn guard(State(names): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&names, &request) {
        Some((status, message)) => crate::server::message(status, message).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn refusal(names: &[String], request: &Request) -> Option<(StatusCode, &'static str)> {
    // The target's authority counts before Host (RFC 9112 3.2.2). Without either it's no browser.
    let target = request.uri().authority().map(|authority| authority.as_str());
    let mut hosts = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    if !target.into_iter().chain(&mut hosts).all(|host| is_ours(host, names)) {
        return Some((StatusCode::MISDIRECTED_REQUEST, "Not a name of the admin listener"));
    }
    let resets = request.uri().path() == v1::RESET && !from_a_page(request.headers());
    let acts = !resets && !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if acts && !vouched(request.headers()) {
        return Some((StatusCode::FORBIDDEN, "Send content-type: application/json or x-sluice-admin: 1"));
    }
    None
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost")
        || is_address(name)
        || names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

fn is_address(name: &str) -> bool {
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<IpAddr>().is_ok(),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn vouched(headers: &HeaderMap) -> bool {
    let json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/json")
    });
    let signed =
        headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256 "));
    json || signed || headers.get(ADMIN_HEADER).is_some_and(|value| value == "1")
}

/// Browsers say where a request comes from, and a page can't keep them from it.
fn from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_ours_and_names_are_not() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8081",
            "localhost",
            "LocalHost:8081",
            "[::1]",
            "[::1]:8081",
            "10.1.2.3:80",
        ] {
            assert!(is_ours(host, &[]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            ":80",
            "[::1",
            "[evil]",
            "::1]:80",
            "0x7f.1",
            "localhost:8081@evil.example",
            "127.0.0.1 evil",
        ] {
            assert!(!is_ours(host, &[]), "{host}");
        }
        assert!(is_ours("Gateway.internal:8081", &["gateway.internal".into()]));
    }
}
