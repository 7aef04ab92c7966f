//! A small blocking HTTP client for the command line to talk to the admin listener with.
//!
//! HTTP/1.0, so that the answer is neither chunked nor kept alive.

use crate::guard::ADMIN_HEADER;
use sluice_sigv4::{Scope, amz_date, authorization};
use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two reads. A reload may take its time: it resolves names and opens files.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// No answer of the admin listener is longer.
const ANSWER_MAX_BYTES: u64 = 64 << 20;

/// What the admin listener answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Whose requests they are, where the gateway wants to know.
#[derive(Clone)]
pub struct Credentials {
    /// Id of an access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret: String,
    /// The region that the gateway says it is in.
    pub region: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Asks the admin listener at `address` (`host:port`) for `path`.
///
/// # Errors
/// Nobody listens, or what answers isn't an admin listener; a sentence that names the address.
pub fn admin_get(address: &str, path: &str) -> Result<Answer, String> {
    admin_get_as(address, path, None)
}

/// As [`admin_get`], signed.
///
/// # Errors
/// As [`admin_get`].
pub fn admin_get_as(address: &str, path: &str, signer: Option<&Credentials>) -> Result<Answer, String> {
    send(address, ("GET", path), &[], None, signer)
}

/// Posts nothing to `path`.
///
/// # Errors
/// As [`admin_get`].
pub fn admin_post(address: &str, path: &str) -> Result<Answer, String> {
    admin_post_as(address, path, None)
}

/// As [`admin_post`], signed.
///
/// # Errors
/// As [`admin_get`].
pub fn admin_post_as(address: &str, path: &str, signer: Option<&Credentials>) -> Result<Answer, String> {
    send(address, ("POST", path), &[(ADMIN_HEADER, "1")], Some(""), signer)
}

/// Posts JSON to `path`, with more headers; the answer's body is bytes that are text as far as that goes.
///
/// # Errors
/// As [`admin_get`].
pub fn admin_post_json_as(
    address: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &str,
    signer: Option<&Credentials>,
) -> Result<Answer, String> {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend_from_slice(more);
    send(address, ("POST", path), &headers, Some(body), signer)
}

fn send(
    address: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Option<&str>,
    signer: Option<&Credentials>,
) -> Result<Answer, String> {
    let mut request = format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(signer) = signer {
        let [time, authorization] =
            signed((method, path), address, headers, body.unwrap_or_default(), signer);
        request.push_str(&format!("x-amz-date: {time}\r\nauthorization: {authorization}\r\n"));
    }
    if let Some(body) = body {
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    } else {
        request.push_str("\r\n");
    }
    exchange(address, &request).map_err(|error| failure(address, &error))
}

/// Values of `x-amz-date` and `authorization`.
fn signed(
    (method, target): (&str, &str),
    host: &str,
    headers: &[(&str, &str)],
    body: &str,
    signer: &Credentials,
) -> [String; 2] {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = amz_date(now_s);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut all = vec![("host", host), ("x-amz-date", time.as_str())];
    all.extend_from_slice(headers);
    let request = sluice_sigv4::Request { method, path, query, headers: &all, body: body.as_bytes() };
    let date = time.get(..8).unwrap_or_default();
    let scope = Scope { date, region: &signer.region, service: "apigateway" };
    let keys = (signer.access_key_id.as_str(), signer.secret.as_str());
    let value = authorization(&request, keys, scope, &time);
    [time, value]
}

/// Asks for `path`, and gives each line of the answer as it comes, until there is no more.
///
/// # Errors
/// As [`admin_get`]; also an answer of another status than 200, by its body.
pub fn admin_follow(address: &str, path: &str, each: &mut dyn FnMut(&str)) -> Result<(), String> {
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    let mut follow = || {
        let mut stream = connect(address)?;
        stream.write_all(request.as_bytes())?;
        let mut lines = BufReader::new(stream);
        let (mut line, mut status) = (String::new(), String::new());
        lines.read_line(&mut status)?;
        while lines.read_line(&mut line)? > 0 && line != "\r\n" {
            line.clear();
        }
        line.clear();
        if status.split(' ').nth(1) != Some("200") {
            lines.read_to_string(&mut line)?;
            return Ok(Err(line));
        }
        while lines.read_line(&mut line)? > 0 {
            each(line.trim_end_matches('\n'));
            line.clear();
        }
        Ok(Ok(()))
    };
    follow().map_err(|error| failure(address, &error))?
}

fn failure(address: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nothing listens at {address}: is the gateway running? (--admin ADDR)")
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("{address} took too long to answer"),
        _ => format!("cannot talk to {address}: {error}"),
    }
}

fn exchange(address: &str, request: &str) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.set_write_timeout(Some(READ_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer)?;
    parse(&answer)
}

/// The first of the name's addresses that accepts.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = invalid("no such address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn parse(answer: &[u8]) -> io::Result<Answer> {
    let text = str::from_utf8(answer).map_err(|_| invalid("the answer is not text"))?;
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| invalid("the answer has no end of its head"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| invalid("the answer is not HTTP"))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let answer = Answer { status, headers, body: body.to_owned() };
    let length = answer.header("content-length").and_then(|value| value.parse::<usize>().ok());
    if length.is_some_and(|length| length != body.len()) {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the answer was cut short"));
    }
    Ok(answer)
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_refused() {
        let answer = parse(b"HTTP/1.0 422 Unprocessable Entity\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.header("content-length"), &*answer.body), (422, Some("2"), "{}"));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\nall").unwrap().body, "all");
        for broken in
            [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"\xff\xfe"]
        {
            assert_eq!(parse(broken).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        let cut = parse(b"HTTP/1.0 200 OK\r\ncontent-length: 10\r\n\r\nabc").unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
    }
}
