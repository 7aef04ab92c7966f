//! Requests signed as AWS's clients sign them. The signing is the gateway's own crate, which AWS's vectors hold; strangers'
//! clients are tried in `aws/`.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use sluice_sigv4::{Request, Scope, amz_date, authorization, payload_hash, signature};

use crate::call::Call;

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Credentials, and what they sign for.
#[derive(Clone)]
pub struct Signer {
    pub key: String,
    pub secret: String,
    pub token: Option<String>,
    pub region: String,
    pub service: String,
    pub time_s: u64,
}

impl Signer {
    /// For `execute-api` in `us-east-1`, now.
    pub fn new(key: &str, secret: &str) -> Self {
        Self {
            key: key.to_owned(),
            secret: secret.to_owned(),
            token: None,
            region: "us-east-1".to_owned(),
            service: "execute-api".to_owned(),
            time_s: now_s(),
        }
    }

    /// With one change.
    pub fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// A request with its signature in `Authorization`.
    pub fn sign(&self, method: &str, target: &str, body: &str, more: &[(&str, &str)]) -> Call {
        self.sign_for("gateway.test", method, target, body, more)
    }

    /// The same for another host.
    pub fn sign_for(
        &self,
        host: &str,
        method: &str,
        target: &str,
        body: &str,
        more: &[(&str, &str)],
    ) -> Call {
        let time = amz_date(self.time_s);
        let mut headers = vec![("host", host), ("x-amz-date", time.as_str())];
        headers.extend(self.token.as_deref().map(|token| ("x-amz-security-token", token)));
        headers.extend(more);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
        let value = authorization(&request, (&self.key, &self.secret), self.scope(&time), &time);
        let mut call = Call::new(method, target).host(host).header("authorization", &value);
        for (name, value) in &headers[1..] {
            call = call.header(name, value);
        }
        if body.is_empty() { call } else { call.body(body) }
    }

    /// The target of a GET with its signature in the query.
    pub fn presign(&self, path: &str, expires_s: u64) -> String {
        let time = amz_date(self.time_s);
        let date = &time[..8];
        let token = self.token.as_deref().map(|t| format!("&X-Amz-Security-Token={t}")).unwrap_or_default();
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F{date}%2F{}%2F{}%2Faws4_request&X-Amz-Date={time}&X-Amz-Expires={expires_s}&X-Amz-SignedHeaders=host{token}",
            self.key, self.region, self.service
        );
        let headers = [("host", "gateway.test")];
        let request = Request { method: "GET", path, query: &query, headers: &headers, body: b"" };
        let signature = signature(&request, &self.secret, self.scope(&time), &time, &["host"]);
        format!("{path}?{query}&X-Amz-Signature={signature}")
    }

    /// A request whose signature covers `literal` where the body's hash would stand; the body is for the caller to add. The
    /// target has no query and nothing to encode. Also the signature, which the first chunk of a body of signed chunks covers.
    pub fn sign_payload(&self, method: &str, path: &str, literal: &str) -> (Call, String) {
        self.sign_literal(method, path, literal, None)
    }

    fn sign_literal(&self, method: &str, path: &str, literal: &str, trailer: Option<&str>) -> (Call, String) {
        let (host, time) = ("gateway.test", amz_date(self.time_s));
        let mut headers = format!("host:{host}\nx-amz-content-sha256:{literal}\nx-amz-date:{time}\n");
        let mut signed = "host;x-amz-content-sha256;x-amz-date".to_owned();
        if let Some(name) = trailer {
            headers.push_str(&format!("x-amz-trailer:{name}\n"));
            signed.push_str(";x-amz-trailer");
        }
        let canonical = format!("{method}\n{path}\n\n{headers}\n{signed}\n{literal}");
        let scope = self.scope(&time);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", payload_hash(canonical.as_bytes()));
        let signature = self.mac(&to_sign);
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.key
        );
        let call = Call::new(method, path).host(host).header("authorization", &value);
        let call = call.header("x-amz-date", &time).header("x-amz-content-sha256", literal);
        (trailer.into_iter().fold(call, |call, name| call.header("x-amz-trailer", name)), signature)
    }

    /// A POST whose body comes in chunks that are signed one after the other, and those chunks; the empty one at their end
    /// is added (“Signature calculations for chunked upload”, Amazon S3 API reference).
    pub fn sign_chunks(&self, path: &str, data: &[&str]) -> (Call, Vec<String>) {
        let (call, seed) = self.sign_payload("POST", path, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        (call, self.chunks(seed, data).0)
    }

    /// Likewise, with a trailer behind the chunks that is signed, too: the last of the parts.
    pub fn sign_chunks_and_trailer(
        &self,
        path: &str,
        data: &[&str],
        (name, value): (&str, &str),
    ) -> (Call, Vec<String>) {
        let literal = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
        let (call, seed) = self.sign_literal("POST", path, literal, Some(name));
        let (mut parts, previous) = self.chunks(seed, data);
        let time = amz_date(self.time_s);
        let hash = payload_hash(format!("{name}:{value}\n").as_bytes());
        let signature =
            self.mac(&format!("AWS4-HMAC-SHA256-TRAILER\n{time}\n{}\n{previous}\n{hash}", self.scope(&time)));
        // The trailers stand where the last chunk's line end would.
        if let Some(last) = parts.last_mut() {
            last.truncate(last.len() - 2);
        }
        parts.push(format!("{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n\r\n"));
        (call, parts)
    }

    /// Signed chunks after this signature, and the signature of the last.
    fn chunks(&self, mut previous: String, data: &[&str]) -> (Vec<String>, String) {
        let time = amz_date(self.time_s);
        let (scope, nothing) = (self.scope(&time), payload_hash(b""));
        let mut chunks = Vec::new();
        for chunk in data.iter().chain(&[""]) {
            let hash = payload_hash(chunk.as_bytes());
            previous = self
                .mac(&format!("AWS4-HMAC-SHA256-PAYLOAD\n{time}\n{scope}\n{previous}\n{nothing}\n{hash}"));
            chunks.push(format!("{:x};chunk-signature={previous}\r\n{chunk}\r\n", chunk.len()));
        }
        (chunks, previous)
    }

    /// The signature of a string, in hexadecimal.
    fn mac(&self, to_sign: &str) -> String {
        let date = amz_date(self.time_s)[..8].to_owned();
        let mac = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
        };
        let secret = format!("AWS4{}", self.secret).into_bytes();
        let key = [date.as_str(), &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(secret, |key, part| mac(&key, part));
        mac(&key, to_sign).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn scope<'s>(&'s self, time: &'s str) -> Scope<'s> {
        Scope { date: &time[..8], region: &self.region, service: &self.service }
    }
}
