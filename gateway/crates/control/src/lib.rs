//! The control thread: an admin listener beside the data cores, and the client the command line talks to it with.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | 200 [`Health`] |
//! | `GET /metrics` | Prometheus's text format |
//! | `GET /routes` | a list of [`RouteInfo`] |
//! | `GET /upstreams` | a list of [`UpstreamInfo`] |
//! | `GET /plan` | a list of [`PlanInfo`] |
//! | `GET /catalog` | all REST APIs, keys, plans and domain names, as JSON |
//! | `PUT /catalog` | puts such a document in place of all that is stored and served; answers like `POST /reload` |
//! | `GET /xdp` | [`XdpReport`] |
//! | `GET /xdp/bans` | [`BanReport`] |
//! | `GET /clients/ADDRESS` | [`ClientReport`] |
//! | `POST /xdp/detach` | 200 `{"detached":[…]}`, the interfaces |
//! | `GET /functions` | a list of [`FunctionInfo`] |
//! | `POST /functions/NAME/invoke` | what Lambda's Invoke API answers |
//! | `GET /functions/NAME/logs` | lines of its instances; `?follow=true`: and those that come |
//! | `POST /reload` | 200 `{"generation":N}`, or 422 `{"errors":[…]}` and nothing changed |
//!
//! Paths of AWS API Gateway (`/restapis`, `/apikeys`, …) are answered as AWS does (see `v1`), to signed requests only; so is
//! Lambda's `POST /2015-03-31/functions/NAME/invocations` for the functions that the gateway hosts, and `/catalog`.
//!
//! The rest of the listener asks nobody on this machine for a signature, and nobody elsewhere who only looks (see `access`): it belongs on
//! the loopback address. Against the two ways a web page can reach a
//! loopback port it guards itself: names (DNS rebinding) are refused but for those allowed, and `POST` needs a header
//! that a page may not send to another origin unasked (see `guard`).
//!
//! It knows nothing of how routes, reloads or XDP work: the binary hands those in as [`Admin`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod access;
mod admin;
mod bans;
pub mod client;
mod functions;
mod guard;
mod listing;
mod server;
mod v1;
mod xdp;

pub use admin::{Actions, Admin, Health, PlanInfo, Provider, Reload, RouteInfo, UpstreamInfo};
pub use bans::{
    BanInfo, BanReport, ClientReport, EvidenceInfo, RefusedClient, ReleaseInfo, StandingInfo, ban_families,
    ban_table, client_text, duration, evidence, refused_table,
};
pub use functions::{FunctionInfo, function_table};
pub use listing::{plan_text, route_table, upstream_table};
pub use server::{ControlThread, serve};
pub use v1::{Access, ControlPlane, Serving, Subject, Trial, TrialError, TrialOutcome, carry_out};
pub use xdp::{XdpCount, XdpInterface, XdpReport, xdp_families, xdp_top};
