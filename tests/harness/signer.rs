//! Requests signed as AWS's clients sign them. The signing is the gateway's own crate, which AWS's vectors hold; strangers'
//! clients are tried in `aws/`.

use std::time::{SystemTime, UNIX_EPOCH};

use sluice_sigv4::{Request, Scope, amz_date, authorization, signature};

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

    fn scope<'s>(&'s self, time: &'s str) -> Scope<'s> {
        Scope { date: &time[..8], region: &self.region, service: &self.service }
    }
}
