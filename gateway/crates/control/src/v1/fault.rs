//! Errors as AWS answers them: a status, `x-amzn-ErrorType`, and a message.

use sluice_store::StoreError;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    /// AWS's name of it.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequestException", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "NotFoundException", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "ConflictException", message)
    }

    /// Of a JSON value that has another type than the field.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new(400, "SerializationException", message)
    }

    /// One or more members that do not satisfy their constraints; each as `Value 'x' at 'y' failed to …`.
    pub(crate) fn validation(errors: &[String]) -> Self {
        let plural = if errors.len() == 1 { "error" } else { "errors" };
        let text = format!("{} validation {plural} detected: {}", errors.len(), errors.join("; "));
        Self::new(400, "ValidationException", text)
    }

    /// A member of an enumeration that is not one of it.
    pub(crate) fn not_in_set(value: &str, at: &str, set: &str) -> Self {
        Self::validation(&[enum_error(value, at, set)])
    }

    pub(crate) fn not_supported(operation: &str) -> Self {
        Self::new(501, "NotImplementedException", format!("{operation} is not supported by this gateway."))
    }
}

/// For [`Fault::validation`].
pub(crate) fn enum_error(value: &str, at: &str, set: &str) -> String {
    format!(
        "Value '{value}' at '{at}' failed to satisfy constraint: Member must satisfy enum value set: [{set}]"
    )
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            // Clients try again, and by then another process answers.
            StoreError::HandedOver => Self::new(503, "ServiceUnavailableException", error.to_string()),
            StoreError::Refused(_) => Self::bad_request(error.to_string()),
            _ => Self::new(500, "InternalServerErrorException", error.to_string()),
        }
    }
}
