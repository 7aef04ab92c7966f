//! Lambda proxy integrations (AWS_PROXY): the event that a function gets, and the answer that it gives.
//!
//! Payload format 1.0 is in `event` and `answer` (developer guide, "Lambda proxy integrations in API Gateway"), 2.0 in
//! `http_event` and `http_answer` ("Create AWS Lambda proxy integrations for HTTP APIs in API Gateway").

mod answer;
mod event;
mod http_answer;
mod http_event;
mod json;
mod prelude;

pub use answer::{Malformed, proxy_answer};
pub use event::{EventFacts, authorizer_event, http_authorizer_event_v1, proxy_event, token_event};
pub use http_answer::{PayloadFormat, http_answer};
pub use http_event::{HttpEventFacts, http_authorizer_event, http_event};
pub use prelude::StreamPrelude;
