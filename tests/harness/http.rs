//! A small, strict HTTP/1 reader for both roles. Whatever RFC 9112 does not allow is `InvalidData`; a message that ends
//! early is `UnexpectedEof`.

use std::io::{self, Read};

/// Start line and field lines of a message, with the bytes they came from.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub start_line: String,
    pub fields: Vec<(String, String)>,
    /// Everything up to and including the empty line.
    pub raw: Vec<u8>,
}

impl Head {
    /// The first field of this name, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// The values of every field of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn parse(raw: Vec<u8>) -> io::Result<Self> {
        let text: String = raw.iter().map(|&byte| char::from(byte)).collect();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            fields.push(parse_field(line)?);
        }
        if text.replace("\r\n", "").contains(['\r', '\n', '\0']) {
            return Err(malformed(format!("stray control byte in head {text:?}")));
        }
        Ok(Self { start_line, fields, raw })
    }
}

/// A request as a backend received it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.head.has(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A response as a client received it.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub version: String,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Interim (1xx) responses that came before.
    pub interim: Vec<Head>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.head.has(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {:?}", self.text()))
    }

    /// Whether the sender said that it closes the connection.
    pub fn says_close(&self) -> bool {
        lists_token(&self.head, "connection", "close")
    }

    /// Asserts the shape of an AWS gateway response: status, JSON message, error type and request id.
    #[track_caller]
    pub fn assert_refusal(&self, status: u16, message: &str, error_type: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json(), serde_json::json!({ "message": message }));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("x-amzn-errortype"), Some(error_type));
        self.assert_request_id();
    }

    /// Asserts that exactly one request id is there and that it is a version 4 UUID.
    #[track_caller]
    pub fn assert_request_id(&self) {
        let ids = self.head.all("x-amzn-requestid");
        assert_eq!(ids.len(), 1, "one request id expected: {:?}", self.head);
        assert!(is_uuid_v4(ids[0]), "not a version 4 UUID: {:?}", ids[0]);
    }
}

fn is_uuid_v4(id: &str) -> bool {
    let bytes = id.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            14 => *b == b'4',
            19 => b"89abAB".contains(b),
            _ => b.is_ascii_hexdigit(),
        })
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Reads messages off a byte stream.
pub struct MessageReader<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
}

impl<R: Read> MessageReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, buffer: Vec::new(), start: 0 }
    }

    pub fn into_inner(self) -> R {
        self.inner
    }

    /// What it reads from.
    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Bytes received but not yet parsed.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more bytes; false at end of stream.
    pub fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + 64 * 1024, 0);
        // A read with a timeout is interrupted when a stopped process goes on.
        let result = loop {
            match self.inner.read(&mut self.buffer[filled..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(filled + *result.as_ref().unwrap_or(&0));
        Ok(result? > 0)
    }

    /// The next `n` bytes as they are.
    pub fn raw(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.pending().len() < n {
            if !self.fill()? {
                return Err(truncated("bytes"));
            }
        }
        Ok(self.take(n))
    }

    /// The next head, or `None` when the stream ended between messages.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(at) = find(self.pending(), b"\r\n\r\n") {
                let raw = self.take(at + 4);
                return Head::parse(raw).map(Some);
            }
            if self.pending().len() > 1 << 20 {
                return Err(malformed("head over 1 MiB"));
            }
            if !self.fill()? {
                return if self.pending().is_empty() { Ok(None) } else { Err(truncated("head")) };
            }
        }
    }

    /// The next request, body and trailers included, or `None` when the stream ended between messages.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(mut request) = self.request_head()? else { return Ok(None) };
        let framing = request_framing(&request.head)?;
        let mut body = Vec::new();
        request.trailers = self.body(framing, &mut |bytes| body.extend_from_slice(bytes))?;
        request.body = body;
        Ok(Some(request))
    }

    /// The next request without its body.
    pub fn request_head(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let parts: Vec<&str> = head.start_line.split(' ').collect();
        let [method, target, version] = parts[..] else {
            return Err(malformed(format!("request line {:?}", head.start_line)));
        };
        let (method, target, version) = (method.to_owned(), target.to_owned(), version.to_owned());
        Ok(Some(Request { method, target, version, head, ..Request::default() }))
    }

    /// The next final response to `method`; interim ones are kept beside it.
    pub fn response(&mut self, method: &str) -> io::Result<Response> {
        let mut body = Vec::new();
        let mut response = self.response_into(method, &mut |bytes| body.extend_from_slice(bytes))?;
        response.body = body;
        Ok(response)
    }

    /// The next final response to `method`, its body handed to `sink` piece by piece.
    pub fn response_into(&mut self, method: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<Response> {
        let mut response = self.response_head()?;
        let framing = response_framing(response.status, method, &response.head)?;
        response.trailers = self.body(framing, sink)?;
        Ok(response)
    }

    /// The head of the next final response.
    pub fn response_head(&mut self) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let head = self.head()?.ok_or_else(|| truncated("response: closed before a byte of it"))?;
            let (version, status) = parse_status_line(&head.start_line)?;
            if !(100..200).contains(&status) || status == 101 {
                return Ok(Response { status, version, head, interim, ..Response::default() });
            }
            interim.push(head);
        }
    }

    /// Reads a body of this framing into `sink`; returns the trailers.
    pub fn body(
        &mut self,
        framing: Framing,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Vec<(String, String)>> {
        match framing {
            Framing::None => Ok(Vec::new()),
            Framing::Length(length) => self.sized(length, sink).map(|()| Vec::new()),
            Framing::Chunked => self.chunked(sink),
            Framing::UntilClose => self.until_close(sink).map(|()| Vec::new()),
        }
    }

    fn sized(&mut self, mut left: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.pending().is_empty() && !self.fill()? {
                return Err(truncated(format!("body: {left} bytes missing")));
            }
            let n = self.pending().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&self.buffer[self.start..self.start + n]);
            self.start += n;
            left -= n as u64;
        }
        Ok(())
    }

    fn chunked(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<Vec<(String, String)>> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            if size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(malformed(format!("chunk size {line:?}")));
            }
            let size =
                u64::from_str_radix(size, 16).map_err(|e| malformed(format!("chunk size {line:?}: {e}")))?;
            if size == 0 {
                break;
            }
            self.sized(size, sink)?;
            if !self.line()?.is_empty() {
                return Err(malformed("chunk not followed by CRLF"));
            }
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(parse_field(&line)?);
        }
    }

    fn until_close(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            sink(&self.buffer[self.start..]);
            self.start = self.buffer.len();
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(self.pending(), b"\r\n") {
                let line = self.take(at + 2);
                let line: String = line[..at].iter().map(|&b| char::from(b)).collect();
                if line.contains(['\r', '\n']) {
                    return Err(malformed(format!("bare CR or LF in {line:?}")));
                }
                return Ok(line);
            }
            if !self.fill()? {
                return Err(truncated("line"));
            }
        }
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let taken = self.buffer[self.start..self.start + n].to_vec();
        self.start += n;
        taken
    }
}

/// RFC 9112 section 6.3, for requests.
pub fn request_framing(head: &Head) -> io::Result<Framing> {
    declared_framing(head).map(|framing| framing.unwrap_or(Framing::None))
}

/// RFC 9112 section 6.3, for responses.
pub fn response_framing(status: u16, method: &str, head: &Head) -> io::Result<Framing> {
    let declared = declared_framing(head)?;
    if method == "HEAD" || status == 204 || status == 304 || (100..200).contains(&status) {
        if declared.is_some() && (status == 204 || status < 200) {
            return Err(malformed(format!("{status} must not declare a body: {head:?}")));
        }
        return Ok(Framing::None);
    }
    Ok(declared.unwrap_or(Framing::UntilClose))
}

fn declared_framing(head: &Head) -> io::Result<Option<Framing>> {
    let (lengths, codings) = (head.all("content-length"), head.all("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => length
            .parse()
            .map(|n| Some(Framing::Length(n)))
            .map_err(|e| malformed(format!("length {length:?}: {e}"))),
        _ => Err(malformed(format!("framing: length {lengths:?}, coding {codings:?}"))),
    }
}

fn parse_status_line(line: &str) -> io::Result<(String, u16)> {
    let bad = || malformed(format!("status line {line:?}"));
    let (version, rest) = line.split_once(' ').ok_or_else(bad)?;
    let (code, _reason) = rest.split_once(' ').ok_or_else(bad)?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || code.len() != 3 {
        return Err(bad());
    }
    Ok((version.to_owned(), code.parse().map_err(|_| bad())?))
}

fn parse_field(line: &str) -> io::Result<(String, String)> {
    let (name, value) = line.split_once(':').ok_or_else(|| malformed(format!("field line {line:?}")))?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(malformed(format!("field name in {line:?}")));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// Whether a comma-separated field lists `token`.
pub fn lists_token(head: &Head, name: &str, token: &str) -> bool {
    head.all(name).iter().flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn malformed(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

fn truncated(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("stream ended within {}", message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(bytes: &str) -> io::Result<Response> {
        MessageReader::new(bytes.as_bytes()).response("GET")
    }

    #[test]
    fn reads_sized_chunked_and_interim() {
        let sized = response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        assert_eq!((sized.status, sized.text().as_str()), (200, "hi"));
        let chunked = response(
            "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n",
        );
        let chunked = chunked.unwrap();
        assert_eq!((chunked.text().as_str(), chunked.interim.len()), ("hi", 1));
        assert_eq!(chunked.trailers, [("A".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn refuses_what_the_rfc_refuses() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\r\n\r\n",
            "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n",
        ] {
            assert_eq!(response(bad).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
    }

    #[test]
    fn an_early_end_is_told_from_a_fault() {
        for short in ["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "HTTP/1.1 200", ""] {
            assert_eq!(response(short).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{short:?}");
        }
    }
}
