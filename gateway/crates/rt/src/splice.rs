//! Moving bodies between sockets inside the kernel: socket, pipe, socket.
//!
//! Order of events:
//! 1. the source leaves multishot receive: cancelled, and waited for, because what it has taken already must go first;
//! 2. those buffers are written to the destination the ordinary way, and flushed if a send is under way already;
//! 3. both descriptors become non-blocking (splice(2) on sockets ignores its own flag and looks at theirs), and the
//!    ring waits for readiness;
//! 4. source to pipe; what is written and not yet sent, together with the first of what is in the pipe; pipe to
//!    destination, until the length is reached or the source ends;
//! 5. receive armed again, blocking for that (ring operations on a non-blocking descriptor don't wait), and the pipe goes
//!    back to its pool. A destination's receive has never stopped: it stays non-blocking for the next splice, and a send
//!    that finds it full waits until it is writable.
//!
//! A pipe that still holds bytes is closed, never reused, and both streams fail from then on: bytes are missing.

use crate::{
    io::{Arm, Ios, gone},
    ring::Op,
    socket,
    stream::Stream,
    task::Waiter,
};
use std::{
    future::Future,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    pin::Pin,
    ptr,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// Wanted size of a pipe; `fs.pipe-max-size` may allow less.
const PIPE_BYTES: i32 = 1 << 20;
/// Pipes kept per core: each pins as much kernel memory as its last use filled.
const POOLED_PIPES: usize = 16;
/// After as many bytes others have a turn.
const TURN_BYTES: u64 = 1 << 20;

/// An empty pipe, or one in use.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let mut fds = [-1; 2];
        // SAFETY: writes two descriptors to a local array.
        if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let [read, write] = fds;
        // SAFETY: just made, owned by nobody else.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)) };
        // SAFETY: changes a property of a pipe of ours. Refused, it stays at 64 KiB.
        let capacity = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
        Ok(Pipe { read, write, capacity: usize::try_from(capacity).unwrap_or(64 * 1024) })
    }
}

/// Empty pipes of a core.
#[derive(Default)]
pub(crate) struct PipePool {
    free: Vec<Pipe>,
}

impl PipePool {
    fn get(&mut self) -> io::Result<Pipe> {
        self.free.pop().map_or_else(Pipe::new, Ok)
    }

    fn put(&mut self, pipe: Pipe) {
        if self.free.len() < POOLED_PIPES {
            self.free.push(pipe);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.free.clear();
    }
}

/// What one splice(2) did.
enum Moved {
    Bytes(usize),
    WouldBlock,
    End,
}

fn splice(from: RawFd, to: RawFd, len: usize) -> io::Result<Moved> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    loop {
        // SAFETY: moves bytes between descriptors, touches no memory of ours.
        let moved = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), len, flags) };
        match moved {
            0 => return Ok(Moved::End),
            1.. => return Ok(Moved::Bytes(moved as usize)),
            _ => {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(Moved::WouldBlock),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing done yet.
    Start,
    /// The source's receive is being cancelled.
    Disarm,
    /// What was received already is being sent.
    Drain,
    /// Through the pipe.
    Move,
    Done,
}

/// Future of [`Stream::splice_to`].
#[must_use = "futures do nothing unless polled"]
pub struct Splice<'a> {
    from: &'a Stream,
    to: &'a Stream,
    /// Still to be taken from the source.
    wanted: u64,
    /// Taken from the source.
    moved: u64,
    pipe: Option<Pipe>,
    in_pipe: usize,
    source_ended: bool,
    idle_timeout_ms: Option<u64>,
    /// The readiness last asked for.
    awaited: Option<(u32, Op)>,
    step: Step,
}

impl Stream {
    /// Moves exactly `len` bytes from this stream to `to` without copying them through user space, those that were
    /// received already included. Returns how many: fewer than `len` only if the source ended before.
    ///
    /// While it runs, nobody may read from this stream; what is written to `to` waits. A tunnel is two of these at once,
    /// one each way, in one task or in two; an end of stream ends one of them, and the caller passes it on with
    /// [`Stream::shutdown_write`]. The deadlines of both streams apply. If it fails, or is dropped before it ended, both streams are of no further use: bytes may be lost.
    pub fn splice_to<'a>(&'a self, to: &'a Stream, len: u64) -> Splice<'a> {
        Splice {
            from: self,
            to,
            wanted: len,
            moved: 0,
            pipe: None,
            in_pipe: 0,
            source_ended: false,
            idle_timeout_ms: None,
            awaited: None,
            step: Step::Start,
        }
    }
}

impl Splice<'_> {
    /// Instead of the streams' deadlines: fail when nothing has moved for `timeout_ms`. The deadlines are changed by
    /// it, and left set.
    pub fn idle_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.idle_timeout_ms = Some(timeout_ms);
        self
    }

    /// Bytes taken from the source so far.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    fn ios<R>(&self, with: impl FnOnce(&mut Ios) -> R) -> R {
        with(&mut self.from.core().io.borrow_mut())
    }

    fn progressed(&self) {
        if let Some(timeout_ms) = self.idle_timeout_ms {
            let deadline_ms = Some(crate::now_ms() + timeout_ms);
            self.from.set_deadline_ms(deadline_ms);
            self.to.set_deadline_ms(deadline_ms);
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        if self.step == Step::Start {
            self.start()?;
        }
        let (from, to) = (self.from.index(), self.to.index());
        loop {
            let expired =
                self.ios(|io| [from, to].iter().any(|&index| io.get(index).is_some_and(|io| io.expired)));
            if expired && self.step != Step::Done {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let wait = match self.step {
                Step::Start | Step::Done => return Poll::Ready(Ok(self.moved)),
                Step::Disarm if self.ios(|io| io.get(from).is_none_or(|io| io.recv_arm == Arm::Off)) => {
                    self.drain()?;
                    continue;
                }
                Step::Disarm => None,
                Step::Drain => match self.ios(|io| io.try_flushed(to, 0)) {
                    Some(flushed) => {
                        flushed?;
                        self.switch()?;
                        continue;
                    }
                    None => None,
                },
                // Woken for the other direction of a tunnel, say: the readiness is still to come.
                Step::Move if self.is_polling() => None,
                Step::Move => match self.pump()? {
                    Pumped::Done => {
                        self.step = Step::Done;
                        continue;
                    }
                    Pumped::Enough => {
                        cx.waker().wake_by_ref();
                        None
                    }
                    Pumped::WaitSource => Some((from, Op::PollIn)),
                    Pumped::WaitDestination => Some((to, Op::PollOut)),
                },
            };
            if wait.is_some() {
                self.awaited = wait;
            }
            self.register(cx, wait);
            return Poll::Pending;
        }
    }

    /// Has this task woken by either stream, whichever is waited for: the other's deadline counts, too.
    fn register(&self, cx: &mut Context<'_>, wait: Option<(u32, Op)>) {
        let (reader, writer) = (Waiter::new(cx.waker()), Waiter::new(cx.waker()));
        let replaced = self.ios(|io| {
            if let Some((index, op)) = wait {
                io.arm_poll(index, op);
            }
            let reader = io.get(self.from.index()).map(|io| std::mem::replace(&mut io.recv_waiter, reader));
            let writer = io.get(self.to.index()).map(|io| std::mem::replace(&mut io.send_waiter, writer));
            (reader, writer)
        });
        drop(replaced);
    }

    /// Whether the readiness that was asked for has yet to come.
    fn is_polling(&self) -> bool {
        self.awaited.is_some_and(|(index, op)| {
            self.ios(|io| {
                io.get(index).is_some_and(|io| if op == Op::PollIn { io.poll_in } else { io.poll_out })
            })
        })
    }

    /// Takes the source out of multishot.
    fn start(&mut self) -> io::Result<()> {
        if !Rc::ptr_eq(self.from.core(), self.to.core()) {
            return Err(gone());
        }
        self.progressed();
        let (from, to) = (self.from.index(), self.to.index());
        self.ios(|io| {
            io.get(to).ok_or_else(gone)?;
            io.get(from).ok_or_else(gone)?.hold_recv = true;
            io.disarm_recv(from);
            Ok::<_, io::Error>(())
        })?;
        self.step = Step::Disarm;
        Ok(())
    }

    /// The source is out of multishot: writes what it brought to the destination, up to the length.
    fn drain(&mut self) -> io::Result<()> {
        let index = self.from.index();
        while self.wanted > 0 {
            let Some(mut buf) = self.ios(|io| io.get(index).and_then(|io| io.queue.pop_front())) else {
                break;
            };
            let take = usize::try_from(self.wanted).map_or(buf.len(), |wanted| wanted.min(buf.len()));
            if take < buf.len() {
                self.from.unread(buf.split_off(take), 0);
            }
            self.wanted -= take as u64;
            self.moved += take as u64;
            self.to.write_buf(buf);
        }
        let (error, eof) = self.ios(|io| io.get(index).map_or((0, true), |io| (io.recv_error, io.eof)));
        if self.wanted > 0 && error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        self.source_ended = eof;
        let to = self.to.index();
        if self.wanted > 0 && !eof && self.ios(|io| io.take_flight(to)) {
            return self.switch();
        }
        self.to.flush();
        self.step = Step::Drain;
        Ok(())
    }

    /// The destination is not sending: on to the pipe, if there is anything left to move.
    fn switch(&mut self) -> io::Result<()> {
        if self.wanted == 0 || self.source_ended {
            self.step = Step::Done;
            return Ok(());
        }
        let (from, to) = (self.from.index(), self.to.index());
        let pipe = self.ios(|io| {
            io.get(to).ok_or_else(gone)?.hold_send = true;
            io.pipes.get()
        })?;
        self.ios(|io| {
            io.enter_nonblocking(from)?;
            io.enter_nonblocking(to).inspect_err(|_| io.leave_nonblocking(from))
        })?;
        self.pipe = Some(pipe);
        self.step = Step::Move;
        Ok(())
    }

    /// Moves what can be moved now.
    fn pump(&mut self) -> io::Result<Pumped> {
        let (from, to) = (self.from.index(), self.to.index());
        let fds = self.ios(|io| Some((io.get(from)?.fd, io.get(to)?.fd)));
        let (Some((from_fd, to_fd)), Some(pipe)) = (fds, &self.pipe) else { return Err(gone()) };
        let (read, write, capacity) = (pipe.read.as_raw_fd(), pipe.write.as_raw_fd(), pipe.capacity);
        let enough = self.moved + TURN_BYTES;
        while self.moved < enough {
            let room = capacity.saturating_sub(self.in_pipe);
            let len = usize::try_from(self.wanted).map_or(room, |wanted| wanted.min(room));
            if len > 0 && !self.source_ended {
                match splice(from_fd, write, len)? {
                    Moved::Bytes(count) => {
                        self.in_pipe += count;
                        self.wanted -= count as u64;
                        self.moved += count as u64;
                    }
                    // With bytes in the pipe this may also mean that its slots are full: those first.
                    Moved::WouldBlock if self.in_pipe == 0 => {
                        let sent = self.ios(|io| io.send_now(to, false))?;
                        return Ok(if sent { Pumped::WaitSource } else { Pumped::WaitDestination });
                    }
                    Moved::WouldBlock => {}
                    Moved::End => self.source_ended = true,
                }
            }
            if !self.ios(|io| io.send_now(to, self.in_pipe > 0))? {
                return Ok(Pumped::WaitDestination);
            }
            if self.in_pipe == 0 {
                return Ok(Pumped::Done);
            }
            match splice(read, to_fd, self.in_pipe)? {
                Moved::Bytes(count) => self.in_pipe = self.in_pipe.saturating_sub(count),
                Moved::WouldBlock => return Ok(Pumped::WaitDestination),
                Moved::End => return Err(io::ErrorKind::WriteZero.into()),
            }
            self.progressed();
            if self.in_pipe == 0 && (self.wanted == 0 || self.source_ended) {
                return Ok(Pumped::Done);
            }
        }
        Ok(Pumped::Enough)
    }

    /// Puts both streams back in order, whatever the outcome.
    fn clean_up(&mut self) {
        if matches!(self.step, Step::Start) {
            return;
        }
        let (from, to) = (self.from.index(), self.to.index());
        let (pipe, lost) = (self.pipe.take(), self.in_pipe > 0);
        self.step = Step::Start;
        self.ios(|io| {
            if let Some(pipe) = pipe {
                io.leave_nonblocking(from);
                io.leave_nonblocking(to);
                if lost {
                    io.break_off(from, to);
                } else {
                    io.pipes.put(pipe);
                }
            }
            io.resume_sending(to);
            if let Some(io) = io.get(from) {
                io.hold_recv = false;
            }
            io.arm_recv(from);
        });
    }
}

/// How far [`Splice::pump`] got.
enum Pumped {
    Done,
    /// For this turn.
    Enough,
    WaitSource,
    WaitDestination,
}

impl Future for Splice<'_> {
    type Output = io::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.advance(cx));
        self.clean_up();
        Poll::Ready(outcome)
    }
}

impl Drop for Splice<'_> {
    fn drop(&mut self) {
        self.clean_up();
    }
}

impl Ios {
    /// Asks for readiness once. The completion wakes the stream's reader or writer.
    pub(crate) fn arm_poll(&mut self, index: u32, op: Op) {
        let Some(io) = self.get(index) else { return };
        let (armed, events) = match op {
            Op::PollIn => (&mut io.poll_in, libc::POLLIN | libc::POLLRDHUP),
            // Errors and hang-ups of both halves are told unasked.
            Op::PollHup => (&mut io.poll_hup, libc::POLLRDHUP),
            _ => (&mut io.poll_out, libc::POLLOUT),
        };
        if std::mem::replace(armed, true) {
            return;
        }
        let (fd, token) = (io.fd, io.token(op, index));
        self.ring.poll(fd, events, token);
    }

    fn enter_nonblocking(&mut self, index: u32) -> io::Result<()> {
        let io = self.get(index).ok_or_else(gone)?;
        if !io.is_nonblocking {
            socket::set_nonblocking(io.fd, true)?;
            io.is_nonblocking = true;
        }
        io.nonblocking += 1;
        Ok(())
    }

    fn leave_nonblocking(&mut self, index: u32) {
        let Some(io) = self.get(index) else { return };
        io.nonblocking = io.nonblocking.saturating_sub(1);
        if io.nonblocking == 0 {
            self.arm_recv(index);
        }
    }

    /// Bytes between the two were lost.
    fn break_off(&mut self, from: u32, to: u32) {
        if let Some(io) = self.get(from) {
            io.recv_error = libc::ECONNABORTED;
        }
        if let Some(io) = self.get(to) {
            io.send_error = libc::ECONNABORTED;
        }
    }

    fn resume_sending(&mut self, index: u32) {
        let Some(io) = self.get(index).filter(|io| io.hold_send) else { return };
        io.hold_send = false;
        if !io.flight.is_idle() {
            // The socket was full: the rest goes out the ordinary way.
            io.flush_wanted = true;
            self.submit_send(index);
        } else if io.flush_wanted {
            self.flush(index);
        }
    }
}
