//! What a function's answer becomes.
//!
//! None of its fields is required, and no other may be there: `statusCode` (a number, or a text that is one; 200 where it is
//! absent), `headers`, `multiValueHeaders`, `body` and `isBase64Encoded`. Scalars are taken as text where text is
//! expected, as AWS's reader takes them.

use crate::assigned::{Assigned, Place};
use crate::content::{self, BinaryMediaTypes};
use crate::response::Answer;
use sluice_jsonpath::{Heap, Map, Out, Value, write_java};
use std::borrow::Cow;

/// An answer of which no response can be made: "Malformed Lambda proxy response", 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Values of an answer. Its bytes are bounded by the caller.
pub(super) const VALUES: usize = 1_000_000;
pub(super) const JSON: &str = "application/json";
/// Of all headers together ("Amazon API Gateway quotas": total combined size of header values).
const HEADERS_MAX_BYTES: usize = 10_240;

/// Makes the response that a function's answer stands for; `accept` is the client's.
///
/// # Errors
/// If it is of another form.
pub fn proxy_answer(
    payload: &[u8],
    binary: &BinaryMediaTypes,
    accept: Option<&str>,
    out: &mut Answer,
) -> Result<(), Malformed> {
    let text = std::str::from_utf8(payload).map_err(|_| Malformed)?;
    let mut heap = Heap::new(VALUES);
    let Ok(Value::Map(id)) = sluice_jsonpath::parse(text, &mut heap) else { return Err(Malformed) };
    let fields = Fields::new(&heap, heap.map(id));
    fields.check()?;
    out.status = fields.status()?;
    out.headers.clear();
    fields.headers(&mut out.headers)?;
    let is_base64 = fields.is_base64()?;
    let body = fields.get("body").map_or(Ok(None), |value| fields.scalar(value))?;
    let body = body.unwrap_or_default();
    // "API Gateway uses the first Accept header from clients to determine if a response should return binary media."
    out.body = Some(if is_base64 && binary.matches(accept) {
        content::decode(body.as_bytes()).ok_or(Malformed)?
    } else {
        body.into_owned().into_bytes()
    });
    if out.headers.get(Place::Header, "content-type").is_none() {
        out.headers.add(Place::Header, "Content-Type", JSON);
    }
    Ok(())
}

pub(super) struct Fields<'h> {
    heap: &'h Heap<'h>,
    map: &'h Map<'h>,
}

impl<'h> Fields<'h> {
    pub(super) const fn new(heap: &'h Heap<'h>, map: &'h Map<'h>) -> Self {
        Self { heap, map }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'h Value<'h>> {
        self.map.get(name)
    }

    fn check(&self) -> Result<(), Malformed> {
        let known = ["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded", "cookies"];
        let is_known = |key: &Value<'_>| key.as_str().is_some_and(|key| known.contains(&key));
        // `cookies` is of payload format 2.0.
        let allowed = self.map.entries().all(|(key, _)| is_known(key) && key.as_str() != Some("cookies"));
        if allowed { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn status(&self) -> Result<u16, Malformed> {
        let status = match self.get("statusCode") {
            None | Some(Value::Null) => Some(200),
            Some(Value::Str(text)) => text.trim().parse().ok(),
            Some(number) => number.as_double().map(|number| number as u16),
        };
        status.filter(|status| (100..600).contains(status)).ok_or(Malformed)
    }

    pub(super) fn is_base64(&self) -> Result<bool, Malformed> {
        match self.get("isBase64Encoded") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(is_base64)) => Ok(*is_base64),
            Some(Value::Str(text)) if matches!(&**text, "true" | "false") => Ok(&**text == "true"),
            Some(_) => Err(Malformed),
        }
    }

    /// Text as it is, numbers and truth values as they are written; `None`: `null`.
    pub(super) fn scalar(&self, value: &'h Value<'h>) -> Result<Option<Cow<'h, str>>, Malformed> {
        match value {
            Value::Null => Ok(None),
            Value::Str(text) => Ok(Some(Cow::Borrowed(text))),
            Value::List(_) | Value::Map(_) | Value::Opaque(_) => Err(Malformed),
            number => {
                let mut out = Out::new(1 << 16);
                write_java(self.heap, number, &mut out).map_err(|_| Malformed)?;
                Ok(Some(Cow::Owned(out.into_string())))
            }
        }
    }

    /// Those of `multiValueHeaders`, then those of `headers` that are not among them.
    pub(super) fn headers(&self, out: &mut Assigned) -> Result<(), Malformed> {
        let mut room = Room(HEADERS_MAX_BYTES);
        for (name, values) in self.entries("multiValueHeaders")? {
            let Value::List(id) = values else {
                if matches!(values, Value::Null) {
                    continue;
                }
                return Err(Malformed);
            };
            for value in &self.heap.list(*id).items {
                if let Some(value) = self.scalar(value)? {
                    room.add(out, name, &value)?;
                }
            }
        }
        for (name, value) in self.entries("headers")? {
            let Some(value) = self.scalar(value)? else { continue };
            let is_there = out.values(Place::Header, name).any(|known| known == value);
            if !is_there {
                room.add(out, name, &value)?;
            }
        }
        Ok(())
    }

    /// Those of `headers` (payload format 2.0).
    pub(super) fn single_headers(&self, out: &mut Assigned) -> Result<(), Malformed> {
        let mut room = Room(HEADERS_MAX_BYTES);
        for (name, value) in self.entries("headers")? {
            if let Some(value) = self.scalar(value)? {
                room.add(out, name, &value)?;
            }
        }
        Ok(())
    }

    /// Each of `cookies` as a `set-cookie` (payload format 2.0).
    pub(super) fn cookies(&self, out: &mut Assigned) -> Result<(), Malformed> {
        let cookies = match self.get("cookies") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::List(id)) => &self.heap.list(*id).items,
            Some(_) => return Err(Malformed),
        };
        let mut room = Room(HEADERS_MAX_BYTES);
        for cookie in cookies {
            if let Some(cookie) = self.scalar(cookie)? {
                room.add(out, "set-cookie", &cookie)?;
            }
        }
        Ok(())
    }

    fn entries(&self, field: &str) -> Result<Vec<(&'h str, &'h Value<'h>)>, Malformed> {
        let map = match self.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Map(id)) => self.heap.map(*id),
            Some(_) => return Err(Malformed),
        };
        map.entries()
            .map(|(name, value)| {
                let name = name.as_str().filter(|name| is_token(name)).ok_or(Malformed)?;
                Ok((name, value))
            })
            .collect()
    }
}

/// What is left of what headers may have together.
struct Room(usize);

impl Room {
    fn add(&mut self, out: &mut Assigned, name: &str, value: &str) -> Result<(), Malformed> {
        self.0 = self.0.checked_sub(name.len() + value.len()).ok_or(Malformed)?;
        out.add(Place::Header, name, value);
        Ok(())
    }
}

/// What a header may be called (RFC 9110 5.6.2).
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(payload: &str, binary: &[&str], accept: Option<&str>) -> Result<Answer, Malformed> {
        let mut answer = Answer::default();
        let binary = BinaryMediaTypes::new(binary.iter().copied());
        proxy_answer(payload.as_bytes(), &binary, accept, &mut answer).map(|()| answer)
    }

    fn headers(answer: &Answer) -> Vec<(String, String)> {
        let all = answer.headers.of(Place::Header);
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn forms_that_are_answers() {
        for (payload, status, body) in [
            (r#"{"statusCode":201,"body":"x"}"#, 201, "x"),
            (r#"{"statusCode":"404","body":"x"}"#, 404, "x"),
            (r#"{"statusCode":200.0}"#, 200, ""),
            (r#"{"body":null}"#, 200, ""),
            (r#"{"body":12}"#, 200, "12"),
            (r#"{"body":true}"#, 200, "true"),
            (r#"{"headers":null,"multiValueHeaders":null,"isBase64Encoded":null}"#, 200, ""),
            ("{}", 200, ""),
        ] {
            let answer = made(payload, &[], None).unwrap();
            assert_eq!((answer.status, answer.body.as_deref()), (status, Some(body.as_bytes())), "{payload}");
            assert_eq!(headers(&answer), [("Content-Type".to_owned(), JSON.to_owned())], "{payload}");
        }
    }

    #[test]
    fn forms_that_are_none() {
        for payload in [
            "",
            "null",
            "\"text\"",
            "[]",
            "{",
            r#"{"statusCode":200,"message":"x"}"#,
            r#"{"statusCode":"abc"}"#,
            r#"{"statusCode":99}"#,
            r#"{"statusCode":600}"#,
            r#"{"statusCode":70000}"#,
            r#"{"statusCode":[]}"#,
            r#"{"body":{"a":1}}"#,
            r#"{"headers":[]}"#,
            r#"{"headers":{"a":["1"]}}"#,
            r#"{"headers":{"a b":"1"}}"#,
            r#"{"multiValueHeaders":{"a":"1"}}"#,
            r#"{"isBase64Encoded":"yes"}"#,
            r#"{"cookies":["a=b"]}"#,
            "\u{feff}{}",
            &format!(r#"{{"headers":{{"a":"{}"}}}}"#, "x".repeat(10_240)),
        ] {
            assert_eq!(made(payload, &[], None).err(), Some(Malformed), "{payload}");
        }
        assert!(
            proxy_answer(b"{\"body\":\"\xff\"}", &BinaryMediaTypes::default(), None, &mut Answer::default())
                .is_err()
        );
    }

    #[test]
    fn headers_of_both_fields_are_one_list() {
        let payload = r#"{"headers":{"a":"1","b":2,"content-type":"text/plain"},"multiValueHeaders":{"a":["1","3"],"c":[true]}}"#;
        let answer = made(payload, &[], None).unwrap();
        let expected = [("a", "1"), ("a", "3"), ("c", "true"), ("b", "2"), ("content-type", "text/plain")];
        assert_eq!(headers(&answer), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn base64_is_decoded_for_who_accepts_a_binary_type() {
        let payload = r#"{"isBase64Encoded":true,"body":"AP8B"}"#;
        let body = |binary: &[&str], accept| made(payload, binary, accept).unwrap().body.unwrap();
        assert_eq!(body(&["image/png"], Some("image/png, */*")), [0, 255, 1]);
        assert_eq!(body(&["*/*"], Some("text/html")), [0, 255, 1]);
        assert_eq!(body(&["image/png"], Some("text/html, image/png")), b"AP8B");
        assert_eq!(body(&["image/png"], None), b"AP8B");
        assert_eq!(
            made(r#"{"isBase64Encoded":true,"body":"!"}"#, &["*/*"], Some("a/b")).err(),
            Some(Malformed)
        );
    }
}
