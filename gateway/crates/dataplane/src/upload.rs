//! A request body on its way to an upstream.

use crate::forward;
use crate::integrate::{Timeouts, high_water};
use sluice_h1::{Body, BodyError};
use sluice_h2::{In, Out};
use sluice_snapshot::ServerPlan;
use sluice_telemetry::Refusal;
use sluice_wire::{BodyFraming, RequestHead, Version};
use std::io;

/// What is kept of a body, so that it can be sent again to an HTTP/2 upstream that has not looked at it (RFC 9113
/// section 8.7): as much as the window allows that streams begin with.
const KEPT_BYTES: usize = 64 * 1024;

/// A body that is read once and, while it is short, may be sent twice.
pub(crate) struct Upload {
    pub(crate) body: Body,
    body_max: u64,
    chunked: bool,
    trailers: Vec<u8>,
    /// The client waits for `100 Continue`.
    expected: bool,
    /// What was sent so far; `None`: too much to send it again.
    kept: Option<Vec<u8>>,
    /// All of it is kept: nothing is to be read.
    is_whole: bool,
}

/// Why a body was not sent to its end.
pub(crate) enum PumpError {
    /// The client's fault.
    Client(Refusal),
    /// The upstream took no more.
    Upstream,
}

impl Upload {
    /// The body of this request; 0: no limit of its own.
    pub(crate) fn new(head: &RequestHead, server: &ServerPlan, body_max: u64) -> Self {
        Self {
            body: Body::new(head.framing, &server.limits),
            body_max,
            chunked: head.framing == BodyFraming::Chunked,
            trailers: Vec::new(),
            expected: head.expect_continue && head.version != Version::Http10,
            kept: Some(Vec::new()),
            is_whole: false,
        }
    }

    /// A body that was read already. It may be sent as often as it takes.
    pub(crate) fn held(head: &RequestHead, server: &ServerPlan, body: Vec<u8>) -> Self {
        let mut upload = Self::new(head, server, 0);
        upload.body.received = body.len() as u64;
        Self { expected: false, kept: Some(body), is_whole: true, ..upload }
    }

    /// Whether all that was sent can be sent once more.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.kept.is_some()
    }

    fn keep(&mut self, data_len: usize) -> Option<&mut Vec<u8>> {
        let fits = self.kept.as_ref().is_some_and(|kept| kept.len() + data_len <= KEPT_BYTES);
        if !fits {
            self.kept = None;
        }
        self.kept.as_mut()
    }

    /// Sends the body on as it arrives; first what an earlier try has sent already. Dropped and called again, it goes on.
    pub(crate) async fn pump(
        &mut self,
        cs: Out<'_>,
        ci: &mut In<'_>,
        us: Out<'_>,
        timeouts: &Timeouts,
    ) -> Result<(), PumpError> {
        if std::mem::take(&mut self.expected) {
            forward::go_on(cs);
        }
        if let Some(kept) = self.kept.as_ref().filter(|kept| !kept.is_empty()) {
            us.piece(kept, self.chunked, false);
            us.flush();
        }
        while !self.is_whole {
            let now_ms = sluice_rt::now_ms();
            cs.set_deadline_ms(Some(now_ms + timeouts.client));
            // The response can't be late before the request is whole.
            us.set_deadline_ms(Some(now_ms + timeouts.client + timeouts.read));
            let data = ci.data(&mut self.body, &mut self.trailers).await.map_err(client_error)?;
            if data.is_empty() {
                break;
            }
            us.piece(data, self.chunked, false);
            let len = data.len();
            match us {
                Out::H1(_) => self.kept = None,
                Out::H2(_) => {
                    if let Some(kept) = self.keep(len) {
                        kept.extend_from_slice(data);
                    }
                }
            }
            if self.body_max != 0 && self.body.received > self.body_max {
                return Err(PumpError::Client(Refusal::TooLarge));
            }
            us.flush();
            if us.is_broken() {
                return Err(PumpError::Upstream);
            }
            if us.unsent_bytes() > high_water(us) {
                us.flushed().await.map_err(|_| PumpError::Upstream)?;
            }
        }
        if self.chunked || matches!(us, Out::H2(_)) {
            forward::end_body(us, &self.trailers);
            us.flush();
        }
        cs.set_deadline_ms(None);
        us.set_deadline_ms(Some(sluice_rt::now_ms() + timeouts.total.min(timeouts.read)));
        Ok(())
    }
}

fn client_error(error: BodyError) -> PumpError {
    PumpError::Client(match error {
        BodyError::Chunk(_) => Refusal::Malformed,
        BodyError::Truncated => Refusal::ClientGone,
        BodyError::Io(e) if e.kind() == io::ErrorKind::TimedOut => Refusal::BodyTimeout,
        BodyError::Io(_) => Refusal::ClientGone,
    })
}
