//! Scripted HTTP/1.1 backends on threads: what the gateway proxies to in tests.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

use crate::call::chunked;
use crate::conn::reset;
use crate::http::{MessageReader, Request};
use crate::wait::{PATIENCE, eventually};

/// How many requests a backend keeps for inspection; later ones are only counted.
const RECORDED_MAX: usize = 20_000;

/// An HTTP/1.1 server whose answers are a closure's.
pub struct Backend {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    connections: AtomicUsize,
    hits: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<String>>,
    open: Mutex<Vec<Weak<TcpStream>>>,
}

type Script = dyn Fn(&mut Wire) -> io::Result<()> + Send + Sync;

impl Backend {
    /// Answers each request with what `answer` makes of it, on persistent connections.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer)
    }

    /// Like [`Backend::start`], on a given address: the one of a backend that was stopped, say.
    pub fn start_at(addr: SocketAddr, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::wired_at(addr, move |wire| {
            while let Some(request) = wire.request()? {
                if !wire.reply(&request, &answer(&request))? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Hands each connection to `script`, which reads and writes as it likes.
    pub fn wired(script: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::wired_at(([127, 0, 0, 1], 0).into(), script)
    }

    fn wired_at(
        addr: SocketAddr,
        script: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = eventually("bind the backend's address", || TcpListener::bind(addr).ok());
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let script: Arc<Script> = Arc::new(script);
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared, &script))
        };
        Self { addr, shared, accepting: Some(accepting) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many requests arrived.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.lock().unwrap().iter().filter(|stream| stream.strong_count() > 0).count()
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The only request so far; panics when there were none or more.
    #[track_caller]
    pub fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "one request expected: {requests:?}");
        requests.remove(0)
    }

    /// The latest request.
    #[track_caller]
    pub fn last_request(&self) -> Request {
        self.requests().pop().expect("a request was expected")
    }

    /// Stops listening and breaks every connection, as a killed process would.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(accepting) = self.accepting.take() {
            let _ = TcpStream::connect(self.addr);
            let _ = accepting.join();
        }
        self.drop_connections();
    }

    /// Breaks every connection but keeps listening.
    pub fn drop_connections(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..).filter_map(|stream| stream.upgrade()) {
            reset(&stream);
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
        let faults = self.shared.faults.lock().unwrap();
        if !thread::panicking() {
            assert!(faults.is_empty(), "the gateway sent malformed HTTP upstream: {faults:?}");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<Script>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let index = shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut wire = Wire::new(stream, index, Arc::clone(shared));
        let script = Arc::clone(script);
        thread::spawn(move || {
            if let Err(e) = script(&mut wire)
                && e.kind() == io::ErrorKind::InvalidData
            {
                wire.shared.faults.lock().unwrap().push(e.to_string());
            }
        });
    }
}

/// One connection from the gateway, in the hands of a script.
pub struct Wire {
    stream: Arc<TcpStream>,
    reader: MessageReader<SharedStream>,
    /// How many connections the backend accepted before this one.
    pub index: usize,
    shared: Arc<Shared>,
}

impl Wire {
    fn new(stream: TcpStream, index: usize, shared: Arc<Shared>) -> Self {
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let mut open = shared.open.lock().unwrap();
        open.retain(|other| other.strong_count() > 0);
        open.push(Arc::downgrade(&stream));
        drop(open);
        let reader = MessageReader::new(SharedStream(Arc::clone(&stream)));
        Self { stream, reader, index, shared }
    }

    /// Reads and records the next request; `None` when the gateway closed the connection.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let request = self.reader.request()?;
        if let Some(request) = &request {
            self.record(request);
        }
        Ok(request)
    }

    /// Reads and records the next request's head, leaving its body to [`Wire::reader`].
    pub fn request_head(&mut self) -> io::Result<Option<Request>> {
        let request = self.reader.request_head()?;
        if let Some(request) = &request {
            self.record(request);
        }
        Ok(request)
    }

    fn record(&self, request: &Request) {
        self.shared.hits.fetch_add(1, Ordering::SeqCst);
        let mut requests = self.shared.requests.lock().unwrap();
        if requests.len() < RECORDED_MAX {
            requests.push(request.clone());
        }
    }

    pub fn reader(&mut self) -> &mut MessageReader<impl Read + use<>> {
        &mut self.reader
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        (&*self.stream).write_all(bytes.as_ref())
    }

    /// Writes a reply; false when the connection must end.
    pub fn reply(&mut self, request: &Request, reply: &Reply) -> io::Result<bool> {
        self.send(reply.bytes(&request.method))?;
        match reply.end {
            End::KeepAlive => return Ok(true),
            End::Close => self.stream.shutdown(Shutdown::Write)?,
            End::Reset => reset(&self.stream),
            End::Hang => self.hang(),
        }
        Ok(false)
    }

    /// Ends our half of the stream.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// The socket, to write to from another thread.
    pub fn clone_stream(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Makes the close that follows a TCP reset.
    pub fn reset(&self) {
        reset(&self.stream);
    }

    /// Makes a write that cannot go on for this long fail.
    pub fn set_write_timeout(&self, timeout: Duration) {
        self.stream.set_write_timeout(Some(timeout)).unwrap();
    }

    /// Holds the connection, silent, until the gateway closes it or the test ends.
    pub fn hang(&mut self) {
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        while self.reader.fill().unwrap_or(false) {}
    }

    /// Blocks until the gateway closes the connection or sends more.
    pub fn closed_by_peer(&mut self) -> bool {
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        match self.reader.fill() {
            Ok(more) => !more,
            Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }
}

struct SharedStream(Arc<TcpStream>);

impl Read for SharedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

/// What a scripted backend answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    body: Body,
    end: End,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Sized(Vec<u8>),
    Chunked(Vec<Vec<u8>>, Vec<(String, String)>),
    UntilClose(Vec<u8>),
    Raw(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum End {
    KeepAlive,
    Close,
    Reset,
    Hang,
}

impl Reply {
    /// 200 with a sized body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, fields: Vec::new(), body: Body::Sized(body.into()), end: End::KeepAlive }
    }

    /// A head only, such as 204 or 304.
    pub fn empty(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: Body::None, end: End::KeepAlive }
    }

    /// A chunked body, one chunk for each piece, with trailers.
    pub fn chunked(pieces: &[&str], trailers: &[(&str, &str)]) -> Self {
        let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        let trailers = trailers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { status: 200, fields: Vec::new(), body: Body::Chunked(pieces, trailers), end: End::KeepAlive }
    }

    /// A body that ends with the connection.
    pub fn until_close(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, fields: Vec::new(), body: Body::UntilClose(body.into()), end: End::Close }
    }

    /// Bytes as they are, then the end of the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { status: 0, fields: Vec::new(), body: Body::Raw(bytes.into()), end: End::Close }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Closes after the reply.
    pub fn then_close(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// Resets the connection after the reply.
    pub fn then_reset(mut self) -> Self {
        self.end = End::Reset;
        self
    }

    /// Says no more after the reply, and keeps the connection open.
    pub fn then_hang(mut self) -> Self {
        self.end = End::Hang;
        self
    }

    fn bytes(&self, method: &str) -> Vec<u8> {
        if let Body::Raw(bytes) = &self.body {
            return bytes.clone();
        }
        let mut out = format!("HTTP/1.1 {} Scripted\r\n", self.status).into_bytes();
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let body = match &self.body {
            Body::Sized(body) => {
                out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
                body.clone()
            }
            Body::Chunked(pieces, trailers) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                chunked(pieces, trailers)
            }
            Body::UntilClose(body) => {
                out.extend_from_slice(b"Connection: close\r\n");
                body.clone()
            }
            Body::None | Body::Raw(_) => Vec::new(),
        };
        out.extend_from_slice(b"\r\n");
        if method != "HEAD" {
            out.extend_from_slice(&body);
        }
        out
    }
}

/// An address that refuses connections for as long as this lives: bound, never listening.
pub struct RefusingPort {
    addr: SocketAddr,
    _socket: OwnedFd,
}

impl Default for RefusingPort {
    fn default() -> Self {
        Self::new()
    }
}

impl RefusingPort {
    pub fn new() -> Self {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap();
        Self { addr, _socket: fd }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}
