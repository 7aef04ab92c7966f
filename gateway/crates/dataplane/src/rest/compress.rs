//! `minimumCompressionSize`: answers that are large enough are compressed for clients who say that they can read it.
//!
//! Developer guide, "Payload compression for REST APIs": gzip, deflate and identity, chosen by `Accept-Encoding`; an answer
//! that has a `Content-Encoding` stays as it is.

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Write};

/// A coding that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    pub(crate) const fn name(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"gzip",
            Self::Deflate => b"deflate",
        }
    }

    /// The coding that an `Accept-Encoding` likes best; `None`: as it is. Of equals gzip.
    pub(crate) fn accepted(accept: &[u8]) -> Option<Self> {
        let mut best: Option<(u32, Self)> = None;
        let mut others = None;
        let (mut gzip_named, mut deflate_named) = (false, false);
        for item in accept.split(|byte| *byte == b',') {
            let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(weight).unwrap_or(1000);
            let coding = if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
                gzip_named = true;
                Self::Gzip
            } else if name.eq_ignore_ascii_case(b"deflate") {
                deflate_named = true;
                Self::Deflate
            } else {
                if name == b"*" {
                    others = Some(weight);
                }
                continue;
            };
            let better = best.is_none_or(|(known, chosen)| {
                weight > known || (weight == known && coding == Self::Gzip && chosen == Self::Deflate)
            });
            if weight > 0 && better {
                best = Some((weight, coding));
            }
        }
        if best.is_none() && others.is_some_and(|weight| weight > 0) {
            return if !gzip_named {
                Some(Self::Gzip)
            } else if !deflate_named {
                Some(Self::Deflate)
            } else {
                None
            };
        }
        best.map(|(_, coding)| coding)
    }

    /// The body in this coding (RFC 9110 8.4.1: deflate is the zlib format).
    pub(crate) fn encode(self, body: &[u8]) -> Option<Vec<u8>> {
        let room = Vec::with_capacity(body.len() / 3 + 64);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(body).ok()?;
                encoder.finish().ok()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, Compression::fast());
                encoder.write_all(body).ok()?;
                encoder.finish().ok()
            }
        }
    }
}

/// Compresses a body piece by piece.
pub(crate) struct Encoder {
    to: Format,
    made: Vec<u8>,
    /// Bytes made so far.
    pub(crate) total: u64,
}

enum Format {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Encoder {
    pub(crate) fn new(coding: Coding) -> Self {
        let to = match coding {
            Coding::Gzip => Format::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Coding::Deflate => Format::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast())),
        };
        Self { to, made: Vec::new(), total: 0 }
    }

    /// What there is to send once it has taken `data`; often nothing yet.
    pub(crate) fn push(&mut self, data: &[u8]) -> io::Result<&[u8]> {
        match &mut self.to {
            Format::Gzip(encoder) => encoder.write_all(data)?,
            Format::Deflate(encoder) => encoder.write_all(data)?,
        }
        Ok(self.take())
    }

    /// All that is left of what it has taken: the client need not wait for more.
    pub(crate) fn flush(&mut self) -> io::Result<&[u8]> {
        match &mut self.to {
            Format::Gzip(encoder) => encoder.flush()?,
            Format::Deflate(encoder) => encoder.flush()?,
        }
        Ok(self.take())
    }

    /// The end of the body.
    pub(crate) fn finish(&mut self) -> io::Result<&[u8]> {
        match &mut self.to {
            Format::Gzip(encoder) => encoder.try_finish()?,
            Format::Deflate(encoder) => encoder.try_finish()?,
        }
        Ok(self.take())
    }

    fn take(&mut self) -> &[u8] {
        let made = match &mut self.to {
            Format::Gzip(encoder) => encoder.get_mut(),
            Format::Deflate(encoder) => encoder.get_mut(),
        };
        self.made.clear();
        std::mem::swap(&mut self.made, made);
        self.total += self.made.len() as u64;
        &self.made
    }
}

/// `q=0.5` in thousandths (RFC 9110 12.4.2).
fn weight(part: &[u8]) -> Option<u32> {
    let value = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))?;
    let weight: f32 = std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?;
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_best_liked_coding() {
        for (accept, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("deflate, gzip", Some(Coding::Gzip)),
            ("gzip;q=0.5, deflate", Some(Coding::Deflate)),
            ("GZIP ; q=0.1", Some(Coding::Gzip)),
            ("identity", None),
            ("br", None),
            ("gzip;q=0", None),
            ("*", Some(Coding::Gzip)),
            ("gzip;q=0, *", Some(Coding::Deflate)),
            ("*;q=0", None),
            ("", None),
        ] {
            assert_eq!(Coding::accepted(accept.as_bytes()), expected, "{accept}");
        }
    }

    #[test]
    fn encoded_bodies_are_read_back() {
        let body = b"hello, hello, hello".repeat(100);
        let (mut gzip, mut zlib) = (Vec::new(), Vec::new());
        flate2::read::GzDecoder::new(&*Coding::Gzip.encode(&body).unwrap()).read_to_end(&mut gzip).unwrap();
        flate2::read::ZlibDecoder::new(&*Coding::Deflate.encode(&body).unwrap())
            .read_to_end(&mut zlib)
            .unwrap();
        assert!(gzip == body && zlib == body);
    }

    #[test]
    fn pieces_are_read_back_and_a_flush_lets_all_be_read() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            let (mut encoder, mut sent) = (Encoder::new(coding), Vec::new());
            sent.extend_from_slice(encoder.push(b"first, ").unwrap());
            sent.extend_from_slice(encoder.flush().unwrap());
            let mut first = [0; 7];
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&*sent).read_exact(&mut first),
                Coding::Deflate => flate2::read::ZlibDecoder::new(&*sent).read_exact(&mut first),
            }
            .unwrap();
            assert_eq!(&first, b"first, ");
            sent.extend_from_slice(encoder.push(b"second").unwrap());
            sent.extend_from_slice(encoder.finish().unwrap());
            let mut all = String::new();
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&*sent).read_to_string(&mut all),
                Coding::Deflate => flate2::read::ZlibDecoder::new(&*sent).read_to_string(&mut all),
            }
            .unwrap();
            assert_eq!((all.as_str(), encoder.total), ("first, second", sent.len() as u64));
        }
    }
}
