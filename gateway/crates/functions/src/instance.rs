//! One instance: its process, its port, its deadlines.

use crate::error::{FunctionError, InvokeError};
use crate::function::{Function, Job, timed_out};
use crate::logs::{LogLine, Source};
use crate::process::Process;
use crate::response::Response;
use crate::{api, process};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

type Reply = oneshot::Sender<Result<Response, InvokeError>>;

/// What the Runtime API of an instance and its supervisor share.
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) function: Arc<Function>,
    current: Mutex<Option<Current>>,
    events: mpsc::UnboundedSender<Event>,
}

/// The invocation under way.
struct Current {
    request_id: String,
    /// Taken once the answer has begun.
    reply: Option<Reply>,
}

/// What the Runtime API tells the supervisor.
pub(crate) enum Event {
    /// It waits for an invocation.
    Waits,
    /// It has one, which must end by then.
    Runs(Instant),
    /// It said why it can't start.
    InitError(FunctionError),
    /// It waits, but is to get no more.
    Retire,
}

impl Shared {
    pub(crate) fn tell(&self, event: Event) {
        // The supervisor ends before the API only with the process.
        let _ = self.events.send(event);
    }

    pub(crate) fn begin(&self, job: Job) {
        let current = Current { request_id: job.request_id, reply: Some(job.reply) };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
        self.tell(Event::Runs(Instant::now() + Duration::from_millis(self.function.config.timeout_ms)));
    }

    /// The caller of an invocation, once; it is still under way.
    pub(crate) fn reply(&self, request_id: &str) -> Option<Reply> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_mut().filter(|current| current.request_id == request_id)?.reply.take()
    }

    /// The invocation is over.
    pub(crate) fn finish(&self) -> Option<(String, Option<Reply>)> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.take().map(|current| (current.request_id, current.reply))
    }

    /// The invocation has its answer; the instance is about to ask for the next one, and counts as idle already, so
    /// that a caller's next call does not start another.
    pub(crate) fn answered(&self) {
        self.finish();
        self.function.answered(self.id);
    }

    fn log(&self, text: String) {
        self.function.logs.push(LogLine { instance: self.id, source: Source::Host, text });
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs an instance to its end.
pub(crate) async fn run(function: Arc<Function>, id: u64) {
    let failure = match start(&function, id).await {
        Ok((process, shared, events)) => supervise(process, &shared, events).await,
        Err(error) => Some(FunctionError::new("Runtime.LaunchError", &format!("instance {id}: {error}"))),
    };
    if let Some(failure) = &failure {
        let text = String::from_utf8_lossy(&failure.body).into_owned();
        function.logs.push(LogLine { instance: id, source: Source::Host, text });
    }
    function.ended(id, failure);
}

type Started = (Process, Arc<Shared>, mpsc::UnboundedReceiver<Event>);

async fn start(function: &Arc<Function>, id: u64) -> std::io::Result<Started> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (events, received) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared { id, function: Arc::clone(function), current: Mutex::default(), events });
    let api = tokio::spawn(api::serve(listener, Arc::clone(&shared)));
    let process = process::spawn(function, id, address, api.abort_handle()).inspect_err(|_| api.abort())?;
    Ok((process, shared, received))
}

/// Waits for what comes first: the process's end, news from the Runtime API, a deadline.
async fn supervise(
    mut process: Process,
    shared: &Shared,
    mut events: mpsc::UnboundedReceiver<Event>,
) -> Option<FunctionError> {
    let config = &shared.function.config;
    let mut deadline = Some(Instant::now() + Duration::from_millis(config.init_timeout_ms));
    let (mut ready_since, mut idle_since) = (None, None);
    let failure = loop {
        let until =
            deadline.unwrap_or_else(|| Instant::now() + Duration::from_millis(config.idle_timeout_ms));
        if shared.function.killed() {
            break None;
        }
        tokio::select! {
            // What a process said before it ended counts more than how it ended.
            biased;
            event = events.recv() => match event {
                Some(Event::Waits) => {
                    (deadline, idle_since) = (None, Some(Instant::now()));
                    ready_since = ready_since.or(idle_since);
                }
                Some(Event::Runs(until)) => (deadline, idle_since) = (Some(until), None),
                Some(Event::InitError(error)) => break Some(error),
                Some(Event::Retire) | None => break None,
            },
            status = process.wait() => break exited(shared, status, ready_since),
            () = tokio::time::sleep_until(until.into()), if deadline.is_some() => {
                break overrun(shared, ready_since.is_some());
            }
            () = tokio::time::sleep_until(until.into()), if deadline.is_none() => {
                if idle_since.is_some_and(|since| !shared.function.may_stay(shared.id, since.elapsed())) {
                    break None;
                }
            }
            () = shared.function.changed() => {
                if idle_since.is_some_and(|since| !shared.function.may_stay(shared.id, since.elapsed())) {
                    break None;
                }
            }
        }
    };
    process.end().await;
    if let Some((request_id, Some(reply))) = shared.finish() {
        let message = format!("RequestId: {request_id} Error: Runtime exited without an answer");
        let _ = reply.send(Err(InvokeError::Function(FunctionError::new("Runtime.ExitError", &message))));
    }
    failure
}

/// The process has ended by itself.
fn exited(
    shared: &Shared,
    status: std::io::Result<ExitStatus>,
    ready_since: Option<Instant>,
) -> Option<FunctionError> {
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let error = |request_id: &str| {
        let message = format!("RequestId: {request_id} Error: Runtime exited with error: {how}");
        FunctionError::new("Runtime.ExitError", &message)
    };
    if let Some((request_id, reply)) = shared.finish() {
        let error = error(&request_id);
        shared.log(String::from_utf8_lossy(&error.body).into_owned());
        if let Some(reply) = reply {
            let _ = reply.send(Err(InvokeError::Function(error)));
        }
        return None;
    }
    // One that leaves as soon as it is ready would be started over and over.
    let at_once = ready_since.is_none_or(|since| since.elapsed() < Duration::from_secs(1));
    at_once.then(|| error("none"))
}

/// Its time is up.
fn overrun(shared: &Shared, was_ready: bool) -> Option<FunctionError> {
    let config = &shared.function.config;
    if !was_ready {
        let message = format!("instance {} did not start within {} ms", shared.id, config.init_timeout_ms);
        return Some(FunctionError::new("Sandbox.Timedout", &message));
    }
    if let Some((request_id, reply)) = shared.finish() {
        let (whole, rest) = (config.timeout_ms / 1000, config.timeout_ms % 1000 / 10);
        let error = timed_out(&request_id, &format!("{whole}.{rest:02} seconds"));
        shared.log(String::from_utf8_lossy(&error.body).into_owned());
        if let Some(reply) = reply {
            let _ = reply.send(Err(InvokeError::TimedOut(error)));
        }
    }
    None
}
