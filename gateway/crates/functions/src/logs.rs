//! What functions print, by line.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::broadcast;

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
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.capacity {
            kept.pop_front();
        }
        kept.push_back(line);
    }

    pub(crate) fn last(&self) -> Vec<LogLine> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn follow(&self) -> broadcast::Receiver<LogLine> {
        self.followers.subscribe()
    }

    /// Reads lines until the end.
    pub(crate) async fn read(&self, from: impl AsyncRead + Unpin, instance: u64, source: Source) {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            let (used, ended) = match reader.fill_buf().await {
                Ok([]) | Err(_) => break,
                Ok(buffer) => {
                    let room = buffer.get(..LINE_BYTES - line.len()).unwrap_or(buffer);
                    match room.split_inclusive(|byte| *byte == b'\n').next() {
                        Some(part) => {
                            line.extend_from_slice(part);
                            (part.len(), part.ends_with(b"\n") || line.len() >= LINE_BYTES)
                        }
                        None => (0, true),
                    }
                }
            };
            reader.consume(used);
            if ended {
                self.push(LogLine { instance, source, text: text(&line) });
                line.clear();
            }
        }
        if !line.is_empty() {
            self.push(LogLine { instance, source, text: text(&line) });
        }
    }
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
