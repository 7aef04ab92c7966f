//! What lets a request of the gateway's own through to a server: nothing, a token, or a signature.

use sluice_sigv4::{Request, Scope, amz_date, authorization_of};
use sluice_snapshot::{Auth, Signer};
use sluice_wire::enc;

/// A request in the making, as a signature sees it.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    /// As it stands in the request line, without the query.
    pub(crate) path: &'a str,
    /// Without `?`.
    pub(crate) query: &'a str,
    /// Those that are signed, `Host` among them; they are written by the caller.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// The body's hash, where it was made before: a large one is not hashed on a core.
    pub(crate) payload_hash: Option<&'a str>,
}

/// Writes the fields that a server asks for.
pub(crate) fn write(out: &mut Vec<u8>, auth: &Auth, request: &Unsigned<'_>, unix_s: u64) {
    match auth {
        Auth::None => {}
        Auth::Token(token) => enc::header(out, b"X-Sluice-Token", token.expose().as_bytes()),
        Auth::SigV4(signer) => sign(out, signer, request, unix_s),
    }
}

fn sign(out: &mut Vec<u8>, signer: &Signer, request: &Unsigned<'_>, unix_s: u64) {
    let time = amz_date(unix_s);
    let mut headers = request.headers.to_vec();
    headers.push(("X-Amz-Date", &time));
    enc::header(out, b"X-Amz-Date", time.as_bytes());
    if let Some(token) = &signer.session_token {
        headers.push(("X-Amz-Security-Token", token.expose()));
        enc::header(out, b"X-Amz-Security-Token", token.expose().as_bytes());
    }
    let signed = Request {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: &headers,
        body: request.body,
    };
    let scope =
        Scope { date: time.get(..8).unwrap_or_default(), region: &signer.region, service: &signer.service };
    let credentials = (&*signer.access_key_id, signer.secret.expose());
    let value = authorization_of(&signed, request.payload_hash, credentials, scope, &time);
    enc::header(out, b"Authorization", value.as_bytes());
}
