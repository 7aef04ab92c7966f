//! What a client's certificate says.

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use std::fmt::Write;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A verified client certificate, for authorizers and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Subject, as `C=…, O=…, CN=…`.
    pub subject: String,
    /// Issuer, likewise.
    pub issuer: String,
    /// Serial number, `ab:cd:…`.
    pub serial: String,
    /// Begin of its validity, seconds since 1970.
    pub not_before_unix_s: i64,
    /// End of it.
    pub not_after_unix_s: i64,
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    /// The certificate in PEM.
    pub pem: String,
}

impl PeerCertificate {
    /// `None` where the certificate can't be parsed, which verification has ruled out.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let validity = cert.validity();
        Some(Self {
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            serial: cert.raw_serial_as_string(),
            not_before_unix_s: validity.not_before.timestamp(),
            not_after_unix_s: validity.not_after.timestamp(),
            fingerprint: hex(&sha256(der)),
            pem: pem(der),
        })
    }
}

/// By the provider that is there anyway: the hash of this suite.
fn sha256(bytes: &[u8]) -> Vec<u8> {
    match TLS13_AES_128_GCM_SHA256.tls13() {
        Some(suite) => suite.common.hash_provider.hash(bytes).as_ref().to_vec(),
        None => Vec::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// RFC 7468, lines of 64.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut column = 0;
    for group in der.chunks(3) {
        let mut padded = [0_u8; 3];
        padded.iter_mut().zip(group).for_each(|(to, from)| *to = *from);
        let [a, b, c] = padded.map(usize::from);
        let digits = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        for (at, digit) in digits.into_iter().enumerate() {
            let shown = if at <= group.len() { DIGITS.get(digit).copied().unwrap_or(b'=') } else { b'=' };
            text.push(char::from(shown));
        }
        column += 4;
        if column == 64 {
            text.push('\n');
            column = 0;
        }
    }
    if column > 0 {
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::PeerCertificate;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn a_certificate_is_told_and_its_pem_reads_back() {
        for extra in ["", "a", "ab", "abc"] {
            let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, format!("device-7{extra}"));
            params.serial_number = Some(vec![0xab, 0xcd, 1].into());
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap();
            let told = PeerCertificate::parse(cert.der()).unwrap();
            assert_eq!(told.subject, format!("CN=device-7{extra}"));
            assert_eq!(told.issuer, told.subject);
            assert!(told.serial.ends_with("ab:cd:01"), "{}", told.serial);
            assert!(told.not_before_unix_s < told.not_after_unix_s);
            assert_eq!(told.fingerprint.len(), 64);
            assert_eq!(CertificateDer::from_pem_slice(told.pem.as_bytes()).unwrap(), *cert.der());
            assert!(told.pem.lines().all(|line| line.len() <= 64));
        }
        assert_eq!(PeerCertificate::parse(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
