//! Strangers' clients call methods that ask who they are: requests signed by botocore, by AWS's JavaScript library and by
//! curl, and tokens of moto's Cognito pools.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, mock};
use sluice_harness::{Call, Gateway, eventually, npm_package, python, skip, target_dir, tool};

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// `a/s` answers signed requests with who has signed them.
fn gateway() -> Gateway {
    let gateway = Gateway::start(&format!(
        "[access_keys.{KEY}]\nsecret = \"{SECRET}\"\n\
         [access_keys.ASIATEMPORARY]\nsecret = \"{SECRET}\"\nsession_token = \"a/session+token==\"\n"
    ));
    let fields = || json!({ "authorizationType": "AWS_IAM" });
    let who = mock("$context.identity.user");
    let api = RestApi::new("a").method_with("ANY", "/", who.clone(), fields()).method_with(
        "ANY",
        "/{proxy+}",
        who,
        fields(),
    );
    gateway.serve_rest(&[api.deploy("s")]);
    gateway
}

fn base(gateway: &Gateway) -> String {
    format!("http://{}/_aws/execute-api/a/s", gateway.addr())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("aws").join(name)
}

#[track_caller]
fn passed(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

#[test]
fn botocore_signs() {
    let name = "botocore_signs";
    let Some(python) = python("boto3") else {
        skip!(name, "python3 lacks boto3 (cargo xtask test installs it from PyPI)");
    };
    let gateway = gateway();
    let output = Command::new(python).arg(script("sign.py")).args([&base(&gateway), KEY, SECRET]).output();
    assert!(passed(&output.unwrap()).contains("all passed"));
}

#[test]
fn the_javascript_library_signs() {
    let name = "the_javascript_library_signs";
    let (Some(node), Some(package)) = (tool("node"), npm_package("@aws-sdk/signature-v4")) else {
        skip!(name, "needs node and @aws-sdk/signature-v4 (cargo xtask setup installs it from npm)");
    };
    let gateway = gateway();
    let mut run = Command::new(node);
    run.arg(script("sign.mjs")).arg(package).args([&base(&gateway), KEY, SECRET]);
    assert!(passed(&run.output().unwrap()).contains("all passed"));
}

#[test]
fn curl_signs() {
    let name = "curl_signs";
    let Some(curl) = tool("curl") else { skip!(name, "curl is not installed") };
    let gateway = gateway();
    let ask = |user: &str, arguments: &[&str]| {
        let mut run = Command::new(&curl);
        run.args([
            "--silent",
            "--show-error",
            "--aws-sigv4",
            "aws:amz:us-east-1:execute-api",
            "--user",
            user,
        ]);
        passed(&run.args(["--write-out", "\n%{http_code}"]).args(arguments).output().unwrap())
    };
    let good = format!("{KEY}:{SECRET}");
    let (plain, query) = (format!("{}/pets", base(&gateway)), format!("{}/pets?limit=10", base(&gateway)));
    for arguments in [
        &[plain.as_str()][..],
        &[&query],
        &["--data", "{\"name\": \"rex\"}", "--header", "content-type: application/json", &plain],
        &["--request", "DELETE", &plain],
    ] {
        assert_eq!(ask(&good, arguments), format!("{KEY}\n200"), "{arguments:?}");
    }
    let forged = ask(&format!("{KEY}:another-secret"), &[&plain]);
    assert!(forged.ends_with("\n403") && forged.contains("does not match"), "{forged}");
}

/// A server of moto's, ended with the test.
struct Moto {
    child: Child,
    endpoint: String,
}

impl Moto {
    fn start(python: &Path) -> Self {
        // It picks no free port itself: one that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(python);
        server.args(["-m", "moto.server", "-p", &port.to_string()]);
        let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        eventually("moto's server", || std::net::TcpStream::connect(address).ok());
        Self { child, endpoint: format!("http://{address}") }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tokens_of_motos_user_pools_are_accepted() {
    let name = "tokens_of_motos_user_pools_are_accepted";
    let python = target_dir().map(|target| target.join("moto-venv/bin/python3"));
    let Some(python) = python.filter(|python| python.is_file()) else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let moto = Moto::start(&python);
    let made = Command::new(&python).arg(script("cognito.py")).arg(&moto.endpoint).output().unwrap();
    let made: Value = serde_json::from_str(&passed(&made)).unwrap();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (pool, other) = (text("pool"), text("other"));
    let url = |pool: &str| format!("{}/{pool}/.well-known/jwks.json", moto.endpoint);
    let gateway = Gateway::start(&format!(
        "[user_pools.{pool}]\njwks_url = \"{}\"\n[user_pools.{other}]\njwks_url = \"{}\"\n",
        url(&pool),
        url(&other)
    ));
    let arn = |pool: &str| format!("arn:aws:cognito-idp:us-east-1:123456789012:userpool/{pool}");
    let authorizer = |id: &str, pools: Value| json!({ "id": id, "name": id, "type": "COGNITO_USER_POOLS", "providerARNs": pools });
    let by = |id: &str, scopes: Value| json!({ "authorizationType": "COGNITO_USER_POOLS", "authorizerId": id, "authorizationScopes": scopes });
    let claims =
        mock("$context.authorizer.claims['cognito:username'] $context.authorizer.claims['cognito:groups']");
    let scope = "aws.cognito.signin.user.admin";
    let api = RestApi::new("a")
        .with(
            "authorizers",
            json!({
                "one": authorizer("one", json!([arn(&pool)])),
                "both": authorizer("both", json!([arn(&other), arn(&pool)])),
                "other": authorizer("other", json!([arn(&other)])),
            }),
        )
        .method_with("GET", "/id", claims.clone(), by("one", json!([])))
        .method_with("GET", "/both", claims.clone(), by("both", json!([])))
        .method_with("GET", "/other", claims.clone(), by("other", json!([])))
        .method_with("GET", "/access", mock("in"), by("one", json!([scope, "x/y"])))
        .method_with("GET", "/more", mock("in"), by("one", json!(["x/y"])));
    gateway.serve_rest(&[api.deploy("s")]);
    let ask = |path: &str, token: &str| {
        let call = Call::get(&format!("/_aws/execute-api/a/s{path}"));
        let response = gateway.call(&call.header("authorization", &format!("Bearer {token}")));
        (response.status, response.text())
    };
    let (id, access) = (text("id"), text("access"));
    assert_eq!(ask("/id", &id), (200, "ana admins".to_owned()));
    assert_eq!(ask("/both", &id), (200, "ana admins".to_owned()));
    assert_eq!(ask("/access", &access), (200, "in".to_owned()));
    for (path, token, expected) in [
        ("/other", id.as_str(), 401),
        ("/id", &access, 401),
        ("/access", &id, 401),
        ("/more", &access, 403),
        ("/id", &id[..id.len() - 3], 401),
    ] {
        assert_eq!(ask(path, token).0, expected, "{path}");
    }
}
