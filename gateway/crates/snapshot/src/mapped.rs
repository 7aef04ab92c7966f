//! Integrations of REST APIs.

use crate::{Destination, FunctionIntegration, MockResponse, ServiceIntegration};
use bytes::Bytes;
use sluice_mapping::{RequestMapping, ResponseMapping, UriTemplate};
use std::sync::Arc;

/// A method whose request or answer is mapped: its bodies are held whole.
#[derive(Debug)]
pub struct MappedPlan {
    /// What becomes of the request.
    pub request: RequestMapping,
    /// What becomes of the integration's answer; not asked for proxy integrations.
    pub response: ResponseMapping,
    /// What answers.
    pub backing: Backing,
}

/// What is behind a mapped method.
#[derive(Debug)]
pub enum Backing {
    /// MOCK; the answer to a request without or with JSON content, where that is always the same.
    Mock(Option<MockResponse>),
    /// A server.
    Http(HttpIntegration),
    /// A Lambda function.
    Function(FunctionIntegration),
    /// A service of AWS.
    Service(ServiceIntegration),
}

/// A server as an integration asks it.
#[derive(Debug)]
pub struct HttpIntegration {
    /// The server.
    pub to: Destination,
    /// What it is called, where its group has servers of other names (VPC links).
    pub host: Option<Box<str>>,
    /// The method that it is asked with; `None`: the client's.
    pub method: Option<Bytes>,
    /// Path and query, with the variables that are mapped into them.
    pub target: UriTemplate,
    /// For all of it, milliseconds.
    pub timeout_ms: u64,
    /// HTTP_PROXY: headers and query go on, and the answer comes back as it is.
    pub is_proxy: bool,
    /// Its answer goes on as it comes, uncompressed (`responseTransferMode` STREAM).
    pub is_stream: bool,
    /// Id of the API, which backends are told.
    pub api: Arc<str>,
}

/// What an HTTP_PROXY integration does to the head of a request; its bodies stream.
#[derive(Debug)]
pub struct AwsProxy {
    /// The server.
    pub integration: HttpIntegration,
    /// Mapped path variables, queries and headers, if there are any beyond path variables that stay as they are.
    pub parameters: Option<RequestMapping>,
    /// The URI's own query.
    pub query: Option<Bytes>,
}
