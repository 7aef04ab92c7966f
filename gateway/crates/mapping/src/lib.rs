//! What API Gateway does to a request on its way to the integration, and to the answer on its way back.
//!
//! ```text
//! method request ── Validator ──> RequestMapping ──> integration request
//!                                                          │ (the data plane calls the backend)
//! method response <── ResponseMapping <────────── integration response
//!          ^
//!          └── GatewayResponses: what the gateway answers when any of these refuses
//! ```
//!
//! Everything is compiled once, at publication, from the text that the control plane holds; faults are told in AWS's
//! words. What is compiled then runs against a [`RequestView`] and a [`ResponseView`], which the data plane implements over
//! what it has received; [`Request`] and [`Response`] keep what was decoded, so that nothing is decoded or parsed twice in an
//! exchange. Output goes into buffers that the caller keeps.
//!
//! No I/O, no clock, no threads, no panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod assigned;
mod content;
mod context;
mod expression;
mod gateway_response;
mod kind;
mod lambda;
mod log;
mod mock;
mod owned;
mod parameters;
mod percent;
mod refusal;
mod request;
mod response;
mod template;
#[cfg(test)]
mod testing;
mod uri;
mod validate;
mod view;
mod work;

pub use assigned::{Assigned, Place};
pub use content::{BinaryMediaTypes, ContentHandling, NotBase64, convert_request, convert_response};
pub use context::{ContextName, ContextVariable};
pub use expression::{Expression, ExpressionError};
pub use gateway_response::{GatewayResponseSource, GatewayResponses};
pub use kind::Kind;
pub use lambda::{
    EventFacts, HttpEventFacts, Malformed, PayloadFormat, StreamPrelude, authorizer_event, http_answer,
    http_authorizer_event, http_authorizer_event_v1, http_event, proxy_answer, proxy_event, token_event,
};
pub use log::{ExecutionLog, Pairs, Step};
pub use mock::mock_status;
pub use owned::OwnedRequest;
pub use parameters::{RequestParameters, ResponseParameters};
pub use refusal::Refusal;
pub use request::{MappingError, Outgoing, Passthrough, RequestMapping, RequestSource};
pub use response::{Answer, ResponseMapping, ResponseSource, SelectBy};
/// A `$context` variable's value.
pub use sluice_vtl::ContextValue;
/// What a template did to `$context.requestOverride` or `.responseOverride`.
pub use sluice_vtl::Override;
pub use template::TemplateError;
pub use uri::{UriError, UriTemplate};
pub use validate::{ModelError, Models, Validator, ValidatorSource};
pub use view::{Request, RequestView, Response, ResponseView};
pub use work::Work;
