//! `[tls]`, `[certificates.NAME]` and the TLS keys of upstreams.

use crate::diagnostic::{Located, Reporter};
use crate::entries::{choice, host};
use crate::read::Fields;
use crate::settings::{Certificate, ClientAuth, Server, Target, Tls, UpstreamTls};
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn tls(
    fields: &Fields<'_, '_>,
    server: &Server,
    certificates: &[Certificate],
    out: &mut Reporter<'_>,
) -> Tls {
    let client_auth = match choice(fields, "client_auth", out).as_str() {
        "optional" => ClientAuth::Optional,
        "required" => ClientAuth::Required,
        _ => ClientAuth::Off,
    };
    let client_ca_file = file(fields, "client_ca_file", out);
    if client_auth != ClientAuth::Off && client_ca_file.is_none() {
        out.error(fields.place("client_auth", out), "`client_auth` needs `client_ca_file`", None);
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
    let required = |key, out: &Reporter<'_>| {
        file(fields, key, out).unwrap_or_else(|| Located::new(PathBuf::new(), fields.at))
    };
    let names = fields.texts("names", out).into_iter().filter_map(|name| host(name, out)).collect();
    Certificate {
        name,
        cert_file: required("cert_file", out),
        key_file: required("key_file", out),
        ocsp_file: file(fields, "ocsp_file", out),
        names,
        default: fields.bool("default"),
    }
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
