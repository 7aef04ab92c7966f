//! Which requests to the admin listener have to be signed, and by whom.
//!
//! | request | asks for |
//! |---|---|
//! | `/catalog` | a signature: it has the values of API keys, and takes whatever serves |
//! | AWS's own paths, Lambda's | a signature; they see to that themselves |
//! | what else changes or runs something (`/reload`, `/upgrade`, `/xdp/detach`, `/functions/NAME/invoke`) | a signature, unless it comes from this machine |
//! | what only tells | nothing |
//!
//! Signatures are those of the control plane: Signature Version 4 for the service `apigateway`, by an access key that may use
//! it. In development nothing has to be signed.

use crate::server::{CATALOG_MAX_BYTES, Context, message};
use crate::{functions, v1};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

pub(crate) async fn authorize(State(context): State<Context>, request: Request, next: Next) -> Response {
    // Without a control plane there are no access keys.
    let Some(plane) = &context.admin.control else { return next.run(request).await };
    let access = (plane.access)();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    if access.development || !wants_signature(request.method(), request.uri().path(), peer) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let is_signed = parts.headers.contains_key(AUTHORIZATION) || query.contains("X-Amz-Signature=");
    // A body that nobody vouches for is not read.
    let body = if is_signed { to_bytes(body, CATALOG_MAX_BYTES).await } else { Ok(Bytes::new()) };
    let Ok(body) = body else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large").into_response();
    };
    match v1::authenticate(&access, "apigateway", &parts, &body) {
        Ok(()) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(refused) => *refused,
    }
}

/// `peer`: who asks, if that is known.
fn wants_signature(method: &Method, path: &str, peer: Option<IpAddr>) -> bool {
    if path == "/catalog" {
        return true;
    }
    let sees_to_it_itself = v1::is_ours(path) || functions::invoked(path).is_some() || path == v1::RESET;
    let only_tells = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !sees_to_it_itself && !only_tells && !peer.is_some_and(is_this_machine)
}

fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_sign_what() {
        let (here, mapped, there) = ("127.0.0.1", "::ffff:127.0.0.1", "192.0.2.1");
        for (method, path, peer, signed) in [
            (Method::GET, "/catalog", here, true),
            (Method::PUT, "/catalog", here, true),
            (Method::POST, "/reload", here, false),
            (Method::POST, "/reload", mapped, false),
            (Method::POST, "/reload", "::1", false),
            (Method::POST, "/reload", there, true),
            (Method::POST, "/upgrade", there, true),
            (Method::POST, "/xdp/detach", there, true),
            (Method::POST, "/functions/f/invoke", there, true),
            (Method::DELETE, "/not-yet-there", there, true),
            (Method::GET, "/metrics", there, false),
            // These are told apart by who answers them.
            (Method::POST, "/restapis", there, false),
            (Method::POST, "/2015-03-31/functions/f/invocations", there, false),
            (Method::POST, "/moto-api/reset", there, false),
        ] {
            let peer = peer.parse().ok();
            assert_eq!(wants_signature(&method, path, peer), signed, "{method} {path} {peer:?}");
        }
        assert!(wants_signature(&Method::POST, "/reload", None), "nobody knows from where");
    }
}
