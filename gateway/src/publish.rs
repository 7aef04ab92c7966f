//! From a configuration file to every data core.

use crate::Failure;
use crate::bans::Bans;
use crate::cores::{Drain, Order, unix_s};
use crate::credentials::Finder;
use crate::functions::{self, Functions};
use crate::health::Checks;
use crate::keys::Keys;
use crate::slots::HubSlots;
use crate::store;
use crate::tls::Tls;
use crate::xdp::{self, Kernel};
use sluice_acme::{Answers, Options, Store, Wanted};
use sluice_catalog::Catalog;
use sluice_compile::{Now, QuotaCounted, QuotaList, Registry, compile, recompile};
use sluice_config::{AcmeChallenge, CertificateSource, Diagnostic, Settings, Severity};
use sluice_control::{Access, Reload, Trial, TrialError};
use sluice_dataplane::TlsPlan;
use sluice_rt::Sender;
use sluice_snapshot::Snapshot;
use sluice_telemetry::Hub;
use sluice_tls::Identity;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Reads and checks a file.
pub(crate) fn read(file: &Path) -> Result<Settings, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Runtime(format!("can't read {}: {error}", file.display())))?;
    Settings::parse(&text, &file.display().to_string()).map_err(|found| Failure::Config(lines(&found)))
}

/// Checks settings without serving them; gives the warnings.
pub(crate) fn check(settings: &Settings) -> Result<Vec<String>, Failure> {
    let found = sluice_compile::validate(settings);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(Failure::Config(lines(&found)));
    }
    xdp::options(settings, &[]).map_err(Failure::Config)?;
    Tls::default().plan(settings).map_err(Failure::Config)?;
    functions::wanted(settings).map_err(Failure::Config)?;
    Ok(lines(&found))
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// The diagnostics in a 422 answer of the admin API.
pub(crate) fn errors_of(body: &str) -> Vec<String> {
    let answer = serde_json::from_str::<serde_json::Value>(body).ok();
    match answer.as_ref().and_then(|v| v.get("errors")).and_then(|e| e.as_array()) {
        Some(list) => list.iter().filter_map(|e| e.as_str()).map(str::to_owned).collect(),
        None => vec![body.trim_end().to_owned()],
    }
}

/// Where settings come from.
pub(crate) enum Origin {
    /// `--config`.
    File(PathBuf),
    /// The quick start, with its backend.
    QuickStart(std::net::SocketAddr),
}

impl Origin {
    /// Reads and checks.
    pub(crate) fn read(&self) -> Result<Settings, Failure> {
        match self {
            Self::File(file) => read(file),
            Self::QuickStart(demo) => {
                Settings::quickstart(*demo).map_err(|found| Failure::Config(lines(&found)))
            }
        }
    }
}

/// What has a part in what is served, beside the snapshot.
pub(crate) struct Helpers {
    pub(crate) kernel: Kernel,
    pub(crate) bans: Bans,
    pub(crate) keys: Keys,
    pub(crate) checks: Checks,
}

/// Compiles and hands out snapshots; the one place that changes what is served.
pub(crate) struct Publisher {
    origin: Origin,
    hub: Arc<Hub>,
    kernel: Kernel,
    bans: Bans,
    keys: Keys,
    checks: Checks,
    ports: Vec<u16>,
    functions: Functions,
    credentials: Arc<Finder>,
    /// Held while backends are looked up.
    resolving: Mutex<()>,
    /// Held for all of a publication, which may take as long as the system's resolver.
    workshop: Mutex<Workshop>,
    /// Held for moments. Taken after the workshop, never before.
    state: Mutex<State>,
}

/// What outlives a publication.
#[derive(Default)]
struct Workshop {
    registry: Registry,
    tls: Tls,
    credentials: Arc<Finder>,
}

struct State {
    settings: Arc<Settings>,
    access: Arc<Access>,
    catalog: Arc<Catalog>,
    current: Arc<Snapshot>,
    current_tls: Arc<TlsPlan>,
    retired_tls: Vec<Arc<TlsPlan>>,
    /// Snapshots that a core may still serve from. They are dropped here, off the data cores.
    retired: Vec<Arc<Snapshot>>,
    cores: Vec<Sender<Order>>,
}

impl Publisher {
    /// Compiles the first snapshot, of the configuration alone: a catalog is published before there are cores.
    pub(crate) fn new(
        origin: Origin,
        settings: Settings,
        hub: Arc<Hub>,
        Helpers { kernel, bans, keys, checks }: Helpers,
        ports: Vec<u16>,
    ) -> Result<Self, Failure> {
        let mut workshop = Workshop::default();
        let catalog = Arc::<Catalog>::default();
        let mut tls = workshop.tls.plan(&settings).map_err(Failure::Config)?;
        let functions = Functions::default();
        let credentials = Arc::clone(&workshop.credentials);
        workshop.registry.set_credentials(credentials.found(false));
        let wanted = functions::wanted(&settings).map_err(Failure::Config)?;
        workshop.host_functions(&functions, &wanted).map_err(|lines| Failure::Runtime(lines.join("\n")))?;
        let current = workshop.compile(&settings, &catalog, &hub, false).map_err(Failure::Config)?;
        checks.prepare(&current)?;
        workshop.tls.settle();
        workshop.tls.add_backends(&mut tls, &current);
        functions.apply(wanted);
        checks.watch(&current, &tls);
        keys.want(current.aws.providers.clone());
        let state = State {
            access: Arc::new(store::access(&settings)),
            settings: Arc::new(settings),
            catalog,
            current: Arc::new(current),
            current_tls: Arc::new(tls),
            retired_tls: Vec::new(),
            retired: Vec::new(),
            cores: Vec::new(),
        };
        let (workshop, state) = (Mutex::new(workshop), Mutex::new(state));
        Ok(Self {
            origin,
            hub,
            kernel,
            bans,
            keys,
            checks,
            ports,
            functions,
            credentials,
            resolving: Mutex::new(()),
            workshop,
            state,
        })
    }

    fn workshop(&self) -> MutexGuard<'_, Workshop> {
        self.workshop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where metrics go.
    pub(crate) fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.hub)
    }

    /// What is served now.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state().current)
    }

    /// The certificates and authorities in use now.
    pub(crate) fn current_tls(&self) -> Arc<TlsPlan> {
        Arc::clone(&self.state().current_tls)
    }

    /// The functions that are hosted here.
    pub(crate) const fn functions(&self) -> &Functions {
        &self.functions
    }

    /// The configuration in use now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.state().settings)
    }

    /// Who may use the control plane now.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.state().access)
    }

    /// What of the store is served now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.state().catalog)
    }

    /// Compiles what the store has and serves it from the next request on. It is stored already: the store's guard
    /// ([`sluice_compile::faults`]) has let through only what compiles. May block.
    pub(crate) fn publish(&self, catalog: Arc<Catalog>) -> Result<u64, Vec<String>> {
        let mut workshop = self.workshop();
        // The store tells whoever begins to listen what there is: that is served since the start.
        if Arc::ptr_eq(&catalog, &self.catalog()) {
            return Ok(self.current().generation);
        }
        self.try_publish(&mut workshop, catalog)
    }

    /// Says that this catalog, which is empty, is what is served already.
    pub(crate) fn begin_with(&self, catalog: Arc<Catalog>) {
        self.state().catalog = catalog;
    }

    /// The cores to publish to.
    pub(crate) fn attach(&self, cores: Vec<Sender<Order>>) {
        self.bans.attach(cores.clone());
        self.keys.attach(cores.clone());
        self.state().cores = cores;
    }

    /// Frees the snapshots that no core uses any more.
    pub(crate) fn sweep(&self) {
        let mut state = self.state();
        state.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        state.retired_tls.retain(|tls| Arc::strong_count(tls) > 1);
    }

    /// Tells every core to finish; `succeeded`: another process serves already.
    pub(crate) fn drain(&self, succeeded: bool) {
        let state = self.state();
        let how = Drain { patience_ms: state.settings.server.drain_timeout_ms, succeeded };
        for core in &state.cores {
            // A core that is gone needs no telling.
            let _ = core.send(Order::Drain(how));
        }
    }

    /// Serves a certificate that has been issued, from the next handshake on. May block as long as a publication.
    pub(crate) fn install(&self, name: &str, identity: Identity) {
        let mut workshop = self.workshop();
        let plan = workshop.tls.install(&self.settings(), name, identity);
        self.publish_tls(&mut workshop, plan);
    }

    /// Serves these answers to ACME challenges and no others. What is returned is closed once every core does. May block as
    /// long as a publication.
    pub(crate) fn present(&self, answers: Answers) -> mpsc::Receiver<()> {
        let (reached, waiting) = mpsc::channel(1);
        let mut workshop = self.workshop();
        let plan = workshop.tls.present(&self.settings(), answers);
        self.publish_tls(&mut workshop, plan);
        for core in &self.state().cores {
            let _ = core.send(Order::Reached(reached.clone()));
        }
        waiting
    }

    fn publish_tls(&self, workshop: &mut Workshop, plan: Result<TlsPlan, Vec<String>>) {
        match plan {
            Ok(mut plan) => {
                workshop.tls.add_backends(&mut plan, &self.current());
                self.state().swap_tls(plan);
            }
            // What was read before can be put together again, but for lack of randomness.
            Err(errors) => errors.iter().for_each(|error| eprintln!("{error}")),
        }
    }

    /// Which certificates are to be had from which authority.
    pub(crate) fn acme(&self) -> Option<(sluice_config::Acme, Vec<Wanted>)> {
        let state = self.state();
        let wanted = |certificate: &sluice_config::Certificate| {
            let challenge = match certificate.source {
                CertificateSource::Files { .. } => return None,
                CertificateSource::Acme(AcmeChallenge::Http01) => sluice_acme::Challenge::Http01,
                CertificateSource::Acme(AcmeChallenge::TlsAlpn01) => sluice_acme::Challenge::TlsAlpn01,
            };
            let names = certificate.names.iter().map(|name| name.value.clone()).collect();
            Some(Wanted { name: Arc::clone(&certificate.name.value), names, challenge })
        };
        let wanted = state.settings.certificates.iter().filter_map(wanted).collect();
        Some((state.settings.acme.clone()?, wanted))
    }

    /// How to reach that authority, and where what it issues is kept. `None` during a publication.
    pub(crate) fn issuer(&self, acme: &sluice_config::Acme) -> Option<(Options, Store)> {
        let workshop = self.workshop.try_lock().ok()?;
        let options = Options {
            directory: acme.directory.value.clone(),
            contact: acme.contact.clone(),
            tls: workshop.tls.issuer()?,
            retry: Duration::from_millis(acme.retry_ms),
        };
        Some((options, Store::new(&acme.state_dir, &acme.directory.value)))
    }

    /// Reads, checks and compiles everything before the first change, then swaps.
    fn try_reload(&self) -> Result<u64, Vec<String>> {
        let settings = self.origin.read().map_err(Failure::into_lines)?;
        let wanted = xdp::options(&settings, &self.ports)?;
        self.credentials.forget_failure();
        let mut workshop = self.workshop();
        let mut tls = workshop.tls.plan(&settings)?;
        let functions = functions::wanted(&settings)?;
        workshop.host_functions(&self.functions, &functions)?;
        let next = workshop.compile(&settings, &self.catalog(), &self.hub, false)?;
        self.checks.prepare(&next).map_err(Failure::into_lines)?;
        workshop.tls.settle();
        workshop.tls.add_backends(&mut tls, &next);
        self.functions.apply(functions);
        self.checks.watch(&next, &tls);
        // The kernel's part may fail on its own (an interface that is gone): the routes are served all the same.
        if let Err(error) = self.kernel.apply(wanted) {
            eprintln!("sluice: warning: {error}");
        }
        self.bans.apply(&settings);
        for note in needs_restart(&self.settings(), &settings) {
            eprintln!("sluice: note: {note} changed: takes effect at the next start");
        }
        self.keys.want(next.aws.providers.clone());
        let mut state = self.state();
        state.access = Arc::new(store::access(&settings));
        state.settings = Arc::new(settings);
        Ok(state.swap(next, Some(tls)))
    }

    /// Compiles another catalog under the same configuration, and swaps.
    fn try_publish(&self, workshop: &mut Workshop, catalog: Arc<Catalog>) -> Result<u64, Vec<String>> {
        let next = workshop.compile(&self.settings(), &catalog, &self.hub, true)?;
        let mut tls = TlsPlan::clone(&self.current_tls());
        let tls = workshop.tls.add_backends(&mut tls, &next).then_some(tls);
        self.keys.want(next.aws.providers.clone());
        let mut state = self.state();
        state.catalog = catalog;
        Ok(state.swap(next, tls))
    }

    /// The quotas of usage plans, as they come.
    pub(crate) fn quotas(&self) -> QuotaList {
        self.workshop().registry.quotas()
    }

    /// Quotas that are compiled from now on begin with these counts.
    pub(crate) fn restore_quotas(&self, kept: Vec<QuotaCounted>) {
        self.workshop().registry.restore_quotas(kept);
    }

    /// Compiles one method or authorizer to be tried out, beside what is served. Gives why it cannot be answered, too, if that is so.
    pub(crate) fn compile_trial(
        &self,
        trial: &Trial,
        slots: &mut HubSlots,
    ) -> Result<(Arc<Snapshot>, Arc<TlsPlan>, String), TrialError> {
        let (settings, tried) = (self.settings(), crate::trial::tried(trial));
        let registry = self.workshop().registry.apart();
        let compiled =
            sluice_compile::trial(&settings, registry, &trial.api, tried, &trial.variables, slots, now())
                .map_err(|rejected| TrialError::Invalid(rejected.lines().join("; ")))?;
        // No listener's rules: there is no client, and so no certificate.
        let mut tls = TlsPlan { server: None, upstreams: Vec::new(), ..TlsPlan::clone(&self.current_tls()) };
        self.workshop().tls.add_backends(&mut tls, &compiled.snapshot);
        Ok((Arc::new(compiled.snapshot), Arc::new(tls), compiled.notes.join("; ")))
    }

    /// Looks the backends of REST APIs up again, and the credentials for services, and serves what they are now. May block as long as the system's
    /// resolver.
    pub(crate) fn refresh_backends(&self) {
        // One that still waits for the resolver will do.
        let Ok(_turn) = self.resolving.try_lock() else { return };
        let found = sluice_compile::look_up(self.workshop().registry.backend_hosts());
        // Tools that renew credentials write them anew, and those that others give end.
        let wanted = self.workshop().registry.lacks_credentials();
        let credentials = self.credentials.found(wanted);
        let mut workshop = self.workshop();
        let renewed = workshop.registry.set_credentials(credentials);
        if (workshop.registry.backends_moved(&found) || renewed)
            && let Err(errors) = self.try_publish(&mut workshop, self.catalog())
        {
            eprintln!("sluice: warning: new addresses or credentials are not served: {}", errors.join("; "));
        }
    }
}

impl Workshop {
    /// Sees to it that what is compiled from now on finds the functions that are wanted.
    fn host_functions(
        &mut self,
        functions: &Functions,
        wanted: &functions::Wanted,
    ) -> Result<(), Vec<String>> {
        if let Some(host) = functions.host_for(wanted)? {
            self.registry.set_function_host(host);
        }
        Ok(())
    }

    /// `again`: these settings were compiled last, and only the catalog is new.
    fn compile(
        &mut self,
        settings: &Settings,
        catalog: &Catalog,
        hub: &Arc<Hub>,
        again: bool,
    ) -> Result<Snapshot, Vec<String>> {
        let mut slots = HubSlots(Arc::clone(hub));
        let way = if again { recompile } else { compile };
        let mut compile = |registry: &mut Registry| {
            way(settings, catalog, registry, &mut slots, now()).map_err(|rejected| rejected.lines())
        };
        let mut compiled = compile(&mut self.registry)?;
        if self.registry.lacks_credentials() {
            let found = self.credentials.found(true);
            if self.registry.set_credentials(found) {
                compiled = compile(&mut self.registry)?;
            }
        }
        // Those of the configuration were told when it was read: every change of the catalog comes by here.
        let warnings = if again { Vec::new() } else { lines(&compiled.warnings) };
        for warning in warnings.iter().chain(&compiled.notes) {
            eprintln!("{warning}");
        }
        Ok(compiled.snapshot)
    }
}

/// The time of both clocks.
fn now() -> Now {
    Now { ns: sluice_rt::clock_ns(), unix_s: unix_s() }
}

impl State {
    /// Serves this from the next request on. `tls`: only if it is not what it was.
    fn swap(&mut self, next: Snapshot, tls: Option<TlsPlan>) -> u64 {
        let generation = next.generation;
        let next = Arc::new(next);
        if let Some(tls) = tls {
            let old = std::mem::replace(&mut self.current_tls, Arc::new(tls));
            self.retired_tls.push(old);
        }
        for core in &self.cores {
            let _ = core.send(Order::Publish(Arc::clone(&next), Arc::clone(&self.current_tls)));
        }
        let old = std::mem::replace(&mut self.current, next);
        self.retired.push(old);
        generation
    }

    /// Serves the same with other certificates.
    fn swap_tls(&mut self, plan: TlsPlan) {
        let next = Arc::new(plan);
        for core in &self.cores {
            let _ = core.send(Order::Publish(Arc::clone(&self.current), Arc::clone(&next)));
        }
        let old = std::mem::replace(&mut self.current_tls, next);
        self.retired_tls.push(old);
    }
}

impl Reload for Publisher {
    fn reload(&self) -> Result<u64, Vec<String>> {
        let result = self.try_reload();
        match &result {
            Ok(generation) => eprintln!("sluice: reloaded generation {generation}"),
            Err(errors) => {
                for error in errors {
                    eprintln!("{error}");
                }
                eprintln!(
                    "sluice: reload refused: {}",
                    errors.first().map_or("no reason given", String::as_str)
                );
            }
        }
        result
    }
}

/// Settings that a running process can't take over.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let addresses = |s: &Settings| s.server.listen.iter().map(|l| l.value).collect::<Vec<_>>();
    let admin = |s: &Settings| s.server.admin_listen.as_ref().map(|l| l.value);
    let mut changed = Vec::new();
    if addresses(old) != addresses(new) {
        changed.push("server.listen");
    }
    let secured = |s: &Settings| s.server.listen_tls.iter().map(|l| l.value).collect::<Vec<_>>();
    if secured(old) != secured(new) {
        changed.push("server.listen_tls");
    }
    if admin(old) != admin(new) {
        changed.push("server.admin_listen");
    }
    if old.server.cores != new.server.cores {
        changed.push("server.cores");
    }
    if old.server.steers_by_cpu != new.server.steers_by_cpu {
        changed.push("server.steering");
    }
    if old.server.engine != new.server.engine {
        changed.push("server.engine");
    }
    if old.server.wait != new.server.wait {
        changed.push("server.wait");
    }
    if old.access_log != new.access_log {
        changed.push("access_log");
    }
    let store = |s: &Settings| s.store.path.as_ref().map(|path| path.value.clone());
    if store(old) != store(new) {
        changed.push("store.path");
    }
    changed
}
