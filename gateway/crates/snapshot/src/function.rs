//! Lambda functions and services of AWS, as integrations and authorizers call them.

use crate::{Destination, HttpIntegration};
use sluice_mapping::PayloadFormat;
use std::fmt;
use std::sync::Arc;

/// A Lambda function: one that the gateway hosts, or one behind an Invoke endpoint (AWS's own, or a compatible server).
/// Both are asked in the same way.
#[derive(Clone, Debug)]
pub struct Function {
    /// The server.
    pub to: Destination,
    /// `/2015-03-31/functions/{name}/invocations`.
    pub path: Arc<str>,
    /// How the server knows us.
    pub auth: Auth,
}

impl Function {
    /// Its name, or what its ARN is in a path.
    #[must_use]
    pub fn name(&self) -> &str {
        let rest = self.path.rsplit_once("/functions/").map_or(&*self.path, |(_, rest)| rest);
        let name = rest.split('/').next().unwrap_or_default();
        name.rsplit_once("function%3A").map_or(name, |(_, name)| name)
    }
}

/// What lets a request through to a server.
#[derive(Clone, Debug)]
pub enum Auth {
    /// It asks for nothing.
    None,
    /// The token of the gateway's own functions, in `x-sluice-token`.
    Token(Secret),
    /// AWS Signature Version 4.
    SigV4(Arc<Signer>),
}

/// Who signs, and for what.
#[derive(Debug)]
pub struct Signer {
    /// Access key.
    pub access_key_id: Box<str>,
    /// Its secret.
    pub secret: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
    /// `eu-central-1`.
    pub region: Box<str>,
    /// As signatures name it: `lambda`.
    pub service: Box<str>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A Lambda function as a method's integration.
#[derive(Debug)]
pub struct FunctionIntegration {
    /// The function.
    pub function: Function,
    /// AWS_PROXY: it gets all of the request as an event, and answers with status, headers and body.
    pub is_proxy: bool,
    /// Its answer goes on as it comes (InvokeWithResponseStream).
    pub is_stream: bool,
    /// For all of it, milliseconds.
    pub timeout_ms: u64,
}

/// A Lambda function as a route of the configuration has it: as HTTP APIs do.
#[derive(Debug)]
pub struct HttpFunction {
    /// The function.
    pub function: Function,
    /// Of its events and answers.
    pub format: PayloadFormat,
    /// For all of it, milliseconds.
    pub timeout_ms: u64,
}

/// A service of AWS as a method's integration.
#[derive(Debug)]
pub struct ServiceIntegration {
    /// The server, the method, path and query, the time.
    pub http: HttpIntegration,
    /// Who signs.
    pub auth: Auth,
    /// What the service's protocol asks for, where mapping says nothing: `X-Amz-Target`, `Content-Type`.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// It wants the body's hash in a header: S3.
    pub signs_payload: bool,
}
