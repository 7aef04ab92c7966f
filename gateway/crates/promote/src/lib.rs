//! From refusals to bans: who is dropped in the kernel, and when no longer.
//!
//! A source that keeps being refused costs the gateway an answer each time. Once it has been refused above a rate for a
//! while, **and not one request of it was admitted in that time**, its packets are better dropped before they cost anything.
//! Anybody who has traffic that is wanted, above all the innocent behind the same NAT, must never be dropped for it.
//!
//! ```text
//!   data core                                  control thread
//!   Tally: refusals by client  --- Report --->  Judge --- Verdict::Ban, Verdict::Release ---> kernel
//!          admissions of the watched  <-- Watch ---'
//! ```
//!
//! * [`Tally`] is a core's own. A refused request counts in a small heavy-hitter table; an admitted one costs a branch
//!   while nobody is watched, a bit test while somebody is, and a mark when it is by someone who is.
//! * [`Judge`] hears what the cores report and decides. It draws its state machine in its module.
//!
//! The order of things makes "not one" true: a source's time begins to count only once every core has said that it watches
//! it, and ends at the last moment that every core has reported about. A core that is stuck delays bans, it does not cause any.
//!
//! Pure: time is an argument, in nanoseconds of a monotonic clock; nothing here does I/O.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod heat;
mod judge;
mod offence;
mod source;
mod tally;
mod top;
mod watch;

pub use judge::{Ban, Evidence, Explanation, Judge, ReleaseReason, Rules, Standing, Verdict};
pub use offence::{Offence, Offences};
pub use source::Source;
pub use tally::{Report, Suspect, Tally};
pub use top::{TopClient, TopClients};
pub use watch::Watch;
