//! The driver for tests: a world that decides what becomes of each operation, and a clock that jumps.
//!
//! Nothing happens but what the test's `step` makes happen, and nothing takes time but sleeping, so a run is the same every
//! time; with a seeded generator in `step` it is another one for each seed, and the seed replays it.

use crate::{
    bufring::BufRing,
    driver,
    ring::{Completion, Op, Token},
};
use std::{
    cell::RefCell,
    future::Future,
    io,
    os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd},
    rc::Rc,
};

const FLAG_BUFFER: u32 = 1;
const FLAG_MORE: u32 = 2;

/// An operation that the engine waits for.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) op: Op,
    pub(crate) fd: RawFd,
    pub(crate) multishot: bool,
    token: Token,
    group: u16,
    /// What a send would send.
    pub(crate) bytes: Vec<u8>,
}

/// What the engine has asked for, and what it is answered.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) now_ns: u64,
    pub(crate) pending: Vec<Pending>,
    done: Vec<Completion>,
    pools: Vec<Rc<BufRing>>,
    /// What the next enters fail with, by errno.
    pub(crate) refusals: Vec<i32>,
    /// Cancelling these comes too late: EALREADY, and the operation goes on.
    pub(crate) stubborn: Option<Op>,
    /// Every answer so far: operation and result.
    pub(crate) trace: Vec<(Op, i32)>,
}

type Step = Box<dyn FnMut(&mut World)>;

#[derive(Clone)]
pub(crate) struct Sim {
    world: Rc<RefCell<World>>,
    step: Rc<RefCell<Step>>,
}

thread_local! {
    static INSTALLED: RefCell<Option<Sim>> = const { RefCell::new(None) };
}

/// Runs a core on a simulated world. `step` is called whenever the engine enters the kernel.
pub(crate) fn simulate<F: Future<Output = ()> + 'static>(
    step: impl FnMut(&mut World) + 'static,
    root: impl FnOnce() -> F,
) -> World {
    let sim = Sim {
        world: Rc::new(RefCell::new(World { now_ns: 1_000_000_000, ..World::default() })),
        step: Rc::new(RefCell::new(Box::new(step))),
    };
    INSTALLED.set(Some(sim.clone()));
    let outcome = crate::run(crate::Config::default(), root);
    INSTALLED.set(None);
    outcome.unwrap();
    let world = std::mem::take(&mut *sim.world.borrow_mut());
    assert!(world.pending.is_empty(), "left over: {:?}", world.pending);
    world
}

impl Sim {
    pub(crate) fn installed() -> Option<Sim> {
        INSTALLED.with_borrow(Option::clone)
    }

    /// The virtual clock, on a thread that simulates.
    pub(crate) fn clock_ns() -> Option<u64> {
        INSTALLED.with_borrow(|sim| sim.as_ref().map(|sim| sim.world.borrow().now_ns))
    }

    pub(crate) fn add_buffers(&mut self, pool: Rc<BufRing>) {
        self.world.borrow_mut().pools.push(pool);
    }

    fn add(&mut self, fd: RawFd, token: Token, group: u16, multishot: bool, bytes: Vec<u8>) {
        let pending = Pending { op: token.op, fd, multishot, token, group, bytes };
        self.world.borrow_mut().pending.push(pending);
    }

    pub(crate) fn accept(&mut self, fd: RawFd, token: Token) {
        self.add(fd, token, 0, true, Vec::new());
    }

    pub(crate) fn recv(&mut self, fd: RawFd, group: u16, multishot: bool, token: Token) {
        self.add(fd, token, group, multishot, Vec::new());
    }

    pub(crate) unsafe fn send(&mut self, fd: RawFd, bytes: *const u8, len: u32, token: Token) {
        // SAFETY: whoever submitted it keeps the bytes until the completion.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, len as usize) }.to_vec();
        self.add(fd, token, 0, false, bytes);
    }

    pub(crate) unsafe fn send_msg(&mut self, fd: RawFd, message: *const libc::msghdr, token: Token) {
        // SAFETY: as above.
        let vectors = unsafe { std::slice::from_raw_parts((*message).msg_iov, (*message).msg_iovlen) };
        let bytes = (vectors.iter())
            // SAFETY: as above.
            .flat_map(|v| unsafe { std::slice::from_raw_parts(v.iov_base.cast::<u8>(), v.iov_len) }.to_vec())
            .collect();
        self.add(fd, token, 0, false, bytes);
    }

    pub(crate) unsafe fn connect(
        &mut self,
        fd: RawFd,
        _addr: *const libc::sockaddr,
        _len: libc::socklen_t,
        token: Token,
    ) {
        self.add(fd, token, 0, false, Vec::new());
    }

    pub(crate) fn poll(&mut self, fd: RawFd, _events: i16, token: Token) {
        self.add(fd, token, 0, false, Vec::new());
    }

    pub(crate) unsafe fn read_bell(&mut self, fd: RawFd, _count: *mut u64, token: Token) {
        self.add(fd, token, 0, false, Vec::new());
    }

    pub(crate) fn cancel(&mut self, _fd: RawFd, token: Token) {
        let mut world = self.world.borrow_mut();
        let result = match world.pending.iter().position(|pending| pending.token == token) {
            Some(_) if world.stubborn == Some(token.op) => -libc::EALREADY,
            Some(at) => return world.answer(at, -libc::ECANCELED, 0),
            None => -libc::ENOENT,
        };
        world.trace.push((Op::Cancel, result));
        world.done.push(Completion { data: Token::new(Op::Cancel, 0, 0).encode(), result, flags: 0 });
    }

    pub(crate) fn close(&mut self, fd: RawFd, token: Token) {
        // SAFETY: the descriptor is the caller's, who gives it up.
        assert_eq!(unsafe { libc::close(fd) }, 0);
        let mut world = self.world.borrow_mut();
        assert!(world.pending.iter().all(|pending| pending.fd != fd), "closed with operations in flight");
        world.done.push(Completion { data: token.encode(), result: 0, flags: 0 });
    }

    pub(crate) fn enter(&mut self, block: bool, timeout_ns: Option<u64>) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        if let Some(errno) = world.refusals.pop() {
            return driver::next_turn(io::Error::from_raw_os_error(errno));
        }
        if world.done.is_empty() {
            (self.step.borrow_mut())(&mut world);
        }
        if block && world.done.is_empty() {
            // A world without end: nobody would ever wake this core.
            let sleep_ns = timeout_ns.ok_or_else(|| io::Error::other("nothing will ever happen"))?;
            world.now_ns += sleep_ns.max(1);
        }
        Ok(())
    }

    pub(crate) fn reap(&mut self, batch: &mut Vec<Completion>) {
        batch.append(&mut self.world.borrow_mut().done);
    }
}

impl World {
    /// Where an operation of this kind waits.
    pub(crate) fn find(&self, op: Op) -> Option<usize> {
        self.pending.iter().position(|pending| pending.op == op)
    }

    fn answer(&mut self, at: usize, result: i32, flags: u32) {
        let pending = &self.pending[at];
        self.trace.push((pending.op, result));
        self.done.push(Completion { data: pending.token.encode(), result, flags });
        if flags & FLAG_MORE == 0 {
            self.pending.remove(at);
        }
    }

    /// Ends the operation at `at`.
    pub(crate) fn complete(&mut self, at: usize, result: i32) {
        self.answer(at, result, 0);
    }

    /// A new connection for the accept at `at`, which goes on if `more`. The descriptor is real, and nobody's socket.
    pub(crate) fn connection(&mut self, at: usize, more: bool) {
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into_raw_fd();
        self.answer(at, null, if more { FLAG_MORE } else { 0 });
    }

    /// Bytes for the receive at `at`, which goes on if `more`. False: no buffer, and the receive has ended with ENOBUFS.
    pub(crate) fn deliver(&mut self, at: usize, bytes: &[u8], more: bool) -> bool {
        let pool = Rc::clone(&self.pools[usize::from(self.pending[at].group)]);
        let Some((id, start, room)) = pool.peek() else {
            self.complete(at, -libc::ENOBUFS);
            return false;
        };
        assert!(bytes.len() <= room);
        // SAFETY: the buffer is the driver's until the completion.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
        pool.pop();
        let more = if more && self.pending[at].multishot { FLAG_MORE } else { 0 };
        self.answer(at, bytes.len() as i32, u32::from(id) << 16 | FLAG_BUFFER | more);
        true
    }
}

/// A listening socket that nobody connects to: its accepts are the world's.
pub(crate) fn listener() -> crate::Listener {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(socket.as_raw_fd() >= 0);
    crate::Listener::new(socket).unwrap()
}

mod tests {
    use super::*;
    use crate::{Stream, now_ms, sleep_until_ms, spawn, stats};
    use std::{cell::Cell, io::ErrorKind, time::Duration};

    /// What the world does with operations of one kind, one after the other; then it leaves them waiting.
    type Script = Vec<Answer>;

    /// What the simulated kernel does once an operation was submitted.
    type Answer = (Op, Box<dyn FnMut(&mut World, usize)>);

    fn result(op: Op, result: i32) -> Answer {
        (op, Box::new(move |world, at| world.complete(at, result)))
    }

    fn bytes(bytes: &'static [u8], more: bool) -> Answer {
        (Op::Recv, Box::new(move |world, at| assert!(world.deliver(at, bytes, more))))
    }

    /// Sends in full whatever is sent, after the script's answers to sends are used up.
    fn play(mut script: Script) -> impl FnMut(&mut World) {
        let mut accepted = false;
        move |world| {
            if !accepted && let Some(at) = world.find(Op::Accept) {
                accepted = true;
                return world.connection(at, true);
            }
            if let Some(next) = script.first()
                && let Some(at) = world.find(next.0)
            {
                let (_, mut act) = script.remove(0);
                return act(world, at);
            }
            let scripted = script.iter().any(|(op, _)| *op == Op::Send);
            if !scripted && let Some(at) = world.find(Op::Send) {
                let len = world.pending[at].bytes.len() as i32;
                world.complete(at, len);
            }
        }
    }

    /// Runs `test` on the first connection.
    fn with_stream<F: Future<Output = ()>>(
        script: Script,
        test: impl FnOnce(Stream) -> F + 'static,
    ) -> World {
        simulate(play(script), || async {
            let listener = listener();
            let stream = listener.accept().await.unwrap();
            test(stream).await;
            assert_eq!((stats().stray_completions, stats().task_panics), (0, 0));
        })
    }

    #[test]
    fn recv_0_is_the_end_after_what_is_queued() {
        with_stream(vec![bytes(b"last", true), result(Op::Recv, 0)], async |stream| {
            assert_eq!(&*stream.recv().await.unwrap().unwrap(), b"last");
            assert!(stream.recv().await.unwrap().is_none());
        });
    }

    #[test]
    fn recv_enobufs_eagain_eintr_ecanceled_and_the_end_of_a_multishot_are_armed_again() {
        for errno in [libc::ENOBUFS, libc::EAGAIN, libc::EINTR, libc::ECANCELED] {
            let script = vec![result(Op::Recv, -errno), bytes(b"one", false), bytes(b"two", true)];
            let world = with_stream(script, async move |stream| {
                assert_eq!(&*stream.recv().await.unwrap().unwrap(), b"one");
                assert_eq!(&*stream.recv().await.unwrap().unwrap(), b"two");
                assert_eq!(stats().enobufs, u64::from(errno == libc::ENOBUFS));
            });
            assert_eq!(&world.trace[1..4], [(Op::Recv, -errno), (Op::Recv, 3), (Op::Recv, 3)]);
        }
    }

    #[test]
    fn a_lost_connection_fails_recv_after_what_is_queued() {
        for errno in [libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH] {
            with_stream(vec![bytes(b"last", true), result(Op::Recv, -errno)], async move |stream| {
                assert_eq!(&*stream.recv().await.unwrap().unwrap(), b"last");
                assert_eq!(stream.recv().await.unwrap_err().raw_os_error(), Some(errno));
                assert!(!stream.is_idle_open());
            });
        }
    }

    #[test]
    fn a_short_send_sends_the_rest() {
        let script = vec![result(Op::Send, 3), result(Op::Send, 1)];
        let world = with_stream(script, async |stream| {
            stream.write(b"abcdefgh");
            stream.flushed().await.unwrap();
        });
        let sends: Vec<_> = world.trace.iter().filter(|(op, _)| *op == Op::Send).collect();
        assert_eq!(sends, [&(Op::Send, 3), &(Op::Send, 1), &(Op::Send, 4)]);
    }

    #[test]
    fn send_eagain_and_eintr_wait_until_it_is_writable() {
        for errno in [libc::EAGAIN, libc::EINTR] {
            let script = vec![
                result(Op::Send, -errno),
                result(Op::PollOut, i32::from(libc::POLLOUT)),
                result(Op::Send, 5),
            ];
            with_stream(script, async |stream| {
                stream.write(b"bytes");
                stream.flushed().await.unwrap();
                assert!(!stream.is_write_broken());
            });
        }
    }

    #[test]
    fn a_failed_send_forgets_the_output() {
        for errno in [libc::EPIPE, libc::ECONNRESET] {
            with_stream(vec![result(Op::Send, -errno)], async move |stream| {
                stream.write(b"lost");
                assert_eq!(stream.flushed().await.unwrap_err().raw_os_error(), Some(errno));
                stream.write(b"lost, too");
                assert!(stream.is_write_broken() && stream.unsent_bytes() == 0);
            });
        }
    }

    #[test]
    fn a_dropped_stream_that_cannot_send_is_cancelled_when_patience_is_over() {
        // The script names a send that never comes, so that none is answered.
        let never = vec![result(Op::Connect, 0), result(Op::Send, 0)];
        let world = with_stream(never, async |stream| {
            stream.write(b"nobody reads this");
            stream.flush();
            crate::yield_now().await;
            let began_ms = now_ms();
            drop(stream);
            while stats().sockets > 0 {
                sleep_until_ms(now_ms() + 10).await;
            }
            assert!((2_000..2_100).contains(&(now_ms() - began_ms)), "{} ms", now_ms() - began_ms);
        });
        assert!(world.trace.contains(&(Op::Send, -libc::ECANCELED)));
    }

    /// An accept that fails once, then brings a connection.
    fn connection_after(errno: i32) -> impl FnMut(&mut World) {
        let mut failed = false;
        move |world| {
            let Some(at) = world.find(Op::Accept) else { return };
            if std::mem::replace(&mut failed, true) {
                world.connection(at, true);
            } else {
                world.complete(at, -errno);
            }
        }
    }

    #[test]
    fn accept_out_of_descriptors_or_memory_rests() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            simulate(connection_after(errno), || async {
                let (listener, began_ms) = (listener(), now_ms());
                listener.accept().await.unwrap();
                assert!((100..=120).contains(&(now_ms() - began_ms)), "{} ms", now_ms() - began_ms);
                assert_eq!(stats().accept_errors, 1);
            });
        }
    }

    #[test]
    fn who_waits_for_a_descriptor_too_long_is_shed() {
        let step = |world: &mut World| {
            if let Some(at) = world.find(Op::Accept) {
                world.complete(at, -libc::EMFILE);
            }
        };
        simulate(step, || async {
            let (listener, began_ms) = (listener(), now_ms());
            // Real, and in the real socket's queue.
            let mut waiting = std::net::TcpStream::connect(listener.local_addr()).unwrap();
            while stats().accepts_shed == 0 {
                sleep_until_ms(now_ms() + 10).await;
            }
            assert!((400..=520).contains(&(now_ms() - began_ms)), "{} ms", now_ms() - began_ms);
            assert_eq!((stats().accepts_shed, stats().accept_errors), (1, 5));
            assert!(matches!(io::Read::read(&mut waiting, &mut [0]), Ok(0) | Err(_)), "it is closed");
        });
    }

    #[test]
    fn accept_of_a_connection_that_is_gone_goes_on_at_once() {
        for errno in [libc::ECONNABORTED, libc::EPROTO, libc::EAGAIN, libc::EPERM, libc::EHOSTUNREACH] {
            simulate(connection_after(errno), || async {
                let (listener, began_ms) = (listener(), now_ms());
                listener.accept().await.unwrap();
                assert_eq!((now_ms() - began_ms, stats().accept_errors), (0, 1));
            });
        }
    }

    #[test]
    fn accept_on_what_is_no_listener_fails() {
        for errno in [libc::EINVAL, libc::EBADF] {
            let step = move |world: &mut World| {
                if let Some(at) = world.find(Op::Accept) {
                    world.complete(at, -errno);
                }
            };
            simulate(step, move || async move {
                assert_eq!(listener().accept().await.unwrap_err().raw_os_error(), Some(errno));
            });
        }
    }

    fn connect(answer: Option<i32>) -> io::Result<u64> {
        let outcome = Rc::new(Cell::new(None));
        let told = Rc::clone(&outcome);
        let step = move |world: &mut World| {
            if let (Some(at), Some(answer)) = (world.find(Op::Connect), answer) {
                world.complete(at, answer);
            }
        };
        simulate(step, || async move {
            let began_ms = now_ms();
            let connected = Stream::connect("127.0.0.1:1".parse().unwrap(), began_ms + 500).await;
            told.set(Some(connected.map(|_| now_ms() - began_ms)));
        });
        outcome.take().unwrap()
    }

    #[test]
    fn connect_succeeds_fails_or_times_out() {
        assert_eq!(connect(Some(0)).unwrap(), 0);
        for errno in [libc::ECONNREFUSED, libc::ENETUNREACH, libc::EHOSTUNREACH] {
            assert_eq!(connect(Some(-errno)).unwrap_err().raw_os_error(), Some(errno));
        }
        // Nobody answers: cancelled at the deadline, which ECANCELED then means.
        let error = connect(None).unwrap_err();
        assert!(
            error.kind() == ErrorKind::TimedOut || error.raw_os_error() == Some(libc::ETIMEDOUT),
            "{error}"
        );
    }

    /// A watch's poll, with nobody reading: `wake` says how it ended.
    fn watched(script: Script, ready: bool) -> World {
        with_stream(script, async move |stream| {
            let watch = stream.watch();
            let mut late = std::pin::pin!(sleep_until_ms(now_ms() + 1_000));
            let gone = std::future::poll_fn(|cx| match watch.poll_gone(cx) {
                std::task::Poll::Ready(()) => std::task::Poll::Ready(true),
                std::task::Poll::Pending => late.as_mut().poll(cx).map(|()| false),
            });
            assert_eq!(gone.await, ready);
        })
    }

    #[test]
    fn a_watch_hears_of_the_end_and_of_a_lost_connection_but_not_of_data() {
        watched(vec![bytes(b"unread", true), result(Op::Recv, 0)], true);
        for errno in [libc::ECONNRESET, libc::ETIMEDOUT] {
            watched(vec![result(Op::Recv, -errno)], true);
        }
        watched(vec![bytes(b"unread", true), bytes(b"another", true)], false);
        watched(vec![result(Op::Recv, -libc::ENOBUFS)], false);
    }

    #[test]
    fn a_watch_polls_for_a_hang_up_only_where_the_receive_has_stopped() {
        let unread = || -> Script { (0..9).map(|_| bytes(b"unread", true)).collect() };
        let polled = |world: &World| world.trace.iter().any(|(op, _)| *op == Op::PollHup);
        assert!(!polled(&watched(vec![bytes(b"unread", true), result(Op::Recv, 0)], true)));
        let mut script = unread();
        script.push(result(Op::PollHup, i32::from(libc::POLLRDHUP)));
        assert!(polled(&watched(script, true)));
        // A poll that fails says nothing; one that never ends is cancelled with the stream.
        let mut script = unread();
        script.push(result(Op::PollHup, -libc::ENOMEM));
        assert!(polled(&watched(script, false)));
        assert!(watched(unread(), false).trace.contains(&(Op::PollHup, -libc::ECANCELED)));
    }

    #[test]
    fn a_receive_that_ran_out_of_buffers_waits_for_a_reader_that_lags() {
        let came = Rc::new(Cell::new(false));
        let mut script: Script = (0..7).map(|_| bytes(b"unread", true)).collect();
        script.push(result(Op::Recv, -libc::ENOBUFS));
        let more = Rc::clone(&came);
        let act = move |world: &mut World, at| {
            more.set(true);
            assert!(world.deliver(at, b"more", true));
        };
        script.extend([(Op::Recv, Box::new(act) as Box<_>), result(Op::Recv, 0)]);
        with_stream(script, async move |stream| {
            let mut received = 0;
            for unread in (4..7).rev() {
                sleep_until_ms(now_ms() + 100).await;
                assert!(!came.get(), "with {} unread", unread + 1);
                received += stream.recv().await.unwrap().unwrap().len();
            }
            sleep_until_ms(now_ms() + 100).await;
            assert!(came.get(), "with 4 unread");
            while let Some(buf) = stream.recv().await.unwrap() {
                received += buf.len();
            }
            assert_eq!(received, 7 * 6 + 4);
        });
    }

    /// The operation was over, or could not be stopped any more: its own completion is what counts.
    #[test]
    fn cancel_enoent_and_ealready_leave_it_to_the_operation() {
        // The ninth unread buffer stops a receive that has ended meanwhile.
        let mut script: Script = (0..8).map(|_| bytes(b"unread", true)).collect();
        script.push((
            Op::Recv,
            Box::new(|world, at| {
                assert!(world.deliver(at, b"unread", true));
                world.complete(at, 0);
            }),
        ));
        let world = with_stream(script, async |stream| {
            let mut received = 0;
            sleep_until_ms(now_ms() + 100).await;
            while let Some(buf) = stream.recv().await.unwrap() {
                received += buf.len();
            }
            assert_eq!(received, 9 * 6);
        });
        assert!(world.trace.contains(&(Op::Cancel, -libc::ENOENT)));
        for late in [bytes(b"late", false), result(Op::Recv, 0), result(Op::Recv, -libc::ECONNRESET)] {
            let mut late = Some(late);
            let step = move |world: &mut World| {
                world.stubborn = Some(Op::Recv);
                match (world.find(Op::Accept), world.find(Op::Recv)) {
                    (Some(at), None) if late.is_some() => world.connection(at, true),
                    // The stream is dropped by now: what still comes must end its slot, and nothing else.
                    (_, Some(at)) if world.trace.contains(&(Op::Cancel, -libc::EALREADY)) => {
                        if let Some((_, mut act)) = late.take() {
                            act(world, at);
                        }
                    }
                    _ => {}
                }
            };
            let world = simulate(step, || async {
                let listener = listener();
                let stream = listener.accept().await.unwrap();
                sleep_until_ms(now_ms() + 10).await;
                drop(stream);
                while stats().sockets > 0 {
                    sleep_until_ms(now_ms() + 10).await;
                }
                assert_eq!(stats().stray_completions, 0);
            });
            assert!(world.trace.contains(&(Op::Cancel, -libc::EALREADY)));
        }
    }

    #[test]
    fn enter_eintr_etime_ebusy_and_eagain_are_another_turn() {
        let refusals = [libc::EINTR, libc::ETIME, libc::EBUSY, libc::EAGAIN];
        let mut told = false;
        let mut script = play(vec![bytes(b"after all", true)]);
        let step = move |world: &mut World| {
            if !std::mem::replace(&mut told, true) {
                world.refusals = refusals.to_vec();
            }
            script(world);
        };
        let world = simulate(step, || async {
            let stream = listener().accept().await.unwrap();
            assert_eq!(&*stream.recv().await.unwrap().unwrap(), b"after all");
        });
        assert!(world.refusals.is_empty());
    }

    /// Anything else is the end of the core, not a loop that never sleeps.
    #[test]
    fn enter_with_another_error_ends_the_core() {
        let errors = [libc::EBADF, libc::EFAULT, libc::EINVAL];
        assert!(errors.iter().all(|e| driver::next_turn(io::Error::from_raw_os_error(*e)).is_err()));
    }

    /// A generator: enough to be different for each seed.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb).wrapping_shr(33) % sides
        }
    }

    const ECHO_BYTES: usize = 20_000;

    /// One hostile answer after the other to whatever waits; every byte must come back, in order.
    fn echo(seed: u64) -> (Vec<u8>, Vec<(Op, i32)>) {
        let echoed = Rc::new(RefCell::new(Vec::new()));
        let collected = Rc::clone(&echoed);
        let (mut dice, mut given, mut accepted) = (Dice(seed), 0usize, false);
        let step = move |world: &mut World| {
            for _ in 0..dice.roll(4) {
                if world.pending.is_empty() {
                    return;
                }
                let at = dice.roll(world.pending.len() as u64) as usize;
                match world.pending[at].op {
                    Op::Accept if !std::mem::replace(&mut accepted, true) => {
                        world.connection(at, dice.roll(2) == 0)
                    }
                    Op::Recv => match dice.roll(8) {
                        0 => world.complete(at, -libc::ENOBUFS),
                        1 => world.complete(at, -libc::EAGAIN),
                        2 => world.complete(at, -libc::ECANCELED),
                        _ if given == ECHO_BYTES => world.complete(at, 0),
                        _ => {
                            let len = (1 + dice.roll(900) as usize).min(ECHO_BYTES - given);
                            let bytes: Vec<u8> = (given..given + len).map(|n| (n * 7 % 251) as u8).collect();
                            if world.deliver(at, &bytes, dice.roll(3) > 0) {
                                given += len;
                            }
                        }
                    },
                    Op::Send => match dice.roll(4) {
                        0 => world.complete(at, -libc::EAGAIN),
                        1 => {
                            let len = 1 + dice.roll(world.pending[at].bytes.len() as u64) as usize;
                            collected.borrow_mut().extend_from_slice(&world.pending[at].bytes[..len]);
                            world.complete(at, len as i32);
                        }
                        _ => {
                            let bytes = world.pending[at].bytes.clone();
                            collected.borrow_mut().extend_from_slice(&bytes);
                            world.complete(at, bytes.len() as i32);
                        }
                    },
                    Op::PollOut => world.complete(at, i32::from(libc::POLLOUT)),
                    _ => {}
                }
            }
        };
        let world = simulate(step, || async {
            let ended = Rc::new(Cell::new(false));
            let over = Rc::clone(&ended);
            spawn(async move {
                let stream = listener().accept().await.unwrap();
                while let Some(buf) = stream.recv().await.unwrap() {
                    stream.write_buf(buf);
                    stream.sent_below(4_000).await.unwrap();
                }
                stream.flushed().await.unwrap();
                over.set(true);
            });
            while !ended.get() {
                // Wakes a world whose dice did nothing.
                sleep_until_ms(now_ms() + 1).await;
            }
            assert_eq!(stats().stray_completions, 0);
        });
        (Rc::try_unwrap(echoed).unwrap().into_inner(), world.trace)
    }

    #[test]
    fn whatever_the_kernel_answers_no_byte_is_lost_and_a_seed_replays_the_run() {
        let expected: Vec<u8> = (0..ECHO_BYTES).map(|n| (n * 7 % 251) as u8).collect();
        let mut runs = Vec::new();
        for seed in 0..64 {
            let (echoed, trace) = echo(seed);
            assert!(echoed == expected, "seed {seed} loses or mixes bytes");
            runs.push(trace);
        }
        assert!(runs[0] == echo(0).1, "the same seed is the same run");
        assert!(runs[0] != runs[1], "another seed is another run");
    }

    #[test]
    fn the_clock_is_virtual() {
        let began = std::time::Instant::now();
        simulate(
            |_| {},
            || async {
                let from_ms = now_ms();
                sleep_until_ms(from_ms + 86_400_000).await;
                assert!((86_400_000..86_400_020).contains(&(now_ms() - from_ms)));
            },
        );
        assert!(began.elapsed() < Duration::from_secs(60), "a day took a day");
    }
}
