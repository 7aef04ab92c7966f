//! The rules as tables.

use super::*;
use crate::{Entry, KeyBuilder, Validity};
use bytes::Bytes;
use sluice_wire::{Limits, Method, RequestHead, ResponseHead, parse_request, parse_response};

/// Wed, 21 Oct 2026 07:28:00 GMT
const NOW_UNIX_S: u64 = 1_792_567_680;
const AT: Moment = Moment { asked_ms: 1_000, received_ms: 1_000, received_unix_s: NOW_UNIX_S };

struct Message<H> {
    head: H,
    bytes: Vec<u8>,
}

impl Message<ResponseHead> {
    fn response(status: u16, lines: &str) -> Self {
        let bytes = format!("HTTP/1.1 {status} X\r\n{}\r\n", crlf(lines)).into_bytes();
        let mut head = ResponseHead::new();
        parse_response(&bytes, &Limits::default(), Method::Get, &mut head).unwrap();
        Self { head, bytes }
    }

    fn fields(&self) -> Fields<'_> {
        Fields { headers: &self.head.headers, bytes: &self.bytes }
    }
}

impl Message<RequestHead> {
    fn request(lines: &str) -> Self {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", crlf(lines)).into_bytes();
        let mut head = RequestHead::new();
        parse_request(&bytes, &Limits::default(), &mut head).unwrap();
        Self { head, bytes }
    }

    fn fields(&self) -> Fields<'_> {
        Fields { headers: &self.head.headers, bytes: &self.bytes }
    }
}

/// `a: b|c: d` as lines.
fn crlf(lines: &str) -> String {
    lines.split('|').filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect()
}

fn date(offset_s: i64) -> String {
    String::from_utf8(
        sluice_wire::enc::http_date_bytes(NOW_UNIX_S.checked_add_signed(offset_s).unwrap()).to_vec(),
    )
    .unwrap()
}

fn stored_for(request: &Request, status: u16, lines: &str) -> Option<Stored> {
    let response = Message::response(status, lines);
    Stored::of(request, status, response.fields(), response.fields(), AT)
}

fn stored(status: u16, lines: &str) -> Option<Stored> {
    stored_for(&Request::default(), status, lines)
}

/// Seconds left, below 0 when stale.
fn left_s(lines: &str) -> Option<i64> {
    let stored = stored(200, lines)?;
    Some((stored.lifetime_ms as i64 - stored.initial_age_ms as i64) / 1000)
}

#[test]
fn lifetimes_come_from_the_first_that_is_said() {
    let (past, soon, later) = (date(-100), date(50), date(100));
    for (lines, expected) in [
        ("Cache-Control: max-age=60".to_owned(), Some(60)),
        ("Cache-Control: MaX-aGe=60, foo".to_owned(), Some(60)),
        ("Cache-Control: max-age=0060".to_owned(), Some(60)),
        ("Cache-Control: max-age=\"60\"".to_owned(), Some(60)),
        ("Cache-Control: max-age=60, s-maxage=10".to_owned(), Some(10)),
        ("Cache-Control: s-maxage=10|Cache-Control: max-age=60".to_owned(), Some(10)),
        ("Cache-Control: max-age=60, max-age=10".to_owned(), Some(60)),
        ("Cache-Control: x=\"max-age=60, max-age=70\", max-age=10".to_owned(), Some(10)),
        ("Cache-Control: x=\"\\\", max-age=60\", max-age=10".to_owned(), Some(10)),
        ("Cache-Control: max-age=99999999999999999999".to_owned(), Some(1 << 31)),
        ("Cache-Control: max-age=-1".to_owned(), Some(0)),
        ("Cache-Control: max-age='60'".to_owned(), Some(0)),
        ("Cache-Control: max-age=60.0".to_owned(), Some(0)),
        ("Cache-Control: max-age=60a".to_owned(), Some(0)),
        ("Cache-Control: max-age =60".to_owned(), Some(0)),
        ("Cache-Control: max-age".to_owned(), Some(0)),
        (format!("Cache-Control: max-age=60|Expires: {past}"), Some(60)),
        (format!("Cache-Control: max-age=0|Expires: {later}"), Some(0)),
        (format!("Expires: {later}"), Some(100)),
        (format!("Expires: {later}|Date: {soon}"), Some(50)),
        (format!("Expires: {later}|Date: foo"), Some(100)),
        (format!("Expires: {soon}|Date: {later}"), Some(0)),
        (format!("Expires: {past}"), Some(0)),
        ("Expires: 0".to_owned(), Some(0)),
        (format!("Expires: {later}|Expires: {later}"), Some(0)),
        (format!("Last-Modified: {}", date(-1000)), Some(100)),
        (format!("Last-Modified: {}", date(-100_000_000)), Some(86_400)),
        (format!("Last-Modified: {}", date(10)), Some(0)),
        ("ETag: \"a\"".to_owned(), Some(0)),
        ("Last-Modified: yesterday".to_owned(), None),
        (String::new(), None),
    ] {
        assert_eq!(left_s(&lines), expected, "{lines}");
    }
}

#[test]
fn ages_are_the_larger_of_what_is_said_and_what_dates_tell() {
    for (lines, expected) in [
        ("Cache-Control: max-age=60|Age: 10".to_owned(), 50),
        ("Cache-Control: max-age=60|Age: 70".to_owned(), -10),
        (format!("Cache-Control: max-age=60|Date: {}", date(-20)), 40),
        (format!("Cache-Control: max-age=60|Date: {}", date(20)), 60),
        (format!("Cache-Control: max-age=60|Age: 30|Date: {}", date(-20)), 30),
    ] {
        assert_eq!(left_s(&lines), Some(expected), "{lines}");
    }
    for age in ["abc", "-1", "1.5", "old, 0", "0, old", "0, 0", "0;a", "", "99999999999999999999999"] {
        let left = left_s(&format!("Cache-Control: max-age=60|Age: {age}")).unwrap();
        assert!(left < 0, "{age:?} counts as old");
    }
    assert!(left_s("Cache-Control: max-age=60|Age: 0|Age: 0").unwrap() < 0);
    let slow = Message::response(200, "Cache-Control: max-age=60");
    let at = Moment { asked_ms: 1_000, received_ms: 6_000, received_unix_s: NOW_UNIX_S };
    let stored = Stored::of(&Request::default(), 200, slow.fields(), slow.fields(), at).unwrap();
    assert_eq!(stored.age_ms(6_000, 6_000), 5_000, "the wait for the answer counts");
    assert_eq!(stored.age_ms(6_000, 16_500), 15_500);
}

#[test]
fn what_may_be_stored() {
    for (status, lines, expected) in [
        (200, "Cache-Control: max-age=60", true),
        (200, "Cache-Control: max-age=60, no-store", false),
        (200, "Cache-Control: max-age=60, nO-StOrE", false),
        (200, "Cache-Control: max-age=60, private", false),
        (200, "Cache-Control: max-age=60, private=\"x\"", false),
        (200, "Cache-Control: max-age=60|Set-Cookie: a=b", false),
        (200, "Cache-Control: max-age=60, public|Set-Cookie: a=b", true),
        (200, "Cache-Control: no-cache|ETag: \"a\"", true),
        (206, "Cache-Control: max-age=60|Content-Range: bytes 0-1/2", false),
        (304, "Cache-Control: max-age=60", false),
        (302, "Cache-Control: max-age=60", true),
        (404, "Cache-Control: max-age=60", true),
        (503, "Cache-Control: max-age=60", true),
        (599, "Cache-Control: max-age=60", true),
        (599, "Cache-Control: max-age=60, must-understand", false),
        (200, "Cache-Control: max-age=60, must-understand, no-store", true),
        (599, "Cache-Control: max-age=60, must-understand, no-store", false),
    ] {
        assert_eq!(stored(status, lines).is_some(), expected, "{status} {lines}");
    }
    let modified = format!("Last-Modified: {}", date(-1000));
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(stored(status, &modified).unwrap().lifetime_ms, 100_000, "{status}");
    }
    for status in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
        assert_eq!(stored(status, &modified).unwrap().lifetime_ms, 0, "{status}");
        let public = format!("{modified}|Cache-Control: public");
        assert_eq!(stored(status, &public).unwrap().lifetime_ms, 100_000, "{status}");
    }
}

#[test]
fn answers_to_credentials_need_the_origins_word() {
    let request = Request::of(Message::request("Authorization: Basic YTpi").fields());
    for (control, expected) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("max-age=60, proxy-revalidate", false),
        ("s-maxage=60", true),
    ] {
        let found = stored_for(&request, 200, &format!("Cache-Control: {control}"));
        assert_eq!(found.is_some(), expected, "{control}");
    }
    let silent = Request::of(Message::request("Cache-Control: no-store").fields());
    assert_eq!(stored_for(&silent, 200, "Cache-Control: max-age=60"), None);
}

#[test]
fn verdicts() {
    use Verdict::{Fresh, Revalidate, Stale, Validate};
    const NO: Verdict = Validate { stale_if_error: false };
    const SPARE: Verdict = Validate { stale_if_error: true };
    for (response, request, after_s, expected) in [
        ("max-age=60", "", 0, Fresh),
        ("max-age=60", "", 59, Fresh),
        ("max-age=60", "", 60, NO),
        ("max-age=60, no-cache", "", 0, NO),
        ("max-age=60", "no-cache", 0, NO),
        ("max-age=60", "max-age=0", 0, NO),
        ("max-age=60", "max-age=10", 10, Fresh),
        ("max-age=60", "max-age=10", 11, NO),
        ("max-age=60", "max-age=x", 30, Fresh),
        ("max-age=60", "min-fresh=30", 30, Fresh),
        ("max-age=60", "min-fresh=30", 31, NO),
        ("max-age=60", "max-stale", 1000, Stale),
        ("max-age=60", "max-stale=10", 70, Stale),
        ("max-age=60", "max-stale=10", 71, NO),
        ("max-age=60, must-revalidate", "max-stale", 61, NO),
        ("max-age=60, proxy-revalidate", "max-stale", 61, NO),
        ("s-maxage=60", "max-stale", 61, NO),
        ("max-age=60, stale-while-revalidate=10", "", 59, Fresh),
        ("max-age=60, stale-while-revalidate=10", "", 70, Revalidate),
        ("max-age=60, stale-while-revalidate=10", "", 71, NO),
        ("max-age=60, stale-while-revalidate=10", "max-age=65", 66, NO),
        ("max-age=60, stale-while-revalidate=10, must-revalidate", "", 61, NO),
        ("max-age=60, stale-if-error=10", "", 70, SPARE),
        ("max-age=60, stale-if-error=10", "", 71, NO),
        ("max-age=60, stale-if-error=10", "no-cache", 61, NO),
        ("max-age=60, stale-if-error=10, must-revalidate", "", 61, NO),
        ("max-age=60", "stale-if-error=10", 70, SPARE),
    ] {
        let stored = stored(200, &format!("Cache-Control: {response}")).unwrap();
        let request = Message::request(&format!("Cache-Control: {request}"));
        let control = RequestControl::of(request.fields());
        let verdict = judge(&stored, 1_000, &control, 1_000 + after_s * 1000);
        assert_eq!(verdict, expected, "{response:?}, asked {request:?} after {after_s} s", request = control);
    }
}

#[test]
fn pragma_counts_only_alone() {
    for (lines, expected) in [
        ("Pragma: no-cache", true),
        ("Pragma: foo, no-cache", true),
        ("Pragma: foo", false),
        ("Pragma: no-cache|Cache-Control: max-age=60", false),
    ] {
        assert_eq!(RequestControl::of(Message::request(lines).fields()).no_cache, expected, "{lines}");
    }
}

#[test]
fn conditions_are_met() {
    let (old, new) = (date(-200), date(-10));
    let stored = stored(200, &format!("ETag: W/\"a,b\"|Last-Modified: {}", date(-100))).unwrap();
    for (lines, expected) in [
        ("If-None-Match: \"a,b\"".to_owned(), true),
        ("If-None-Match: W/\"a,b\"".to_owned(), true),
        ("If-None-Match: \"x\", \"a,b\" , \"y\"".to_owned(), true),
        ("If-None-Match: \"x\"|If-None-Match: \"a,b\"".to_owned(), true),
        ("If-None-Match: *".to_owned(), true),
        ("If-None-Match: \"a\"".to_owned(), false),
        ("If-None-Match: a,b".to_owned(), false),
        ("If-None-Match: w/\"a,b\"".to_owned(), false),
        (format!("If-None-Match: \"x\"|If-Modified-Since: {new}"), false),
        (format!("If-Modified-Since: {new}"), true),
        (format!("If-Modified-Since: {old}"), false),
        (format!("If-Modified-Since: {}", date(-100)), true),
        ("If-Modified-Since: now".to_owned(), false),
        (String::new(), false),
    ] {
        let request = Message::request(&lines);
        assert_eq!(is_not_modified(request.fields(), &stored, NOW_UNIX_S), expected, "{lines}");
    }
    let undated = self::stored(200, "Cache-Control: max-age=60").unwrap();
    let request = Message::request(&format!("If-Modified-Since: {}", date(5)));
    assert!(is_not_modified(request.fields(), &undated, NOW_UNIX_S), "it came before that date");
}

#[test]
fn ranges_are_cut_or_left() {
    use Ranged::{Part, Unsatisfiable, Whole};
    let strong = stored(200, "ETag: \"a\"").unwrap();
    let weak = stored(200, "ETag: W/\"a\"").unwrap();
    for (lines, stored, expected) in [
        ("Range: bytes=0-1", &strong, Part(0..2)),
        ("Range: bytes=8-", &strong, Part(8..10)),
        ("Range: bytes=8-99999999999999999999999", &strong, Part(8..10)),
        ("Range: bytes=-3", &strong, Part(7..10)),
        ("Range: bytes=-30", &strong, Part(0..10)),
        ("Range: bytes=-0", &strong, Unsatisfiable),
        ("Range: bytes=10-", &strong, Unsatisfiable),
        ("Range: bytes=10-12", &strong, Unsatisfiable),
        ("Range: bytes=2-1", &strong, Whole),
        ("Range: bytes=0-1,4-5", &strong, Whole),
        ("Range: bytes=a-b", &strong, Whole),
        ("Range: bytes=-", &strong, Whole),
        ("Range: bytes", &strong, Whole),
        ("Range: lines=0-1", &strong, Whole),
        ("Range: bytes=0-1|If-Range: \"a\"", &strong, Part(0..2)),
        ("Range: bytes=0-1|If-Range: \"b\"", &strong, Whole),
        ("Range: bytes=0-1|If-Range: W/\"a\"", &weak, Whole),
        ("", &strong, Whole),
    ] {
        assert_eq!(ranged(Message::request(lines).fields(), stored, 10), expected, "{lines}");
    }
    assert_eq!(ranged(Message::request("Range: bytes=-5").fields(), &strong, 0), Whole);
}

fn entry(lines: &str) -> Entry {
    let response = Message::response(200, lines);
    let fields = response.fields();
    let stored = Stored::of(&Request::default(), 200, fields, fields, AT).unwrap();
    Entry {
        status: 200,
        head: stored_head(fields, AT, |name| name == b"x-own").into(),
        body: Bytes::from_static(b"body"),
        stored_at_ms: AT.received_ms,
        expires_at_ms: stored.keep_until_ms(AT.received_ms),
        validity: Validity::Standard(Box::new(stored)),
    }
}

#[test]
fn heads_are_stored_without_what_was_for_one_hop() {
    let response = "Connection: close, x-hop|X-Hop: 1|Keep-Alive: 5|Age: 3|Content-Length: 4|Content-Type: a/b\
        |Proxy-Authentication-Info: x|x-own: 1|X-Kept: 1|ETag: \"a\"";
    let head = String::from_utf8(entry(response).head.to_vec()).unwrap();
    let expected = format!("Content-Type: a/b|X-Kept: 1|ETag: \"a\"|Date: {}", date(0));
    assert_eq!(head, crlf(&expected));
}

#[test]
fn a_304_updates_all_but_what_describes_the_body() {
    let old = entry(&format!(
        "Cache-Control: max-age=1|ETag: \"a\"|Content-Type: a/b|Content-Encoding: x|X-Kept: 1|X-Two: 1|X-Two: 2|Date: {}",
        date(-50)
    ));
    let news = Message::response(
        304,
        "Cache-Control: max-age=9|ETag: \"b\"|Content-Type: c/d|Content-Encoding: y|x-two: 3|Content-Length: 9|Set-Cookie: a=b",
    );
    let at = Moment { asked_ms: 60_000, received_ms: 60_000, received_unix_s: NOW_UNIX_S + 59 };
    let (fresh, keep) = freshen(&old, &Request::default(), news.fields(), at, |_| false);
    assert!(keep);
    let head = String::from_utf8(fresh.head.to_vec()).unwrap();
    let expected = format!(
        "ETag: \"a\"|Content-Encoding: x|X-Kept: 1|Cache-Control: max-age=9|Content-Type: c/d|x-two: 3|Date: {}",
        date(59)
    );
    assert_eq!(head, crlf(&expected));
    let stored = fresh.stored().unwrap();
    assert_eq!((stored.lifetime_ms, stored.initial_age_ms), (9_000, 0));
    assert_eq!(stored.etag.as_deref(), Some(&b"\"a\""[..]));
    assert_eq!((fresh.body, fresh.stored_at_ms), (old.body.clone(), 60_000));
    let secret = Message::response(304, "Cache-Control: no-store");
    let (answer, keep) = freshen(&old, &Request::default(), secret.fields(), at, |_| false);
    assert!(!keep && answer.body == old.body, "good for this request, not for later ones");
}

#[test]
fn variants_are_told_apart_by_the_named_fields() {
    let by = |lines: &str, more: &[&str]| {
        let more: Vec<Box<[u8]>> = more.iter().map(|name| name.as_bytes().into()).collect();
        match Vary::of(Message::response(200, lines).fields(), &more) {
            Vary::Always => None,
            Vary::By(names) => {
                Some(names.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect::<Vec<_>>())
            }
        }
    };
    assert_eq!(by("", &[]), Some(vec![]));
    assert_eq!(by("Vary: B, a|Vary: b", &["c"]), Some(vec!["a".into(), "b".into(), "c".into()]));
    for star in ["Vary: *", "Vary: a, *", "Vary: , *", "Vary: |Vary: *", "Vary: *, *"] {
        assert_eq!(by(star, &[]), None, "{star}");
    }
    let names: Box<[Box<[u8]>]> = ["accept-language", "x-a"].map(|n| n.as_bytes().into()).into();
    let key = |generation: u64, lines: &str| {
        let mut builder = KeyBuilder::new();
        builder.start().push(b"/");
        let variants = Variants { names: names.clone(), generation };
        push_variant(&mut builder, &variants, Message::request(lines).fields());
        builder.finish().to_owned()
    };
    let same = key(1, "Accept-Language: en,DE|X-A: 1, 2|X-B: 1");
    for lines in
        ["Accept-Language: EN , de|X-A: 1,2", "X-A: 1|X-A: 2|Accept-Language: en|Accept-Language: de"]
    {
        assert_eq!(key(1, lines), same, "{lines}");
    }
    for lines in [
        "",
        "Accept-Language: en, de",
        "Accept-Language: en, de|X-A: 2, 1",
        "Accept-Language: en, de|X-A: 1",
        "Accept-Language: en, de, 1, 2",
        "Accept-Language: en, de|X-A: ",
    ] {
        assert_ne!(key(1, lines), same, "{lines}");
    }
    assert_ne!(key(1, "X-A: "), key(1, ""), "an empty field is not an absent one");
    assert_ne!(key(2, "Accept-Language: en,DE|X-A: 1, 2"), same, "another generation");
}

#[test]
fn what_was_asked_before_an_invalidation_is_not_stored() {
    let cache = crate::Cache::new(1 << 20);
    let mut builder = KeyBuilder::new();
    let key = builder.start().push(b"/").finish();
    let answer = entry("Cache-Control: max-age=60");
    assert!(cache.insert_asked(key, answer.clone(), 500).is_some());
    assert!(cache.invalidate(key, 600));
    assert!(cache.get(key, 1_001).is_none());
    assert!(cache.insert_asked(key, answer.clone(), 599).is_none());
    assert!(cache.insert_asked(key, answer.clone(), 600).is_none(), "which was first is unknown");
    assert!(cache.insert_asked(key, answer, 601).is_some());
    assert!(cache.get(key, 1_001).is_some());
}
