//! Data listeners: each core has a socket of its own on each address (SO_REUSEPORT), so the kernel spreads connections
//! and no lock is shared.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// The sockets of all cores, and the addresses they are bound to.
pub(crate) struct Bound {
    /// One list for each core.
    pub(crate) sockets: Vec<Vec<TcpListener>>,
    /// As bound: port 0 is resolved.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Binds each address once for each core.
pub(crate) fn bind(addresses: impl Iterator<Item = SocketAddr>, cores: usize) -> Result<Bound, String> {
    let mut bound = Bound { sockets: (0..cores).map(|_| Vec::new()).collect(), addresses: Vec::new() };
    for address in addresses {
        let failed = |error: io::Error| format!("can't listen on {address}: {error}");
        claim(address).map_err(failed)?;
        let mut exact = address;
        for sockets in &mut bound.sockets {
            let socket = sluice_rt::bind_reuseport(exact).map_err(failed)?;
            exact = socket.local_addr().map_err(failed)?;
            sockets.push(socket);
        }
        bound.addresses.push(exact);
    }
    Ok(bound)
}

/// Has the kernel choose the core by the CPU on which a connection comes in, on every address.
pub(crate) fn steer(bound: &Bound, cpus: &[usize]) -> io::Result<()> {
    let cores = bound.sockets.len();
    let of_cores: Vec<usize> = cpus.iter().copied().cycle().take(cores).collect();
    // The first core's sockets: the program is that of all that share the port.
    let mut first = bound.sockets.first().into_iter().flatten();
    first.try_for_each(|socket| sluice_rt::steer_by_cpu(socket, &of_cores))
}

/// SO_REUSEPORT would let a second gateway of the same user share the port silently; a plain bind first says so.
fn claim(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 { Ok(()) } else { TcpListener::bind(address).map(drop) }
}
