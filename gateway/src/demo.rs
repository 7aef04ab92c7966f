//! The quick start's backend: answers every request with what it received, as JSON.

use serde_json::json;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Starts the backend on a free loopback port. It serves until the process ends.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("sluice-demo".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // One thread a connection: the gateway keeps few, and this is a demonstration.
            let spawned = thread::Builder::new().name("sluice-demo-conn".into()).spawn(move || {
                // A broken connection ends its thread; there is nobody to tell.
                let _ = serve(&stream);
            });
            drop(spawned);
        }
    })?;
    Ok(address)
}

/// Longest body echoed; the rest is read and dropped.
const BODY_MAX_BYTES: u64 = 64 * 1024;

fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut served = 0_u64;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut parts = line.split_ascii_whitespace();
        let (method, target) =
            (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default().to_owned());
        let mut headers = serde_json::Map::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().into());
        }
        let body = body(&mut reader, &headers)?;
        served += 1;
        let answer = json!({
            "method": method, "target": target, "headers": headers,
            "body": String::from_utf8_lossy(&body), "requestsOnThisConnection": served,
        });
        let text = if method == "HEAD" { String::new() } else { answer.to_string() };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        let mut out = stream;
        out.write_all((head + &text).as_bytes())?;
    }
}

fn body(
    reader: &mut impl BufRead,
    headers: &serde_json::Map<String, serde_json::Value>,
) -> io::Result<Vec<u8>> {
    let header = |name: &str| headers.get(name).and_then(|v| v.as_str()).unwrap_or_default();
    let mut body = Vec::new();
    if header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let n = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = reader.by_ref().take(n);
            io::copy(&mut chunk, &mut body)?;
            let mut end = String::new();
            reader.read_line(&mut end)?;
            if n == 0 {
                break;
            }
        }
    } else {
        let n = header("content-length").parse().unwrap_or(0);
        io::copy(&mut reader.by_ref().take(n), &mut body)?;
    }
    body.truncate(usize::try_from(BODY_MAX_BYTES).unwrap_or(usize::MAX));
    Ok(body)
}
