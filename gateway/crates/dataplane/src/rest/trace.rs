//! The execution log of a method that is being tried out. A core that serves keeps none: one look, and nothing is written.

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::respond::gateway_response;
use crate::rest::view::Seen;
use sluice_mapping::{Answer, ExecutionLog, Pairs, Place, RequestView, Step};
use sluice_telemetry::Refusal;
use std::borrow::Cow;
use std::cell::RefCell;

/// A log, where one is kept.
#[derive(Default)]
pub(crate) struct Trace(RefCell<Option<Kept>>);

struct Kept {
    /// Why the method cannot be answered, if that was known when it was compiled.
    notes: String,
    /// `None` until a request comes.
    log: Option<ExecutionLog>,
    /// What an authorizer's function returned, if that was good: where one is tried out, all ends there.
    vouched: Option<Vec<u8>>,
}

/// Of the connection that the request comes over, not the caller's.
const OF_CONNECTION: [&str; 3] = ["host", "connection", "content-length"];

impl Trace {
    /// From here on, one is kept.
    pub(crate) fn keep(&self, notes: String) {
        *self.0.borrow_mut() = Some(Kept { notes, log: None, vouched: None });
    }

    /// What was logged so far, and what an authorizer's function returned.
    pub(crate) fn take(&self) -> Option<(String, Option<Vec<u8>>)> {
        let kept = self.0.borrow_mut().take()?;
        Some((kept.log?.as_str().to_owned(), kept.vouched))
    }

    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Adds to the log, where there is one.
    #[inline]
    pub(crate) fn with(&self, add: impl FnOnce(&mut ExecutionLog)) {
        if let Some(Kept { log: Some(log), vouched: None, .. }) = self.0.borrow_mut().as_mut() {
            add(log);
        }
    }

    /// An authorizer's function is about to be asked.
    pub(crate) fn asks(&self, authorizer: &str, path: &str, event: &[u8]) {
        self.with(|log| log.add(Step::Authorizer(authorizer)));
        self.invokes(path, event);
    }

    /// It has returned something; with a principal, that was good.
    pub(crate) fn vouched(&self, payload: &[u8], principal: Option<&str>) {
        self.with(|log| {
            log.add(Step::AuthorizerResult(&String::from_utf8_lossy(payload)));
            if let Some(principal) = principal {
                log.add(Step::AuthorizerSuccess(principal));
            }
        });
        if let (Some(kept), Some(_)) = (self.0.borrow_mut().as_mut(), principal) {
            kept.vouched = Some(payload.to_vec());
        }
    }

    /// The method is found.
    #[cold]
    pub(crate) fn begin(&self, core: &Core, ex: &Exchange) {
        let unix_ms = core.clock.unix_ms(ex.received_ns);
        let seen = Seen::new(ex, b"", unix_ms);
        let mut log = ExecutionLog::new(&String::from_utf8_lossy(&ex.request_id), unix_ms / 1000);
        let method = String::from_utf8_lossy(ex.head.method_name.of(ex.bytes.as_slice())).into_owned();
        log.add(Step::Method(&method, ex.route().map_or("", |route| &route.pattern)));
        let request = sluice_mapping::Request::new(&seen);
        log.add(Step::RequestPath(&borrowed(&request.path_pairs())));
        log.add(Step::RequestQuery(&borrowed(&request.query_pairs())));
        let mut headers = Vec::new();
        seen.headers(&mut |name, value| {
            if !OF_CONNECTION.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
                headers.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
            }
        });
        log.add(Step::RequestHeaders(&borrowed(&headers)));
        if let Some(kept) = self.0.borrow_mut().as_mut() {
            kept.log = Some(log);
        }
    }

    /// The body has come.
    pub(crate) fn body(&self, body: &[u8]) {
        self.with(|log| log.add(Step::RequestBody(&String::from_utf8_lossy(body))));
    }

    /// The request to the integration was written: its head is `head`.
    pub(crate) fn sent(&self, uri: &str, head: &[u8], body: &[u8]) {
        self.with(|log| {
            log.add(Step::EndpointUri(uri));
            let head = String::from_utf8_lossy(head);
            let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
            log.add(Step::EndpointRequestHeaders(&lines.collect::<Vec<_>>()));
            log.add(Step::EndpointRequestBody(&String::from_utf8_lossy(body)));
            log.add(Step::Sending(uri));
        });
    }

    /// A function is about to be invoked.
    pub(crate) fn invokes(&self, path: &str, payload: &[u8]) {
        self.with(|log| {
            log.add(Step::EndpointUri(path));
            log.add(Step::EndpointRequestBody(&String::from_utf8_lossy(payload)));
            log.add(Step::Sending(path));
        });
    }

    /// The integration has answered.
    pub(crate) fn received(&self, status: u16, ms: u64, headers: Pairs<'_>, body: &[u8]) {
        self.with(|log| {
            log.add(Step::Received(status, ms));
            log.add(Step::EndpointResponseHeaders(headers));
            log.add(Step::EndpointResponseBody(&String::from_utf8_lossy(body)));
        });
    }

    /// The method's answer is made.
    pub(crate) fn answered(&self, answer: &Answer, body: &[u8]) {
        self.with(|log| {
            log.add(Step::ResponseBody(&String::from_utf8_lossy(body)));
            log.add(Step::ResponseHeaders(&answer.headers.of(Place::Header).collect::<Vec<_>>()));
            log.add(Step::Success);
        });
    }

    /// The gateway answers in the method's place.
    #[cold]
    pub(crate) fn refused(&self, refused: &Refused) {
        let mut kept = self.0.borrow_mut();
        let Some(Kept { notes, log: Some(log), vouched: None }) = kept.as_mut() else { return };
        let usual =
            || refused.message.clone().unwrap_or(Cow::Borrowed(gateway_response(refused.why).message));
        let why = match (refused.log.as_str(), refused.why) {
            ("", Refusal::Configuration) if !notes.is_empty() => {
                Cow::Owned(format!("Execution failed due to configuration error: {notes}"))
            }
            ("", Refusal::UpstreamTimeout) => Cow::Borrowed(
                "Execution failed due to a timeout error: the integration did not answer in time",
            ),
            ("", _) => Cow::Owned(format!("Execution failed: {}", usual())),
            (log, _) => Cow::Borrowed(log),
        };
        log.add(Step::Failure(&why));
    }
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
