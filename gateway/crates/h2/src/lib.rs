//! HTTP/2 connections over an `rt` stream: what the server side and the upstream side share.
//!
//! A [`Driver`] reads a connection and keeps its rules; [`Stream`]s write to it and take what has come for them. A stream
//! belongs to its exchange's task. [`Side`] is one side of an exchange in either version of HTTP, so that the data plane
//! moves bodies without asking which.
//!
//! Memory of a connection is bounded: what nobody has taken by the windows we grant, what waits to be sent by the
//! exchanges, which wait above a mark, header blocks by the limits, and answers to floods by [`Driver::run`], which stops
//! reading.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod budget;
mod client;
mod driver;
mod head;
mod link;
mod run;
mod side;
mod slot;
mod stream;

pub use client::Opener;
pub use driver::{Driver, Events, Incoming, Settings};
pub use head::Head;
pub use run::{End, Host, Timing};
pub use side::{In, Out, Side, Watching};
pub use stream::{Stream, Watch};

/// What a stream may hold back before its writer waits.
pub const HIGH_WATER: usize = 64 * 1024;
