//! The io_uring instance of one core: setup, submission, waiting, and the tokens that tie completions to sockets.

use crate::{
    bufring::BufRing,
    config::{Config, Wait},
    driver,
    error::Unsupported,
};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use std::{collections::VecDeque, io, os::fd::RawFd};

/// What a submitted operation was. The top byte of its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    Accept = 1,
    Recv = 2,
    Send = 3,
    Connect = 4,
    /// Readiness of a socket to be read, during a splice.
    PollIn = 5,
    /// Readiness of a socket to be written, during a splice.
    PollOut = 6,
    Close = 7,
    /// Read of the core's eventfd.
    Bell = 8,
    /// A cancellation; its own completion says nothing, that of the cancelled operation does.
    Cancel = 9,
    /// Hang-up of a socket whose receive has stopped, for [`crate::Watch`].
    PollHup = 10,
}

impl Op {
    #[inline]
    fn from_byte(byte: u8) -> Option<Op> {
        Some(match byte {
            1 => Op::Accept,
            2 => Op::Recv,
            3 => Op::Send,
            4 => Op::Connect,
            5 => Op::PollIn,
            6 => Op::PollOut,
            7 => Op::Close,
            8 => Op::Bell,
            9 => Op::Cancel,
            10 => Op::PollHup,
            _ => return None,
        })
    }
}

/// User data: operation, slab index, and the low bits of that slot's generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) op: Op,
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

/// Generations wrap at 24 bits, what user data has room for.
pub(crate) const GENERATION_MASK: u32 = 0xff_ffff;

impl Token {
    pub(crate) fn new(op: Op, generation: u32, index: u32) -> Token {
        Token { op, generation: generation & GENERATION_MASK, index }
    }

    pub(crate) fn encode(self) -> u64 {
        (self.op as u64) << 56 | u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn decode(data: u64) -> Option<Token> {
        let op = Op::from_byte((data >> 56) as u8)?;
        Some(Token { op, generation: (data >> 32) as u32 & GENERATION_MASK, index: data as u32 })
    }
}

/// A completion, copied out of the ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Completion {
    /// Whether the multishot operation lives on.
    pub(crate) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer the kernel chose.
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

pub(crate) struct Ring {
    uring: IoUring,
    /// Entries that found the submission queue full; they go first on the next entry to the kernel.
    backlog: VecDeque<squeue::Entry>,
    enter_flags: EnterFlags,
    /// Completions to gather and for how long, see [`Wait::Gather`].
    gather_us: u32,
}

/// What a receive that is no multishot takes: a response's head, and little of the body that is to be spliced.
pub(crate) const BULK_BYTES: u32 = 1024;

/// The kernel itself goes on after a partial send.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// With [`Wait::Gather`]: as many completions end the wait early.
const GATHER_COMPLETIONS: u32 = 64;

impl Ring {
    /// Must be called on the thread that will use the ring (`SINGLE_ISSUER`).
    pub(crate) fn new(config: &Config) -> io::Result<Ring> {
        let mut uring = setup(config)?;
        let params = uring.params();
        if !params.is_feature_ext_arg() || !params.is_feature_nodrop() {
            let source = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(Unsupported::error("io_uring waits with a timeout (Linux 5.11)", source));
        }
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if params.is_feature_no_iowait() {
            // An idle core is idle, not waiting for a disk.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        let gather_us = match config.wait {
            Wait::Gather { min_wait_us } if params.is_feature_min_timeout() => min_wait_us,
            _ => 0,
        };
        // Saves a descriptor look-up per entry. Refused (5.17 and older) it only costs that.
        let _ = uring.submitter().register_ring_fd();
        uring.submission().sync();
        Ok(Ring { uring, backlog: VecDeque::new(), enter_flags, gather_us })
    }

    /// Tells the kernel about a provided-buffer ring of `entries` (a power of two) at `address`.
    ///
    /// # Safety
    /// The memory must stay mapped until this ring is dropped.
    pub(crate) unsafe fn register_buffers(&self, address: u64, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.uring.submitter().register_buf_ring_with_flags(address, entries, group, 0) }
            .map_err(|source| Unsupported::error("provided buffer rings (Linux 5.19)", source))
    }

    /// Queues an operation; it reaches the kernel with the next [`Ring::enter`].
    ///
    /// # Safety
    /// Whatever memory the entry points to must stay valid and unchanged until its final completion was reaped.
    #[inline]
    unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: passed on to the caller.
        if !self.backlog.is_empty() || unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    /// See [`crate::driver::Driver`] for these.
    pub(crate) fn accept(&mut self, fd: RawFd, token: Token) {
        let entry = opcode::AcceptMulti::new(types::Fd(fd)).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: points to no memory.
        unsafe { self.push(entry.user_data(token.encode())) }
    }

    #[inline]
    pub(crate) fn recv(&mut self, fd: RawFd, group: u16, multishot: bool, token: Token) {
        let fd = types::Fd(fd);
        let entry = if multishot {
            opcode::RecvMulti::new(fd, group).build()
        } else {
            let receive = opcode::Recv::new(fd, std::ptr::null_mut(), BULK_BYTES).buf_group(group).build();
            receive.flags(squeue::Flags::BUFFER_SELECT)
        };
        // SAFETY: points to no memory; the buffers of the group outlive the ring.
        unsafe { self.push(entry.user_data(token.encode())) };
    }

    /// # Safety
    /// The bytes must stay valid and unchanged until the completion.
    #[inline]
    pub(crate) unsafe fn send(&mut self, fd: RawFd, bytes: *const u8, len: u32, token: Token) {
        let entry = opcode::Send::new(types::Fd(fd), bytes, len).flags(SEND_FLAGS).build();
        // SAFETY: passed on to the caller.
        unsafe { self.push(entry.user_data(token.encode())) };
    }

    /// # Safety
    /// The message and what it points to must stay valid and unchanged until the completion.
    #[inline]
    pub(crate) unsafe fn send_msg(&mut self, fd: RawFd, message: *const libc::msghdr, token: Token) {
        let entry = opcode::SendMsg::new(types::Fd(fd), message).flags(SEND_FLAGS as u32).build();
        // SAFETY: passed on to the caller.
        unsafe { self.push(entry.user_data(token.encode())) };
    }

    /// # Safety
    /// The address must stay valid and unchanged until the completion.
    pub(crate) unsafe fn connect(
        &mut self,
        fd: RawFd,
        addr: *const libc::sockaddr,
        len: libc::socklen_t,
        token: Token,
    ) {
        let entry = opcode::Connect::new(types::Fd(fd), addr, len).build();
        // SAFETY: passed on to the caller.
        unsafe { self.push(entry.user_data(token.encode())) };
    }

    pub(crate) fn poll(&mut self, fd: RawFd, events: i16, token: Token) {
        let entry = opcode::PollAdd::new(types::Fd(fd), events as u32).build();
        // SAFETY: points to no memory.
        unsafe { self.push(entry.user_data(token.encode())) };
    }

    /// # Safety
    /// The count must stay valid until the completion.
    pub(crate) unsafe fn read_bell(&mut self, fd: RawFd, count: *mut u64, token: Token) {
        let entry = opcode::Read::new(types::Fd(fd), count.cast(), size_of::<u64>() as u32).build();
        // SAFETY: passed on to the caller.
        unsafe { self.push(entry.user_data(token.encode())) };
    }

    pub(crate) fn cancel(&mut self, _fd: RawFd, token: Token) {
        let entry = opcode::AsyncCancel::new(token.encode())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Token::new(Op::Cancel, 0, 0).encode());
        // SAFETY: a cancellation points to no memory.
        unsafe { self.push(entry) }
    }

    pub(crate) fn close(&mut self, fd: RawFd, token: Token) {
        let entry = opcode::Close::new(types::Fd(fd)).build().user_data(token.encode());
        // SAFETY: a close points to no memory.
        unsafe { self.push(entry) }
    }

    /// Submits what is queued and, if `block`, sleeps until a completion or for `timeout_ns`.
    pub(crate) fn enter(&mut self, block: bool, timeout_ns: Option<u64>) -> io::Result<()> {
        while !self.backlog.is_empty() {
            self.refill();
            if self.backlog.is_empty() {
                break;
            }
            self.enter_once(0, None)?;
        }
        let want = match (block, self.gather_us) {
            (false, _) => 0,
            (true, 0) => 1,
            (true, _) => GATHER_COMPLETIONS,
        };
        self.enter_once(want, timeout_ns)
    }

    fn refill(&mut self) {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: whoever called `push` vouches for the entry.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn enter_once(&mut self, want: u32, timeout_ns: Option<u64>) -> io::Result<()> {
        let queued = self.uring.submission().len() as u32;
        let timespec;
        let mut args = types::SubmitArgs::new();
        if want > 0 {
            args = args.min_wait_usec(self.gather_us);
        }
        if let Some(ns) = timeout_ns {
            timespec = types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
            args = args.timespec(&timespec);
        }
        // SAFETY: `SubmitArgs` is what EXT_ARG expects, and it outlives the call.
        let entered =
            unsafe { self.uring.submitter().enter(queued, want, self.enter_flags.bits(), Some(&args)) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => driver::next_turn(error),
        }
    }

    /// Moves all finished operations to `batch`.
    #[inline]
    pub(crate) fn reap(&mut self, batch: &mut Vec<Completion>) {
        batch.extend(self.uring.completion().map(|entry| Completion {
            data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }
}

/// Whether io_uring can be used here as the engine uses it; an [`Unsupported`] inside says what is in the way.
pub fn check_io_uring() -> io::Result<()> {
    let ring = Ring::new(&Config { entries: 8, ..Config::default() })?;
    let buffers = BufRing::new(0, 8, 64)?;
    let registered = buffers.register(&ring);
    // The ring first: it may use the buffers.
    drop(ring);
    registered
}

/// Creates the instance, or says which feature is missing.
fn setup(config: &Config) -> io::Result<IoUring> {
    let entries = config.entries.next_power_of_two();
    let build = |defer: bool, no_sqarray: bool| {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(entries.saturating_mul(4)).setup_submit_all().dontfork();
        if defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if no_sqarray {
            builder.setup_no_sqarray();
        }
        builder.build(entries)
    };
    let invalid = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    match build(true, true) {
        // Linux 6.6 has it; without, one indirection more per submission.
        Err(error) if invalid(&error) => match build(true, false) {
            Err(error) if invalid(&error) && build(false, false).is_ok() => Err(Unsupported::error(
                "io_uring with deferred task work (IORING_SETUP_DEFER_TASKRUN, Linux 6.1)",
                error,
            )),
            other => other.map_err(refused),
        },
        other => other.map_err(refused),
    }
}

fn refused(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            Unsupported::error("io_uring (not in this kernel, or hidden by seccomp)", error)
        }
        Some(libc::EPERM | libc::EACCES) => Unsupported::error(
            "io_uring (forbidden by kernel.io_uring_disabled, a seccomp profile or a security module)",
            error,
        ),
        Some(libc::EINVAL) => Unsupported::error("the io_uring setup flags in use (Linux 6.1)", error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_way_through_the_kernel() {
        for byte in 1..=Op::Cancel as u8 {
            let op = Op::from_byte(byte).unwrap();
            assert_eq!(op as u8, byte);
            let token = Token::new(op, 0xabc_def0, u32::MAX);
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(0), None);
        assert_eq!(Token::decode(u64::MAX), None);
    }
    #[test]
    fn a_refusal_names_what_is_missing() {
        for (errno, named) in [(libc::ENOSYS, "io_uring"), (libc::EPERM, "seccomp"), (libc::EINVAL, "6.1")] {
            let error = refused(io::Error::from_raw_os_error(errno));
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Unsupported>()).unwrap();
            assert!(inner.feature.contains(named), "{errno}: {inner}");
            assert_eq!(inner.source.raw_os_error(), Some(errno));
        }
        let other = refused(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(other.raw_os_error(), Some(libc::EMFILE));
    }
}
