//! Bodies between binary and text.
//!
//! Which bodies are binary is a matter of the API's binary media types; what becomes of them, of `contentHandling`. The
//! tables are the developer guide's "Content type conversions in API Gateway".

use sluice_vtl::base64_encode;
use std::borrow::Cow;

/// `contentHandling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentHandling {
    /// Text is base64 of what goes on.
    ConvertToBinary,
    /// Binary goes on as base64.
    ConvertToText,
}

/// An API's `binaryMediaTypes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BinaryMediaTypes(Vec<Box<str>>);

impl BinaryMediaTypes {
    /// Of media types and ranges (`image/*`, `*/*`).
    pub fn new<'t>(types: impl IntoIterator<Item = &'t str>) -> Self {
        // The control plane's patches write `image~1png`.
        Self(
            types
                .into_iter()
                .map(|text| text.replace("~1", "/").trim().to_ascii_lowercase().into())
                .collect(),
        )
    }

    /// Whether a `Content-Type`, or the first type of an `Accept`, is one of them.
    #[must_use]
    pub fn matches(&self, header: Option<&str>) -> bool {
        let Some(header) = header else { return false };
        // AWS looks at the first type of `Accept` only.
        let first = header.split(',').next().unwrap_or_default();
        let media = first.split(';').next().unwrap_or_default().trim();
        let kind = media.split('/').next().unwrap_or_default();
        self.0.iter().any(|known| {
            &**known == "*/*"
                || known.eq_ignore_ascii_case(media)
                || known.strip_suffix("/*").is_some_and(|known| known.eq_ignore_ascii_case(kind))
        })
    }
}

/// Text that should have been base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

/// What a request's body becomes.
///
/// # Errors
/// When text is to become binary and is not base64.
pub fn convert_request(
    body: &[u8],
    is_binary: bool,
    handling: Option<ContentHandling>,
) -> Result<Cow<'_, [u8]>, NotBase64> {
    match (is_binary, handling) {
        (true, Some(ContentHandling::ConvertToText)) => Ok(Cow::Owned(base64_encode(body).into_bytes())),
        (false, Some(ContentHandling::ConvertToBinary)) => decode(body).map(Cow::Owned).ok_or(NotBase64),
        _ => Ok(Cow::Borrowed(body)),
    }
}

/// What an integration's body becomes; `wanted` tells whether the client's `Accept` is binary.
///
/// # Errors
/// When text is to become binary and is not base64.
pub fn convert_response(
    body: &[u8],
    is_binary: bool,
    wanted: bool,
    handling: Option<ContentHandling>,
) -> Result<Cow<'_, [u8]>, NotBase64> {
    let handling = handling.unwrap_or(if wanted {
        ContentHandling::ConvertToBinary
    } else {
        ContentHandling::ConvertToText
    });
    convert_request(body, is_binary, Some(handling))
}

/// Decodes base64, of either alphabet, with or without padding; line breaks are skipped. `None` if it is something else.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits, mut padding) = (0_u32, 0_u32, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            b'\r' | b'\n' => continue,
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        word = (word << 6 | u32::from(digit)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    // Six bits left over are a digit too many.
    (bits < 6 && padding <= 2).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::{
        BinaryMediaTypes, ContentHandling, base64_encode, convert_request, convert_response, decode,
    };

    #[test]
    fn media_types_match_with_ranges_and_without_parameters() {
        let types = BinaryMediaTypes::new(["image~1png", "application/*"]);
        for (header, matches) in [
            ("image/png", true),
            ("Image/PNG; q=1", true),
            ("image/png, text/html", true),
            ("text/html, image/png", false),
            ("application/pdf", true),
            ("image/gif", false),
        ] {
            assert_eq!(types.matches(Some(header)), matches, "{header}");
        }
        assert!(!types.matches(None));
        assert!(BinaryMediaTypes::new(["*/*"]).matches(Some("text/plain")));
        assert!(!BinaryMediaTypes::default().matches(Some("image/png")));
    }

    #[test]
    fn requests_are_converted_as_the_guides_table_has_it() {
        use ContentHandling::{ConvertToBinary, ConvertToText};
        for (binary, handling, body, expected) in [
            (false, None, "aGk=", Ok("aGk=")),
            (false, Some(ConvertToBinary), "aGk=", Ok("hi")),
            (false, Some(ConvertToBinary), "h!", Err(super::NotBase64)),
            (false, Some(ConvertToText), "aGk=", Ok("aGk=")),
            (true, None, "hi", Ok("hi")),
            (true, Some(ConvertToBinary), "hi", Ok("hi")),
            (true, Some(ConvertToText), "hi", Ok("aGk=")),
        ] {
            let out = convert_request(body.as_bytes(), binary, handling);
            assert_eq!(
                out.as_deref(),
                expected.as_ref().map(|text| text.as_bytes()).map_err(|_| &super::NotBase64)
            );
        }
    }

    #[test]
    fn responses_are_converted_as_the_guides_table_has_it() {
        use ContentHandling::{ConvertToBinary, ConvertToText};
        for (binary, wanted, handling, body, expected) in [
            (false, false, None, "aGk=", "aGk="),
            (false, false, Some(ConvertToBinary), "aGk=", "hi"),
            (false, true, None, "aGk=", "hi"),
            (false, true, Some(ConvertToText), "aGk=", "aGk="),
            (true, false, None, "hi", "aGk="),
            (true, false, Some(ConvertToBinary), "hi", "hi"),
            (true, true, None, "hi", "hi"),
            (true, true, Some(ConvertToText), "hi", "aGk="),
        ] {
            let out = convert_response(body.as_bytes(), binary, wanted, handling).unwrap();
            assert_eq!(&*out, expected.as_bytes(), "{binary} {wanted} {handling:?}");
        }
    }

    #[test]
    fn base64_goes_round_and_rejects_what_it_is_not() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe\x00\x01"] {
            assert_eq!(decode(base64_encode(bytes).as_bytes()).unwrap(), bytes);
        }
        assert_eq!(decode(b"_-8"), decode(b"/+8="));
        for text in [&b"a"[..], b"a b", b"=aaa", b"aGk=aGk=", b"a==="] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
