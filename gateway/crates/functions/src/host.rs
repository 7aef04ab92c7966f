//! All functions.

use crate::config::{Config, ConfigError, Settings};
use crate::error::InvokeError;
use crate::function::{Function, Status};
use crate::logs::LogLine;
use crate::response::Response;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    functions: BTreeMap<String, Arc<Function>>,
}

impl Host {
    /// Starts the instances that are kept warm. Must be called on a tokio runtime.
    pub fn start(configs: Vec<Config>, settings: Settings) -> Result<Self, ConfigError> {
        for config in &configs {
            config.check()?;
        }
        let settings = Arc::new(settings);
        let mut functions = BTreeMap::new();
        for config in configs {
            let name = config.name.clone();
            let function = Function::start(config, Arc::clone(&settings));
            if let Some(earlier) = functions.insert(name.clone(), function) {
                earlier.close();
                return Err(ConfigError {
                    function: name.clone(),
                    field: "name",
                    expected: "one function of each name",
                    found: "two".to_owned(),
                });
            }
        }
        Ok(Self { functions })
    }

    /// Invokes a function and waits for its answer, or the answer's first piece.
    pub async fn invoke(&self, name: &str, invocation: Invocation) -> Result<Response, InvokeError> {
        let function = self.functions.get(name).ok_or(InvokeError::Unknown)?;
        function.invoke(invocation).await
    }

    /// All functions, by name.
    pub fn list(&self) -> Vec<Status> {
        self.functions.values().map(|function| function.status()).collect()
    }

    /// The last lines of a function's log.
    pub fn logs(&self, name: &str) -> Option<Vec<LogLine>> {
        self.functions.get(name).map(|function| function.logs.last())
    }

    /// Lines as they come, from now on. A follower that is slow misses some, and is told how many.
    pub fn follow(&self, name: &str) -> Option<broadcast::Receiver<LogLine>> {
        self.functions.get(name).map(|function| function.logs.follow())
    }

    /// Replaces a function's instances by new ones: the idle ones now, the busy ones when they are done.
    pub fn reload(&self, name: &str) -> bool {
        self.functions.get(name).map(|function| function.reload()).is_some()
    }

    /// Takes no more invocations, waits until those under way are done, or `patience` is over, and ends all processes.
    pub async fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        for function in self.functions.values() {
            function.close();
        }
        for function in self.functions.values() {
            function.gone(until).await;
            function.kill();
            function.gone(Instant::now() + Duration::from_secs(5)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for function in self.functions.values() {
            function.close();
        }
    }
}
