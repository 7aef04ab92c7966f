//! Credentials that others give for a while: a container's agent, an instance's metadata, a token service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sluice_harness::gateway::Builder;
use sluice_harness::rest::RestApi;
use sluice_harness::{Backend, Call, Gateway, Reply, Request, Response, TempDir};

/// A gateway that finds no credentials but those that a test gives it.
fn bare() -> Builder {
    Gateway::builder().env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent").env("AWS_ACCESS_KEY_ID", "")
}

fn of_service(addr: std::net::SocketAddr) -> String {
    format!("[services.dynamodb]\nendpoint_url = \"http://{addr}\"\n")
}

fn api() -> RestApi {
    let integration = json!({
        "type": "AWS",
        "httpMethod": "POST",
        "uri": "arn:aws:apigateway:us-east-1:dynamodb:action/PutItem",
        "credentials": "arn:aws:iam::123456789012:role/gateway",
        "integrationResponses": { "200": { "statusCode": "200" } }
    });
    RestApi::new("a").method("POST", "/", integration).deploy("s")
}

fn put(gateway: &Gateway) -> Response {
    let call = Call::post("/restapis/a/s/_user_request_/", "{}");
    gateway.call(&call.header("content-type", "application/json"))
}

/// Puts an item, and gives the key and the token that the service was shown.
fn signed_with(gateway: &Gateway, service: &Backend) -> (String, String) {
    let response = put(gateway);
    assert_eq!(response.status, 200, "{response:?}");
    let request = service.last_request();
    let credential = request.header("authorization").unwrap().split_once("Credential=").unwrap().1;
    let key = credential.split('/').next().unwrap().to_owned();
    (key, request.header("x-amz-security-token").unwrap_or_default().to_owned())
}

fn pair(key: &str, token: &str) -> (String, String) {
    (key.to_owned(), token.to_owned())
}

/// A time from now on, as credentials tell their end.
fn end(from_now: Duration) -> String {
    let unix_s = (SystemTime::now() + from_now).duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Civil from days (Hinnant), for this century's dates.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn document(key: &str, lasts: Duration) -> String {
    json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": key,
        "SecretAccessKey": "secret",
        "Token": format!("token of {key}"),
        "Expiration": end(lasts)
    })
    .to_string()
}

#[test]
fn a_container_has_them_from_its_agent_and_keeps_them_through_an_outage() {
    let (service, dir) = (Backend::start(|_| Reply::ok("{}")), TempDir::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let answer = move |request: &Request| match request.header("authorization") {
        Some("pod token 1") | Some("pod token 2") => {
            let nth = counted.fetch_add(1, Ordering::SeqCst) + 1;
            // So near its end that it is due for renewal at once.
            Reply::ok(document(&format!("CONTAINER{nth}"), Duration::from_secs(120)))
        }
        _ => Reply::status(401, "{\"message\": \"who are you?\"}"),
    };
    let mut agent = Backend::start(answer);
    let token = dir.file("token", "pod token 1\n");
    let gateway = bare()
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/v1/credentials?a=b", agent.addr()))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_os_str())
        .start(&of_service(service.addr()));
    assert_eq!(agent.hits(), 0, "nothing needs any yet");
    gateway.serve_rest(&[api()]);
    assert_eq!(signed_with(&gateway, &service), pair("CONTAINER1", "token of CONTAINER1"));
    assert_eq!(agent.last_request().target, "/v1/credentials?a=b");

    // They end soon, and the agent's token has changed meanwhile, as EKS does it.
    dir.file("token", "pod token 2");
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(signed_with(&gateway, &service), pair("CONTAINER2", "token of CONTAINER2"));
    assert_eq!(agent.last_request().header("authorization"), Some("pod token 2"));

    agent.stop();
    assert_eq!(gateway.reload().status, 200);
    gateway.wait_for_line(0, "those of before stay in use");
    assert_eq!(signed_with(&gateway, &service), pair("CONTAINER2", "token of CONTAINER2"));
}

#[test]
fn what_lasts_is_not_asked_for_again() {
    let service = Backend::start(|_| Reply::ok("{}"));
    let agent = Backend::start(|_| Reply::ok(document("LASTING", Duration::from_secs(3600))));
    let gateway = bare()
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/", agent.addr()))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t")
        .start(&of_service(service.addr()));
    gateway.serve_rest(&[api()]);
    for _ in 0..3 {
        assert_eq!(gateway.reload().status, 200);
        assert_eq!(signed_with(&gateway, &service).0, "LASTING");
    }
    assert_eq!(agent.only_request().header("authorization"), Some("t"));
}

#[test]
fn a_token_for_the_agent_is_not_sent_in_the_clear_to_strangers() {
    let gateway = bare()
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://agent.example.com/credentials")
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t")
        .start("");
    gateway.serve_rest(&[api()]);
    gateway.wait_for_line(0, "AWS_CONTAINER_CREDENTIALS_FULL_URI expects https, or this machine");
    put(&gateway).assert_refusal(500, "Internal server error", "InternalServerErrorException");
}

/// As of version 2 of the service: a session's token first, by PUT.
fn metadata(request: &Request) -> Reply {
    match (request.method.as_str(), request.target.as_str(), request.header("x-aws-ec2-metadata-token")) {
        ("PUT", "/latest/api/token", None)
            if request.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
        {
            Reply::ok("SESSION")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/", Some("SESSION")) => Reply::ok("instance-role"),
        ("GET", "/latest/meta-data/iam/security-credentials/instance-role", Some("SESSION")) => {
            Reply::ok(document("INSTANCE", Duration::from_secs(3600)))
        }
        _ => Reply::status(401, ""),
    }
}

#[test]
fn an_instance_has_them_from_its_metadata() {
    let (service, server) = (Backend::start(|_| Reply::ok("{}")), Backend::start(metadata));
    let gateway = bare()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", server.addr()))
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .start(&of_service(service.addr()));
    gateway.serve_rest(&[api()]);
    assert_eq!(signed_with(&gateway, &service), pair("INSTANCE", "token of INSTANCE"));
    assert_eq!(server.hits(), 3);
}

#[test]
fn metadata_that_is_disabled_is_not_asked() {
    let (service, server) = (Backend::start(|_| Reply::ok("{}")), Backend::start(metadata));
    let gateway = bare()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", server.addr()))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .start(&of_service(service.addr()));
    gateway.serve_rest(&[api()]);
    put(&gateway).assert_refusal(500, "Internal server error", "InternalServerErrorException");
    assert_eq!((server.hits(), service.hits()), (0, 0));
}

#[test]
fn configured_credentials_need_nobody_else() {
    let (service, server) = (Backend::start(|_| Reply::ok("{}")), Backend::start(metadata));
    let own = "[credentials.default]\naccess_key_id = \"CONFIGURED\"\nsecret_access_key = \"s\"\n";
    let gateway = bare()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", server.addr()))
        .env("AWS_EC2_METADATA_DISABLED", "false")
        .start(&format!("{}{own}", of_service(service.addr())));
    gateway.serve_rest(&[api()]);
    assert_eq!(signed_with(&gateway, &service), pair("CONFIGURED", ""));
    assert_eq!(server.hits(), 0);
}

#[test]
fn a_web_identity_is_changed_for_a_role() {
    let (service, dir) = (Backend::start(|_| Reply::ok("{}")), TempDir::new());
    let sts = Backend::start(|request| {
        let whole = format!("{}&{}", request.target, String::from_utf8_lossy(&request.body));
        let said = |text: &str| whole.contains(text);
        let role = "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpod";
        if !(said("Action=AssumeRoleWithWebIdentity") && said("WebIdentityToken=jwt.of.pod") && said(role)) {
            return Reply::status(400, whole);
        }
        Reply::ok(format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>of the role</SessionToken><Expiration>{}</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            end(Duration::from_secs(3600))
        ))
    });
    let token = dir.file("token", "jwt.of.pod");
    let gateway = bare()
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_os_str())
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_STS", format!("http://{}", sts.addr()))
        .start(&of_service(service.addr()));
    gateway.serve_rest(&[api()]);
    assert_eq!(signed_with(&gateway, &service), pair("ASSUMED", "of the role"));
}
