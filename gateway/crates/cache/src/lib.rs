//! The response cache: bounded in bytes, read without locks, filled once however many ask.
//!
//! * [`KeyBuilder`] makes a key from the parts that distinguish answers; a look-up copies nothing.
//! * [`Cache`] holds [`Entry`]s, shared by all cores: chains read under crossbeam's epoch, SIEVE eviction.
//! * [`standard`] decides by RFC 9111 what may be stored and served; [`Validity`] says by which rules an entry lives.
//! * [`Flights`] lets one request fetch while others with the same key wait.
//!
//! Time is an argument, in milliseconds of any monotonic clock; nothing here reads a clock or does I/O.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod entry;
mod flight;
mod key;
#[cfg(all(test, loom))]
mod model;
mod shard;
mod sieve;
mod sip;
pub mod standard;
mod store;
mod sync;

pub use entry::{Entry, Validity};
pub use flight::{FillGuard, Flight, Flights, Waiter};
pub use key::{CacheKey, KeyBuilder, KeyRef};
pub use store::{Cache, CacheStats};
