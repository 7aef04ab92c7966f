//! All functions.

use crate::config::{Config, ConfigError, Settings};
use crate::error::InvokeError;
use crate::function::{Function, Status};
use crate::logs::LogLine;
use crate::response::Response;
use crate::tail::LogTail;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::broadcast;

/// What is asked of a function.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// The event: JSON.
    pub payload: Bytes,
    /// Its id; one is made if there is none.
    pub request_id: Option<String>,
    /// `X-Amzn-Trace-Id`.
    pub trace_id: Option<String>,
    /// `X-Amz-Client-Context`, as JSON.
    pub client_context: Option<String>,
    /// Whom to tell what it logs; see [`LogTail`].
    pub tail: Option<Arc<LogTail>>,
    /// When the caller stops waiting. The function goes on until its own timeout, as it does on Lambda.
    pub deadline: Option<Instant>,
}

impl Invocation {
    /// With this payload, and nothing else.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }
}

/// Runs functions until it is closed or dropped.
pub struct Host {
    functions: RwLock<BTreeMap<String, Arc<Function>>>,
    runtime: Handle,
}

/// An id for an invocation, in the form of a UUID of version 4: unique here, and not to be guessed.
pub(crate) fn new_id() -> String {
    // Its keys are random at first, and others each time.
    let random = RandomState::new();
    let (a, b) = (random.hash_one(0), random.hash_one(1));
    let (high, low) = ((a >> 16) & 0xffff, a & 0xfff);
    let variant = 0x8000 | ((b >> 48) & 0x3fff);
    format!("{:08x}-{high:04x}-4{low:03x}-{variant:04x}-{:012x}", a >> 32, b & 0xffff_ffff_ffff)
}

impl Host {
    /// Starts the instances that are kept warm. Must be called on a tokio runtime, which runs them from then on.
    ///
    /// # Errors
    /// A value that makes no sense.
    pub fn start(configs: Vec<Config>, settings: Settings) -> Result<Self, ConfigError> {
        let host = Self { functions: RwLock::default(), runtime: Handle::current() };
        host.apply(configs, settings)?;
        Ok(host)
    }

    /// Runs these functions from now on. Those that are as they were keep their instances; of those that are not, or are
    /// gone, instances end when they are done. May be called on any thread.
    ///
    /// # Errors
    /// A value that makes no sense; nothing has changed then.
    pub fn apply(&self, configs: Vec<Config>, settings: Settings) -> Result<(), ConfigError> {
        check(&configs)?;
        let settings = Arc::new(settings);
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *functions);
        for config in configs {
            let name = config.name.clone();
            let known = before.remove(&name);
            let function = match known {
                Some(known) if known.config == config && *known.settings == *settings => known,
                known => {
                    let function = Function::start(config, Arc::clone(&settings), &self.runtime);
                    if let Some(known) = known {
                        known.retire(&function);
                    }
                    function
                }
            };
            functions.insert(name, function);
        }
        before.values().for_each(|function| function.close());
        Ok(())
    }

    fn function(&self, name: &str) -> Option<Arc<Function>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<Function>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether there is such a function.
    pub fn knows(&self, name: &str) -> bool {
        self.function(name).is_some()
    }

    /// Where instances run.
    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Invokes a function and waits for its answer, or the answer's first piece.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn invoke(&self, name: &str, invocation: Invocation) -> Result<Response, InvokeError> {
        let function = self.function(name).ok_or(InvokeError::Unknown)?;
        function.invoke(invocation).await
    }

    /// All functions, by name.
    pub fn list(&self) -> Vec<Status> {
        self.all().iter().map(|function| function.status()).collect()
    }

    /// The last lines of a function's log.
    pub fn logs(&self, name: &str) -> Option<Vec<LogLine>> {
        self.function(name).map(|function| function.logs.last())
    }

    /// Lines as they come, from now on. A follower that is slow misses some, and is told how many.
    pub fn follow(&self, name: &str) -> Option<broadcast::Receiver<LogLine>> {
        self.function(name).map(|function| function.logs.follow())
    }

    /// Replaces a function's instances by new ones: the idle ones now, the busy ones when they are done.
    pub fn reload(&self, name: &str) -> bool {
        self.function(name).map(|function| function.reload()).is_some()
    }

    /// Takes no more invocations, waits until those under way are done, or `patience` is over, and ends all processes.
    pub async fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let functions = self.all();
        for function in &functions {
            function.close();
        }
        for function in &functions {
            function.gone(until).await;
            function.kill();
            function.gone(Instant::now() + Duration::from_secs(5)).await;
        }
    }
}

fn check(configs: &[Config]) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for config in configs {
        config.check()?;
        if !names.insert(&config.name) {
            return Err(ConfigError {
                function: config.name.clone(),
                field: "name",
                expected: "one function of each name",
                found: "two".to_owned(),
            });
        }
    }
    Ok(())
}

impl Drop for Host {
    fn drop(&mut self) {
        for function in self.all() {
            function.close();
        }
    }
}
