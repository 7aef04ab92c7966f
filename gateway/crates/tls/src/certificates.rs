//! Which certificate answers which name.

use crate::names::Names;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

thread_local! {
    /// The name of the handshake step under way on this core. A connection without buffers does not tell it afterwards
    /// (`UnbufferedServerConnection` has no `server_name`), but rustls resolves inside the step.
    static ASKED: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// The name that the client of the last step asked for.
pub(crate) fn asked() -> Option<Box<str>> {
    ASKED.take()
}

/// The certificates of one listener by SNI (RFC 6066 3): exact name, then wildcard for its first label, then the default.
#[derive(Default)]
pub struct Certificates {
    by_name: Names<Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves `key` for `name`, exact or `*.` wildcard, in any case. The first certificate for a name stays.
    pub fn add(&mut self, name: &str, key: &Arc<CertifiedKey>) {
        self.by_name.add(name, Arc::clone(key));
    }

    /// Serves `key` for names that no other certificate has, and to clients that name none.
    pub fn set_default(&mut self, key: Arc<CertifiedKey>) {
        self.default = Some(key);
    }

    /// The certificate for `name`, lower case.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let known = name.and_then(|name| self.by_name.find(name));
        known.or(self.default.as_ref())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("exact", &self.by_name.exact().collect::<Vec<_>>())
            .field("wildcard", &self.by_name.wildcard().collect::<Vec<_>>())
            .field("default", &self.default.is_some())
            .finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked it to be a DNS name; clients may write capitals.
        let name = hello.server_name().map(|name| name.to_ascii_lowercase().into_boxed_str());
        let found = self.find(name.as_deref()).cloned();
        ASKED.set(name);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Certificates;
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::CertifiedKey;
    use std::sync::Arc;

    fn key() -> Arc<CertifiedKey> {
        let made = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], any_supported_type(&key).unwrap()))
    }

    #[test]
    fn exact_beats_wildcard_beats_default() {
        let (exact, wildcard, default) = (key(), key(), key());
        let mut map = Certificates::new();
        map.add("A.Example.com", &exact);
        map.add("*.example.com", &wildcard);
        let is = |name: Option<&str>, expected: Option<&Arc<CertifiedKey>>, map: &Certificates| {
            assert_eq!(map.find(name).map(Arc::as_ptr), expected.map(Arc::as_ptr), "{name:?}");
        };
        is(Some("a.example.com"), Some(&exact), &map);
        is(Some("b.example.com"), Some(&wildcard), &map);
        // A wildcard stands for one label (RFC 6125 6.4.3), and not for none.
        for other in [Some("b.c.example.com"), Some("example.com"), Some("com"), None] {
            is(other, None, &map);
        }
        map.set_default(Arc::clone(&default));
        is(Some("b.c.example.com"), Some(&default), &map);
        is(None, Some(&default), &map);
        is(Some("a.example.com"), Some(&exact), &map);
        map.add("a.example.com", &default);
        is(Some("a.example.com"), Some(&exact), &map);
    }
}
