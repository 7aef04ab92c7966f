//! What a function's answer becomes on HTTP APIs.
//!
//! Payload format 2.0: an answer that is JSON but no object with `statusCode` is the body itself (status 200, JSON); else
//! `statusCode`, `headers`, `cookies`, `body` and `isBase64Encoded` make it. Payload format 1.0: as on REST APIs, but base64
//! is always decoded, and there are no fields that may not be there.

use super::answer::{Fields, JSON, Malformed, VALUES};
use crate::assigned::Place;
use crate::content;
use crate::response::Answer;
use sluice_jsonpath::{Heap, Value};

/// Which form events and answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadFormat {
    /// REST APIs' own.
    V1,
    /// HTTP APIs' own.
    V2,
}

/// Makes the response that a function's answer stands for.
///
/// # Errors
/// If it is of another form: HTTP APIs answer 500 then.
pub fn http_answer(payload: &[u8], format: PayloadFormat, out: &mut Answer) -> Result<(), Malformed> {
    let text = std::str::from_utf8(payload).map_err(|_| Malformed)?;
    let mut heap = Heap::new(VALUES);
    let root = sluice_jsonpath::parse(text, &mut heap).map_err(|_| Malformed)?;
    out.headers.clear();
    match root {
        Value::Map(id) => {
            let fields = Fields::new(&heap, heap.map(id));
            if format == PayloadFormat::V2 && fields.get("statusCode").is_none() {
                inferred(text, out);
                return Ok(());
            }
            stated(&fields, format, out)
        }
        _ if format == PayloadFormat::V1 => Err(Malformed),
        // The guide: "Hello from Lambda!" becomes the body without its quotes.
        Value::Str(body) => {
            inferred(&body, out);
            Ok(())
        }
        _ => {
            inferred(text, out);
            Ok(())
        }
    }
}

fn inferred(body: &str, out: &mut Answer) {
    out.status = 200;
    out.headers.add(Place::Header, "Content-Type", JSON);
    out.body = Some(body.as_bytes().to_vec());
}

fn stated(fields: &Fields<'_>, format: PayloadFormat, out: &mut Answer) -> Result<(), Malformed> {
    out.status = fields.status()?;
    match format {
        PayloadFormat::V1 => fields.headers(&mut out.headers)?,
        PayloadFormat::V2 => {
            fields.single_headers(&mut out.headers)?;
            fields.cookies(&mut out.headers)?;
        }
    }
    let body = fields.get("body").map_or(Ok(None), |value| fields.scalar(value))?.unwrap_or_default();
    out.body = Some(if fields.is_base64()? {
        content::decode(body.as_bytes()).ok_or(Malformed)?
    } else {
        body.into_owned().into_bytes()
    });
    if out.headers.get(Place::Header, "content-type").is_none() {
        let usual = if format == PayloadFormat::V1 { JSON } else { "text/plain;charset=UTF-8" };
        out.headers.add(Place::Header, "Content-Type", usual);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(payload: &str, format: PayloadFormat) -> Result<(u16, String, String), Malformed> {
        let mut answer = Answer::default();
        http_answer(payload.as_bytes(), format, &mut answer)?;
        let headers = answer.headers.of(Place::Header).map(|(name, value)| format!("{name}: {value}\n"));
        Ok((answer.status, headers.collect(), String::from_utf8(answer.body.unwrap()).unwrap()))
    }

    #[test]
    fn an_answer_without_a_status_is_the_body() {
        for (payload, body) in [
            (r#""Hello from Lambda!""#, "Hello from Lambda!"),
            (r#"{ "message": "Hello from Lambda!" }"#, r#"{ "message": "Hello from Lambda!" }"#),
            (r#"{"body":"x","headers":{"a":"b"}}"#, r#"{"body":"x","headers":{"a":"b"}}"#),
            ("[1,2]", "[1,2]"),
            ("7", "7"),
            ("null", "null"),
            ("true", "true"),
        ] {
            let expected = (200, "Content-Type: application/json\n".to_owned(), body.to_owned());
            assert_eq!(made(payload, PayloadFormat::V2), Ok(expected), "{payload}");
        }
    }

    #[test]
    fn an_answer_with_a_status_is_what_it_says() {
        let payload = r#"{"cookies":["a=1; Secure","b=2"],"isBase64Encoded":true,"statusCode":201,"headers":{"X-A":"1","n":2,"content-type":"text/x"},"body":"AGE="}"#;
        let headers = "X-A: 1\nn: 2\ncontent-type: text/x\nset-cookie: a=1; Secure\nset-cookie: b=2\n";
        assert_eq!(made(payload, PayloadFormat::V2), Ok((201, headers.to_owned(), "\0a".to_owned())));
        let (status, headers, body) =
            made(r#"{"statusCode":"204","unknown":{}}"#, PayloadFormat::V2).unwrap();
        assert_eq!(
            (status, headers.as_str(), body.as_str()),
            (204, "Content-Type: text/plain;charset=UTF-8\n", "")
        );
    }

    #[test]
    fn what_is_malformed() {
        for payload in [
            "",
            "{",
            "x",
            r#"{"statusCode":"x"}"#,
            r#"{"statusCode":1}"#,
            r#"{"statusCode":[]}"#,
            r#"{"statusCode":null,"body":{}}"#,
            r#"{"statusCode":200,"body":{"a":1}}"#,
            r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            r#"{"statusCode":200,"headers":{"a":["c"]}}"#,
            r#"{"statusCode":200,"headers":[]}"#,
            r#"{"statusCode":200,"cookies":"a=b"}"#,
            r#"{"statusCode":200,"cookies":[{}]}"#,
        ] {
            assert_eq!(made(payload, PayloadFormat::V2), Err(Malformed), "{payload}");
        }
    }

    #[test]
    fn format_1_has_many_values_and_no_inference() {
        let payload = r#"{"statusCode":200,"multiValueHeaders":{"a":["1","2"]},"headers":{"b":"3"},"body":"e30=","isBase64Encoded":true,"more":1}"#;
        let headers = "a: 1\na: 2\nb: 3\nContent-Type: application/json\n";
        assert_eq!(made(payload, PayloadFormat::V1), Ok((200, headers.to_owned(), "{}".to_owned())));
        for payload in ["\"x\"", "[]", "null", r#"{"body":{}}"#] {
            assert_eq!(made(payload, PayloadFormat::V1), Err(Malformed), "{payload}");
        }
    }
}
