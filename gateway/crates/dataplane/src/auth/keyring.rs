//! The keys of token issuers, as this core has been told them, and exchanges that wait for others.
//!
//! Key sets are fetched off the data cores. A core that meets a token whose key it does not have asks for the issuer's set
//! and waits for word, but not for long, and not often: tokens with made-up key names must cost issuers nothing.

use sluice_jwt::KeySet;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// All key sets.
#[derive(Clone, Default)]
pub struct Keyring {
    /// Counts changes: tokens that were verified with other keys count no more.
    pub generation: u64,
    /// By [`Issuer::provider`](sluice_snapshot::Issuer::provider).
    pub providers: Vec<ProviderKeys>,
}

/// The keys of one issuer.
#[derive(Clone, Default)]
pub struct ProviderKeys {
    /// `None`: none could be fetched so far.
    pub set: Option<Arc<KeySet>>,
    /// How often it was tried, or found to have been tried just now.
    pub attempts: u64,
}

/// How long an exchange waits for a key set.
const PATIENCE_MS: u64 = 3_000;
/// How often a core asks for one issuer's.
const ASK_EVERY_MS: u64 = 5_000;

/// Asks for the key set of a provider anew; never blocks.
type Ask = Box<dyn Fn(u32)>;

/// This core's.
#[derive(Default)]
pub(crate) struct Keys {
    ring: RefCell<Arc<Keyring>>,
    ask: RefCell<Option<Ask>>,
    /// By provider, when it may be asked for again.
    asked: RefCell<Vec<Cell<u64>>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Keys {
    pub(crate) fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.borrow())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.ring.borrow().generation
    }

    pub(crate) fn set_ring(&self, ring: Arc<Keyring>) {
        self.ring.replace(ring);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    pub(crate) fn set_ask(&self, ask: Ask) {
        self.ask.replace(Some(ask));
    }

    /// Whether it is worth asking for a provider's keys now.
    pub(crate) fn may_ask(&self, provider: u32) -> bool {
        let asked = self.asked.borrow();
        asked.get(provider as usize).is_none_or(|next_ms| sluice_rt::now_ms() >= next_ms.get())
    }

    /// Asks for a provider's keys, and waits until there is word of them.
    pub(crate) async fn refresh(&self, provider: u32) {
        let at = provider as usize;
        let attempts = |keys: &Self| keys.ring.borrow().providers.get(at).map_or(0, |one| one.attempts);
        let before = attempts(self);
        {
            let mut asked = self.asked.borrow_mut();
            if asked.len() <= at {
                asked.resize_with(at + 1, Cell::default);
            }
            if let Some(next_ms) = asked.get(at) {
                next_ms.set(sluice_rt::now_ms() + ASK_EVERY_MS);
            }
        }
        match self.ask.borrow().as_ref() {
            Some(ask) => ask(provider),
            None => return,
        }
        let mut patience = pin!(sluice_rt::sleep_until_ms(sluice_rt::now_ms() + PATIENCE_MS));
        poll_fn(|cx| {
            if attempts(self) != before {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            std::future::Future::poll(patience.as_mut(), cx)
        })
        .await;
    }
}
