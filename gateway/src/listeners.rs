//! Data listeners: each core has a socket of its own on each address (SO_REUSEPORT), so the kernel spreads connections
//! and no lock is shared.
//!
//! Sockets may come from the process that this one replaces, or from the service manager. Each of them is accepted from
//! by some core: connections that wait in a socket that nobody accepts from would hang, and be reset when it is closed.

use sluice_rt::Inherited;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// What a socket is for, as a successor is told.
const PLAIN: &str = "data";
const TLS: &str = "tls";
const ADMIN: &str = "admin";

const fn role(tls: bool) -> &'static str {
    if tls { TLS } else { PLAIN }
}

/// The sockets of all cores, and the addresses they are bound to.
pub(crate) struct Bound {
    /// One list for each core.
    pub(crate) sockets: Vec<Vec<Listening>>,
    /// As bound: port 0 is resolved.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The admin listener's.
    pub(crate) admin: Option<TcpListener>,
    /// Each socket once more, to be handed to a successor.
    pub(crate) kept: Vec<Kept>,
}

/// A data listener of one core.
pub(crate) struct Listening {
    pub(crate) socket: TcpListener,
    pub(crate) tls: bool,
}

/// A socket as a successor gets it.
pub(crate) struct Kept {
    /// `data/ADDRESS`, `tls/ADDRESS` or `admin/ADDRESS`, the address as configured: port 0 means the same port again.
    pub(crate) name: String,
    pub(crate) socket: TcpListener,
}

/// Sockets that this process was started with and that no address has claimed.
#[derive(Default)]
pub(crate) struct Given(Vec<Candidate>);

struct Candidate {
    name: String,
    handed_over: bool,
    socket: TcpListener,
}

impl Given {
    pub(crate) fn new(inherited: Vec<Inherited>) -> Self {
        let candidate = |given: Inherited| Candidate {
            name: given.name,
            handed_over: given.handed_over,
            socket: TcpListener::from(given.socket),
        };
        Self(inherited.into_iter().map(candidate).collect())
    }

    /// Takes those for `address`, by the name that [`Kept`] gave them, or a service manager's by where they listen.
    fn claim(&mut self, role: &str, address: SocketAddr) -> Vec<Candidate> {
        // What was plain may speak TLS from now on, and the other way round; port 0 alone does not say which socket is meant.
        let others: &[&str] = if address.port() == 0 || role == ADMIN { &[] } else { &[PLAIN, TLS] };
        let names: Vec<_> = [role].iter().chain(others).map(|role| format!("{role}/{address}")).collect();
        let wanted = |candidate: &Candidate| {
            let at = || candidate.socket.local_addr().is_ok_and(|at| at == address);
            if candidate.handed_over { names.contains(&candidate.name) } else { at() }
        };
        let (claimed, left) = std::mem::take(&mut self.0).into_iter().partition(wanted);
        self.0 = left;
        claimed
    }

    /// Names those that are left, which are closed.
    fn report(self) {
        for Candidate { name, socket, .. } in self.0 {
            let at = socket.local_addr().map_or_else(|error| error.to_string(), |at| at.to_string());
            eprintln!(
                "sluice: note: closing inherited socket {name} on {at}, which the configuration does not name"
            );
        }
    }
}

/// Binds each address once for each core, or takes what was inherited for it. `addresses` says with each whether TLS is
/// spoken there.
pub(crate) fn bind(
    addresses: impl Iterator<Item = (SocketAddr, bool)>,
    admin: Option<SocketAddr>,
    cores: usize,
    mut given: Given,
) -> Result<Bound, String> {
    let mut bound = Bound {
        sockets: (0..cores).map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
        admin: None,
        kept: Vec::new(),
    };
    for (address, tls) in addresses {
        let failed = |error: io::Error| format!("can't listen on {address}: {error}");
        let inherited = given.claim(role(tls), address);
        let exact = if inherited.is_empty() {
            bound.bind_fresh(address, tls).map_err(failed)?
        } else {
            bound.adopt(address, tls, inherited).map_err(failed)?
        };
        bound.addresses.push(exact);
    }
    if let Some(address) = admin {
        let failed = |error: io::Error| format!("can't listen on {address} (admin): {error}");
        let socket = match given.claim(ADMIN, address).pop() {
            Some(candidate) => candidate.socket,
            None => TcpListener::bind(address).map_err(failed)?,
        };
        bound.keep(ADMIN, address, &socket).map_err(failed)?;
        bound.admin = Some(socket);
    }
    given.report();
    Ok(bound)
}

/// Has the kernel choose the core by the CPU on which a connection comes in, on every address.
pub(crate) fn steer(bound: &Bound, cpus: &[usize]) -> io::Result<()> {
    let cores = bound.sockets.len();
    let of_cores: Vec<usize> = cpus.iter().copied().cycle().take(cores).collect();
    // The first core's sockets: the program is that of all that share the port.
    let mut first = bound.sockets.first().into_iter().flatten();
    first.try_for_each(|listening| sluice_rt::steer_by_cpu(&listening.socket, &of_cores))
}

impl Bound {
    fn keep(&mut self, role: &str, address: SocketAddr, socket: &TcpListener) -> io::Result<()> {
        self.kept.push(Kept { name: format!("{role}/{address}"), socket: socket.try_clone()? });
        Ok(())
    }

    fn give(&mut self, core: usize, tls: bool, socket: TcpListener) {
        if let Some(sockets) = self.sockets.get_mut(core) {
            sockets.push(Listening { socket, tls });
        }
    }

    fn bind_fresh(&mut self, address: SocketAddr, tls: bool) -> io::Result<SocketAddr> {
        claim(address)?;
        let mut exact = address;
        for core in 0..self.sockets.len() {
            let socket = sluice_rt::bind_reuseport(exact)?;
            exact = socket.local_addr()?;
            self.keep(role(tls), address, &socket)?;
            self.give(core, tls, socket);
        }
        Ok(exact)
    }

    /// Deals inherited sockets out to the cores. Cores that get none have one of their own where the port may be shared,
    /// and else accept from the same socket as another core.
    fn adopt(&mut self, address: SocketAddr, tls: bool, inherited: Vec<Candidate>) -> io::Result<SocketAddr> {
        let cores = self.sockets.len();
        let mut exact = address;
        let (mut shared, mut handed_over) = (Vec::new(), false);
        for (at, candidate) in inherited.into_iter().enumerate() {
            let socket = candidate.socket;
            exact = socket.local_addr()?;
            handed_over |= candidate.handed_over;
            self.keep(role(tls), address, &socket)?;
            shared.push(socket.try_clone()?);
            self.give(at % cores, tls, socket);
        }
        for (core, other) in (shared.len()..cores).zip(shared.iter().cycle()) {
            // A service manager's socket outlives us, ones that we add beside it don't: those are for successors only.
            let own = if handed_over { sluice_rt::bind_reuseport(exact).ok() } else { None };
            match own {
                Some(socket) => {
                    self.keep(role(tls), address, &socket)?;
                    self.give(core, tls, socket);
                }
                None => self.give(core, tls, other.try_clone()?),
            }
        }
        Ok(exact)
    }
}

/// SO_REUSEPORT would let a second gateway of the same user share the port silently; a plain bind first says so.
fn claim(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 { Ok(()) } else { TcpListener::bind(address).map(drop) }
}
