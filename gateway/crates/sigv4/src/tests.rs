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

/// A request with these headers and this body, signed with `payload` in place of the body's hash.
fn signed_with<'a>(
    headers: &'a mut Vec<(&'a str, &'a str)>,
    value: &'a mut String,
    payload: &str,
    body: &'a [u8],
) -> Request<'a> {
    let scope = Scope { date: "20150830", region: "us-east-1", service: "execute-api" };
    let request = Request { method: "POST", path: "/prod/pets", query: "a=b", headers, body };
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let to_sign = string_to_sign(&canonical::request(&request, &names, Some(payload)), scope, TIME);
    let signature = hex(&SigningKey::derive(SECRET, scope).sign(&to_sign));
    *value = format!(
        "{ALGORITHM} Credential={KEY}/{scope}, SignedHeaders={}, Signature={signature}",
        names.join(";")
    );
    headers.push(("authorization", value));
    Request { method: "POST", path: "/prod/pets", query: "a=b", headers, body }
}

fn check_by(request: &Request<'_>, accepts: Accepts) -> Result<Verified, Error> {
    let expected = Expected { region: Some("us-east-1"), service: "execute-api", now_s: NOW_S };
    verify_by(request, expected, accepts, |credential| {
        let right =
            credential.access_key == KEY && credential.session_token.is_none_or(|token| token == "session");
        right.then(|| SigningKey::derive(SECRET, credential.scope))
    })
}

const UNSIGNED: Accepts = Accepts { unsigned: true, chunked: false };
const CHUNKED: Accepts = Accepts { unsigned: false, chunked: true };

#[test]
fn an_unsigned_body_counts_only_where_it_may() {
    let (mut headers, mut value) = (
        vec![("host", "x"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), ("x-amz-date", TIME)],
        String::new(),
    );
    let request = signed_with(&mut headers, &mut value, "UNSIGNED-PAYLOAD", b"anything");
    assert!(check_by(&request, UNSIGNED).is_ok());
    assert!(check_by(&Request { body: b"else", ..request }, UNSIGNED).is_ok());
    assert_eq!(check_by(&request, Accepts::default()).err(), Some(Error::Mismatch));
    assert_eq!(check_by(&request, CHUNKED).err(), Some(Error::Mismatch));
    // What the header says of a hash is not believed: the body's own counts.
    let (mut headers, mut value) =
        (vec![("host", "x"), ("x-amz-content-sha256", "0000"), ("x-amz-date", TIME)], String::new());
    let request = signed_with(&mut headers, &mut value, "0000", b"anything");
    assert_eq!(check_by(&request, UNSIGNED).err(), Some(Error::Mismatch));
}

#[test]
fn session_tokens_are_shown_to_whoever_has_the_keys() {
    for (token, expected) in [("session", None), ("stolen", Some(Error::UnknownKey))] {
        let hash = hex(digest::digest(&digest::SHA256, b"").as_ref());
        let (mut headers, mut value) =
            (vec![("host", "x"), ("x-amz-date", TIME), ("x-amz-security-token", token)], String::new());
        let request = signed_with(&mut headers, &mut value, &hash, b"");
        assert_eq!(check_by(&request, Accepts::default()).err(), expected);
        // Permanent keys have none.
        let expected = Expected { region: None, service: "execute-api", now_s: NOW_S };
        assert_eq!(verify(&request, expected, |_| Some(SECRET)), Err(Error::UnknownKey));
    }
}

#[test]
fn chunks_are_verified_one_after_the_other() {
    let scope = Scope { date: "20150830", region: "us-east-1", service: "execute-api" };
    let (mut headers, mut value) = (
        vec![
            ("host", "x"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("x-amz-date", TIME),
        ],
        String::new(),
    );
    let request = signed_with(&mut headers, &mut value, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", b"");
    assert_eq!(check_by(&request, UNSIGNED).err(), Some(Error::Mismatch));
    let seed = request.header("authorization").unwrap().rsplit_once('=').unwrap().1.to_owned();
    let key = SigningKey::derive(SECRET, scope);
    let empty = hex(digest::digest(&digest::SHA256, b"").as_ref());
    let (mut previous, mut parts) = (seed, Vec::new());
    for chunk in ["hello ", "world", ""] {
        let hash = hex(digest::digest(&digest::SHA256, chunk.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256-PAYLOAD\n{TIME}\n{scope}\n{previous}\n{empty}\n{hash}");
        previous = hex(&key.sign(&to_sign));
        parts.push(format!("{:x};chunk-signature={previous}\r\n{chunk}\r\n", chunk.len()));
    }
    let decode = |body: &str| check_by(&request, CHUNKED).unwrap().chunks.unwrap().decode(body.as_bytes());
    let whole = parts.concat();
    assert_eq!(decode(&whole), Ok(b"hello world".to_vec()));
    assert_eq!(decode(whole.strip_suffix("\r\n").unwrap()), Ok(b"hello world".to_vec()));
    assert_eq!(decode(&whole.replace("world", "xorld")), Err(Error::Mismatch));
    assert_eq!(decode(&[parts[1].as_str(), &parts[0], &parts[2]].concat()), Err(Error::Mismatch));
    assert_eq!(decode(&[parts[0].as_str(), &parts[2]].concat()), Err(Error::Mismatch));
    for broken in [
        "",
        "6",
        &parts[0],
        &whole[..20],
        &format!("{whole}x"),
        &whole.replacen('6', "+6", 1),
        "ffffffffffffffffff;chunk-signature=\r\n",
    ] {
        assert!(matches!(decode(broken), Err(Error::Incomplete(_) | Error::Mismatch)), "{broken:?}");
    }
}

/// The example of "Signature calculations for trailing headers (chunked uploads)" (Amazon S3 API reference).
#[test]
fn trailers_are_verified_after_the_last_chunk() {
    let chunk = |bytes: usize, signature: &str| {
        let end = if bytes == 0 { "" } else { "\r\n" };
        format!("{bytes:x};chunk-signature={signature}\r\n{}{end}", "a".repeat(bytes))
    };
    let chunks = [
        chunk(65_536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        chunk(1_024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        chunk(0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    ]
    .concat();
    let trailer = "x-amz-checksum-crc32c:sOO8/Q==\r\n";
    let signature =
        "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n";
    let scope = Scope { date: "20130524", region: "us-east-1", service: "s3" };
    let decode = |announced: &[&str], body: &str| {
        let chunks = Chunks {
            key: SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", scope),
            time: "20130524T000000Z".to_owned(),
            scope: scope.to_string(),
            previous: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e".to_owned(),
            trailers: Some(announced.iter().map(|name| (*name).to_owned()).collect()),
        };
        chunks.decode(body.as_bytes())
    };
    let announced = &["x-amz-checksum-crc32c"];
    let whole = format!("{chunks}{trailer}{signature}\r\n");
    assert_eq!(whole.len(), 66_946, "its Content-Length");
    assert_eq!(decode(announced, &whole), Ok(vec![b'a'; 66_560]));
    assert_eq!(decode(announced, whole.strip_suffix("\r\n").unwrap()), Ok(vec![b'a'; 66_560]));
    let signed_by_another = whole.replace("d81f82", "d81f83");
    for changed in
        [whole.replace("sOO8", "sOO9"), whole.replace("aaaa\r\n0;", "aaab\r\n0;"), signed_by_another]
    {
        assert_eq!(decode(announced, &changed), Err(Error::Mismatch));
    }
    for broken in [
        chunks.clone(),
        format!("{chunks}\r\n"),
        format!("{chunks}{trailer}\r\n"),
        format!("{chunks}{signature}\r\n"),
        format!("{chunks}{signature}{trailer}\r\n"),
        format!("{chunks}{trailer}{trailer}{signature}\r\n"),
        format!("{chunks}{trailer}no colon\r\n{signature}\r\n"),
        format!("{whole}x"),
        format!("{chunks}{trailer}{}", signature.trim_end()),
    ] {
        assert!(matches!(decode(announced, &broken), Err(Error::Incomplete(_))), "{}", &broken[66_700..]);
    }
    for others in [&[][..], &["x-amz-checksum-crc32c", "x-amz-more"]] {
        assert!(matches!(decode(others, &whole), Err(Error::Incomplete(_))), "{others:?}");
    }
}

#[test]
fn bodies_of_other_kinds_are_named() {
    for kind in ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"] {
        let (mut headers, mut value) =
            (vec![("host", "x"), ("x-amz-content-sha256", kind), ("x-amz-date", TIME)], String::new());
        let request = signed_with(&mut headers, &mut value, kind, b"");
        let told = check_by(&request, CHUNKED).err().unwrap();
        assert!(
            matches!(&told, Error::Incomplete(text) if text.ends_with(&format!("Got '{kind}'."))),
            "{told}"
        );
        assert_eq!(check_by(&request, Accepts::default()).err(), Some(Error::Mismatch), "no chunks at all");
    }
}

#[test]
fn headers_that_are_no_signature_are_told_what_they_lack() {
    let told = |value| {
        let headers = [("host", "x"), ("x-amz-date", "20150830T123600Z"), ("authorization", value)];
        check(&Request { headers: &headers, ..SIGNED }, NOW_S).err().map(|error| error.to_string())
    };
    let lacks = |names: &[&str], hash: &str| {
        let names = names.iter().map(|name| format!("Authorization header requires '{name}' parameter. "));
        let names = names.collect::<String>();
        Some(format!("{names}(Hashed with SHA-256 and encoded with Base64) Authorization={hash}"))
    };
    let hash = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    assert_eq!(told("abc"), lacks(&["Credential", "Signature", "SignedHeaders"], hash));
    let hash = "WHtOF5cSYnsCBjySXlPrT/5ORyW9g45V+x35kxAQHQ0=";
    let cut = "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host";
    assert_eq!(told(cut), lacks(&["Signature"], hash));
    let pair = "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded \
                with Base64): 'w1Xc6WwWEogNEZQP/dkBTThsJT4MNlKmzQanIm970rY='.";
    assert_eq!(told("Bearer abc").as_deref(), Some(pair));
    let other = "AWS3 Credential=a, SignedHeaders=host, Signature=00";
    assert_eq!(told(other).as_deref(), Some("Unsupported AWS 'algorithm': 'AWS3'."));
}

#[test]
fn a_mismatch_is_explained() {
    let text = explain(&Request { query: "b=2&a=1", ..SIGNED }, Accepts::default()).unwrap();
    let hash = hex(digest::digest(&digest::SHA256, SIGNED.body).as_ref());
    let start = format!(
        "The Canonical String for this request should have been\n'PUT\n/tags/arn%253Aaws%253Aapigateway%253Aus-east-1\
         %253A%253A%252Frestapis%252Fabc\na=1&b=2\naccept:application/json\nhost:127.0.0.1:8081\n\
         x-amz-date:20150830T123600Z\n\naccept;host;x-amz-date\n{hash}'\n\nThe String-to-Sign should have been\n\
         'AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/apigateway/aws4_request\n"
    );
    assert!(text.starts_with(&start), "{text}");
    assert_eq!(explain(&Request { headers: &[], ..SIGNED }, Accepts::default()), None);
}

/// All of AWS's public suite: each canonical request, each signature, and each signed request verified.
#[test]
fn the_whole_public_suite() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/aws4_testsuite.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 34);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let (head, body) = text("request").split_once("\n\n").unwrap_or((text("request"), ""));
        // A line that starts with a space goes on with the value before (RFC 9112, section 5.2: obsolete).
        let head = head.replace("\n ", " ");
        let mut lines = head.lines();
        let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
        let target = rest.strip_suffix(" HTTP/1.1").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<_> = lines.map(|line| line.split_once(':').unwrap()).collect();
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        // One case is of a request that gets its session token while it is signed.
        let token = text("canonical")
            .split_once("x-amz-security-token:")
            .map(|(_, rest)| rest.lines().next().unwrap());
        if let Some(token) = token.filter(|_| headers.iter().all(|(name, _)| *name != "X-Amz-Security-Token"))
        {
            headers.push(("X-Amz-Security-Token", token));
        }
        headers.push(("Authorization", text("authorization")));
        let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
        let signed = text("authorization").split_once("SignedHeaders=").unwrap().1.split_once(',').unwrap().0;
        let signed: Vec<_> = signed.split(';').collect();
        assert_eq!(canonical::request(&request, &signed, None), text("canonical"), "{}", text("name"));
        let expected = Expected { region: Some("us-east-1"), service: "service", now_s: NOW_S };
        let verified = verify_by(&request, expected, Accepts::default(), |credential| {
            (credential.access_key == KEY).then(|| SigningKey::derive(SECRET, credential.scope))
        });
        assert!(verified.is_ok(), "{}: {:?}", text("name"), verified.err());
    }
}

/// "GET Object" of "Signature calculations: examples" (Amazon S3 API reference).
#[test]
fn s3_encodes_paths_once() {
    let headers = [
        ("Host", "examplebucket.s3.amazonaws.com"),
        ("Range", "bytes=0-9"),
        ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("x-amz-date", "20130524T000000Z"),
    ];
    let request = Request { method: "GET", path: "/test.txt", query: "", headers: &headers, body: b"" };
    let scope = Scope { date: "20130524", region: "us-east-1", service: "s3" };
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let signed = ["host", "range", "x-amz-content-sha256", "x-amz-date"];
    let made = crate::signature(&request, secret, scope, "20130524T000000Z", &signed);
    assert_eq!(made, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    let spaced = Request { path: "/a/../b//c%20d%2f", ..request };
    assert!(canonical::request_of_s3(&spaced, &signed).starts_with("GET\n/a/../b//c%20d%2F\n\n"));
    assert_eq!(crate::payload_hash(b""), headers[2].1);
}
