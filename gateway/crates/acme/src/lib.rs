//! Certificates from an ACME authority (RFC 8555): account, orders, challenges, renewal.
//!
//! [`keep`] runs on the control thread for as long as the configuration says so, and goes one way for each certificate:
//!
//! ```text
//!         +--- no certificate, or one for other names ---+
//!         |                                              v
//! sleep until due --(2/3 of its life, less up to 1/20)-> order -> challenges presented -> ready -> CSR -> certificate
//!         ^                                              | \                                             |
//!         +------------- stored, installed <-------------|--\--------------------------------------------+
//!                                                        v failed: told, and again after a pause that doubles
//! ```
//! Serving never waits for any of it: meanwhile the old certificate serves, or a placeholder signed by itself. How answers
//! to challenges and certificates come to be served is the [`Host`]'s business.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod http;
mod make;
mod order;
mod schedule;
mod store;

pub use make::placeholder;
pub use order::Answers;
pub use store::Store;

use crate::order::Issuer;
use crate::schedule::{Pause, renewal_unix_s};
use sluice_tls::{ClientConfig, Identity};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The authority, and us as its customer.
#[derive(Clone)]
pub struct Options {
    /// URL of its directory.
    pub directory: String,
    /// `mailto:` addresses.
    pub contact: Vec<String>,
    /// How its own certificate is verified.
    pub tls: Arc<ClientConfig>,
    /// After a first failure.
    pub retry: Duration,
}

/// How the authority is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// RFC 8555 8.3.
    Http01,
    /// RFC 8737.
    TlsAlpn01,
}

/// A certificate that is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is called here; names its file.
    pub name: Arc<str>,
    /// Host names.
    pub names: Vec<String>,
    /// How to prove them.
    pub challenge: Challenge,
}

/// What is done with what comes of it.
pub trait Host: Send + Sync + 'static {
    /// Serves these answers to challenges in place of those before; done once every core does.
    fn present(&self, answers: Answers) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Serves a new certificate from the next handshake on.
    fn install(&self, name: &str, identity: Identity);
    /// Tells the operator.
    fn tell(&self, line: &str);
}

/// Keeps the wanted certificates valid, for ever.
pub async fn keep(options: Options, store: Store, wanted: Vec<Wanted>, host: Arc<dyn Host>) {
    let mut tasks: HashMap<usize, (u64, Pause)> = HashMap::new();
    for (at, wanted) in wanted.iter().enumerate() {
        let due_unix_s = match store.identity(&wanted.name) {
            Ok(Some(identity)) if covers(&identity, wanted) => renewal_unix_s(&identity, random()),
            _ => 0,
        };
        tasks.insert(at, (due_unix_s, Pause::new(options.retry)));
    }
    let mut issuer = Issuer::new(options, store, Arc::clone(&host));
    loop {
        let Some((at, due_unix_s)) = tasks.iter().map(|(at, (due, _))| (*at, *due)).min_by_key(|task| task.1)
        else {
            return;
        };
        sleep_until(due_unix_s).await;
        let (Some(wanted), Some((due, pause))) = (wanted.get(at), tasks.get_mut(&at)) else { return };
        let names = wanted.names.join(", ");
        match issuer.obtain(wanted).await {
            Ok(identity) => {
                *due = renewal_unix_s(&identity, random());
                pause.reset();
                let left_s = identity.not_after_unix_s.saturating_sub_unsigned(unix_s());
                let (left, unit) =
                    if left_s < 2 * 86_400 { (left_s, "s") } else { (left_s / 86_400, "days") };
                let name = &wanted.name;
                host.tell(&format!("acme: certificate {name} for {names} is issued, good for {left} {unit}"));
                host.install(&wanted.name, identity);
            }
            Err(why) => {
                let wait = pause.next(random());
                *due = unix_s() + wait.as_secs().max(1);
                host.tell(&format!(
                    "warning: acme: no certificate {} for {names}: {why}; what is there goes on serving, again in {} s",
                    wanted.name,
                    wait.as_secs()
                ));
            }
        }
        host.present(Answers::default()).await;
    }
}

/// Whether a certificate is for all the names that it is to be for.
#[must_use]
pub fn covers(identity: &Identity, wanted: &Wanted) -> bool {
    wanted.names.iter().all(|name| identity.names.contains(name))
}

/// By the wall clock, which may be set, and in steps: a suspended machine does not count.
async fn sleep_until(due_unix_s: u64) {
    const STEP: Duration = Duration::from_secs(60);
    loop {
        let left = Duration::from_secs(due_unix_s.saturating_sub(unix_s()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(STEP)).await;
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// 0 to below 1, to spread what many gateways do; not secret.
fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(unix_s()) >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}
