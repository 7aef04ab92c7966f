//! `AWS_IAM`: requests signed with Signature Version 4 for the service `execute-api`.

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use sluice_sigv4::{Accepts, Credential, Error, Expected, Request, SigningKey, explain, verify_by};
use sluice_snapshot::AccessKey;
use sluice_telemetry::Refusal;
use sluice_wire::{BodyFraming, KnownHeader};
use std::cell::RefCell;
use std::collections::HashMap;
use std::str;
use std::sync::Arc;

/// Signing keys of this core: deriving one costs four HMACs, and it is good for a day.
#[derive(Default)]
pub(crate) struct SigningKeys(RefCell<HashMap<Box<str>, Derived>>);

struct Derived {
    /// The credentials as they were: another secret is another value.
    of: Arc<AccessKey>,
    date: Box<str>,
    key: SigningKey,
}

impl SigningKeys {
    /// The key for these credentials; the region and service are always the same. One a key: yesterday's is soon asked for
    /// no more.
    fn find(&self, of: &Arc<AccessKey>, credential: &Credential<'_>) -> SigningKey {
        let mut known = self.0.borrow_mut();
        if let Some(derived) = known.get(&of.id)
            && Arc::ptr_eq(&derived.of, of)
            && *derived.date == *credential.scope.date
        {
            return derived.key.clone();
        }
        let key = SigningKey::derive(&of.secret, credential.scope);
        let derived = Derived { of: Arc::clone(of), date: credential.scope.date.into(), key: key.clone() };
        known.insert(of.id.clone(), derived);
        key
    }
}

/// Who signed, and the data of a body of signed chunks.
type Verified = (Arc<AccessKey>, Option<Vec<u8>>);

/// Whether the signature can't be judged without the body.
pub(crate) fn covers_body(ex: &Exchange) -> bool {
    let has_body = !matches!(ex.head.framing, BodyFraming::None | BodyFraming::Length(0));
    let bytes = ex.bytes.as_slice();
    let mut hashes = ex.head.headers.iter().filter(|h| h.name.of(bytes).eq_ignore_ascii_case(HASH));
    let is_unsigned = hashes.next().is_some_and(|h| h.value.of(bytes) == b"UNSIGNED-PAYLOAD");
    has_body && !(is_unsigned && accepts(ex).unsigned)
}

const HASH: &[u8] = b"x-amz-content-sha256";

/// Whoever sees a request whose body is not signed may change it, so that is for TLS only.
fn accepts(ex: &Exchange) -> Accepts {
    Accepts { unsigned: ex.tls.is_some(), chunked: true }
}

/// Verifies the signature over the request and this body.
pub(crate) fn verify(ex: &Exchange, core: &Core, body: &[u8]) -> Result<Verified, Refused> {
    let bytes = ex.bytes.as_slice();
    let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
    let mut headers = Vec::with_capacity(ex.head.headers.len() + 1);
    // What the request was routed by, whatever `Host` says beside it (RFC 9112 section 3.2.2).
    headers.push(("host", text(ex.head.authority.of(bytes))));
    for h in ex.head.headers.iter().filter(|h| h.id != KnownHeader::Host) {
        if let (Ok(name), Ok(value)) = (str::from_utf8(h.name.of(bytes)), str::from_utf8(h.value.of(bytes))) {
            headers.push((name, value));
        }
    }
    let request = Request {
        method: text(ex.head.method_name.of(bytes)),
        path: text(ex.head.path.of(bytes)),
        query: ex.head.query.map(|query| text(query.of(bytes))).unwrap_or_default(),
        headers: &headers,
        body,
    };
    let aws = &ex.view.snapshot.aws;
    let unix_ms = core.clock.unix_ms(ex.received_ns);
    let expected = Expected { region: Some(&aws.region), service: "execute-api", now_s: unix_ms / 1000 };
    let key_of = |credential: &Credential<'_>| {
        let key = aws.access_keys.get(credential.access_key)?;
        let given = credential.session_token;
        (key.session_token.as_deref() == given).then(|| core.signing_keys.find(key, credential))
    };
    let refuse = |error| refused(&error, &request, accepts(ex));
    let verified = verify_by(&request, expected, accepts(ex), key_of).map_err(refuse)?;
    let key = aws.access_keys.get(&*verified.identity.access_key).ok_or(Refusal::UnknownAccessKey)?;
    let now_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    if key.expires_unix_ms.is_some_and(|end_ms| end_ms <= now_ms) {
        return Err(Refusal::ExpiredToken.into());
    }
    let decoded = verified.chunks.map(|chunks| chunks.decode(body)).transpose().map_err(refuse)?;
    Ok((Arc::clone(key), decoded))
}

/// As AWS says it.
fn refused(error: &Error, request: &Request<'_>, accepts: Accepts) -> Refused {
    let why = match error {
        Error::Missing => return Refusal::MissingToken.into(),
        Error::UnknownKey => return Refusal::UnknownAccessKey.into(),
        Error::Incomplete(_) => Refusal::SignatureIncomplete,
        Error::Scope(_) | Error::Time(_) | Error::Mismatch => Refusal::SignatureInvalid,
    };
    let mut message = error.to_string();
    if matches!(error, Error::Mismatch)
        && let Some(explained) = explain(request, accepts)
    {
        message.push_str("\n\n");
        message.push_str(&explained);
    }
    Refused { message: Some(message.into()), ..Refused::from(why) }
}
