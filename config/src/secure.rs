//! `[tls]`, `[certificates.NAME]`, `[acme]` and the TLS keys of upstreams.

use crate::diagnostic::{Located, Reporter};
use crate::entries::{choice, host};
use crate::read::Fields;
use crate::settings::{
    Acme, AcmeChallenge, Certificate, CertificateSource, ClientAuth, Server, Target, Tls, UpstreamTls,
};
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn tls(
    fields: &Fields<'_, '_>,
    server: &Server,
    certificates: &[Certificate],
    out: &mut Reporter<'_>,
) -> Tls {
    let client_auth = client_auth(fields, out);
    let client_ca_file = file(fields, "client_ca_file", out);
    if client_auth != ClientAuth::Off && client_ca_file.is_none() {
        out.error(fields.place("client_auth", out), "`client_auth` needs `client_ca_file`", None);
    }
    for certificate in certificates {
        let asks = certificate.client_auth.is_some_and(|auth| auth != ClientAuth::Off);
        if asks && certificate.client_ca_file.is_none() && client_ca_file.is_none() {
            let help = Some("here or in [tls]".to_owned());
            out.error(certificate.name.at, "`client_auth` needs `client_ca_file`", help);
        }
    }
    if let (Some(listener), true) = (server.listen_tls.first(), certificates.is_empty()) {
        let help = "write [certificates.NAME] with cert_file and key_file".to_owned();
        out.error(listener.at, "`listen_tls` needs a certificate", Some(help));
    }
    if let [_, second, ..] = certificates.iter().filter(|c| c.default).collect::<Vec<_>>().as_slice() {
        out.error(second.name.at, "another certificate is the default already", None);
    }
    Tls {
        tls12: choice(fields, "min_version", out) != "1.3",
        client_auth,
        client_ca_file,
        strict_sni: fields.bool("strict_sni"),
        session_tickets: fields.bool("session_tickets"),
        handshake_timeout_ms: fields.integer("handshake_timeout_ms"),
        max_handshakes: fields.integer("max_handshakes"),
    }
}

fn file(fields: &Fields<'_, '_>, name: &str, out: &Reporter<'_>) -> Option<Located<PathBuf>> {
    fields.text(name, out).map(|text| Located::new(PathBuf::from(text.value), text.at))
}

pub(crate) fn certificate(
    name: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> Certificate {
    let names: Vec<_> = fields.texts("names", out).into_iter().filter_map(|name| host(name, out)).collect();
    Certificate {
        source: source(&name, &names, fields, out),
        name,
        ocsp_file: file(fields, "ocsp_file", out),
        names,
        default: fields.bool("default"),
        client_auth: fields.has("client_auth").then(|| client_auth(fields, out)),
        client_ca_file: file(fields, "client_ca_file", out),
    }
}

fn client_auth(fields: &Fields<'_, '_>, out: &Reporter<'_>) -> ClientAuth {
    match choice(fields, "client_auth", out).as_str() {
        "optional" => ClientAuth::Optional,
        "required" => ClientAuth::Required,
        _ => ClientAuth::Off,
    }
}

fn source(
    name: &Located<Arc<str>>,
    names: &[Located<String>],
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> CertificateSource {
    let challenge = match choice(fields, "acme", out).as_str() {
        "http-01" => AcmeChallenge::Http01,
        "tls-alpn-01" => AcmeChallenge::TlsAlpn01,
        _ => return files(fields, out),
    };
    for key in ["cert_file", "key_file", "ocsp_file"] {
        if fields.has(key) {
            out.error(fields.place(key, out), format!("`{key}` has no use beside `acme`"), None);
        }
    }
    if names.is_empty() {
        let help = Some("write names = [\"api.example.com\"]".to_owned());
        out.error(fields.place("acme", out), "`acme` needs `names`", help);
    }
    for name in names.iter().filter(|name| name.value.starts_with(['*', '['])) {
        let message = format!("`acme` proves host names one by one, found \"{}\"", name.value);
        let help =
            "wildcards take a challenge by DNS, which Sluice does not speak: use cert_file and key_file";
        out.error(name.at, message, Some(help.to_owned()));
    }
    // It names a file.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.value.starts_with('.') || !name.value.bytes().all(plain) {
        let message = "a certificate with `acme` needs a name of letters, digits, `-`, `_` and `.`";
        out.error(name.at, message, None);
    }
    CertificateSource::Acme(challenge)
}

fn files(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> CertificateSource {
    let required = |key: &str, out: &mut Reporter<'_>| {
        file(fields, key, out).unwrap_or_else(|| {
            let help = Some("write cert_file and key_file, or acme".to_owned());
            out.error(fields.at, format!("the certificate lacks `{key}`"), help);
            Located::new(PathBuf::new(), fields.at)
        })
    };
    CertificateSource::Files { cert: required("cert_file", out), key: required("key_file", out) }
}

/// `[acme]`, where a certificate needs it.
pub(crate) fn acme(
    fields: Option<&Fields<'_, '_>>,
    server: &Server,
    certificates: &[Certificate],
    out: &mut Reporter<'_>,
) -> Option<Acme> {
    let mut wanted = certificates.iter().filter_map(|certificate| match certificate.source {
        CertificateSource::Acme(challenge) => Some((certificate.name.at, challenge)),
        CertificateSource::Files { .. } => None,
    });
    for (at, challenge) in wanted.clone() {
        if challenge == AcmeChallenge::Http01 && server.listen.is_empty() {
            out.error(at, "`acme = \"http-01\"` needs a plain listener (`server.listen`)", None);
        }
        if server.listen_tls.is_empty() {
            out.error(at, "`acme` needs a TLS listener (`server.listen_tls`)", None);
        }
    }
    let (first, _) = wanted.next()?;
    let Some(fields) = fields else {
        let help = "write [acme] with directory and accept_terms".to_owned();
        out.error(first, "`acme` needs an authority", Some(help));
        return None;
    };
    let directory = fields.text("directory", out)?;
    if !directory.value.starts_with("https://") || directory.value.len() < "https://a".len() {
        let message = format!("`directory` expects an https:// URL, found \"{}\"", directory.value);
        out.error(directory.at, message, None);
    }
    if !fields.bool("accept_terms") {
        let help = "read the terms of service that the directory names, then write accept_terms = true";
        out.error(fields.place("accept_terms", out), "`acme` needs `accept_terms`", Some(help.to_owned()));
    }
    let contact = fields.texts("contact", out);
    for one in contact.iter().filter(|one| !one.value.starts_with("mailto:")) {
        let message = format!("`contact` expects a mailto: address, found \"{}\"", one.value);
        out.error(one.at, message, None);
    }
    Some(Acme {
        directory,
        contact: contact.into_iter().map(|one| one.value).collect(),
        ca_file: file(fields, "ca_file", out),
        state_dir: fields.text("state_dir", out).map(|text| PathBuf::from(text.value)).unwrap_or_default(),
        retry_ms: fields.integer("retry_ms"),
    })
}

pub(crate) fn upstream_tls(
    targets: &[Target],
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> Option<UpstreamTls> {
    let by_key = fields.bool("tls").then(|| fields.place("tls", out));
    let at = by_key.or_else(|| targets.iter().find(|t| t.tls).map(|t| t.at));
    let (cert, key) = (file(fields, "tls_cert_file", out), file(fields, "tls_key_file", out));
    if cert.is_some() != key.is_some() {
        out.error(fields.at, "`tls_cert_file` and `tls_key_file` go together", None);
    }
    if at.is_none() {
        for name in ["tls_server_name", "tls_ca_file", "tls_cert_file", "tls_key_file"] {
            if fields.has(name) {
                let help = Some("write tls = true, or https:// before the targets".to_owned());
                out.error(fields.place(name, out), format!("`{name}` has no use without TLS"), help);
            }
        }
    }
    Some(UpstreamTls {
        server_name: fields.text("tls_server_name", out).and_then(|text| host(text, out)),
        ca_file: file(fields, "tls_ca_file", out),
        identity: cert.zip(key),
        at: at?,
    })
}
