//! Certificates and authorities from files to what the data cores use. Everything is read before anything changes.

use sluice_config::{self as config, Diagnostic, Located, Position, Protocol, Settings, Severity};
use sluice_dataplane::{TlsPlan, UpstreamTls};
use sluice_snapshot::{BackendTls, Snapshot};
use sluice_tls::{
    Certificates, ClientAuth, ClientConfig, Fault, ProducesTickets, ServerConfig, ServerName, ServerOptions,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What outlives a reload.
#[derive(Default)]
pub(crate) struct Tls {
    /// Ticket keys, and what they were made for: a session must not outlive the authorities it was verified by.
    tickets: Option<(Vec<u8>, Arc<dyn ProducesTickets>)>,
    /// By the content of their files: upstream connections live on while theirs stays the same.
    connectors: HashMap<Vec<u8>, Arc<ClientConfig>>,
    /// For the backends of REST APIs: verified, and of any issuer.
    backends: Option<(Arc<ClientConfig>, Arc<ClientConfig>)>,
}

/// Collects what is wrong, with its place.
struct Faults<'s> {
    settings: &'s Settings,
    found: Vec<Diagnostic>,
}

impl Faults<'_> {
    fn add(&mut self, at: Position, message: String) {
        self.found.push(self.settings.diagnostic(Severity::Error, at, message, None));
    }

    fn take<T>(&mut self, at: Position, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.add(at, message)).ok()
    }
}

impl Tls {
    /// Reads every file that the settings name.
    pub(crate) fn plan(&mut self, settings: &Settings) -> Result<TlsPlan, Vec<String>> {
        let mut faults = Faults { settings, found: Vec::new() };
        let server =
            if settings.server.listen_tls.is_empty() { None } else { self.server(settings, &mut faults) };
        let mut kept = HashMap::new();
        let upstreams = settings.upstreams.iter().map(|upstream| {
            let tls = upstream.tls.as_ref()?;
            self.upstream(tls, upstream.protocol, &mut kept, &mut faults)
        });
        let upstreams = upstreams.collect();
        if !faults.found.is_empty() {
            return Err(faults.found.iter().map(ToString::to_string).collect());
        }
        self.connectors = kept;
        Ok(TlsPlan {
            server,
            handshake_timeout_ms: settings.tls.handshake_timeout_ms,
            max_handshakes: settings.tls.max_handshakes,
            upstreams,
            backends: None,
            backends_of_any_issuer: None,
        })
    }

    /// Adds what the backends of REST APIs are reached with, once one is reached by TLS. `true`: that is new to the plan.
    pub(crate) fn add_backends(&mut self, plan: &mut TlsPlan, snapshot: &Snapshot) -> bool {
        let needed = snapshot.rest.backends.iter().any(|backend| backend.tls != BackendTls::Plain);
        if !needed || plan.backends.is_some() {
            return false;
        }
        if self.backends.is_none() {
            self.backends = backends()
                .inspect_err(|error| eprintln!("sluice: warning: https integrations are not served: {error}"))
                .ok();
        }
        let Some((verified, any_issuer)) = self.backends.clone() else { return false };
        plan.backends = Some(verified);
        plan.backends_of_any_issuer = Some(any_issuer);
        true
    }

    fn server(&mut self, settings: &Settings, faults: &mut Faults<'_>) -> Option<Arc<ServerConfig>> {
        let certificates = certificates(settings, faults);
        let at = settings.server.listen_tls.first().map(|l| l.at).unwrap_or_default();
        let client_auth = client_auth(&settings.tls, faults)?;
        let tickets = self.tickets(&settings.tls, at, faults)?;
        let http2 = settings.server.http2.then(|| b"h2".to_vec());
        let options = ServerOptions {
            tls12: settings.tls.tls12,
            client_auth,
            alpn: http2.into_iter().chain([b"http/1.1".to_vec()]).collect(),
            tickets,
        };
        faults.take(at, sluice_tls::server_config(certificates, options))
    }

    /// The keys in use, or new ones where client authentication is not what it was. `None`: a fault.
    fn tickets(
        &mut self,
        tls: &config::Tls,
        at: Position,
        faults: &mut Faults<'_>,
    ) -> Option<Option<Arc<dyn ProducesTickets>>> {
        if !tls.session_tickets {
            return Some(None);
        }
        let mut made_for = format!("{:?}\n", tls.client_auth).into_bytes();
        made_for.extend(content(tls.client_ca_file.as_ref().map(|file| file.value.as_path())));
        if let Some((_, tickets)) = self.tickets.as_ref().filter(|(known, _)| *known == made_for) {
            return Some(Some(Arc::clone(tickets)));
        }
        let tickets = faults.take(at, sluice_tls::tickets())?;
        self.tickets = Some((made_for, Arc::clone(&tickets)));
        Some(Some(tickets))
    }

    fn upstream(
        &self,
        tls: &config::UpstreamTls,
        protocol: Protocol,
        kept: &mut HashMap<Vec<u8>, Arc<ClientConfig>>,
        faults: &mut Faults<'_>,
    ) -> Option<UpstreamTls> {
        let server_name = match &tls.server_name {
            None => None,
            Some(name) => {
                let parsed = ServerName::try_from(name.value.clone());
                Some(faults.take(name.at, parsed.map_err(|error| format!("\"{}\": {error}", name.value)))?)
            }
        };
        let identity = tls.identity.as_ref().map(|(cert, key)| (cert.value.as_path(), key.value.as_path()));
        let mut files = content(tls.ca_file.as_ref().map(|file| file.value.as_path()));
        files.extend(content(identity.map(|(cert, _)| cert)));
        files.extend(content(identity.map(|(_, key)| key)));
        let alpn: &[&[u8]] = match protocol {
            Protocol::Http1 => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2"],
            Protocol::Auto => &[b"h2", b"http/1.1"],
        };
        files.extend(alpn.concat());
        if let Some(config) = kept.get(&files).or_else(|| self.connectors.get(&files)).cloned() {
            kept.insert(files, Arc::clone(&config));
            return Some(UpstreamTls { config, server_name });
        }
        let roots = match &tls.ca_file {
            Some(file) => faults.take(file.at, sluice_tls::authorities(&file.value))?,
            None => faults.take(tls.at, sluice_tls::system_authorities())?,
        };
        let at = tls.identity.as_ref().map_or(tls.at, |(cert, _)| cert.at);
        let config = faults.take(at, sluice_tls::client_config(roots, identity, alpn))?;
        kept.insert(files, Arc::clone(&config));
        Some(UpstreamTls { config, server_name })
    }
}

fn backends() -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), String> {
    let verified = sluice_tls::client_config(sluice_tls::system_authorities()?, None, &[b"http/1.1"])?;
    Ok((verified, sluice_tls::any_issuer_config(b"http/1.1")?))
}

/// What a file holds, told apart from no file; unreadable ones are reported where they are used.
fn content(file: Option<&Path>) -> Vec<u8> {
    let mut bytes = vec![u8::from(file.is_some())];
    bytes.extend(file.and_then(|file| std::fs::read(file).ok()).unwrap_or_default());
    bytes.push(b'\n');
    bytes
}

fn certificates(settings: &Settings, faults: &mut Faults<'_>) -> Certificates {
    let mut certificates = Certificates::new();
    let default = settings.certificates.iter().position(|c| c.default).unwrap_or(0);
    for (index, certificate) in settings.certificates.iter().enumerate() {
        let ocsp = certificate.ocsp_file.as_ref();
        let path = |file: &Located<PathBuf>| file.value.clone();
        let (cert, key) = (path(&certificate.cert_file), path(&certificate.key_file));
        match sluice_tls::identity(&cert, &key, ocsp.map(path).as_deref()) {
            Ok(identity) => {
                let names: Vec<&str> = certificate.names.iter().map(|name| name.value.as_str()).collect();
                sluice_tls::serve(&mut certificates, &identity, &names);
                if index == default && !settings.tls.strict_sni {
                    certificates.set_default(identity.key);
                }
            }
            Err((fault, message)) => {
                let at = match fault {
                    Fault::Certificate => certificate.cert_file.at,
                    Fault::Key => certificate.key_file.at,
                    Fault::Ocsp => ocsp.map_or(certificate.name.at, |file| file.at),
                };
                faults.add(at, message);
            }
        }
    }
    certificates
}

fn client_auth(tls: &config::Tls, faults: &mut Faults<'_>) -> Option<ClientAuth> {
    let Some(file) = tls.client_ca_file.as_ref().filter(|_| tls.client_auth != config::ClientAuth::Off)
    else {
        return Some(ClientAuth::Off);
    };
    let roots = Arc::new(faults.take(file.at, sluice_tls::authorities(&file.value))?);
    Some(match tls.client_auth {
        config::ClientAuth::Off => ClientAuth::Off,
        config::ClientAuth::Optional => ClientAuth::Optional(roots),
        config::ClientAuth::Required => ClientAuth::Required(roots),
    })
}
