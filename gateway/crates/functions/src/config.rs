//! What a function is, as values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What runs the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// `node` of the path, with the bootstrap built in. Handlers are `file.export`.
    Node,
    /// `python3` of the path, with the bootstrap built in. Handlers are `module.function`.
    Python,
    /// The executable `bootstrap` of the directory, which speaks the Runtime API itself.
    Provided,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name: letters, digits, `-` and `_`, at most 64.
    pub name: String,
    /// What runs it.
    pub runtime: Runtime,
    /// Where the code starts; its form is the runtime's.
    pub handler: String,
    /// Where the code is.
    pub directory: PathBuf,
    /// More environment variables. Lambda's own can't be replaced.
    pub environment: BTreeMap<String, String>,
    /// Memory for each instance: the limit of its cgroup, or else of its data segments.
    pub memory_mb: u32,
    /// How long one invocation may run.
    pub timeout_ms: u64,
    /// How long an instance may take until it asks for its first invocation.
    pub init_timeout_ms: u64,
    /// How many instances are kept warm.
    pub min_instances: usize,
    /// How many there may be; more invocations at once are throttled.
    pub max_instances: usize,
    /// How long an instance above the minimum may be idle.
    pub idle_timeout_ms: u64,
    /// Whether a change in the directory replaces the instances: development mode.
    pub reload: bool,
}

impl Config {
    /// A function with the defaults: 128 MB, 3 s as in Lambda, up to 16 instances, none kept.
    pub fn new(
        name: impl Into<String>,
        runtime: Runtime,
        handler: impl Into<String>,
        directory: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            runtime,
            handler: handler.into(),
            directory: directory.into(),
            environment: BTreeMap::new(),
            memory_mb: 128,
            timeout_ms: 3_000,
            init_timeout_ms: 10_000,
            min_instances: 0,
            max_instances: 16,
            idle_timeout_ms: 300_000,
            reload: false,
        }
    }

    /// Whether the values make sense together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let error = |field, expected, found: String| {
            Err(ConfigError { function: self.name.clone(), field, expected, found })
        };
        let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(named) {
            return error("name", "1 to 64 letters, digits, - and _", format!("{:?}", self.name));
        }
        if self.runtime != Runtime::Provided && !self.handler.contains('.') {
            return error("handler", "file.function", format!("{:?}", self.handler));
        }
        if !self.directory.is_dir() {
            return error("directory", "a directory", self.directory.display().to_string());
        }
        if self.max_instances == 0 || self.max_instances > 1000 {
            return error("max_instances", "1 to 1000", self.max_instances.to_string());
        }
        if self.min_instances > self.max_instances {
            return error("min_instances", "at most max_instances", self.min_instances.to_string());
        }
        if !(1..=900_000).contains(&self.timeout_ms) {
            return error("timeout_ms", "1 to 900000", self.timeout_ms.to_string());
        }
        if self.memory_mb < 32 {
            return error("memory_mb", "at least 32", self.memory_mb.to_string());
        }
        match self.environment.keys().find(|key| key.is_empty() || key.contains(['=', '\0'])) {
            Some(key) => error("environment", "names without = and NUL", format!("{key:?}")),
            None => Ok(()),
        }
    }
}

/// What all functions share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// User and group of the processes; changing to them takes root.
    pub user: Option<(u32, u32)>,
    /// A cgroup of version 2 that is ours to make groups in, with the memory controller enabled for them.
    pub cgroup: Option<PathBuf>,
    /// How many lines of each function's log are kept.
    pub log_lines: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            user: None,
            cgroup: None,
            log_lines: 1_000,
        }
    }
}

/// A value that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The function's name.
    pub function: String,
    /// Which value.
    pub field: &'static str,
    /// What was expected.
    pub expected: &'static str,
    /// What was found.
    pub found: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, field, expected, found } = self;
        write!(f, "function {function:?}: {field}: expected {expected}, found {found}")
    }
}

impl std::error::Error for ConfigError {}
