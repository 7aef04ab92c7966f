//! A thin single-threaded executor on io_uring: one ring and one thread per core, nothing shared between cores. Where
//! io_uring is refused, [`Engine::Auto`] does the same on epoll.
//!
//! [`run`] turns the calling thread into a core. Inside, [`spawn`] adds tasks, [`Listener`] and [`Stream`] do network
//! I/O, [`sleep_until_ms`] waits, and [`mailbox`] receives from other threads. No handle can leave its thread, but
//! wakers, [`Sender`] and (before its first use) [`Receiver`] can.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! let listener = sluice_rt::bind_reuseport("127.0.0.1:8080".parse().map_err(std::io::Error::other)?)?;
//! sluice_rt::run(sluice_rt::Config::default(), || async move {
//!     let Ok(listener) = sluice_rt::Listener::new(listener) else { return };
//!     while let Ok(stream) = listener.accept().await {
//!         sluice_rt::spawn(async move {
//!             while let Ok(Some(received)) = stream.recv().await {
//!                 stream.write_buf(received);
//!                 if stream.flushed().await.is_err() {
//!                     return;
//!                 }
//!             }
//!         });
//!     }
//! })
//! # }
//! ```
//!
//! # Completions that are not what one hoped for
//!
//! In io_uring's terms, which the epoll driver speaks, too. `sim.rs` tests what sockets meet of it on a simulated kernel.
//!
//! | operation | result | meaning | what happens |
//! |---|---|---|---|
//! | receive | 0 | the peer ended its half | `recv` returns `None` after what is queued |
//! | receive | ENOBUFS | the buffer group was empty | counted, armed again once buffers are back and the reader does not lag |
//! | receive | ECANCELED | we stopped it: reader lags, splice, close | armed again when the reason is gone |
//! | receive | no MORE flag | the kernel ended the multishot (e.g. full completion queue) | armed again |
//! | receive | EAGAIN, EINTR | met a descriptor that is non-blocking for a splice | armed again |
//! | receive | ECONNRESET, ETIMEDOUT, EHOSTUNREACH … | connection lost | `recv` fails with it after what is queued |
//! | send | fewer bytes than asked | socket closed or error half-way | the rest is submitted again and tells |
//! | send | EPIPE, ECONNRESET … | connection lost | output forgotten, `flushed` fails with it |
//! | send | EAGAIN, EINTR | as for receive | submitted again |
//! | send | ECANCELED | a dropped stream ran out of patience | closed |
//! | accept | EMFILE, ENFILE, ENOBUFS, ENOMEM | out of descriptors or memory | counted, pause of 100 ms; the fifth time in a row all who wait are closed and counted |
//! | accept | ECONNABORTED, EPROTO, … | that connection is gone | counted, armed again |
//! | accept | EINVAL, EBADF … | not a usable listener | `accept` fails with it |
//! | connect | ECONNREFUSED, ENETUNREACH … | | `connect` fails with it |
//! | connect | ECANCELED | its deadline passed | `connect` fails with `TimedOut` |
//! | poll | any | readiness or error | the splice looks for itself; a stopped reader's [`Watch`] is told |
//! | cancel | ENOENT, EALREADY | the operation was over or running | its own completion counts |
//! | enter | EINTR, ETIME, EBUSY, EAGAIN | signal, timeout, completions waiting, memory | next turn |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod acceptor;
mod bufring;
mod config;
mod driver;
mod epoll;
mod error;
mod executor;
mod inbox;
mod inherit;
mod io;
mod listener;
mod mailbox;
mod out;
mod recv;
mod ring;
mod send;
#[cfg(test)]
mod sim;
mod socket;
mod splice;
mod stream;
mod sync;
mod task;
mod time;
mod waker_cell;
mod watch;
mod wheel;

pub use bufring::Buf;
pub use config::{Config, Engine, Stats, Wait};
pub use error::Unsupported;
pub use executor::{driver, run, spawn, stats};
pub use inherit::{HANDOVER_VARIABLE, Inherited, handover_value, inherited};
pub use listener::{Accept, Listener};
pub use mailbox::{Receiver, Sender, mailbox};
pub use ring::check_io_uring;
pub use socket::{bind_reuseport, steer_by_cpu};
pub use splice::Splice;
pub use stream::{Flushed, Recv, Stream};
pub use time::{Sleep, clock_ns, now_ms, now_ns, sleep_until_ms, yield_now};
pub use watch::Watch;
