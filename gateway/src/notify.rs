//! Talking to the service manager: `sd_notify(3)` and `sd_watchdog_enabled(3)`, without libsystemd.
//!
//! A message is one datagram of `NAME=VALUE` lines to the socket in `NOTIFY_SOCKET`. Without that variable nothing is
//! sent and nothing fails.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says.
    pub(crate) fn from_env() -> Self {
        let get = |name: &str| env::var(name).ok();
        let to = get("NOTIFY_SOCKET").and_then(|path| Some((UnixDatagram::unbound().ok()?, address(&path)?)));
        let watchdog = watchdog(get("WATCHDOG_USEC"), get("WATCHDOG_PID"), std::process::id());
        Self { watchdog: watchdog.filter(|_| to.is_some()), to }
    }

    /// Serving: `systemctl start` and `reload` return.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Draining.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining");
    }

    /// Another process is the service from now on. Only the present one may say so (`NotifyAccess=main`).
    pub(crate) fn main_pid(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}"));
    }

    /// Alive.
    pub(crate) fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// How often to say [`Self::watchdog`]: a third of what the service manager waits for.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 3)
    }

    fn send(&self, message: &str) {
        if let Some((socket, to)) = &self.to {
            // A service manager that does not listen is no reason not to serve.
            let _ = socket.send_to_addr(message.as_bytes(), to);
        }
    }
}

/// A path, or after an `@` a name in the abstract namespace.
fn address(path: &str) -> Option<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None if path.starts_with('/') => SocketAddr::from_pathname(path).ok(),
        None => None,
    }
}

fn watchdog(usec: Option<String>, pid: Option<String>, own_pid: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok()?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    (ours && usec > 0).then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_named_process() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(watchdog(some("3000000"), None, 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(some("3000000"), some("7"), 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(some("3000000"), some("8"), 7), None);
        assert_eq!(watchdog(some("0"), None, 7), None);
        assert_eq!(watchdog(some("soon"), None, 7), None);
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn sockets_have_paths_or_abstract_names() {
        assert!(address("/run/systemd/notify").is_some_and(|at| at.as_pathname().is_some()));
        assert!(address("@sluice").is_some_and(|at| at.as_abstract_name() == Some(b"sluice".as_slice())));
        assert!(address("vsock:2:1").is_none());
    }
}
