//! Runs `cases.txt`: every rule of the codec as data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use sluice_wire::*;
use std::fmt::Write as _;

/// What a case came to, in the words of the file.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Outcome {
    Partial,
    /// All facts, as `key=value` lines.
    Ok(Vec<(String, Vec<u8>)>),
    Refused(String),
}

/// Rust escapes, and `{X*N}`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '{'
            && let Some((inner, after)) = rest.split_once('}')
            && let Some((what, times)) = inner.rsplit_once('*')
            && let Ok(times) = times.parse::<usize>()
        {
            out.extend(unescape(what).repeat(times));
            rest = after;
        } else if c == '\\' {
            let kind = rest.chars().next().expect("something after a backslash");
            rest = &rest[1..];
            out.push(match kind {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                '\\' => b'\\',
                'x' => {
                    let (hex, after) = rest.split_at(2);
                    rest = after;
                    u8::from_str_radix(hex, 16).expect("two hexadecimal digits")
                }
                other => panic!("unknown escape {other}"),
            });
        } else {
            let mut utf8 = [0; 4];
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
        }
    }
    out
}

fn hop_names(headers: &[Header], bytes: &[u8]) -> Vec<u8> {
    let names = headers.iter().filter(|h| h.hop_by_hop).map(|h| h.name.of(bytes).to_ascii_lowercase());
    names.collect::<Vec<_>>().join(&b'+')
}

type ParseRequest = fn(&[u8], &Limits, &mut RequestHead) -> Result<Status, RequestError>;
type ParseResponse = fn(&[u8], &Limits, Method, &mut ResponseHead) -> Result<Status, ResponseError>;

fn request(parse: ParseRequest, bytes: &[u8]) -> Outcome {
    let mut head = RequestHead::new();
    match parse(bytes, &Limits::default(), &mut head) {
        Err(e) => {
            assert!(e.to_string().contains("expected") && e.to_string().contains("found"), "{e}");
            Outcome::Refused(format!("{}:{}", e.status(), e.label()))
        }
        Ok(Status::Partial) => Outcome::Partial,
        Ok(Status::Complete) => {
            let version = if head.version == Version::Http10 { "1.0" } else { "1.1" };
            let text = |s: String| s.into_bytes();
            let mut facts: Vec<(&str, Vec<u8>)> = vec![
                ("method", text(format!("{:?}", head.method))),
                ("name", head.method_name.of(bytes).to_vec()),
                ("path", head.path.of(bytes).to_vec()),
                ("form", text(format!("{:?}", head.form))),
                ("authority", head.authority.of(bytes).to_vec()),
                ("version", text(version.to_owned())),
                ("framing", text(format!("{:?}", head.framing))),
                ("keep_alive", text(head.keep_alive.to_string())),
                ("expect", text(head.expect_continue.to_string())),
                ("upgrade", text(head.upgrade.to_string())),
                ("fields", text(head.headers.len().to_string())),
                ("hop", hop_names(&head.headers, bytes)),
                ("len", text(head.head_len.to_string())),
            ];
            facts.extend(head.query.map(|q| ("query", q.of(bytes).to_vec())));
            Outcome::Ok(facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
        }
    }
}

fn response(parse: ParseResponse, method: Method, bytes: &[u8]) -> Outcome {
    let mut head = ResponseHead::new();
    match parse(bytes, &Limits::default(), method, &mut head) {
        Err(e) => {
            assert!(e.to_string().contains("expected") && e.to_string().contains("found"), "{e}");
            Outcome::Refused(e.label().to_owned())
        }
        Ok(Status::Partial) => Outcome::Partial,
        Ok(Status::Complete) => {
            let facts: Vec<(&str, Vec<u8>)> = vec![
                ("status", head.status.to_string().into_bytes()),
                ("reason", head.reason.of(bytes).to_vec()),
                ("framing", format!("{:?}", head.framing).into_bytes()),
                ("keep_alive", head.keep_alive.to_string().into_bytes()),
                ("hop", hop_names(&head.headers, bytes)),
            ];
            Outcome::Ok(facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
        }
    }
}

/// Decodes pieces; what a piece leaves over is passed again with the next, as a reader does.
fn chunked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    let (mut body, mut rest) = (Vec::new(), Vec::new());
    for piece in pieces {
        rest.extend_from_slice(piece);
        while !decoder.is_done() {
            match decoder.decode(&rest) {
                Err(e) => {
                    assert!(e.to_string().contains("expected") && e.to_string().contains("found"), "{e}");
                    return Outcome::Refused(format!("{}:{}", e.status(), e.label()));
                }
                Ok(chunk) => {
                    assert_eq!(chunk.done, decoder.is_done());
                    assert!(chunk.data.end <= chunk.consumed && chunk.consumed <= rest.len());
                    body.extend_from_slice(&rest[chunk.data.clone()]);
                    rest.drain(..chunk.consumed);
                    if chunk.consumed == 0 {
                        break;
                    }
                }
            }
        }
    }
    if !decoder.is_done() {
        return Outcome::Partial;
    }
    let facts = [("body", body), ("trailers", decoder.trailers().to_vec()), ("rest", rest)];
    Outcome::Ok(facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn run(kind: &str, bytes: &[u8]) -> Outcome {
    match kind {
        "request" => {
            let outcome = request(parse_request, bytes);
            // A vector path that differed would be a way to smuggle.
            assert_eq!(outcome, request(portable::parse_request, bytes));
            outcome
        }
        "response" | "response-head" | "response-connect" => {
            let method = match kind {
                "response-head" => Method::Head,
                "response-connect" => Method::Connect,
                _ => Method::Get,
            };
            let outcome = response(parse_response, method, bytes);
            assert_eq!(outcome, response(portable::parse_response, method, bytes));
            outcome
        }
        "chunked" => chunked([bytes]),
        other => panic!("unknown kind {other}"),
    }
}

/// The message of a failed case, or nothing.
fn check(kind: &str, expectation: &str, outcome: &Outcome) -> Option<String> {
    let facts = match outcome {
        Outcome::Partial => return Some("partial".to_owned()),
        Outcome::Refused(why) => return (why != expectation).then(|| format!("refused as {why}")),
        Outcome::Ok(facts) => facts,
    };
    let Some(expected) = expectation.strip_prefix("ok") else { return Some("accepted".to_owned()) };
    // A value runs to the next `,key=`, so that it may hold commas.
    let mut wrong = String::new();
    for pair in expected.trim_start_matches(':').split(',').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').expect("key=value");
        let found =
            facts.iter().find(|(k, _)| k == key).unwrap_or_else(|| panic!("{kind} has no fact {key}"));
        if found.1 != unescape(value) {
            write!(wrong, "{key} is {} ", found.1.escape_ascii()).unwrap();
        }
    }
    (!wrong.is_empty()).then_some(wrong)
}

fn cases() -> impl Iterator<Item = (usize, &'static str, &'static str, Vec<u8>)> {
    let lines = include_str!("cases.txt").lines().enumerate();
    let lines = lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    // Of the long cases Miri learns nothing that the short ones do not show.
    let lines = lines.filter(|(_, l)| !cfg!(miri) || !l.contains('{'));
    lines.map(|(n, line)| {
        // The expectation may hold single spaces; two end it, or one before the bytes of a short line.
        let (kind, rest) = line.split_once(' ').expect("a kind");
        let (expectation, bytes) = rest.split_once("  ").or_else(|| rest.split_once(' ')).expect("bytes");
        (n + 1, kind, expectation, unescape(bytes.trim_start()))
    })
}

/// How many places to cut a case at; long ones differ only in the middle of a run. Miri is a thousand times slower.
const CUTS: usize = if cfg!(miri) { 2 } else { 400 };

#[test]
fn every_case_comes_to_what_it_says() {
    let mut failures = String::new();
    let mut count = 0;
    for (line, kind, expectation, bytes) in cases() {
        count += 1;
        if let Some(found) = check(kind, expectation, &run(kind, &bytes)) {
            writeln!(failures, "cases.txt:{line}: expected {expectation}, found {found}").unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(count > 200, "the file is read whole");
}

#[test]
fn a_cut_head_is_partial_or_refused_as_the_whole_is() {
    for (line, kind, _, bytes) in cases().filter(|c| c.1 != "chunked") {
        let whole = run(kind, &bytes);
        let step = bytes.len() / CUTS + 1;
        for cut in (0..bytes.len()).rev().step_by(step) {
            let outcome = run(kind, &bytes[..cut]);
            let fits = match &outcome {
                Outcome::Partial => true,
                Outcome::Refused(_) => matches!(whole, Outcome::Refused(_)),
                Outcome::Ok(facts) => whole == Outcome::Ok(facts.clone()),
            };
            assert!(fits, "cases.txt:{line}: cut at {cut}: {outcome:?}, whole: {whole:?}");
        }
    }
}

#[test]
fn a_chunked_body_reads_the_same_however_it_is_cut() {
    for (line, _, _, bytes) in cases().filter(|c| c.1 == "chunked") {
        let whole = chunked([&bytes[..]]);
        let step = bytes.len() / CUTS + 1;
        for cut in (0..=bytes.len()).step_by(step) {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(chunked([a, b]), whole, "cases.txt:{line}: cut at {cut}");
        }
        assert_eq!(chunked(bytes.chunks(1)), whole, "cases.txt:{line}: byte by byte");
        assert_eq!(chunked(bytes.chunks(3)), whole, "cases.txt:{line}: three bytes at a time");
    }
}
