//! What a stream has yet to send: the queue its task writes to, and the batch the kernel works on.

use crate::bufring::Buf;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

/// Shorter payloads are copied behind what is queued: a separate segment costs more than the copy.
const COPY_BELOW_BYTES: usize = 512;
/// Segments of one gathered send, well under the kernel's IOV_MAX of 1,024.
const GATHER_SEGMENTS: usize = 64;
/// A vector that grew beyond this by a big write is freed rather than pooled.
const POOLED_VEC_MAX_BYTES: usize = 64 * 1024;
/// Vectors kept per core.
const POOLED_VECS: usize = 256;
const VEC_BYTES: usize = 1024;

/// Output vectors of a core, last used first out: warm in cache, and an idle connection holds none.
#[derive(Default)]
pub(crate) struct VecPool {
    free: Vec<Vec<u8>>,
    /// Gathers, kept likewise. Boxed, since the kernel reads them where they are.
    #[allow(clippy::vec_box, reason = "the box goes from here to a flight and back")]
    gathers: Vec<Box<Gather>>,
    /// Spent segments whose drop may run code we don't know. The loop drops them while nothing is borrowed.
    pub(crate) trash: Vec<Bytes>,
}

impl VecPool {
    #[inline]
    pub(crate) fn get(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(VEC_BYTES))
    }

    #[inline]
    pub(crate) fn put(&mut self, mut vec: Vec<u8>) {
        if self.free.len() < POOLED_VECS && (1..=POOLED_VEC_MAX_BYTES).contains(&vec.capacity()) {
            vec.clear();
            self.free.push(vec);
        }
    }

    #[inline]
    pub(crate) fn recycle(&mut self, segment: Segment) {
        match segment {
            Segment::Heap(vec) => self.put(vec),
            Segment::Shared(bytes) => self.trash.push(bytes),
            Segment::Ring(_) => {}
        }
    }
}

/// Bytes to be sent, owned until the kernel has them. Their address doesn't change when the segment moves.
pub(crate) enum Segment {
    Heap(Vec<u8>),
    Shared(Bytes),
    Ring(Buf),
}

impl Segment {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Segment::Heap(vec) => vec,
            Segment::Shared(bytes) => bytes,
            Segment::Ring(buf) => buf,
        }
    }
}

/// Written, not yet handed to the kernel. Order: `segments`, then `tail`.
#[derive(Default)]
pub(crate) struct OutQueue {
    segments: VecDeque<Segment>,
    tail: Vec<u8>,
    segment_bytes: usize,
}

impl OutQueue {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.segment_bytes + self.tail.len()
    }

    /// Whether one batch takes it all.
    pub(crate) fn is_one_batch(&self) -> bool {
        self.segments.len() < GATHER_SEGMENTS
    }

    /// Takes the vector to append to; give it back with [`OutQueue::put_tail`].
    #[inline]
    pub(crate) fn take_tail(&mut self, pool: &mut VecPool) -> Vec<u8> {
        if self.tail.capacity() == 0 { pool.get() } else { std::mem::take(&mut self.tail) }
    }

    /// Puts the vector back. What was written meanwhile (by the closure that had it) stays behind it.
    #[inline]
    pub(crate) fn put_tail(&mut self, vec: Vec<u8>, pool: &mut VecPool) {
        let written = std::mem::replace(&mut self.tail, vec);
        if written.capacity() > 0 {
            self.tail.extend_from_slice(&written);
            pool.put(written);
        }
    }

    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8], pool: &mut VecPool) {
        let mut tail = self.take_tail(pool);
        tail.extend_from_slice(bytes);
        self.tail = tail;
    }

    pub(crate) fn push(&mut self, segment: Segment, pool: &mut VecPool) {
        let bytes = segment.bytes();
        if bytes.len() < COPY_BELOW_BYTES {
            self.append(bytes, pool);
            return pool.recycle(segment);
        }
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.segment_bytes += tail.len();
            self.segments.push_back(Segment::Heap(tail));
        }
        self.segment_bytes += bytes.len();
        self.segments.push_back(segment);
    }

    pub(crate) fn clear(&mut self, pool: &mut VecPool) {
        self.segment_bytes = 0;
        self.segments.drain(..).for_each(|segment| pool.recycle(segment));
        pool.put(std::mem::take(&mut self.tail));
    }

    /// Takes the next batch for the kernel. Empty queue: [`Flight::Idle`].
    #[inline]
    pub(crate) fn take_batch(&mut self, pool: &mut VecPool) -> Flight {
        if self.segments.is_empty() {
            if self.tail.is_empty() {
                return Flight::Idle;
            }
            return Flight::One { segment: Segment::Heap(std::mem::take(&mut self.tail)), sent: 0 };
        }
        self.take_gathered(pool)
    }

    fn take_gathered(&mut self, pool: &mut VecPool) -> Flight {
        if !self.tail.is_empty() && self.segments.len() < GATHER_SEGMENTS {
            let tail = std::mem::take(&mut self.tail);
            self.segment_bytes += tail.len();
            self.segments.push_back(Segment::Heap(tail));
        }
        let count = self.segments.len().min(GATHER_SEGMENTS);
        let mut gather = pool.gathers.pop().unwrap_or_default();
        gather.segments.extend(self.segments.drain(..count));
        let bytes: usize = gather.segments.iter().map(|segment| segment.bytes().len()).sum();
        self.segment_bytes -= bytes;
        if count == 1
            && let Some(segment) = gather.segments.pop_back()
        {
            pool.gathers.push(gather);
            return Flight::One { segment, sent: 0 };
        }
        Flight::Many(gather)
    }
}

/// The batch in the kernel's hands. At most one per stream.
#[derive(Default)]
pub(crate) enum Flight {
    #[default]
    Idle,
    One {
        segment: Segment,
        sent: usize,
    },
    Many(Box<Gather>),
}

impl Flight {
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Flight::Idle)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Flight::Idle => 0,
            Flight::One { segment, sent } => segment.bytes().len() - sent,
            Flight::Many(gather) => {
                gather.segments.iter().map(|segment| segment.bytes().len()).sum::<usize>() - gather.sent
            }
        }
    }

    /// Sends as much as the socket takes at once. `more`: what follows may share its last segment.
    pub(crate) fn send_now(&mut self, fd: RawFd, more: bool) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        let count = match self {
            Flight::Idle => 0,
            Flight::One { segment, sent } => {
                let rest = segment.bytes().get(*sent..).unwrap_or_default();
                // SAFETY: reads a slice that outlives the call.
                unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), flags) }
            }
            // SAFETY: just prepared; the call is over before anything changes.
            Flight::Many(gather) => unsafe { libc::sendmsg(fd, gather.prepare(), flags) },
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Notes that the kernel took `count` bytes; recycles what is done. True: nothing is left.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize, pool: &mut VecPool) -> bool {
        let done = match self {
            Flight::Idle => true,
            Flight::One { segment, sent } => {
                *sent += count;
                *sent >= segment.bytes().len()
            }
            Flight::Many(gather) => gather.advance(count, pool),
        };
        if done {
            self.clear(pool);
        }
        done
    }

    /// Gives everything up. Only when the kernel has let go of it.
    pub(crate) fn clear(&mut self, pool: &mut VecPool) {
        match std::mem::take(self) {
            Flight::Idle => {}
            Flight::One { segment, .. } => pool.recycle(segment),
            Flight::Many(mut gather) => {
                gather.sent = 0;
                gather.segments.drain(..).for_each(|segment| pool.recycle(segment));
                pool.gathers.push(gather);
            }
        }
    }
}

/// A gathered send. The kernel reads `header` and, through it, `vectors` and the segments.
pub(crate) struct Gather {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment already sent.
    sent: usize,
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Default for Gather {
    fn default() -> Gather {
        // SAFETY: all zeroes is an empty message.
        let header = unsafe { std::mem::zeroed() };
        Gather { segments: VecDeque::new(), sent: 0, vectors: Vec::new(), header }
    }
}

impl Gather {
    /// Fills the header. Valid until the next call or any change of the segments.
    pub(crate) fn prepare(&mut self) -> *const libc::msghdr {
        let mut skip = self.sent;
        self.vectors.clear();
        self.vectors.extend(self.segments.iter().map(|segment| {
            let bytes = segment.bytes().get(std::mem::take(&mut skip)..).unwrap_or_default();
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
        }));
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        &raw const self.header
    }

    fn advance(&mut self, count: usize, pool: &mut VecPool) -> bool {
        self.sent += count;
        while let Some(first) = self.segments.front().map(|segment| segment.bytes().len())
            && self.sent >= first
        {
            self.sent -= first;
            self.segments.pop_front().into_iter().for_each(|segment| pool.recycle(segment));
        }
        self.segments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut OutQueue, pool: &mut VecPool, step: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        loop {
            let mut flight = queue.take_batch(pool);
            if flight.is_idle() {
                return seen;
            }
            loop {
                let rest: Vec<u8> = match &mut flight {
                    Flight::Idle => Vec::new(),
                    Flight::One { segment, sent } => segment.bytes()[*sent..].to_vec(),
                    Flight::Many(gather) => {
                        // SAFETY: just prepared.
                        let header = unsafe { &*gather.prepare() };
                        // SAFETY: as above.
                        let vectors =
                            unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
                        vectors
                            .iter()
                            .flat_map(|v| {
                                // SAFETY: the segments are alive.
                                unsafe { std::slice::from_raw_parts(v.iov_base.cast::<u8>(), v.iov_len) }
                                    .to_vec()
                            })
                            .collect()
                    }
                };
                assert_eq!(rest.len(), flight.len());
                let count = step.min(rest.len());
                seen.extend_from_slice(&rest[..count]);
                if flight.advance(count, pool) {
                    break;
                }
            }
        }
    }

    #[test]
    fn bytes_leave_in_the_order_they_were_written() {
        for step in [97, 511, 4096, usize::MAX] {
            let (mut queue, mut pool, mut expected) = (OutQueue::default(), VecPool::default(), Vec::new());
            for round in 0..200usize {
                let bytes = vec![round as u8; 1 + round * 37 % 1500];
                expected.extend_from_slice(&bytes);
                match round % 4 {
                    0 => queue.append(&bytes, &mut pool),
                    1 => queue.push(Segment::Shared(bytes.into()), &mut pool),
                    2 => queue.push(Segment::Ring(bytes.into()), &mut pool),
                    _ => {
                        let mut tail = queue.take_tail(&mut pool);
                        tail.extend_from_slice(&bytes);
                        queue.put_tail(tail, &mut pool);
                    }
                }
                assert_eq!(queue.len(), expected.len());
            }
            assert!(drain(&mut queue, &mut pool, step) == expected, "differs with steps of {step}");
            assert_eq!(queue.len(), 0);
        }
    }

    #[test]
    fn a_write_inside_a_write_goes_behind_it() {
        let (mut queue, mut pool) = (OutQueue::default(), VecPool::default());
        let mut outer = queue.take_tail(&mut pool);
        outer.extend_from_slice(b"outer ");
        queue.append(b"inner", &mut pool);
        queue.put_tail(outer, &mut pool);
        assert_eq!(drain(&mut queue, &mut pool, usize::MAX), b"outer inner");
    }
}
