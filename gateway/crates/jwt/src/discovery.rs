//! An OpenID provider's metadata (OpenID Connect Discovery 1.0, sections 3 and 4).

use crate::error::DocumentError;
use crate::object::Object;
use serde_json::Value;

/// What is used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Where the key set is.
    pub jwks_uri: String,
}

/// Where an issuer's document is: “by concatenating the string /.well-known/openid-configuration to the Issuer”, after
/// its last slash is removed (section 4.1).
pub fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

impl Discovery {
    /// Reads the document of `issuer`, whose name it must have (section 4.3). Keys must come by https, if the issuer does.
    pub fn parse(document: &[u8], issuer: &str) -> Result<Self, DocumentError> {
        let members = Object::document(document)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("issuer") != issuer {
            return Err(DocumentError::new(format!("issuer {issuer:?}"), format!("{:?}", text("issuer"))));
        }
        let jwks_uri = text("jwks_uri");
        let plain = jwks_uri.starts_with("http://") && issuer.starts_with("http://");
        if !jwks_uri.starts_with("https://") && !plain {
            return Err(DocumentError::new("jwks_uri, an https URL", format!("{jwks_uri:?}")));
        }
        Ok(Self { jwks_uri: jwks_uri.to_owned() })
    }
}
