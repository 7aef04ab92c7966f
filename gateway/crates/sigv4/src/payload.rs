//! What stands for the body in a signature, where that is not the body's hash: nothing, or the first of many signatures.

use crate::verify::SigningKey;
use crate::{Error, hex};
use aws_lc_rs::digest::{SHA256, digest};

/// The value of `X-Amz-Content-Sha256` of a request whose body is not signed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Its value where the body comes in chunks that are signed one after the other.
pub(crate) const STREAMING: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// Which bodies are accepted besides those that the signature covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// `UNSIGNED-PAYLOAD`: whoever has the request may change its body, so it takes TLS.
    pub unsigned: bool,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: the body is to be read by [`Chunks`].
    pub chunked: bool,
}

impl Accepts {
    /// What stands for the body, if a request's header may say so.
    pub(crate) fn literal(self, header: Option<&str>) -> Option<&'static str> {
        match header {
            Some(UNSIGNED) if self.unsigned => Some(UNSIGNED),
            Some(STREAMING) if self.chunked => Some(STREAMING),
            _ => None,
        }
    }
}

/// Reads a body of signed chunks (“Signature calculations for chunked upload”, Amazon S3 API reference):
/// `size;chunk-signature=SIGNATURE CRLF data CRLF`, the last one empty. Each signature covers the one before it, so that
/// no chunk can be left out, moved or changed.
pub struct Chunks {
    pub(crate) key: SigningKey,
    pub(crate) time: String,
    pub(crate) scope: String,
    pub(crate) previous: String,
}

impl Chunks {
    /// The data of a whole body.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if it is not of that form, [`Error::Mismatch`] if a signature is wrong.
    pub fn decode(mut self, body: &[u8]) -> Result<Vec<u8>, Error> {
        let malformed = || Error::Incomplete("The body is not aws-chunked.".to_owned());
        let mut data = Vec::with_capacity(body.len());
        let mut rest = body;
        loop {
            // Longer than any size and signature: 16 digits, a name of 16, 64 digits.
            let line_end = rest.windows(2).take(128).position(|two| two == b"\r\n").ok_or_else(malformed)?;
            let (line, after) = rest.split_at_checked(line_end).ok_or_else(malformed)?;
            let line = std::str::from_utf8(line).map_err(|_| malformed())?;
            let (size, signature) = line.split_once(";chunk-signature=").ok_or_else(malformed)?;
            let plain = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = usize::from_str_radix(size, 16).ok().filter(|_| plain).ok_or_else(malformed)?;
            let chunk = after.get(2..).and_then(|chunk| chunk.split_at_checked(size));
            let (chunk, after) = chunk.ok_or_else(malformed)?;
            self.check(chunk, signature)?;
            if size == 0 {
                // The last one's line end may be left out.
                return if matches!(after, b"" | b"\r\n") { Ok(data) } else { Err(malformed()) };
            }
            data.extend_from_slice(chunk);
            rest = after.strip_prefix(b"\r\n").ok_or_else(malformed)?;
        }
    }

    fn check(&mut self, chunk: &[u8], signature: &str) -> Result<(), Error> {
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            self.time,
            self.scope,
            self.previous,
            hex(digest(&SHA256, b"").as_ref()),
            hex(digest(&SHA256, chunk).as_ref())
        );
        if !self.key.signed(&to_sign, signature) {
            return Err(Error::Mismatch);
        }
        signature.clone_into(&mut self.previous);
        Ok(())
    }
}
