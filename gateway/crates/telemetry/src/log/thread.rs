//! The log thread.

use super::codec::{self, RECORD_BYTES_MAX};
use super::format::{Formatter, NameTables};
use crate::hub::Hub;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, named after API Gateway's `$context` variables.
    #[default]
    Json,
    /// The combined Common Log Format.
    Clf,
}

/// Where the log goes.
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, appended to and made if need be.
    File(PathBuf),
    /// Anything else.
    Writer(Box<dyn Write + Send>),
}

impl std::fmt::Debug for LogTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => formatter.write_str("Stdout"),
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Writer(_) => formatter.write_str("Writer"),
        }
    }
}

/// What the log thread is told at its start.
#[derive(Debug)]
pub struct LogOptions {
    /// Where to.
    pub target: LogTarget,
    /// How.
    pub format: LogFormat,
    /// The longest time between two visits to the rings, and so about the longest a line is late. The thread comes
    /// sooner while there is much to do.
    pub interval_max_ms: u64,
}

impl LogOptions {
    /// The usual interval, 50 ms.
    pub fn new(target: LogTarget, format: LogFormat) -> Self {
        Self { target, format, interval_max_ms: 50 }
    }
}

/// Under load the thread visits no more often than this.
const INTERVAL_MIN_MS: u64 = 2;
/// What a visit should find in the fullest ring: the interval grows below the first and shrinks above the second. At
/// about 200 bytes and 150 ns a record, that is 50 to 200 µs of work, which a data core on the same CPU waits for.
const VISIT_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=256 * 1024;
/// Records copied from a ring before they are formatted. With the text, small enough not to sweep a data core's
/// second-level cache.
const BATCH_BYTES: usize = 32 * 1024;
/// Formatted text that is written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// How long `stop` waits for the target, which may be a pipe that nobody reads.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running log thread. Dropping it is stopping it.
#[derive(Debug)]
pub struct LogThread {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    reopen: AtomicBool,
}

impl LogThread {
    /// Opens the target and starts the thread. From now on the cores log.
    ///
    /// # Errors
    /// The target could not be opened, or another log thread of this hub is running (`AlreadyExists`).
    pub fn start(hub: Arc<Hub>, options: LogOptions) -> io::Result<Self> {
        let sink = Sink::open(options.target)?;
        if hub.log_wanted.swap(true, Ordering::AcqRel) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the access log is already being written",
            ));
        }
        let shared = Arc::<Shared>::default();
        let (wake, woken) = sync_channel(1);
        let (finished, done) = sync_channel(1);
        let mut worker = Worker {
            hub: Arc::clone(&hub),
            shared: Arc::clone(&shared),
            sink,
            format: options.format,
            formatter: Formatter::new(),
            batch: vec![0; BATCH_BYTES.max(RECORD_BYTES_MAX)],
            text: Vec::with_capacity(WRITE_BYTES + 4 * RECORD_BYTES_MAX),
            pending: 0,
            torn: false,
        };
        let interval_max_ms = options.interval_max_ms.max(1);
        let spawned = std::thread::Builder::new().name("sluice-log".into()).spawn(move || {
            worker.run(&woken, interval_max_ms);
            let _ = finished.send(());
        });
        match spawned {
            Ok(thread) => Ok(Self { shared, wake, done, thread: Some(thread) }),
            Err(error) => {
                hub.log_wanted.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Asks the thread to open its file anew, as after a rotation. Records meanwhile stay in the rings.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
    }

    /// Writes what the cores have logged so far and ends the thread. What they log afterwards isn't kept.
    ///
    /// # Errors
    /// `TimedOut` when the target takes nothing for five seconds; the thread is then left to its fate.
    pub fn stop(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
        match self.done.recv_timeout(STOP_TIMEOUT) {
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the access log's target takes nothing"))
            }
            _ => thread.join().map_err(|_| io::Error::other("the log thread panicked")),
        }
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// The open target.
enum Sink {
    /// A file; with a path, one that can be opened anew.
    File {
        path: Option<PathBuf>,
        file: File,
    },
    Writer(Box<dyn Write + Send>),
}

impl Sink {
    fn open(target: LogTarget) -> io::Result<Self> {
        Ok(match target {
            // Not `io::Stdout`: its line buffer would take a part of each batch, and its lock could be held elsewhere.
            LogTarget::Stdout => {
                Self::File { path: None, file: File::from(io::stdout().as_fd().try_clone_to_owned()?) }
            }
            LogTarget::File(path) => Self::File { file: append_to(&path)?, path: Some(path) },
            LogTarget::Writer(writer) => Self::Writer(writer),
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path: Some(path), file } = self {
            *file = append_to(path)?;
        }
        Ok(())
    }

    /// Writes all of `bytes`; an error says how many were taken before it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.write_some(rest) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Standard output may be a terminal or pipe that its other users made non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err((written, error)),
            }
        }
        self.flush().map_err(|error| (written, error))
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => file.write(bytes),
            Self::Writer(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { .. } => Ok(()),
            Self::Writer(writer) => writer.flush(),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

struct Worker {
    hub: Arc<Hub>,
    shared: Arc<Shared>,
    sink: Sink,
    format: LogFormat,
    formatter: Formatter,
    batch: Vec<u8>,
    text: Vec<u8>,
    /// Records in `text`.
    pending: u64,
    /// A failed write left the beginning of a line behind; the next text must not be glued to it.
    torn: bool,
}

impl Worker {
    fn run(&mut self, woken: &Receiver<()>, interval_max_ms: u64) {
        let mut interval_ms = interval_max_ms;
        loop {
            let _ = woken.recv_timeout(Duration::from_millis(interval_ms));
            // Read before the visit: what was logged before `stop` is then in the rings for sure.
            let stop = self.shared.stop.load(Ordering::Acquire);
            if stop {
                self.hub.log_wanted.store(false, Ordering::Release);
            }
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                match self.sink.reopen() {
                    Ok(()) => self.torn = false,
                    // Better the old file than none.
                    Err(_) => self.hub.log.write_errors.increment(),
                }
            }
            let found_bytes = self.visit();
            if stop {
                return;
            }
            interval_ms = next_interval_ms(interval_ms, interval_max_ms, found_bytes);
        }
    }

    /// Empties every ring once. Returns the bytes that waited in the fullest.
    fn visit(&mut self) -> usize {
        let mut fullest = 0;
        for shard in self.hub.shards() {
            let mut log = shard.log.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(consumer) = log.as_mut() else { continue };
            let mut waiting = None;
            loop {
                let drained = consumer.drain(&mut self.batch);
                let budget = waiting.get_or_insert(drained.waiting_words);
                fullest = fullest.max(drained.waiting_words * 8);
                self.format_batch(drained.bytes);
                // A core that logs as fast as this thread writes must not keep it from the other rings.
                *budget = budget.saturating_sub(drained.bytes / 8);
                if drained.bytes == 0 || *budget == 0 {
                    break;
                }
            }
        }
        self.write();
        fullest
    }

    fn format_batch(&mut self, bytes: usize) {
        let batch = std::mem::take(&mut self.batch);
        let mut records = batch.get(..bytes).unwrap_or_default();
        while let Some(entry) = codec::take(&mut records) {
            let names = NameTables {
                routes: &self.hub.routes,
                upstreams: &self.hub.upstreams,
                limits: &self.hub.limits,
                keys: &self.hub.keys,
            };
            match self.format {
                LogFormat::Json => self.formatter.json(&mut self.text, &entry, names),
                LogFormat::Clf => self.formatter.clf(&mut self.text, &entry, names),
            }
            self.pending += 1;
            if self.text.len() >= WRITE_BYTES {
                self.write();
            }
        }
        self.batch = batch;
    }

    fn write(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let outcome = if self.torn { self.sink.write(b"\n") } else { Ok(()) };
        let outcome = outcome.map_err(|_| 0).and_then(|()| {
            self.torn = false;
            self.sink.write(&self.text).map_err(|(taken, _)| taken)
        });
        let totals = &self.hub.log;
        let whole = match outcome {
            Ok(()) => self.pending,
            Err(taken) => {
                totals.write_errors.increment();
                let taken = self.text.get(..taken).unwrap_or_default();
                self.torn |= taken.last().is_some_and(|last| *last != b'\n');
                // Every record is one line: no field can hold a line's end.
                taken.iter().filter(|byte| **byte == b'\n').count() as u64
            }
        };
        totals.written.add(whole);
        totals.write_lost.add(self.pending.saturating_sub(whole));
        self.text.clear();
        self.pending = 0;
    }
}

fn next_interval_ms(interval_ms: u64, max_ms: u64, found_bytes: usize) -> u64 {
    if found_bytes < *VISIT_BYTES.start() {
        (interval_ms * 2).min(max_ms)
    } else if found_bytes > *VISIT_BYTES.end() {
        (interval_ms / 2).max(INTERVAL_MIN_MS.min(max_ms))
    } else {
        interval_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_follows_the_load_within_its_bounds() {
        let (little, enough, much) = (0, *VISIT_BYTES.start(), VISIT_BYTES.end() + 1);
        assert_eq!(next_interval_ms(20, 50, little), 40);
        assert_eq!(next_interval_ms(40, 50, little), 50);
        assert_eq!(next_interval_ms(40, 50, enough), 40);
        assert_eq!(next_interval_ms(40, 50, much), 20);
        assert_eq!(next_interval_ms(INTERVAL_MIN_MS, 50, much), INTERVAL_MIN_MS);
        assert_eq!(next_interval_ms(1, 1, much), 1, "an operator's shorter interval stays");
    }
}
