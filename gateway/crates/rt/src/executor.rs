//! The loop: submit, sleep, handle completions, timers and wakes, poll what is ready.

use crate::{
    bufring::BufRing,
    config::{Config, Stats, Wait},
    io::Ios,
    ring::{Completion, Op, Token},
    task::{Remote, TaskKey, Tasks, Waiter},
    time::clock_ns,
};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    rc::Rc,
    task::{Context, Poll},
};

/// Everything a core has. Handles keep it alive; after the loop has ended they find no slots in it.
pub(crate) struct Core {
    index: u16,
    remote: &'static Remote,
    now_ns: Cell<u64>,
    pub(crate) io: RefCell<Ios>,
    pub(crate) tasks: RefCell<Tasks>,
}

thread_local! {
    /// The core whose loop runs on this thread. [`Loop`] keeps it alive while this is set.
    static CURRENT: Cell<*const Core> = const { Cell::new(ptr::null()) };
}

/// Runs `with` on this thread's core, if there is one.
#[inline]
pub(crate) fn with_current<R>(with: impl FnOnce(&Core) -> R) -> Option<R> {
    let core = CURRENT.get();
    // SAFETY: points into an `Rc` that `Loop` holds until it has cleared this; and `Loop` is not dropped while `with`
    // runs, which is called from within the loop.
    unsafe { core.as_ref() }.map(with)
}

/// A handle on this thread's core.
pub(crate) fn current() -> Option<Rc<Core>> {
    let core = CURRENT.get();
    if core.is_null() {
        return None;
    }
    // SAFETY: the pointer is that of a living `Rc`, see `with_current`; the count is raised for the one made here.
    unsafe {
        Rc::increment_strong_count(core);
        Some(Rc::from_raw(core))
    }
}

/// The error of calls that need a loop.
pub(crate) fn outside() -> io::Error {
    io::Error::other("no engine runs on this thread")
}

/// Adds a task to this thread's core; it first runs later in this loop turn. Outside [`run`] the task is dropped.
///
/// A task that panics ends alone and is counted in [`Stats::task_panics`].
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let task = Box::pin(task);
    let rejected = match current() {
        Some(core) => {
            core.tasks.borrow_mut().insert(task);
            None
        }
        None => Some(task),
    };
    drop(rejected);
}

/// This core's counters; all zero outside [`run`].
pub fn stats() -> Stats {
    with_current(Core::stats).unwrap_or_default()
}

/// What drives this thread's core: `io_uring` or `epoll`. `None` outside [`run`].
pub fn driver() -> Option<&'static str> {
    with_current(|core| core.io.borrow().ring.name())
}

/// Runs a core on this thread until the future made by `root` ends. Tasks left over are dropped, connections closed.
///
/// Fails with an [`crate::Unsupported`] inside if the system refuses io_uring or is too old, and epoll is not allowed. Panics if `root`'s
/// future does.
pub fn run<M, F>(config: Config, root: M) -> io::Result<()>
where
    M: FnOnce() -> F,
    F: Future<Output = ()> + 'static,
{
    let mut main_loop = Loop::start(&config)?;
    let future = root();
    // A panic of the root is the caller's; it is carried over.
    let panicked = Rc::new(Cell::new(None));
    let report = Rc::clone(&panicked);
    let key = main_loop.core.tasks.borrow_mut().insert(Box::pin(async move {
        let mut future = Box::pin(future);
        std::future::poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(payload) => {
                report.set(Some(payload));
                Poll::Ready(())
            }
        })
        .await;
    }));
    let outcome = main_loop.turn_until_ended(key);
    drop(main_loop);
    if let Some(payload) = panicked.take() {
        resume_unwind(payload);
    }
    outcome
}

impl Core {
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn stats(&self) -> Stats {
        let tasks = self.tasks.borrow().alive() as u64;
        Stats { tasks, ..self.io.borrow().stats }
    }

    /// Polls a task if it is alive and not being polled already. Nothing of the core may be borrowed.
    #[inline]
    pub(crate) fn poll_task(&self, key: TaskKey) {
        let Some(mut task) = self.tasks.borrow_mut().take(key) else { return };
        let waker = key.waker();
        let mut cx = Context::from_waker(&waker);
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx))) {
            Ok(Poll::Pending) => return self.tasks.borrow_mut().put_back(key, task),
            Ok(Poll::Ready(())) => {}
            Err(_) => self.io.borrow_mut().stats.task_panics += 1,
        }
        self.tasks.borrow_mut().finish(key);
        if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
            self.io.borrow_mut().stats.task_panics += 1;
        }
    }

    /// Handles one completion; returns who was waiting for it.
    #[inline]
    fn complete(&self, completion: Completion) -> Waiter {
        let mut io = self.io.borrow_mut();
        let Some(token) = Token::decode(completion.data) else {
            io.stats.stray_completions += 1;
            return Waiter::Nobody;
        };
        let (index, result, more) = (token.index, completion.result, completion.more());
        match token.op {
            Op::Accept => return io.on_accept(index, result, more),
            Op::Bell => {
                io.on_bell();
                return Waiter::Nobody;
            }
            Op::Cancel => return Waiter::Nobody,
            _ => {}
        }
        if io.owner(token).is_none() {
            debug_assert!(false, "completion of {token:?} after its slot was freed");
            io.stats.stray_completions += 1;
            return Waiter::Nobody;
        }
        match token.op {
            Op::Recv => io.on_recv(index, result, more, completion.buffer()),
            Op::Send => io.on_send(index, result),
            Op::Connect => io.on_connect(index, result),
            Op::PollIn | Op::PollOut => io.on_poll(index, token.op),
            Op::PollHup => io.on_hang_up(index, result),
            Op::Close => {
                io.on_close(index);
                Waiter::Nobody
            }
            Op::Accept | Op::Bell | Op::Cancel => Waiter::Nobody,
        }
    }
}

/// The running loop. Dropping it, also by a panic, ends the core in order.
struct Loop {
    core: Rc<Core>,
    batch: Vec<Completion>,
    ready: Vec<TaskKey>,
    fired: Vec<u64>,
    /// Who waited for them.
    expired: Vec<Waiter>,
    spin_ns: u64,
    /// When the loop last found something to do.
    busy_ns: u64,
}

impl Loop {
    fn start(config: &Config) -> io::Result<Loop> {
        if !CURRENT.get().is_null() {
            return Err(io::Error::other("an engine already runs on this thread"));
        }
        let now_ns = clock_ns();
        let (index, remote) = Remote::claim()?;
        let io = Ios::new(config, remote.bell(), now_ns / 1_000_000).inspect_err(|_| remote.release())?;
        let core = Rc::new(Core {
            index,
            remote,
            now_ns: Cell::new(now_ns),
            io: RefCell::new(io),
            tasks: RefCell::new(Tasks::new(index)),
        });
        CURRENT.set(Rc::as_ptr(&core));
        let spin_ns = match config.wait {
            Wait::Spin { spin_us } => u64::from(spin_us) * 1_000,
            Wait::Sleep | Wait::Gather { .. } => 0,
        };
        Ok(Loop {
            core,
            batch: Vec::new(),
            ready: Vec::new(),
            fired: Vec::new(),
            expired: Vec::new(),
            spin_ns,
            busy_ns: now_ns,
        })
    }

    fn turn_until_ended(&mut self, root: TaskKey) -> io::Result<()> {
        // The root's first poll arms things, so it comes before the first entry.
        self.poll_ready();
        while self.core.tasks.borrow_mut().is_alive(root) {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.submit_and_wait()?;
        let now_ns = clock_ns();
        self.core.now_ns.set(now_ns);
        self.handle_completions(now_ns);
        self.handle_timers(now_ns / 1_000_000);
        self.handle_remote_wakes();
        self.poll_ready();
        Ok(())
    }

    fn submit_and_wait(&mut self) -> io::Result<()> {
        let now_ns = self.core.now_ns();
        let idle = !self.core.tasks.borrow().has_ready();
        let mut io = self.core.io.borrow_mut();
        io.flush_dirty();
        io.feed_starved();
        io.arm_bell();
        io.stats.turns += 1;
        let spinning = self.spin_ns > 0 && now_ns < self.busy_ns + self.spin_ns;
        let doorbell = self.core.remote.doorbell();
        if !idle || spinning || !doorbell.fall_asleep() {
            return io.ring.enter(false, None);
        }
        let timeout_ns = io.wheel.next_ms().map(|due_ms| (due_ms * 1_000_000).saturating_sub(now_ns));
        let entered = io.ring.enter(true, timeout_ns);
        doorbell.wake_up();
        entered
    }

    fn handle_completions(&mut self, now_ns: u64) {
        let core = &self.core;
        {
            let mut io = core.io.borrow_mut();
            io.now_ms = now_ns / 1_000_000;
            io.ring.reap(&mut self.batch);
            io.stats.completions += self.batch.len() as u64;
        }
        if !self.batch.is_empty() {
            self.busy_ns = now_ns;
        }
        for completion in self.batch.drain(..) {
            core.complete(completion).resume(core);
        }
        // Taken out first: a payload's drop may run anything.
        let trash = std::mem::take(&mut core.io.borrow_mut().vecs.trash);
        if !trash.is_empty() {
            drop(trash);
        }
    }

    fn handle_timers(&mut self, now_ms: u64) {
        self.core.io.borrow_mut().wheel.advance(now_ms, &mut self.fired);
        // All of them first: a task that is resumed may set the deadline anew that a later one in this list is about.
        let mut io = self.core.io.borrow_mut();
        self.expired.extend(self.fired.drain(..).flat_map(|owner| io.on_timer(owner)));
        drop(io);
        for waiter in self.expired.drain(..) {
            waiter.resume(&self.core);
        }
    }

    fn handle_remote_wakes(&mut self) {
        let doorbell = self.core.remote.doorbell();
        if doorbell.is_empty() {
            return;
        }
        let mut wakes = 0;
        doorbell.drain(|key| {
            wakes += 1;
            self.core.tasks.borrow_mut().make_ready(key);
        });
        self.core.io.borrow_mut().stats.remote_wakes += wakes;
    }

    /// Polls what is ready now; what becomes ready meanwhile has its turn after the next completions.
    fn poll_ready(&mut self) {
        self.core.tasks.borrow_mut().swap_ready(&mut self.ready);
        for key in self.ready.drain(..) {
            self.core.poll_task(key);
        }
    }

    /// Drops all tasks. Their destructors may spawn more, within reason.
    fn drop_tasks(&self) {
        for _ in 0..1_000 {
            let tasks = self.core.tasks.borrow_mut().take_all();
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
                    self.core.io.borrow_mut().stats.task_panics += 1;
                }
            }
        }
    }

    /// Waits until the kernel uses nothing of ours any more. False: it still does.
    fn drain(&mut self) -> bool {
        /// Closing sockets linger for two seconds at most, then their operations are cancelled.
        const PATIENCE_NS: u64 = 10_000_000_000;
        const STEP_NS: u64 = 20_000_000;
        let give_up_ns = clock_ns() + PATIENCE_NS;
        let mut orphans = Vec::new();
        let done = loop {
            if self.core.io.borrow_mut().shut_down(&mut orphans) {
                break true;
            }
            let now_ns = clock_ns();
            if now_ns > give_up_ns {
                break false;
            }
            self.core.now_ns.set(now_ns);
            {
                let mut io = self.core.io.borrow_mut();
                io.flush_dirty();
                if io.ring.enter(true, Some(STEP_NS)).is_err() {
                    break false;
                }
            }
            self.handle_completions(clock_ns());
            self.handle_timers(clock_ns() / 1_000_000);
        };
        drop(orphans);
        done
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.drop_tasks();
        let quiet = self.drain();
        // Wakes of tasks and timers dropped so far may still ask for the core.
        CURRENT.set(ptr::null());
        self.core.remote.release();
        if !quiet {
            // The kernel may still read and write our memory: better lost than given to others.
            let io = self.core.io.borrow();
            std::mem::forget((Rc::<BufRing>::clone(&io.accepted), Rc::<BufRing>::clone(&io.connected)));
            std::mem::forget(Rc::clone(&self.core));
            return;
        }
        self.core.io.borrow_mut().end();
    }
}
