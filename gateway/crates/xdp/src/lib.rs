//! The XDP program's keeper: loads and attaches it, keeps its maps as configured, reads its counters.
//!
//! [`Xdp::start`] loads the embedded object and attaches it; [`Xdp::reconcile`] turns what is into what is wanted, lists
//! as a whole and at once; dropping it, or the death of the process, detaches the
//! program, so it fails open, unless links are pinned. Where the
//! kernel or missing privileges forbid it, [`XdpError::is_unavailable`] says so and the gateway serves without.
//!
//! The program judges only TCP to the served ports. What it drops, and why, is [`Reason`]; `docs/xdp.md` is the
//! user's view.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod attach;
mod bans;
mod blocklist;
mod counters;
mod error;
mod events;
mod gate;
mod handover;
mod load;
mod maps;
mod netlink;
mod options;
mod pins;
mod sys;
mod tables;

pub use attach::Attachment;
pub use bans::{Ban, LetThrough, subscriber};
pub use blocklist::{BlockListError, LineError, parse_block_list, read_block_file};
pub use counters::{ClientCount, Counters, ReasonCount, RuleCount};
pub use error::XdpError;
pub use events::Event;
#[doc(hidden)]
pub use gate::Runner;
pub use gate::Xdp;
pub use handover::Handed;
pub use options::{Limits, Mode, Options, Rate};
pub use pins::detach_pinned;
pub use sluice_common::{Reason, Stat};

/// The object that [`Xdp::start`] loads.
pub use load::EMBEDDED_OBJECT;
