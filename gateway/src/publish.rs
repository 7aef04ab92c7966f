//! From a configuration file to every data core.

use crate::Failure;
use crate::bans::Bans;
use crate::cores::{Drain, Order};
use crate::slots::HubSlots;
use crate::tls::Tls;
use crate::xdp::{self, Kernel};
use sluice_compile::{Registry, compile};
use sluice_config::{Diagnostic, Settings, Severity};
use sluice_control::{Reload, RouteInfo};
use sluice_dataplane::TlsPlan;
use sluice_rt::Sender;
use sluice_snapshot::Snapshot;
use sluice_telemetry::Hub;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Compiles and hands out snapshots; the one place that changes what is served.
pub(crate) struct Publisher {
    origin: Origin,
    hub: Arc<Hub>,
    kernel: Kernel,
    bans: Bans,
    ports: Vec<u16>,
    state: Mutex<State>,
}

struct State {
    registry: Registry,
    settings: Settings,
    current: Arc<Snapshot>,
    tls: Tls,
    current_tls: Arc<TlsPlan>,
    retired_tls: Vec<Arc<TlsPlan>>,
    /// Snapshots that a core may still serve from. They are dropped here, off the data cores.
    retired: Vec<Arc<Snapshot>>,
    cores: Vec<Sender<Order>>,
}

impl Publisher {
    /// Compiles the first snapshot.
    pub(crate) fn new(
        origin: Origin,
        settings: Settings,
        hub: Arc<Hub>,
        (kernel, bans): (Kernel, Bans),
        ports: Vec<u16>,
    ) -> Result<Self, Failure> {
        let mut registry = Registry::new();
        let compiled =
            compile(&settings, &mut registry, &mut HubSlots(Arc::clone(&hub)), sluice_rt::clock_ns())
                .map_err(|found| Failure::Config(lines(&found)))?;
        for warning in lines(&compiled.warnings) {
            eprintln!("{warning}");
        }
        let mut tls = Tls::default();
        let current_tls = Arc::new(tls.plan(&settings).map_err(Failure::Config)?);
        let current = Arc::new(compiled.snapshot);
        let state = State {
            registry,
            settings,
            current,
            tls,
            current_tls,
            retired_tls: Vec::new(),
            retired: Vec::new(),
            cores: Vec::new(),
        };
        Ok(Self { origin, hub, kernel, bans, ports, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served now.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state().current)
    }

    /// The certificates and authorities in use now.
    pub(crate) fn current_tls(&self) -> Arc<TlsPlan> {
        Arc::clone(&self.state().current_tls)
    }

    /// The cores to publish to.
    pub(crate) fn attach(&self, cores: Vec<Sender<Order>>) {
        self.bans.attach(cores.clone());
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

    /// The routes as configured.
    pub(crate) fn routes(&self) -> Vec<RouteInfo> {
        let state = self.state();
        let info = |route: &sluice_config::Route| RouteInfo {
            name: route.name.value.to_string(),
            host: route.host.as_ref().map(|h| h.value.clone()),
            path: route.path.value.clone(),
            methods: route.methods.iter().map(|m| m.value.clone()).collect(),
            source: format!("{}:{}", state.settings.file, route.name.at.line),
            action: match (&route.upstream, &route.mock) {
                (Some(upstream), _) => format!("upstream {}", upstream.value),
                (None, Some(mock)) => format!("mock {}", mock.value.status),
                (None, None) => String::new(),
            },
            limits: route.limits.iter().map(|l| l.value.clone()).collect(),
        };
        state.settings.routes.iter().map(info).collect()
    }

    /// Reads, checks and compiles everything before the first change, then swaps.
    fn try_reload(&self) -> Result<u64, Vec<String>> {
        let settings = self.origin.read().map_err(Failure::into_lines)?;
        let wanted = xdp::options(&settings, &self.ports)?;
        let mut state = self.state();
        let next_tls = Arc::new(state.tls.plan(&settings)?);
        let compiled = compile(
            &settings,
            &mut state.registry,
            &mut HubSlots(Arc::clone(&self.hub)),
            sluice_rt::clock_ns(),
        )
        .map_err(|found| lines(&found))?;
        // The kernel's part may fail on its own (an interface that is gone): the routes are served all the same.
        if let Err(error) = self.kernel.apply(wanted) {
            eprintln!("sluice: warning: {error}");
        }
        self.bans.apply(&settings);
        for note in needs_restart(&state.settings, &settings) {
            eprintln!("sluice: note: {note} changed: takes effect at the next start");
        }
        for warning in lines(&compiled.warnings) {
            eprintln!("{warning}");
        }
        let generation = compiled.snapshot.generation;
        let next = Arc::new(compiled.snapshot);
        for core in &state.cores {
            let _ = core.send(Order::Publish(Arc::clone(&next), Arc::clone(&next_tls)));
        }
        let old = std::mem::replace(&mut state.current, next);
        state.retired.push(old);
        let old = std::mem::replace(&mut state.current_tls, next_tls);
        state.retired_tls.push(old);
        state.settings = settings;
        Ok(generation)
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
