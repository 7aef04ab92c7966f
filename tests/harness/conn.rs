//! A client connection that can misbehave.

use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

use crate::call::Call;
use crate::http::{MessageReader, Response};
use crate::wait::PATIENCE;

/// One TCP connection to the gateway.
pub struct Conn {
    stream: TcpStream,
    reader: MessageReader<TcpStream>,
}

impl Conn {
    pub fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr).unwrap_or_else(|e| panic!("connect {addr}: {e}"))
    }

    pub fn try_open(addr: SocketAddr) -> io::Result<Self> {
        TcpStream::connect_timeout(&addr, PATIENCE).and_then(Self::over)
    }

    /// Connects, or gives up early: the other side may be dropping everything.
    pub fn try_open_within(addr: SocketAddr, limit: Duration) -> io::Result<Self> {
        TcpStream::connect_timeout(&addr, limit).and_then(Self::over)
    }

    /// How long a read or write may take from now on.
    pub fn set_patience(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        self.stream.set_write_timeout(Some(limit)).unwrap();
    }

    /// Connects from a chosen local address, such as 127.0.0.2: another client, as far as the gateway can tell.
    pub fn open_from(source: IpAddr, addr: SocketAddr) -> Self {
        let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd: OwnedFd = socket(family, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddr::new(source, 0)).unwrap();
        connect(&fd, &addr).unwrap_or_else(|e| panic!("connect {addr} from {source}: {e}"));
        Self::over(TcpStream::from(fd)).unwrap()
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let reader = MessageReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    /// The socket alone.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn reader(&mut self) -> &mut MessageReader<TcpStream> {
        &mut self.reader
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|e| panic!("send: {e}"));
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Writes the bytes one at a time, each in a segment of its own.
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
    }

    /// Ends our half of the stream.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a TCP reset.
    pub fn reset(self) {
        reset(&self.stream);
    }

    /// Reads the response to a GET or anything else whose answer may have a body.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub fn response_to(&mut self, method: &str) -> Response {
        self.try_response(method).unwrap_or_else(|e| panic!("response to {method}: {e}"))
    }

    pub fn try_response(&mut self, method: &str) -> io::Result<Response> {
        self.reader.response(method)
    }

    /// Sends a request and reads its response.
    pub fn call(&mut self, call: &Call) -> Response {
        self.send(call.bytes());
        self.response_to(&call.method)
    }

    pub fn try_call(&mut self, call: &Call) -> io::Result<Response> {
        self.try_send(call.bytes())?;
        self.try_response(&call.method)
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.call(&Call::get(target))
    }

    /// Asserts that the gateway ends the connection and sends nothing more.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let open = self.reader.fill();
        let closed = match &open {
            Ok(more) => !more && self.reader.pending().is_empty(),
            Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
        };
        let left = String::from_utf8_lossy(self.reader.pending()).into_owned();
        assert!(closed, "expected the end of the connection, got {open:?} and {left:?}");
    }
}

/// Makes the coming close of this socket a TCP reset.
pub fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO));
}

/// Sends one request on a connection of its own.
pub fn fetch(addr: SocketAddr, call: &Call) -> Response {
    Conn::open(addr).call(call)
}
