//! What outlives a reload: token buckets, client tables, the cache, the count of publications.

use crate::resolve::Names;
use crate::rest::{self, Backends, QuotaCounted, QuotaList};
use crate::tokens::Providers;
use sluice_cache::{Cache, Flights};
use sluice_throttle::{ClientTable, Pool, Rate};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Clients of one `client` limit that can owe tokens at the same time without sharing: 8 MiB a limit.
const CLIENTS_PER_LIMIT: usize = 1 << 18;

/// Keeps state by the names of the configuration. One for the life of the process.
///
/// A bucket whose limit, route or key disappears is kept, because its index must not be given to another and because a
/// limit that returns should not be full again: memory grows with the distinct names ever configured, about 100 bytes each.
#[derive(Debug, Default)]
pub struct Registry {
    generation: u64,
    pools: HashMap<PoolName, Pooled>,
    clients: HashMap<Arc<str>, (Arc<ClientTable>, Rate)>,
    cache: Option<(u64, Arc<Cache>)>,
    flights: Arc<Flights>,
    /// What checks found out last about the targets of upstream groups that are in use.
    health: HashMap<ServerName, Arc<AtomicBool>>,
    /// Stages of REST APIs as they were compiled last.
    pub(crate) rest: rest::Known,
    /// What of the settings they were compiled with.
    pub(crate) basis: rest::Basis,
    pub(crate) backends: Backends,
    pub(crate) stages: rest::StageIds,
    pub(crate) rest_keys: rest::KnownKeys,
    pub(crate) quotas: rest::Quotas,
    pub(crate) providers: Providers,
    /// Hosts of upstream groups, as they were looked up when the settings were compiled.
    pub(crate) names: Names,
    pub(crate) function_host: Option<FunctionHost>,
    /// What the process has found around it to sign requests to AWS with.
    pub(crate) credentials: Option<rest::Credentials>,
    /// Something that was compiled had no other credentials than those.
    pub(crate) lacks_credentials: bool,
}

/// Where the functions that the gateway hosts are invoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionHost {
    /// On the loopback interface.
    pub address: SocketAddr,
    /// What invocations must show.
    pub token: sluice_snapshot::Secret,
}

/// A target: the name of its group, and its address.
pub(crate) type ServerName = (Arc<str>, SocketAddr);

/// Whose bucket it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PoolName {
    /// A limit's only one.
    Global { limit: Arc<str> },
    /// Of a route.
    Route { limit: Arc<str>, route: Arc<str> },
    /// Of a key on the routes that name the limit.
    Key { limit: Arc<str>, key: Arc<str> },
    /// Of a key that names the limit itself, on all routes. Apart from [`PoolName::Key`], so that a limit named by both
    /// sides does not charge a request twice.
    KeyItself { limit: Arc<str>, key: Arc<str> },
    /// Of a method of a REST API's stage.
    Method { route: Arc<str> },
    /// Of a key under a usage plan.
    Plan { plan: Arc<str>, key: Arc<str> },
    /// Of a key under a usage plan on one method: `api/stage/path/METHOD`.
    PlanMethod { plan: Arc<str>, key: Arc<str>, method: Arc<str> },
    /// The account's, for all REST APIs.
    Account,
}

#[derive(Debug)]
struct Pooled {
    index: u32,
    pool: Arc<Pool>,
    rate: Rate,
}

impl Registry {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one that leads to the same functions, with the same credentials.
    #[must_use]
    pub fn apart(&self) -> Self {
        let (function_host, credentials) = (self.function_host.clone(), self.credentials.clone());
        Self { function_host, credentials, ..Self::default() }
    }

    /// Tells where hosted functions are invoked: what is compiled from now on leads there.
    pub fn set_function_host(&mut self, host: FunctionHost) {
        self.function_host = Some(host);
    }

    /// Sets what requests to AWS are signed with, where the configuration has nothing; `true`: it is not what it was.
    pub fn set_credentials(&mut self, credentials: Option<rest::Credentials>) -> bool {
        std::mem::replace(&mut self.credentials, credentials) != self.credentials
    }

    /// Whether something was compiled that the configuration has no credentials for.
    #[must_use]
    pub const fn lacks_credentials(&self) -> bool {
        self.lacks_credentials
    }

    /// Hosts and ports of the backends of REST APIs, to be looked up again now and then.
    pub fn backend_hosts(&self) -> Vec<(String, u16)> {
        self.backends.hosts()
    }

    /// Takes in what was looked up. `true`: some backend has moved, so that a new snapshot is due.
    pub fn backends_moved(&mut self, found: &[Vec<SocketAddr>]) -> bool {
        self.backends.moved(found)
    }

    /// The quotas of usage plans, as they come.
    pub fn quotas(&self) -> QuotaList {
        self.quotas.list.clone()
    }

    /// Counts that were kept: quotas that are compiled from now on begin with them.
    pub fn restore_quotas(&mut self, kept: impl IntoIterator<Item = QuotaCounted>) {
        self.quotas.restore(kept);
    }

    /// The generation of the last snapshot, 0 before the first.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) const fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// The bucket of that name with its dense index. A new rate applies to an old bucket at once.
    pub(crate) fn pool(&mut self, name: PoolName, rate: Rate, now_ns: u64) -> (u32, Arc<Pool>) {
        let index = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        let pooled =
            self.pools.entry(name).or_insert_with(|| Pooled { index, pool: Pool::new(rate, now_ns), rate });
        if pooled.rate != rate {
            pooled.pool.set_rate(rate);
            pooled.rate = rate;
        }
        (pooled.index, Arc::clone(&pooled.pool))
    }

    /// The client table of a limit.
    pub(crate) fn clients(&mut self, limit: &Arc<str>, rate: Rate) -> Arc<ClientTable> {
        let make = || (ClientTable::new(rate, CLIENTS_PER_LIMIT), rate);
        let (table, known) = self.clients.entry(Arc::clone(limit)).or_insert_with(make);
        if *known != rate {
            table.set_rate(rate);
            *known = rate;
        }
        Arc::clone(table)
    }

    /// The cache; a new and empty one when the capacity changes.
    pub(crate) fn cache(&mut self, capacity_bytes: u64) -> Arc<Cache> {
        match &self.cache {
            Some((known, cache)) if *known == capacity_bytes => Arc::clone(cache),
            _ => {
                let cache = Arc::new(Cache::new(capacity_bytes));
                self.cache = Some((capacity_bytes, Arc::clone(&cache)));
                cache
            }
        }
    }

    /// What is known of the health of targets. Those that are still in use have to be kept again.
    pub(crate) fn take_health(&mut self) -> HashMap<ServerName, Arc<AtomicBool>> {
        std::mem::take(&mut self.health)
    }

    pub(crate) fn keep_health(&mut self, name: ServerName, up: Arc<AtomicBool>) {
        self.health.insert(name, up);
    }

    pub(crate) fn flights(&self) -> Arc<Flights> {
        Arc::clone(&self.flights)
    }
}
