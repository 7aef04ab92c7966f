//! A scripted HTTP/2 server: what an upstream may do, frame by frame.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::h2::{Answer, END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, PREFACE, SETTINGS, block};

/// A server whose connections are in the hands of a script. Its threads end with the test's process.
pub struct H2Backend {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
}

/// A connection of an [`H2Backend`].
pub struct Peer {
    /// Frames as they are.
    pub h2: H2,
    /// How many connections came before this one.
    pub index: usize,
    requests: Arc<AtomicUsize>,
}

impl H2Backend {
    /// `script` gets each connection after the client's preface.
    pub fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (counted, script) = (Arc::clone(&requests), Arc::new(script));
        thread::spawn(move || {
            for (index, stream) in listener.incoming().flatten().enumerate() {
                let (requests, script) = (Arc::clone(&counted), Arc::clone(&script));
                thread::spawn(move || {
                    if let Some(mut peer) = Peer::greet(stream, index, requests) {
                        script(&mut peer);
                    }
                });
            }
        });
        Self { addr, requests }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Heads of requests that came, on all connections.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Peer {
    fn greet(stream: TcpStream, index: usize, requests: Arc<AtomicUsize>) -> Option<Self> {
        let mut h2 = H2::over(stream);
        let mut preface = [0; PREFACE.len()];
        h2.fill(&mut preface)?;
        assert_eq!(preface, PREFACE);
        h2.send_frame(SETTINGS, 0, 0, []);
        Some(Self { h2, index, requests })
    }

    /// The next request whose head has come, by its stream.
    pub fn head(&mut self) -> Option<u32> {
        let mut id = 0;
        let came = self.h2.until(|_, frame| {
            id = frame.stream;
            frame.kind == HEADERS
        });
        self.requests.fetch_add(usize::from(came), Ordering::SeqCst);
        came.then_some(id)
    }

    /// The next whole request; its fields are the trailers, as a client would see them.
    pub fn request(&mut self) -> Option<(u32, Answer)> {
        let id = self.head()?;
        let over = |h2: &H2| h2.answers.get(&id).is_some_and(|a| a.ended);
        if !over(&self.h2) && !self.h2.until(|h2, _| over(h2)) {
            return None;
        }
        Some((id, self.h2.answers.remove(&id)?))
    }

    /// Answers a request.
    pub fn answer(&mut self, id: u32, body: &str) {
        self.h2.send_frame(HEADERS, END_HEADERS, id, block(&[(":status", "200")]));
        let mut frames = body.as_bytes().chunks(16_384).peekable();
        while let Some(data) = frames.next() {
            self.h2.data(id, data, frames.peek().is_none());
        }
        if body.is_empty() {
            self.h2.data(id, b"", true);
        }
    }

    /// An interim answer.
    pub fn interim(&mut self, id: u32, status: &str) {
        self.h2.send_frame(HEADERS, END_HEADERS, id, block(&[(":status", status)]));
    }

    /// An answer without a body.
    pub fn status(&mut self, id: u32, status: &str) {
        self.h2.send_frame(HEADERS, END_HEADERS | END_STREAM, id, block(&[(":status", status)]));
    }

    /// Says that no stream above `last` will be served.
    pub fn goaway(&mut self, last: u32) {
        let payload = [last.to_be_bytes(), [0; 4]].concat();
        self.h2.send_frame(GOAWAY, 0, 0, payload);
    }

    /// Answers every request with its path, until the connection ends.
    pub fn serve(&mut self) {
        while let Some((id, request)) = self.request() {
            let path = crate::h2::find(&request.trailers, ":path").unwrap_or_default().to_owned();
            let body = String::from_utf8_lossy(&request.body).into_owned();
            self.answer(id, &format!("{path}{body}"));
        }
    }
}
