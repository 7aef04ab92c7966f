//! JSON objects of tokens. A name that is there twice is refused (RFC 7515 section 4, RFC 7519 section 4): two readers of
//! one token must not see two values.

use crate::MAX_DOCUMENT_BYTES;
use crate::error::DocumentError;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// An object whose names are distinct.
pub(crate) struct Object(pub(crate) Map<String, Value>);

impl Object {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Map<String, Value>> {
        serde_json::from_slice(bytes).ok().map(|Object(members)| members)
    }

    /// Of a document that was fetched.
    pub(crate) fn document(bytes: &[u8]) -> Result<Map<String, Value>, DocumentError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            let found = format!("{} bytes", bytes.len());
            return Err(DocumentError::new(format!("at most {MAX_DOCUMENT_BYTES} bytes"), found));
        }
        Self::parse(bytes).ok_or_else(|| DocumentError::new("a JSON object", "something else"))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Object, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = from.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name twice"));
            }
        }
        Ok(Object(members))
    }
}
