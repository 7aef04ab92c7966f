//! A core's own handful of tokens.

use crate::pool::{Drawn, LEASE_MAX_TOKENS, Pool, Report};
use crate::rate::Decision;
use std::sync::Arc;

/// A lease not spent from for so long goes back at [`Lease::expire`], and starts small again.
pub const LEASE_IDLE_NS: u64 = 20_000_000;

/// A lease used up sooner than this is drawn twice as large the next time.
const LEASE_GROW_NS: u64 = 2_000_000;

/// A core that finds the pool dry asks for the others' leases at most this often.
const RECALL_EVERY_NS: u64 = 5_000_000;

/// Tokens that one core drew from a [`Pool`] and spends without atomics.
///
/// Size: 1 at first, doubled while it is used up within 2 ms, up to 64 and to the core's share of a sixteenth of the burst.
/// A core whose requests have stopped should call [`expire`](Self::expire) from its housekeeping timer: nobody else can take
/// its tokens. When another core finds the pool dry, the next `take` here gives the rest back.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    unspent: u32,
    lent: u32,
    want: u32,
    epoch: u64,
    spent_at_ns: u64,
    drawn_at_ns: u64,
    /// What the draw left in the pool, unless the lease went back since.
    drawn: Option<u64>,
    recalled_at_ns: Option<u64>,
}

impl Lease {
    /// An empty lease; the first `take` draws.
    #[must_use]
    pub fn new(pool: Arc<Pool>) -> Self {
        pool.enlist();
        let epoch = pool.epoch();
        Self {
            pool,
            unspent: 0,
            lent: 0,
            want: 1,
            epoch,
            spent_at_ns: 0,
            drawn_at_ns: 0,
            drawn: None,
            recalled_at_ns: None,
        }
    }

    /// Spends one token, if there is one.
    #[inline]
    pub fn take(&mut self, now_ns: u64) -> Decision {
        if self.unspent > 0 && self.epoch == self.pool.epoch() {
            self.unspent -= 1;
            self.spent_at_ns = self.spent_at_ns.max(now_ns);
            return Decision::Granted;
        }
        self.take_slow(now_ns)
    }

    #[inline(never)]
    fn take_slow(&mut self, now_ns: u64) -> Decision {
        let epoch = self.pool.epoch();
        if self.epoch != epoch {
            self.epoch = epoch;
            self.want = 1;
            if self.unspent > 0 {
                self.unspent -= 1;
                self.spent_at_ns = self.spent_at_ns.max(now_ns);
                self.give_back();
                return Decision::Granted;
            }
        } else {
            self.resize(now_ns);
        }
        match self.pool.draw(self.report(), self.want, now_ns) {
            Drawn::Tokens { count, word } => {
                self.lent = count - 1;
                self.unspent = count - 1;
                self.drawn = Some(word);
                self.spent_at_ns = self.spent_at_ns.max(now_ns);
                self.drawn_at_ns = now_ns;
                Decision::Granted
            }
            Drawn::Dry { retry_after_ms } => {
                self.lent = 0;
                self.want = 1;
                self.recall_others(now_ns);
                Decision::Refused { retry_after_ms }
            }
        }
    }

    fn resize(&mut self, now_ns: u64) {
        let lasted_ns = now_ns.saturating_sub(self.drawn_at_ns);
        if lasted_ns < LEASE_GROW_NS {
            self.want = (self.want * 2).min(LEASE_MAX_TOKENS);
        } else if lasted_ns > LEASE_IDLE_NS {
            self.want = 1;
        }
    }

    fn recall_others(&mut self, now_ns: u64) {
        let waited = self.recalled_at_ns.is_none_or(|at_ns| now_ns.saturating_sub(at_ns) >= RECALL_EVERY_NS);
        if waited && self.pool.outstanding() > 0 {
            self.recalled_at_ns = Some(now_ns);
            self.pool.recall();
        }
    }

    /// Undoes the `take` that was granted last, before anything else happened to this lease: the request was refused by
    /// another limit after all. To be called at once. A token that was drawn for this very request goes back to the pool,
    /// and is lost if another core met the pool since, or if the lease went back with it: a window must never see more
    /// than its due.
    pub fn put_back(&mut self) {
        if self.unspent < self.lent {
            self.unspent += 1;
        } else if let Some(word) = self.drawn.take() {
            self.pool.undraw(word);
        }
    }

    /// Returns what is unspent to the pool, where other cores find it.
    pub fn give_back(&mut self) {
        if self.lent > 0 {
            self.pool.settle(self.report());
            (self.lent, self.unspent) = (0, 0);
            self.drawn = None;
        }
    }

    /// [`give_back`](Self::give_back) if nothing was spent for [`LEASE_IDLE_NS`]. To be called every 10 to 50 ms.
    pub fn expire(&mut self, now_ns: u64) {
        if self.lent > 0 && now_ns.saturating_sub(self.spent_at_ns) >= LEASE_IDLE_NS {
            self.give_back();
        }
    }

    /// Tokens it could spend without the pool.
    #[must_use]
    pub fn unspent(&self) -> u32 {
        self.unspent
    }

    /// The pool it draws from.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn report(&self) -> Report {
        Report { lent: self.lent, unspent: self.unspent, spent_at_ns: self.spent_at_ns }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
        self.pool.discharge();
    }
}
