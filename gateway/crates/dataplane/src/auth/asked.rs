//! A request as policies see it: its ARN, and the values of condition keys.

use crate::core::Core;
use crate::exchange::Exchange;
use crate::rest::view::{ROUTES_API, ROUTES_STAGE};
use sluice_iam::{Caller, Context, Request, Value};
use sluice_sigv4::percent_decode;
use sluice_snapshot::{AccessKey, Snapshot};
use sluice_wire::KnownHeader;
use std::fmt::Write;
use std::str;

/// One request.
pub(crate) struct Asked<'x> {
    ex: &'x Exchange,
    arn: String,
    unix_ms: u64,
    key: Option<&'x AccessKey>,
}

impl<'x> Asked<'x> {
    pub(crate) fn new(ex: &'x Exchange, core: &Core, key: Option<&'x AccessKey>) -> Self {
        Self { ex, arn: method_arn(ex), unix_ms: core.clock.unix_ms(ex.received_ns), key }
    }

    pub(crate) fn request<'a>(&'a self, action: &'a str, caller: Caller<'a>) -> Request<'a> {
        Request { action, resource: &self.arn, caller, context: self }
    }

    fn header(&self, id: KnownHeader) -> Option<Value<'_>> {
        str::from_utf8(self.ex.header(id)?).ok().map(Value::Text)
    }

    fn snapshot(&self) -> &Snapshot {
        &self.ex.view.snapshot
    }
}

/// Keys that AWS documents for API Gateway ("AWS condition keys that can be used in API Gateway resource policies").
/// Those of virtual private clouds are never there.
impl Context for Asked<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "aws:sourceip" => Value::Ip(self.ex.source.to_canonical()),
            "aws:currenttime" => Value::TimeMs(i64::try_from(self.unix_ms).ok()?),
            "aws:epochtime" => Value::Number((self.unix_ms / 1000) as f64),
            "aws:securetransport" => Value::Bool(self.ex.tls.is_some()),
            "aws:useragent" => return self.header(KnownHeader::UserAgent),
            "aws:referer" => return self.header(KnownHeader::Referer),
            "aws:requestedregion" => Value::Text(&self.snapshot().aws.region),
            "aws:principaltype" => Value::Text(match self.key {
                None => "Anonymous",
                Some(key) if key.role_arn.is_some() => "AssumedRole",
                Some(key) if key.arn.ends_with(":root") => "Account",
                Some(_) => "User",
            }),
            "aws:principalarn" => {
                let key = self.key?;
                Value::Text(key.role_arn.as_deref().unwrap_or(&key.arn))
            }
            "aws:principalaccount" => Value::Text(&self.key?.account),
            "aws:userid" => Value::Text(&self.key?.id),
            "aws:username" => {
                let key = self.key.filter(|key| key.arn.contains(":user/"))?;
                Value::Text(key.name().rsplit('/').next()?)
            }
            _ => return None,
        })
    }
}

/// `arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/PATH`. The path is decoded, so that no spelling of it escapes a
/// statement; but what means something in a policy stays encoded: a policy that an authorizer makes of the ARN that it was
/// asked about must not mean more than that.
pub(crate) fn method_arn(ex: &Exchange) -> String {
    let aws = &ex.view.snapshot.aws;
    let stage = ex.within.and_then(|at| ex.view.snapshot.rest.stages.get(at.stage as usize));
    let (api, name) = stage.map_or((ROUTES_API, ROUTES_STAGE), |stage| (&*stage.api, &*stage.name));
    let method = String::from_utf8_lossy(ex.head.method_name.of(ex.bytes.as_slice()));
    let mut arn = format!("arn:aws:execute-api:{}:{}:{api}/{name}/{method}/", aws.region, aws.account);
    let path = ex.routed_path();
    decode(path.strip_prefix(b"/").unwrap_or(path), &mut arn);
    arn
}

fn decode(path: &[u8], out: &mut String) {
    for char in String::from_utf8_lossy(&percent_decode(path)).chars() {
        match char {
            '*' | '?' | '$' | '%' | '\0'..=' ' | '\u{7f}' => drop(write!(out, "%{:02X}", u32::from(char))),
            _ => out.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn paths_have_one_spelling_and_mean_no_more_than_themselves() {
        for (raw, expected) in [
            ("users/1", "users/1"),
            ("%75sers/%2f1", "users//1"),
            ("a%20b/*/%2A/?/%3f", "a%20b/%2A/%2A/%3F/%3F"),
            ("%24{aws:username}", "%24{aws:username}"),
            ("100%25/%zz", "100%25/%25zz"),
            ("caf%C3%A9", "caf\u{e9}"),
        ] {
            let mut out = String::new();
            decode(raw.as_bytes(), &mut out);
            assert_eq!(out, expected, "{raw}");
        }
    }
}
