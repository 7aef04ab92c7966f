//! `sluice run`, from start to end.

use crate::bans::Bans;
use crate::cores::{self, Handle, Pulse, Seed};
use crate::feed::Feed;
use crate::health::Checks;
use crate::keys::{KeyAsker, Keys};
use crate::listeners::{Bound, Given, Listening};
use crate::notify::Notifier;
use crate::operate::Operator;
use crate::publish::{Helpers, Origin, Publisher};
use crate::serving::Served;
use crate::signals::{Asker, EarlySignals, End, Main};
use crate::upgrade::{self, PassedOn, Predecessor, Upgrader};
use crate::usage::{self, Keeper};
use crate::watchdog::Watchdog;
use crate::xdp::Kernel;
use crate::{Failure, affinity, demo, listeners, signals, store, xdp};
use sluice_catalog::Catalog;
use sluice_config::{Engine, LogFormat as ConfigLogFormat, Settings, Wait};
use sluice_control::{Admin, ControlPlane, ControlThread, Health, Reload, ban_families, xdp_families};
use sluice_dataplane::Connections;
use sluice_promote::Report;
use sluice_store::{Store, StoreError};
use sluice_telemetry::{Exposition, Hub, Kind, LogFormat, LogOptions, LogTarget, LogThread, Options};
use sluice_xdp::Handed;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Serves until told to end.
pub(crate) fn run(config: Option<&Path>) -> Result<(), Failure> {
    let early = EarlySignals::catch()?;
    let notifier = Notifier::from_env();
    let Inheritance { given, predecessor, filter } = inherit()?;
    let origin = match config {
        Some(file) => Origin::File(file.to_owned()),
        None => Origin::QuickStart(demo::start().map_err(|e| runtime("can't start the demo backend", &e))?),
    };
    let settings = origin.read()?;
    if let Err(error) = affinity::raise_descriptor_limit() {
        eprintln!("sluice: warning: the limit of open files stays as it is: {error}");
    }
    let engine = engine(&settings);
    let cpus = affinity::allowed();
    let cores = settings.server.cores.unwrap_or(cpus.len());
    let hub = Hub::new(cores, Options::default());
    let bound = listen(&settings, cores, given)?;
    let plain = settings.server.listen.len();
    steer(&settings, &bound, &cpus);
    let ports: Vec<u16> = bound.addresses.iter().map(SocketAddr::port).collect();
    let wanted = xdp::options(&settings, &ports).map_err(Failure::Config)?;
    let kernel = Kernel::default();
    start_kernel(&kernel, &settings, wanted.clone(), predecessor.as_ref().map(|_| &filter))?;
    let drops_capabilities = drops_capabilities(&settings);
    let (log, store) = (start_log(&settings, &hub)?, store::open(&settings)?);
    let quick_start = matches!(origin, Origin::QuickStart(_));
    let (bans, reports) = Bans::start(cores, Arc::clone(&hub), kernel.clone())
        .map_err(|error| runtime("can't start the judge of bans", &error))?;
    bans.apply(&settings);
    let connections = Arc::new(Connections::new(settings.server.max_connections));
    let keys = Keys::start().map_err(|error| runtime("can't start the keeper of keys", &error))?;
    let checks = Checks::new(&engine);
    let helpers =
        Helpers { kernel: kernel.clone(), bans: bans.clone(), keys: keys.clone(), checks: checks.clone() };
    let publisher = Arc::new(Publisher::new(origin, settings, Arc::clone(&hub), helpers, ports)?);
    let keeper = serve_stored(&publisher, &store)?;
    let signals = early.with_ends()?;
    let shared = Shared { connections, reports, keys: keys.asker(), engine };
    let (handles, pulses) = start_cores(&publisher, &hub, &shared, bound.sockets, &cpus)?;
    publisher.attach(handles.iter().map(|h| h.orders.clone()).collect());
    let plane = control_plane(&publisher, &keeper, store, shared.engine.clone())?;
    let operator =
        Operator { kernel: kernel.clone(), bans, connections: Arc::clone(&shared.connections), checks };
    drop(shared);
    let passed_on =
        PassedOn { store: Arc::clone(&plane.store), keeper: Arc::clone(&keeper), kernel: kernel.clone() };
    let upgrader =
        Upgrader::new(bound.kept, passed_on).map_err(|e| runtime("can't find the program's own path", &e))?;
    let (asker, asks) = signals::asking();
    let draining = Arc::new(AtomicBool::new(false));
    let control = start_control(bound.admin, &publisher, plane, operator, &draining, asker)?;
    if let Some(predecessor) = predecessor {
        take_over(predecessor, filter, &kernel, wanted, drops_capabilities);
    }
    announce(&bound.addresses, plain, control.as_ref(), quick_start);
    notifier.ready("serving");
    let main = Main {
        publisher: &publisher,
        kernel: &kernel,
        log: log.as_ref(),
        upgrader: Arc::new(upgrader),
        notifier: &notifier,
        watchdog: Watchdog::new(pulses),
    };
    // Its end closes the listening sockets that were kept for a successor.
    let end = main.wait(signals, asks);
    draining.store(true, Ordering::Release);
    finish(end, Running { publisher, keeper, kernel, handles, control, log }, &notifier)
}

fn listen(settings: &Settings, cores: usize, given: Given) -> Result<Bound, Failure> {
    let plain = settings.server.listen.len();
    let data = listens(settings).enumerate().map(|(nth, at)| (at.value, nth >= plain));
    let admin = settings.server.admin_listen.as_ref().map(|at| at.value);
    listeners::bind(data, admin, cores, given).map_err(Failure::Runtime)
}

fn steer(settings: &Settings, bound: &Bound, cpus: &[usize]) {
    if settings.server.steers_by_cpu
        && let Err(error) = listeners::steer(bound, cpus)
    {
        eprintln!(
            "sluice: warning: connections are spread by hash, the kernel refused to steer them: {error}"
        );
    }
}

fn drops_capabilities(settings: &Settings) -> bool {
    settings.xdp.as_ref().is_some_and(|xdp| xdp.drop_capabilities)
}

/// Attaches XDP. Before the first thread is started: each has capabilities of its own. A process that replaces another
/// has to wait until that one lets go; going on with its `filter` takes no capability.
fn start_kernel(
    kernel: &Kernel,
    settings: &Settings,
    wanted: Option<xdp::Wanted>,
    filter: Option<&Handed>,
) -> Result<(), Failure> {
    match filter {
        None => kernel.apply(wanted).map_err(Failure::Runtime)?,
        Some(filter) if filter.is_ours() => {}
        // It will be attached later, and that does take capabilities.
        Some(_) => return Ok(()),
    }
    if drops_capabilities(settings) {
        affinity::drop_bpf_capabilities().map_err(|error| runtime("can't drop capabilities", &error))?;
    }
    Ok(())
}

/// For `wait = "low_latency"`.
const SPIN_US: u32 = 50;
/// For `wait = "efficient"`.
const MIN_WAIT_US: u32 = 200;

/// The engine as configured. Where io_uring is refused this says so, once for all cores.
fn engine(settings: &Settings) -> sluice_rt::Config {
    let engine = match settings.server.engine {
        Engine::IoUring => sluice_rt::Engine::IoUring,
        Engine::Epoll => sluice_rt::Engine::Epoll,
        Engine::Auto => match sluice_rt::check_io_uring() {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                eprintln!("sluice: note: {error}: epoll serves instead");
                sluice_rt::Engine::Epoll
            }
            _ => sluice_rt::Engine::IoUring,
        },
    };
    let wait = match settings.server.wait {
        Wait::Balanced => sluice_rt::Wait::Sleep,
        Wait::LowLatency => sluice_rt::Wait::Spin { spin_us: SPIN_US },
        Wait::Efficient => sluice_rt::Wait::Gather { min_wait_us: MIN_WAIT_US },
    };
    sluice_rt::Config { engine, wait, ..sluice_rt::Config::default() }
}

/// What the process was started with: sockets, the link to the process that it replaces, and that one's packet filter.
struct Inheritance {
    given: Given,
    predecessor: Option<Predecessor>,
    filter: Handed,
}

fn inherit() -> Result<Inheritance, Failure> {
    let inherited =
        sluice_rt::inherited().map_err(|error| runtime("can't take inherited sockets", &error))?;
    let (mut links, others): (Vec<_>, Vec<_>) =
        inherited.into_iter().partition(|given| given.handed_over && given.name == upgrade::LINK);
    let (parts, sockets): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|given| given.handed_over && Handed::is_part(&given.name));
    Ok(Inheritance {
        given: Given::new(sockets),
        predecessor: links.pop().map(|link| Predecessor::new(link.socket)),
        filter: Handed::new(parts.into_iter().map(|part| (part.name, part.socket)).collect()),
    })
}

/// Serving already: the old process may go. Only then may its packet filter be changed, or the interface be had for our own.
fn take_over(
    predecessor: Predecessor,
    filter: Handed,
    kernel: &Kernel,
    wanted: Option<xdp::Wanted>,
    drops_capabilities: bool,
) {
    if drops_capabilities && wanted.is_some() && !filter.is_ours() {
        eprintln!(
            "sluice: warning: the filter is attached anew, and `drop_capabilities` takes effect with the next start only"
        );
    }
    let taken = predecessor.take_over().and_then(|()| kernel.take_over(filter, wanted));
    if let Err(error) = taken {
        eprintln!("sluice: warning: {error}");
    }
}

/// What runs until the end.
struct Running {
    publisher: Arc<Publisher>,
    keeper: Arc<Keeper>,
    kernel: Kernel,
    handles: Vec<Handle>,
    control: Option<ControlThread>,
    log: Option<LogThread>,
}

/// Drains the cores and ends the threads.
fn finish(end: End, running: Running, notifier: &Notifier) -> Result<(), Failure> {
    let Running { publisher, keeper, kernel, handles, mut control, log } = running;
    let succeeded = matches!(end, End::Succeeded(_));
    match end {
        End::Told => {
            notifier.stopping();
            publisher.drain(false);
        }
        End::Succeeded(successor) => {
            kernel.leave();
            notifier.main_pid(successor.pid);
            publisher.drain(true);
            // Once the cores are told: what is answered after this line asks its client to leave. And while the successor
            // waits: it writes to the same stream.
            eprintln!("sluice: upgraded: process {} serves, this one drains", successor.pid);
        }
    }
    if succeeded && let Some(control) = control.take() {
        // The successor answers there, too.
        control.stop().map_err(|error| runtime("the admin listener failed", &error))?;
    }
    let patience = Duration::from_millis(publisher.settings().server.drain_timeout_ms);
    let crashed = handles.into_iter().map(|h| h.thread.join()).filter(Result::is_err).count();
    // What the last requests used; leases came back with their cores.
    match keeper.keep() {
        Ok(()) | Err(StoreError::HandedOver) => {}
        Err(error) => eprintln!("sluice: error: what keys use of their quotas is not kept: {error}"),
    }
    // What the cores asked of functions has been answered; what runs as an event has as long again.
    publisher.functions().close(patience)?;
    stop(control, log)?;
    if crashed > 0 { Err(Failure::Runtime(format!("{crashed} data core threads panicked"))) } else { Ok(()) }
}

fn runtime(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Runtime(format!("{what}: {error}"))
}

/// Data listeners, the plain ones first.
fn listens(settings: &Settings) -> impl Iterator<Item = &sluice_config::Located<SocketAddr>> {
    settings.server.listen.iter().chain(&settings.server.listen_tls)
}

fn start_log(settings: &Settings, hub: &Arc<Hub>) -> Result<Option<LogThread>, Failure> {
    let format = match settings.access_log.format {
        ConfigLogFormat::Json => LogFormat::Json,
        ConfigLogFormat::Clf => LogFormat::Clf,
        ConfigLogFormat::Off => return Ok(None),
    };
    let target = match &settings.access_log.path {
        Some(path) => LogTarget::File(path.clone()),
        None => LogTarget::Stdout,
    };
    LogThread::start(Arc::clone(hub), LogOptions::new(target, format))
        .map(Some)
        .map_err(|error| runtime("can't open the access log", &error))
}

/// What all cores have in common.
struct Shared {
    connections: Arc<Connections>,
    reports: SyncSender<Report>,
    keys: KeyAsker,
    engine: sluice_rt::Config,
}

fn start_cores(
    publisher: &Publisher,
    hub: &Arc<Hub>,
    shared: &Shared,
    sockets: Vec<Vec<Listening>>,
    cpus: &[usize],
) -> Result<(Vec<Handle>, Vec<Arc<Pulse>>), Failure> {
    // Cores are pinned, and what they start is, too.
    sluice_dataplane::start_workers();
    let (mut handles, mut pulses) = (Vec::new(), Vec::new());
    for (index, (listeners, cpu)) in sockets.into_iter().zip(cpus.iter().copied().cycle()).enumerate() {
        let pulse = Arc::new(Pulse::default());
        pulses.push(Arc::clone(&pulse));
        let seed = Seed {
            index,
            cpu,
            snapshot: publisher.current(),
            tls: publisher.current_tls(),
            hub: Arc::clone(hub),
            listeners,
            connections: Arc::clone(&shared.connections),
            reports: shared.reports.clone(),
            keys: shared.keys.clone(),
            pulse,
            engine: shared.engine.clone(),
        };
        handles.push(cores::start(seed).map_err(|error| runtime("can't start a data core", &error))?);
    }
    Ok((handles, pulses))
}

/// Compiles what the store has before there are cores, so that they never serve without it. What does not compile is told,
/// and everything else is served.
fn serve_stored(publisher: &Publisher, store: &Arc<Store>) -> Result<Arc<Keeper>, Failure> {
    let kept = store.usage().map_err(|error| Failure::Runtime(error.to_string()))?;
    publisher.restore_quotas(kept.iter().map(usage::counted).collect());
    let catalog = store.catalog();
    if *catalog == Catalog::default() {
        publisher.begin_with(catalog);
    } else if let Err(errors) = publisher.publish(catalog) {
        tell(&errors);
    }
    Keeper::start(Arc::clone(store), publisher.quotas(), kept)
        .map_err(|error| runtime("can't start the thread that keeps usage", &error))
}

fn tell(errors: &[String]) {
    for error in errors {
        eprintln!("{error}");
    }
    eprintln!("sluice: error: what the control plane was told last is stored, but not served");
}

/// From here on, what changes in the store is served.
fn control_plane(
    publisher: &Arc<Publisher>,
    keeper: &Arc<Keeper>,
    store: Arc<Store>,
    engine: sluice_rt::Config,
) -> Result<ControlPlane, Failure> {
    let serving = Arc::clone(publisher);
    let publish = move |catalog| {
        if let Err(errors) = serving.publish(catalog) {
            tell(&errors);
        }
    };
    let for_metrics = Arc::clone(keeper);
    publisher.hub().add_collector(Box::new(move |out| {
        let name = "sluice_quota_counts_unkept";
        out.family(name, Kind::Gauge, "Keys whose use of a quota has moved since it was kept last.");
        out.sample(name, &[], for_metrics.unkept() as u64);
    }));
    let feed = Feed::start(&store, publish).map_err(|error| runtime("can't start the publisher", &error))?;
    let for_access = Arc::clone(publisher);
    Ok(ControlPlane {
        store,
        access: Arc::new(move || for_access.access()),
        serving: Arc::new(Served {
            feed,
            publisher: Arc::clone(publisher),
            keeper: Arc::clone(keeper),
            engine,
        }),
    })
}

fn start_control(
    listener: Option<TcpListener>,
    publisher: &Arc<Publisher>,
    plane: ControlPlane,
    operator: Operator,
    draining: &Arc<AtomicBool>,
    asker: Asker,
) -> Result<Option<ControlThread>, Failure> {
    let Some(listener) = listener else { return Ok(None) };
    let hub = publisher.hub();
    let (for_health, for_routes) = (Arc::clone(publisher), Arc::clone(publisher));
    let (for_xdp, for_metrics) = (operator.kernel.clone(), operator.kernel.clone());
    let (for_bans, draining) = (operator.bans.clone(), Arc::clone(draining));
    hub.add_collector(Box::new(move |out| xdp_families(&for_metrics.report(), out)));
    hub.add_collector(Box::new(move |out| ban_families(&for_bans.report(), out)));
    let for_checks = operator.checks.clone();
    hub.add_collector(Box::new(move |out| for_checks.families(out)));
    let for_state = Arc::clone(publisher);
    hub.add_collector(Box::new(move |out| state_families(&for_state, out)));
    let health = move || Health {
        status: if draining.load(Ordering::Acquire) { "draining" } else { "ok" }.to_owned(),
        generation: for_health.current().generation,
    };
    let (for_plan, for_functions) = (Arc::clone(publisher), Arc::clone(publisher));
    let reload: Arc<dyn Reload> = Arc::<Publisher>::clone(publisher);
    let admin = Admin {
        hub: Arc::clone(&hub),
        reload,
        upgrade: Arc::new(move || asker.upgrade()),
        health: Arc::new(health),
        routes: Arc::new(move || for_routes.routes()),
        plan: Arc::new(move || for_plan.plan()),
        xdp: Arc::new(move || for_xdp.report()),
        actions: Arc::new(operator),
        control: Some(plane),
        functions: Arc::new(move || for_functions.functions().host()),
        host_names: Vec::new(),
    };
    ControlThread::start(listener, admin)
        .map(Some)
        .map_err(|error| runtime("can't start the admin listener", &error))
}

/// What only the composition knows: the version, the generation, the cache.
fn state_families(publisher: &Publisher, out: &mut Exposition<'_>) {
    let snapshot = publisher.current();
    let stats = snapshot.cache.stats();
    out.family("sluice_build_info", Kind::Gauge, "1, with the version as a label.");
    out.sample("sluice_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for (name, kind, help, value) in [
        (
            "sluice_config_generation",
            Kind::Gauge,
            "Generation of the configuration served.",
            snapshot.generation,
        ),
        ("sluice_cache_entries", Kind::Gauge, "Cached responses, stale ones included.", stats.entries),
        ("sluice_cache_bytes", Kind::Gauge, "Bytes of cached responses with keys and overhead.", stats.bytes),
        ("sluice_cache_capacity_bytes", Kind::Gauge, "What the cache may hold.", stats.capacity_bytes),
        (
            "sluice_cache_evictions_total",
            Kind::Counter,
            "Responses that gave way to others.",
            stats.evictions,
        ),
        (
            "sluice_cache_insertions_total",
            Kind::Counter,
            "Responses stored under a new key.",
            stats.insertions,
        ),
        ("sluice_cache_rejections_total", Kind::Counter, "Responses too large to store.", stats.rejections),
    ] {
        out.family(name, kind, help);
        out.sample(name, &[], value);
    }
}

/// Start-up lines on stderr; tools wait for the last one.
fn announce(addresses: &[SocketAddr], plain: usize, control: Option<&ControlThread>, quick_start: bool) {
    for (at, address) in addresses.iter().enumerate() {
        let scheme = if at < plain { "http" } else { "https" };
        eprintln!("sluice: data listener {scheme}://{address}");
    }
    if let Some(control) = control {
        eprintln!("sluice: admin listener http://{}", control.address());
    }
    if let (true, Some(data)) = (quick_start, addresses.first()) {
        eprintln!("sluice: quick start; try");
        eprintln!("  curl -i http://{data}/hello");
        eprintln!("  curl -i http://{data}/users/42 -H 'x-api-key: sluice-demo-key-000001'");
        eprintln!("  curl -i 'http://{data}/cached/7?page=1'      # twice: x-cache says MISS, then HIT");
        eprintln!("  curl -i http://{data}/limited                # six times: the last is a 429");
    }
    eprintln!("sluice: ready");
}

fn stop(control: Option<ControlThread>, log: Option<LogThread>) -> Result<(), Failure> {
    if let Some(control) = control {
        control.stop().map_err(|error| runtime("the admin listener failed", &error))?;
    }
    if let Some(log) = log {
        log.stop().map_err(|error| runtime("the access log could not be finished", &error))?;
    }
    Ok(())
}
