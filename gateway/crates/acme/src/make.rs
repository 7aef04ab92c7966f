//! Keys, requests and certificates that we make ourselves.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair};
use sluice_tls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use sluice_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sluice_tls::rustls::sign::CertifiedKey;
use sluice_tls::{Identity, identity_from};

fn told(error: &rcgen::Error) -> String {
    error.to_string()
}

/// A certificate that is signed by itself, for names whose own has not been issued yet: no client trusts it, but those that
/// are told to, and the listener answers.
///
/// # Errors
/// Without randomness, or for names that cannot stand in a certificate.
pub fn placeholder(names: &[String]) -> Result<Identity, String> {
    let (chain, key) = own(names, None)?;
    identity_from(chain, key, None).map_err(|(_, why)| why)
}

/// The certificate that an ACME server wants to see for `name` (RFC 8737 3). Its extension is critical and means nothing to
/// anybody else, rustls included, so it is not checked.
pub(crate) fn challenge_certificate(name: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    let (chain, key) = own(&[name.to_owned()], Some(CustomExtension::new_acme_identifier(digest)))?;
    let key = any_supported_type(&key).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(chain, key))
}

fn own(
    names: &[String],
    extension: Option<CustomExtension>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let mut params = params(names)?;
    params.distinguished_name.push(DnType::CommonName, "Sluice placeholder");
    params.custom_extensions.extend(extension);
    let key = KeyPair::generate().map_err(|error| told(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| told(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((vec![certificate.der().clone()], key))
}

fn params(names: &[String]) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(|error| told(&error))?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// A new key in PEM, and the request for a certificate for it in DER.
pub(crate) fn request(names: &[String]) -> Result<(String, Vec<u8>), String> {
    let key = KeyPair::generate().map_err(|error| told(&error))?;
    let request = params(names)?.serialize_request(&key).map_err(|error| told(&error))?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_certificate_has_the_name_and_the_critical_extension() {
        let key = challenge_certificate("a.test", &[7; 32]).unwrap();
        let der = key.cert.first().unwrap();
        assert!(der.windows(6).any(|part| part == b"a.test"));
        // id-pe-acmeIdentifier 1.3.6.1.5.5.7.1.31, critical, an OCTET STRING of 32 bytes in one.
        let expected =
            [&[0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 1, 31, 0x01, 0x01, 0xff, 0x04, 34, 0x04, 32][..], &[7; 32]]
                .concat();
        assert!(der.windows(expected.len()).any(|part| part == expected));
    }

    #[test]
    fn a_placeholder_and_a_request_are_for_the_names() {
        let names = ["a.test".to_owned(), "b.test".to_owned()];
        assert_eq!(placeholder(&names).unwrap().names, names);
        let (key, request) = request(&names).unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(request.windows(6).any(|part| part == b"b.test"));
    }
}
