//! The keys of TLS towards clients.

use crate::spec::{Default, Kind, Section, TIMEOUT, key};

pub(crate) const TLS: Section = Section {
    name: "tls",
    named: false,
    doc: "TLS of the client side.",
    keys: &[
        key(
            "min_version",
            Kind::Choice(&["1.2", "1.3"]),
            Default::Text("1.2"),
            "Oldest version of TLS that is spoken.",
        ),
        key(
            "client_auth",
            Kind::Choice(&["off", "optional", "required"]),
            Default::Text("off"),
            "Whether clients are asked for a certificate, and refused without one. A bad one is always refused.",
        ),
        key(
            "client_ca_file",
            Kind::Text,
            Default::Absent,
            "PEM file of the authorities whose client certificates are accepted.",
        ),
        key(
            "strict_sni",
            Kind::Bool,
            Default::Bool(false),
            "Refuse clients that name no configured certificate, instead of showing them the default one.",
        ),
        key(
            "session_tickets",
            Kind::Bool,
            Default::Bool(true),
            "Let clients resume sessions; ticket keys are shared by the cores and change every six hours.",
        ),
        key("handshake_timeout_ms", TIMEOUT, Default::Integer(10_000), "For a whole TLS handshake."),
        key(
            "max_handshakes",
            Kind::Integer(1, 65_536, "handshakes"),
            Default::Integer(512),
            "Handshakes under way at once, per core; more connections are closed.",
        ),
    ],
};

pub(crate) const CERTIFICATES: Section = Section {
    name: "certificates",
    named: true,
    doc: "Certificates of the TLS listeners, chosen by the name that the client asks for (SNI).",
    keys: &[
        key(
            "cert_file",
            Kind::Text,
            Default::Absent,
            "PEM file of the certificate and its chain. Required without `acme`.",
        ),
        key("key_file", Kind::Text, Default::Absent, "PEM file of the private key. Required without `acme`."),
        key(
            "acme",
            Kind::Choice(&["http-01", "tls-alpn-01"]),
            Default::Absent,
            "Have it issued and renewed by the authority of `[acme]`, which is shown by this challenge that `names` are ours.",
        ),
        key(
            "ocsp_file",
            Kind::Text,
            Default::Absent,
            "DER file of an OCSP response to staple; read again at each reload.",
        ),
        key(
            "names",
            Kind::TextList,
            Default::EmptyList,
            "Names it is served for, exact or `*.example.com`. Default: those in the certificate.",
        ),
        key(
            "default",
            Kind::Bool,
            Default::Bool(false),
            "Serve it to clients that name no other. Default: the first certificate is the default.",
        ),
        key(
            "client_auth",
            Kind::Choice(&["off", "optional", "required"]),
            Default::Absent,
            "As in `[tls]`, for clients that ask for one of its names. Default: that of `[tls]`.",
        ),
        key(
            "client_ca_file",
            Kind::Text,
            Default::Absent,
            "As in `[tls]`, for its names. Default: that of `[tls]`.",
        ),
    ],
};

pub(crate) const ACME: Section = Section {
    name: "acme",
    named: false,
    doc: "The authority that issues and renews the certificates that say `acme` (RFC 8555).",
    keys: &[
        key(
            "directory",
            Kind::Text,
            Default::Required,
            "URL of the authority's directory, for example `https://acme-v02.api.letsencrypt.org/directory`.",
        ),
        key(
            "accept_terms",
            Kind::Bool,
            Default::Bool(false),
            "You have read the authority's terms of service and agree to them. Nothing is asked for without.",
        ),
        key(
            "contact",
            Kind::TextList,
            Default::EmptyList,
            "Where the authority reaches you, for example `mailto:ops@example.com`.",
        ),
        key(
            "ca_file",
            Kind::Text,
            Default::Absent,
            "PEM file of the authorities that the directory's own certificate is verified by. Default: the system's.",
        ),
        key(
            "state_dir",
            Kind::Text,
            Default::Text("/var/lib/sluice/acme"),
            "Folder for account, keys and certificates, readable by the gateway only.",
        ),
        key(
            "retry_ms",
            Kind::Integer(1_000, 86_400_000, "ms"),
            Default::Integer(60_000),
            "Pause after a failure, doubled with each further one up to six hours.",
        ),
    ],
};
