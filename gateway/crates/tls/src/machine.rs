//! rustls' state machine, the same way for both sides.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

/// One side of a TLS connection, without buffers.
pub(crate) enum Machine {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Where a step left the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It has more to do: take another step.
    Again,
    /// The handshake needs more from the peer.
    Blocked,
    /// Established, and nothing more to do with the input it has.
    Ready,
    /// The peer has said that it sends no more.
    PeerClosed,
}

/// What one step did.
pub(crate) struct Step {
    /// Bytes of the input that are used up, and must not be shown again.
    pub(crate) used: usize,
    pub(crate) next: Result<Next, Error>,
}

/// What to send once the machine is [`Next::Ready`].
#[derive(Clone, Copy)]
pub(crate) enum Send<'a> {
    Nothing,
    /// Plain text, at most 16 KiB of it: one record.
    Record(&'a [u8]),
    /// The end of our half.
    CloseNotify,
}

/// Bytes that a record of either version adds at most: header 5, nonce 8 (TLS 1.2), content type 1 (TLS 1.3), tag 16.
pub(crate) const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;

impl Machine {
    pub(crate) fn common(&self) -> &CommonState {
        match self {
            Self::Server(server) => server,
            Self::Client(client) => client,
        }
    }

    /// Takes one step: reads records of `input`, appending plain text to `plain`, and appends what is to be sent to
    /// `out`. `input` is decrypted in place. It is all that was received and not yet used: rustls remembers offsets into
    /// it, and panics where they are missing.
    pub(crate) fn step(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        send: Send<'_>,
    ) -> Step {
        match self {
            Self::Server(server) => step(server.process_tls_records(input), plain, out, send),
            Self::Client(client) => step(client.process_tls_records(input), plain, out, send),
        }
    }

    /// Appends what the machine still has to say after an error (an alert).
    pub(crate) fn last_words(&mut self, mut input: &mut [u8], out: &mut Vec<u8>) {
        let mut none = Vec::new();
        // Only what is waiting: reading on would fail again, with a second alert.
        while self.common().wants_write() {
            let step = self.step(input, &mut none, out, Send::Nothing);
            if step.next != Ok(Next::Again) {
                return;
            }
            input = input.get_mut(step.used..).unwrap_or_default();
        }
    }
}

fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    send: Send<'_>,
) -> Step {
    let mut used = status.discard;
    let next = status.state.and_then(|state| advance(state, &mut used, plain, out, send));
    Step { used, next }
}

fn advance<D>(
    state: ConnectionState<'_, '_, D>,
    used: &mut usize,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    send: Send<'_>,
) -> Result<Next, Error> {
    Ok(match state {
        ConnectionState::ReadTraffic(mut records) => {
            while let Some(record) = records.next_record() {
                let record = record?;
                *used += record.discard;
                plain.extend_from_slice(record.payload);
            }
            Next::Again
        }
        ConnectionState::EncodeTlsData(mut message) => {
            append(out, 0, |slice| message.encode(slice).map_err(Refused::from))?;
            Next::Again
        }
        ConnectionState::TransmitTlsData(written) => {
            written.done();
            Next::Again
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            write(&mut traffic, out, send)?;
            Next::Ready
        }
        ConnectionState::BlockedHandshake => Next::Blocked,
        ConnectionState::PeerClosed | ConnectionState::Closed => Next::PeerClosed,
        // Early data is never offered; a state that this was not written for is no state to go on from.
        _ => return Err(Error::General("unexpected state".into())),
    })
}

fn write<D>(traffic: &mut WriteTraffic<'_, D>, out: &mut Vec<u8>, send: Send<'_>) -> Result<(), Error> {
    match send {
        Send::Nothing => Ok(()),
        Send::Record(data) => append(out, data.len() + RECORD_OVERHEAD, |slice| {
            traffic.encrypt(data, slice).map_err(Refused::from)
        }),
        Send::CloseNotify => {
            append(out, RECORD_OVERHEAD + 2, |slice| traffic.queue_close_notify(slice).map_err(Refused::from))
        }
    }
}

/// Why rustls wrote nothing.
enum Refused {
    TooSmall(usize),
    Failed(Error),
}

impl From<EncodeError> for Refused {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            EncodeError::AlreadyEncoded => Self::Failed(Error::General("encoded twice".into())),
        }
    }
}

impl From<EncryptError> for Refused {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            EncryptError::EncryptExhausted => Self::Failed(Error::EncryptError),
        }
    }
}

/// Lets `fill` write behind what `out` has: into `room` bytes, or once more into as many as it then asks for.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
) -> Result<(), Error> {
    let before = out.len();
    let mut room = room;
    for _ in 0..2 {
        out.resize(before + room, 0);
        match fill(out.get_mut(before..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(before + written);
                return Ok(());
            }
            // Messages that rustls had waiting (a key update) go first and need more.
            Err(Refused::TooSmall(needed)) => room = needed,
            Err(Refused::Failed(error)) => {
                out.truncate(before);
                return Err(error);
            }
        }
    }
    out.truncate(before);
    Err(Error::General("a record never fits".into()))
}
