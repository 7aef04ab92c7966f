//! TLS over `rt` streams, and the one stream type that is either plain or TLS.
//!
//! [`Stream`] has the methods of [`sluice_rt::Stream`], so that what reads and writes HTTP needs to know nothing of TLS:
//! a plain connection pays one predictable branch for that, and a TLS session lives in a box, so that connections
//! without one stay small.
//!
//! ```text
//!            recv                                write_with, write_*
//!   rt buffer | decrypted in place, one copy        | plain text gathers, encrypted from 16 KiB on or at `flush`
//!             v                                     v straight into rt's send queue
//!   Buf of plain text                            records: small ones while a burst begins, then 16 KiB
//! ```
//! rustls is used without its buffers (`rustls::unbuffered`): received records are decrypted where the engine put them,
//! an idle session holds no buffer, and what is unsent is in `rt`'s queue only, so backpressure works as on plain
//! streams.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod any_issuer;
mod certificates;
mod configs;
mod endpoint;
mod files;
mod handshake;
mod machine;
mod names;
mod peer;
mod pool;
mod session;
mod stream;

pub use certificates::Certificates;
pub use configs::{
    ClientAuth, ServerOptions, any_issuer_config, challenge_config, client_config, server_config,
    system_authorities, tickets,
};
pub use endpoint::{ACME_TLS_ALPN, Endpoint};
pub use files::{Fault, Identity, authorities, identity, identity_from};
pub use handshake::{HandshakeError, accept, connect};
pub use names::Names;
pub use peer::PeerCertificate;
pub use rustls;
pub use rustls::pki_types::ServerName;
pub use rustls::server::ProducesTickets;
pub use rustls::{ClientConfig, ServerConfig};
pub use session::{Facts, Session};
pub use stream::{Flushed, Recv, Stream};
