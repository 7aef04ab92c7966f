//! Network namespaces that live and die with a thread: nothing to clean up, not even after a kill.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::{FromRawFd as _, OwnedFd},
    process::Command,
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own. Dropping it ends the thread, and with its last socket the namespace.
pub(crate) struct Netns {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Its thread id, by which `ip link … netns` finds the namespace.
    pub(crate) thread_id: i32,
}

impl Netns {
    /// Fails without CAP_SYS_ADMIN.
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, outcome) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: affects this thread alone, which has no sockets yet.
            let made = check(unsafe { libc::unshare(libc::CLONE_NEWNET) });
            // SAFETY: takes nothing, cannot fail.
            let made = made.map(|_| unsafe { libc::gettid() });
            let is_made = made.is_ok();
            ready.send(made).unwrap();
            if is_made {
                inbox.into_iter().for_each(|job| job());
            }
        });
        let thread_id = outcome.recv().unwrap()?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), thread_id })
    }

    /// Runs a closure in the namespace; sockets that it makes belong there wherever they are used.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, outcome) = mpsc::channel();
        let job = Box::new(move || {
            let _ = result.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        outcome.recv().expect("the job panicked; its message is above")
    }

    /// Runs `ip` with these words in the namespace.
    pub(crate) fn ip(&self, words: &str) {
        let words = words.to_owned();
        self.run(move || {
            let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
            assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        });
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Two namespaces joined by a veth pair: `gw0` (10.77.0.1, fd77:1::1) and `cl0` with several addresses.
pub(crate) struct Wire {
    pub(crate) gateway: Netns,
    pub(crate) client: Netns,
}

pub(crate) const GATEWAY_V4: &str = "10.77.0.1";
pub(crate) const GATEWAY_V6: &str = "fd77:1::1";
pub(crate) const CLIENTS_V4: [&str; 3] = ["10.77.0.2", "10.77.0.3", "10.77.0.4"];
/// Each in a /64 of its own: to the program they are different subscribers.
pub(crate) const CLIENTS_V6: [&str; 3] = ["fd77:2::1", "fd77:3::1", "fd77:4::1"];

impl Wire {
    /// Says why it cannot be made: no privileges, or no `ip`.
    pub(crate) fn new() -> Result<Self, String> {
        if Command::new("ip").arg("-V").output().is_err() {
            return Err("no `ip` (iproute2)".to_owned());
        }
        let make = || Netns::new().map_err(|error| format!("no network namespace: {error}"));
        let (gateway, client) = (make()?, make()?);
        gateway.ip(&format!("link add gw0 type veth peer name cl0 netns {}", client.thread_id));
        for namespace in [&gateway, &client] {
            namespace.ip("link set lo up");
        }
        gateway.ip(&format!("addr add {GATEWAY_V4}/24 dev gw0"));
        gateway.ip(&format!("addr add {GATEWAY_V6}/16 dev gw0 nodad"));
        for (v4, v6) in CLIENTS_V4.iter().zip(CLIENTS_V6) {
            client.ip(&format!("addr add {v4}/24 dev cl0"));
            client.ip(&format!("addr add {v6}/16 dev cl0 nodad"));
        }
        gateway.ip("link set gw0 up");
        client.ip("link set cl0 up");
        Ok(Self { gateway, client })
    }

    /// Connects from one of the client's addresses to the gateway's of the same family.
    pub(crate) fn connect(&self, source: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
        self.begin_connect(source, port).and_then(|attempt| attempt.finish(timeout))
    }

    /// Sends the SYN and returns.
    pub(crate) fn begin_connect(&self, source: &str, port: u16) -> io::Result<Attempt> {
        let source = SocketAddr::new(source.parse().unwrap(), 0);
        let gateway = if source.is_ipv4() { GATEWAY_V4 } else { GATEWAY_V6 };
        let target = SocketAddr::new(gateway.parse().unwrap(), port);
        self.client.run(move || Attempt::start(source, target))
    }
}

/// A connection that is being made.
pub(crate) struct Attempt(OwnedFd);

impl Attempt {
    fn start(source: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let family = if source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers; the descriptor is new and ours.
        let socket = unsafe {
            let fd = check(libc::socket(family, kind, 0))?;
            OwnedFd::from_raw_fd(fd)
        };
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let (address, bytes) = c_address(source);
        // SAFETY: a live address of the length given.
        check(unsafe { libc::bind(fd, (&raw const address).cast(), bytes) })?;
        let (address, bytes) = c_address(target);
        // SAFETY: as above.
        match check(unsafe { libc::connect(fd, (&raw const address).cast(), bytes) }) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Self(socket)),
        }
    }

    /// Waits until it is connected, has failed, or the time is over.
    pub(crate) fn finish(self, timeout: Duration) -> io::Result<TcpStream> {
        if !self.is_settled_within(timeout) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let stream = TcpStream::from(self.0);
        match stream.take_error()? {
            Some(error) => Err(error),
            None => stream.set_nonblocking(false).map(|()| stream),
        }
    }

    pub(crate) fn is_settled_within(&self, timeout: Duration) -> bool {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        // SAFETY: one live entry.
        check(unsafe { libc::poll(&raw mut poll, 1, timeout.as_millis() as i32) }).unwrap() == 1
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_address(address: SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: all zeroes is a valid sockaddr_storage, and every other sockaddr fits in it at its alignment.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let bytes = match address.ip() {
            IpAddr::V4(ip) => {
                let sin = &mut *(&raw mut storage).cast::<libc::sockaddr_in>();
                sin.sin_family = libc::AF_INET as u16;
                sin.sin_port = address.port().to_be();
                sin.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
                size_of::<libc::sockaddr_in>()
            }
            IpAddr::V6(ip) => {
                let sin6 = &mut *(&raw mut storage).cast::<libc::sockaddr_in6>();
                sin6.sin6_family = libc::AF_INET6 as u16;
                sin6.sin6_port = address.port().to_be();
                sin6.sin6_addr.s6_addr = ip.octets();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, bytes as u32)
    }
}
