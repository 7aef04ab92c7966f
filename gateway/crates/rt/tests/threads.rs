//! Tasks, and what reaches them from other threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use common::{config, core, soon};
use sluice_rt::{
    Config, Engine, Wait, clock_ns, driver, mailbox, now_ms, now_ns, run, sleep_until_ms, spawn, stats,
    yield_now,
};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

#[test]
fn mailboxes_deliver_everything_from_many_threads_in_each_ones_order() {
    const SENDERS: usize = 4;
    const VALUES: usize = 5_000;
    let (sender, mut receiver) = mailbox();
    let threads: Vec<_> = (0..SENDERS)
        .map(|from| {
            let sender = sender.clone();
            thread::spawn(move || (0..VALUES).for_each(|value| sender.send((from, value)).unwrap()))
        })
        .collect();
    drop(sender);
    core(move || async move {
        let mut next = [0; SENDERS];
        while let Some((from, value)) = receiver.recv().await {
            assert_eq!(value, next[from]);
            next[from] += 1;
        }
        assert_eq!(next, [VALUES; SENDERS]);
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_sleeping_core_is_woken_by_mail() {
    let (to_core, mut at_core) = mailbox();
    let (to_us, at_us) = mpsc::channel();
    let running = thread::spawn(move || {
        core(move || async move {
            while let Some(value) = at_core.recv().await {
                to_us.send(value).unwrap();
            }
        });
    });
    // One at a time, so that the core falls asleep in between.
    for value in 0..2_000 {
        to_core.send(value).unwrap();
        assert_eq!(at_us.recv_timeout(Duration::from_secs(60)).unwrap(), value);
    }
    drop(to_core);
    running.join().unwrap();
}

#[test]
fn a_mailbox_without_receiver_gives_the_value_back() {
    let (sender, receiver) = mailbox();
    sender.send(1).unwrap();
    drop(receiver);
    assert_eq!(sender.send(2), Err(2));
}

#[test]
fn two_cores_play_ping_pong() {
    let (to_left, mut at_left) = mailbox();
    let (to_right, mut at_right) = mailbox();
    let right = thread::spawn(move || {
        core(move || async move {
            while let Some(value) = at_right.recv().await {
                to_left.send(value + 1).unwrap();
            }
        });
    });
    core(move || async move {
        for value in 0..1_000 {
            to_right.send(value).unwrap();
            assert_eq!(at_left.recv().await, Some(value + 1));
        }
    });
    right.join().unwrap();
}

#[test]
fn wakers_work_from_any_thread_even_after_their_task() {
    let slot: Arc<Mutex<Option<Waker>>> = Arc::default();
    let woken = Arc::new(AtomicBool::new(false));
    let (theirs, flag) = (Arc::clone(&slot), Arc::clone(&woken));
    let waking = thread::spawn(move || {
        let waker = loop {
            match theirs.lock().unwrap().take() {
                Some(waker) => break waker,
                None => thread::yield_now(),
            }
        };
        flag.store(true, Ordering::Release);
        waker.wake_by_ref();
        waker
    });
    core(move || async move {
        poll_fn(|cx| {
            if woken.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            *slot.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    });
    let stale = waking.join().unwrap();
    stale.wake_by_ref();
    core(|| async { yield_now().await });
    stale.wake();
}

struct Flag(AtomicUsize);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_foreign_waker_is_woken_like_our_own() {
    core(|| async {
        let flag = Arc::new(Flag(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut sleep = Box::pin(sleep_until_ms(now_ms() + 20));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        sleep_until_ms(now_ms() + 50).await;
        assert_eq!(flag.0.load(Ordering::Relaxed), 1);
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    });
}

#[test]
fn sleepers_wake_in_order_and_never_early() {
    core(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start_ms = now_ms();
        for delay_ms in [90, 30, 60, 0, 120] {
            let order = Rc::clone(&order);
            spawn(async move {
                sleep_until_ms(start_ms + delay_ms).await;
                assert!(clock_ns() / 1_000_000 >= start_ms + delay_ms);
                order.borrow_mut().push(delay_ms);
            });
        }
        while order.borrow().len() < 5 {
            sleep_until_ms(now_ms() + 10).await;
        }
        assert_eq!(*order.borrow(), [0, 30, 60, 90, 120]);
        drop(sleep_until_ms(soon()));
    });
}

#[test]
fn time_stands_still_within_a_turn() {
    core(|| async {
        let before = now_ns();
        while clock_ns() < before + 1_000_000 {}
        assert_eq!(now_ns(), before);
        yield_now().await;
        assert!(now_ns() >= before + 1_000_000);
    });
}

#[test]
fn a_panicking_task_ends_alone() {
    core(|| async {
        struct PanicsOnDrop;
        impl Drop for PanicsOnDrop {
            fn drop(&mut self) {
                panic!("a test's panic, in a destructor");
            }
        }
        spawn(async { panic!("a test's panic") });
        spawn(async {
            let _held = PanicsOnDrop;
        });
        let ran = Rc::new(Cell::new(false));
        let other = Rc::clone(&ran);
        spawn(async move {
            yield_now().await;
            other.set(true);
        });
        while !ran.get() {
            yield_now().await;
        }
        assert_eq!((stats().task_panics, stats().tasks), (2, 1));
    });
}

#[test]
fn a_panic_of_the_root_is_the_callers() {
    let outcome = catch_unwind(AssertUnwindSafe(|| core(|| async { panic!("a test's panic") })));
    assert!(outcome.is_err());
    // The thread can run a core again.
    core(|| async {});
}

#[test]
fn the_end_of_the_root_drops_the_other_tasks() {
    let dropped = Rc::new(Cell::new(0));
    struct Counts(Rc<Cell<u32>>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            // Destructors may still use the core.
            spawn(async {});
        }
    }
    let counted = Rc::clone(&dropped);
    core(move || async move {
        for _ in 0..10 {
            let held = Counts(Rc::clone(&counted));
            spawn(async move {
                sleep_until_ms(soon()).await;
                drop(held);
            });
        }
        yield_now().await;
    });
    assert_eq!(dropped.get(), 10);
}

#[test]
fn cores_do_not_nest_and_calls_outside_one_fail() {
    core(|| async {
        assert!(run(config(), || async {}).is_err());
    });
    spawn(async { panic!("never polled") });
    assert_eq!(stats().turns, 0);
    assert!(now_ms() > 0);
}

#[test]
fn every_way_of_waiting_serves() {
    for wait in [Wait::Sleep, Wait::Spin { spin_us: 200 }, Wait::Gather { min_wait_us: 200 }] {
        let (sender, mut receiver) = mailbox();
        let sending = thread::spawn(move || (0..50).for_each(|value| sender.send(value).unwrap()));
        run(Config { wait, ..config() }, move || async move {
            let mut sum = 0;
            while let Some(value) = receiver.recv().await {
                sum += value;
                sleep_until_ms(now_ms() + 1).await;
            }
            assert_eq!(sum, (0..50).sum());
        })
        .unwrap();
        sending.join().unwrap();
    }
}

#[test]
fn a_size_that_cannot_be_is_refused() {
    let error = run(Config { buffers: 3, ..config() }, || async {}).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn the_driver_is_the_one_that_was_asked_for() {
    let named = if config().engine == Engine::Epoll { "epoll" } else { "io_uring" };
    core(move || async move { assert_eq!(driver(), Some(named)) });
    assert_eq!(driver(), None);
    assert!(sluice_rt::check_io_uring().is_ok());
}
