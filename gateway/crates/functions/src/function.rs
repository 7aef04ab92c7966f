//! One function: its queue and its instances.

use crate::config::{Config, Settings};
use crate::error::{FunctionError, InvokeError};
use crate::host::{Invocation, new_id};
use crate::logs::Logs;
use crate::response::Response;
use crate::tail::LogTail;
use crate::{MAX_PAYLOAD_BYTES, instance, watch};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

/// How long a function waits after an instance failed to start; doubled for each failure in a row.
const BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// An invocation that waits for an instance.
pub(crate) struct Job {
    pub(crate) request_id: String,
    pub(crate) payload: Bytes,
    pub(crate) trace_id: String,
    pub(crate) client_context: Option<String>,
    pub(crate) tail: Option<Arc<LogTail>>,
    pub(crate) reply: oneshot::Sender<Result<Response, InvokeError>>,
}

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Idle,
    Busy,
}

/// What a function does, for those who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The function's name.
    pub name: String,
    /// Instances that have not asked for an invocation yet.
    pub starting: usize,
    /// Instances that wait for one.
    pub idle: usize,
    /// Instances that run one.
    pub busy: usize,
    /// Invocations that wait for an instance.
    pub queued: usize,
    /// Invocations so far.
    pub invocations: u64,
    /// Those that ended in a function error.
    pub errors: u64,
    /// Those that were throttled.
    pub throttles: u64,
    /// Instances that were started.
    pub started: u64,
    /// Why the last instance failed to start, if none has started since.
    pub failure: Option<FunctionError>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    instances: BTreeMap<u64, Phase>,
    /// Instances from before this number are out of date.
    current_from: u64,
    started: u64,
    failures: u32,
    blocked_until: Option<Instant>,
    failure: Option<FunctionError>,
    closing: bool,
    killed: bool,
    invocations: u64,
    errors: u64,
    throttles: u64,
}

impl State {
    fn count(&self, phase: Phase) -> usize {
        self.instances.values().filter(|found| **found == phase).count()
    }

    fn blocked(&self) -> bool {
        self.blocked_until.is_some_and(|until| Instant::now() < until)
    }
}

pub(crate) struct Function {
    pub(crate) config: Config,
    pub(crate) settings: Arc<Settings>,
    pub(crate) arn: String,
    pub(crate) logs: Arc<Logs>,
    state: Mutex<State>,
    /// A job came, which one instance is to take.
    jobs: Notify,
    /// Instances are to end.
    changed: Notify,
    /// An instance ended.
    ended: Notify,
    ids: RandomState,
    /// Where instances run: whoever invokes may be elsewhere.
    runtime: Handle,
}

impl Function {
    pub(crate) fn start(config: Config, settings: Arc<Settings>, runtime: &Handle) -> Arc<Self> {
        let logs = Arc::new(Logs::new(settings.log_lines));
        let (region, account) = (&settings.region, &settings.account);
        let function = Arc::new(Self {
            arn: format!("arn:aws:lambda:{region}:{account}:function:{}", config.name),
            config,
            settings,
            logs,
            state: Mutex::default(),
            jobs: Notify::new(),
            changed: Notify::new(),
            ended: Notify::new(),
            ids: RandomState::new(),
            runtime: runtime.clone(),
        });
        function.scale();
        if function.config.reload {
            runtime.spawn(watch::run(Arc::downgrade(&function), function.config.directory.clone()));
        }
        function
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn invoke(self: &Arc<Self>, invocation: Invocation) -> Result<Response, InvokeError> {
        if invocation.payload.len() > MAX_PAYLOAD_BYTES {
            return Err(InvokeError::PayloadTooLarge);
        }
        let deadline = invocation.deadline;
        let (reply, answer) = oneshot::channel();
        let request_id = self.enqueue(invocation, reply)?;
        self.jobs.notify_one();
        self.scale();
        let answer = match deadline {
            None => answer.await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    let said = timed_out(&request_id, "the caller's deadline");
                    return Err(InvokeError::TimedOut(FunctionError::new(TIMED_OUT, &said)));
                }
            },
        };
        let answer =
            answer.unwrap_or_else(|_| Err(InvokeError::Unavailable("the function is closing".to_owned())));
        if answer.is_err() {
            self.lock().errors += 1;
        }
        answer
    }

    fn enqueue(
        &self,
        invocation: Invocation,
        reply: oneshot::Sender<Result<Response, InvokeError>>,
    ) -> Result<String, InvokeError> {
        let mut state = self.lock();
        state.invocations += 1;
        if state.closing {
            return Err(InvokeError::Unavailable("the function is closing".to_owned()));
        }
        // Callers that have gone wait no more.
        state.queue.retain(|job| !job.reply.is_closed());
        if state.queue.len() + state.count(Phase::Busy) >= self.config.max_instances {
            state.throttles += 1;
            return Err(InvokeError::Throttled);
        }
        if let Some(failure) = state.failure.clone().filter(|_| state.instances.is_empty() && state.blocked())
        {
            state.errors += 1;
            return Err(InvokeError::Function(failure));
        }
        let number = state.invocations;
        let request_id = invocation.request_id.unwrap_or_else(new_id);
        state.queue.push_back(Job {
            request_id: request_id.clone(),
            payload: invocation.payload,
            trace_id: invocation.trace_id.unwrap_or_else(|| self.new_trace_id(number)),
            client_context: invocation.client_context,
            tail: invocation.tail,
            reply,
        });
        Ok(request_id)
    }

    fn new_trace_id(&self, number: u64) -> String {
        let (a, b) = (self.ids.hash_one((2, number)), self.ids.hash_one((3, number)));
        format!("Root=1-{:08x}-{a:016x}{:08x};Sampled=0", instance::now_ms() / 1000, b & 0xffff_ffff)
    }

    /// Starts what is missing: the minimum, and one for each job that nobody waits for.
    fn scale(self: &Arc<Self>) {
        let mut starting = Vec::new();
        {
            let mut state = self.lock();
            if state.closing || state.blocked() {
                return;
            }
            let coming = |state: &State| state.count(Phase::Starting) + state.count(Phase::Idle);
            while state.instances.len() < self.config.max_instances
                && (state.instances.len() < self.config.min_instances || state.queue.len() > coming(&state))
            {
                let id = state.started;
                state.started += 1;
                state.instances.insert(id, Phase::Starting);
                starting.push(id);
            }
        }
        for id in starting {
            self.runtime.spawn(instance::run(Arc::clone(self), id));
        }
    }

    /// Waits for a job; nothing if the instance is to end.
    pub(crate) async fn take(&self, id: u64) -> Option<Job> {
        loop {
            // Registered before the look, so that what comes after it is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.closing || id < state.current_from || !state.instances.contains_key(&id) {
                    // If it was told of a job, that is another's.
                    self.jobs.notify_one();
                    return None;
                }
                if state.instances.insert(id, Phase::Idle) == Some(Phase::Starting) {
                    state.failures = 0;
                    state.failure = None;
                    state.blocked_until = None;
                }
                while let Some(job) = state.queue.pop_front() {
                    if !job.reply.is_closed() {
                        state.instances.insert(id, Phase::Busy);
                        if !state.queue.is_empty() {
                            // Of two jobs that came before anybody waited, one was told.
                            self.jobs.notify_one();
                        }
                        return Some(job);
                    }
                }
            }
            // Whoever is told of a job and then does not wait any more hands that on (`Notify::notify_one`).
            tokio::select! {
                () = self.jobs.notified() => {}
                () = changed => {}
            }
        }
    }

    /// A busy instance is done, and will ask for more.
    pub(crate) fn answered(&self, id: u64) {
        if let Some(phase) = self.lock().instances.get_mut(&id) {
            *phase = Phase::Idle;
        }
    }

    /// Whether an instance that waits should: not if it is out of date, or idle for long and above the minimum.
    pub(crate) fn may_stay(&self, id: u64, idle: Duration) -> bool {
        let state = self.lock();
        let long = idle >= Duration::from_millis(self.config.idle_timeout_ms);
        !(state.closing
            || id < state.current_from
            || long && state.instances.len() > self.config.min_instances && state.queue.is_empty())
    }

    /// Ends what still runs.
    pub(crate) fn kill(&self) {
        self.lock().killed = true;
        self.changed.notify_waiters();
    }

    /// Whether even busy instances are to end.
    pub(crate) fn killed(&self) -> bool {
        self.lock().killed
    }

    /// Instances wait for this to look again whether they may stay.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// An instance has gone; `failure` if it never got to work.
    pub(crate) fn ended(self: &Arc<Self>, id: u64, failure: Option<FunctionError>) {
        let mut refused = Vec::new();
        {
            let mut state = self.lock();
            state.instances.remove(&id);
            if let Some(failure) = failure {
                let factor = 1_u32 << state.failures.min(10);
                state.failures = state.failures.saturating_add(1);
                let wait = (BACKOFF * factor).min(LONGEST_BACKOFF);
                state.blocked_until = Some(Instant::now() + wait);
                state.failure = Some(failure.clone());
                // One job was waiting for it; if nobody is left to take the others, they wait in vain too.
                let waiting =
                    if state.instances.is_empty() { state.queue.len() } else { 1.min(state.queue.len()) };
                refused.extend(state.queue.drain(..waiting).map(|job| (job.reply, failure.clone())));
                let later = Arc::downgrade(self);
                tokio::spawn(async move {
                    tokio::time::sleep(wait + Duration::from_millis(1)).await;
                    if let Some(function) = later.upgrade() {
                        function.scale();
                    }
                });
            }
        }
        for (reply, failure) in refused {
            let _ = reply.send(Err(InvokeError::Function(failure)));
        }
        self.ended.notify_waiters();
        self.scale();
    }

    pub(crate) fn reload(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            state.current_from = state.started;
            state.failures = 0;
            state.blocked_until = None;
        }
        self.changed.notify_waiters();
        self.scale();
    }

    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.closing = true;
            std::mem::take(&mut state.queue)
        };
        drop(waiting);
        self.changed.notify_waiters();
    }

    /// Takes no more; what waits goes to the one that comes after.
    pub(crate) fn retire(&self, successor: &Arc<Self>) {
        let waiting = {
            let mut state = self.lock();
            state.closing = true;
            std::mem::take(&mut state.queue)
        };
        successor.lock().queue.extend(waiting);
        self.changed.notify_waiters();
        successor.changed.notify_waiters();
        successor.scale();
    }

    /// Waits until no instance is left, or until then.
    pub(crate) async fn gone(&self, until: Instant) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.lock().instances.is_empty() || tokio::time::timeout_at(until.into(), ended).await.is_err()
            {
                return;
            }
        }
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        Status {
            name: self.config.name.clone(),
            starting: state.count(Phase::Starting),
            idle: state.count(Phase::Idle),
            busy: state.count(Phase::Busy),
            queued: state.queue.len(),
            invocations: state.invocations,
            errors: state.errors,
            throttles: state.throttles,
            started: state.started,
            failure: state.failure.clone(),
        }
    }
}

/// Lambda's name for an invocation whose time is up.
pub(crate) const TIMED_OUT: &str = "Sandbox.Timedout";

/// Lambda's words for it.
pub(crate) fn timed_out(request_id: &str, after: &str) -> String {
    format!("RequestId: {request_id} Error: Task timed out after {after}")
}
