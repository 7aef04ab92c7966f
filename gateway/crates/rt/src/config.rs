//! What a core may be told, and what it counts.

/// How a core behaves when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Sleep in the kernel until something completes: the least CPU.
    #[default]
    Sleep,
    /// Poll for this long before sleeping: a lower median latency for about twice the CPU at moderate load.
    Spin {
        /// How long to poll.
        spin_us: u32,
    },
    /// Let completions gather for up to this long before waking (Linux 6.12): less CPU, a higher median.
    /// Kernels that lack it sleep as usual.
    Gather {
        /// The longest time the first completion may wait for company.
        min_wait_us: u32,
    },
}

/// What carries the operations out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// io_uring, or epoll where that is refused.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll: 3 to 14% dearer, and at home everywhere.
    Epoll,
}

/// Sizes of one core's engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Submission queue entries (a power of two); the completion queue is four times as long.
    pub entries: u32,
    /// Receive buffers per group, a power of two of at most 32,768. There are two groups: accepted and
    /// connected sockets. More than a few hundred run cache-cold and cost 5 to 10% CPU.
    pub buffers: u16,
    /// Bytes per receive buffer.
    pub buffer_bytes: u32,
    /// What to do when idle.
    pub wait: Wait,
    /// What carries the operations out.
    pub engine: Engine,
}

impl Default for Config {
    fn default() -> Self {
        Config { entries: 4096, buffers: 256, buffer_bytes: 4096, wait: Wait::Sleep, engine: Engine::Auto }
    }
}

/// Counters of one core since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Loop turns, that is kernel entries.
    pub turns: u64,
    /// Completions handled.
    pub completions: u64,
    /// Receives stopped because their buffer group was empty.
    pub enobufs: u64,
    /// Failed accepts (descriptor or memory exhaustion, aborted connections).
    pub accept_errors: u64,
    /// Connections closed unserved because there was no descriptor or memory for them for half a second.
    pub accepts_shed: u64,
    /// Received buffers that were copied to the heap because their group ran low.
    pub buffers_low: u64,
    /// Receives stopped because their reader lagged behind.
    pub recv_paused: u64,
    /// Wakes that came from other threads.
    pub remote_wakes: u64,
    /// Tasks that ended by a panic. Always a defect.
    pub task_panics: u64,
    /// Completions that belonged to nobody. Always a defect.
    pub stray_completions: u64,
    /// Sockets open at present, closing ones included.
    pub sockets: u64,
    /// Tasks alive at present.
    pub tasks: u64,
}
