//! The end of what one invocation logs, for callers that ask for it (`X-Amz-Log-Type: Tail`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// "Set to Tail to include the last 4 KB of the execution log" (Lambda developer guide).
const TAIL_BYTES: usize = 4096;

/// What an invocation logs, between Lambda's own lines (developer guide, "Log and monitor Node.js Lambda functions"):
///
/// ```text
/// START RequestId: ID Version: $LATEST
/// END RequestId: ID
/// REPORT RequestId: ID⇥Duration: 1.50 ms⇥Billed Duration: 2 ms⇥Memory Size: 128 MB⇥Max Memory Used: 73 MB⇥Init Duration: 39.33 ms
/// ```
#[derive(Debug, Default)]
pub struct LogTail(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The last bytes.
    text: VecDeque<u8>,
    /// The invocation under way.
    begun: Option<Begun>,
}

/// An invocation that begins.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) request_id: String,
    pub(crate) at: Instant,
    pub(crate) memory_mb: u32,
    pub(crate) process: Option<u32>,
    /// How long its instance took to start, if this is its first.
    pub(crate) init: Option<Duration>,
}

/// How it ends. What handlers throw is an answer, of which the report says nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Answered,
    Timeout,
    Error(&'static str),
}

impl LogTail {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, begun: Begun) {
        let mut state = self.lock();
        state.push(&format!("START RequestId: {} Version: $LATEST", begun.request_id));
        state.begun = Some(begun);
    }

    /// A line that it logs. What comes after its end is not its own.
    pub(crate) fn push(&self, line: &str) {
        let mut state = self.lock();
        if state.begun.is_some() {
            state.push(line);
        }
    }

    /// It is over.
    pub(crate) fn end(&self, at: Instant, outcome: Outcome) {
        let mut state = self.lock();
        if let Some(begun) = state.begun.take() {
            state.push(&format!("END RequestId: {}", begun.request_id));
            state.push(&begun.report(at, outcome));
        }
    }

    /// The value of `X-Amz-Log-Result`. `None`: the invocation never began.
    #[must_use]
    pub fn finish(&self) -> Option<String> {
        // An answer that broke off has told of no end.
        self.end(Instant::now(), Outcome::Answered);
        let mut state = self.lock();
        (!state.text.is_empty()).then(|| BASE64.encode(state.text.make_contiguous()))
    }
}

impl Begun {
    fn report(&self, ended: Instant, outcome: Outcome) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let Self { request_id, memory_mb, .. } = self;
        let duration = ms(ended.saturating_duration_since(self.at));
        // "Billed Duration: the amount of time that is billed", in whole milliseconds.
        let billed = duration.ceil();
        let mut report = format!(
            "REPORT RequestId: {request_id}\tDuration: {duration:.2} ms\tBilled Duration: {billed:.0} ms\tMemory Size: {memory_mb} MB"
        );
        let mut add = |field: String| report.push_str(&format!("\t{field}"));
        if let Some(used_mb) = self.process.and_then(used_mb) {
            add(format!("Max Memory Used: {used_mb} MB"));
        }
        if let Some(init) = self.init {
            add(format!("Init Duration: {:.2} ms", ms(init)));
        }
        match outcome {
            Outcome::Answered => {}
            Outcome::Timeout => add("Status: timeout".to_owned()),
            Outcome::Error(kind) => add(format!("Status: error\tError Type: {kind}")),
        }
        report
    }
}

/// What a value of `X-Amz-Log-Result` says; `None`: it is none.
#[must_use]
pub fn log_text(value: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&BASE64.decode(value).ok()?).into_owned())
}

impl State {
    fn push(&mut self, line: &str) {
        self.text.extend(line.bytes().chain([b'\n']));
        let surplus = self.text.len().saturating_sub(TAIL_BYTES);
        self.text.drain(..surplus);
        // Not in the middle of a character.
        while surplus > 0 && self.text.front().is_some_and(|byte| byte & 0xc0 == 0x80) {
            self.text.pop_front();
        }
    }
}

/// The most memory that a process has had, if it is still there (proc_pid_status(5), `VmHWM`).
fn used_mb(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kb: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kb.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tail: &LogTail) -> String {
        log_text(&tail.finish().unwrap()).unwrap()
    }

    fn begun(process: Option<u32>, init: Option<Duration>) -> Begun {
        Begun { request_id: "id".to_owned(), at: Instant::now(), memory_mb: 128, process, init }
    }

    #[test]
    fn lines_stand_between_lambdas_own() {
        let tail = LogTail::default();
        assert_eq!(tail.finish(), None);
        tail.push("of an invocation before");
        tail.begin(begun(Some(std::process::id()), Some(Duration::from_micros(39_330))));
        tail.push("hello");
        let text = told(&tail);
        tail.push("after the end");
        assert_eq!(told(&tail), text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["START RequestId: id Version: $LATEST", "hello", "END RequestId: id"]);
        let fields: Vec<&str> = lines[3].split('\t').collect();
        assert_eq!((lines.len(), fields[0], fields[3]), (4, "REPORT RequestId: id", "Memory Size: 128 MB"));
        assert!(
            fields[1].starts_with("Duration: ")
                && fields[4].starts_with("Max Memory Used: ")
                && fields[5] == "Init Duration: 39.33 ms",
            "{fields:?}"
        );
    }

    #[test]
    fn a_report_says_how_the_process_failed() {
        for (outcome, said) in [
            (Outcome::Timeout, "Status: timeout"),
            (Outcome::Error("Runtime.ExitError"), "Status: error\tError Type: Runtime.ExitError"),
        ] {
            let begun = begun(None, None);
            let report = begun.report(begun.at + Duration::from_micros(1_501), outcome);
            let expected = format!(
                "REPORT RequestId: id\tDuration: 1.50 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t{said}"
            );
            assert_eq!(report, expected);
        }
    }

    #[test]
    fn only_the_end_is_kept_in_whole_characters() {
        let tail = LogTail::default();
        tail.begin(begun(None, None));
        for _ in 0..3000 {
            tail.push("\u{e9}");
        }
        let text = told(&tail);
        assert!(
            text.len() <= TAIL_BYTES && text.len() > TAIL_BYTES - 2 && text.starts_with(['\u{e9}', '\n'])
        );
        assert!(text.contains("END RequestId: id\nREPORT"));
    }
}
