//! Vectors: AWS's public test suite for Signature Version 4, and requests as botocore signs them.

use super::*;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20150830T123600Z";
const NOW_S: u64 = 1_440_938_160;

fn suite_signature(method: &str, target: &str, more: &[(&str, &str)], body: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = vec![("Host", "example.amazonaws.com"), ("X-Amz-Date", TIME)];
    headers.extend(more);
    let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
    let scope = Scope { date: "20150830", region: "us-east-1", service: "service" };
    let header = authorization(&request, (KEY, SECRET), scope, TIME);
    header.rsplit_once("Signature=").unwrap().1.to_owned()
}

#[test]
fn signatures_are_those_of_the_public_suite() {
    for (method, target, headers, body, expected) in [
        ("GET", "/", &[][..], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            &[],
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/?Param1=value1",
            &[],
            "",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        ("POST", "/", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "/ሴ", &[], "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ("GET", "/example/..", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET", "/./", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "POST",
            "/",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        assert_eq!(suite_signature(method, target, headers, body), expected, "{method} {target}");
    }
}

const HEADERS: &[(&str, &str)] = &[
    ("Host", "127.0.0.1:8081"),
    ("Accept", "application/json"),
    ("X-Amz-Date", TIME),
    (
        "Authorization",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/apigateway/aws4_request, \
         SignedHeaders=accept;host;x-amz-date, \
         Signature=cc9621b08230bb014c25bfdb790d92d086873705759363647644564eeb48c614",
    ),
];
const SIGNED: Request<'static> = Request {
    method: "PUT",
    path: "/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Frestapis%2Fabc",
    query: "",
    headers: HEADERS,
    body: b"{\"tags\": {\"a\": \"b\"}}",
};
const PRESIGNED: Request<'static> = Request {
    method: "GET",
    path: "/apikeys",
    query: "limit=5&name=a%20b%2Bc&includeValues=true&X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fapigateway%2Faws4_request\
            &X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host\
            &X-Amz-Signature=92153feaff41857a741016b0e80a893d19cd7a0e0ed5519bb1438694d6b3f78c",
    headers: &[("Host", "127.0.0.1:8081")],
    body: b"",
};

fn check(request: &Request<'_>, now_s: u64) -> Result<Identity, Error> {
    let expected = Expected { region: Some("us-east-1"), service: "apigateway", now_s };
    verify(request, expected, |key| (key == KEY).then_some(SECRET))
}

#[test]
fn requests_of_botocore_are_believed() {
    let who = Identity { access_key: KEY.to_owned(), region: "us-east-1".to_owned() };
    assert_eq!(check(&SIGNED, NOW_S), Ok(who.clone()));
    assert_eq!(check(&SIGNED, NOW_S + 299), Ok(who.clone()));
    assert_eq!(check(&SIGNED, NOW_S - 299), Ok(who.clone()));
    assert_eq!(check(&PRESIGNED, NOW_S + 60), Ok(who));
}

#[test]
fn any_change_spoils_a_signature() {
    let changed = [
        Request { method: "POST", ..SIGNED },
        Request { path: "/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Frestapis%2Fabd", ..SIGNED },
        Request { query: "a=b", ..SIGNED },
        Request { body: b"{}", ..SIGNED },
    ];
    for request in &changed {
        assert_eq!(check(request, NOW_S), Err(Error::Mismatch), "{request:?}");
    }
    let longer = PRESIGNED.query.replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    assert_eq!(check(&Request { query: &longer, ..PRESIGNED }, NOW_S), Err(Error::Mismatch));
    let other_secret =
        verify(&SIGNED, Expected { region: None, service: "apigateway", now_s: NOW_S }, |_| Some("another"));
    assert_eq!(other_secret, Err(Error::Mismatch));
}

#[test]
fn what_is_late_early_or_for_others_is_refused() {
    for (now_s, request) in [(NOW_S + 301, SIGNED), (NOW_S - 301, SIGNED), (NOW_S + 61, PRESIGNED)] {
        assert!(matches!(check(&request, now_s), Err(Error::Time(_))));
    }
    for (region, service) in [("eu-west-1", "apigateway"), ("us-east-1", "execute-api")] {
        let expected = Expected { region: Some(region), service, now_s: NOW_S };
        assert!(matches!(verify(&SIGNED, expected, |_| Some(SECRET)), Err(Error::Scope(_))));
    }
    let expected = Expected { region: None, service: "apigateway", now_s: NOW_S };
    assert_eq!(verify(&SIGNED, expected, |_| None), Err(Error::UnknownKey));
}

#[test]
fn what_was_not_signed_is_refused() {
    let mut headers = HEADERS.to_vec();
    headers.push(("X-Amz-Target", "smuggled"));
    let found = check(&Request { headers: &headers, ..SIGNED }, NOW_S);
    assert!(matches!(found, Err(Error::Incomplete(text)) if text.contains("x-amz-target")));
    assert_eq!(check(&Request { headers: &[], ..SIGNED }, NOW_S), Err(Error::Missing));
}

#[test]
fn broken_headers_are_refused_and_never_panic() {
    for value in [
        "",
        "Basic x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential=a",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request,SignedHeaders=host,Signature=zz",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/apigateway/aws4_request, SignedHeaders=;, Signature=é",
    ] {
        let headers = [("host", "x"), ("x-amz-date", TIME), ("authorization", value)];
        assert!(check(&Request { headers: &headers, ..SIGNED }, NOW_S).is_err(), "{value}");
    }
}
