//! Credentials of every kind, none of them good: each is refused with AWS's status, error type and words. And what counts
//! over TLS only: certificates of clients, and bodies that no signature covers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use sluice_harness::pki::{Ca, Leaf, client, client_showing, connect};
use sluice_harness::rest::{RestApi, catalog, http_proxy, mock};
use sluice_harness::signer::now_s;
use sluice_harness::tokens::{base64url, claims, unsigned};
use sluice_harness::{
    Backend, Call, Gateway, Reply, Request, Response, Signer, TempDir, TokenKey, eventually,
};

const POOL: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Pool";
const ISSUER: &str = "https://issuer.example";
const API_KEY: &str = "a-key-of-twenty-characters";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const BASE: &str = "/restapis/a/s/_user_request_";

/// What a template tells of the client's certificate.
const CERTIFICATE: &str = "$context.identity.clientCert.subjectDN|$context.identity.clientCert.issuerDN|\
    $context.identity.clientCert.serialNumber|$context.identity.clientCert.validity.notBefore|\
    $context.identity.clientCert.validity.notAfter|$context.identity.clientCert.clientCertPem";

/// Knows one token, has withdrawn another, withdraws a third when it is told to, fails at a fourth, and lets nobody else in.
fn judge(request: &Request, withdrawn: bool) -> Reply {
    let event: Value = serde_json::from_slice(&request.body).unwrap();
    let said = event["authorizationToken"].as_str().or_else(|| event["headers"]["x-session"].as_str());
    let policy = |effect: &str| {
        let statement = json!({ "Effect": effect, "Action": "execute-api:Invoke", "Resource": "*" });
        let document = json!({ "Version": "2012-10-17", "Statement": [statement] });
        Reply::ok(json!({ "principalId": "ana", "policyDocument": document }).to_string())
    };
    let failed = |message: &str| {
        Reply::ok(json!({ "errorMessage": message }).to_string()).header("X-Amz-Function-Error", "Unhandled")
    };
    match said {
        Some("tok-good") => policy("Allow"),
        Some("tok-withdrawn") => policy("Deny"),
        Some("tok-once") => policy(if withdrawn { "Deny" } else { "Allow" }),
        Some("tok-crash") => failed("no luck"),
        _ => failed("Unauthorized"),
    }
}

fn authorizers() -> Value {
    let pool = "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_Pool";
    let function = "arn:aws:lambda:us-east-1:123456789012:function:judge";
    let uri = format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function}/invocations");
    let token = |id: &str, ttl_s: u32| {
        json!({
            "id": id, "name": id, "type": "TOKEN", "authorizerUri": uri, "authorizerResultTtlInSeconds": ttl_s,
            "identitySource": "method.request.header.Authorization", "identityValidationExpression": "tok-[a-z]+"
        })
    };
    let request = |id: &str, ttl_s: u32| {
        json!({
            "id": id, "name": id, "type": "REQUEST", "authorizerUri": uri, "authorizerResultTtlInSeconds": ttl_s,
            "identitySource": "method.request.header.X-Session, method.request.querystring.tenant"
        })
    };
    json!({
        "pool": {
            "id": "pool", "name": "pool", "type": "COGNITO_USER_POOLS", "providerARNs": [pool],
            "identitySource": "method.request.header.Authorization", "identityValidationExpression": "app"
        },
        "token": token("token", 0), "token-kept": token("token-kept", 3600), "token-brief": token("token-brief", 1),
        "request": request("request", 0), "request-brief": request("request-brief", 1),
    })
}

/// One method for each kind of credentials. `echo` is where bodies of signed requests go.
fn all_kinds(echo: &Backend) -> Value {
    let custom = |id: &str| json!({ "authorizationType": "CUSTOM", "authorizerId": id });
    let of_pool = json!({ "authorizationType": "COGNITO_USER_POOLS", "authorizerId": "pool" });
    let mut with_scopes = of_pool.clone();
    with_scopes["authorizationScopes"] = json!(["pets/read"]);
    let iam = json!({ "authorizationType": "AWS_IAM" });
    let to_echo = http_proxy(&format!("http://{}/", echo.addr()));
    let api = RestApi::new("a")
        .with("authorizers", authorizers())
        .method_with("GET", "/key", mock("in"), json!({ "apiKeyRequired": true }))
        .method_with("GET", "/iam", mock("in"), iam.clone())
        .method_with("POST", "/iam", to_echo, iam)
        .method_with("GET", "/pool", mock("in"), of_pool)
        .method_with("GET", "/scope", mock("in"), with_scopes)
        .method_with("GET", "/token", mock("in"), custom("token"))
        .method_with("GET", "/token-kept", mock("in"), custom("token-kept"))
        .method_with("GET", "/token-brief", mock("in"), custom("token-brief"))
        .method_with("GET", "/request", mock("in"), custom("request"))
        .method_with("GET", "/request-brief", mock("in"), custom("request-brief"))
        .method("GET", "/seen", mock(CERTIFICATE))
        .deploy("s");
    let other = RestApi::new("b").method("GET", "/", mock("other")).deploy("s");
    let mut catalog = catalog(&[api, other]);
    let key = |id: &str, value: &str, enabled: bool| json!({ "id": id, "name": id, "value": value, "enabled": enabled });
    catalog["apiKeys"] = json!({
        "k1": key("k1", API_KEY, true),
        "k2": key("k2", "a-disabled-key-of-characters", false),
        "k3": key("k3", "a-key-of-another-plan", true),
        "k4": key("k4", "a-key-of-no-plan-at-all", true),
    });
    let plan = |id: &str, api: &str, keys: &[&str]| {
        let keys: serde_json::Map<_, _> =
            keys.iter().map(|key| ((*key).to_owned(), json!({ "id": key, "type": "API_KEY" }))).collect();
        json!({ "id": id, "name": id, "apiStages": [{ "apiId": api, "stage": "s" }], "keys": keys })
    };
    catalog["usagePlans"] = json!({ "p1": plan("p1", "a", &["k1", "k2"]), "p2": plan("p2", "b", &["k3"]) });
    catalog["domainNames"] = json!({ "partner.test": {
        "domainName": "partner.test",
        "basePathMappings": { "v1": { "basePath": "v1", "restApiId": "a", "stage": "s" } }
    } });
    catalog
}

struct World {
    gateway: Gateway,
    servers: Ca,
    clients: Ca,
    key: TokenKey,
    echo: Backend,
    /// What `tok-once` is by now.
    withdrawn: Arc<AtomicBool>,
    _backends: [Backend; 2],
    _dir: TempDir,
}

fn world() -> World {
    let (servers, clients, dir) = (Ca::new("servers"), Ca::new("clients"), TempDir::new());
    let key = TokenKey::new("k1");
    let set = json!({ "keys": [key.jwk()] }).to_string();
    let issuer = Backend::start(move |_| Reply::ok(set.clone()));
    let withdrawn = Arc::<AtomicBool>::default();
    let is_withdrawn = Arc::clone(&withdrawn);
    let function = Backend::start(move |request| judge(request, is_withdrawn.load(Ordering::Relaxed)));
    let echo = Backend::start(|request| Reply::ok(request.text()));
    let ca_file = dir.file("clients.pem", &clients.pem());
    let certificate = |name: &str, host: &str, auth: &str| {
        let (cert, key) = servers.leaf(&[host]).write(dir.path(), name);
        format!(
            "[certificates.{name}]\ncert_file = {cert:?}\nkey_file = {key:?}\nclient_auth = \"{auth}\"\nclient_ca_file = {ca_file:?}\n"
        )
    };
    let jwks = format!("http://{}/keys", issuer.addr());
    let authorizer = |name: &str, more: &str| {
        format!(
            "[authorizers.{name}]\nissuer = \"{ISSUER}\"\njwks_url = \"{jwks}\"\naudiences = [\"app\"]\n{more}\
             [routes.{name}]\npath = \"/{name}\"\nmock_body = \"in\"\nauthorizer = \"{name}\"\n"
        )
    };
    let config = format!(
        "{}{}{}{}[functions.judge]\nendpoint_url = \"http://{}\"\n[access_keys.AKIDALL]\nsecret = \"{SECRET}\"\n\
         [access_keys.AKIDPAST]\nsecret = \"{SECRET}\"\nexpires = \"2020-01-01T00:00:00Z\"\n\
         [access_keys.AKIDOVER]\nsecret = \"{SECRET}\"\nsession_token = \"a-session\"\nexpires = \"2020-01-01T00:00:00Z\"\n\
         [access_keys.AKIDTEMP]\nsecret = \"{SECRET}\"\nsession_token = \"a-session\"\narn = \"arn:aws:sts::123456789012:assumed-role/R/s\"\n\
         [user_pools.eu-west-1_Pool]\njwks_url = \"{jwks}\"\n",
        certificate("open", "gateway.test", "optional"),
        certificate("closed", "partner.test", "required"),
        authorizer("login", ""),
        authorizer("scoped", "scopes = [\"pets/read\"]\n"),
        function.addr()
    );
    let gateway = Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]").start(&config);
    gateway.serve_catalog(&all_kinds(&echo));
    World { gateway, servers, clients, key, echo, withdrawn, _backends: [issuer, function], _dir: dir }
}

/// What a refusal says: the whole body, or, where it tells what should have been signed and when, how its message begins.
enum Body {
    Is(Value),
    Begins(&'static str),
}

/// A row: the kind of credentials, what is wrong with them, the request, and status, `x-amzn-ErrorType` and body of the answer.
type Row = (&'static str, &'static str, Call, u16, &'static str, Body);

fn message(text: &str) -> Body {
    Body::Is(json!({ "message": text }))
}

fn target(path: &str) -> String {
    format!("{BASE}{path}")
}

fn get(path: &str, header: &str, value: &str) -> Call {
    Call::get(&target(path)).header(header, value)
}

fn api_keys() -> Vec<Row> {
    let call = |value: &str| get("/key", "x-api-key", value);
    [
        ("none", Call::get(&target("/key"))),
        ("in the query", Call::get(&target(&format!("/key?x-api-key={API_KEY}")))),
        ("unknown", call("another-key-of-twenty-characters")),
        ("truncated", call(&API_KEY[..API_KEY.len() - 1])),
        ("longer", call(&format!("{API_KEY}x"))),
        ("in capitals", call(&API_KEY.to_uppercase())),
        ("its id", call("k1")),
        ("disabled", call("a-disabled-key-of-characters")),
        ("of another plan", call("a-key-of-another-plan")),
        ("of no plan", call("a-key-of-no-plan-at-all")),
    ]
    .map(|(name, call)| ("API key", name, call, 403, "ForbiddenException", message("Forbidden")))
    .into()
}

fn lambda_authorizers() -> Vec<Row> {
    let token = |value: &str| get("/token", "authorization", value);
    let request = |value: &str| get("/request?tenant=1", "x-session", value);
    let (of_token, of_request) = ("TOKEN authorizer", "REQUEST authorizer");
    let mut rows: Vec<Row> = [
        (of_token, "no token", Call::get(&target("/token"))),
        (of_token, "an empty token", token("")),
        (of_token, "against the expression", token("TOK-good")),
        (of_token, "longer than the expression", token("tok-good1")),
        (of_token, "unknown", token("tok-guess")),
        (of_token, "truncated", token("tok-goo")),
        (of_request, "no source", Call::get(&target("/request"))),
        (of_request, "one source of two", get("/request", "x-session", "tok-good")),
        (of_request, "an empty source", get("/request?tenant=", "x-session", "tok-good")),
        (of_request, "unknown", request("tok-guess")),
        (of_request, "truncated", request("tok-goo")),
    ]
    .map(|(kind, name, call)| (kind, name, call, 401, "UnauthorizedException", message("Unauthorized")))
    .into();
    let denied = "User is not authorized to access this resource with an explicit deny";
    let calls = |value: &str| [(of_token, token(value)), (of_request, request(value))];
    for (kind, call) in calls("tok-withdrawn") {
        let body = Body::Is(json!({ "Message": denied }));
        rows.push((kind, "denied", call, 403, "AccessDeniedException", body));
    }
    for (kind, call) in calls("tok-crash") {
        let body = Body::Is(json!({ "message": null }));
        rows.push((kind, "the function fails", call, 500, "AuthorizerConfigurationException", body));
    }
    rows
}

/// Tokens that neither a user pool nor an issuer takes: of `good` claims and others.
fn bad_tokens(key: &TokenKey, good: &dyn Fn(Value) -> Value) -> Vec<(&'static str, String)> {
    let (namesake, stranger) = (TokenKey::new("k1"), TokenKey::new("k9"));
    let (claims, of) = (good(json!({})), |more: Value| key.sign(&good(more)));
    let token = key.sign(&claims);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let root = base64url(good(json!({ "sub": "root" })).to_string().as_bytes());
    vec![
        ("words", "not-a-token".to_owned()),
        ("an API key", API_KEY.to_owned()),
        ("truncated", token[..token.len() - 10].to_owned()),
        ("truncated claims", format!("{}.{signature}", &signed[..signed.len() - 8])),
        ("no signature", format!("{signed}.")),
        ("other claims", format!("{header}.{root}.{signature}")),
        ("forged by a namesake", namesake.sign(&claims)),
        ("an unknown key", stranger.sign(&claims)),
        ("alg none", format!("{}.", unsigned(&json!({ "alg": "none" }), &claims))),
        ("alg none, signed", key.sign_with(json!({ "alg": "none" }), &claims)),
        ("HMAC with the public key", key.confused(&claims)),
        ("a key of its own", namesake.sign_with(json!({ "jwk": namesake.jwk() }), &claims)),
        ("expired, forged", namesake.sign(&good(json!({ "exp": 2 })))),
        ("not valid yet", of(json!({ "nbf": now_s() + 600 }))),
        ("issued in the future", of(json!({ "iat": now_s() + 600 }))),
        ("no end", of(json!({ "exp": null }))),
        ("of another issuer", of(json!({ "iss": "https://elsewhere.example" }))),
        ("for another audience", of(json!({ "aud": "another" }))),
        ("for another client", of(json!({ "aud": null, "client_id": "another" }))),
    ]
}

fn with(more: Value, issuer: &str, usual: &Value) -> Value {
    let mut all = usual.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims(issuer, all)
}

fn user_pools(key: &TokenKey) -> Vec<Row> {
    let kind = "Cognito";
    let id = |more: Value| with(more, POOL, &json!({ "token_use": "id", "aud": "app" }));
    let access = json!({ "token_use": "access", "client_id": "app", "scope": "openid" });
    let access = |more: Value| key.sign(&with(more, POOL, &access));
    let mut tokens: Vec<_> =
        bad_tokens(key, &id).into_iter().map(|(name, token)| (name, "/pool", token)).collect();
    tokens.push(("an access token without scopes", "/pool", access(json!({}))));
    tokens.push(("of an unknown use", "/pool", key.sign(&id(json!({ "token_use": "refresh" })))));
    tokens.push(("an id token for scopes", "/scope", key.sign(&id(json!({ "scope": "pets/read" })))));
    let refused = |name, call| (kind, name, call, 401, "UnauthorizedException", message("Unauthorized"));
    let mut rows = vec![refused("none", Call::get(&target("/pool")))];
    for (name, path, token) in tokens {
        rows.push(refused(name, get(path, "authorization", &format!("Bearer {token}"))));
    }
    let expired = get("/pool", "authorization", &key.sign(&id(json!({ "iat": 1, "exp": now_s() - 60 }))));
    let body = message("The incoming token has expired");
    rows.push((kind, "expired", expired, 401, "UnauthorizedException", body));
    let scope = get("/scope", "authorization", &access(json!({})));
    let body = Body::Is(json!({ "Message": "User is not authorized to access this resource" }));
    rows.push((kind, "a missing scope", scope, 403, "AccessDeniedException", body));
    rows
}

fn issuers(key: &TokenKey) -> Vec<Row> {
    let kind = "JWT";
    let good = |more: Value| with(more, ISSUER, &json!({ "aud": "app" }));
    let call = |path: &str, token: &str| Call::get(path).header("authorization", &format!("Bearer {token}"));
    let refused = |name, call| (kind, name, call, 401, "UnauthorizedException", message("Unauthorized"));
    let mut rows = vec![refused("none", Call::get("/login"))];
    for (name, token) in bad_tokens(key, &good) {
        rows.push(refused(name, call("/login", &token)));
    }
    let expired = key.sign(&good(json!({ "iat": 1, "exp": now_s() - 60 })));
    rows.push(refused("expired", call("/login", &expired)));
    for (name, scope) in [("no scope", Value::Null), ("another scope", json!("pets/reads"))] {
        let call = call("/scoped", &key.sign(&good(json!({ "scope": scope }))));
        rows.push((kind, name, call, 403, "ForbiddenException", message("Forbidden")));
    }
    rows
}

const MISMATCH: Body =
    Body::Begins("The request signature we calculated does not match the signature you provided. ");
const INVALID: &str = "InvalidSignatureException";
const INCOMPLETE: &str = "IncompleteSignatureException";

/// A request signed by a key with one thing wrong.
fn wrong(key: &str, change: impl FnOnce(&mut Signer)) -> Call {
    Signer::new(key, SECRET).but(change).sign("GET", &target("/iam"), "", &[])
}

fn signatures() -> Vec<Row> {
    let kind = "SigV4";
    let scope = |text: &'static str| Body::Begins(text);
    let unknown = || message("The security token included in the request is invalid.");
    let token = |key: &str, token: &str| wrong(key, |s| s.token = Some(token.to_owned()));
    let forged = Signer::new("AKIDTEMP", "a-guess").but(|s| s.token = Some("a-session".to_owned()));
    let forged = forged.sign("GET", &target("/iam"), "", &[]);
    let header = |value: &str| get("/iam", "authorization", value).header("x-amz-date", "20300101T000000Z");
    let bad = |name, call, error_type, body| (kind, name, call, 403, error_type, body);
    let none = message("Missing Authentication Token");
    let expired = || message("The security token included in the request is expired");
    let client = "UnrecognizedClientException";
    let bearer = message(
        "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with \
         Base64): 'w1Xc6WwWEogNEZQP/dkBTThsJT4MNlKmzQanIm970rY='.",
    );
    let needs = |more: &str, date: &str, hash: &str| {
        let text = format!(
            "{more}Authorization header requires 'Signature' parameter. Authorization header requires \
             'SignedHeaders' parameter. {date}(Hashed with SHA-256 and encoded with Base64) Authorization={hash}"
        );
        Body::Is(json!({ "message": text }))
    };
    let cut_short = needs("", "", "520Nq5bS80gLhTcgcZzjkP74XCXMcdxItgMCiiN4K6U=");
    let word = needs(
        "Authorization header requires 'Credential' parameter. ",
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
    );
    vec![
        bad("none", Call::get(&target("/iam")), "MissingAuthenticationTokenException", none),
        bad("a bearer token", header("Bearer abc"), INCOMPLETE, bearer),
        bad("cut short", header("AWS4-HMAC-SHA256 Credential=a"), INCOMPLETE, cut_short),
        bad("a word", get("/iam", "authorization", "abc"), INCOMPLETE, word),
        bad("wrong secret", wrong("AKIDALL", |s| s.secret = "a-guess".to_owned()), INVALID, MISMATCH),
        bad("unknown access key", wrong("AKIDNONE", |_| {}), client, unknown()),
        bad(
            "wrong region",
            wrong("AKIDALL", |s| s.region = "eu-west-1".to_owned()),
            INVALID,
            scope("Credential should be scoped to a valid region"),
        ),
        bad(
            "wrong service",
            wrong("AKIDALL", |s| s.service = "s3".to_owned()),
            INVALID,
            scope("Credential should be scoped to correct service: 'execute-api'"),
        ),
        bad("too old", wrong("AKIDALL", |s| s.time_s -= 310), INVALID, scope("Signature expired: ")),
        bad("too new", wrong("AKIDALL", |s| s.time_s += 330), INVALID, scope("Signature not yet current: ")),
        bad("no session token", wrong("AKIDTEMP", |_| {}), client, unknown()),
        bad("wrong session token", token("AKIDTEMP", "another"), client, unknown()),
        bad("truncated session token", token("AKIDTEMP", "a-sessio"), client, unknown()),
        bad("a session token too many", token("AKIDALL", "a-session"), client, unknown()),
        bad("credentials that ended", wrong("AKIDPAST", |_| {}), "ExpiredTokenException", expired()),
        bad("a session that ended", token("AKIDOVER", "a-session"), "ExpiredTokenException", expired()),
        bad("a session that ended, wrong token", token("AKIDOVER", "another"), client, unknown()),
        bad(
            "a session token that was not signed",
            wrong("AKIDTEMP", |_| {}).header("x-amz-security-token", "a-session"),
            INCOMPLETE,
            scope("'x-amz-security-token' must be a 'SignedHeader' in the AWS Authorization."),
        ),
        bad("a session of a wrong secret", forged, INVALID, MISMATCH),
    ]
}

/// Signatures that are not of this request.
fn signatures_of_others() -> Vec<Row> {
    let sign = |method: &str, path: &str, body: &str| {
        let headers = [("x-amz-meta", "a")];
        Signer::new("AKIDALL", SECRET).sign(method, &target(path), body, &headers)
    };
    let swap = |call: Call, from: &str, to: &str| {
        let text = String::from_utf8(call.bytes()).unwrap();
        let authorization = text.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap();
        let date = text.lines().find_map(|line| line.strip_prefix("x-amz-date: ")).unwrap();
        let value = authorization.replace(from, to);
        get("/iam", "authorization", &value).header("x-amz-date", date).header("x-amz-meta", "a")
    };
    let today = sluice_sigv4::amz_date(now_s())[..8].to_owned();
    let signature = |call: &Call| {
        let text = String::from_utf8(call.bytes()).unwrap();
        text.split_once("Signature=").unwrap().1[..64].to_owned()
    };
    let good = sign("GET", "/iam", "");
    let truncated = signature(&good);
    let post = |body: &str| sign("POST", "/iam", "the body").body(body);
    let mut rows: Vec<Row> = [
        ("truncated signature", swap(good.clone(), &truncated, &truncated[..63])),
        ("another signature", swap(good.clone(), &truncated, &signature(&sign("GET", "/key", "")))),
        ("another method", swap(sign("DELETE", "/iam", ""), "", "")),
        ("another path", swap(sign("GET", "/key", ""), "", "")),
        ("another query", swap(sign("GET", "/iam?a=1", ""), "", "")),
        ("another body", post("the bodx")),
        ("a truncated body", post("the bod")),
    ]
    .map(|(name, call)| ("SigV4", name, call, 403, INVALID, MISMATCH))
    .into();
    // The same header with another value, and one more that was not signed.
    let text = swap(good.clone(), "", "").header("x-amz-meta", "b");
    rows.push(("SigV4", "another header", text, 403, INVALID, MISMATCH));
    let more = Body::Begins("'x-amz-more' must be a 'SignedHeader' in the AWS Authorization.");
    rows.push(("SigV4", "a header too many", good.clone().header("x-amz-more", "1"), 403, INCOMPLETE, more));
    let scope =
        Body::Begins("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date");
    rows.push(("SigV4", "wrong date", swap(good, &today, "20200101"), 403, INVALID, scope));
    rows
}

fn presigned() -> Vec<Row> {
    let kind = "SigV4 in the query";
    let sign = |change: fn(&mut Signer), expires_s| {
        Signer::new("AKIDALL", SECRET).but(change).presign(&target("/iam"), expires_s)
    };
    let good = sign(|_| {}, 60);
    let bad = |name, target: &str, error_type, body| (kind, name, Call::get(target), 403, error_type, body);
    let scope = |text: &'static str| Body::Begins(text);
    let unknown = || message("The security token included in the request is invalid.");
    let client = "UnrecognizedClientException";
    let session = |key: &str, token: Option<&str>| {
        let with_token = |s: &mut Signer| s.token = token.map(str::to_owned);
        Signer::new(key, SECRET).but(with_token).presign(&target("/iam"), 60)
    };
    let ended = message("The security token included in the request is expired");
    let weeks = Body::Begins("X-Amz-Expires must be less than a week");
    vec![
        bad("expired", &sign(|s| s.time_s -= 61, 60), INVALID, Body::Begins("Signature expired: ")),
        bad("prolonged", &good.replace("Expires=60", "Expires=600"), INVALID, MISMATCH),
        bad("valid for too long", &sign(|_| {}, 604_801), INCOMPLETE, weeks),
        bad("truncated signature", &good[..good.len() - 1], INVALID, MISMATCH),
        bad("a parameter more", &good.replace("/iam?", "/iam?a=1&"), INVALID, MISMATCH),
        bad("wrong secret", &sign(|s| s.secret = "a-guess".to_owned(), 60), INVALID, MISMATCH),
        bad("unknown access key", &sign(|s| s.key = "AKIDNONE".to_owned(), 60), client, unknown()),
        bad(
            "wrong region",
            &sign(|s| s.region = "eu-west-1".to_owned(), 60),
            INVALID,
            scope("Credential should be scoped to a valid region"),
        ),
        bad(
            "wrong service",
            &sign(|s| s.service = "s3".to_owned(), 60),
            INVALID,
            scope("Credential should be scoped to correct service: 'execute-api'"),
        ),
        bad("too new", &sign(|s| s.time_s += 330, 60), INVALID, scope("Signature not yet current: ")),
        bad("no session token", &session("AKIDTEMP", None), client, unknown()),
        bad("wrong session token", &session("AKIDTEMP", Some("another")), client, unknown()),
        bad("truncated session token", &session("AKIDTEMP", Some("a-sessio")), client, unknown()),
        bad("a session that ended", &session("AKIDOVER", Some("a-session")), "ExpiredTokenException", ended),
    ]
}

const TRAILER: (&str, &str) = ("x-amz-meta-sum", "3610");

/// Bodies of signed chunks, and those that no signature covers.
fn payloads() -> Vec<Row> {
    let kind = "SigV4 of a body";
    let sign = |change: &dyn Fn(&mut Vec<String>)| {
        let signer = Signer::new("AKIDALL", SECRET);
        let (call, mut chunks) = signer.sign_chunks(&target("/iam"), &["hello ", "world"]);
        change(&mut chunks);
        call.body(chunks.concat())
    };
    let forged = Signer::new("AKIDALL", "a-guess").sign_chunks(&target("/iam"), &["hello ", "world"]).1;
    let malformed = || message("The body is not aws-chunked.");
    let literal =
        |literal: &str| Signer::new("AKIDALL", SECRET).sign_payload("POST", &target("/iam"), literal).0;
    let replace = |from: &'static str, to: &'static str| {
        sign(&move |chunks| chunks.iter_mut().for_each(|chunk| *chunk = chunk.replace(from, to)))
    };
    vec![
        (kind, "a changed chunk", replace("world", "xorld"), 403, INVALID, MISMATCH),
        (kind, "chunks of another secret", sign(&|c| c.clone_from(&forged)), 403, INVALID, MISMATCH),
        (kind, "chunks in another order", sign(&|c| c.swap(0, 1)), 403, INVALID, MISMATCH),
        (kind, "a chunk left out", sign(&|c| drop(c.remove(1))), 403, INVALID, MISMATCH),
        (kind, "a chunk twice", sign(&|c| c.insert(0, c[0].clone())), 403, INVALID, MISMATCH),
        (kind, "the last chunk left out", sign(&|c| drop(c.pop())), 403, INCOMPLETE, malformed()),
        (kind, "chunks without signatures", replace(";chunk-signature=", ";"), 403, INCOMPLETE, malformed()),
        (kind, "more after the end", sign(&|c| c.push("x".to_owned())), 403, INCOMPLETE, malformed()),
        (
            kind,
            "no chunks at all",
            sign(&|c| *c = vec!["hello world".to_owned()]),
            403,
            INCOMPLETE,
            malformed(),
        ),
        // In clear text whoever sees it may change it.
        (kind, "unsigned, in clear text", literal("UNSIGNED-PAYLOAD").body("any"), 403, INVALID, MISMATCH),
        (
            kind,
            "the hash of another",
            literal(&sluice_sigv4::payload_hash(b"a")).body("b"),
            403,
            INVALID,
            MISMATCH,
        ),
    ]
}

/// To a host that requires certificates of clients, where none can be shown. What is wrong with one that is shown ends the
/// handshake, see below.
fn certificates() -> Vec<Row> {
    let call = |target: &str| Call::get(target).host("partner.test");
    [("none, in clear text", call("/v1/seen")), ("none, past the domain name", call(&target("/seen")))]
        .map(|(name, call)| ("certificate", name, call, 403, "ForbiddenException", message("Forbidden")))
        .into()
}

/// Good until now, and let in: what a core remembers of it has run out, and what is found out anew counts.
fn run_out(world: &World) -> Vec<Row> {
    // Tokens are good for 30 seconds longer than they say.
    let soon = || json!({ "iat": 1, "exp": now_s() - 25 });
    let id = json!({ "token_use": "id", "aud": "app" });
    let bearer = |claims: Value| format!("Bearer {}", world.key.sign(&claims));
    let token = |path: &str| get(path, "authorization", "tok-once");
    let denied = "User is not authorized to access this resource with an explicit deny";
    let denied = || Body::Is(json!({ "Message": denied }));
    let (deny, unauthorized) = ("AccessDeniedException", "UnauthorizedException");
    let request = get("/request-brief?tenant=1", "x-session", "tok-once");
    let login = |claims| Call::get("/login").header("authorization", &bearer(claims));
    let rows: Vec<Row> = vec![
        ("TOKEN authorizer", "an answer that has run out", token("/token-brief"), 403, deny, denied()),
        ("REQUEST authorizer", "an answer that has run out", request, 403, deny, denied()),
        (
            "Cognito",
            "expired since it was believed",
            get("/pool", "authorization", &bearer(with(soon(), POOL, &id))),
            401,
            unauthorized,
            message("The incoming token has expired"),
        ),
        (
            "JWT",
            "expired since it was believed",
            login(with(soon(), ISSUER, &json!({ "aud": "app" }))),
            401,
            unauthorized,
            message("Unauthorized"),
        ),
    ];
    // One connection: one core.
    let mut conn = world.gateway.conn();
    let kept = token("/token-kept");
    for call in rows.iter().map(|row| &row.2).chain([&kept]) {
        assert_eq!(conn.call(call).text(), "in", "{call:?}");
    }
    world.withdrawn.store(true, Ordering::Relaxed);
    for (kind, name, call, ..) in &rows {
        eventually(&format!("{kind}: {name}"), || (conn.call(call).text() != "in").then_some(()));
    }
    assert_eq!(conn.call(&kept).text(), "in", "not asked about again yet");
    rows
}

/// Bodies of chunks with trailers.
fn trailers() -> Vec<Row> {
    let kind = "SigV4 of trailers";
    let trailed = |change: &dyn Fn(&mut Vec<String>)| {
        let (call, mut parts) = Signer::new("AKIDALL", SECRET).sign_chunks_and_trailer(
            &target("/iam"),
            &["hello ", "world"],
            TRAILER,
        );
        change(&mut parts);
        call.body(parts.concat())
    };
    let malformed = || message("The body is not aws-chunked.");
    let (unsigned, _) = Signer::new("AKIDALL", SECRET).sign_payload(
        "POST",
        &target("/iam"),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    );
    vec![
        (
            kind,
            "a changed trailer",
            trailed(&|c| c[3] = c[3].replace("3610", "3611")),
            403,
            INVALID,
            MISMATCH,
        ),
        (kind, "the trailer left out", trailed(&|c| drop(c.pop())), 403, INCOMPLETE, malformed()),
        (
            kind,
            "unsigned chunks",
            unsigned.body("3\r\nany\r\n0\r\n\r\n"),
            403,
            INCOMPLETE,
            message(
                "Value of 'x-amz-content-sha256' must be the SHA-256 of the body, 'UNSIGNED-PAYLOAD', \
                 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' or 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER'. Got \
                 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'.",
            ),
        ),
    ]
}

/// A refusal that is not as its row says, if it is not.
fn found(response: &Response, (kind, name, _, status, error_type, body): &Row) -> Option<String> {
    let (json, type_found) = (response.json(), response.header("x-amzn-errortype"));
    let told = json.get("message").or_else(|| json.get("Message")).and_then(Value::as_str);
    let is_so = match body {
        Body::Is(body) => json == *body,
        Body::Begins(start) => told.is_some_and(|told| told.starts_with(start)),
    };
    let is_so = is_so && response.status == *status && type_found == Some(*error_type);
    (!is_so).then(|| format!("{kind}, {name}: {} {type_found:?} {json}", response.status))
}

#[test]
fn bad_credentials_of_every_kind_are_refused_in_awss_words() {
    let world = world();
    let kinds = [
        api_keys(),
        lambda_authorizers(),
        user_pools(&world.key),
        issuers(&world.key),
        signatures(),
        signatures_of_others(),
        presigned(),
        payloads(),
        trailers(),
        certificates(),
        run_out(&world),
    ];
    let mut wrong = Vec::new();
    for row in kinds.into_iter().flatten() {
        let response = world.gateway.call(&row.2);
        response.assert_request_id();
        wrong.extend(found(&response, &row));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.echo.hits(), 0, "nothing of a body that is not believed goes on");
    // Each kind has good ones, too.
    let id = world.key.sign(&claims(POOL, json!({ "token_use": "id", "aud": "app" })));
    let access = json!({ "token_use": "access", "client_id": "app", "scope": "openid pets/read" });
    let access = world.key.sign(&claims(POOL, access));
    let login = world.key.sign(&claims(ISSUER, json!({ "aud": "app", "scope": "pets/read" })));
    for call in [
        get("/key", "x-api-key", API_KEY),
        wrong_in_nothing(),
        Call::get(&Signer::new("AKIDALL", SECRET).presign(&target("/iam"), 60)),
        get("/pool", "authorization", &id),
        get("/scope", "authorization", &access),
        Call::get("/login").header("authorization", &format!("Bearer {login}")),
        Call::get("/scoped").header("authorization", &format!("Bearer {login}")),
        get("/token", "authorization", "tok-good"),
        get("/request?tenant=1", "x-session", "tok-good"),
    ] {
        assert_eq!(world.gateway.call(&call).text(), "in", "{call:?}");
    }
}

fn wrong_in_nothing() -> Call {
    wrong("AKIDTEMP", |signer| signer.token = Some("a-session".to_owned()))
}

/// Over TLS to this host, showing this certificate.
fn over_tls(world: &World, host: &str, leaf: Option<&Leaf>, call: &Call) -> std::io::Result<Response> {
    let config = client(&world.servers, &[&TLS13], leaf);
    connect(&Arc::clone(&config), world.gateway.tls_addr(), host)?.try_call(&call.clone().host(host))
}

#[test]
fn client_certificates_that_are_not_good_end_the_handshake() {
    let world = world();
    let known = world.clients.client("device-7");
    let call = Call::get("/v1/seen");
    assert_eq!(over_tls(&world, "partner.test", Some(&known), &call).unwrap().status, 200);
    let stranger = Ca::new("clients").client("device-7");
    let ended = world.clients.ended_client("device-7");
    let of_server = world.servers.leaf(&["device-7"]);
    let whole = known.chain();
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut der = whole[0].to_vec();
        change(&mut der);
        vec![CertificateDer::from(der)]
    };
    let truncated = changed(|der| der.truncate(der.len() - 10));
    // The last byte is of the authority's signature, the other one of the name.
    let forged = changed(|der| *der.last_mut().unwrap() ^= 1);
    let renamed = changed(|der| {
        let at = der.windows(8).position(|bytes| bytes == b"device-7").unwrap();
        der[at + 7] = b'8';
    });
    for (name, shown, reason) in [
        ("none", None, "no_certificate"),
        ("of another authority of the same name", Some((stranger.chain(), &stranger)), "bad_certificate"),
        ("of the server's authority", Some((of_server.chain(), &of_server)), "bad_certificate"),
        ("expired", Some((ended.chain(), &ended)), "bad_certificate"),
        ("truncated", Some((truncated, &known)), "bad_certificate"),
        ("a forged signature", Some((forged, &known)), "bad_certificate"),
        ("another name", Some((renamed, &known)), "bad_certificate"),
        ("somebody else's", Some((whole.clone(), &stranger)), "bad_certificate"),
    ] {
        let failures =
            || world.gateway.metrics().sum("sluice_tls_handshake_failures_total", &[("reason", reason)]);
        let before = failures();
        let config = |version| match &shown {
            None => client(&world.servers, &[version], None),
            Some((chain, key)) => client_showing(&world.servers, &[version], chain, key),
        };
        let connect = |version| connect(&config(version), world.gateway.tls_addr(), "partner.test");
        let answer = connect(&TLS13).and_then(|mut conn| conn.try_call(&call.clone().host("partner.test")));
        assert!(answer.is_err(), "{name}");
        // Here it is the handshake that fails: with TLS 1.3 clients hear of it after theirs has ended.
        assert!(connect(&TLS12).is_err(), "{name}");
        eventually(&format!("{name}: both are counted"), || (failures() == before + 2.0).then_some(()));
    }
}

#[test]
fn methods_behind_a_domain_name_see_the_certificate_of_the_client() {
    let world = world();
    let known = world.clients.client("device-7");
    let seen = over_tls(&world, "partner.test", Some(&known), &Call::get("/v1/seen")).unwrap();
    let text = seen.text();
    let fields: Vec<&str> = text.split('|').collect();
    assert_eq!(&fields[..2], ["CN=device-7", "CN=clients"], "{text}");
    let octets: Vec<&str> = fields[2].split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(octets.len() > 7 && octets.iter().all(is_octet), "{text}");
    // The dates that the harness's certificates have.
    assert_eq!(&fields[3..5], ["Jan  1 00:00:00 1975 GMT", "Jan  1 00:00:00 4096 GMT"], "{text}");
    let words = |pem: &str| pem.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(fields[5]), words(&known.cert), "the certificate itself");
    // Where a certificate is optional, nobody has one unless it was shown.
    let nobody = over_tls(&world, "gateway.test", None, &Call::get(&target("/seen"))).unwrap();
    assert_eq!(nobody.text(), "|||||");
}

#[test]
fn bodies_may_be_unsigned_over_tls_and_come_in_signed_chunks() {
    let world = world();
    let signer = Signer::new("AKIDALL", SECRET);
    // The signature says that it does not cover the body, so any will do.
    let (unsigned, _) = signer.sign_payload("POST", &target("/iam"), "UNSIGNED-PAYLOAD");
    for body in ["one", "another"] {
        let call = unsigned.clone().body(body);
        assert_eq!(over_tls(&world, "gateway.test", None, &call).unwrap().text(), body);
        assert_eq!(world.gateway.call(&call).header("x-amzn-errortype"), Some(INVALID), "in clear text");
    }
    // All else it covers over TLS, too.
    let (forged, _) =
        Signer::new("AKIDALL", "a-guess").sign_payload("POST", &target("/iam"), "UNSIGNED-PAYLOAD");
    let refused = over_tls(&world, "gateway.test", None, &forged.body("one")).unwrap();
    assert_eq!((refused.status, refused.header("x-amzn-errortype")), (403, Some(INVALID)));
    // The backend gets the data of the chunks, with TLS and without.
    let (call, chunks) = signer.sign_chunks(&target("/iam"), &["hello ", "world"]);
    let call = call.body(chunks.concat());
    assert_eq!(over_tls(&world, "gateway.test", None, &call).unwrap().text(), "hello world");
    assert_eq!(world.gateway.call(&call).text(), "hello world");
    let (call, parts) = signer.sign_chunks_and_trailer(&target("/iam"), &["hello ", "world"], TRAILER);
    assert_eq!(world.gateway.call(&call.body(parts.concat())).text(), "hello world");
}
