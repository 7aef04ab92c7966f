//! The sockets of a core: a slab, and what happens to each of them.
//!
//! ```text
//!               connected                Stream dropped            nothing in flight      closed
//!  Connecting ─────────────> Open ─────────────────────> Closing ─────────────────> Closed ──> Free
//!      └──────────────────────────────────────────────────^
//!  accepted ───────────────> Open
//! ```
//!
//! A slot is freed only after the final completion of everything it had in flight, so no completion can meet a
//! stranger and the kernel never uses memory that was given up. Closing cancels the armed receive first: it holds the
//! file, and a close(2) under it would send no FIN.

use crate::{
    acceptor::Acceptor,
    bufring::{Buf, BufRing},
    config::{Config, Stats},
    driver::Driver,
    out::{Flight, OutQueue, VecPool},
    ring::{Op, Token},
    socket::{self, RawAddr},
    task::Waiter,
    wheel::{NEVER, TimerId, Wheel},
};
use std::{
    cell::Cell,
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{IntoRawFd, OwnedFd, RawFd},
    rc::Rc,
};

/// What the kernel receives ahead of us from a server of this machine: twice this, with what it keeps its books by.
const LOOPBACK_BUFFER_BYTES: i32 = 192 * 1024;

/// How long a dropped stream may take to get rid of what was flushed.
const LINGER_MS: u64 = 2_000;

/// Whose buffers a socket receives into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Accepted,
    Connected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    Connecting,
    Open,
    Closing,
    Closed,
}

/// State of a multishot operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    Off,
    On,
    Cancelling,
}

/// One socket.
pub(crate) struct Io {
    pub(crate) fd: RawFd,
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    pub(crate) group: Group,
    pub(crate) recv_arm: Arm,
    /// Receives one buffer at a time, and the next only when asked: what follows is to be spliced.
    pub(crate) bulk: bool,
    /// A splice has taken the source out of multishot, or the destination's sends.
    pub(crate) hold_recv: bool,
    pub(crate) hold_send: bool,
    /// Splices that need the descriptor to be non-blocking.
    pub(crate) nonblocking: u8,
    /// It is; and stays so after a splice until a receive is to be armed, which would not wait on it.
    pub(crate) is_nonblocking: bool,
    pub(crate) poll_in: bool,
    pub(crate) poll_out: bool,
    pub(crate) poll_hup: bool,
    /// A [`crate::Watch`] wants to hear of the peer's end.
    pub(crate) watched: bool,
    /// The peer has ended its half, behind data that nobody has received.
    pub(crate) hung_up: bool,
    /// The flight met a non-blocking descriptor that was full: it goes on when that is writable.
    pub(crate) send_stalled: bool,
    /// Waits in `Ios::starved` for buffers.
    pub(crate) starved: bool,
    /// Waits in `Ios::dirty` for the end of the turn.
    pub(crate) dirty: bool,
    pub(crate) eof: bool,
    /// The deadline has passed.
    pub(crate) expired: bool,
    pub(crate) connecting: bool,
    pub(crate) flush_wanted: bool,
    pub(crate) shutdown_wanted: bool,
    /// Errno of the first failure, 0 for none.
    pub(crate) recv_error: i32,
    pub(crate) send_error: i32,
    pub(crate) queue: VecDeque<Buf>,
    pub(crate) recv_waiter: Waiter,
    pub(crate) send_waiter: Waiter,
    pub(crate) out: OutQueue,
    pub(crate) flight: Flight,
    timer: TimerId,
    peer: Option<SocketAddr>,
    connect_to: Option<Box<RawAddr>>,
}

// What an idle connection costs here, next to its timer and its task.
const _: () = assert!(size_of::<Io>() <= 384);

impl Io {
    pub(crate) fn token(&self, op: Op, index: u32) -> Token {
        Token::new(op, self.generation, index)
    }

    /// Nothing of this socket is in the kernel's hands.
    fn is_quiet(&self) -> bool {
        self.recv_arm == Arm::Off
            && self.flight.is_idle()
            && !self.connecting
            && !self.poll_in
            && !self.poll_out
            && !self.poll_hup
    }

    pub(crate) fn wants_recv(&self) -> bool {
        self.phase == Phase::Open
            && self.recv_arm == Arm::Off
            && !(self.eof || self.hold_recv || self.starved)
            && self.nonblocking == 0
            && self.recv_error == 0
    }

    pub(crate) fn pending_send_bytes(&self) -> usize {
        self.out.len() + self.flight.len()
    }
}

/// Who asked the wheel for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerOwner {
    Io(u32),
    Sleeper(u32),
    Acceptor(u32),
}

impl TimerOwner {
    pub(crate) fn encode(self) -> u64 {
        match self {
            TimerOwner::Io(index) => u64::from(index),
            TimerOwner::Sleeper(index) => 1 << 32 | u64::from(index),
            TimerOwner::Acceptor(index) => 2 << 32 | u64::from(index),
        }
    }

    fn decode(owner: u64) -> TimerOwner {
        let index = owner as u32;
        match owner >> 32 {
            0 => TimerOwner::Io(index),
            1 => TimerOwner::Sleeper(index),
            _ => TimerOwner::Acceptor(index),
        }
    }
}

/// All I/O state of a core. Borrowed for moments only: never while a task, a waker or a closure of the user runs.
pub(crate) struct Ios {
    pub(crate) ring: Driver,
    pub(crate) slots: Vec<Io>,
    free: Vec<u32>,
    pub(crate) accepted: Rc<BufRing>,
    pub(crate) connected: Rc<BufRing>,
    pub(crate) wheel: Wheel,
    pub(crate) vecs: VecPool,
    /// Sockets to flush at the end of the turn.
    pub(crate) dirty: Vec<u32>,
    /// Sockets whose receive ended for want of buffers.
    pub(crate) starved: Vec<u32>,
    pub(crate) acceptors: Vec<Acceptor>,
    pub(crate) sleepers: crate::time::Sleepers,
    pub(crate) stats: Stats,
    pub(crate) now_ms: u64,
    bell: RawFd,
    bell_armed: bool,
    /// Where the kernel puts the eventfd's count.
    bell_count: Box<Cell<u64>>,
    pub(crate) shutting_down: bool,
    /// Given up for a moment when there is no descriptor left to accept with.
    pub(crate) reserve: Option<OwnedFd>,
    pub(crate) pipes: crate::splice::PipePool,
}

impl Ios {
    pub(crate) fn new(config: &Config, bell: RawFd, now_ms: u64) -> io::Result<Ios> {
        let mut ring = Driver::new(config)?;
        let accepted = ring.add_buffers(0, config)?;
        let connected = ring.add_buffers(1, config)?;
        Ok(Ios {
            ring,
            slots: Vec::new(),
            free: Vec::new(),
            accepted,
            connected,
            wheel: Wheel::new(now_ms),
            vecs: VecPool::default(),
            dirty: Vec::new(),
            starved: Vec::new(),
            acceptors: Vec::new(),
            sleepers: Default::default(),
            stats: Stats::default(),
            now_ms,
            bell,
            bell_armed: false,
            bell_count: Box::new(Cell::new(0)),
            shutting_down: false,
            reserve: socket::spare_descriptor(),
            pipes: Default::default(),
        })
    }

    #[inline]
    pub(crate) fn get(&mut self, index: u32) -> Option<&mut Io> {
        self.slots.get_mut(index as usize)
    }

    pub(crate) fn pool(&self, group: Group) -> &Rc<BufRing> {
        match group {
            Group::Accepted => &self.accepted,
            Group::Connected => &self.connected,
        }
    }

    /// Puts a descriptor under management.
    pub(crate) fn adopt(&mut self, fd: OwnedFd, group: Group, phase: Phase) -> u32 {
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        let timer = self.wheel.insert(TimerOwner::Io(index).encode());
        let generation = self.slots.get(index as usize).map_or(0, |io| io.generation.wrapping_add(1));
        let io = Io {
            fd: fd.into_raw_fd(),
            generation,
            phase,
            group,
            recv_arm: Arm::Off,
            bulk: false,
            hold_recv: false,
            hold_send: false,
            nonblocking: 0,
            is_nonblocking: false,
            poll_in: false,
            poll_out: false,
            poll_hup: false,
            watched: false,
            hung_up: false,
            send_stalled: false,
            starved: false,
            dirty: false,
            eof: false,
            expired: false,
            connecting: false,
            flush_wanted: false,
            shutdown_wanted: false,
            recv_error: 0,
            send_error: 0,
            queue: VecDeque::new(),
            recv_waiter: Waiter::Nobody,
            send_waiter: Waiter::Nobody,
            out: OutQueue::default(),
            flight: Flight::Idle,
            timer,
            peer: None,
            connect_to: None,
        };
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                // Its former tenant's receive queue keeps its memory for this one.
                let queue = std::mem::take(&mut slot.queue);
                *slot = Io { queue, ..io };
            }
            None => self.slots.push(io),
        }
        self.stats.sockets += 1;
        if phase == Phase::Open {
            self.arm_recv(index);
        }
        index
    }

    /// Starts connecting a new socket.
    pub(crate) fn connect(&mut self, addr: SocketAddr, deadline_ms: u64) -> io::Result<u32> {
        let fd = socket::stream_socket(addr)?;
        let new = std::os::fd::AsRawFd::as_raw_fd(&fd);
        socket::set_nodelay(new)?;
        if addr.ip().to_canonical().is_loopback() {
            // There is no delay that a larger window would fill.
            socket::set_receive_buffer(new, LOOPBACK_BUFFER_BYTES)?;
        }
        let index = self.adopt(fd, Group::Connected, Phase::Connecting);
        let Some(io) = self.slots.get_mut(index as usize) else { return Err(gone()) };
        let raw = io.connect_to.insert(Box::new(RawAddr::new(addr)));
        let (fd, token) = (io.fd, Token::new(Op::Connect, io.generation, index));
        io.connecting = true;
        io.peer = Some(addr);
        self.wheel.set(io.timer, deadline_ms);
        // SAFETY: the address is boxed and stays until the completion.
        unsafe { self.ring.connect(fd, raw.as_ptr(), raw.len(), token) };
        Ok(index)
    }

    pub(crate) fn peer_addr(&mut self, index: u32) -> Option<SocketAddr> {
        let io = self.get(index)?;
        if io.peer.is_none() {
            io.peer = socket::peer_addr(io.fd).ok();
        }
        io.peer
    }

    pub(crate) fn set_deadline(&mut self, index: u32, deadline_ms: u64) {
        if let Some(io) = self.slots.get_mut(index as usize) {
            io.expired = false;
            self.wheel.set(io.timer, deadline_ms);
        }
    }

    /// Open, and nothing has come or gone wrong. A receive is armed, so that the next call notices if that changes.
    pub(crate) fn is_idle_open(&mut self, index: u32) -> bool {
        let idle = self.get(index).is_some_and(|io| {
            io.phase == Phase::Open
                && !(io.eof || io.expired || io.hold_recv || io.hold_send)
                && io.recv_error == 0
                && io.send_error == 0
                && io.queue.is_empty()
                && io.pending_send_bytes() == 0
        });
        if idle {
            self.arm_recv(index);
        }
        idle
    }

    /// The stream was dropped: cancel, wait for completions, close. Returns what must be dropped elsewhere.
    pub(crate) fn release(&mut self, index: u32) -> [Waiter; 2] {
        let now_ms = self.now_ms;
        let live = |io: &&mut Io| matches!(io.phase, Phase::Connecting | Phase::Open);
        let Some(io) = self.slots.get_mut(index as usize).filter(live) else { return Default::default() };
        let waiters = [io.recv_waiter.take(), io.send_waiter.take()];
        io.queue.clear();
        let connecting = io.connecting;
        let armed = [
            (io.poll_in, Op::PollIn),
            (io.poll_out, Op::PollOut),
            (io.poll_hup, Op::PollHup),
            (connecting, Op::Connect),
        ];
        for (armed, op) in armed {
            if armed {
                self.ring.cancel(io.fd, Token::new(op, io.generation, index));
            }
        }
        io.phase = Phase::Closing;
        io.hold_send = false;
        if !io.flush_wanted || io.expired || connecting {
            self.give_up_sending(index);
        } else if let Some(io) = self.get(index) {
            let timer = io.timer;
            self.wheel.set(timer, now_ms + LINGER_MS);
        }
        self.disarm_recv(index);
        self.finish_closing(index);
        waiters
    }

    /// Closes a released socket once nothing is in flight.
    pub(crate) fn finish_closing(&mut self, index: u32) {
        if self.get(index).is_none_or(|io| io.phase != Phase::Closing) {
            return;
        }
        self.start_send(index);
        let Some(io) = self.slots.get_mut(index as usize).filter(|io| io.is_quiet()) else { return };
        io.phase = Phase::Closed;
        io.out.clear(&mut self.vecs);
        self.wheel.remove(io.timer);
        self.ring.close(io.fd, Token::new(Op::Close, io.generation, index));
    }

    /// Has a read of the eventfd ready, which ends a sleep when another thread rings.
    pub(crate) fn arm_bell(&mut self) {
        if self.bell_armed || self.shutting_down {
            return;
        }
        self.bell_armed = true;
        let token = Token::new(Op::Bell, 0, 0);
        // SAFETY: the count is boxed, and freed only after the ring.
        unsafe { self.ring.read_bell(self.bell, self.bell_count.as_ptr(), token) };
    }

    pub(crate) fn on_bell(&mut self) {
        self.bell_armed = false;
    }

    /// Handles fired timers; returns who is to be resumed.
    pub(crate) fn on_timer(&mut self, owner: u64) -> [Waiter; 2] {
        match TimerOwner::decode(owner) {
            TimerOwner::Io(index) => self.on_deadline(index),
            TimerOwner::Sleeper(index) => [self.sleepers.fire(index), Waiter::Nobody],
            TimerOwner::Acceptor(index) => {
                self.arm_accept(index);
                Default::default()
            }
        }
    }

    fn on_deadline(&mut self, index: u32) -> [Waiter; 2] {
        let Some(io) = self.slots.get_mut(index as usize) else { return Default::default() };
        io.expired = true;
        match io.phase {
            Phase::Open => [io.recv_waiter.take(), io.send_waiter.take()],
            Phase::Connecting => {
                self.ring.cancel(io.fd, Token::new(Op::Connect, io.generation, index));
                Default::default()
            }
            Phase::Closing => {
                self.give_up_sending(index);
                Default::default()
            }
            Phase::Free | Phase::Closed => Default::default(),
        }
    }

    /// After [`Ios::shut_down`] succeeded: handles that outlive the loop find nothing.
    pub(crate) fn end(&mut self) {
        self.slots.clear();
        self.acceptors.clear();
        self.pipes.clear();
        self.reserve = None;
    }

    /// Releases everything that is still open; `waiters` are to be dropped elsewhere. True once nothing is in flight.
    pub(crate) fn shut_down(&mut self, waiters: &mut Vec<Waiter>) -> bool {
        if !std::mem::replace(&mut self.shutting_down, true) {
            for index in 0..self.slots.len() as u32 {
                waiters.extend(self.release(index));
            }
            for index in 0..self.acceptors.len() as u32 {
                waiters.push(self.release_acceptor(index));
            }
            if self.bell_armed {
                self.ring.cancel(self.bell, Token::new(Op::Bell, 0, 0));
            }
        }
        self.stats.sockets == 0 && !self.bell_armed && self.acceptors.iter().all(Acceptor::is_gone)
    }
}

/// The completion side, but for receive, send and accept.
impl Ios {
    /// The socket a completion belongs to, unless it is a stray.
    #[inline]
    pub(crate) fn owner(&mut self, token: Token) -> Option<&mut Io> {
        let io = self.slots.get_mut(token.index as usize)?;
        let generation = io.generation & crate::ring::GENERATION_MASK;
        (generation == token.generation && io.phase != Phase::Free).then_some(io)
    }

    pub(crate) fn on_connect(&mut self, index: u32, result: i32) -> Waiter {
        let Some(io) = self.slots.get_mut(index as usize) else { return Waiter::Nobody };
        io.connecting = false;
        io.connect_to = None;
        if io.phase != Phase::Connecting {
            self.finish_closing(index);
            return Waiter::Nobody;
        }
        io.phase = Phase::Open;
        match result {
            0.. => {
                self.wheel.set(io.timer, NEVER);
                io.expired = false;
                self.arm_recv(index);
            }
            _ if io.expired => (io.recv_error, io.send_error) = (libc::ETIMEDOUT, libc::ETIMEDOUT),
            result => (io.recv_error, io.send_error) = (-result, -result),
        }
        self.get(index).map(|io| io.send_waiter.take()).unwrap_or_default()
    }

    /// Whether connecting has ended; `None` to wait.
    pub(crate) fn try_connected(&mut self, index: u32) -> Option<io::Result<()>> {
        match self.get(index) {
            None => Some(Err(gone())),
            Some(io) if io.connecting => None,
            Some(io) if io.send_error != 0 => Some(Err(io::Error::from_raw_os_error(io.send_error))),
            Some(_) => Some(Ok(())),
        }
    }

    pub(crate) fn on_poll(&mut self, index: u32, op: Op) -> Waiter {
        let Some(io) = self.slots.get_mut(index as usize) else { return Waiter::Nobody };
        let waiter = if op == Op::PollIn {
            io.poll_in = false;
            io.recv_waiter.take()
        } else {
            io.poll_out = false;
            let waiter = io.send_waiter.take();
            if std::mem::take(&mut io.send_stalled) {
                self.submit_send(index);
            }
            waiter
        };
        self.finish_closing(index);
        waiter
    }

    pub(crate) fn on_close(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize) else { return };
        io.phase = Phase::Free;
        io.fd = -1;
        self.stats.sockets -= 1;
        self.free.push(index);
    }
}

/// The error of a handle that outlived its core's loop.
pub(crate) fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the engine that owned this socket has ended")
}
