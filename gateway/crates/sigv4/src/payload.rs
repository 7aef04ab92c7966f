//! What stands for the body in a signature, where that is not the body's hash: nothing, or the first of many signatures.

use crate::verify::SigningKey;
use crate::{Error, hex};
use aws_lc_rs::digest::{SHA256, digest};

/// The value of `X-Amz-Content-Sha256` of a request whose body is not signed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Its value where the body comes in chunks that are signed one after the other.
pub(crate) const STREAMING: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// Likewise, with headers behind the last chunk that are signed, too.
pub(crate) const STREAMING_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// Which bodies are accepted besides those that the signature covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// `UNSIGNED-PAYLOAD`: whoever has the request may change its body, so it takes TLS.
    pub unsigned: bool,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD` and `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the body is to be read by
    /// [`Chunks`].
    pub chunked: bool,
}

impl Accepts {
    /// What stands for the body, if a request's header may say so.
    pub(crate) fn literal(self, header: Option<&str>) -> Option<&'static str> {
        match header {
            Some(UNSIGNED) if self.unsigned => Some(UNSIGNED),
            Some(STREAMING) if self.chunked => Some(STREAMING),
            Some(STREAMING_TRAILER) if self.chunked => Some(STREAMING_TRAILER),
            _ => None,
        }
    }

    /// What is not the body's hash, nor accepted, would be a wrong signature: this says what is the matter. Chunks that are not
    /// signed (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`), or by another algorithm, are not read.
    pub(crate) fn check(self, header: Option<&str>) -> Result<(), Error> {
        match header {
            Some(kind)
                if self.chunked && kind.starts_with("STREAMING-") && self.literal(header).is_none() =>
            {
                Err(Error::Incomplete(format!(
                    "Value of 'x-amz-content-sha256' must be the SHA-256 of the body, '{UNSIGNED}', '{STREAMING}' or \
                     '{STREAMING_TRAILER}'. Got '{kind}'."
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a body of signed chunks (“Signature calculations for chunked upload”, Amazon S3 API reference):
/// `size;chunk-signature=SIGNATURE CRLF data CRLF`, the last one empty. Each signature covers the one before it, so that
/// no chunk can be left out, moved or changed. Where trailers are announced, they follow the last chunk in place of its line end:
/// `name:value CRLF`, then `x-amz-trailer-signature:SIGNATURE CRLF`, and an empty line (“Signature calculations for trailing
/// headers”). They are verified and dropped: what they tell of the data, the signatures tell.
pub struct Chunks {
    pub(crate) key: SigningKey,
    pub(crate) time: String,
    pub(crate) scope: String,
    pub(crate) previous: String,
    /// Names of the trailers (`X-Amz-Trailer`), lower case and sorted.
    pub(crate) trailers: Option<Vec<String>>,
}

fn malformed() -> Error {
    Error::Incomplete("The body is not aws-chunked.".to_owned())
}

impl Chunks {
    /// The data of a whole body.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if it is not of that form, [`Error::Mismatch`] if a signature is wrong.
    pub fn decode(mut self, body: &[u8]) -> Result<Vec<u8>, Error> {
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
                return self.end(after).map(|()| data);
            }
            data.extend_from_slice(chunk);
            rest = after.strip_prefix(b"\r\n").ok_or_else(malformed)?;
        }
    }

    /// What follows the last chunk.
    fn end(&self, rest: &[u8]) -> Result<(), Error> {
        let Some(announced) = &self.trailers else {
            // The line end may be left out.
            return if matches!(rest, b"" | b"\r\n") { Ok(()) } else { Err(malformed()) };
        };
        let text = std::str::from_utf8(rest).ok().and_then(|text| text.strip_suffix("\r\n"));
        let text = text.ok_or_else(malformed)?;
        let lines = text.strip_suffix("\r\n").unwrap_or(text).split("\r\n").map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim()))
        });
        let mut trailers: Vec<_> = lines.collect::<Option<_>>().ok_or_else(malformed)?;
        let (last, signature) = trailers.pop().ok_or_else(malformed)?;
        trailers.sort_unstable();
        if last != "x-amz-trailer-signature" || !trailers.iter().map(|(name, _)| name).eq(announced) {
            return Err(malformed());
        }
        let canonical: String = trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let to_sign = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.time,
            self.scope,
            self.previous,
            hex(digest(&SHA256, canonical.as_bytes()).as_ref())
        );
        if self.key.signed(&to_sign, signature) { Ok(()) } else { Err(Error::Mismatch) }
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
