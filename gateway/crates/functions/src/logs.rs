//! What functions print, by line.

use crate::tail::LogTail;
use std::collections::VecDeque;
use std::future::Future;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The host itself, about an instance.
    Host,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The instance's number.
    pub instance: u64,
    /// Where it came from.
    pub source: Source,
    /// Without its end; cut after 64 KiB; foreign bytes replaced.
    pub text: String,
}

/// The longest line. What is longer goes on in the next.
const LINE_BYTES: usize = 64 << 10;

/// Lines that a slow follower may be behind.
const BEHIND: usize = 256;

/// The last lines of a function, and whoever follows them.
pub(crate) struct Logs {
    kept: Mutex<VecDeque<LogLine>>,
    capacity: usize,
    followers: broadcast::Sender<LogLine>,
}

impl Logs {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { kept: Mutex::default(), capacity, followers: broadcast::channel(BEHIND).0 }
    }

    pub(crate) fn push(&self, line: LogLine) {
        // Nobody follows: no error.
        let _ = self.followers.send(line.clone());
        let mut kept = lock(&self.kept);
        if kept.len() >= self.capacity {
            kept.pop_front();
        }
        kept.push_back(line);
    }

    pub(crate) fn last(&self) -> Vec<LogLine> {
        lock(&self.kept).iter().cloned().collect()
    }

    pub(crate) fn follow(&self) -> broadcast::Receiver<LogLine> {
        self.followers.subscribe()
    }
}

/// What one instance prints: for the function's log, and for the caller of the invocation under way if that asked for it.
pub(crate) struct Output {
    logs: Arc<Logs>,
    instance: u64,
    tail: Mutex<Option<Arc<LogTail>>>,
    readers: Mutex<Vec<mpsc::Sender<Ask>>>,
}

/// Dropped by a reader once it has read all that was printed before it was asked.
type Ask = oneshot::Sender<()>;

impl Output {
    pub(crate) fn new(logs: Arc<Logs>, instance: u64) -> Arc<Self> {
        Arc::new(Self { logs, instance, tail: Mutex::default(), readers: Mutex::default() })
    }

    /// From here on, what is printed is of an invocation that is logged for this, or for nobody.
    pub(crate) fn attach(&self, tail: Option<Arc<LogTail>>) {
        *lock(&self.tail) = tail;
    }

    /// Waits until all that was printed so far is read. That is what the pipes hold, however fast they are filled again.
    pub(crate) async fn settle(&self) {
        let readers = lock(&self.readers).clone();
        let mut waits = Vec::with_capacity(readers.len());
        for reader in readers {
            let (tell, told) = oneshot::channel();
            // A reader that has ended has read everything.
            if reader.send(tell).await.is_ok() {
                waits.push(told);
            }
        }
        for told in waits {
            let _ = told.await;
        }
    }

    pub(crate) fn push(&self, source: Source, text: String) {
        if let Some(tail) = &*lock(&self.tail) {
            tail.push(&text);
        }
        self.logs.push(LogLine { instance: self.instance, source, text });
    }

    /// Reads lines until the end. The reader is known before its future runs.
    pub(crate) fn read(
        self: Arc<Self>,
        from: impl AsyncRead + AsFd + Unpin,
        source: Source,
    ) -> impl Future<Output = ()> {
        let (asks, asked) = mpsc::channel(1);
        lock(&self.readers).push(asks);
        async move { self.read_lines(BufReader::new(from), source, asked).await }
    }

    async fn read_lines(
        &self,
        mut reader: BufReader<impl AsyncRead + AsFd + Unpin>,
        source: Source,
        mut asked: mpsc::Receiver<Ask>,
    ) {
        let mut line = Vec::new();
        // Who asked, and how many bytes were waiting then.
        let mut settling: Option<(Ask, u64)> = None;
        loop {
            let (used, ended) = tokio::select! {
                // A question comes at most twice for an invocation; a flood of lines would never let it pass.
                biased;
                Some(ask) = asked.recv(), if settling.is_none() => {
                    let in_pipe = rustix::io::ioctl_fionread(reader.get_ref()).unwrap_or(0);
                    settling = Some((ask, in_pipe + reader.buffer().len() as u64));
                    (0, false)
                }
                filled = reader.fill_buf() => match filled {
                    Ok([]) | Err(_) => break,
                    Ok(buffer) => {
                        let room = buffer.get(..LINE_BYTES - line.len()).unwrap_or(buffer);
                        let part = room.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
                        line.extend_from_slice(part);
                        (part.len(), part.ends_with(b"\n") || line.len() >= LINE_BYTES)
                    }
                },
            };
            reader.consume(used);
            if let Some((_, waiting)) = &mut settling {
                *waiting = waiting.saturating_sub(used as u64);
            }
            let settled = settling.take_if(|(_, waiting)| *waiting == 0);
            // A line that its invocation did not end is told to who asked for that invocation's.
            if ended || settled.is_some() && !line.is_empty() {
                self.push(source, text(&line));
                line.clear();
            }
        }
        if !line.is_empty() {
            self.push(source, text(&line));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
