//! Text to a document.

use crate::yaml;
use serde_json::Value;
use std::fmt;

/// Deeper documents are refused.
pub(crate) const DEPTH_MAX: usize = 64;

/// Why a text is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(pub(crate) String);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

/// Reads JSON or YAML: what begins with a brace is taken for JSON, unless only YAML can read it.
///
/// # Errors
/// It is neither, or beyond the bounds.
pub fn read(text: &[u8]) -> Result<Value, ReadError> {
    let text = std::str::from_utf8(text).map_err(|_| ReadError("the document is not UTF-8".to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        match serde_json::from_str(text) {
            Ok(value) => return bounded(value),
            // YAML's flow style begins like this, too.
            Err(json) => return yaml::read(text).map_err(|_| ReadError(json.to_string())),
        }
    }
    yaml::read(text)
}

/// serde_json itself stops at a depth of 128.
fn bounded(value: Value) -> Result<Value, ReadError> {
    if depth(&value) > DEPTH_MAX {
        return Err(ReadError("the document is nested too deeply".to_owned()));
    }
    Ok(value)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
