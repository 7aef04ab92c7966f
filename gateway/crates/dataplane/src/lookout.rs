//! What a core tells the judge of bans about its clients: who was refused, and who of the watched was admitted.
//!
//! The address is always the connection's own: that is what the kernel can drop.

use sluice_promote::{Offence, Report, Tally, Watch};
use sluice_telemetry::Refusal;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

/// One core's [`Tally`], and what counts in it.
pub(crate) struct Lookout(RefCell<Tally>);

/// What an outcome says of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It got what it may have, or would have but for the gateway or the upstream.
    Admitted,
    /// It is being a nuisance.
    Offence(Offence),
    /// Neither: an honest mistake, or an accident.
    Neutral,
}

const fn verdict(refusal: Option<Refusal>) -> Verdict {
    let Some(refusal) = refusal else { return Verdict::Admitted };
    match refusal {
        Refusal::Throttled => Verdict::Offence(Offence::Throttled),
        Refusal::KeyMissing
        | Refusal::KeyInvalid
        | Refusal::KeyDisabled
        | Refusal::Unauthorized
        | Refusal::SignatureInvalid
        | Refusal::SignatureIncomplete
        | Refusal::UnknownAccessKey => Verdict::Offence(Offence::Credentials),
        Refusal::Malformed
        | Refusal::UriTooLong
        | Refusal::HeadersTooLarge
        | Refusal::NotImplemented
        | Refusal::VersionNotSupported => Verdict::Offence(Offence::Malformed),
        Refusal::HeaderTimeout => Verdict::Offence(Offence::Handshake),
        _ if refusal.is_upstream() => Verdict::Admitted,
        _ => Verdict::Neutral,
    }
}

impl Lookout {
    pub(crate) fn new(core: usize) -> Self {
        Self(RefCell::new(Tally::new(core)))
    }

    /// Notes how an exchange ended.
    #[inline]
    pub(crate) fn note(&self, client: IpAddr, refusal: Option<Refusal>, key: Option<u32>) {
        match verdict(refusal) {
            Verdict::Admitted => self.0.borrow_mut().admitted(client),
            Verdict::Offence(offence) => self.0.borrow_mut().refused(client, offence, key),
            Verdict::Neutral => {}
        }
    }

    /// Notes a connection that led to no request.
    pub(crate) fn nuisance(&self, client: IpAddr) {
        self.0.borrow_mut().refused(client, Offence::Handshake, None);
    }

    /// While this lives, its client counts as admitted: it has an exchange that lasts.
    #[inline]
    pub(crate) fn enter(&self, client: IpAddr) -> InFlight<'_> {
        InFlight { lookout: self, ticket: self.0.borrow_mut().enter(client) }
    }

    pub(crate) fn set_watch(&self, watch: Arc<Watch>) {
        self.0.borrow_mut().set_watch(watch);
    }

    pub(crate) fn report(&self, now_ns: u64) -> Option<Report> {
        self.0.borrow_mut().report(now_ns)
    }
}

/// An admitted exchange under way.
pub(crate) struct InFlight<'a> {
    lookout: &'a Lookout,
    ticket: u32,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.lookout.0.borrow_mut().leave(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clients_own_doing_is_an_offence() {
        let offences = Refusal::ALL.iter().filter(|why| matches!(verdict(Some(**why)), Verdict::Offence(_)));
        let labels: Vec<_> = offences.map(|why| why.label()).collect();
        assert_eq!(
            labels,
            [
                "unauthorized",
                "invalid_signature",
                "incomplete_signature",
                "unknown_access_key",
                "key_missing",
                "key_invalid",
                "key_disabled",
                "throttled",
                "uri_too_long",
                "headers_too_large",
                "malformed",
                "not_implemented",
                "version_not_supported",
                "header_timeout"
            ]
        );
        assert_eq!(verdict(None), Verdict::Admitted);
        assert_eq!(verdict(Some(Refusal::UpstreamTimeout)), Verdict::Admitted);
        assert_eq!(verdict(Some(Refusal::NotFound)), Verdict::Neutral);
    }
}
