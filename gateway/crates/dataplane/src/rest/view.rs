//! What mapping sees of an exchange: [`RequestView`] and [`ResponseView`] over what was received.

use crate::auth::{Principal, Vouched};
use crate::exchange::Exchange;
use crate::forward::address;
use sluice_mapping::{ContextValue, ContextVariable, RequestView, ResponseView};
use sluice_snapshot::{AccessKey, Deployed, Stage};
use sluice_wire::{KnownHeader, ResponseHead, Version, enc};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::str;

/// What the routes of the configuration are, as an API.
pub(crate) const ROUTES_API: &str = "routes";
/// The one stage that they have, under the name of that of HTTP APIs.
pub(crate) const ROUTES_STAGE: &str = "$default";

/// A method request.
pub(crate) struct Seen<'x> {
    ex: &'x Exchange,
    stage: Option<&'x Stage>,
    deployed: Option<&'x Deployed>,
    body: &'x [u8],
    unix_ms: u64,
    host: OnceCell<Cow<'x, str>>,
    path: OnceCell<String>,
    source: OnceCell<String>,
    time: OnceCell<String>,
    trace: OnceCell<String>,
    not_before: OnceCell<String>,
    not_after: OnceCell<String>,
}

impl<'x> Seen<'x> {
    pub(crate) fn new(ex: &'x Exchange, body: &'x [u8], unix_ms: u64) -> Self {
        let rest = &ex.view.snapshot.rest;
        let at = ex.within;
        Self {
            ex,
            stage: at.and_then(|at| rest.stages.get(at.stage as usize)).map(|stage| &**stage),
            deployed: at.and_then(|at| rest.deployed(at)),
            body,
            unix_ms,
            host: OnceCell::new(),
            path: OnceCell::new(),
            source: OnceCell::new(),
            time: OnceCell::new(),
            trace: OnceCell::new(),
            not_before: OnceCell::new(),
            not_after: OnceCell::new(),
        }
    }

    fn host(&self) -> &str {
        self.host.get_or_init(|| {
            let authority = String::from_utf8_lossy(self.ex.head.authority.of(self.ex.bytes.as_slice()));
            match authority.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => Cow::Owned(host.to_owned()),
                _ => authority,
            }
        })
    }

    /// With the stage, as callers of the API's own host name write it.
    fn path(&self) -> &str {
        self.path.get_or_init(|| {
            if self.is_trial() {
                return String::from_utf8_lossy(self.ex.routed_path()).into_owned();
            }
            let path = String::from_utf8_lossy(self.ex.routed_path());
            match self.stage {
                Some(stage) => format!("/{}{path}", stage.name),
                None => path.into_owned(),
            }
        })
    }

    /// A method is being tried out: its caller is made up, as on AWS.
    fn is_trial(&self) -> bool {
        self.ex.view.snapshot.rest.is_trial
    }

    fn source(&self) -> &str {
        self.source.get_or_init(|| {
            if self.is_trial() {
                return "test-invoke-source-ip".to_owned();
            }
            let mut text = Vec::new();
            address(&mut text, self.ex.source);
            String::from_utf8_lossy(&text).into_owned()
        })
    }

    /// `10/Oct/2000:13:55:36 +0000`.
    fn time(&self) -> &str {
        self.time.get_or_init(|| {
            let mut date = Vec::new();
            enc::http_date(&mut date, self.unix_ms / 1000);
            let date = String::from_utf8_lossy(&date).into_owned();
            let mut words = date.split(' ').skip(1);
            let mut word = || words.next().unwrap_or_default();
            format!("{}/{}/{}:{} +0000", word(), word(), word(), word())
        })
    }

    fn trace(&self) -> &str {
        self.trace.get_or_init(|| {
            let mut trace = Vec::new();
            trace_id(&mut trace, self.ex, self.unix_ms);
            String::from_utf8_lossy(&trace).into_owned()
        })
    }

    fn known(&self, id: KnownHeader) -> Option<ContextValue<'_>> {
        self.ex.header(id).and_then(|value| str::from_utf8(value).ok()).map(ContextValue::Str)
    }

    fn vouched(&self) -> Option<&Vouched> {
        self.ex.principal.as_ref().and_then(Principal::vouched)
    }

    fn signer(&self) -> Option<&AccessKey> {
        self.ex.principal.as_ref().and_then(Principal::signer)
    }

    fn certificate(&self, variable: ContextVariable) -> Option<ContextValue<'_>> {
        let peer = self.ex.tls.as_ref()?.peer.as_ref()?;
        Some(ContextValue::Str(match variable {
            ContextVariable::ClientCertPem => &peer.pem,
            ContextVariable::ClientCertIssuerDn => &peer.issuer,
            ContextVariable::ClientCertSerialNumber => &peer.serial,
            ContextVariable::ClientCertSubjectDn => &peer.subject,
            ContextVariable::ClientCertNotBefore => {
                self.not_before.get_or_init(|| certificate_date(peer.not_before_unix_s))
            }
            ContextVariable::ClientCertNotAfter => {
                self.not_after.get_or_init(|| certificate_date(peer.not_after_unix_s))
            }
            _ => return None,
        }))
    }
}

/// `May 28 12:30:02 2019 GMT`, as OpenSSL writes it: days below ten have two spaces before them.
fn certificate_date(unix_s: i64) -> String {
    let mut date = Vec::new();
    enc::http_date(&mut date, u64::try_from(unix_s).unwrap_or(0));
    // `Tue, 28 May 2019 12:30:02 GMT`
    let date = String::from_utf8_lossy(&date);
    let mut words = date.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, time) = (word(), word(), word(), word());
    format!("{month} {:>2} {time} {year} GMT", day.trim_start_matches('0'))
}

/// `Root=1-{seconds}-{96 bits}`, all hex: an X-Ray trace id, whose random part is the request id's.
pub(crate) fn trace_id(out: &mut Vec<u8>, ex: &Exchange, unix_ms: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"Root=1-");
    for byte in ((unix_ms / 1000) as u32).to_be_bytes() {
        for digit in [byte >> 4, byte & 15] {
            out.push(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
        }
    }
    out.push(b'-');
    // 24 digits, between the dashes.
    for part in [0..8, 9..13, 14..18, 19..23, 24..28] {
        out.extend_from_slice(ex.request_id.get(part).unwrap_or_default());
    }
}

impl RequestView for Seen<'_> {
    fn path_parameters<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        let Some(route) = self.ex.route() else { return };
        let path = self.ex.routed_path();
        let names = route.pattern.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        for (at, name) in names.enumerate() {
            let value = str::from_utf8(self.ex.captures.get(at, path)).unwrap_or_default();
            each(name.strip_suffix('+').unwrap_or(name), value);
        }
    }

    fn query(&self) -> &str {
        let query = self.ex.head.query.map(|query| query.of(self.ex.bytes.as_slice()));
        query.and_then(|query| str::from_utf8(query).ok()).unwrap_or_default()
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        let bytes = self.ex.bytes.as_slice();
        for header in &self.ex.head.headers {
            if let Ok(name) = str::from_utf8(header.name.of(bytes)) {
                each(name, header.value.of(bytes));
            }
        }
    }

    fn body(&self) -> &[u8] {
        self.body
    }

    fn context(&self, variable: ContextVariable) -> Option<ContextValue<'_>> {
        let id = || str::from_utf8(&self.ex.request_id).ok();
        let route = self.ex.route();
        let text = match variable {
            ContextVariable::AccountId => &*self.ex.view.snapshot.rest.account_id,
            ContextVariable::ApiId => self.stage.map_or(ROUTES_API, |stage| &stage.api),
            ContextVariable::DeploymentId => &self.deployed?.id,
            ContextVariable::DomainName => self.host(),
            ContextVariable::DomainPrefix => self.host().split('.').next()?,
            ContextVariable::ExtendedRequestId | ContextVariable::RequestId => id()?,
            ContextVariable::HttpMethod => {
                str::from_utf8(self.ex.head.method_name.of(self.ex.bytes.as_slice())).ok()?
            }
            ContextVariable::IdentityApiKey if self.is_trial() => "test-invoke-api-key",
            ContextVariable::IdentityApiKeyId if self.is_trial() => "test-invoke-api-key-id",
            ContextVariable::IdentityApiKey => {
                self.ex.key?;
                match self.deployed?.keys_in_header {
                    true => return self.known(KnownHeader::XApiKey),
                    false => self.vouched()?.usage_key.as_deref()?,
                }
            }
            ContextVariable::AuthorizerPrincipalId => &self.vouched()?.principal,
            ContextVariable::AuthorizerIntegrationLatency => {
                return i64::try_from(self.vouched()?.latency_ms).ok().map(ContextValue::Long);
            }
            ContextVariable::IdentityApiKeyId => &self.ex.api_key()?.name,
            ContextVariable::IdentityAccountId => &self.signer()?.account,
            ContextVariable::IdentityCaller | ContextVariable::IdentityUser => &self.signer()?.id,
            ContextVariable::IdentityUserArn => &self.signer()?.arn,
            ContextVariable::IdentitySourceIp => self.source(),
            ContextVariable::IdentityUserAgent => return self.known(KnownHeader::UserAgent),
            ContextVariable::IsCanaryRequest => {
                if self.ex.within?.canary {
                    "true"
                } else {
                    "false"
                }
            }
            ContextVariable::Path => self.path(),
            ContextVariable::Protocol => match self.ex.head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
                Version::Http2 => "HTTP/2.0",
            },
            ContextVariable::RequestTime => self.time(),
            ContextVariable::RequestTimeEpoch => {
                return i64::try_from(self.unix_ms).ok().map(ContextValue::Long);
            }
            ContextVariable::ResourceId => route?.resource_id.as_deref()?,
            ContextVariable::ResourcePath => &route?.pattern,
            ContextVariable::Stage => self.stage.map_or(ROUTES_STAGE, |stage| &stage.name),
            ContextVariable::XrayTraceId => self.trace(),
            other => return self.certificate(other),
        };
        Some(ContextValue::Str(text))
    }

    fn access_key(&self) -> Option<&str> {
        self.signer().map(|key| &*key.id)
    }

    fn authorizer<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        for (name, value) in self.vouched().map(|vouched| &*vouched.context).unwrap_or_default() {
            each(name, ContextValue::Str(value));
        }
    }

    fn claims<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        for (name, value) in self.ex.principal.iter().flat_map(Principal::claims) {
            each(name, ContextValue::Str(value));
        }
    }

    fn stage_variables<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        for (name, value) in self.deployed.map(|deployed| &*deployed.variables).unwrap_or_default() {
            each(name, value);
        }
    }
}

/// An integration's response.
pub(crate) struct Received {
    pub(crate) head: Box<ResponseHead>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The header lines as text.
    pub(crate) fn header_pairs(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let text = |span: sluice_wire::Span| String::from_utf8_lossy(span.of(&self.bytes));
        self.head.headers.iter().map(|header| (text(header.name), text(header.value))).collect()
    }
}

impl ResponseView for Received {
    fn status(&self) -> u16 {
        self.head.status
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        for header in &self.head.headers {
            if let Ok(name) = str::from_utf8(header.name.of(&self.bytes)) {
                each(name, header.value.of(&self.bytes));
            }
        }
    }

    fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What a MOCK integration answers: a status and nothing else.
pub(crate) struct Mocked(pub(crate) u16);

impl ResponseView for Mocked {
    fn status(&self) -> u16 {
        self.0
    }

    fn headers<'v>(&'v self, _: &mut dyn FnMut(&'v str, &'v [u8])) {}

    fn body(&self) -> &[u8] {
        b""
    }
}
