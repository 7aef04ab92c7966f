//! One instance: its process, its port, its deadlines.

use crate::clock::{Clock, Doing};
use crate::error::{FunctionError, InvokeError};
use crate::function::{Function, Job, TIMED_OUT, timed_out};
use crate::invoke::SOCKET_BYTES;
use crate::logs::{LogLine, Output, Source};
use crate::process::Process;
use crate::response::Response;
use crate::tail::{Begun, LogTail, Outcome};
use crate::{api, process};
use rustix::net::sockopt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Lambda's name for a process that ended by itself.
const EXIT_ERROR: &str = "Runtime.ExitError";

type Reply = oneshot::Sender<Result<Response, InvokeError>>;

/// What the Runtime API of an instance and its supervisor share.
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) function: Arc<Function>,
    output: Arc<Output>,
    /// Its id, once there is one.
    process: OnceLock<u32>,
    starts: Instant,
    state: Mutex<State>,
    clock: Mutex<Clock>,
    events: mpsc::UnboundedSender<Event>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// What is printed is logged for the caller of the last invocation.
    is_tailed: bool,
    /// How long it took to start, until its first invocation has that in its log.
    init: Option<Duration>,
}

/// The invocation under way.
pub(crate) struct Current {
    pub(crate) request_id: String,
    /// Taken once the answer has begun.
    reply: Option<Reply>,
    tailed: Option<Tailed>,
}

/// Whoever waits for an answer.
pub(crate) struct Caller {
    reply: Reply,
    tailed: Option<Tailed>,
}

/// The log of an invocation whose caller asked for it.
#[derive(Clone)]
pub(crate) struct Tailed {
    tail: Arc<LogTail>,
    output: Arc<Output>,
}

impl Tailed {
    /// The invocation has ended; all that it printed is read first.
    pub(crate) async fn end(&self, outcome: Outcome) {
        let ended = Instant::now();
        self.output.settle().await;
        self.tail.end(ended, outcome);
    }
}

impl Caller {
    /// The whole answer. A caller that asked for the log waits until it is read; the instance does not, so that nothing is
    /// lost if its connection breaks meanwhile.
    pub(crate) fn answer(self, result: Result<Response, InvokeError>) {
        match self.tailed {
            None => drop(self.reply.send(result)),
            Some(tailed) => drop(tokio::spawn(async move {
                tailed.end(Outcome::Answered).await;
                let _ = self.reply.send(result);
            })),
        }
    }

    /// The answer begins: what ends its log.
    pub(crate) fn begin(self, response: Response) -> Option<Tailed> {
        let _ = self.reply.send(Ok(response));
        self.tailed
    }
}

impl Current {
    pub(crate) fn caller(self) -> Option<Caller> {
        Some(Caller { reply: self.reply?, tailed: self.tailed })
    }

    /// It ended without an answer of its own; `said` is logged.
    async fn ended(self, shared: &Shared, said: &str, outcome: Outcome, error: InvokeError) {
        // In the order in which it happened, also for those who only look at the function's log.
        shared.output.settle().await;
        shared.output.push(Source::Host, said.to_owned());
        if let Some(tailed) = &self.tailed {
            tailed.end(outcome).await;
        }
        if let Some(reply) = self.reply {
            let _ = reply.send(Err(error));
        }
    }
}

/// What the Runtime API tells the supervisor.
pub(crate) enum Event {
    /// The timer would come too late.
    Sooner,
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It asks for an invocation.
    pub(crate) fn waits(&self) {
        if self.clock().ready_since().is_none() {
            self.state().init = Some(self.starts.elapsed());
        }
        self.waits_on(Instant::now());
    }

    /// It may wait for as long as it may from now on; it has since then.
    fn waits_on(&self, since: Instant) {
        let until = Instant::now() + Duration::from_millis(self.function.config.idle_timeout_ms);
        self.turns(Doing::Waits(since), until);
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self, doing: Doing, until: Instant) {
        if self.clock().turns(doing, until) {
            self.tell(Event::Sooner);
        }
    }

    /// An invocation begins. Where it or the one before is logged for its caller, what was printed so far is read first.
    pub(crate) async fn begin(&self, job: Job) {
        let Job { request_id, reply, tail, .. } = job;
        let tailed = tail.map(|tail| Tailed { tail, output: Arc::clone(&self.output) });
        let (was_tailed, init) = {
            let mut state = self.state();
            state.current =
                Some(Current { request_id: request_id.clone(), reply: Some(reply), tailed: tailed.clone() });
            (std::mem::replace(&mut state.is_tailed, tailed.is_some()), state.init.take())
        };
        if was_tailed || tailed.is_some() {
            self.output.settle().await;
            if let Some(Tailed { tail, .. }) = &tailed {
                let memory_mb = self.function.config.memory_mb;
                let process = self.process.get().copied();
                tail.begin(Begun { request_id, at: Instant::now(), memory_mb, process, init });
            }
            self.output.attach(tailed.map(|tailed| tailed.tail));
        }
        self.turns(Doing::Runs, Instant::now() + Duration::from_millis(self.function.config.timeout_ms));
    }

    /// The caller of an invocation, once; it is still under way.
    pub(crate) fn caller(&self, request_id: &str) -> Option<Caller> {
        let mut state = self.state();
        let current = state.current.as_mut().filter(|current| current.request_id == request_id)?;
        Some(Caller { reply: current.reply.take()?, tailed: current.tailed.clone() })
    }

    /// The invocation is over.
    pub(crate) fn finish(&self) -> Option<Current> {
        self.state().current.take()
    }

    /// The invocation has its answer; the instance is about to ask for the next one, and counts as idle already, so
    /// that a caller's next call does not start another.
    pub(crate) fn answered(&self) {
        self.finish();
        self.function.answered(self.id);
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
    // As of the connections on which answers go out: left alone, the kernel goes up to 6 MB.
    let _ = sockopt::set_socket_recv_buffer_size(&listener, SOCKET_BYTES);
    let address = listener.local_addr()?;
    let (events, received) = mpsc::unbounded_channel();
    let starts = Instant::now();
    let shared = Arc::new(Shared {
        id,
        function: Arc::clone(function),
        output: Output::new(Arc::clone(&function.logs), id),
        process: OnceLock::new(),
        starts,
        state: Mutex::default(),
        clock: Mutex::new(Clock::new(starts + Duration::from_millis(function.config.init_timeout_ms))),
        events,
    });
    let api = tokio::spawn(api::serve(listener, Arc::clone(&shared)));
    let process = process::spawn(function, id, address, api.abort_handle(), &shared.output)
        .inspect_err(|_| api.abort())?;
    if let Some(id) = process.id() {
        let _ = shared.process.set(id);
    }
    Ok((process, shared, received))
}

/// Waits for what comes first: the process's end, news from the Runtime API, a deadline.
async fn supervise(
    mut process: Process,
    shared: &Shared,
    mut events: mpsc::UnboundedReceiver<Event>,
) -> Option<FunctionError> {
    let timer = tokio::time::sleep_until(shared.clock().arm().into());
    tokio::pin!(timer);
    let long_idle = || {
        let since = shared.clock().waits_since();
        since.is_some_and(|since| !shared.function.may_stay(shared.id, since.elapsed()))
    };
    let failure = loop {
        // Registered before the look, so that what comes after it is not missed.
        let changed = shared.function.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if shared.function.killed() {
            break None;
        }
        tokio::select! {
            // What a process said before it ended counts more than how it ended.
            biased;
            event = events.recv() => match event {
                Some(Event::Sooner) => timer.as_mut().reset(shared.clock().arm().into()),
                Some(Event::InitError(error)) => break Some(error),
                Some(Event::Retire) | None => break None,
            },
            status = process.wait() => break exited(shared, status).await,
            () = timer.as_mut() => {
                let due = shared.clock().due(Instant::now());
                match due {
                    Some(Doing::Waits(_)) if long_idle() => break None,
                    Some(Doing::Waits(since)) => shared.waits_on(since),
                    Some(Doing::Starting | Doing::Runs) => break overrun(shared).await,
                    None => {}
                }
                timer.as_mut().reset(shared.clock().arm().into());
            }
            () = changed => if long_idle() {
                break None;
            }
        }
    };
    process.end().await;
    if let Some(current) = shared.finish() {
        let said = format!("RequestId: {} Error: Runtime exited without an answer", current.request_id);
        let error = FunctionError::new(EXIT_ERROR, &said);
        current.ended(shared, &said, Outcome::Error(EXIT_ERROR), InvokeError::Function(error)).await;
    }
    failure
}

/// The process has ended by itself.
async fn exited(shared: &Shared, status: std::io::Result<ExitStatus>) -> Option<FunctionError> {
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let said = |request_id: &str| format!("RequestId: {request_id} Error: Runtime exited with error: {how}");
    if let Some(current) = shared.finish() {
        let said = said(&current.request_id);
        let error = InvokeError::Function(FunctionError::new(EXIT_ERROR, &said));
        current.ended(shared, &said, Outcome::Error(EXIT_ERROR), error).await;
        return None;
    }
    // One that leaves as soon as it is ready would be started over and over.
    let at_once = shared.clock().ready_since().is_none_or(|since| since.elapsed() < Duration::from_secs(1));
    at_once.then(|| FunctionError::new(EXIT_ERROR, &said("none")))
}

/// Its time is up.
async fn overrun(shared: &Shared) -> Option<FunctionError> {
    let config = &shared.function.config;
    if shared.clock().ready_since().is_none() {
        let message = format!("instance {} did not start within {} ms", shared.id, config.init_timeout_ms);
        return Some(FunctionError::new(TIMED_OUT, &message));
    }
    if let Some(current) = shared.finish() {
        let (whole, rest) = (config.timeout_ms / 1000, config.timeout_ms % 1000 / 10);
        let said = timed_out(&current.request_id, &format!("{whole}.{rest:02} seconds"));
        let error = InvokeError::TimedOut(FunctionError::new(TIMED_OUT, &said));
        current.ended(shared, &said, Outcome::Timeout, error).await;
    }
    None
}
