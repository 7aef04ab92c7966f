//! Whether a request was signed by who it says.

use crate::authorization::Claim;
use crate::{Error, Request, Scope, amz_date, compute, parse_amz_date, unhex};
use aws_lc_rs::constant_time;

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

/// Checks the signature of a request. `secret_of` gives the secret of an access key, if there is such a key.
///
/// # Errors
/// Why it is not believed.
pub fn verify<'k>(
    request: &Request<'_>,
    expected: Expected<'_>,
    secret_of: impl Fn(&str) -> Option<&'k str>,
) -> Result<Identity, Error> {
    let claim = Claim::of(request)?;
    check_signed(request, &claim)?;
    check_scope(&claim, expected)?;
    check_time(&claim, expected.now_s)?;
    // Keys of the configuration are permanent: a session token belongs to none of them.
    let secret =
        secret_of(&claim.access_key).filter(|_| claim.session_token.is_none()).ok_or(Error::UnknownKey)?;
    let scope = Scope { date: &claim.date, region: &claim.region, service: &claim.service };
    let signed: Vec<&str> = claim.signed.iter().map(String::as_str).collect();
    let right = compute(request, secret, scope, &claim.time, &signed);
    let given = unhex(&claim.signature).ok_or(Error::Mismatch)?;
    constant_time::verify_slices_are_equal(&right, &given).map_err(|_| Error::Mismatch)?;
    Ok(Identity { access_key: claim.access_key, region: claim.region })
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
