//! The shared part of a limit.
//!
//! ```text
//!              draw n                       take: no atomics
//!   Pool  ---------------->  Lease (core 0)  --------------->  request
//!   room  <----------------
//!   + outstanding  settle    Lease (core 1) ...
//! ```
//!
//! The bucket is kept as in the GCRA (ITU-T I.371): one time `tat`, when the bucket will be full again. What it holds at
//! `now` is `burst - (tat - now) / token`. Tokens that leases hold are still in the bucket, so far as the burst goes:
//! what the pool holds and what it has lent may never exceed the burst together, hence `tat >= now + outstanding * token`
//! at every draw. Without it a core could sit on a lease while the pool fills behind it, and spend both at once.
//!
//! **Never above.** A lease tells the pool what it spent only when it comes back, and `outstanding` counts a token until
//! then. Take any window from `a` to `b`, and the first draw or settlement in it. `outstanding` has not changed since `a`,
//! so it covers all that leases truly held at `a`; the pool is capped at `burst - outstanding` as of a time not before the
//! last spending it did not know of; so what is drawn until `b` is at most `burst - outstanding + rate * (b - a)`, and
//! with what was held the grants are at most `burst + rate * (b - a)`.
//!
//! **Across cores.** A lease adds to `outstanding` before the compare-exchange that draws, and subtracts after it. The
//! exchange is acquire and release, so whoever draws on top of another's draw sees its addition, and cannot see a
//! subtraction that belongs to a later one: `outstanding` errs only upwards.

use crate::rate::{Meter, Rate, TICKS_MAX};
use crate::sync::{AtomicU64, Mutex, Ordering};
use std::sync::{Arc, PoisonError};

/// Most tokens a lease draws at once. One is spent by the request that drew them, so a lease holds one fewer.
pub const LEASE_MAX_TOKENS: u32 = 64;

/// All leases together hold at most this fraction of the burst, and each at least draws one. A limit whose burst is below
/// twice this for each core lends nothing and is exact.
pub const LEASE_BURST_SHARE: u64 = 16;

/// The low bits of the word name the meter that its time is measured with.
const GENERATION_BITS: u32 = 2;
const GENERATIONS: usize = 1 << GENERATION_BITS;

/// One limit's tokens, shared by all cores. Cores do not take from it but from a [`Lease`](crate::Lease).
///
/// The time given to `new` is the origin; later times may come from any core, slightly out of order. Good for nine years.
#[derive(Debug)]
pub struct Pool {
    hot: Hot,
    cold: Cold,
}

/// Written at each draw. Two cache lines, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Hot {
    /// When the bucket is full again, in ticks since the origin, and the meter's generation.
    word: AtomicU64,
    /// Tokens lent and not reported spent.
    outstanding: AtomicU64,
    /// Time of the latest draw, for `set_rate`.
    seen_ns: AtomicU64,
}

/// Read at each take, written rarely.
#[derive(Debug)]
#[repr(align(128))]
struct Cold {
    /// Leases drawn under an older epoch come back at once.
    epoch: AtomicU64,
    leases: AtomicU64,
    origin_ns: u64,
    /// The current meter and the last three. A draw that was overtaken by a change finds the word changed and starts over.
    meters: [MeterCell; GENERATIONS],
    setting: Mutex<()>,
}

#[derive(Debug, Default)]
struct MeterCell {
    ticks_per_ns: AtomicU64,
    token_ticks: AtomicU64,
    burst: AtomicU64,
}

impl MeterCell {
    fn store(&self, meter: Meter) {
        self.ticks_per_ns.store(meter.ticks_per_ns, Ordering::Relaxed);
        self.token_ticks.store(meter.token_ticks, Ordering::Relaxed);
        self.burst.store(meter.burst, Ordering::Relaxed);
    }

    fn load(&self) -> Meter {
        Meter {
            ticks_per_ns: self.ticks_per_ns.load(Ordering::Relaxed),
            // A cell caught half written must not divide by zero before the exchange fails.
            token_ticks: self.token_ticks.load(Ordering::Relaxed).max(1),
            burst: self.burst.load(Ordering::Relaxed),
        }
    }
}

/// The hot word, taken apart.
#[derive(Clone, Copy)]
struct Word {
    full_at: u64,
    generation: usize,
}

impl Word {
    fn unpack(raw: u64) -> Self {
        Self { full_at: raw >> GENERATION_BITS, generation: (raw as usize) % GENERATIONS }
    }

    fn pack(self) -> u64 {
        self.full_at.min(TICKS_MAX) << GENERATION_BITS | self.generation as u64
    }
}

/// What a lease has done since it last met the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// Tokens it was lent and that the pool counts as outstanding.
    pub(crate) lent: u32,
    /// Of those, tokens it still has.
    pub(crate) unspent: u32,
    /// When it last spent one.
    pub(crate) spent_at_ns: u64,
}

/// The pool's answer to a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drawn {
    /// At least 1; the first is the request's own and counts as spent, the others as lent.
    Tokens {
        count: u32,
        /// The word that the draw left, for `undraw`.
        word: u64,
    },
    Dry {
        retry_after_ms: u64,
    },
}

impl Pool {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate, now_ns: u64) -> Arc<Self> {
        let meters: [MeterCell; GENERATIONS] = Default::default();
        for cell in &meters {
            cell.store(Meter::new(rate));
        }
        Arc::new(Self {
            hot: Hot {
                word: AtomicU64::new(0),
                outstanding: AtomicU64::new(0),
                seen_ns: AtomicU64::new(now_ns),
            },
            cold: Cold {
                epoch: AtomicU64::new(0),
                leases: AtomicU64::new(0),
                origin_ns: now_ns,
                meters,
                setting: Mutex::new(()),
            },
        })
    }

    /// Changes rate and burst, for a reload. The bucket keeps its tokens, up to the new burst, as of the latest grant; from
    /// there it fills at the new rate. Cores bring back their leases when they next take. In a window across the change,
    /// grants are at most the larger burst plus the larger rate times the window.
    pub fn set_rate(&self, rate: Rate) {
        let meter = Meter::new(rate);
        let _setting = self.cold.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut raw = self.hot.word.load(Ordering::Acquire);
        if self.meter(Word::unpack(raw)) == meter {
            return;
        }
        // Only setters change the generation, and they hold the lock.
        let generation = (Word::unpack(raw).generation + 1) % GENERATIONS;
        if let Some(cell) = self.cold.meters.get(generation) {
            cell.store(meter);
        }
        loop {
            let word = Word::unpack(raw);
            let full_at = self.converted(word.full_at, self.meter(word), meter);
            let next = Word { full_at, generation }.pack();
            match self.hot.word.compare_exchange(raw, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(current) => raw = current,
            }
        }
        self.recall();
    }

    /// `full_at` on the new meter, such that the tokens at the latest draw are the same.
    fn converted(&self, full_at: u64, old: Meter, new: Meter) -> u64 {
        let seen_ns = self.hot.seen_ns.load(Ordering::Relaxed).saturating_sub(self.cold.origin_ns);
        let owed = full_at.saturating_sub(old.ticks(seen_ns));
        let room = old.burst_ticks().saturating_sub(owed);
        let room = u128::from(room) * u128::from(new.token_ticks) / u128::from(old.token_ticks);
        let room = u64::try_from(room).unwrap_or(u64::MAX).min(new.burst_ticks());
        new.ticks(seen_ns) + (new.burst_ticks() - room)
    }

    /// Tokens lent to cores and not reported spent: by so many the pool may hold fewer than an exact bucket. At most
    /// `burst /` [`LEASE_BURST_SHARE`] and 63 for each lease (a lease created later lowers the others' share when they next draw).
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.hot.outstanding.load(Ordering::Relaxed)
    }

    /// Whole tokens that the pool itself could give at `now_ns`, for metrics.
    #[must_use]
    pub fn available(&self, now_ns: u64) -> u64 {
        let word = Word::unpack(self.hot.word.load(Ordering::Acquire));
        let meter = self.meter(word);
        let now = self.ticks(meter, now_ns);
        let base = word.full_at.max(now + meter.cost(self.outstanding()));
        (now + meter.burst_ticks()).saturating_sub(base) / meter.token_ticks
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.cold.epoch.load(Ordering::Relaxed)
    }

    /// Asks every core to bring its lease back when it next takes.
    pub(crate) fn recall(&self) {
        self.cold.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn enlist(&self) {
        self.cold.leases.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn discharge(&self) {
        self.cold.leases.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes up to `want` tokens, at least one or none, for a lease with nothing left (`report.unspent` is 0).
    pub(crate) fn draw(&self, report: Report, want: u32, now_ns: u64) -> Drawn {
        let leases = self.cold.leases.load(Ordering::Relaxed).max(1);
        // Added to `outstanding` in advance by this call.
        let mut announced = 0_u64;
        let mut raw = self.hot.word.load(Ordering::Acquire);
        let drawn = loop {
            let word = Word::unpack(raw);
            let meter = self.meter(word);
            let lent_before = self.outstanding().saturating_sub(announced);
            let base = self.settled(word.full_at, meter, report, lent_before).max(
                self.ticks(meter, now_ns) + meter.cost(lent_before.saturating_sub(u64::from(report.lent))),
            );
            let limit = self.ticks(meter, now_ns) + meter.burst_ticks();
            let room = limit.saturating_sub(base) / meter.token_ticks;
            if room == 0 {
                let wait = (base + meter.token_ticks).saturating_sub(limit);
                break Drawn::Dry { retry_after_ms: meter.retry_after_ms(wait) };
            }
            let grant = lease_size(want, room, meter.burst, leases);
            if u64::from(grant) > announced + 1 {
                let more = u64::from(grant) - 1 - announced;
                self.hot.outstanding.fetch_add(more, Ordering::Relaxed);
                announced += more;
            }
            let next = Word { full_at: base + meter.cost(u64::from(grant)), ..word }.pack();
            match self.hot.word.compare_exchange(raw, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break Drawn::Tokens { count: grant, word: next },
                Err(current) => raw = current,
            }
        };
        self.after_draw(drawn, announced, report, now_ns);
        drawn
    }

    fn after_draw(&self, drawn: Drawn, announced: u64, report: Report, now_ns: u64) {
        let over = match drawn {
            Drawn::Tokens { count, .. } => {
                self.hot.seen_ns.store(now_ns, Ordering::Relaxed);
                announced.saturating_sub(u64::from(count) - 1) + u64::from(report.lent)
            }
            Drawn::Dry { .. } => {
                if report.lent > 0 {
                    self.settle(report);
                }
                announced
            }
        };
        if over > 0 {
            self.hot.outstanding.fetch_sub(over, Ordering::Release);
        }
    }

    /// Undoes the spending of a draw's own token. `drawn` is the word that the draw left. Only if nobody came in between:
    /// had somebody found the bucket full meanwhile, the token's place would have been filled already.
    pub(crate) fn undraw(&self, drawn: u64) {
        let word = Word::unpack(drawn);
        let full_at = word.full_at.saturating_sub(self.meter(word).token_ticks);
        let next = Word { full_at, ..word }.pack();
        let _lost = self.hot.word.compare_exchange(drawn, next, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Takes back what a lease has left and notes what it spent.
    pub(crate) fn settle(&self, report: Report) {
        let mut raw = self.hot.word.load(Ordering::Acquire);
        loop {
            let word = Word::unpack(raw);
            let meter = self.meter(word);
            let base = self.settled(word.full_at, meter, report, self.outstanding());
            let full_at = base.saturating_sub(meter.cost(u64::from(report.unspent)));
            let next = Word { full_at, ..word }.pack();
            match self.hot.word.compare_exchange(raw, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(current) => raw = current,
            }
        }
        self.hot.outstanding.fetch_sub(u64::from(report.lent), Ordering::Release);
    }

    /// `full_at` with the pool capped as of the lease's last spending, when all of `lent` was still outstanding.
    fn settled(&self, full_at: u64, meter: Meter, report: Report, lent: u64) -> u64 {
        if report.lent == report.unspent {
            return full_at;
        }
        full_at.max(self.ticks(meter, report.spent_at_ns) + meter.cost(lent))
    }

    fn ticks(&self, meter: Meter, ns: u64) -> u64 {
        meter.ticks(ns.saturating_sub(self.cold.origin_ns))
    }

    fn meter(&self, word: Word) -> Meter {
        self.cold.meters.get(word.generation).map_or_else(
            || Meter::new(Rate { per_second: 0.0, burst: 0 }), // Not reached: a generation is below GENERATIONS.
            MeterCell::load,
        )
    }
}

#[cfg(all(test, loom))]
impl Pool {
    /// Leaves so many tokens at the origin, without the steps that drawing them would add to the model.
    pub(crate) fn drain_to(&self, left: u64) {
        let meter = self.meter(Word { full_at: 0, generation: 0 });
        let full_at = meter.cost(meter.burst - left);
        self.hot.word.store(Word { full_at, generation: 0 }.pack(), Ordering::Release);
    }

    /// Takes a token out as a lease that holds it would have.
    pub(crate) fn force_lend(&self, tokens: u64) {
        let word = Word::unpack(self.hot.word.load(Ordering::Acquire));
        let full_at = word.full_at + self.meter(word).cost(tokens);
        self.hot.word.store(Word { full_at, ..word }.pack(), Ordering::Release);
        self.hot.outstanding.fetch_add(tokens, Ordering::Relaxed);
    }
}

/// How many of the pool's `room` tokens a lease gets: what it wants, within its share of the burst, and never so many that
/// the other cores would find the pool dry.
fn lease_size(want: u32, room: u64, burst: u64, leases: u64) -> u32 {
    let share =
        (burst / (LEASE_BURST_SHARE * leases)).min(room / (2 * leases)).min(u64::from(LEASE_MAX_TOKENS));
    want.min(share as u32).max(1)
}
