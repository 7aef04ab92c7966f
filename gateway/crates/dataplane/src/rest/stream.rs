//! Proxy integrations whose answers stream although their requests are held whole (`responseTransferMode` STREAM): Lambda
//! functions, and servers behind methods whose bodies are validated or mapped.
//!
//! ```text
//! event -> InvokeWithResponseStream -> event stream ── metadata, 8 NULs ──> head ── pieces, as they come ──> end
//!             │ refused: 500            │ failed, cut or malformed: 502 before the head, the connection cut after it
//!             └ too late: 504           └ no piece for long: likewise
//! request -> server ──> head ── pieces, as they come ──> end
//! ```
//! Nothing is held but what the client has not taken yet, and of a function the message whose checksum is still to come: above the
//! mark the function waits. There is no cache and no content
//! coding (developer guide, "Stream the integration response for your proxy integrations").

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::forward::{self, Delivery};
use crate::integrate::{Integrated, high_water};
use crate::relay::{Broken, upstream_error};
use crate::respond;
use crate::rest::call::{Begun, Call};
use crate::rest::lambda::{self, remapped};
use crate::rest::{proxy, targeted, write};
use sluice_client::RESPONSE_LIMITS;
use sluice_h1::Body;
use sluice_h2::{In, Out};
use sluice_mapping::{Answer, Outgoing, StreamPrelude};
use sluice_server::{After, Conn};
use sluice_snapshot::{Destination, FunctionIntegration, HttpIntegration};
use sluice_telemetry::Refusal;
use sluice_wire::eventstream::{StreamDecoder, StreamEvent};
use sluice_wire::{BodyFraming, Method};
use std::rc::Rc;

/// Between two pieces: "For Regional or private endpoints, the timeout is 5 minutes."
pub(crate) const IDLE_MS: u64 = 5 * 60_000;
/// How long a method that is tried out may stream, and how much of it is told (developer guide, "Troubleshoot issues with
/// response streaming").
const TRIAL_MS: u64 = 35_000;
const TRIAL_BYTES: u64 = 1 << 20;

/// Answers with the function of an integration, piece by piece.
pub(crate) async fn of_function(
    core: &Core,
    conn: &Conn,
    ex: &mut Exchange,
    integration: &FunctionIntegration,
    body: &mut Vec<u8>,
    outgoing: &Outgoing,
) -> Integrated {
    conn.client.out().flush();
    let source =
        Source::Events { decoder: StreamDecoder::default(), prelude: Some(StreamPrelude::default()) };
    let mut relay = Relay::new(core, conn, ex, integration.timeout_ms, source);
    let begun = lambda::begin(core, ex, integration, body, outgoing).await;
    relay.answer(conn, ex, integration.function.to, begun).await
}

/// Answers with the server of an integration (HTTP_PROXY), piece by piece.
pub(crate) async fn of_server(
    core: &Core,
    conn: &Conn,
    ex: &mut Exchange,
    integration: &HttpIntegration,
    body: &[u8],
    outgoing: &Outgoing,
) -> Integrated {
    conn.client.out().flush();
    let mut relay = Relay::new(core, conn, ex, integration.timeout_ms, Source::Body);
    let body = outgoing.body.as_deref().unwrap_or(body);
    let begun = match targeted(core, ex, integration, body, outgoing) {
        Ok(target) => {
            let call = Call { core, ex, integration, outgoing, target: &target, body };
            call.begin().await.map_err(Refused::from)
        }
        Err(refused) => Err(refused),
    };
    relay.answer(conn, ex, integration.to, begun).await
}

/// What the answer is made of.
enum Source {
    /// A function's event stream. `prelude`: until the metadata has come.
    Events { decoder: StreamDecoder, prelude: Option<StreamPrelude> },
    /// A server's body, as it is.
    Body,
}

struct Relay<'a> {
    core: &'a Core,
    out: Out<'a>,
    source: Source,
    /// All of the answer has to be there by then.
    until_ms: u64,
    /// Between two writes to the client.
    client_ms: u64,
    /// How the body goes out; `None`: the head is not written yet.
    delivery: Option<Delivery>,
    /// Of the body, so far.
    sent: u64,
    keep: bool,
    started_ns: u64,
}

/// What came of a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    /// It was the last, or nobody wants the rest.
    Done,
}

impl<'a> Relay<'a> {
    fn new(core: &'a Core, conn: &'a Conn, ex: &Exchange, timeout_ms: u64, source: Source) -> Self {
        let timeout_ms = if core.trace.is_kept() { timeout_ms.min(TRIAL_MS) } else { timeout_ms };
        Self {
            core,
            out: conn.client.out(),
            source,
            until_ms: sluice_rt::now_ms() + timeout_ms,
            client_ms: ex.view.snapshot.server.body_timeout_ms,
            delivery: None,
            sent: 0,
            keep: ex.client_keep_alive(),
            started_ns: sluice_rt::now_ns(),
        }
    }

    async fn answer(
        &mut self,
        conn: &Conn,
        ex: &mut Exchange,
        to: Destination,
        begun: Result<Begun, Refused>,
    ) -> Integrated {
        let view = Rc::clone(&ex.view);
        ex.report.upstream = self.core.servers(&view, to).map(|(upstream, _)| upstream.metrics_slot);
        let ended = match begun {
            Ok(begun) => self.run(ex, begun).await.map_err(|broken| match broken {
                Broken::Client => Refusal::ClientGone.into(),
                Broken::Upstream(why) => why.into(),
            }),
            Err(refused) => Err(refused),
        };
        ex.report.bytes_out += self.sent;
        // Who tries a method out is told what has come until then.
        let is_cut = self.delivery.is_some() && !self.core.trace.is_kept();
        match ended {
            Ok(()) => {}
            Err(refused) if is_cut => {
                ex.report.refusal = Some(refused.why);
                // What has come is the client's, though no more will.
                self.flushed().await.ok();
                return After::Abort.into();
            }
            Err(refused) if self.delivery.is_some() => ex.report.refusal = Some(refused.why),
            Err(refused) => {
                ex.report.integration_us = Some(self.elapsed_us());
                respond::refuse(self.core, conn, ex, &refused, self.keep);
            }
        }
        if self.keep { After::KeepAlive } else { After::Close }.into()
    }

    /// Waits until the client has taken what there is for it.
    async fn flushed(&self) -> Result<(), Broken> {
        self.out.flush();
        self.out.set_deadline_ms(Some(sluice_rt::now_ms() + self.client_ms));
        self.out.flushed().await.map_err(|_| Broken::Client)
    }

    fn elapsed_us(&self) -> u64 {
        sluice_rt::clock_ns().saturating_sub(self.started_ns) / 1000
    }

    async fn run(&mut self, ex: &mut Exchange, mut begun: Begun) -> Result<(), Broken> {
        let mut body = Body::new(begun.head.framing, &RESPONSE_LIMITS);
        let mut trailers = Vec::new();
        if matches!(self.source, Source::Body) {
            let answer = proxy::answer(&begun.head, &begun.bytes);
            let is_bodiless = ex.head.method == Method::Head;
            let framing = if is_bodiless { BodyFraming::None } else { begun.head.framing };
            self.head(ex, &answer, framing);
        }
        let is_whole = {
            let (us, mut ui) = begun.lease.wire.split();
            if self.delivery != Some(Delivery::NoBody) {
                self.pieces(ex, us, &mut ui, (&mut body, &mut trailers)).await?;
            }
            if self.delivery == Some(Delivery::Chunked) {
                forward::end_body(self.out, &trailers);
            }
            matches!(ui.ready(&mut body, &mut trailers), Ok([])) && body.is_done()
        };
        begun.end(is_whole);
        Ok(())
    }

    /// Passes pieces on until the last.
    async fn pieces(
        &mut self,
        ex: &mut Exchange,
        us: Out<'_>,
        ui: &mut In<'_>,
        (body, trailers): (&mut Body, &mut Vec<u8>),
    ) -> Result<(), Broken> {
        loop {
            // What has come already goes out together.
            let mut data = ui.ready(body, trailers).map_err(upstream_error)?;
            if data.is_empty() && !body.is_done() {
                self.out.flush();
                us.set_deadline_ms(Some(self.until_ms.min(sluice_rt::now_ms() + IDLE_MS)));
                data = ui.data(body, trailers).await.map_err(upstream_error)?;
            }
            if data.is_empty() {
                // A function says that it is done before its stream ends.
                return match self.source {
                    Source::Body => Ok(()),
                    Source::Events { .. } => Err(Broken::Upstream(Refusal::FunctionFailed)),
                };
            }
            if self.took(ex, data, body.is_done())? == Step::Done {
                return Ok(());
            }
            if self.out.is_broken() {
                return Err(Broken::Client);
            }
            if self.out.unsent_bytes() > high_water(self.out) {
                self.flushed().await?;
            }
            if sluice_rt::now_ms() >= self.until_ms {
                return Err(Broken::Upstream(Refusal::UpstreamTimeout));
            }
        }
    }

    /// Reads a piece of what came, and sends what of it is for the client.
    fn took(&mut self, ex: &mut Exchange, data: &[u8], is_last: bool) -> Result<Step, Broken> {
        let Source::Events { decoder, prelude } = &mut self.source else {
            return Ok(self.send(data, is_last));
        };
        let (mut decoder, mut prelude) = (std::mem::take(decoder), prelude.take());
        let step = self.events(ex, data, &mut decoder, &mut prelude);
        self.source = Source::Events { decoder, prelude };
        step
    }

    fn events(
        &mut self,
        ex: &mut Exchange,
        mut data: &[u8],
        decoder: &mut StreamDecoder,
        prelude: &mut Option<StreamPrelude>,
    ) -> Result<Step, Broken> {
        let failed = || Broken::Upstream(Refusal::FunctionFailed);
        while let Some(event) = decoder.next(&mut data).map_err(|_| failed())? {
            let mut body = match event {
                StreamEvent::Piece(piece) => piece,
                StreamEvent::Complete(told) if prelude.is_none() && is_success(&told) => {
                    return Ok(Step::Done);
                }
                StreamEvent::Complete(_) | StreamEvent::Exception(_) => return Err(failed()),
            };
            if let Some(gathered) = prelude {
                let Some((answer, rest)) = gathered.push(body).map_err(|_| failed())? else { continue };
                *prelude = None;
                let is_bodiless = ex.head.method == Method::Head || matches!(answer.status, 204 | 304);
                let framing = if is_bodiless { BodyFraming::None } else { BodyFraming::Chunked };
                self.head(ex, &remapped(answer), framing);
                body = rest;
            }
            if self.send(body, false) == Step::Done {
                return Ok(Step::Done);
            }
        }
        Ok(Step::More)
    }

    fn send(&mut self, body: &[u8], is_last: bool) -> Step {
        match self.delivery {
            None | Some(Delivery::NoBody) => return Step::Done,
            Some(delivery) => {
                let is_chunked = delivery == Delivery::Chunked;
                if !body.is_empty() {
                    self.out.piece(body, is_chunked, is_last && !is_chunked);
                    self.sent += body.len() as u64;
                }
            }
        }
        let is_enough = self.core.trace.is_kept() && self.sent > TRIAL_BYTES;
        if is_enough { Step::Done } else { Step::More }
    }

    fn head(&mut self, ex: &mut Exchange, answer: &Answer, framing: BodyFraming) {
        // Who tries a method out reads to the end of the connection.
        let delivery = Delivery::of(framing, ex.is_http10() || self.core.trace.is_kept());
        self.keep &= delivery != Delivery::Close;
        ex.report.integration_us = Some(self.elapsed_us());
        write::streamed_head(self.core, self.out, ex, answer, (delivery, self.keep));
        self.delivery = Some(delivery);
    }
}

/// Whether `InvokeComplete` tells of no error (Lambda API reference, "InvokeWithResponseStreamCompleteEvent").
fn is_success(told: &[u8]) -> bool {
    let told: Option<serde_json::Value> = serde_json::from_slice(told).ok();
    told.is_some_and(|told| told.is_object() && told.get("ErrorCode").is_none_or(serde_json::Value::is_null))
}

#[cfg(test)]
mod tests {
    use super::is_success;

    #[test]
    fn what_completes_without_an_error() {
        for good in ["{}", r#"{"ErrorCode":null,"ErrorDetails":null,"LogResult":null}"#] {
            assert!(is_success(good.as_bytes()), "{good}");
        }
        for bad in ["", "x", "[]", r#"{"ErrorCode":"Unhandled"}"#, r#"{"ErrorCode":"#] {
            assert!(!is_success(bad.as_bytes()), "{bad}");
        }
    }
}
