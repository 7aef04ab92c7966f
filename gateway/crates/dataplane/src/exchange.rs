//! One exchange and the steps it goes through.
//!
//! Each step has its own type, which holds the exchange: a step consumes one type and returns the next, or a
//! [`Refused`]. So nothing reaches `integrate` that was not authorized, and the order of the steps is checked by the
//! compiler.
//!
//! ```text
//! Received -route-> Routed -admit-> Admitted -identify-> Identified -authorize-> Authorized -validate-> Validated
//!   -> mock | cache | integrate
//! ```

use crate::auth::{self, Principal, Wait};
use crate::client;
use crate::core::{Core, View};
use crate::ids::RequestId;
use crate::respond::{self, Leftover};
use crate::rest;
use crate::rest::proxy::MappedHead;
use crate::rest::usage;
use sluice_h1::HeadBytes;
use sluice_server::{Active, Conn, Request};
use sluice_snapshot::{
    Addressed, ApiKey, Canary, Captures, KeyId, Limit, Match, Route, RouteAt, RouteId, resource_path,
};
use sluice_telemetry::{CacheOutcome, Refusal};
use sluice_throttle::{Decision, Pool};
use sluice_tls::Facts;
use sluice_wire::{BodyFraming, KnownHeader, Method, RequestHead, Version};
use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Everything known of one exchange.
pub(crate) struct Exchange {
    pub(crate) view: Rc<View>,
    pub(crate) head: Box<RequestHead>,
    pub(crate) bytes: HeadBytes,
    pub(crate) received_ns: u64,
    /// The client, as far as trusted proxies tell.
    pub(crate) source: IpAddr,
    /// Who the connection is from.
    pub(crate) peer: IpAddr,
    pub(crate) request_id: RequestId,
    /// What the client's TLS handshake settled; `None` on a plain connection.
    pub(crate) tls: Option<Rc<Facts>>,
    active: Rc<Active>,
    pub(crate) route: Option<RouteAt>,
    /// The deployment that it is for, once its stage is known; the route in it may not be there.
    pub(crate) within: Option<RouteAt>,
    /// What is mapped of its head (HTTP_PROXY).
    pub(crate) mapped: Option<Box<MappedHead>>,
    /// Where the routed part of the path is in it: all of it but below a stage.
    routed: Range<usize>,
    pub(crate) captures: Captures,
    /// Who calls, once an authorizer has vouched.
    pub(crate) principal: Option<Principal>,
    pub(crate) key: Option<KeyId>,
    /// Where its body is.
    pub(crate) body: Held,
    pub(crate) report: Report,
}

/// Where the body of a request is.
#[derive(Default)]
pub(crate) enum Held {
    /// Not read yet, if there is one.
    #[default]
    Unread,
    /// Read, because who calls could not be told without it.
    Here(Vec<u8>),
    /// On its way to the integration.
    Taken,
    /// It could not be read to its end.
    Broken,
}

/// What `record` will say of an exchange, beside what the request says itself.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) status: u16,
    pub(crate) refusal: Option<Refusal>,
    /// Telemetry slot of the limit that refused.
    pub(crate) limit: Option<u32>,
    pub(crate) cache: CacheOutcome,
    /// The client asked for a fresh answer and is told that it does not get one for that.
    pub(crate) refresh_ignored: bool,
    /// Telemetry slot of the upstream.
    pub(crate) upstream: Option<u32>,
    pub(crate) integration_us: Option<u64>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// A named refusal: one of the gateway's own answers.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    pub(crate) retry_after_ms: Option<u64>,
    /// Told in place of the usual message.
    pub(crate) message: Option<Cow<'static, str>>,
    /// `WWW-Authenticate`.
    pub(crate) challenge: Option<Box<str>>,
    /// `$context.error.validationErrorString`.
    pub(crate) validation: String,
    /// For the execution log.
    pub(crate) log: String,
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self {
            why,
            retry_after_ms: None,
            message: None,
            challenge: None,
            validation: String::new(),
            log: String::new(),
        }
    }
}

impl Exchange {
    #[inline]
    pub(crate) fn new(core: &Core, conn: &Conn, request: Request) -> Self {
        let view = core.view();
        let peer = conn.peer.ip();
        let source = client::address(peer, &view.snapshot.server, &request.head, request.bytes.as_slice());
        Self {
            view,
            head: request.head,
            bytes: request.bytes,
            received_ns: request.received_ns,
            source,
            peer,
            request_id: core.ids.next_id(),
            tls: conn.tls.clone(),
            active: Rc::clone(&conn.active),
            route: None,
            within: None,
            mapped: None,
            routed: 0..usize::MAX,
            captures: Captures::default(),
            principal: None,
            key: None,
            body: Held::Unread,
            report: Report::default(),
        }
    }

    /// The same request without its client, for work that outlives the answer.
    pub(crate) fn detached(&self) -> Self {
        Self {
            view: Rc::clone(&self.view),
            head: self.head.clone(),
            bytes: HeadBytes::Owned(self.bytes.as_slice().to_vec()),
            received_ns: self.received_ns,
            source: self.source,
            peer: self.peer,
            request_id: self.request_id,
            tls: self.tls.clone(),
            active: Rc::clone(&self.active),
            route: self.route,
            within: self.within,
            mapped: None,
            routed: self.routed.clone(),
            captures: self.captures.clone(),
            principal: self.principal.clone(),
            key: self.key,
            body: Held::Unread,
            report: Report::default(),
        }
    }

    /// The matched route.
    #[inline]
    pub(crate) fn route(&self) -> Option<&Route> {
        self.view.snapshot.route(self.route?)
    }

    /// The path that the route was found by: what its captures are places in.
    #[inline]
    pub(crate) fn routed_path(&self) -> &[u8] {
        let path = self.head.path.of(self.bytes.as_slice());
        let end = self.routed.end.min(path.len());
        path.get(self.routed.start..end).unwrap_or_default()
    }

    /// Whether its stage was found by a custom domain name.
    pub(crate) fn is_by_domain(&self) -> bool {
        self.view.snapshot.rest.is_by_domain(self.head.authority.of(self.bytes.as_slice()))
    }

    /// The identified key.
    #[inline]
    pub(crate) fn api_key(&self) -> Option<&ApiKey> {
        let (snapshot, at) = (&self.view.snapshot, self.key?.0 as usize);
        match snapshot.keys.get(at) {
            Some(key) => Some(key),
            None => snapshot.rest.keys.keys.get(at - snapshot.keys.len()).map(|key| &**key),
        }
    }

    /// Value of the first header of this kind.
    #[inline]
    pub(crate) fn header(&self, id: KnownHeader) -> Option<&[u8]> {
        self.head.find(id).map(|h| h.value.of(self.bytes.as_slice()))
    }

    /// The client may reuse the connection, as far as it asked for that and the gateway is not about to end.
    #[inline]
    pub(crate) fn client_keep_alive(&self) -> bool {
        self.head.keep_alive && !self.active.is_draining()
    }

    /// What to do with the request's body where the answer does not need it.
    pub(crate) fn leftover(&self) -> Leftover {
        match self.body {
            Held::Unread => respond::leftover(&self.head),
            Held::Here(_) | Held::Taken => Leftover::Nothing,
            Held::Broken => Leftover::Close,
        }
    }

    /// The body, if it was read already.
    pub(crate) fn take_body(&mut self) -> Option<Vec<u8>> {
        match std::mem::take(&mut self.body) {
            Held::Here(body) => {
                self.body = Held::Taken;
                Some(body)
            }
            other => {
                self.body = other;
                None
            }
        }
    }

    #[inline]
    pub(crate) fn is_http10(&self) -> bool {
        self.head.version == Version::Http10
    }
}

/// A parsed request.
pub(crate) struct Received<'x>(pub(crate) &'x mut Exchange);
/// A route was found.
pub(crate) struct Routed<'x>(&'x mut Exchange);
/// The limits of the route, the client and the gateway granted it.
pub(crate) struct Admitted<'x>(&'x mut Exchange);
/// The caller is known, and may, or nobody asks.
pub(crate) struct Identified<'x>(&'x mut Exchange);
/// The caller is granted by its own limits.
pub(crate) struct Authorized<'x>(&'x mut Exchange);
/// Fit to be answered.
pub(crate) struct Validated<'x>(pub(crate) &'x mut Exchange);

impl<'x> Received<'x> {
    /// Finds the route by host, method and path.
    #[inline]
    pub(crate) fn route(self, core: &Core) -> Result<Routed<'x>, Refused> {
        let ex = self.0;
        let (head, bytes) = (&ex.head, ex.bytes.as_slice());
        if head.method == Method::Connect {
            // A gateway is no tunnel: CONNECT is never forwarded (RFC 9110 9.3.6).
            return Err(Refusal::NotImplemented.into());
        }
        if let Some(refusal) = ex.view.tls.refusal(ex) {
            return Err(refusal.into());
        }
        let rest = &ex.view.snapshot.rest;
        if !rest.is_empty() {
            match rest.address(head.authority.of(bytes), head.path.of(bytes)) {
                Addressed::Nobody => {}
                Addressed::Unknown => return Err(Refusal::UnknownStage.into()),
                Addressed::Stage { stage, start } => return in_stage(ex, core, stage, start),
            }
        }
        let found = ex.view.snapshot.router.route(
            head.authority.of(bytes),
            head.method,
            head.method_name.of(bytes),
            head.path.of(bytes),
            &mut ex.captures,
        );
        match found {
            Match::Found(id) => {
                ex.route = Some(RouteAt::configured(id));
                Ok(Routed(ex))
            }
            Match::BadPath => Err(Refusal::Malformed.into()),
            Match::NotFound => Err(Refusal::NotFound.into()),
            // Answered like an unknown path, as HTTP APIs do; counted apart.
            Match::MethodNotAllowed => Err(Refusal::MethodNotAllowed.into()),
        }
    }
}

/// Finds the method of a stage. One that is not there gets what AWS answers: it cannot tell it from one that wants a
/// signature.
fn in_stage<'x>(ex: &'x mut Exchange, core: &Core, stage: u32, start: usize) -> Result<Routed<'x>, Refused> {
    let (head, bytes) = (&ex.head, ex.bytes.as_slice());
    let Some(served) = ex.view.snapshot.rest.stages.get(stage as usize) else {
        return Err(Refusal::UnknownStage.into());
    };
    let canary = served.canary.as_ref().filter(|canary| core.ids.draw(Canary::WHOLE) < canary.share);
    let deployed = canary.map_or(&served.deployed, |canary| &canary.deployed);
    ex.within = Some(RouteAt { stage, canary: canary.is_some(), id: RouteId(u32::MAX) });
    ex.routed = resource_path(head.path.of(bytes), start);
    let path = head.path.of(bytes).get(ex.routed.clone()).filter(|path| !path.is_empty()).unwrap_or(b"/");
    let name = head.method_name.of(bytes);
    match deployed.router.route(b"", head.method, name, path, &mut ex.captures) {
        // AWS's `{proxy+}` takes at least one segment.
        Match::Found(_) if path == b"/" && !ex.captures.is_empty() => Err(Refusal::MissingToken.into()),
        Match::Found(id) => {
            ex.route = ex.within.map(|within| RouteAt { id, ..within });
            if core.trace.is_kept() {
                core.trace.begin(core, ex);
            }
            Ok(Routed(ex))
        }
        Match::BadPath => Err(Refusal::Malformed.into()),
        Match::NotFound | Match::MethodNotAllowed => Err(Refusal::MissingToken.into()),
    }
}

impl<'x> Routed<'x> {
    /// Asks the limits that do not need to know the caller.
    #[inline]
    pub(crate) fn admit(self, core: &Core) -> Result<Admitted<'x>, Refused> {
        let ex = self.0;
        // On a stage the caller's limits are asked before those that all callers share.
        if ex.within.is_none() {
            let refused = route_limits(ex, core);
            throttled(ex, refused)?;
        }
        Ok(Admitted(ex))
    }
}

/// What is known of the caller at once.
pub(crate) enum Identity<'x> {
    Known(Identified<'x>),
    /// Not enough: see [`identified`].
    Later(Wait),
}

/// Goes on where [`Admitted::identify`] had to wait.
pub(crate) async fn identified<'x>(
    ex: &'x mut Exchange,
    wait: Wait,
    core: &Core,
    conn: &mut Conn,
) -> Result<Identified<'x>, Refused> {
    auth::wait(core, conn, ex, wait).await?;
    Ok(Identified(ex))
}

impl<'x> Admitted<'x> {
    /// Asks the route's authorizer and policies.
    #[inline]
    pub(crate) fn identify(self, core: &Core) -> Result<Identity<'x>, Refused> {
        let ex = self.0;
        Ok(match auth::identify(ex, core)? {
            None => Identity::Known(Identified(ex)),
            Some(wait) => Identity::Later(wait),
        })
    }
}

impl<'x> Identified<'x> {
    /// Identifies the caller by API key and asks the limits that belong to it. A usage plan's limit comes after the
    /// authorizer because that may name the key.
    #[inline]
    pub(crate) fn authorize(self, core: &Core) -> Result<Authorized<'x>, Refused> {
        let ex = self.0;
        if let Some(within) = ex.within {
            usage::authorize(ex, core, within)?;
            return Ok(Authorized(ex));
        }
        let snapshot = &ex.view.snapshot;
        let required = ex.route().is_some_and(|r| r.api_key_required);
        let mut keys = ex.head.headers.iter().filter(|h| h.id == KnownHeader::XApiKey);
        let (first, second) = (keys.next(), keys.next());
        let found = match (first, second) {
            (Some(h), None) => snapshot.key_by_value.get(h.value.of(ex.bytes.as_slice())).copied(),
            // Two keys: which one the backend would believe is anyone's guess.
            _ => None,
        };
        let enabled = found.filter(|id| snapshot.keys.get(id.0 as usize).is_some_and(|k| k.enabled));
        if required && enabled.is_none() {
            let why = match (first, found) {
                (None, _) => Refusal::KeyMissing,
                (Some(_), None) => Refusal::KeyInvalid,
                (Some(_), Some(_)) => Refusal::KeyDisabled,
            };
            return Err(why.into());
        }
        ex.key = enabled;
        if enabled.is_some() {
            let refused = key_limits(ex, core);
            throttled(ex, refused)?;
        }
        Ok(Authorized(ex))
    }
}

impl<'x> Authorized<'x> {
    /// Checks what can be checked before the body comes.
    #[inline]
    pub(crate) fn validate(self, core: &Core) -> Result<Validated<'x>, Refused> {
        let ex = self.0;
        if let Some(validator) = ex.route().and_then(|route| route.validator.as_deref()) {
            rest::has_parameters(core, ex, validator)?;
        }
        if let Some(route) = ex.route()
            && let BodyFraming::Length(n) = ex.head.framing
            && route.body_max_bytes != 0
            && n > route.body_max_bytes
        {
            return Err(Refusal::TooLarge.into());
        }
        Ok(Validated(ex))
    }
}

/// A bucket to take from: dense index, pool, telemetry slot.
pub(crate) type Bucket<'l> = (u32, &'l Arc<Pool>, u32);

/// Asks the limits of the route that do not depend on the key. `Some`: the slot of the one that refused, and for how long.
#[inline]
fn route_limits(ex: &Exchange, core: &Core) -> Option<(u32, u64)> {
    let limits = ex.route()?.limits.as_slice();
    let buckets = limits.iter().filter_map(|limit| match limit {
        Limit::Pool { index, pool, slot } => Some((*index, pool, *slot)),
        Limit::PerClient { .. } | Limit::PerKey { .. } => None,
    });
    if let Some(refused) = take_all(ex, core, buckets.clone()) {
        return Some(refused);
    }
    // Client tables come last because a token taken there can't be put back.
    for limit in limits {
        if let Limit::PerClient { table, slot } = limit
            && let Decision::Refused { retry_after_ms } = table.take(client_of(ex.source), ex.received_ns)
        {
            buckets.for_each(|(index, ..)| core.put_back(index));
            return Some((*slot, retry_after_ms));
        }
    }
    None
}

/// Asks the per-key limits of the route, then the key's own.
fn key_limits(ex: &Exchange, core: &Core) -> Option<(u32, u64)> {
    let key = ex.key?;
    let of_route = ex.route().map(|r| r.limits.as_slice()).unwrap_or_default();
    let of_route = of_route.iter().filter_map(|limit| match limit {
        Limit::PerKey { pools, slot } => pools.get(key.0 as usize).map(|(index, pool)| (*index, pool, *slot)),
        Limit::Pool { .. } | Limit::PerClient { .. } => None,
    });
    let of_key = ex.api_key().map(|k| k.limits.as_slice()).unwrap_or_default();
    let of_key = of_key.iter().filter_map(|limit| match limit {
        Limit::Pool { index, pool, slot } => Some((*index, pool, *slot)),
        Limit::PerKey { .. } | Limit::PerClient { .. } => None,
    });
    take_all(ex, core, of_route.chain(of_key))
}

/// Takes a token from each bucket, or from none: a request that one of them refuses must not drain the others.
#[inline]
pub(crate) fn take_all<'l>(
    ex: &Exchange,
    core: &Core,
    buckets: impl Iterator<Item = Bucket<'l>> + Clone,
) -> Option<(u32, u64)> {
    for (taken, (index, pool, slot)) in buckets.clone().enumerate() {
        if let Decision::Refused { retry_after_ms } = core.take(index, pool, ex.received_ns) {
            buckets.take(taken).for_each(|(index, ..)| core.put_back(index));
            return Some((slot, retry_after_ms));
        }
    }
    None
}

pub(crate) fn throttled(ex: &mut Exchange, refused: Option<(u32, u64)>) -> Result<(), Refused> {
    match refused {
        None => Ok(()),
        Some((slot, retry_after_ms)) => {
            ex.report.limit = Some(slot);
            Err(Refused { retry_after_ms: Some(retry_after_ms), ..Refused::from(Refusal::Throttled) })
        }
    }
}

/// The bucket of a client address. IPv6 clients are taken by /64: one host may use all of it (RFC 4291 2.5.1).
pub(crate) fn client_of(source: IpAddr) -> u128 {
    match source.to_canonical() {
        IpAddr::V4(a) => u128::from(a.to_ipv6_mapped()),
        IpAddr::V6(a) => u128::from(a) & !u128::from(u64::MAX),
    }
}
