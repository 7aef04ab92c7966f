//! The functions that the gateway hosts: their thread, and `sluice functions`.
//!
//! They run on a tokio runtime of their own, on one thread beside the data cores. The cores invoke them as they invoke those
//! of AWS, by Lambda's Invoke API, at a listener on the loopback interface that asks for a token.

use crate::Failure;
use crate::args::FunctionsCommand;
use crate::credentials;
use crate::operate::{read, refused};
use sluice_compile::FunctionHost;
use sluice_config::{self as config, Position, Severity};
use sluice_control::{FunctionInfo, client, function_table};
use sluice_functions::{Config, Host, Runtime, Settings, log_text};
use sluice_snapshot::Secret;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// The functions of this process; started with the first of them.
#[derive(Default)]
pub(crate) struct Functions {
    running: Mutex<Option<Running>>,
}

struct Running {
    host: Arc<Host>,
    at: FunctionHost,
    stop: oneshot::Sender<Duration>,
    thread: JoinHandle<io::Result<()>>,
}

/// A configuration's functions, checked.
pub(crate) struct Wanted {
    configs: Vec<Config>,
    settings: Settings,
}

/// Checks the functions of a configuration.
pub(crate) fn wanted(settings: &config::Settings) -> Result<Wanted, Vec<String>> {
    let (mut configs, mut found) = (Vec::new(), Vec::new());
    for function in &settings.functions {
        let config::Function::Hosted { name, code } = function else { continue };
        let config = hosted(&name.value, code);
        if let Err(error) = config.check() {
            let at = if error.field == "directory" { code.directory.at } else { name.at };
            let message = format!("`{}` expects {}, found {}", error.field, error.expected, error.found);
            found.push(settings.diagnostic(Severity::Error, at, message, None).to_string());
        }
        configs.push(config);
    }
    if let Some((user, _)) = settings.lambda.user
        && !rustix::process::geteuid().is_root()
        && rustix::process::geteuid().as_raw() != user
    {
        let at = settings.functions.first().map_or(Position { line: 1, column: 1 }, |first| first.name().at);
        let message = "`lambda.user_id` takes root".to_owned();
        found.push(settings.diagnostic(Severity::Error, at, message, None).to_string());
    }
    if !found.is_empty() {
        return Err(found);
    }
    Ok(Wanted {
        configs,
        settings: Settings {
            region: settings.aws.region.clone(),
            account: settings.aws.account_id.clone(),
            user: settings.lambda.user,
            cgroup: settings.lambda.cgroup.clone(),
            log_lines: settings.lambda.log_lines,
        },
    })
}

fn hosted(name: &str, code: &config::Code) -> Config {
    let runtime = match code.runtime {
        config::Runtime::Node => Runtime::Node,
        config::Runtime::Python => Runtime::Python,
        config::Runtime::Provided => Runtime::Provided,
    };
    Config {
        environment: code.environment.iter().cloned().collect(),
        memory_mb: code.memory_mb,
        timeout_ms: code.timeout_ms,
        init_timeout_ms: code.init_timeout_ms,
        min_instances: code.min_instances,
        max_instances: code.max_instances,
        idle_timeout_ms: code.idle_timeout_ms,
        reload: code.reload,
        ..Config::new(name, runtime, code.handler.as_str(), &code.directory.value)
    }
}

impl Functions {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where they are invoked, if any are wanted; starts the thread if there is none yet.
    pub(crate) fn host_for(&self, wanted: &Wanted) -> Result<Option<FunctionHost>, Vec<String>> {
        let mut running = self.running();
        if running.is_none() && !wanted.configs.is_empty() {
            let started =
                start().map_err(|error| vec![format!("can't start the host of functions: {error}")])?;
            *running = Some(started);
        }
        Ok(running.as_ref().map(|running| running.at.clone()))
    }

    /// Runs these from now on.
    pub(crate) fn apply(&self, wanted: Wanted) {
        if let Some(running) = &*self.running()
            && let Err(error) = running.host.apply(wanted.configs, wanted.settings)
        {
            // Checked before; a directory may have gone meanwhile.
            eprintln!("sluice: warning: {error}: the functions stay as they were");
        }
    }

    /// For those who look.
    pub(crate) fn host(&self) -> Option<Arc<Host>> {
        self.running().as_ref().map(|running| Arc::clone(&running.host))
    }

    /// Ends all processes; invocations under way have `patience`.
    pub(crate) fn close(&self, patience: Duration) -> Result<(), Failure> {
        let Some(Running { stop, thread, .. }) = self.running().take() else { return Ok(()) };
        let _ = stop.send(patience);
        match thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Runtime(format!("the host of functions failed: {error}"))),
            Err(_) => Err(Failure::Runtime("the host of functions panicked".to_owned())),
        }
    }
}

fn start() -> io::Result<Running> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let token = token()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().thread_name("sluice-functions").build()?;
    let (stop, stopped) = oneshot::channel::<Duration>();
    let (tell, told) = mpsc::channel();
    let shown = token.clone();
    let thread = std::thread::Builder::new().name("sluice-functions".into()).spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let host = Host::start(Vec::new(), Settings::default()).map_err(io::Error::other)?;
            let host = Arc::new(host);
            let _ = tell.send(Arc::clone(&host));
            tokio::select! {
                () = sluice_functions::serve(listener, Arc::clone(&host), &shown) => Ok(()),
                patience = stopped => {
                    host.close(patience.unwrap_or_default()).await;
                    Ok(())
                }
            }
        })
    })?;
    let host = told.recv().map_err(|_| io::Error::other("its thread ended"))?;
    Ok(Running { host, at: FunctionHost { address, token: Secret::new(token) }, stop, thread })
}

/// 256 bits that nobody guesses.
fn token() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut token = String::with_capacity(64);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    Ok(token)
}

/// `sluice functions …`.
pub(crate) fn dispatch(command: FunctionsCommand) -> Result<(), Failure> {
    match command {
        FunctionsCommand::List { admin, json } => list(&admin, json),
        FunctionsCommand::Invoke { name, payload, payload_file, event, tail, admin } => {
            let payload = match payload_file {
                None => payload,
                Some(file) if file.as_os_str() == "-" => io::read_to_string(io::stdin())
                    .map_err(|error| Failure::Runtime(format!("can't read standard input: {error}")))?,
                Some(file) => std::fs::read_to_string(&file)
                    .map_err(|error| Failure::Runtime(format!("can't read {}: {error}", file.display())))?,
            };
            let more: &[_] = match (event, tail) {
                (true, _) => &[("x-amz-invocation-type", "Event")],
                (false, true) => &[("x-amz-log-type", "Tail")],
                (false, false) => &[],
            };
            invoke(&admin, &name, &payload, more)
        }
        FunctionsCommand::Logs { name, follow, admin } => {
            let path = format!("/functions/{}/logs?follow={follow}", in_path(&name)?);
            client::admin_follow(&admin, &path, &mut |line| println!("{line}")).map_err(Failure::Runtime)
        }
    }
}

fn list(admin: &str, json: bool) -> Result<(), Failure> {
    let (body, functions) = read::<Vec<FunctionInfo>>(admin, client::admin_get(admin, "/functions"))?;
    if json {
        println!("{body}");
    } else {
        print!("{}", function_table(&functions));
    }
    Ok(())
}

fn in_path(name: &str) -> Result<&str, Failure> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(named) {
        let message = format!("expected the name of a function (letters, digits, - and _), found \"{name}\"");
        return Err(Failure::Runtime(message));
    }
    Ok(name)
}

fn invoke(admin: &str, name: &str, payload: &str, more: &[(&str, &str)]) -> Result<(), Failure> {
    let path = format!("/functions/{}/invoke", in_path(name)?);
    let signer = credentials::of_operator();
    let answer = client::admin_post_json_as(admin, &path, more, payload, signer.as_ref());
    let answer = answer.map_err(Failure::Runtime)?;
    if let Some(log) = answer.header("x-amz-log-result").and_then(log_text) {
        eprint!("{log}");
    }
    match answer.status {
        200 if answer.header("x-amz-function-error").is_some() => Err(Failure::Runtime(answer.body)),
        200 => {
            println!("{}", answer.body);
            Ok(())
        }
        202 => Ok(()),
        status => Err(refused(status, &answer.body)),
    }
}
