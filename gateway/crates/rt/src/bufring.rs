//! Receive buffers: a ring of them that the kernel picks from, and the handle a reader gets.

use crate::ring::Ring;
use io_uring::types::BufRingEntry;
use std::{
    cell::Cell,
    fmt, io,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

/// Keeps the starts of buffers from all landing in the same L1 set.
const STRIDE_PAD_BYTES: usize = 192;

/// Anonymous private memory, unmapped on drop.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a fresh anonymous mapping touches nothing that exists.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(base.cast()) {
            Some(base) => Ok(Mapping { base, len }),
            None => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// One group of provided buffers.
///
/// A buffer belongs to the kernel from [`BufRing::put`] until a completion names it, then to exactly one [`Buf`].
pub(crate) struct BufRing {
    entries: Mapping,
    memory: Mapping,
    group: u16,
    count: u16,
    buffer_bytes: usize,
    tail: Cell<u16>,
    /// The next entry to be used, where it is not the kernel who picks.
    head: Cell<u16>,
    published: Cell<u16>,
    /// Buffers the kernel has, as far as reaped completions tell.
    free: Cell<u16>,
}

impl BufRing {
    /// Makes `count` buffers (a power of two) that are `group`.
    pub(crate) fn new(group: u16, count: u16, buffer_bytes: u32) -> io::Result<Rc<BufRing>> {
        let valid = count.is_power_of_two() && count <= 1 << 15 && (1..=1 << 24).contains(&buffer_bytes);
        if !valid {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "expected a power of two of buffers up to 32768, found {count} of {buffer_bytes} bytes"
                ),
            ));
        }
        let buffer_bytes = buffer_bytes as usize;
        let memory = Mapping::new(usize::from(count) * (buffer_bytes + STRIDE_PAD_BYTES))?;
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let zero = || Cell::new(0);
        let pool = BufRing {
            entries,
            memory,
            group,
            count,
            buffer_bytes,
            tail: zero(),
            head: zero(),
            published: zero(),
            free: zero(),
        };
        (0..count).for_each(|id| pool.put(id));
        pool.publish();
        Ok(Rc::new(pool))
    }

    /// Gives the buffers to the kernel. The caller keeps them alive as long as `ring`.
    pub(crate) fn register(&self, ring: &Ring) -> io::Result<()> {
        let address = self.entries.base.as_ptr() as u64;
        // SAFETY: the mapping is page aligned and outlives the ring, see above.
        unsafe { ring.register_buffers(address, self.count, self.group) }
    }

    /// For drivers that do the kernel's part: the buffer that the next receive fills, its first byte and its size.
    pub(crate) fn peek(&self) -> Option<(u16, *mut u8, usize)> {
        let head = self.head.get();
        if head == self.tail.get() {
            return None;
        }
        let slot = usize::from(head & (self.count - 1));
        // SAFETY: in the mapping, as in `put`, which has filled the entry in.
        let id = unsafe { (*self.entries.base.as_ptr().cast::<BufRingEntry>().add(slot)).bid() };
        Some((id, self.start(id), self.buffer_bytes))
    }

    /// The peeked buffer has been filled.
    pub(crate) fn pop(&self) {
        self.head.set(self.head.get().wrapping_add(1));
    }

    pub(crate) fn group(&self) -> u16 {
        self.group
    }

    /// Gives buffer `id` to the kernel at the next [`BufRing::publish`].
    #[inline]
    fn put(&self, id: u16) {
        let tail = self.tail.get();
        let slot = usize::from(tail & (self.count - 1));
        // SAFETY: `slot` < `count`, so the entry lies in the mapping, and the kernel does not read it before the
        // tail moves past it. Only fields are written: the first entry shares memory with the tail.
        unsafe {
            let entry = &mut *self.entries.base.as_ptr().cast::<BufRingEntry>().add(slot);
            entry.set_addr(self.start(id) as u64);
            entry.set_len(self.buffer_bytes as u32);
            entry.set_bid(id);
        }
        self.tail.set(tail.wrapping_add(1));
        self.free.set(self.free.get() + 1);
    }

    /// Lets the kernel see the buffers returned since the last call.
    #[inline]
    pub(crate) fn publish(&self) {
        let tail = self.tail.get();
        if self.published.replace(tail) == tail {
            return;
        }
        // SAFETY: the tail lies in the first entry of the mapping, aligned, and is only ever accessed atomically.
        let shared = unsafe {
            AtomicU16::from_ptr(
                BufRingEntry::tail(self.entries.base.as_ptr().cast::<BufRingEntry>()).cast_mut(),
            )
        };
        shared.store(tail, Ordering::Release);
    }

    /// Takes over buffer `id`, filled with `len` bytes, from a completion. Call once per completion.
    #[inline]
    pub(crate) fn take(self: &Rc<Self>, id: u16, len: usize) -> Buf {
        debug_assert!(id < self.count && len <= self.buffer_bytes);
        self.free.set(self.free.get().saturating_sub(1));
        let len = len.min(self.buffer_bytes) as u32;
        Buf {
            storage: Storage::Ring { pool: Rc::clone(self), id: id & (self.count - 1) },
            start: 0,
            end: len,
        }
    }

    /// Under a quarter left: whoever holds on to data should copy it.
    #[inline]
    pub(crate) fn is_low(&self) -> bool {
        self.free.get() < self.count / 4
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.get() == 0
    }

    /// First byte of buffer `id`, which the caller keeps below `count`.
    #[inline]
    fn start(&self, id: u16) -> *mut u8 {
        let offset = usize::from(id) * (self.buffer_bytes + STRIDE_PAD_BYTES);
        // SAFETY: in the mapping, since `id` < `count`.
        unsafe { self.memory.base.as_ptr().add(offset) }
    }
}

enum Storage {
    Ring { pool: Rc<BufRing>, id: u16 },
    Heap(Vec<u8>),
}

/// Received bytes. Dropping it gives the memory back to the engine.
///
/// Usually a buffer of the core's ring, of which there are few: consume it soon, hand it to
/// [`crate::Stream::write_buf`], or [`Buf::detach`] it.
pub struct Buf {
    storage: Storage,
    start: u32,
    end: u32,
}

impl Buf {
    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether no byte is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `count` bytes, or all there are.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.start += count.min(self.len()) as u32;
    }

    /// Keeps the first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.end = self.start + len.min(self.len()) as u32;
    }

    /// Splits at `at`: `self` keeps the bytes before, the rest is copied to a buffer of its own.
    pub fn split_off(&mut self, at: usize) -> Buf {
        let rest = self.get(at..).map(<[u8]>::to_vec).unwrap_or_default();
        self.truncate(at);
        Buf::from(rest)
    }

    /// Moves the bytes to the heap, so that the ring gets its buffer back. For data that is kept for long.
    pub fn detach(&mut self) {
        if self.is_ring() {
            *self = Buf::from(self.to_vec());
        }
    }

    /// Whether this holds one of the core's ring buffers.
    pub(crate) fn is_ring(&self) -> bool {
        matches!(self.storage, Storage::Ring { .. })
    }

    /// Detaches if its ring is running low, and says whether it did.
    #[inline]
    pub(crate) fn detach_if_low(&mut self) -> bool {
        match &self.storage {
            Storage::Ring { pool, .. } if pool.is_low() => {
                self.detach();
                true
            }
            _ => false,
        }
    }
}

impl From<Vec<u8>> for Buf {
    fn from(mut bytes: Vec<u8>) -> Buf {
        bytes.truncate(u32::MAX as usize);
        let end = bytes.len() as u32;
        Buf { storage: Storage::Heap(bytes), start: 0, end }
    }
}

impl Deref for Buf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.storage {
            Storage::Ring { pool, id } => {
                // SAFETY: `start` <= `end` <= buffer size; the buffer is ours alone until `put`, and its bytes were
                // written by the kernel or zeroed by mmap.
                unsafe { std::slice::from_raw_parts(pool.start(*id).add(self.start as usize), self.len()) }
            }
            Storage::Heap(bytes) => bytes.get(self.start as usize..self.end as usize).unwrap_or_default(),
        }
    }
}

/// For a reader that changes bytes where they are, as decryption does.
impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        match &mut self.storage {
            Storage::Ring { pool, id } => {
                // SAFETY: as in `deref`; `&mut self` makes this the only reference, and the mapping is writable.
                unsafe { std::slice::from_raw_parts_mut(pool.start(*id).add(self.start as usize), len) }
            }
            Storage::Heap(bytes) => bytes.get_mut(self.start as usize..self.end as usize).unwrap_or_default(),
        }
    }
}

impl Drop for Buf {
    #[inline]
    fn drop(&mut self) {
        if let Storage::Ring { pool, id } = &self.storage {
            pool.put(*id);
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buf").field("len", &self.len()).field("ring", &self.is_ring()).finish()
    }
}
