//! What stands in `examples/` runs, from its own configuration and by its own scripts.

use sluice_harness::conn::fetch;
use sluice_harness::{Call, Gateway, Moto, TempDir, eventually, python, skip, terraform_provider, tool};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `examples/users-api/sluice.toml` has.
const KEY: &str = "AKIAEXAMPLEUSERSAPI0";
const SECRET: &str = "an-example-secret-to-be-changed";

fn users_api() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/users-api").canonicalize().unwrap()
}

fn gateway() -> Gateway {
    let example = users_api();
    let config = std::fs::read_to_string(example.join("sluice.toml")).unwrap();
    let config = ["users", "authorizer"].iter().fold(config, |config, name| {
        let written = format!("directory = \"{name}\"");
        assert!(config.contains(&written), "{config}");
        config.replace(&written, &format!("directory = {:?}", example.join(name)))
    });
    Gateway::start(&config)
}

fn command(program: &Path, dir: &TempDir) -> Command {
    let mut command = Command::new(program);
    command
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", dir.path().join("none"))
        .env("AWS_SHARED_CREDENTIALS_FILE", dir.path().join("none"))
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .current_dir(dir.path());
    command
}

#[track_caller]
fn passed(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// What a client of the tutorial does.
fn called(gateway: &Gateway, api: &str, key: &str) {
    let host = format!("{api}.execute-api.us-east-1.amazonaws.com");
    let by = |token: &str, call: Call, key: &str| {
        let call = call.host(&host).header("x-api-key", key);
        gateway.call(&if token.is_empty() { call } else { call.header("authorization", token) })
    };
    let call = |call: Call, key: &str| by("ada-has-this-token", call, key);
    eventually("the authorizer's function answers", || {
        (by("nobody-has-this-token", Call::get("/prod/users"), key).status == 401).then_some(())
    });
    for token in ["", "nobody-has-this-token"] {
        let refused = by(token, Call::get("/prod/users"), key);
        refused.assert_refusal(401, "Unauthorized", "UnauthorizedException");
    }
    let withdrawn = by("this-token-was-withdrawn", Call::get("/prod/users"), key);
    assert_eq!(withdrawn.header("x-amzn-errortype"), Some("AccessDeniedException"));
    let denied = r#"{"Message":"User is not authorized to access this resource with an explicit deny"}"#;
    assert_eq!((withdrawn.status, withdrawn.text().as_str()), (403, denied));
    call(Call::get("/prod/users"), "not-a-key-of-this-api").assert_refusal(
        403,
        "Forbidden",
        "ForbiddenException",
    );
    let users = eventually("the function answers", || {
        let response = call(Call::get("/prod/users?limit=1"), key);
        (response.status == 200).then_some(response)
    });
    assert_eq!(users.text(), r#"{"path":"/users","users":[{"id":1,"name":"Ada"}]}"#);
    assert_eq!(users.header("access-control-allow-origin"), Some("*"));
    let made = call(Call::post("/prod/users", r#"{"name":"Lin"}"#), key);
    assert_eq!((made.status, made.text().as_str()), (201, r#"{"id":3,"name":"Lin"}"#));
    assert_eq!(call(Call::post("/prod/users", "no"), key).status, 400);
    let all = call(Call::get("/prod/users"), key).json();
    assert_eq!(all["users"].as_array().unwrap().len(), 3);
    let other = call(Call::new("DELETE", "/prod/users"), key);
    other.assert_refusal(403, "Missing Authentication Token", "MissingAuthenticationTokenException");
}

fn value<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn the_users_api_deployed_by_boto3() {
    let name = "the_users_api_deployed_by_boto3";
    let (Some(python), Some(_)) = (python("boto3"), tool("node")) else {
        skip!(name, "needs node, and a python3 with boto3 (cargo xtask test installs it from PyPI)");
    };
    let (gateway, dir) = (gateway(), TempDir::new());
    let mut run = command(&python, &dir);
    run.arg(users_api().join("deploy.py")).arg(format!("http://{}", gateway.admin()));
    let said = passed(&run.output().unwrap());
    called(&gateway, value(&said, "api"), value(&said, "key"));
}

#[test]
fn the_users_api_deployed_by_terraform() {
    let name = "the_users_api_deployed_by_terraform";
    let (Some(terraform), Some(plugins), Some(_)) = (tool("terraform"), terraform_provider(), tool("node"))
    else {
        skip!(name, "needs node, terraform, and its AWS provider 5.100.0 in a plugin folder");
    };
    let (gateway, dir) = (gateway(), TempDir::new());
    dir.file("main.tf", &std::fs::read_to_string(users_api().join("main.tf")).unwrap());
    let mirror = format!(
        "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
        plugins.display()
    );
    let config = dir.file("terraformrc", &mirror);
    let run = |arguments: &[&str]| {
        let mut run = command(&terraform, &dir);
        run.env("TF_CLI_CONFIG_FILE", &config).env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
        run.env("TF_VAR_endpoint", format!("http://{}", gateway.admin()));
        passed(&run.args(arguments).arg("-no-color").output().unwrap())
    };
    run(&["init", "-input=false"]);
    run(&["apply", "-auto-approve", "-input=false"]);
    called(&gateway, &run(&["output", "-raw", "api"]), &run(&["output", "-raw", "key"]));
    run(&["destroy", "-auto-approve", "-input=false"]);
}

fn uploads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/uploads").canonicalize().unwrap()
}

/// What AWS's own client signs: method, URL, time.
const PRESIGN: &str = r#"
import datetime, sys
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
method, url, time = sys.argv[1:]
when = datetime.datetime.strptime(time, "%Y%m%dT%H%M%SZ")
botocore.auth.get_current_datetime = lambda remove_tzinfo=True: when
request = AWSRequest(method=method, url=url)
credentials = Credentials("AKIAEXAMPLEUPLOADS00", "an-example-secret-to-be-changed")
botocore.auth.S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=300).add_auth(request)
print(request.url)
"#;

/// The parameters of a URL, sorted.
fn parameters(url: &str) -> Vec<&str> {
    let mut found: Vec<_> = url.trim().split_once('?').unwrap().1.split('&').collect();
    found.sort_unstable();
    found
}

/// MISSION's "pre-signed S3 URL handed out for big uploads".
#[test]
fn uploads_pass_by_the_gateway() {
    let name = "uploads_pass_by_the_gateway";
    let (Some(python), Some(_), Some(moto)) = (python("boto3"), tool("node"), Moto::start()) else {
        skip!(name, "needs node, boto3 and moto (cargo xtask setup brings them)");
    };
    let (example, dir) = (uploads(), TempDir::new());
    let mut config = std::fs::read_to_string(example.join("sluice.toml")).unwrap();
    for (written, meant) in [
        ("directory = \"files\"", format!("directory = {:?}", example.join("files"))),
        ("S3_ENDPOINT=http://127.0.0.1:5000", format!("S3_ENDPOINT=http://{}", moto.address)),
    ] {
        assert!(config.contains(written), "{config}");
        config = config.replace(written, &meant);
    }
    let gateway = Gateway::start(&config);
    let mut deploy = command(&python, &dir);
    deploy.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEUPLOADS00");
    deploy.arg(example.join("deploy.py")).arg(format!("http://{}", gateway.admin()));
    let said = passed(&deploy.output().unwrap());
    let api = value(&said, "api");

    let s3 = moto.address.parse().unwrap();
    let at = |url: &str| url.trim().strip_prefix(&format!("http://{}", moto.address)).unwrap().to_owned();
    assert_eq!(fetch(s3, &Call::new("PUT", "/uploads").host(&moto.address).body("")).status, 200);
    let made = eventually("the function answers", || {
        let made = gateway.call(&Call::post(&format!("/restapis/{api}/prod/_user_request_/files"), ""));
        (made.status == 201).then_some(made)
    });
    let url = made.json()["url"].as_str().unwrap().to_owned();
    let time = parameters(&url).into_iter().find_map(|one| one.strip_prefix("X-Amz-Date=")).unwrap();
    let mut presign = command(&python, &dir);
    presign.args(["-c", PRESIGN, "PUT", url.split('?').next().unwrap(), time]);
    let expected = passed(&presign.output().unwrap());
    assert_eq!(parameters(&url), parameters(&expected), "as AWS's own client signs it");

    let content = "a big file, ".repeat(500_000);
    let put = Call::new("PUT", &at(&url)).host(&moto.address).body(content.as_str());
    assert_eq!(fetch(s3, &put).status, 200);
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let found = gateway.rest(api, "prod", &format!("/files/{key}"));
    assert_eq!(found.status, 307, "{found:?}");
    let location = at(found.header("location").unwrap());
    let got = fetch(s3, &Call::get(&location).host(&moto.address));
    assert_eq!((got.status, got.text() == content), (200, true));
}
