//! Tasks and wakers. A waker is three numbers in one pointer-sized word: core, slot, generation. Cloning and dropping
//! it is free, and waking a task that has ended does nothing.

use crate::{
    executor::{self, Core},
    inbox::Doorbell,
};
use std::{
    future::Future,
    io,
    mem::ManuallyDrop,
    os::fd::RawFd,
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{RawWaker, RawWakerVTable, Waker},
};

const CORE_BITS: u32 = 10;
const SLOT_BITS: u32 = 26;
const GENERATION_BITS: u32 = 64 - CORE_BITS - SLOT_BITS;
const MAX_CORES: usize = 1 << CORE_BITS;
const MAX_TASKS: usize = 1 << SLOT_BITS;

const _: () = assert!(usize::BITS == 64, "wakers pack three numbers in a 64-bit word");

/// Names a task for ever: a slot reused by another task has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskKey(u64);

impl TaskKey {
    fn new(core: u16, slot: u32, generation: u32) -> TaskKey {
        let generation = u64::from(generation) & ((1 << GENERATION_BITS) - 1);
        TaskKey(u64::from(core) << (64 - CORE_BITS) | generation << SLOT_BITS | u64::from(slot))
    }

    fn core(self) -> u16 {
        (self.0 >> (64 - CORE_BITS)) as u16
    }

    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> SLOT_BITS & ((1 << GENERATION_BITS) - 1)) as u32
    }

    /// A waker for this task. Nothing happens when it is dropped.
    pub(crate) fn waker(self) -> ManuallyDrop<Waker> {
        // SAFETY: the vtable's functions take any word and touch no memory through it.
        ManuallyDrop::new(unsafe { Waker::from_raw(raw(self.0)) })
    }

    /// The task behind `waker`, if it is one of ours.
    #[inline]
    fn of(waker: &Waker) -> Option<TaskKey> {
        std::ptr::eq(waker.vtable(), &VTABLE).then(|| TaskKey(waker.data().addr() as u64))
    }

    /// Makes the task run soon, from whatever thread.
    #[inline]
    pub(crate) fn wake(self) {
        let local = executor::with_current(|core| {
            (core.index() == self.core()).then(|| core.tasks.borrow_mut().make_ready(self))
        });
        if local.flatten().is_none() {
            Remote::of(self.core()).wake(self);
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(raw_clone, raw_wake, raw_wake, raw_drop);

fn raw(word: u64) -> RawWaker {
    RawWaker::new(std::ptr::without_provenance(word as usize), &VTABLE)
}

fn raw_clone(word: *const ()) -> RawWaker {
    raw(word.addr() as u64)
}

fn raw_wake(word: *const ()) {
    TaskKey(word.addr() as u64).wake();
}

fn raw_drop(_: *const ()) {}

/// Who waits for a socket or timer: nearly always a task of this core, stored as its key.
#[derive(Debug, Default)]
pub(crate) enum Waiter {
    #[default]
    Nobody,
    Task(TaskKey),
    /// A waker made by a combinator or another executor. Cloning and dropping it runs code we don't know, so that
    /// must happen while nothing of the core is borrowed.
    Foreign(Waker),
}

impl Waiter {
    #[inline]
    pub(crate) fn new(waker: &Waker) -> Waiter {
        match TaskKey::of(waker) {
            Some(key) => Waiter::Task(key),
            None => Waiter::Foreign(waker.clone()),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Waiter {
        std::mem::take(self)
    }

    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self, Waiter::Nobody)
    }

    /// Polls the task right away if it is ours, else wakes it. Only for the loop, between tasks.
    #[inline]
    pub(crate) fn resume(self, core: &Core) {
        match self {
            Waiter::Nobody => {}
            Waiter::Task(key) if key.core() == core.index() => core.poll_task(key),
            Waiter::Task(key) => key.wake(),
            Waiter::Foreign(waker) => waker.wake(),
        }
    }

    /// Makes the task run soon.
    pub(crate) fn wake(self) {
        match self {
            Waiter::Nobody => {}
            Waiter::Task(key) => key.wake(),
            Waiter::Foreign(waker) => waker.wake(),
        }
    }
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Slot {
    generation: u32,
    alive: bool,
    /// On the ready list.
    queued: bool,
    /// Taken out while it is polled, so that nothing is borrowed meanwhile.
    task: Option<Task>,
}

/// The tasks of one core.
pub(crate) struct Tasks {
    core: u16,
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: Vec<TaskKey>,
}

impl Tasks {
    pub(crate) fn new(core: u16) -> Tasks {
        Tasks { core, slots: Vec::new(), free: Vec::new(), ready: Vec::new() }
    }

    /// Adds a task, which is ready at once.
    pub(crate) fn insert(&mut self, task: Task) -> TaskKey {
        let index = self.free.pop().unwrap_or_else(|| {
            assert!(self.slots.len() < MAX_TASKS, "more than {MAX_TASKS} tasks on one core");
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let mut generation = 0;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            (slot.alive, slot.queued, slot.task) = (true, false, Some(task));
            generation = slot.generation;
        }
        let key = TaskKey::new(self.core, index, generation);
        self.make_ready(key);
        key
    }

    #[inline]
    fn slot(&mut self, key: TaskKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.slot()).filter(|slot| slot.alive && slot.generation == key.generation())
    }

    #[inline]
    pub(crate) fn make_ready(&mut self, key: TaskKey) {
        if let Some(slot) = self.slot(key)
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.ready.push(key);
        }
    }

    pub(crate) fn is_alive(&mut self, key: TaskKey) -> bool {
        self.slot(key).is_some()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Exchanges the ready list for an empty one.
    pub(crate) fn swap_ready(&mut self, empty: &mut Vec<TaskKey>) {
        std::mem::swap(&mut self.ready, empty);
    }

    /// Takes a task out to be polled.
    #[inline]
    pub(crate) fn take(&mut self, key: TaskKey) -> Option<Task> {
        let slot = self.slot(key)?;
        slot.queued = false;
        slot.task.take()
    }

    /// Puts a pending task back.
    #[inline]
    pub(crate) fn put_back(&mut self, key: TaskKey, task: Task) {
        if let Some(slot) = self.slot(key) {
            slot.task = Some(task);
        }
    }

    /// Frees the slot of a task that was taken out and has ended.
    pub(crate) fn finish(&mut self, key: TaskKey) {
        if let Some(slot) = self.slot(key) {
            slot.alive = false;
            slot.generation = (slot.generation + 1) & ((1 << GENERATION_BITS) - 1);
            self.free.push(key.slot() as u32);
        }
    }

    pub(crate) fn alive(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes all tasks out, to be dropped where nothing is borrowed.
    pub(crate) fn take_all(&mut self) -> Vec<Task> {
        self.ready.clear();
        let core = self.core;
        let keys: Vec<TaskKey> = (self.slots.iter().enumerate())
            .filter(|(_, slot)| slot.alive)
            .map(|(index, slot)| TaskKey::new(core, index as u32, slot.generation))
            .collect();
        let mut tasks = Vec::with_capacity(keys.len());
        for key in keys {
            tasks.extend(self.take(key));
            self.finish(key);
        }
        tasks
    }
}

/// What other threads know of a core. Never freed, so a waker may outlive its core; reused by later ones.
pub(crate) struct Remote {
    claimed: AtomicBool,
    woken: Doorbell<TaskKey>,
    bell: OnceLock<RawFd>,
}

static REMOTES: [OnceLock<Remote>; MAX_CORES] = [const { OnceLock::new() }; MAX_CORES];

impl Remote {
    fn of(core: u16) -> &'static Remote {
        // A core index has ten bits, so the fallback is never taken.
        let slot = REMOTES.get(core as usize).unwrap_or(&REMOTES[0]);
        slot.get_or_init(|| Remote {
            claimed: AtomicBool::new(false),
            woken: Doorbell::new(),
            bell: OnceLock::new(),
        })
    }

    /// Takes the first unused entry of the table.
    pub(crate) fn claim() -> io::Result<(u16, &'static Remote)> {
        for core in 0..MAX_CORES as u16 {
            let remote = Remote::of(core);
            if remote.claimed.swap(true, Ordering::AcqRel) {
                continue;
            }
            if remote.bell.get().is_none() {
                // SAFETY: makes a descriptor, touches no memory.
                let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
                if fd < 0 {
                    let error = io::Error::last_os_error();
                    remote.release();
                    return Err(error);
                }
                // Kept open with the entry, since a late waker may ring at any time.
                let _ = remote.bell.set(fd);
            }
            return Ok((core, remote));
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("more than {MAX_CORES} cores running")))
    }

    /// The core has ended. What is still in the box wakes nobody: generations tell, or at worst a task once too often.
    pub(crate) fn release(&self) {
        self.claimed.store(false, Ordering::Release);
    }

    /// The eventfd to be read while the core sleeps.
    pub(crate) fn bell(&self) -> RawFd {
        self.bell.get().copied().unwrap_or(-1)
    }

    fn wake(&self, key: TaskKey) {
        if !self.claimed.load(Ordering::Acquire) || !self.woken.push(key) {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes from a local array. It can only fail when 2^64 - 2 rings are pending, that is when
        // the core is about to wake anyway.
        unsafe { libc::write(self.bell(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn doorbell(&self) -> &Doorbell<TaskKey> {
        &self.woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_packs_and_unpacks() {
        let key = TaskKey::new(1023, (1 << SLOT_BITS) - 1, (1 << GENERATION_BITS) - 1);
        assert_eq!((key.core(), key.slot(), key.generation()), (1023, (1 << 26) - 1, (1 << 28) - 1));
        assert_eq!(TaskKey::of(&key.waker()), Some(key));
        assert_eq!(TaskKey::of(Waker::noop()), None);
    }

    #[test]
    fn an_ended_task_is_not_woken_in_its_successor() {
        let mut tasks = Tasks::new(0);
        let first = tasks.insert(Box::pin(async {}));
        drop(tasks.take(first));
        tasks.finish(first);
        let second = tasks.insert(Box::pin(async {}));
        assert_eq!(first.slot(), second.slot());
        let mut ready = Vec::new();
        tasks.swap_ready(&mut ready);
        tasks.make_ready(first);
        assert!(!tasks.has_ready());
        assert!(tasks.is_alive(second) && !tasks.is_alive(first));
    }

    #[test]
    fn a_task_is_queued_once() {
        let mut tasks = Tasks::new(0);
        let key = tasks.insert(Box::pin(async {}));
        tasks.make_ready(key);
        let mut ready = Vec::new();
        tasks.swap_ready(&mut ready);
        assert_eq!(ready, [key]);
    }
}
