//! The keys of token issuers: fetched by a thread of their own, kept through outages, handed to every core.
//!
//! ```text
//! publisher ── want ──> keeper ── spawn ──> fetch (discovery, key set) ── fetched ──> keeper ── Order::Keys ──> cores
//! cores ─── ask ───────────^                                                            (also when nothing is new)
//! ```

use crate::cores::Order;
use sluice_dataplane::{Keyring, ProviderKeys};
use sluice_fetch::{Budget, Url, get};
use sluice_jwt::{Discovery, KeySet, MAX_DOCUMENT_BYTES, discovery_url};
use sluice_rt::Sender;
use sluice_snapshot::Provider;
use sluice_tls::ClientConfig;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How often a key set is fetched again.
const REFRESH: Duration = Duration::from_secs(600);
/// The first pause after a failure; it doubles up to [`REFRESH`].
const RETRY: Duration = Duration::from_secs(5);
/// An unknown key has a set fetched again only if it is older than this.
const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(5);
/// For one document; exchanges wait for two of them at most.
const BUDGET: Budget = Budget { timeout: Duration::from_millis(1_500), max_bytes: MAX_DOCUMENT_BYTES };

enum Event {
    Attach(Vec<Sender<Order>>),
    Want(Vec<Provider>),
    Ask(u32),
    Fetched(usize, Result<KeySet, String>),
}

/// The keeper, for the publisher.
#[derive(Clone)]
pub(crate) struct Keys(mpsc::Sender<Event>);

/// The keeper, for a core.
#[derive(Clone)]
pub(crate) struct KeyAsker(mpsc::Sender<Event>);

impl KeyAsker {
    /// Has the keys of a provider fetched, unless that was done just now.
    pub(crate) fn ask(&self, provider: u32) {
        // Once the keeper is gone, the process ends.
        let _ = self.0.send(Event::Ask(provider));
    }
}

impl Keys {
    pub(crate) fn start() -> io::Result<Self> {
        let (events, inbox) = mpsc::channel();
        let keeper = Keeper { events: events.clone(), issuers: Vec::new(), cores: Vec::new(), generation: 0 };
        Builder::new().name("sluice-keys".to_owned()).spawn(move || keeper.run(&inbox))?;
        Ok(Self(events))
    }

    pub(crate) fn asker(&self) -> KeyAsker {
        KeyAsker(self.0.clone())
    }

    /// The cores to hand keys to.
    pub(crate) fn attach(&self, cores: Vec<Sender<Order>>) {
        let _ = self.0.send(Event::Attach(cores));
    }

    /// All providers so far, by index.
    pub(crate) fn want(&self, providers: Vec<Provider>) {
        let _ = self.0.send(Event::Want(providers));
    }
}

/// What is known of one provider.
struct Issuer {
    provider: Provider,
    keys: ProviderKeys,
    /// Being fetched.
    busy: bool,
    due: Instant,
    pause: Duration,
    tried: Option<Instant>,
}

struct Keeper {
    events: mpsc::Sender<Event>,
    issuers: Vec<Issuer>,
    cores: Vec<Sender<Order>>,
    generation: u64,
}

impl Keeper {
    fn run(mut self, inbox: &mpsc::Receiver<Event>) {
        loop {
            let now = Instant::now();
            let next = self.issuers.iter().filter(|one| !one.busy).map(|one| one.due).min();
            let pause = next.map_or(REFRESH, |due| due.saturating_duration_since(now));
            match inbox.recv_timeout(pause) {
                Ok(event) => self.heard(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            for at in 0..self.issuers.len() {
                if self.issuers.get(at).is_some_and(|one| !one.busy && one.due <= now) {
                    self.fetch(at);
                }
            }
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Attach(cores) => {
                self.cores = cores;
                self.tell();
            }
            Event::Want(providers) => {
                let due = Instant::now();
                let new = providers.into_iter().skip(self.issuers.len());
                self.issuers.extend(new.map(|provider| Issuer {
                    provider,
                    keys: ProviderKeys::default(),
                    busy: false,
                    due,
                    pause: RETRY,
                    tried: None,
                }));
            }
            Event::Ask(provider) => self.asked(provider as usize),
            Event::Fetched(at, outcome) => self.fetched(at, outcome),
        }
    }

    fn asked(&mut self, at: usize) {
        let Some(issuer) = self.issuers.get_mut(at).filter(|issuer| !issuer.busy) else { return };
        if issuer.tried.is_some_and(|tried| tried.elapsed() < UNKNOWN_KEY_EVERY) {
            issuer.keys.attempts += 1;
            self.tell();
        } else {
            issuer.due = Instant::now();
        }
    }

    fn fetch(&mut self, at: usize) {
        let Some(issuer) = self.issuers.get_mut(at) else { return };
        issuer.busy = true;
        let (provider, events) = (issuer.provider.clone(), self.events.clone());
        let started = Builder::new().name("sluice-fetch".to_owned()).spawn(move || {
            let _ = events.send(Event::Fetched(at, fetched(&provider)));
        });
        if let Err(error) = started {
            self.fetched(at, Err(error.to_string()));
        }
    }

    fn fetched(&mut self, at: usize, outcome: Result<KeySet, String>) {
        let Some(issuer) = self.issuers.get_mut(at) else { return };
        let now = Instant::now();
        issuer.busy = false;
        issuer.tried = Some(now);
        issuer.keys.attempts += 1;
        let name = &issuer.provider.issuer;
        match outcome {
            Ok(set) => {
                if issuer.pause > RETRY {
                    eprintln!("sluice: note: the keys of {name} are there again");
                }
                for skipped in set.skipped() {
                    eprintln!(
                        "sluice: note: key {} of {name} is not used: {}",
                        skipped.index, skipped.reason
                    );
                }
                issuer.keys.set = Some(Arc::new(set));
                issuer.due = now + REFRESH;
                issuer.pause = RETRY;
                self.generation += 1;
            }
            Err(error) => {
                if issuer.pause == RETRY {
                    let meanwhile = match issuer.keys.set {
                        Some(_) => "those of before stay in use",
                        None => "its tokens are refused",
                    };
                    eprintln!("sluice: warning: the keys of {name} cannot be fetched: {error}: {meanwhile}");
                }
                issuer.due = now + issuer.pause;
                issuer.pause = (issuer.pause * 2).min(REFRESH);
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let providers = self.issuers.iter().map(|issuer| issuer.keys.clone()).collect();
        let ring = Arc::new(Keyring { generation: self.generation, providers });
        for core in &self.cores {
            // A core that is gone needs no keys.
            let _ = core.send(Order::Keys(Arc::clone(&ring)));
        }
    }
}

/// What servers of keys and credentials are verified with: the system's authorities, read once.
pub(crate) fn authorities() -> Result<&'static Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let make = || sluice_tls::client_config(sluice_tls::system_authorities()?, None, &[b"http/1.1"]);
    CONFIG.get_or_init(make).as_ref().map_err(Clone::clone)
}

fn fetched(provider: &Provider) -> Result<KeySet, String> {
    let document = |text: &str| {
        let url = Url::parse(text).ok_or_else(|| format!("{text} is no URL"))?;
        let tls = if url.is_https() { Some(authorities()?) } else { None };
        get(&url, tls, BUDGET).map_err(|error| format!("{text}: {error}"))
    };
    let url = match &provider.jwks_url {
        Some(url) => url.to_string(),
        None => {
            let at = discovery_url(&provider.issuer);
            let found = Discovery::parse(&document(&at)?, &provider.issuer);
            found.map_err(|error| format!("{at}: {error}"))?.jwks_uri
        }
    };
    let set = KeySet::parse(&document(&url)?).map_err(|error| format!("{url}: {error}"))?;
    if set.is_empty() { Err(format!("{url}: it has no key that can be used")) } else { Ok(set) }
}
