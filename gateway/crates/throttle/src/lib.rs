//! Token buckets with AWS API Gateway's meaning of rate and burst, exact on many cores.
//!
//! * [`Pool`] and [`Lease`]: one limit shared by all cores. The pool is one atomic word; each core draws a few tokens at a
//!   time and spends them without atomics.
//! * [`ClientTable`]: one bucket for each of very many clients, in bounded memory.
//! * [`Quota`] and [`QuotaLease`]: requests in a day, a week or a month.
//! * [`ConnectionTable`]: how many connections each client has open.
//!
//! Time is an argument, in nanoseconds of a monotonic clock; nothing here reads a clock or does I/O.
//!
//! # What is promised
//!
//! **Never above.** In every window, grants are at most `burst + rate * window`, over all cores together.
//!
//! **Hardly below.** A refusal by a [`Lease`] means that an exact bucket charged with the same grants has less than
//! `1 + 2 * O` tokens, where `O` is the most that leases may hold: `burst / 16` ([`LEASE_BURST_SHARE`]), and never over
//! 63 for each core ([`LEASE_MAX_TOKENS`]). Once `O` for the tokens that other cores hold right now
//! ([`Pool::outstanding`] reports them), once for what the pool could not refill while it took spent tokens for unspent. A burst under
//! `32 * cores` is never lent out: such a limit is exact. A core that finds the pool dry recalls the others' leases, at
//! most every 5 ms; an idle core returns its own by [`Lease::expire`].
//!
//! **Rounding.** A token's time is rounded up by less than 1/16 ns and not at all for common rates.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod clients;
mod connections;
mod lease;
#[cfg(all(test, loom))]
mod model;
mod pool;
mod quota;
mod rate;
mod sip;
mod sync;

pub use clients::ClientTable;
pub use connections::ConnectionTable;
pub use lease::{LEASE_IDLE_NS, Lease};
pub use pool::{LEASE_BURST_SHARE, LEASE_MAX_TOKENS, Pool};
pub use quota::{Period, Quota, QuotaCount, QuotaLease};
pub use rate::{Decision, RETRY_AFTER_MAX_MS, Rate};
