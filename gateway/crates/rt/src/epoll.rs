//! The driver for where io_uring is refused: containers whose seccomp profile forbids it, old kernels.
//!
//! An operation is tried when it is submitted, and again whenever epoll tells a change, until it succeeds: sockets are
//! registered once, edge-triggered, for both directions. Completions are io_uring's, flags and all.
//!
//! ```text
//!  submitted ──tried──> done                     (edge) ──tried──> done
//!               └EAGAIN─> waits ─────────────────────┘ └EAGAIN─> waits
//! ```
//!
//! Descriptors stay blocking, as splice(2) and successors that share a listener expect: single calls say `MSG_DONTWAIT`.
//! Listeners and the bell are level-triggered and watched only while an operation waits for them.

use crate::{
    bufring::BufRing,
    ring::{BULK_BYTES, Completion, Op, Token},
    socket,
};
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    rc::Rc,
};

/// Events taken by one wait.
const EVENTS: usize = 256;
/// Connections accepted from one listener, and buffers received for one stream, before others have a turn.
const TURN_ACCEPTS: usize = 64;
const TURN_BUFFERS: usize = 16;

const FLAG_BUFFER: u32 = 1;
const FLAG_MORE: u32 = 2;
const BUFFER_SHIFT: u32 = 16;

const IN_EVENTS: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const OUT_EVENTS: u32 = (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32;

#[derive(Clone, Copy)]
enum Out {
    Send { bytes: *const u8, len: u32 },
    Message(*const libc::msghdr),
    Connect,
}

#[derive(Clone, Copy)]
struct Receive {
    token: Token,
    group: u16,
    multishot: bool,
}

/// What waits on one descriptor.
#[derive(Default)]
struct Watch {
    /// Tells events of an earlier owner of the number apart.
    generation: u32,
    registered: bool,
    /// Another receive may find something: not drained, or the end is near.
    readable: bool,
    /// The peer has ended its half, or worse: what a receive does not fill up to may be followed by an end.
    hung_up: bool,
    /// On `Epoll::eager`.
    eager: bool,
    recv: Option<Receive>,
    out: Option<(Token, Out)>,
    poll_in: Option<(Token, i16)>,
    poll_out: Option<(Token, i16)>,
    poll_hup: Option<(Token, i16)>,
    accept: Option<Token>,
    bell: Option<(Token, *mut u64)>,
}

impl Watch {
    fn poll_slot(&mut self, op: Op) -> &mut Option<(Token, i16)> {
        match op {
            Op::PollIn => &mut self.poll_in,
            Op::PollHup => &mut self.poll_hup,
            _ => &mut self.poll_out,
        }
    }
}

pub(crate) struct Epoll {
    epoll: OwnedFd,
    watches: Vec<Watch>,
    pools: Vec<Rc<BufRing>>,
    /// Descriptors whose receive has had its turn and is not drained.
    eager: Vec<RawFd>,
    done: Vec<Completion>,
    events: Vec<libc::epoll_event>,
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// A result as io_uring gives it; `None` to wait.
fn result_of(returned: isize) -> Option<i32> {
    if returned >= 0 {
        return Some(i32::try_from(returned).unwrap_or(i32::MAX));
    }
    match errno() {
        libc::EAGAIN | libc::EINTR => None,
        errno => Some(-errno),
    }
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: makes a descriptor, touches no memory.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        Ok(Epoll {
            epoll,
            watches: Vec::new(),
            pools: Vec::new(),
            eager: Vec::new(),
            done: Vec::new(),
            events,
        })
    }

    pub(crate) fn add_buffers(&mut self, pool: Rc<BufRing>) {
        self.pools.push(pool);
    }

    fn watch(&mut self, fd: RawFd) -> Option<&mut Watch> {
        let at = usize::try_from(fd).ok()?;
        if at >= self.watches.len() {
            self.watches.resize_with(at + 1, Watch::default);
        }
        self.watches.get_mut(at)
    }

    fn complete(&mut self, token: Token, result: i32, flags: u32) {
        self.done.push(Completion { data: token.encode(), result, flags });
    }

    /// Registers a descriptor, unless it is. Returns the errno of a failure.
    fn register(&mut self, fd: RawFd, events: i32) -> Result<(), i32> {
        let epoll = self.epoll.as_raw_fd();
        let Some(watch) = self.watch(fd) else { return Err(libc::EBADF) };
        if watch.registered {
            return Ok(());
        }
        let data = u64::from(watch.generation) << 32 | fd as u64;
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: reads a local.
        if unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) } < 0 {
            return Err(errno());
        }
        watch.registered = true;
        Ok(())
    }

    fn register_stream(&mut self, fd: RawFd, token: Token) -> bool {
        let both = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let registered = self.register(fd, both);
        if let Err(errno) = registered {
            self.complete(token, -errno, 0);
        }
        registered.is_ok()
    }

    fn unregister(&mut self, fd: RawFd) {
        let epoll = self.epoll.as_raw_fd();
        let Some(watch) = self.watch(fd) else { return };
        watch.generation = watch.generation.wrapping_add(1);
        if std::mem::take(&mut watch.registered) {
            // SAFETY: no event is read. Fails only for a descriptor that is closed, and so unregistered.
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
        }
    }

    pub(crate) fn accept(&mut self, fd: RawFd, token: Token) {
        // Exclusive: a socket of the service manager's is shared by the cores, and one of them is enough.
        if let Err(errno) = self.register(fd, libc::EPOLLIN | libc::EPOLLEXCLUSIVE) {
            return self.complete(token, -errno, 0);
        }
        if let Some(watch) = self.watch(fd) {
            watch.accept = Some(token);
        }
    }

    pub(crate) fn recv(&mut self, fd: RawFd, group: u16, multishot: bool, token: Token) {
        if !self.register_stream(fd, token) {
            return;
        }
        if let Some(watch) = self.watch(fd) {
            watch.recv = Some(Receive { token, group, multishot });
            watch.readable = true;
        }
        self.try_recv(fd);
    }

    /// # Safety
    /// As for [`crate::driver::Driver::send`].
    pub(crate) unsafe fn send(&mut self, fd: RawFd, bytes: *const u8, len: u32, token: Token) {
        self.start_out(fd, token, Out::Send { bytes, len });
    }

    /// # Safety
    /// As for [`crate::driver::Driver::send_msg`].
    pub(crate) unsafe fn send_msg(&mut self, fd: RawFd, message: *const libc::msghdr, token: Token) {
        self.start_out(fd, token, Out::Message(message));
    }

    fn start_out(&mut self, fd: RawFd, token: Token, out: Out) {
        if self.register_stream(fd, token) {
            if let Some(watch) = self.watch(fd) {
                watch.out = Some((token, out));
            }
            self.try_out(fd);
        }
    }

    /// # Safety
    /// As for [`crate::driver::Driver::connect`].
    pub(crate) unsafe fn connect(
        &mut self,
        fd: RawFd,
        addr: *const libc::sockaddr,
        len: libc::socklen_t,
        token: Token,
    ) {
        // Only for this call, which has no flag of its own to say so.
        let _ = socket::set_nonblocking(fd, true);
        // SAFETY: passed on to the caller.
        let result = if unsafe { libc::connect(fd, addr, len) } < 0 { errno() } else { 0 };
        let _ = socket::set_nonblocking(fd, false);
        if result != libc::EINPROGRESS {
            return self.complete(token, -result, 0);
        }
        // Registered after the start: a socket that is not connecting is hung up, and would say so.
        if self.register_stream(fd, token)
            && let Some(watch) = self.watch(fd)
        {
            watch.out = Some((token, Out::Connect));
        }
    }

    pub(crate) fn poll(&mut self, fd: RawFd, events: i16, token: Token) {
        if !self.register_stream(fd, token) {
            return;
        }
        if let Some(watch) = self.watch(fd) {
            *watch.poll_slot(token.op) = Some((token, events));
        }
        self.try_poll(fd, token.op);
    }

    /// # Safety
    /// As for [`crate::driver::Driver::read_bell`].
    pub(crate) unsafe fn read_bell(&mut self, fd: RawFd, count: *mut u64, token: Token) {
        match self.register(fd, libc::EPOLLIN) {
            Ok(()) => {
                if let Some(watch) = self.watch(fd) {
                    watch.bell = Some((token, count));
                }
            }
            Err(errno) => self.complete(token, -errno, 0),
        }
    }

    pub(crate) fn cancel(&mut self, fd: RawFd, token: Token) {
        let Some(watch) = self.watch(fd) else { return };
        let found = match token.op {
            Op::Recv => watch.recv.take_if(|recv| recv.token == token).is_some(),
            Op::Send | Op::Connect => watch.out.take_if(|(other, _)| *other == token).is_some(),
            Op::PollIn | Op::PollOut | Op::PollHup => {
                watch.poll_slot(token.op).take_if(|(other, _)| *other == token).is_some()
            }
            Op::Accept => watch.accept.take_if(|other| *other == token).is_some(),
            Op::Bell => watch.bell.take_if(|(other, _)| *other == token).is_some(),
            Op::Close | Op::Cancel => false,
        };
        if found {
            if matches!(token.op, Op::Accept | Op::Bell) {
                self.unregister(fd);
            }
            self.complete(token, -libc::ECANCELED, 0);
        }
    }

    pub(crate) fn close(&mut self, fd: RawFd, token: Token) {
        if let Some(watch) = self.watch(fd) {
            // Closing unregisters.
            let (generation, eager) = (watch.generation.wrapping_add(1), watch.eager);
            *watch = Watch { generation, eager, ..Watch::default() };
        }
        // SAFETY: the descriptor is the caller's, who gives it up.
        let result = if unsafe { libc::close(fd) } < 0 { -errno() } else { 0 };
        self.complete(token, result, 0);
    }

    pub(crate) fn enter(&mut self, block: bool, timeout_ns: Option<u64>) -> io::Result<()> {
        for fd in std::mem::take(&mut self.eager) {
            if let Some(watch) = self.watch(fd) {
                watch.eager = false;
            }
            self.try_recv(fd);
        }
        let timeout_ms = match timeout_ns {
            _ if !block || !self.done.is_empty() || !self.eager.is_empty() => 0,
            // Rounded up: a timer that is not quite due would cost turns.
            Some(ns) => i32::try_from(ns.div_ceil(1_000_000)).unwrap_or(i32::MAX),
            None => -1,
        };
        let mut events = std::mem::take(&mut self.events);
        let room = events.len() as i32;
        // SAFETY: writes at most `room` events to the vector.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) };
        let error = io::Error::last_os_error();
        for event in events.iter().take(usize::try_from(count).unwrap_or(0)) {
            self.on_event(event.u64 as u32 as RawFd, (event.u64 >> 32) as u32, event.events);
        }
        self.events = events;
        if count < 0 && error.kind() != io::ErrorKind::Interrupted { Err(error) } else { Ok(()) }
    }

    pub(crate) fn reap(&mut self, batch: &mut Vec<Completion>) {
        batch.append(&mut self.done);
    }

    fn on_event(&mut self, fd: RawFd, generation: u32, events: u32) {
        let Some(watch) = self.watch(fd).filter(|watch| watch.generation == generation) else { return };
        if watch.accept.is_some() {
            return self.try_accept(fd);
        }
        if watch.bell.is_some() {
            return self.try_bell(fd);
        }
        if events & IN_EVENTS != 0 {
            watch.readable = true;
            watch.hung_up |= events & !(libc::EPOLLIN as u32) & IN_EVENTS != 0;
            self.try_recv(fd);
            self.try_poll(fd, Op::PollIn);
            self.try_poll(fd, Op::PollHup);
        }
        if events & OUT_EVENTS != 0 {
            self.try_out(fd);
            self.try_poll(fd, Op::PollOut);
        }
    }

    fn try_accept(&mut self, fd: RawFd) {
        for _ in 0..TURN_ACCEPTS {
            let Some(token) = self.watch(fd).and_then(|watch| watch.accept) else { return };
            match socket::accept_queued(fd) {
                Ok(Some(accepted)) => self.complete(token, accepted.into_raw_fd(), FLAG_MORE),
                Ok(None) => return,
                Err(error) => {
                    if let Some(watch) = self.watch(fd) {
                        watch.accept = None;
                    }
                    self.unregister(fd);
                    return self.complete(token, -error.raw_os_error().unwrap_or(libc::EIO), 0);
                }
            }
        }
    }

    fn try_bell(&mut self, fd: RawFd) {
        let Some((token, count)) = self.watch(fd).and_then(|watch| watch.bell.take()) else { return };
        // SAFETY: eight bytes that are valid until the completion; readable, and read by nobody else, so it doesn't block.
        let returned = unsafe { libc::read(fd, count.cast(), size_of::<u64>()) };
        self.unregister(fd);
        self.complete(token, result_of(returned).unwrap_or(0), 0);
    }

    fn try_recv(&mut self, fd: RawFd) {
        for _ in 0..TURN_BUFFERS {
            let Some(watch) = self.watch(fd).filter(|watch| watch.readable) else { return };
            let Some(Receive { token, group, multishot }) = watch.recv else { return };
            let Some(pool) = self.pools.get(usize::from(group)).map(Rc::clone) else { return };
            let Some((id, start, room)) = pool.peek() else {
                return self.end_recv(fd, token, -libc::ENOBUFS, 0);
            };
            let room = if multishot { room } else { room.min(BULK_BYTES as usize) };
            // SAFETY: the buffer is the driver's until a completion names it.
            let returned = unsafe { libc::recv(fd, start.cast(), room, libc::MSG_DONTWAIT) };
            let Some(result) = result_of(returned) else {
                if let Some(watch) = self.watch(fd) {
                    watch.readable = false;
                }
                return;
            };
            if result <= 0 {
                return self.end_recv(fd, token, result, 0);
            }
            pool.pop();
            let flags = u32::from(id) << BUFFER_SHIFT | FLAG_BUFFER;
            if !multishot {
                return self.end_recv(fd, token, result, flags);
            }
            self.complete(token, result, flags | FLAG_MORE);
            // Drained, then: epoll(7) tells of what comes later.
            if (result as usize) < room
                && let Some(watch) = self.watch(fd).filter(|watch| !watch.hung_up)
            {
                watch.readable = false;
                return;
            }
        }
        if let Some(watch) = self.watch(fd)
            && !std::mem::replace(&mut watch.eager, true)
        {
            self.eager.push(fd);
        }
    }

    fn end_recv(&mut self, fd: RawFd, token: Token, result: i32, flags: u32) {
        if let Some(watch) = self.watch(fd) {
            watch.recv = None;
        }
        self.complete(token, result, flags);
    }

    fn try_out(&mut self, fd: RawFd) {
        let Some((token, out)) = self.watch(fd).and_then(|watch| watch.out) else { return };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let result = match out {
            Out::Send { bytes, len } => {
                // SAFETY: whoever submitted it keeps the bytes until the completion.
                result_of(unsafe { libc::send(fd, bytes.cast(), len as usize, flags) })
            }
            Out::Message(message) => {
                // SAFETY: as above.
                result_of(unsafe { libc::sendmsg(fd, message, flags) })
            }
            Out::Connect => Some(-socket::take_error(fd)),
        };
        let Some(result) = result else { return };
        if let Some(watch) = self.watch(fd) {
            watch.out = None;
        }
        self.complete(token, result, 0);
    }

    fn try_poll(&mut self, fd: RawFd, op: Op) {
        let Some(watch) = self.watch(fd) else { return };
        let slot = watch.poll_slot(op);
        let Some((token, events)) = *slot else { return };
        let mut ready = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: reads and writes one local entry; returns at once.
        if unsafe { libc::poll(&raw mut ready, 1, 0) } == 1 {
            *slot = None;
            self.complete(token, i32::from(ready.revents), 0);
        }
    }
}
