//! Bodies far larger than memory should ever hold: 1 GiB each way, checked byte by byte, in bounded memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sluice_harness::http::Framing;
use sluice_harness::{Backend, Call, Conn, Gateway, Pattern, Wire, eventually};

const GIB: u64 = 1 << 30;
/// What a gateway may need for a stream, however long: socket buffers are the kernel's, ours are a few hundred KiB.
const GROWTH_MAX: u64 = 100 << 20;

fn gateway(backend: &Backend) -> Gateway {
    let timeouts = "total_timeout_ms = 600000\nread_timeout_ms = 600000";
    Gateway::builder().server("body_max_bytes = 0\nbody_timeout_ms = 600000").start(&format!(
        "[upstreams.u]\ntargets = [\"{}\"]\n{timeouts}\n[routes.a]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n",
        backend.addr()
    ))
}

/// Runs `transfer` and asserts that the gateway's memory stayed bounded meanwhile.
fn within_memory(gateway: &Gateway, transfer: impl FnOnce()) {
    let before = gateway.rss_bytes();
    transfer();
    let grown = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "memory grew by {} MiB", grown >> 20);
}

/// Reads an upload of this framing, checks it, and answers with its length.
fn check_upload(wire: &mut Wire, framing: Framing) -> io::Result<()> {
    let mut pattern = Pattern::new();
    wire.reader().body(framing, &mut |bytes| pattern.check(bytes))?;
    let told = pattern.position().to_string();
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len()))
}

fn uploads() -> Backend {
    Backend::wired(|wire| {
        while let Some(request) = wire.request_head()? {
            check_upload(wire, sluice_harness::http::request_framing(&request.head)?)?;
        }
        Ok(())
    })
}

fn send_pattern(length: u64, mut send: impl FnMut(&[u8])) {
    let mut pattern = Pattern::new();
    while pattern.position() < length {
        let left = length - pattern.position();
        send(pattern.next(left));
    }
}

#[test]
fn a_sized_upload_of_1_gib() {
    let backend = uploads();
    let gateway = gateway(&backend);
    within_memory(&gateway, || {
        let mut conn = gateway.conn();
        conn.send(format!("PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: {GIB}\r\n\r\n"));
        send_pattern(GIB, |bytes| conn.send(bytes));
        assert_eq!(conn.response().text(), GIB.to_string());
        assert_eq!(conn.call(&Call::post("/after", "")).text(), "0", "the connection is in step afterwards");
    });
}

#[test]
fn a_chunked_upload_of_1_gib() {
    let backend = uploads();
    let gateway = gateway(&backend);
    within_memory(&gateway, || {
        let mut conn = gateway.conn();
        conn.send("PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        send_pattern(GIB, |bytes| {
            conn.send(format!("{:x}\r\n", bytes.len()));
            conn.send(bytes);
            conn.send("\r\n");
        });
        conn.send("0\r\n\r\n");
        assert_eq!(conn.response().text(), GIB.to_string());
    });
}

fn downloads() -> Backend {
    Backend::wired(|wire| {
        while let Some(request) = wire.request()? {
            let chunked = request.target == "/chunked";
            let framing = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {GIB}")
            };
            wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))?;
            let mut result = Ok(());
            send_pattern(GIB, |bytes| {
                let piece = |wire: &mut Wire| {
                    if chunked {
                        wire.send(format!("{:x}\r\n", bytes.len()))?;
                        wire.send(bytes)?;
                        return wire.send("\r\n");
                    }
                    wire.send(bytes)
                };
                if result.is_ok() {
                    result = piece(wire);
                }
            });
            result?;
            if chunked {
                wire.send("0\r\n\r\n")?;
            }
        }
        Ok(())
    })
}

fn download(target: &str) {
    let backend = downloads();
    let gateway = gateway(&backend);
    within_memory(&gateway, || {
        let mut conn: Conn = gateway.conn();
        conn.send(Call::get(target).bytes());
        let mut pattern = Pattern::new();
        let response = conn.reader().response_into("GET", &mut |bytes| pattern.check(bytes)).unwrap();
        assert_eq!((response.status, pattern.position()), (200, GIB));
    });
}

#[test]
fn a_sized_download_of_1_gib() {
    download("/sized");
}

#[test]
fn a_chunked_download_of_1_gib() {
    download("/chunked");
}

/// A backend that does not read must stop the client, not fill the gateway.
#[test]
fn a_backend_that_does_not_read_holds_the_client_back() {
    let backend = Backend::wired(|wire| {
        wire.request_head()?;
        thread::park_timeout(Duration::from_secs(60));
        Ok(())
    });
    let gateway = gateway(&backend);
    let before = gateway.rss_bytes();
    let mut conn = gateway.conn();
    conn.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    conn.send(format!("PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: {GIB}\r\n\r\n"));
    let piece = vec![b'x'; 65_536];
    let taken: u64 =
        std::iter::from_fn(|| conn.try_send(&piece).is_ok().then_some(65_536)).take(16_384).sum();
    assert!(taken < 128 << 20, "{} MiB were taken in for a backend that reads nothing", taken >> 20);
    let grown = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {} MiB", grown >> 20);
}

/// A client that does not read must stop the backend, not fill the gateway.
#[test]
fn a_client_that_does_not_read_holds_the_backend_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let (counter, stalled) = (Arc::clone(&sent), Arc::new(AtomicU64::new(0)));
    let stall = Arc::clone(&stalled);
    let backend = Backend::wired(move |wire| {
        wire.request()?;
        wire.set_write_timeout(Duration::from_millis(500));
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"))?;
        let piece = vec![b'y'; 65_536];
        while wire.send(&piece).is_ok() {
            counter.fetch_add(65_536, Ordering::Relaxed);
        }
        stall.store(1, Ordering::Relaxed);
        thread::park_timeout(Duration::from_secs(1));
        Ok(())
    });
    let gateway = gateway(&backend);
    let before = gateway.rss_bytes();
    let mut conn = gateway.conn();
    conn.send(Call::get("/down").bytes());
    eventually("the backend to be held back", || (stalled.load(Ordering::Relaxed) == 1).then_some(()));
    let taken = sent.load(Ordering::Relaxed);
    assert!(taken < 128 << 20, "{} MiB were taken in for a client that reads nothing", taken >> 20);
    let grown = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {} MiB", grown >> 20);
}
