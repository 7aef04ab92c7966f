//! Certificates, keys and authorities from files.

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate with its key, and the names in it.
#[derive(Debug)]
pub struct Identity {
    /// What a listener serves.
    pub key: Arc<CertifiedKey>,
    /// DNS names of the certificate, lower case.
    pub names: Vec<String>,
    /// Begin of its validity, seconds since 1970.
    pub not_before_unix_s: i64,
    /// End of it.
    pub not_after_unix_s: i64,
}

/// Which file of an identity is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The chain.
    Certificate,
    /// The key.
    Key,
    /// The OCSP response.
    Ocsp,
}

/// Reads a PEM chain, its PEM key, and an OCSP response (DER) to staple.
///
/// # Errors
/// The file at fault, and what was expected and found.
pub fn identity(cert: &Path, key: &Path, ocsp: Option<&Path>) -> Result<Identity, (Fault, String)> {
    let chain = chain(cert).map_err(|why| (Fault::Certificate, why))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| (Fault::Key, told(key, "a private key", &error)))?;
    let ocsp = match ocsp {
        None => None,
        Some(file) => Some(response(file).map_err(|why| (Fault::Ocsp, why))?),
    };
    identity_from(chain, key, ocsp)
}

/// An identity from its parts.
///
/// # Errors
/// As [`identity`].
pub fn identity_from(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ocsp: Option<Vec<u8>>,
) -> Result<Identity, (Fault, String)> {
    let leaf =
        chain.first().ok_or_else(|| (Fault::Certificate, "expected a certificate, found none".to_owned()))?;
    let (names, [not_before_unix_s, not_after_unix_s]) =
        facts(leaf).map_err(|why| (Fault::Certificate, why))?;
    let mut certified = CertifiedKey::from_der(chain, key, &default_provider())
        .map_err(|error| (Fault::Key, format!("the key does not serve this certificate: {error}")))?;
    certified.ocsp = ocsp;
    Ok(Identity { key: Arc::new(certified), names, not_before_unix_s, not_after_unix_s })
}

/// Reads a PEM file of authorities.
///
/// # Errors
/// What was expected and found.
pub fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for cert in chain(file)? {
        roots.add(cert).map_err(|error| format!("{}: not an authority: {error}", file.display()))?;
    }
    Ok(roots)
}

/// Reads a PEM chain.
pub(crate) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certs = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| told(file, "certificates", &error))?;
    if certs.is_empty() {
        return Err(format!("{}: expected certificates in PEM, found none", file.display()));
    }
    Ok(certs)
}

fn response(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("can't read {}: {error}", file.display()))?;
    // An OCSPResponse is a SEQUENCE (RFC 6960 4.2.1); its meaning is for clients to judge.
    match bytes.first() {
        Some(0x30) => Ok(bytes),
        _ => Err(format!("{}: expected an OCSP response in DER", file.display())),
    }
}

fn told(file: &Path, expected: &str, error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("can't read {}: {error}", file.display()),
        error => format!("{}: expected {expected} in PEM: {error}", file.display()),
    }
}

fn facts(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, [i64; 2]), String> {
    let (_, cert) = X509Certificate::from_der(leaf).map_err(|error| format!("not a certificate: {error}"))?;
    let validity = cert.validity();
    let validity = [validity.not_before.timestamp(), validity.not_after.timestamp()];
    let alternatives = cert.subject_alternative_name().ok().flatten();
    let names =
        alternatives.into_iter().flat_map(|ext| &ext.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
    Ok((names.collect(), validity))
}
