//! Trying out a method (TestInvokeMethod) or an authorizer (TestInvokeAuthorizer).
//!
//! ```text
//! control thread ── compile the method alone ──> a thread with an engine and a data core of its own
//!                                                  │ one connection over the loopback device
//!   outcome  <── status, headers, body, log ───────┘
//! ```
//! The request goes the way of all requests: the same code parses, validates, maps and asks the backend. But no core that
//! serves takes part in it, so that neither a slow template nor a slow backend is felt by anybody.

use crate::publish::Publisher;
use crate::slots::HubSlots;
use sluice_compile::Tried;
use sluice_control::{Subject, Trial, TrialError, TrialOutcome};
use sluice_dataplane::{Connections, Core};
use sluice_rt::{Listener, Stream};
use sluice_server::{Active, serve_one};
use sluice_telemetry::{Hub, Options};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::Builder;
use std::time::Instant;

/// At the same time: each has a thread.
const AT_ONCE: usize = 4;
/// Beyond the integration's own timeout.
const PATIENCE_MS: u64 = 320_000;
/// No answer is longer: an integration's is at most 10 MB, and base64 may have been put around it.
const ANSWER_MAX_BYTES: usize = 32 << 20;
/// The names that AWS's test invocations are called by.
const HOST: &str = "testPrefix.testDomainName";
/// Of the connection, not of the answer.
const OF_CONNECTION: [&str; 4] = ["connection", "content-length", "date", "x-amzn-requestid"];

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Counts one for as long as it lives.
struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        let before = UNDER_WAY.fetch_add(1, Ordering::AcqRel);
        let turn = Self;
        (before < AT_ONCE).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What it tries.
pub(crate) fn tried(trial: &Trial) -> Tried<'_> {
    match &trial.subject {
        Subject::Method { resource_id, method } => Tried::Method(resource_id, method),
        Subject::Authorizer { id } => Tried::Authorizer(id),
    }
}

/// Tries it out.
pub(crate) fn run(
    publisher: &Publisher,
    engine: &sluice_rt::Config,
    trial: &Trial,
) -> Result<TrialOutcome, TrialError> {
    let turn = Turn::take().ok_or(TrialError::Busy)?;
    let hub = Hub::new(1, small());
    let (snapshot, tls, notes) = publisher.compile_trial(trial, &mut HubSlots(Arc::clone(&hub)))?;
    let config = sluice_rt::Config { entries: 256, buffers: 64, ..engine.clone() };
    let request = request(trial);
    let (tell, told) = mpsc::channel();
    let started = Instant::now();
    let work = move || {
        let _turn = turn;
        let served = sluice_rt::run(config, move || async move {
            let core = Core::new(
                0,
                snapshot,
                tls,
                hub.core(0),
                Arc::new(Connections::new(1)),
                crate::cores::random_seed(),
                crate::cores::unix_ns(),
            );
            core.keep_log(notes);
            let answer = exchange(&core, request).await;
            // Nobody listens where the caller ran out of patience.
            let _ = tell.send(answer.map(|answer| (answer, core.take_log())));
        });
        if let Err(error) = served {
            eprintln!("sluice: warning: a method could not be tried out: {error}");
        }
    };
    let failed = |error: &dyn std::fmt::Display| TrialError::Failed(error.to_string());
    Builder::new().name("sluice-trial".into()).spawn(work).map_err(|error| failed(&error))?;
    let (answer, log) = told
        .recv()
        .map_err(|_| TrialError::Failed("the method could not be tried out".to_owned()))?
        .map_err(|error| failed(&error))?;
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (log, vouched) = log.ok_or_else(|| TrialError::Invalid("Invalid path specified".to_owned()))?;
    let outcome = outcome(&answer).ok_or_else(|| TrialError::Failed("the answer is not HTTP".to_owned()))?;
    Ok(TrialOutcome { latency_ms, log, vouched, ..outcome })
}

fn small() -> Options {
    Options { routes_max: 8, upstreams_max: 8, limits_max: 8, keys_max: 8, ..Options::default() }
}

/// The request as it is sent.
fn request(trial: &Trial) -> Vec<u8> {
    let (api, stage) = (&trial.api.id, tried(trial).stage());
    let mut out = format!("{} /_aws/execute-api/{api}/{stage}{} HTTP/1.1\r\n", trial.verb, trial.target);
    out.push_str("Host: ");
    out.push_str(HOST);
    out.push_str("\r\nConnection: close\r\n");
    for (name, value) in &trial.headers {
        out.push_str(name);
        out.push_str(": ");
        out.push_str(value);
        out.push_str("\r\n");
    }
    if !trial.body.is_empty() {
        out.push_str(&format!("Content-Length: {}\r\n", trial.body.len()));
    }
    out.push_str("\r\n");
    out.push_str(&trial.body);
    out.into_bytes()
}

/// Sends the request to the core over a connection of its own; all that comes back.
async fn exchange(core: &Rc<Core>, request: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let socket = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let listener = Listener::new(socket)?;
    let deadline_ms = sluice_rt::now_ms() + PATIENCE_MS;
    let client = Stream::connect(listener.local_addr(), deadline_ms).await?;
    client.write(&request);
    client.flush();
    let accepted = listener.accept().await?;
    drop(listener);
    let (active, answer) = (Rc::new(Active::default()), Rc::new(RefCell::new(Vec::new())));
    sluice_rt::spawn(serve_one(accepted, Rc::clone(core), core.scratch(), active));
    client.set_deadline_ms(Some(deadline_ms));
    while let Some(bytes) = client.recv().await? {
        if answer.borrow().len() + bytes.len() > ANSWER_MAX_BYTES {
            return Err(std::io::Error::other("the answer is too long"));
        }
        answer.borrow_mut().extend_from_slice(&bytes);
    }
    Ok(answer.take())
}

/// Reads an answer that ends with its connection.
fn outcome(answer: &[u8]) -> Option<TrialOutcome> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(answer.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let own = |name: &str| OF_CONNECTION.iter().any(|one| one.eq_ignore_ascii_case(name));
    let headers = pairs.filter(|(name, _)| !own(name)).collect();
    let body = String::from_utf8_lossy(answer.get(end + 4..)?).into_owned();
    Some(TrialOutcome { status, headers, body, ..TrialOutcome::default() })
}
