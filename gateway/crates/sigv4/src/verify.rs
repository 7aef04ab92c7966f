//! Whether a request was signed by who it says.

use crate::authorization::Claim;
use crate::payload::{self, Accepts, Chunks};
use crate::{Error, Request, Scope, amz_date, canonical, mac, parse_amz_date, string_to_sign, unhex};
use aws_lc_rs::hmac;

/// How far the clocks may differ (AWS: five minutes).
const SKEW_S: u64 = 300;
/// No presigned request is valid for longer: a week.
const EXPIRES_MAX_S: u64 = 604_800;

/// What signatures must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `None`: any.
    pub region: Option<&'a str>,
    /// For example `apigateway`.
    pub service: &'a str,
    /// Seconds since 1970.
    pub now_s: u64,
}

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id of the access key.
    pub access_key: String,
    /// The region that it was signed for.
    pub region: String,
}

/// What a request names as its credential: to find the key by, and not to be believed before.
#[derive(Clone, Copy, Debug)]
pub struct Credential<'a> {
    /// The id of the access key.
    pub access_key: &'a str,
    /// `X-Amz-Security-Token`, of temporary credentials.
    pub session_token: Option<&'a str>,
    /// What the key must be derived for.
    pub scope: Scope<'a>,
}

/// A key for one day, region and service: deriving it costs four HMACs, so keep it for as long as it is asked for.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// From a secret.
    pub fn derive(secret: &str, scope: Scope<'_>) -> Self {
        let mut key = mac(format!("AWS4{secret}").as_bytes(), scope.date);
        for part in [scope.region, scope.service, "aws4_request"] {
            key = mac(key.as_ref(), part);
        }
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    pub(crate) fn sign(&self, to_sign: &str) -> Vec<u8> {
        hmac::sign(&self.0, to_sign.as_bytes()).as_ref().to_vec()
    }

    /// Compares in constant time.
    pub(crate) fn signed(&self, to_sign: &str, signature: &str) -> bool {
        unhex(signature).is_some_and(|given| hmac::verify(&self.0, to_sign.as_bytes(), &given).is_ok())
    }
}

/// A request that is believed.
pub struct Verified {
    /// Who signed it.
    pub identity: Identity,
    /// Reads the body, if that comes in signed chunks: it is not verified before.
    pub chunks: Option<Chunks>,
}

/// Checks the signature of a request. `secret_of` gives the secret of an access key, if there is such a key: a permanent
/// one, to which no session token belongs. The signature must cover the body.
///
/// # Errors
/// Why it is not believed.
pub fn verify<'k>(
    request: &Request<'_>,
    expected: Expected<'_>,
    secret_of: impl Fn(&str) -> Option<&'k str>,
) -> Result<Identity, Error> {
    let key_of = |credential: &Credential<'_>| {
        let secret = secret_of(credential.access_key).filter(|_| credential.session_token.is_none())?;
        Some(SigningKey::derive(secret, credential.scope))
    };
    verify_by(request, expected, Accepts::default(), key_of).map(|verified| verified.identity)
}

/// Checks the signature of a request by a key that `key_of` finds or derives, for temporary credentials too: whether the
/// session token is the right one is for `key_of` to say.
///
/// # Errors
/// Why it is not believed.
pub fn verify_by(
    request: &Request<'_>,
    expected: Expected<'_>,
    accepts: Accepts,
    key_of: impl FnOnce(&Credential<'_>) -> Option<SigningKey>,
) -> Result<Verified, Error> {
    let claim = Claim::of(request)?;
    check_signed(request, &claim)?;
    check_scope(&claim, expected)?;
    check_time(&claim, expected.now_s)?;
    let scope = claim.scope();
    let session_token = claim.session_token.as_deref();
    let key = key_of(&Credential { access_key: &claim.access_key, session_token, scope })
        .ok_or(Error::UnknownKey)?;
    let kind = request.header("x-amz-content-sha256");
    accepts.check(kind)?;
    let literal = accepts.literal(kind);
    let to_sign = string_to_sign(&canonical::request(request, &claim.signed(), literal), scope, &claim.time);
    if !key.signed(&to_sign, &claim.signature) {
        return Err(Error::Mismatch);
    }
    let has_trailers = literal == Some(payload::STREAMING_TRAILER);
    let chunks = (has_trailers || literal == Some(payload::STREAMING)).then(|| Chunks {
        key,
        time: claim.time.clone(),
        scope: scope.to_string(),
        previous: claim.signature.clone(),
        trailers: has_trailers.then(|| announced(request)),
    });
    Ok(Verified { identity: Identity { access_key: claim.access_key, region: claim.region }, chunks })
}

/// Names of the trailers that a request says it has, lower case and sorted.
fn announced(request: &Request<'_>) -> Vec<String> {
    let names = request.header("x-amz-trailer").unwrap_or_default().split(',');
    let mut names: Vec<_> =
        names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names
}

/// What AWS adds to its message for [`Error::Mismatch`]: what should have been signed. Nothing for a request that is not
/// signed at all.
pub fn explain(request: &Request<'_>, accepts: Accepts) -> Option<String> {
    let claim = Claim::of(request).ok()?;
    let literal = accepts.literal(request.header("x-amz-content-sha256"));
    let canonical = canonical::request(request, &claim.signed(), literal);
    let to_sign = string_to_sign(&canonical, claim.scope(), &claim.time);
    Some(format!(
        "The Canonical String for this request should have been\n'{canonical}'\n\n\
         The String-to-Sign should have been\n'{to_sign}'\n"
    ))
}

impl Claim {
    fn scope(&self) -> Scope<'_> {
        Scope { date: &self.date, region: &self.region, service: &self.service }
    }

    fn signed(&self) -> Vec<&str> {
        self.signed.iter().map(String::as_str).collect()
    }
}

/// The host, and every `x-amz-*` header, must be among what was signed: else somebody in between could change them.
fn check_signed(request: &Request<'_>, claim: &Claim) -> Result<(), Error> {
    let covers = |name: &str| claim.signed.iter().any(|signed| signed.eq_ignore_ascii_case(name));
    let is_amz = |name: &&str| name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
    let amz = request.headers.iter().map(|(name, _)| *name).filter(is_amz);
    match std::iter::once("host").chain(amz).find(|name| !covers(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Incomplete(format!(
            "'{}' must be a 'SignedHeader' in the AWS Authorization.",
            name.to_ascii_lowercase()
        ))),
    }
}

fn check_scope(claim: &Claim, expected: Expected<'_>) -> Result<(), Error> {
    if expected.region.is_some_and(|region| region != claim.region) {
        return Err(Error::Scope("Credential should be scoped to a valid region. ".to_owned()));
    }
    if claim.service != expected.service {
        let text = format!("Credential should be scoped to correct service: '{}'. ", expected.service);
        return Err(Error::Scope(text));
    }
    if claim.time.get(..8) != Some(claim.date.as_str()) {
        return Err(Error::Scope(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from '{}'.",
            claim.date,
            claim.time.get(..8).unwrap_or_default(),
            claim.time
        )));
    }
    Ok(())
}

fn check_time(claim: &Claim, now_s: u64) -> Result<(), Error> {
    let at = parse_amz_date(&claim.time).ok_or_else(|| {
        Error::Incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{}'.", claim.time))
    })?;
    if claim.expires_s.is_some_and(|expires| expires > EXPIRES_MAX_S) {
        return Err(Error::Incomplete("X-Amz-Expires must be less than a week (in seconds)".to_owned()));
    }
    if at > now_s + SKEW_S {
        let latest = amz_date(now_s + SKEW_S);
        return Err(Error::Time(format!(
            "Signature not yet current: {} is still later than {latest}",
            claim.time
        )));
    }
    let last = at + claim.expires_s.unwrap_or(SKEW_S);
    if now_s > last {
        let (end, now) = (amz_date(last), amz_date(now_s));
        return Err(Error::Time(format!("Signature expired: {end} is now earlier than {now}")));
    }
    Ok(())
}
