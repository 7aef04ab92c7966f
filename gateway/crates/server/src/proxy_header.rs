//! Reading the PROXY protocol's header, before anything else of a connection.

use sluice_rt::Stream;
use sluice_wire::proxy::{Proxied, parse_proxy_header};
use std::net::SocketAddr;

/// The client that the header names, `peer` itself where it names none. `None`: no whole, well-formed header came in time,
/// and the connection is of no use.
pub(crate) async fn read(stream: &Stream, peer: SocketAddr, timeout_ms: u64) -> Option<SocketAddr> {
    stream.set_deadline_ms(Some(sluice_rt::now_ms() + timeout_ms));
    let mut seen = Vec::new();
    loop {
        let buf = stream.recv().await.ok()??;
        let before = seen.len();
        seen.extend_from_slice(&buf);
        match parse_proxy_header(&seen).ok()? {
            // The parser bounds what it wants more of.
            Proxied::Partial => {}
            Proxied::Complete { len, source } => {
                // The header ends in the buffer that came last, else it had been whole before.
                stream.unread(buf, len.saturating_sub(before));
                return Some(source.unwrap_or(peer));
            }
        }
    }
}
