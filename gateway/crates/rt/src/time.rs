//! Time as a core sees it, and sleeping.

use crate::{
    executor::{self, Core},
    io::{Ios, TimerOwner},
    task::Waiter,
    wheel::TimerId,
};
use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// CLOCK_MONOTONIC, read now.
pub fn clock_ns() -> u64 {
    #[cfg(test)]
    if let Some(now_ns) = crate::sim::Sim::clock_ns() {
        return now_ns;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a local. CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CLOCK_MONOTONIC as read at the start of this loop turn; read now on a thread that runs no core.
#[inline]
pub fn now_ns() -> u64 {
    executor::with_current(Core::now_ns).unwrap_or_else(clock_ns)
}

/// [`now_ns`] in milliseconds: the scale of deadlines.
#[inline]
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Tasks waiting for the wheel.
#[derive(Default)]
pub(crate) struct Sleepers {
    waiters: Vec<Waiter>,
    free: Vec<u32>,
}

impl Sleepers {
    fn insert(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.waiters.push(Waiter::Nobody);
            self.waiters.len() as u32 - 1
        })
    }

    fn set(&mut self, index: u32, waiter: Waiter) -> Waiter {
        self.waiters.get_mut(index as usize).map(|slot| std::mem::replace(slot, waiter)).unwrap_or_default()
    }

    fn remove(&mut self, index: u32) -> Waiter {
        self.free.push(index);
        self.set(index, Waiter::Nobody)
    }

    pub(crate) fn fire(&mut self, index: u32) -> Waiter {
        self.set(index, Waiter::Nobody)
    }
}

/// Sleeps until [`now_ms`] has reached `deadline_ms`; up to 10 ms longer, never shorter.
pub fn sleep_until_ms(deadline_ms: u64) -> Sleep {
    Sleep { deadline_ms, armed: None }
}

/// Future of [`sleep_until_ms`].
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    deadline_ms: u64,
    armed: Option<Armed>,
}

struct Armed {
    core: Rc<Core>,
    timer: TimerId,
    sleeper: u32,
}

impl Armed {
    fn new(core: Rc<Core>, deadline_ms: u64) -> Armed {
        let (timer, sleeper) = {
            let mut io = core.io.borrow_mut();
            let Ios { sleepers, wheel, .. } = &mut *io;
            let sleeper = sleepers.insert();
            let timer = wheel.insert(TimerOwner::Sleeper(sleeper).encode());
            wheel.set(timer, deadline_ms);
            (timer, sleeper)
        };
        Armed { core, timer, sleeper }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let waiter = {
            let mut io = self.core.io.borrow_mut();
            io.wheel.remove(self.timer);
            io.sleepers.remove(self.sleeper)
        };
        drop(waiter);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now_ms() >= self.deadline_ms {
            self.armed = None;
            return Poll::Ready(());
        }
        let deadline_ms = self.deadline_ms;
        if self.armed.is_none() {
            self.armed = executor::current().map(|core| Armed::new(core, deadline_ms));
        }
        let Some(armed) = &self.armed else {
            // Without a loop nothing would ever wake us: poll again until the time has come.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let waiter = Waiter::new(cx.waker());
        let replaced = armed.core.io.borrow_mut().sleepers.set(armed.sleeper, waiter);
        drop(replaced);
        Poll::Pending
    }
}

/// Lets other tasks and completions have a turn.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
