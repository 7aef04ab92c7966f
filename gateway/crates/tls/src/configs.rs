//! rustls' configurations as the gateway uses them: modern suites only, post-quantum key exchange first.

use crate::any_issuer::AnyIssuer;
use crate::certificates::Certificates;
use crate::endpoint::ACME_TLS_ALPN;
use crate::files::chain;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;

/// What is asked of clients.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// No certificate.
    Off,
    /// A certificate by one of these, or none.
    Optional(Arc<RootCertStore>),
    /// A certificate by one of these.
    Required(Arc<RootCertStore>),
}

/// How a listener speaks TLS.
#[derive(Debug)]
pub struct ServerOptions {
    /// Speak TLS 1.2 beside 1.3.
    pub tls12: bool,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Protocols offered by ALPN, the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// Keys of session tickets; `None`: no resumption.
    pub tickets: Option<Arc<dyn ProducesTickets>>,
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];

/// Keys for session tickets, to be shared by all cores. They change every six hours, and a ticket is good for twelve.
///
/// # Errors
/// Without randomness.
pub fn tickets() -> Result<Arc<dyn ProducesTickets>, String> {
    Ticketer::new().map_err(|error| error.to_string())
}

/// A listener's configuration.
///
/// # Errors
/// What rustls finds at fault.
pub fn server_config(
    certificates: Certificates,
    options: ServerOptions,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(default_provider());
    let verifier =
        |roots: Arc<RootCertStore>| WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let verifier = match options.client_auth {
        ClientAuth::Off => WebPkiClientVerifier::no_client_auth(),
        ClientAuth::Optional(roots) => {
            verifier(roots).allow_unauthenticated().build().map_err(|error| error.to_string())?
        }
        ClientAuth::Required(roots) => verifier(roots).build().map_err(|error| error.to_string())?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(if options.tls12 { BOTH } else { NEWEST })
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = options.alpn;
    // Sessions live in tickets only: a store would be a lock between cores.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match options.tickets {
        Some(tickets) => config.ticketer = tickets,
        None => config.send_tls13_tickets = 0,
    }
    Ok(Arc::new(config))
}

/// Shows ACME servers the certificates that meet their challenges, and nobody else anything (RFC 8737 3): no other
/// protocol, no resumption, no client certificate.
///
/// # Errors
/// As [`server_config`].
pub fn challenge_config(certificates: Certificates) -> Result<Arc<ServerConfig>, String> {
    let alpn = vec![ACME_TLS_ALPN.to_vec()];
    let options = ServerOptions { tls12: true, client_auth: ClientAuth::Off, alpn, tickets: None };
    server_config(certificates, options)
}

/// The authorities that the system trusts.
///
/// # Errors
/// Where there are none.
pub fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Old stores hold some that are not valid X.509v3: the rest counts.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "the store is empty".to_owned(), ToString::to_string);
        return Err(format!("the system trusts no authority ({why}); name a `tls_ca_file`"));
    }
    Ok(roots)
}

/// The configuration for connections to upstreams: the server is verified against `roots`, and shown `identity` (PEM
/// chain and key); `alpn` are the protocols that may be spoken, the preferred one first.
///
/// # Errors
/// What is at fault with the files.
pub fn client_config(
    roots: RootCertStore,
    identity: Option<(&Path, &Path)>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(BOTH)
        .map_err(|error| error.to_string())?
        .with_webpki_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = chain(cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("{}: expected a private key in PEM: {error}", key.display()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The configuration for connections to upstreams of any issuer (`insecureSkipVerification`): the certificate's names and
/// dates are verified, and that the peer has its key, but not who issued it.
///
/// # Errors
/// What rustls finds at fault.
pub fn any_issuer_config(alpn: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(default_provider());
    let verifier = Arc::new(AnyIssuer::new(&provider));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(BOTH)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}
