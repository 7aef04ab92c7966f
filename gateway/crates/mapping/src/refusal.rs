//! Why an exchange ends with an answer of the gateway's own.

use crate::Kind;
use std::borrow::Cow;
use std::fmt;

/// A refusal: what the client is told, and what the execution log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which gateway response is answered.
    pub kind: Kind,
    /// `$context.error.message`.
    pub message: Cow<'static, str>,
    /// `$context.error.validationErrorString`; empty when it is not a matter of validation.
    pub validation: String,
    /// For the execution log; never sent to the client.
    pub log: String,
}

impl Refusal {
    /// A refusal that needs no explanation in the log.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), validation: String::new(), log: String::new() }
    }

    /// The API's configuration does not work: 500 `Internal server error`, the reason in the log only.
    #[must_use]
    pub fn configuration(log: impl fmt::Display) -> Self {
        Self {
            log: format!("Execution failed due to configuration error: {log}"),
            ..Self::new(Kind::ApiConfigurationError, "Internal server error")
        }
    }
}
