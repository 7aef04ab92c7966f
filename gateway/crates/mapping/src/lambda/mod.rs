//! Lambda proxy integrations (AWS_PROXY): the event that a function gets, and the answer that it gives.
//!
//! Developer guide, "Lambda proxy integrations in API Gateway", payload format 1.0.

mod answer;
mod event;
mod json;

pub use answer::{Malformed, proxy_answer};
pub use event::{EventFacts, authorizer_event, proxy_event, token_event};
