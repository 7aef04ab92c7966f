//! Questions to upstreams that no client waits for: `stale-while-revalidate` (RFC 5861 section 3).

use crate::core::Core;
use crate::exchange::Exchange;
use crate::forward;
use crate::integrate::{FinalHead, Held, open};
use crate::relay::Copy;
use crate::standard::Ask;
use sluice_cache::Entry;
use sluice_client::{Group, Lease, RESPONSE_LIMITS};
use sluice_h1::Body;
use sluice_h2::{In, Out};
use sluice_snapshot::{Action, ProxyPlan, Upstream};
use sluice_wire::BodyFraming;
use std::rc::Rc;
use std::sync::Arc;

/// Asks, and stores what may be stored. Every failure is the same here: what is stored stays, and the next request asks
/// again.
pub(crate) async fn ask(core: &Core, ex: &Exchange, ask: &Ask) -> Option<Arc<Entry>> {
    let view = Rc::clone(&ex.view);
    let Action::Proxy(plan) = &ex.route()?.action else { return None };
    let (upstream, group) = core.servers(&view, plan.to)?;
    let question = Question { core, ex, ask, plan, upstream, group: &group, asked_ms: sluice_rt::now_ms() };
    let deadline_ms = question.asked_ms + plan.total_timeout_ms;
    let opened = open(core, question.group, ex.head.method, question.upstream, None, deadline_ms);
    let lease = opened.await.ok()?;
    let target = lease.target;
    match question.put(lease).await {
        Ok(entry) => ask.store(core, ex, entry?, question.asked_ms),
        Err(Broken) => {
            question.group.failed(target, sluice_rt::now_ms());
            None
        }
    }
}

/// The upstream failed.
struct Broken;

struct Question<'a> {
    core: &'a Core,
    ex: &'a Exchange,
    ask: &'a Ask,
    plan: &'a ProxyPlan,
    upstream: &'a Upstream,
    group: &'a Group,
    asked_ms: u64,
}

impl Question<'_> {
    /// The answer, if it may be stored.
    async fn put(&self, mut lease: Lease) -> Result<Option<Entry>, Broken> {
        let Self { core, ex, .. } = *self;
        let authority =
            self.group.spec().targets.get(lease.target).map(|t| &*t.authority).unwrap_or_default();
        let put = forward::Question { validating: self.ask.validating(), upgrade: None };
        let out = lease.wire.out();
        forward::request_head(out, core, ex, self.plan, authority, &put);
        out.flush();
        let (us, mut ui) = lease.wire.split();
        let timeout_ms = self.plan.total_timeout_ms.min(self.upstream.read_timeout_ms);
        let final_head = FinalHead {
            scratch: &core.scratch,
            method: ex.head.method,
            deadline_ms: Some(sluice_rt::now_ms() + timeout_ms),
            interim_to: None,
            upgrading: false,
        };
        let mut head = core.scratch.response();
        let bytes = final_head.read(us, &mut ui, &mut head).await.map_err(|_| Broken)?;
        let at = core.moment(self.asked_ms);
        let entry = match self.ask.hold(&head, bytes.as_slice(), at) {
            Some(Held::Validated { entry, keep }) => keep.then_some(entry),
            Some(Held::Failed) => return Err(Broken),
            None => match Copy::by_standard(self.ask, &head, bytes.as_slice(), at) {
                Some(copy) => self.copied(copy, us, &mut ui, head.framing).await?,
                // Not for storing any more: what is stored becomes too old by itself.
                None => return Ok(None),
            },
        };
        let clean = entry.is_some() && head.keep_alive && head.framing != BodyFraming::UntilClose;
        bytes.recycle(&core.scratch);
        core.scratch.put_response(head);
        self.group.succeeded(lease.target);
        if clean {
            self.group.release(lease, sluice_rt::now_ms());
        }
        Ok(entry)
    }

    /// The whole body; `None`: it is too long, and the connection must not be used again.
    async fn copied(
        &self,
        mut copy: Copy,
        us: Out<'_>,
        ui: &mut In<'_>,
        framing: BodyFraming,
    ) -> Result<Option<Entry>, Broken> {
        let mut body = Body::new(framing, &RESPONSE_LIMITS);
        let mut trailers = Vec::new();
        loop {
            us.set_deadline_ms(Some(sluice_rt::now_ms() + self.upstream.read_timeout_ms));
            let data = ui.data(&mut body, &mut trailers).await.map_err(|_| Broken)?;
            if data.is_empty() {
                return Ok(Some(copy.finish(sluice_rt::now_ms())));
            }
            if !copy.push(data) {
                return Ok(None);
            }
        }
    }
}
