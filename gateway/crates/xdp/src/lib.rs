//! The XDP program's keeper: loads and attaches it, keeps its maps as configured, reads its counters.
//!
//! [`Xdp::start`] loads the embedded object and attaches it; [`Xdp::reconcile`] turns what is into what is wanted with
//! the fewest map edits; dropping it, or the death of the process, detaches the program: it fails open. Where the
//! kernel or missing privileges forbid it, [`XdpError::is_unavailable`] says so and the gateway serves without.
//!
//! The program judges only TCP to the served ports. What it drops, and why, is [`Reason`]; `docs/xdp.md` is the
//! user's view.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod bans;
mod blocklist;
mod counters;
mod error;
mod events;
mod gate;
mod load;
mod maps;
mod options;
mod plan;

pub use bans::{Ban, LetThrough, subscriber};
pub use blocklist::{BlockListError, LineError, parse_block_list, read_block_file};
pub use counters::{ClientCount, Counters, ReasonCount, RuleCount};
pub use error::XdpError;
pub use events::Event;
pub use gate::{Attachment, Xdp};
pub use options::{Mode, Options, Rate};
pub use sluice_common::{Reason, Stat};

/// The object that [`Xdp::start`] loads.
pub use load::EMBEDDED_OBJECT;
