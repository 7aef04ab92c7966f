//! Certificates and authorities from files to what the data cores use. Everything is read before anything changes.
//!
//! What was read stays: a certificate that an ACME authority has issued, or the answer to a challenge, is put in place without
//! reading the operator's files again, which may be half written.

use sluice_acme::{Answers, Store, placeholder};
use sluice_config::{
    self as config, CertificateSource, Diagnostic, Located, Position, Protocol, Settings, Severity,
};
use sluice_dataplane::{TlsPlan, UpstreamTls};
use sluice_snapshot::{BackendTls, Snapshot};
use sluice_tls::{
    Certificates, ClientAuth, ClientConfig, Endpoint, Fault, Identity, Names, ProducesTickets, ServerConfig,
    ServerName, ServerOptions,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What outlives a reload.
#[derive(Default)]
pub(crate) struct Tls {
    /// Ticket keys by what they were made for: a session must not outlive the authorities it was verified by.
    tickets: HashMap<Vec<u8>, Arc<dyn ProducesTickets>>,
    /// By the content of their files: upstream connections live on while theirs stays the same.
    connectors: HashMap<Vec<u8>, Arc<ClientConfig>>,
    /// For the backends of REST APIs: verified, and of any issuer.
    backends: Option<(Arc<ClientConfig>, Arc<ClientConfig>)>,
    /// What the plan that is served was made of.
    material: Material,
    /// The same of one that may yet be refused for other reasons.
    read: Option<Material>,
    /// Stand-ins for certificates that are still to be issued, by their names.
    placeholders: HashMap<Vec<String>, Arc<Identity>>,
    answers: Answers,
}

/// What was read.
#[derive(Clone, Default)]
struct Material {
    /// As in the settings.
    certificates: Vec<Served>,
    /// The first is that of the default certificate.
    policies: Vec<Policy>,
    upstreams: Vec<Option<UpstreamTls>>,
    /// For the directory of `[acme]`.
    issuer: Option<Arc<ClientConfig>>,
}

/// A certificate and where it is served.
#[derive(Clone)]
struct Served {
    name: Arc<str>,
    identity: Arc<Identity>,
    /// Empty: those in the certificate.
    names: Vec<String>,
    policy: usize,
    default: bool,
}

/// What is asked of clients.
#[derive(Clone)]
struct Policy {
    client_auth: ClientAuth,
    /// All that makes it different from others.
    made_of: Vec<u8>,
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
        let mut material = Material::default();
        if !settings.server.listen_tls.is_empty() {
            self.read_certificates(settings, &mut material, &mut faults);
        }
        if let Some(acme) = &settings.acme {
            material.issuer = issuer(acme, &mut faults);
        }
        let mut kept = HashMap::new();
        let upstreams = settings.upstreams.iter().map(|upstream| {
            let tls = upstream.tls.as_ref()?;
            self.upstream(tls, upstream.protocol, &mut kept, &mut faults)
        });
        material.upstreams = upstreams.collect();
        if !faults.found.is_empty() {
            return Err(faults.found.iter().map(ToString::to_string).collect());
        }
        let plan = self.assemble(settings, &material)?;
        self.connectors = kept;
        self.read = Some(material);
        Ok(plan)
    }

    /// The last plan is served from now on.
    pub(crate) fn settle(&mut self) {
        if let Some(material) = self.read.take() {
            let is_used =
                |made_of: &Vec<u8>| material.policies.iter().any(|policy| policy.made_of == *made_of);
            self.tickets.retain(|made_of, _| is_used(made_of));
            self.material = material;
        }
    }

    /// The plan anew, of what was read last, with a certificate that has been issued meanwhile.
    pub(crate) fn install(
        &mut self,
        settings: &Settings,
        name: &str,
        identity: Identity,
    ) -> Result<TlsPlan, Vec<String>> {
        let identity = Arc::new(identity);
        for served in self.material.certificates.iter_mut().filter(|served| *served.name == *name) {
            served.identity = Arc::clone(&identity);
        }
        self.again(settings)
    }

    /// The plan anew, of what was read last, with other answers to ACME challenges.
    pub(crate) fn present(&mut self, settings: &Settings, answers: Answers) -> Result<TlsPlan, Vec<String>> {
        self.answers = answers;
        self.again(settings)
    }

    fn again(&mut self, settings: &Settings) -> Result<TlsPlan, Vec<String>> {
        let material = self.material.clone();
        self.assemble(settings, &material)
    }

    /// How the ACME authority's own certificate is verified.
    pub(crate) fn issuer(&self) -> Option<Arc<ClientConfig>> {
        self.material.issuer.clone()
    }

    fn assemble(&mut self, settings: &Settings, material: &Material) -> Result<TlsPlan, Vec<String>> {
        let mut faults = Faults { settings, found: Vec::new() };
        let server = self.endpoint(settings, material, &mut faults).map(Arc::new);
        if !faults.found.is_empty() {
            return Err(faults.found.iter().map(ToString::to_string).collect());
        }
        let answer = |(token, proof): &(String, String)| {
            let answer = sluice_compile::fixed_answer(200, proof, "application/octet-stream");
            (token.as_str().into(), Arc::new(answer))
        };
        Ok(TlsPlan {
            server,
            handshake_timeout_ms: settings.tls.handshake_timeout_ms,
            max_handshakes: settings.tls.max_handshakes,
            upstreams: material.upstreams.clone(),
            backends: None,
            backends_of_any_issuer: None,
            http_challenges: self.answers.http.iter().map(answer).collect(),
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

    /// What the TLS listeners serve. `None` without any, or with a fault.
    fn endpoint(
        &mut self,
        settings: &Settings,
        material: &Material,
        faults: &mut Faults<'_>,
    ) -> Option<Endpoint> {
        let at = settings.server.listen_tls.first()?.at;
        let mut configs = Vec::new();
        for index in 0..material.policies.len() {
            configs.push(self.policy(settings, material, index, at, faults)?);
        }
        let mut policy_of = Names::default();
        for served in &material.certificates {
            served.all_names().for_each(|name| policy_of.add(name, served.policy));
        }
        let mut configs = configs.into_iter();
        let mut endpoint = Endpoint::by_name(configs.next()?, configs.collect(), policy_of);
        let is_closed =
            |(_, policy): &(usize, &Policy)| matches!(policy.client_auth, ClientAuth::Required(_));
        endpoint.close(material.policies.iter().enumerate().filter(is_closed).map(|(index, _)| index));
        if !self.answers.tls.is_empty() {
            let mut certificates = Certificates::new();
            self.answers.tls.iter().for_each(|(name, key)| certificates.add(name, key));
            endpoint.set_challenge(Some(faults.take(at, sluice_tls::challenge_config(certificates))?));
        }
        Some(endpoint)
    }

    /// The configuration for names with this policy: it has their certificates and no others.
    fn policy(
        &mut self,
        settings: &Settings,
        material: &Material,
        index: usize,
        at: Position,
        faults: &mut Faults<'_>,
    ) -> Option<Arc<ServerConfig>> {
        let policy = material.policies.get(index)?;
        let mut certificates = Certificates::new();
        for served in material.certificates.iter().filter(|served| served.policy == index) {
            served.all_names().for_each(|name| certificates.add(name, &served.identity.key));
            if served.default && !settings.tls.strict_sni {
                certificates.set_default(Arc::clone(&served.identity.key));
            }
        }
        let http2 = settings.server.http2.then(|| b"h2".to_vec());
        let options = ServerOptions {
            tls12: settings.tls.tls12,
            client_auth: policy.client_auth.clone(),
            alpn: http2.into_iter().chain([b"http/1.1".to_vec()]).collect(),
            tickets: self.tickets(&settings.tls, policy, at, faults)?,
        };
        faults.take(at, sluice_tls::server_config(certificates, options))
    }

    /// The keys in use for a policy, or new ones. `None`: a fault.
    fn tickets(
        &mut self,
        tls: &config::Tls,
        policy: &Policy,
        at: Position,
        faults: &mut Faults<'_>,
    ) -> Option<Option<Arc<dyn ProducesTickets>>> {
        if !tls.session_tickets {
            return Some(None);
        }
        if let Some(tickets) = self.tickets.get(&policy.made_of) {
            return Some(Some(Arc::clone(tickets)));
        }
        let tickets = faults.take(at, sluice_tls::tickets())?;
        self.tickets.insert(policy.made_of.clone(), Arc::clone(&tickets));
        Some(Some(tickets))
    }

    fn read_certificates(&mut self, settings: &Settings, material: &mut Material, faults: &mut Faults<'_>) {
        let default = settings.certificates.iter().position(|c| c.default).unwrap_or(0);
        // The default certificate's policy first.
        if let Some(certificate) = settings.certificates.get(default) {
            material.policy(&settings.tls, certificate, faults);
        }
        for (index, certificate) in settings.certificates.iter().enumerate() {
            let policy = material.policy(&settings.tls, certificate, faults);
            let identity = match &certificate.source {
                CertificateSource::Files { cert, key } => from_files(certificate, cert, key, faults),
                CertificateSource::Acme(_) => self.issued(settings, certificate, faults),
            };
            if let Some((policy, identity)) = policy.zip(identity) {
                material.certificates.push(Served {
                    name: Arc::clone(&certificate.name.value),
                    identity,
                    names: certificate.names.iter().map(|name| name.value.clone()).collect(),
                    policy,
                    default: index == default,
                });
            }
        }
    }

    /// What the authority has issued, however old, or a placeholder until it has.
    fn issued(
        &mut self,
        settings: &Settings,
        certificate: &config::Certificate,
        faults: &mut Faults<'_>,
    ) -> Option<Arc<Identity>> {
        let acme = settings.acme.as_ref()?;
        let store = Store::new(&acme.state_dir, &acme.directory.value);
        if let Ok(Some(identity)) = store.identity(&certificate.name.value) {
            return Some(Arc::new(identity));
        }
        let names: Vec<String> = certificate.names.iter().map(|name| name.value.clone()).collect();
        if let Some(identity) = self.placeholders.get(&names) {
            return Some(Arc::clone(identity));
        }
        let identity = Arc::new(faults.take(certificate.name.at, placeholder(&names))?);
        self.placeholders.insert(names, Arc::clone(&identity));
        Some(identity)
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

impl Served {
    fn all_names(&self) -> impl Iterator<Item = &str> {
        let names = if self.names.is_empty() { &self.identity.names } else { &self.names };
        names.iter().map(String::as_str)
    }
}

impl Material {
    /// The index of a certificate's policy; `None`: its file is at fault.
    fn policy(
        &mut self,
        tls: &config::Tls,
        certificate: &config::Certificate,
        faults: &mut Faults<'_>,
    ) -> Option<usize> {
        let mode = certificate.client_auth.unwrap_or(tls.client_auth);
        let file = certificate.client_ca_file.as_ref().or(tls.client_ca_file.as_ref());
        let file = file.filter(|_| mode != config::ClientAuth::Off);
        let mut made_of = format!("{mode:?}\n").into_bytes();
        made_of.extend(content(file.map(|file| file.value.as_path())));
        if let Some(known) = self.policies.iter().position(|policy| policy.made_of == made_of) {
            return Some(known);
        }
        let client_auth = match file {
            None => ClientAuth::Off,
            Some(file) => {
                let roots = Arc::new(faults.take(file.at, sluice_tls::authorities(&file.value))?);
                match mode {
                    config::ClientAuth::Off => ClientAuth::Off,
                    config::ClientAuth::Optional => ClientAuth::Optional(roots),
                    config::ClientAuth::Required => ClientAuth::Required(roots),
                }
            }
        };
        self.policies.push(Policy { client_auth, made_of });
        Some(self.policies.len() - 1)
    }
}

fn from_files(
    certificate: &config::Certificate,
    cert: &Located<PathBuf>,
    key: &Located<PathBuf>,
    faults: &mut Faults<'_>,
) -> Option<Arc<Identity>> {
    let ocsp = certificate.ocsp_file.as_ref();
    let read = sluice_tls::identity(&cert.value, &key.value, ocsp.map(|file| file.value.as_path()));
    let place = |fault| match fault {
        Fault::Certificate => cert.at,
        Fault::Key => key.at,
        Fault::Ocsp => ocsp.map_or(certificate.name.at, |file| file.at),
    };
    read.map(Arc::new).map_err(|(fault, message)| faults.add(place(fault), message)).ok()
}

fn issuer(acme: &config::Acme, faults: &mut Faults<'_>) -> Option<Arc<ClientConfig>> {
    let roots = match &acme.ca_file {
        Some(file) => faults.take(file.at, sluice_tls::authorities(&file.value))?,
        None => faults.take(acme.directory.at, sluice_tls::system_authorities())?,
    };
    faults.take(acme.directory.at, sluice_tls::client_config(roots, None, &[b"http/1.1"]))
}
