//! Who may ask what of the admin listener: the catalog takes signatures, what acts takes them from other machines.

use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};

use sluice_harness::rest::{RestApi, catalog, mock};
use sluice_harness::{
    Call, Gateway, OPERATOR, OPERATOR_SECRET, Response, Signer, Sluice, skip, sluice_binary,
};

fn answering(text: &str) -> RestApi {
    RestApi::new("a").method("GET", "/", mock(text)).deploy("s")
}

fn unsigned(gateway: &Gateway, method: &str, target: &str, body: &str) -> Response {
    let call = Call::new(method, target).header("content-type", "application/json");
    gateway.admin_call(call.body(body))
}

#[track_caller]
fn assert_refused(response: &Response, kind: &str) {
    assert_eq!((response.status, response.header("x-amzn-errortype")), (403, Some(kind)), "{response:?}");
}

#[test]
fn nobody_reads_or_replaces_the_catalog_without_a_signature() {
    let config = "[access_keys.AKIDCALLER]\nsecret = \"a caller's secret key\"\npolicy = '''\
                  {\"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"execute-api:*\", \"Resource\": \"*\"}]}'''\n";
    let gateway = Gateway::start(config);
    gateway.serve_rest(&[answering("mine")]);
    let theirs = catalog(&[answering("theirs")]).to_string();
    for method in ["GET", "PUT"] {
        let response = unsigned(&gateway, method, "/catalog", &theirs);
        assert_refused(&response, "MissingAuthenticationTokenException");
        for (key, secret, kind) in [
            (OPERATOR, "another secret key", "InvalidSignatureException"),
            // A key with a policy is for calling APIs.
            ("AKIDCALLER", "a caller's secret key", "UnrecognizedClientException"),
        ] {
            let signer = Signer::new(key, secret).but(|signer| signer.service = "apigateway".to_owned());
            let json = [("content-type", "application/json")];
            let call = signer.sign_for(&gateway.admin().to_string(), method, "/catalog", &theirs, &json);
            assert_refused(&gateway.admin_call(call), kind);
        }
    }
    assert_eq!(gateway.rest("a", "s", "/").text(), "mine");
    let told = gateway.operator_call("GET", "/catalog", "");
    assert_eq!((told.status, told.json()["restApis"]["a"]["id"].as_str()), (200, Some("a")));
    let response = gateway.operator_call("PUT", "/catalog", "{\"restApis\": 7}");
    assert_eq!(response.status, 422, "{response:?}");
    assert!(response.text().contains("expected a map"), "{response:?}");
}

#[test]
fn in_development_nobody_signs() {
    let gateway = Gateway::start("[aws]\ndevelopment = true\n");
    let response = unsigned(&gateway, "PUT", "/catalog", &catalog(&[answering("dev")]).to_string());
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(unsigned(&gateway, "GET", "/catalog", "").status, 200);
    assert_eq!(gateway.rest("a", "s", "/").text(), "dev");
}

/// An address of this machine that is not a loopback one. Nothing is sent to choose it.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn what_acts_is_signed_by_those_who_are_elsewhere() {
    let name = "what_acts_is_signed_by_those_who_are_elsewhere";
    let Some(address) = outer_address() else {
        skip!(name, "this machine has no address but the loopback one");
    };
    let gateway = Gateway::builder().server(&format!("admin_listen = \"{address}:0\"")).start("");
    for path in ["/reload", "/upgrade", "/xdp/detach", "/functions/f/invoke"] {
        assert_refused(&unsigned(&gateway, "POST", path, "{}"), "MissingAuthenticationTokenException");
    }
    for path in ["/health", "/metrics", "/routes", "/plan", "/xdp/bans"] {
        assert_eq!(gateway.admin_call(Call::get(path)).status, 200, "{path} only tells");
    }
    let admin = gateway.admin().to_string();
    let stranger = Command::new(sluice_binary())
        .args(["reload", "--admin", &admin])
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&stranger.stderr);
    assert_eq!(stranger.status.code(), Some(1), "{said}");
    assert!(said.contains("403") && said.contains("help: sign with an access key"), "{said}");
    let operator = Sluice::output(&["reload", "--admin", &admin]);
    let said = String::from_utf8_lossy(&operator.stdout);
    assert!(operator.status.success() && said.contains("\"generation\":"), "{operator:?}");
    let detached = Sluice::output(&["xdp", "detach", "--admin", &admin]);
    assert!(detached.status.success(), "{detached:?}");
}

/// A signature covers the body.
#[test]
fn a_signed_catalog_cannot_be_exchanged_for_another() {
    let gateway = Gateway::start("");
    let (mine, theirs) =
        (catalog(&[answering("mine")]).to_string(), catalog(&[answering("them")]).to_string());
    assert_eq!(mine.len(), theirs.len());
    let signer =
        Signer::new(OPERATOR, OPERATOR_SECRET).but(|signer| signer.service = "apigateway".to_owned());
    let json = [("content-type", "application/json")];
    let call = signer.sign_for(&gateway.admin().to_string(), "PUT", "/catalog", &mine, &json);
    assert_refused(&gateway.admin_call(call.clone().body(theirs)), "InvalidSignatureException");
    assert_eq!(gateway.admin_call(call).status, 200);
    assert_eq!(gateway.rest("a", "s", "/").text(), "mine");
}
