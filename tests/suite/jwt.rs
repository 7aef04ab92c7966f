//! Tokens: JWT authorizers of routes, and user pools of REST APIs.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, mock};
use sluice_harness::signer::now_s;
use sluice_harness::tokens::{base64url, claims, unsigned};
use sluice_harness::{Backend, Call, Gateway, Reply, Response, TokenKey, eventually};

const ISSUER: &str = "https://issuer.example";
const POOL: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Pool";

/// A server of one key set that can fail and change.
struct Issuer {
    backend: Backend,
    served: Arc<Mutex<Option<Value>>>,
}

impl Issuer {
    fn of(keys: &[&TokenKey]) -> Self {
        let served = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&served);
        let backend = Backend::start(move |_| match seen.lock().unwrap().as_ref() {
            Some(set) => Reply::ok(Value::to_string(set)),
            None => Reply::empty(503),
        });
        let issuer = Self { backend, served };
        issuer.serve(keys);
        issuer
    }

    fn serve(&self, keys: &[&TokenKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        *self.served.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    fn fail(&self) {
        *self.served.lock().unwrap() = None;
    }

    fn url(&self) -> String {
        format!("http://{}/keys", self.backend.addr())
    }
}

/// `/open` takes any token of the issuer for `app`, `/scoped` one with a scope.
fn gateway(issuer: &Issuer) -> Gateway {
    let url = issuer.url();
    Gateway::start(&format!(
        "[authorizers.any]\nissuer = \"{ISSUER}\"\njwks_url = \"{url}\"\naudiences = [\"app\", \"other\"]\n\
         [authorizers.scoped]\nissuer = \"{ISSUER}\"\njwks_url = \"{url}\"\naudiences = [\"app\"]\nscopes = [\"pets/read\", \"pets/write\"]\n\
         [routes.open]\npath = \"/open\"\nmock_body = \"in\"\nauthorizer = \"any\"\n\
         [routes.scoped]\npath = \"/scoped\"\nmock_body = \"in\"\nauthorizer = \"scoped\"\n\
         [user_pools.eu-west-1_Pool]\njwks_url = \"{url}\"\n"
    ))
}

fn ask(gateway: &Gateway, path: &str, token: &str) -> Response {
    gateway.call(&Call::get(path).header("authorization", token))
}

fn for_app(more: Value) -> Value {
    let mut all = claims(ISSUER, json!({ "aud": "app" }));
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

#[test]
fn tokens_for_an_audience_are_accepted() {
    let key = TokenKey::new("k1");
    let issuer = Issuer::of(&[&key]);
    let gateway = gateway(&issuer);
    for claims in [
        for_app(json!({})),
        for_app(json!({ "aud": ["x", "other"] })),
        claims(ISSUER, json!({ "client_id": "app" })),
        for_app(json!({ "nbf": now_s(), "token_use": "whatever" })),
    ] {
        let token = key.sign(&claims);
        for value in [format!("Bearer {token}"), format!("bearer  {token}"), token.clone()] {
            assert_eq!(ask(&gateway, "/open", &value).text(), "in", "{claims}");
        }
    }
    assert_eq!(issuer.backend.hits(), 1, "one key set for both authorizers");
    eventually("the caller in the access log", || {
        gateway.stdout().contains("\"principalId\":\"ana\"").then_some(())
    });
}

/// Each with what `WWW-Authenticate` says of it.
fn bad_tokens(key: &TokenKey, good: &dyn Fn(Value) -> Value) -> Vec<(&'static str, String, &'static str)> {
    let forger = TokenKey::new("k1");
    let stranger = TokenKey::new("k2");
    let token = key.sign(&good(json!({})));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let claims = good(json!({}));
    let with = |header: Value| key.sign_with(header, &claims);
    let of = |more: Value| key.sign(&good(more));
    let other_payload = {
        let payload = base64url(good(json!({ "sub": "root" })).to_string().as_bytes());
        format!("{}.{payload}.{signature}", signed.split('.').next().unwrap())
    };
    vec![
        ("words", "Basic YTpi".to_owned(), "malformed"),
        ("not three parts", "a.b".to_owned(), "malformed"),
        ("no base64", "a.b.c".to_owned(), "malformed"),
        ("no signature", format!("{signed}."), "signature"),
        ("truncated", token[..token.len() - 4].to_owned(), ""),
        ("truncated payload", format!("{}.{signature}", &signed[..signed.len() - 4]), ""),
        ("other payload", other_payload, "signature"),
        ("forged by a namesake", forger.sign(&claims), "signature"),
        ("key of a stranger", stranger.sign(&claims), "unknown key"),
        ("alg none", format!("{}.", unsigned(&json!({ "alg": "none" }), &claims)), "algorithm"),
        ("alg none, signed", with(json!({ "alg": "none" })), "algorithm"),
        ("HMAC with the public key", key.confused(&claims), "algorithm"),
        ("another family", with(json!({ "alg": "ES256" })), "unknown key"),
        ("another hash", with(json!({ "alg": "RS512" })), "unknown key"),
        ("critical", with(json!({ "crit": ["exp"] })), "malformed"),
        ("key within", forger.sign_with(json!({ "jwk": forger.jwk() }), &claims), "signature"),
        ("key elsewhere", forger.sign_with(json!({ "jku": "http://127.0.0.1:1/" }), &claims), "signature"),
        ("expired", of(json!({ "exp": now_s() - 60 })), "expired"),
        ("no end", of(json!({ "exp": "never" })), "malformed"),
        ("not yet", of(json!({ "nbf": now_s() + 120 })), "not valid yet"),
        ("of the future", of(json!({ "iat": now_s() + 120 })), "in the future"),
        ("another issuer", of(json!({ "iss": format!("{ISSUER}/") })), "issuer"),
        ("too long", format!("{token}{}", "a".repeat(5_000)), ""),
    ]
}

#[test]
fn what_is_no_good_token_is_refused_as_http_apis_do() {
    let key = TokenKey::new("k1");
    let issuer = Issuer::of(&[&key]);
    let gateway = gateway(&issuer);
    let mut cases = bad_tokens(&key, &for_app);
    cases.push(("another audience", key.sign(&for_app(json!({ "aud": "ap" }))), "audience"));
    for (name, token, told) in cases {
        let response = ask(&gateway, "/open", &format!("Bearer {token}"));
        println!("{name}");
        response.assert_refusal(401, "Unauthorized", "UnauthorizedException");
        let challenge = response.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\" error_description=\""), "{challenge}");
        assert!(challenge.contains(told), "{name}: {challenge}");
    }
    let none = gateway.get("/open");
    none.assert_refusal(401, "Unauthorized", "UnauthorizedException");
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    let token = format!("Bearer {}", key.sign(&for_app(json!({}))));
    let twice = Call::get("/open").header("authorization", &token).header("authorization", &token);
    assert_eq!(gateway.call(&twice).status, 401);
    assert_eq!(ask(&gateway, "/open", &token).status, 200);
    assert!(issuer.backend.hits() <= 3, "unknown keys cost the issuer little: {}", issuer.backend.hits());
}

#[test]
fn scopes_are_asked_for() {
    let key = TokenKey::new("k1");
    let issuer = Issuer::of(&[&key]);
    let gateway = gateway(&issuer);
    for (scope, expected) in [
        (json!("openid pets/write"), 200),
        (json!("pets/read"), 200),
        (json!("pets/reads pets"), 403),
        (json!(""), 403),
        (Value::Null, 403),
    ] {
        let token = key.sign(&for_app(json!({ "scope": scope })));
        let response = ask(&gateway, "/scoped", &format!("Bearer {token}"));
        assert_eq!(response.status, expected, "{scope}");
        if expected == 403 {
            response.assert_refusal(403, "Forbidden", "ForbiddenException");
            let challenge = response.header("www-authenticate").unwrap();
            assert!(
                challenge.starts_with("Bearer scope=\"pets/read pets/write\" error=\"insufficient_scope\"")
            );
        }
        // What one authorizer accepts says nothing of another.
        assert_eq!(ask(&gateway, "/open", &token).status, 200);
    }
}

#[test]
fn keys_are_kept_through_outages_and_new_ones_are_found() {
    let (old, new) = (TokenKey::new("old"), TokenKey::new("new"));
    let issuer = Issuer::of(&[&old]);
    let gateway = gateway(&issuer);
    let status = |key: &TokenKey| ask(&gateway, "/open", &key.sign(&for_app(json!({})))).status;
    assert_eq!(status(&old), 200);
    issuer.fail();
    assert_eq!(status(&new), 401);
    assert_eq!(status(&old), 200);
    issuer.serve(&[&new]);
    eventually("the new key to be found", || (status(&new) == 200).then_some(()));
    assert_eq!(status(&old), 401, "a key that was withdrawn, also for tokens that it has signed before");
    assert!(issuer.backend.hits() <= 5, "{}", issuer.backend.hits());
}

#[test]
fn without_keys_nobody_is_let_in() {
    let key = TokenKey::new("k1");
    let issuer = Issuer::of(&[&key]);
    issuer.fail();
    let gateway = gateway(&issuer);
    let response = ask(&gateway, "/open", &key.sign(&for_app(json!({}))));
    response.assert_refusal(500, "Internal Server Error", "AuthorizerConfigurationException");
    gateway.wait_for_line(0, "cannot be fetched");
    issuer.serve(&[&key]);
    eventually("the keys to be fetched", || {
        (ask(&gateway, "/open", &key.sign(&for_app(json!({})))).status == 200).then_some(())
    });
}

/// `/id` takes id tokens, `/access` access tokens with a scope.
fn pool_api() -> RestApi {
    let authorizer = |id: &str, more: Value| {
        let mut whole = json!({
            "id": id, "name": id, "type": "COGNITO_USER_POOLS",
            "providerARNs": ["arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_Pool"],
            "identitySource": "method.request.header.Authorization"
        });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        whole
    };
    let template = "$context.authorizer.claims.sub|$context.authorizer.claims['cognito:groups']|$context.authorizer.claims.email_verified";
    let by = |id: &str, more: Value| {
        let mut fields = json!({ "authorizationType": "COGNITO_USER_POOLS", "authorizerId": id });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    RestApi::new("a")
        .with("authorizers", json!({
            "plain": authorizer("plain", json!({})),
            "apps": authorizer("apps", json!({ "identityValidationExpression": "app-[0-9]+" })),
            "elsewhere": authorizer("elsewhere", json!({ "identitySource": "method.request.header.X-Token" })),
        }))
        .method_with("GET", "/id", mock(template), by("plain", json!({})))
        .method_with("GET", "/access", mock(template), by("plain", json!({ "authorizationScopes": ["pets/read"] })))
        .method_with("GET", "/apps", mock("in"), by("apps", json!({})))
        .method_with("GET", "/elsewhere", mock("in"), by("elsewhere", json!({})))
        .method_with("GET", "/broken", mock("in"), by("nobody", json!({})))
}

fn of_pool(more: Value) -> Value {
    let mut all = claims(POOL, json!({ "token_use": "id", "aud": "app-1" }));
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn ask_pool(gateway: &Gateway, path: &str, token: &str) -> Response {
    gateway.rest_call("a", "s", path, |call| call.header("authorization", token))
}

#[test]
fn user_pools_let_in_id_tokens_and_access_tokens_with_scopes() {
    let key = TokenKey::new("k1");
    let issuer = Issuer::of(&[&key]);
    let gateway = gateway(&issuer);
    gateway.serve_rest(&[pool_api().deploy("s")]);
    let groups = json!({ "cognito:groups": ["admins", "users"], "email_verified": true });
    let id = key.sign(&of_pool(groups.clone()));
    assert_eq!(ask_pool(&gateway, "/id", &id).text(), "ana|admins,users|true");
    assert_eq!(ask_pool(&gateway, "/id", &format!("Bearer {id}")).status, 200);
    let access =
        |scope: &str| key.sign(&of_pool(json!({ "token_use": "access", "scope": scope, "aud": "x" })));
    assert_eq!(ask_pool(&gateway, "/access", &access("openid pets/read")).status, 200);
    let denied = ask_pool(&gateway, "/access", &access("openid"));
    assert_eq!(denied.header("x-amzn-errortype"), Some("AccessDeniedException"));
    assert_eq!(denied.json(), json!({ "Message": "User is not authorized to access this resource" }));
    for (path, token) in [("/access", &id), ("/id", &access("pets/read"))] {
        ask_pool(&gateway, path, token).assert_refusal(401, "Unauthorized", "UnauthorizedException");
    }
    assert_eq!(ask_pool(&gateway, "/apps", &id).status, 200);
    assert_eq!(ask_pool(&gateway, "/apps", &key.sign(&of_pool(json!({ "aud": "app-1x" })))).status, 401);
    let elsewhere = gateway.rest_call("a", "s", "/elsewhere", |call| call.header("x-token", &id));
    assert_eq!((elsewhere.status, ask_pool(&gateway, "/elsewhere", &id).status), (200, 401));
    let broken = ask_pool(&gateway, "/broken", &id);
    assert_eq!((broken.status, broken.text().as_str()), (500, "{\"message\":null}"));
    gateway.wait_for_line(0, "there is no authorizer `nobody`: calls are refused");
}

#[test]
fn what_is_no_good_token_is_refused_as_rest_apis_do() {
    let key = TokenKey::new("k1");
    let issuer = Issuer::of(&[&key]);
    let gateway = gateway(&issuer);
    gateway.serve_rest(&[pool_api().deploy("s")]);
    for (name, token, _) in bad_tokens(&key, &of_pool) {
        println!("{name}");
        let response = ask_pool(&gateway, "/id", &token);
        let message = if name == "expired" { "The incoming token has expired" } else { "Unauthorized" };
        response.assert_refusal(401, message, "UnauthorizedException");
        assert!(!response.has("www-authenticate"));
    }
    gateway.rest("a", "s", "/id").assert_refusal(401, "Unauthorized", "UnauthorizedException");
    assert_eq!(ask_pool(&gateway, "/id", &key.sign(&of_pool(json!({})))).status, 200);
}

#[test]
fn a_resource_policy_is_asked_once_the_token_is_good() {
    let key = TokenKey::new("k1");
    let issuer = Issuer::of(&[&key]);
    let gateway = gateway(&issuer);
    let policy = json!({ "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*/GET/apps" }
    ]});
    gateway.serve_rest(&[pool_api().with("policy", json!(policy.to_string())).deploy("s")]);
    let id = key.sign(&of_pool(json!({})));
    assert_eq!(ask_pool(&gateway, "/apps", &id).status, 200);
    assert_eq!(ask_pool(&gateway, "/id", "x").status, 401);
    let denied = ask_pool(&gateway, "/id", &id);
    assert_eq!(denied.status, 403);
    assert!(denied.text().contains("User: anonymous is not authorized to perform"), "{}", denied.text());
}

#[test]
fn an_issuer_is_discovered() {
    let key = TokenKey::new("k1");
    let address = Arc::new(Mutex::new(String::new()));
    let (own, set) = (Arc::clone(&address), json!({ "keys": [key.jwk()] }));
    let backend = Backend::start(move |request| {
        let issuer = own.lock().unwrap().clone();
        match request.target.as_str() {
            "/tenant/.well-known/openid-configuration" => {
                Reply::ok(json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/certs") }).to_string())
            }
            "/tenant/certs" => Reply::ok(set.to_string()),
            _ => Reply::empty(404),
        }
    });
    let issuer = format!("http://{}/tenant", backend.addr());
    address.lock().unwrap().clone_from(&issuer);
    let gateway = Gateway::start(&format!(
        "[authorizers.a]\nissuer = \"{issuer}\"\naudiences = [\"app\"]\n[routes.a]\npath = \"/a\"\nmock_body = \"in\"\nauthorizer = \"a\"\n"
    ));
    let token = key.sign(&claims(&issuer, json!({ "aud": "app" })));
    assert_eq!(ask(&gateway, "/a", &token).text(), "in");
}
