//! Small documents over HTTP and HTTPS, such as key sets: blocking, and so never for a data core.
//!
//! One request on a connection of its own. Redirects are not followed: who configures a URL means that one.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod answer;
mod url;

pub use url::Url;

use sluice_tls::rustls::{ClientConnection, StreamOwned};
use sluice_tls::{ClientConfig, ServerName};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a fetch may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// For all of it, once the name is resolved.
    pub timeout: Duration,
    /// Of the body.
    pub max_bytes: usize,
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In capitals; not HEAD.
    pub method: &'a str,
    /// Whom, and for what.
    pub url: &'a Url,
    /// Beside those that every request has. Names and values hold no line ends.
    pub headers: &'a [(&'a str, &'a str)],
    /// May be empty.
    pub body: &'a [u8],
}

/// The body of a 200 answer. `tls` is what servers are verified with.
///
/// # Errors
/// A sentence that does not name the URL.
pub fn get(url: &Url, tls: Option<&Arc<ClientConfig>>, budget: Budget) -> Result<Vec<u8>, String> {
    let headers = [("Accept", "application/json")];
    match send(&Request { method: "GET", url, headers: &headers, body: &[] }, tls, budget)? {
        (200, body) => Ok(body),
        (status, _) => Err(format!("the answer's status is {status}")),
    }
}

/// The answer's status and body.
///
/// # Errors
/// A sentence that does not name the URL.
pub fn send(
    request: &Request<'_>,
    tls: Option<&Arc<ClientConfig>>,
    budget: Budget,
) -> Result<(u16, Vec<u8>), String> {
    exchange(request, tls, budget).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {:?}", budget.timeout),
        _ => error.to_string(),
    })
}

fn exchange(
    request: &Request<'_>,
    tls: Option<&Arc<ClientConfig>>,
    budget: Budget,
) -> io::Result<(u16, Vec<u8>)> {
    let until = Instant::now() + budget.timeout;
    let url = request.url;
    let socket = connect(url, until)?;
    if !url.is_https() {
        return ask(request, Timed { stream: &socket, socket: &socket, until }, budget.max_bytes);
    }
    let config = tls.ok_or_else(|| io::Error::other("no authorities to verify https with"))?;
    let name = ServerName::try_from(url.host().to_owned())
        .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "the host is no name for TLS"))?;
    let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let timed = Timed { stream: &socket, socket: &socket, until };
    ask(request, StreamOwned::new(session, timed), budget.max_bytes)
}

/// The first of the name's addresses that accepts.
fn connect(url: &Url, until: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (url.host(), url.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn ask(request: &Request<'_>, mut stream: impl Read + Write, max_bytes: usize) -> io::Result<(u16, Vec<u8>)> {
    let Request { method, url, headers, body } = *request;
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: sluice/{}\r\nConnection: close\r\n",
        url.target(),
        url.authority(),
        env!("CARGO_PKG_VERSION")
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    // RFC 9110 8.6: a GET without content has no length.
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let whole = [head.as_bytes(), body].concat();
    stream.write_all(&whole)?;
    stream.flush()?;
    answer::read(&mut stream, max_bytes)
}

/// A socket whose reads and writes all have one end.
struct Timed<'s> {
    stream: &'s TcpStream,
    socket: &'s TcpStream,
    until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Request, Url, get, send};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    fn fetched(answer: &'static [u8], max_bytes: usize) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys?a=b", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        let budget = Budget { timeout: Duration::from_secs(5), max_bytes };
        let found = get(&Url::parse(&url).unwrap(), None, budget);
        assert!(server.join().unwrap().starts_with("GET /keys?a=b HTTP/1.1\r\nHost: 127.0.0.1:"));
        found.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn bodies_of_every_framing_are_read() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest";
        assert_eq!(fetched(sized, 10).unwrap(), "{}");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(fetched(chunked, 10).unwrap(), "{}");
        assert_eq!(fetched(b"HTTP/1.0 200 OK\r\n\r\nall of it", 10).unwrap(), "all of it");
    }

    #[test]
    fn requests_have_methods_headers_and_bodies() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/token", listener.local_addr().unwrap())).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nbody") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").unwrap();
            String::from_utf8(request).unwrap()
        });
        let request = Request { method: "PUT", url: &url, headers: &[("X-Ttl", "60")], body: b"body" };
        let budget = Budget { timeout: Duration::from_secs(5), max_bytes: 10 };
        assert_eq!(send(&request, None, budget), Ok((403, b"no".to_vec())));
        let seen = server.join().unwrap();
        assert!(seen.starts_with("PUT /token HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("\r\nX-Ttl: 60\r\nContent-Length: 4\r\n\r\nbody"), "{seen}");
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}";
        assert!(fetched(cut, 10).unwrap_err().contains("cut short"));
        assert!(
            fetched(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 10).unwrap_err().contains("404")
        );
        assert!(fetched(b"HTTP/1.0 200 OK\r\n\r\n0123456789a", 10).unwrap_err().contains("10 bytes"));
        assert!(fetched(b"SSH-2.0\r\n\r\n", 10).is_err());
    }
}
