//! Requests to send, built in the open so that a test reads like the wire.

/// A well-formed request. For malformed ones, write the bytes yourself with [`crate::Conn::send`].
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    target: String,
    host: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunks: Option<Chunks>,
}

#[derive(Clone, Debug)]
struct Chunks {
    pieces: Vec<Vec<u8>>,
    trailers: Vec<(String, String)>,
}

impl Call {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: "gateway.test".to_owned(),
            fields: Vec::new(),
            body: None,
            chunks: None,
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with `Content-Length`.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// A chunked body, one chunk for each piece, with trailers.
    pub fn chunked(mut self, pieces: &[&str], trailers: &[(&str, &str)]) -> Self {
        let pieces = pieces.iter().map(|p| p.as_bytes().to_vec()).collect();
        let trailers = trailers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.chunks = Some(Chunks { pieces, trailers });
        self
    }

    /// The bytes of the request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host).into_bytes();
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match (&self.body, &self.chunks) {
            (_, Some(Chunks { pieces, trailers })) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                out.extend_from_slice(&chunked(pieces, trailers));
            }
            (Some(body), None) => {
                out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
            }
            (None, None) => out.extend_from_slice(b"\r\n"),
        }
        out
    }
}

/// A chunked body, ended and with trailers.
pub fn chunked(pieces: &[Vec<u8>], trailers: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}
