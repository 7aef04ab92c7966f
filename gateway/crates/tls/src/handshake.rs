//! Handshakes of both sides.

use crate::certificates;
use crate::endpoint::{Endpoint, Heard, Listener};
use crate::machine::{Machine, Next, Send};
use crate::pool;
use crate::session::Session;
use crate::stream::Stream;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Input that may wait for the rest of a handshake message. rustls refuses messages over 64 KiB; this bounds the records
/// around them.
const INCOMING_MAX_BYTES: usize = 128 * 1024;

/// Why there is no session.
#[derive(Debug)]
pub enum HandshakeError {
    /// The peer closed or reset the connection.
    Closed,
    /// The stream's deadline passed.
    TimedOut,
    /// The socket failed otherwise.
    Io(io::Error),
    /// The peers could not agree, or one did not keep to the protocol.
    Tls(rustls::Error),
}

impl HandshakeError {
    /// A short name for metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::TimedOut => "timeout",
            Self::Io(_) => "io",
            Self::Tls(error) => match error {
                rustls::Error::InvalidCertificate(_) => "bad_certificate",
                rustls::Error::NoCertificatesPresented => "no_certificate",
                rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => "incompatible",
                rustls::Error::AlertReceived(_) => "alert",
                rustls::Error::InvalidMessage(_)
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::InappropriateHandshakeMessage { .. }
                | rustls::Error::PeerMisbehaved(_)
                | rustls::Error::DecryptError
                | rustls::Error::PeerSentOversizedRecord => "malformed",
                rustls::Error::General(_) => "no_server_certificate",
                _ => "tls",
            },
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection ended during the TLS handshake"),
            Self::TimedOut => f.write_str("the TLS handshake took too long"),
            Self::Io(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Self::Closed
            }
            _ => Self::Io(error),
        }
    }
}

/// Shakes hands with a client, within the deadline set on `stream`, as `endpoint` says for the name that it asks for.
///
/// # Errors
/// See [`HandshakeError`]. The client has been sent an alert where the protocol has one for it.
pub async fn accept(stream: sluice_rt::Stream, endpoint: &Endpoint) -> Result<Stream, HandshakeError> {
    let mut incoming = pool::get();
    let config = match endpoint.only() {
        Some(config) => Arc::clone(config),
        None => hello(&stream, endpoint, &mut incoming).await?,
    };
    let server = UnbufferedServerConnection::new(config).map_err(HandshakeError::Tls)?;
    shake(stream, Machine::Server(server), incoming).await
}

/// Receives the client's first message, which stays in `incoming`, and chooses by it.
async fn hello(
    stream: &sluice_rt::Stream,
    endpoint: &Endpoint,
    incoming: &mut Vec<u8>,
) -> Result<Arc<ServerConfig>, HandshakeError> {
    let mut listener = Listener::default();
    loop {
        let buf = stream.recv().await?.ok_or(HandshakeError::Closed)?;
        incoming.extend_from_slice(&buf);
        if let Heard::Chosen(config) = listener.hear(&buf, endpoint) {
            return Ok(config);
        }
        if incoming.len() > INCOMING_MAX_BYTES {
            return Err(HandshakeError::Tls(rustls::Error::PeerSentOversizedRecord));
        }
    }
}

/// Shakes hands with a server, within the deadline set on `stream`, and verifies that it is `name`.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn connect(
    stream: sluice_rt::Stream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Stream, HandshakeError> {
    let client = UnbufferedClientConnection::new(config, name).map_err(HandshakeError::Tls)?;
    shake(stream, Machine::Client(client), pool::get()).await
}

/// Boxed in the session from the beginning: a handshake's future is as small as it can be.
/// `incoming`: what the peer has sent already.
async fn shake(
    stream: sluice_rt::Stream,
    machine: Machine,
    mut incoming: Vec<u8>,
) -> Result<Stream, HandshakeError> {
    let mut session = Box::new(Session::new(stream, machine));
    let mut asked = None;
    loop {
        let established = advance(&mut session, &mut incoming)?;
        asked = certificates::asked().or(asked);
        if established {
            break;
        }
        match session.stream().recv().await? {
            Some(buf) => incoming.extend_from_slice(&buf),
            None => return Err(HandshakeError::Closed),
        }
        if incoming.len() > INCOMING_MAX_BYTES {
            return Err(HandshakeError::Tls(rustls::Error::PeerSentOversizedRecord));
        }
    }
    session.establish(asked, incoming);
    Ok(Stream::Tls(session))
}

/// Runs the machine until it needs more, and sends what it says. `true`: the handshake is over.
fn advance(session: &mut Session, incoming: &mut Vec<u8>) -> Result<bool, HandshakeError> {
    let (stream, state) = session.parts();
    let result = stream.write_with(|out| {
        loop {
            let step = state.machine.step(incoming, &mut state.early, out, Send::Nothing);
            incoming.drain(..step.used.min(incoming.len()));
            match step.next {
                Ok(Next::Again) => {}
                Ok(Next::Blocked) => return Ok(false),
                Ok(Next::Ready) => return Ok(true),
                Ok(Next::PeerClosed) => return Err(HandshakeError::Closed),
                Err(error) => {
                    state.machine.last_words(incoming, out);
                    return Err(HandshakeError::Tls(error));
                }
            }
        }
    });
    stream.flush();
    result
}
