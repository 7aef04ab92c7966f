//! The attack lab: a gateway between good clients and bad ones, each in a network namespace of its own.
//!
//! | client | does |
//! |---|---|
//! | good | 100 requests a second, a new connection for each twentieth |
//! | NATed | the same, and beside it from the same address requests with a wrong API key |
//! | flood | SYNs by raw socket, requests with a wrong API key, and bytes that are neither HTTP nor a good TLS handshake |
//! | slow | heads that never end, on two hundred connections |
//!
//! Everything is bounded in time and stays in the namespaces. The bad clients run at the lowest priority: on machines of
//! their own they would not take the gateway's CPUs.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use crate::netns::may_load_bpf;
use crate::{Call, Conn, GATEWAY, GATEWAY_INTERFACE, Gateway, Net};

const GOOD: usize = 0;
const NATED: usize = 1;
const FLOOD: usize = 2;
const SLOW: usize = 3;

/// SYNs a second, in bursts of a millisecond.
const SYNS_PER_S: usize = 60_000;
const HTTP_FLOODERS: usize = 4;
const TLS_FLOODERS: usize = 4;
const SLOW_CONNECTIONS: usize = 200;
const REQUEST_EVERY: Duration = Duration::from_millis(10);
const REQUESTS_PER_CONNECTION: usize = 20;
/// A good request that takes longer has failed.
const GOOD_PATIENCE: Duration = Duration::from_secs(1);

/// How the lab is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `None`: without XDP.
    pub xdp_mode: Option<&'static str>,
    /// Length of a ban.
    pub ttl_ms: u64,
}

/// A gateway under attack.
pub struct Lab {
    net: Net,
    gateway: Arc<Gateway>,
    addr: SocketAddr,
}

/// What a good client saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub asked: usize,
    pub served: usize,
    latencies_us: Vec<u64>,
}

impl Seen {
    pub fn success(&self) -> f64 {
        self.served as f64 / self.asked.max(1) as f64
    }

    /// Of the requests that were served.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * quantile) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
    }
}

/// What was measured in one phase.
#[derive(Clone, Debug)]
pub struct Phase {
    pub good: Seen,
    pub nated: Seen,
    /// Packets that arrived at the gateway's interface.
    pub packets_per_s: f64,
}

impl fmt::Display for Phase {
    /// As cells of a table.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.0}", self.packets_per_s)?;
        for seen in [&self.good, &self.nated] {
            let ms = |quantile| seen.quantile_us(quantile) as f64 / 1000.0;
            write!(out, " | {:.2}% | {:.2} | {:.2}", seen.success() * 100.0, ms(0.5), ms(0.99))?;
        }
        Ok(())
    }
}

/// Bad clients at work, until dropped.
pub struct Attack {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn config(setup: &Setup) -> String {
    let xdp = setup.xdp_mode.map_or_else(String::new, |mode| {
        format!(
            r#"
[xdp]
interface = "{GATEWAY_INTERFACE}"
mode = "{mode}"
source_syns_per_s = 200
source_syns_burst = 400
events_per_s = 0

[bans]
refused_per_s = 20
refused_for_ms = 2000
ttl_ms = {}
"#,
            setup.ttl_ms
        )
    });
    format!(
        r#"
[routes.open]
path = "/open"
mock_body = "open"

[routes.secret]
path = "/secret"
mock_body = "in"
api_key_required = true

[keys.mobile]
value = "mobile-key-0123456789"

[access_log]
format = "off"
{xdp}"#
    )
}

impl Lab {
    /// Says why it cannot be.
    pub fn new(setup: &Setup) -> Result<Self, String> {
        may_load_bpf()?;
        let net = Net::new(4)?;
        let config = config(setup);
        let gateway = net.gateway.run(move || {
            let server = format!("cores = 2\nlisten = [\"{GATEWAY}:0\"]\nheader_timeout_ms = 3000");
            Arc::new(Gateway::builder().server(&server).start(&config))
        });
        let addr = gateway.addr();
        Ok(Self { net, gateway, addr })
    }

    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Measures the good clients for a time.
    pub fn measure(&self, time: Duration) -> Phase {
        let addr = self.addr;
        let until = Instant::now() + time;
        let before = self.received();
        let good = self.net.clients[GOOD].spawn(move || be_good(addr, until));
        let nated = self.net.clients[NATED].spawn(move || be_good(addr, until));
        let (good, nated) = (good.join().unwrap(), nated.join().unwrap());
        let packets_per_s = (self.received() - before) as f64 / time.as_secs_f64();
        Phase { good, nated, packets_per_s }
    }

    /// Packets that arrived at the gateway so far, dropped or not.
    fn received(&self) -> u64 {
        self.net.gateway.run(|| {
            let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let row =
                table.lines().find_map(|line| line.trim().strip_prefix(GATEWAY_INTERFACE)?.strip_prefix(':'));
            row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        })
    }

    /// Sets the bad clients to work.
    pub fn attack(&self) -> Attack {
        let done = Arc::new(AtomicBool::new(false));
        let (addr, mut threads) = (self.addr, Vec::new());
        let mut start = |client: usize, bad: fn(SocketAddr, usize, &AtomicBool)| {
            let done = Arc::clone(&done);
            threads.push(self.net.clients[client].spawn(move || {
                let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
                bad(addr, client, &done);
            }));
        };
        start(NATED, flood_http);
        start(FLOOD, flood_syns);
        (0..HTTP_FLOODERS).for_each(|_| start(FLOOD, flood_http));
        (0..TLS_FLOODERS).for_each(|_| start(FLOOD, flood_tls));
        start(SLOW, be_slow);
        Attack { done, threads }
    }

    /// Whether the flooder's requests are served.
    pub fn serves_the_flooder(&self) -> bool {
        let addr = self.addr;
        self.net.clients[FLOOD].run(move || ask_once(addr).is_some())
    }

    /// The flooder's address.
    pub fn flooder() -> String {
        Net::client_address(FLOOD)
    }

    /// The address that a good client shares with a bad one.
    pub fn nated() -> String {
        Net::client_address(NATED)
    }

    /// The slow client's address.
    pub fn slow() -> String {
        Net::client_address(SLOW)
    }
}

fn connect(addr: SocketAddr, patience: Duration) -> Option<Conn> {
    let mut conn = Conn::try_open_within(addr, patience).ok()?;
    conn.set_patience(patience);
    Some(conn)
}

fn ask_once(addr: SocketAddr) -> Option<Conn> {
    let mut conn = connect(addr, GOOD_PATIENCE)?;
    conn.try_call(&Call::get("/open")).is_ok_and(|response| response.status == 200).then_some(conn)
}

/// Requests at a steady pace; the next is due when it is due, however long the last one took.
fn be_good(addr: SocketAddr, until: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut conn: Option<Conn> = None;
    let mut due = Instant::now();
    while due < until {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if seen.asked % REQUESTS_PER_CONNECTION == 0 {
            conn = None;
        }
        seen.asked += 1;
        let begun = Instant::now();
        conn = match conn.take() {
            None => ask_once(addr),
            Some(mut open) => {
                let served = open.try_call(&Call::get("/open")).is_ok_and(|response| response.status == 200);
                served.then_some(open)
            }
        };
        if conn.is_some() {
            seen.served += 1;
            seen.latencies_us.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        // Who waited for a failure does not then ask in a burst.
        due = (due + REQUEST_EVERY).max(Instant::now().checked_sub(GOOD_PATIENCE).unwrap_or(due));
    }
    seen
}

/// Requests with a wrong key, sixteen at a time.
fn flood_http(addr: SocketAddr, _: usize, done: &AtomicBool) {
    let request = Call::get("/secret").header("x-api-key", "guess-0123456789").bytes().repeat(16);
    while !done.load(Ordering::SeqCst) {
        let Some(mut stream) = flooding(addr) else { continue };
        let mut buffer = [0; 16 * 1024];
        while !done.load(Ordering::SeqCst) && stream.write_all(&request).is_ok() {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// The beginning of a TLS record that promises a handshake, and nonsense.
fn flood_tls(addr: SocketAddr, _: usize, done: &AtomicBool) {
    let mut bytes = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    bytes.extend((0..200_u8).map(|n| n.wrapping_mul(73)));
    while !done.load(Ordering::SeqCst) {
        let Some(mut stream) = flooding(addr) else { continue };
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 1024]);
    }
}

fn flooding(addr: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, Duration::from_millis(200)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
    Some(stream)
}

fn be_slow(addr: SocketAddr, _: usize, done: &AtomicBool) {
    let mut open: Vec<TcpStream> = Vec::new();
    while !done.load(Ordering::SeqCst) {
        if open.len() < SLOW_CONNECTIONS {
            open.extend(flooding(addr));
        }
        open.retain_mut(|stream| stream.write_all(b"G").is_ok());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Forges SYNs in its own name from random ports.
fn flood_syns(addr: SocketAddr, client: usize, done: &AtomicBool) {
    let SocketAddr::V4(target) = addr else { return };
    let source: Ipv4Addr = Net::client_address(client).parse().unwrap();
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).expect("a raw socket");
    let begun = Instant::now();
    let mut sent = 0_usize;
    while !done.load(Ordering::SeqCst) {
        let due = begun.elapsed().as_millis() as usize * SYNS_PER_S / 1000;
        // What could not be sent in time is not made up for in one go.
        sent = sent.max(due.saturating_sub(SYNS_PER_S / 20));
        for n in sent..due {
            let packet = syn(source, target, 1024 + (n * 7919 % 60_000) as u16, n as u32);
            let _ = sendto(
                &raw,
                &packet,
                SendFlags::DONTWAIT,
                &SocketAddr::from(SocketAddrV4::new(*target.ip(), 0)),
            );
        }
        sent = sent.max(due);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An IPv4 packet with a TCP SYN (RFC 791 3.1, RFC 9293 3.1).
fn syn(source: Ipv4Addr, target: SocketAddrV4, source_port: u16, sequence: u32) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[0] = 0x45;
    packet[3] = 40;
    packet[8] = 64;
    packet[9] = 6;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&target.ip().octets());
    packet[20..22].copy_from_slice(&source_port.to_be_bytes());
    packet[22..24].copy_from_slice(&target.port().to_be_bytes());
    packet[24..28].copy_from_slice(&sequence.to_be_bytes());
    packet[32] = 0x50;
    packet[33] = 0x02;
    packet[34..36].copy_from_slice(&64_000_u16.to_be_bytes());
    // The pseudo-header: addresses, protocol, length. The kernel fills in the IP header's own checksum.
    let mut sum = 6 + 20_u32;
    for pair in packet[12..].chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[36..38].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_success_of_what_was_seen() {
        let seen = Seen { asked: 200, served: 100, latencies_us: (1..=100).rev().collect() };
        assert_eq!((seen.success(), seen.quantile_us(0.5), seen.quantile_us(0.99)), (0.5, 51, 100));
        assert_eq!(Seen::default().quantile_us(0.99), 0);
    }

    #[test]
    fn a_syn_has_a_right_checksum() {
        let packet = syn(Ipv4Addr::new(10, 80, 0, 12), "10.80.0.1:8080".parse().unwrap(), 4000, 7);
        let words = packet[12..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let mut sum = words.sum::<u32>() + 6 + 20;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }
}
