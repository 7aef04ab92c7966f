//! The few system calls that don't go through the ring: making sockets, options, names.

use std::{
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// Pending connections a listener may have; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address in the kernel's form.
pub(crate) struct RawAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddr {
    pub(crate) fn new(addr: SocketAddr) -> RawAddr {
        // SAFETY: all zeroes is a valid `sockaddr_storage`.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let len = match addr {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is as large and as aligned as any address.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        RawAddr { storage, len: len as libc::socklen_t }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }

    fn to_std(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says what the storage holds.
                let raw = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let raw = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let port = u16::from_be(raw.sin6_port);
                Some(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A blocking stream socket for `addr`'s family. Blocking, since operations on a non-blocking descriptor would fail
/// with EAGAIN instead of waiting in the ring.
pub(crate) fn stream_socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: makes a descriptor, touches no memory.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: reads `len` bytes from a local.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) }).map(drop)
}

/// We batch ourselves: Nagle's algorithm would only add delay. Accepted sockets inherit it from their listener.
pub(crate) fn set_nodelay(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// Fixes how much the kernel receives ahead of a reader. By itself it goes up to `tcp_rmem`, 6 MB and more, which a multishot
/// receive then brings at one go.
pub(crate) fn set_receive_buffer(fd: RawFd, bytes: i32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)
}

/// Sets or clears `O_NONBLOCK`. Sockets have no other status flag in use here.
pub(crate) fn set_nonblocking(fd: RawFd, on: bool) -> io::Result<()> {
    let flags = if on { libc::O_NONBLOCK } else { 0 };
    // SAFETY: changes a flag of a descriptor, touches no memory.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

pub(crate) fn peer_addr(fd: RawFd) -> io::Result<SocketAddr> {
    // SAFETY: all zeroes is a valid `sockaddr_storage`.
    let storage = unsafe { mem::zeroed() };
    let mut raw = RawAddr { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t };
    // SAFETY: writes at most `len` bytes to the storage.
    check(unsafe { libc::getpeername(fd, (&raw mut raw.storage).cast(), &mut raw.len) })?;
    raw.to_std().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// Sends FIN after what was sent.
pub(crate) fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
}

/// A connection that waits in the queue of a listener, if there is one. Blocks only in the moment when somebody else takes
/// the last one; not then either if the listener is non-blocking.
pub(crate) fn accept_queued(listener: RawFd) -> io::Result<Option<OwnedFd>> {
    let mut ready = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
    // SAFETY: reads and writes one local entry; returns at once.
    if unsafe { libc::poll(&raw mut ready, 1, 0) } != 1 {
        return Ok(None);
    }
    let (no_addr, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: writes no address, since none is asked for.
    let accepted = check(unsafe { libc::accept4(listener, no_addr, no_len, libc::SOCK_CLOEXEC) });
    match accepted {
        // SAFETY: just made, owned by nobody else.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A descriptor of no use but to be given up when there is no other.
pub(crate) fn spare_descriptor() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

/// The errno of what failed in the background, 0 for none, as `SO_ERROR` gives it once.
pub(crate) fn take_error(fd: RawFd) -> i32 {
    let (mut errno, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: writes at most `len` bytes to a local.
    match check(unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut errno).cast(), &mut len)
    }) {
        Ok(_) => errno,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// A listener that shares its port with those of other cores: the kernel spreads connections over them.
///
/// Port 0 picks a free port; bind the other cores' to the [`TcpListener::local_addr`] of the first.
pub fn bind_reuseport(addr: SocketAddr) -> io::Result<TcpListener> {
    let fd = stream_socket(addr)?;
    let raw_fd = fd.as_raw_fd();
    set_option(raw_fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(raw_fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    if addr.is_ipv6() {
        // One family per listener, whatever `net.ipv6.bindv6only` says.
        set_option(raw_fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let raw_addr = RawAddr::new(addr);
    // SAFETY: reads `len` bytes of the address.
    check(unsafe { libc::bind(raw_fd, raw_addr.as_ptr(), raw_addr.len()) })?;
    // SAFETY: touches no memory.
    check(unsafe { libc::listen(raw_fd, BACKLOG) })?;
    Ok(TcpListener::from(fd))
}

/// Has the kernel hand each connection to the listener of the CPU on which it came in, so that one CPU does all the work
/// for it and its data stay in one cache. `cpus` are those of the listeners on this one's port, in the order in which
/// they were bound. What comes in on any other CPU is spread as without this.
///
/// The filter is a classic BPF program (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)), which needs no privileges.
pub fn steer_by_cpu(listener: &TcpListener, cpus: &[usize]) -> io::Result<()> {
    /// No such index: the kernel falls back to its hash.
    const NONE: u32 = u32::MAX;
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let current_cpu = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, current_cpu)];
    for (index, cpu) in (0u32..).zip(cpus) {
        let cpu = u32::try_from(*cpu).map_err(io::Error::other)?;
        let is_other =
            libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, cpu) };
        filter.extend([is_other, statement(libc::BPF_RET | libc::BPF_K, index)]);
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, NONE));
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    let bytes = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let (fd, option) = (listener.as_raw_fd(), libc::SO_ATTACH_REUSEPORT_CBPF);
    // SAFETY: reads the program and its instructions, which live through the call.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const program).cast(), bytes) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over loopback a connection comes in on the CPU that makes it.
    #[test]
    fn connections_go_to_the_listener_of_their_cpu() {
        // SAFETY: all zeroes is an empty set; the calls write and read one.
        let allowed = unsafe {
            let mut set: libc::cpu_set_t = mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set), 0);
            (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect::<Vec<_>>()
        };
        // Reversed, so that an index is not by chance its CPU.
        let cpus: Vec<usize> = allowed.into_iter().rev().take(4).collect();
        let first = bind_reuseport("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = first.local_addr().unwrap();
        let mut listeners = vec![first];
        listeners.extend((1..cpus.len()).map(|_| bind_reuseport(addr).unwrap()));
        steer_by_cpu(&listeners[0], &cpus).unwrap();
        for (listener, cpu) in listeners.iter().zip(&cpus) {
            listener.set_nonblocking(true).unwrap();
            let cpu = *cpu;
            let clients = std::thread::spawn(move || {
                // SAFETY: as above; pins this thread alone.
                unsafe {
                    let mut set: libc::cpu_set_t = mem::zeroed();
                    libc::CPU_SET(cpu, &mut set);
                    assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set), 0);
                }
                (0..20).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect::<Vec<_>>()
            });
            let clients = clients.join().unwrap();
            assert_eq!(listener.incoming().map_while(Result::ok).count(), clients.len(), "CPU {cpu}");
        }
    }

    #[test]
    fn addresses_survive_the_kernel_form() {
        for addr in ["127.0.0.1:80", "255.1.2.3:65535", "[::1]:443", "[fe80::1%7]:1"] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(RawAddr::new(addr).to_std(), Some(addr));
        }
    }

    #[test]
    fn listeners_share_a_port() {
        let first = bind_reuseport("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = bind_reuseport(first.local_addr().unwrap()).unwrap();
        assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
    }
}
