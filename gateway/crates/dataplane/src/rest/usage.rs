//! Who may call a method, and how often: API keys, usage plans, throttles of methods and of the account.
//!
//! What is nearest to the caller is asked first, so that one caller's excess takes nothing from the others (developer guide,
//! "Throttle requests to your REST APIs"): the plan's limit for the method, the plan's for the key, the method's, the
//! account's; the quota last. A request takes from all or from none.

use crate::auth::Principal;
use crate::core::Core;
use crate::exchange::{Bucket, Exchange, Refused, take_all, throttled};
use sluice_snapshot::{ApiKey, KeyId, Limit, RouteAt, Snapshot};
use sluice_telemetry::Refusal;
use sluice_wire::KnownHeader;

/// Identifies the caller where the method asks for a key, and asks all limits.
#[inline]
pub(crate) fn authorize(ex: &mut Exchange, core: &Core, within: RouteAt) -> Result<(), Refused> {
    let view = std::rc::Rc::clone(&ex.view);
    let rest = &view.snapshot.rest;
    let Some(route) = ex.route.and_then(|at| rest.route(at)) else { return Ok(()) };
    let grant = if route.api_key_required {
        let (id, key) = identified(&view.snapshot, ex, within)?;
        let stage = rest.stages.get(within.stage as usize).map(|stage| stage.id);
        let grant = key.grants.iter().find(|grant| Some(grant.stage) == stage);
        let grant = grant.ok_or(Refusal::KeyInvalid)?;
        ex.key = Some(id);
        Some(grant)
    } else {
        None
    };
    let is_it = |path: &str, method: &str| {
        *path == *route.pattern && method == route.method.as_deref().unwrap_or("ANY")
    };
    let own =
        grant.into_iter().flat_map(|grant| &grant.methods).filter(|(path, method, _)| is_it(path, method));
    let of_plan = own.map(|(.., limit)| limit).chain(grant.and_then(|grant| grant.limit.as_ref()));
    let buckets = of_plan.chain(&route.limits).chain(&rest.account).filter_map(bucket);
    let refused = take_all(ex, core, buckets.clone());
    throttled(ex, refused)?;
    match grant.and_then(|grant| grant.quota.as_ref()) {
        Some(quota) if !core.take_quota(quota, core.clock.unix_ms(ex.received_ns) / 1000) => {
            buckets.for_each(|(index, ..)| core.put_back(index));
            ex.report.limit = Some(quota.slot);
            Err(Refusal::QuotaExceeded.into())
        }
        _ => Ok(()),
    }
}

fn bucket(limit: &Limit) -> Option<Bucket<'_>> {
    match limit {
        Limit::Pool { index, pool, slot } => Some((*index, pool, *slot)),
        Limit::PerClient { .. } | Limit::PerKey { .. } => None,
    }
}

fn in_header_of(ex: &Exchange) -> Result<&[u8], Refused> {
    let mut sent = ex.head.headers.iter().filter(|h| h.id == KnownHeader::XApiKey);
    match (sent.next(), sent.next()) {
        (None, _) => Err(Refusal::KeyMissing.into()),
        (Some(h), None) => Ok(h.value.of(ex.bytes.as_slice())),
        // Two keys: which one the backend would believe is anyone's guess.
        (Some(_), Some(_)) => Err(Refusal::KeyInvalid.into()),
    }
}

/// What the authorizer says (`usageIdentifierKey`).
fn of_authorizer(ex: &Exchange) -> Option<&[u8]> {
    let vouched = ex.principal.as_ref().and_then(Principal::vouched)?;
    vouched.usage_key.as_deref().map(str::as_bytes)
}

/// The key that the request names, if it is one and enabled.
fn identified<'s>(
    snapshot: &'s Snapshot,
    ex: &Exchange,
    within: RouteAt,
) -> Result<(KeyId, &'s ApiKey), Refused> {
    let in_header = snapshot.rest.deployed(within).is_some_and(|deployed| deployed.keys_in_header);
    let value = if in_header { in_header_of(ex)? } else { of_authorizer(ex).ok_or(Refusal::KeyMissing)? };
    let table = &snapshot.rest.keys;
    let place = table.by_value.get(value).copied().ok_or(Refusal::KeyInvalid)?;
    let key = table.keys.get(place as usize).ok_or(Refusal::KeyInvalid)?;
    if !key.enabled {
        return Err(Refusal::KeyDisabled.into());
    }
    let before = u32::try_from(snapshot.keys.len()).unwrap_or(u32::MAX);
    Ok((KeyId(before.saturating_add(place)), key))
}
