//! AWS's own clients against the control plane: nothing differs from AWS but the endpoint.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sluice_harness::{Gateway, TempDir, npm_package, python, skip, terraform_provider, tool};

/// The keys that all clients here sign with.
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn gateway(more: &str) -> Gateway {
    Gateway::start(&format!("[access_keys.{KEY}]\nsecret = \"{SECRET}\"\n{more}"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("aws").join(name)
}

/// A command that finds its credentials and the endpoint as AWS's clients do, and nobody's configuration.
fn command(program: &Path, gateway: &Gateway, dir: &TempDir) -> Command {
    let mut command = Command::new(program);
    command
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", format!("http://{}", gateway.admin()))
        .env("AWS_CONFIG_FILE", dir.path().join("no-config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", dir.path().join("no-credentials"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .current_dir(dir.path());
    command
}

#[track_caller]
fn passed(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

#[test]
fn a_boto3_script_makes_serves_and_removes_an_api() {
    let name = "a_boto3_script_makes_serves_and_removes_an_api";
    let Some(python) = python("boto3") else {
        skip!(name, "python3 lacks boto3 (cargo xtask test installs it from PyPI)");
    };
    let (gateway, dir) = (gateway(""), TempDir::new());
    let mut run = command(&python, &gateway, &dir);
    run.arg(script("boto3_rest.py")).args([gateway.admin().to_string(), gateway.addr().to_string()]);
    let output = run.output().unwrap();
    passed(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("all passed"));
}

/// All operations that the list marks core or common, and some of the rare ones.
#[test]
fn every_operation_answers() {
    let name = "every_operation_answers";
    let Some(python) = python("boto3") else {
        skip!(name, "python3 lacks boto3 (cargo xtask test installs it from PyPI)");
    };
    let (gateway, dir) = (gateway(""), TempDir::new());
    let mut run = command(&python, &gateway, &dir);
    let output = run.arg(script("boto3_operations.py")).arg(gateway.admin().to_string()).output().unwrap();
    passed(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("101 operations answer"), "{output:?}");
}

/// Version 1 of the AWS CLI, from PyPI.
#[test]
fn lines_of_the_aws_cli_work() {
    let name = "lines_of_the_aws_cli_work";
    let Some(python) = python("awscli") else {
        skip!(name, "python3 lacks awscli (cargo xtask test installs it from PyPI)");
    };
    let (gateway, dir) = (gateway(""), TempDir::new());
    let aws = |line: &str| {
        let mut run = command(&python, &gateway, &dir);
        let arguments = line.split('|').map(str::trim);
        run.args(["-m", "awscli", "apigateway"]).args(arguments).args(["--output", "json"]);
        let output = run.output().unwrap();
        passed(&output);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default()
    };
    let api = aws("create-rest-api | --name | cli");
    let id = api["id"].as_str().unwrap();
    let root = api["rootResourceId"].as_str().unwrap();
    let at = format!("--rest-api-id | {id} | --resource-id | {root} | --http-method | GET");
    aws(&format!("put-method | {at} | --authorization-type | NONE"));
    aws(&format!("put-method-response | {at} | --status-code | 200"));
    aws(&format!(
        "put-integration | {at} | --type | MOCK | --request-templates | {{\"application/json\":\"{{\\\"statusCode\\\": 200}}\"}}"
    ));
    aws(&format!(
        "put-integration-response | {at} | --status-code | 200 | --response-templates | {{\"application/json\":\"ok\"}}"
    ));
    let deployment = aws(&format!("create-deployment | --rest-api-id | {id} | --stage-name | prod"));
    let response = gateway.get(&format!("/_aws/execute-api/{id}/prod/"));
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let stage = aws(&format!(
        "update-stage | --rest-api-id | {id} | --stage-name | prod | --patch-operations | op=replace,path=/*/*/logging/loglevel,value=INFO"
    ));
    assert_eq!(stage["methodSettings"]["*/*"]["loggingLevel"], "INFO", "{stage}");
    assert_eq!(stage["deploymentId"], deployment["id"]);
    let found = aws("get-rest-apis | --query | items[?name=='cli']");
    assert_eq!(found[0]["id"], api["id"]);
    aws(&format!("delete-rest-api | --rest-api-id | {id}"));
    assert_eq!(aws("get-rest-apis")["items"], serde_json::json!([]));
}

#[test]
fn the_javascript_sdk_makes_and_reads_an_api() {
    let name = "the_javascript_sdk_makes_and_reads_an_api";
    let (Some(node), Some(package)) = (tool("node"), npm_package("@aws-sdk/client-api-gateway")) else {
        skip!(name, "needs node and @aws-sdk/client-api-gateway (cargo xtask setup installs it from npm)");
    };
    let (gateway, dir) = (gateway(""), TempDir::new());
    let mut run = command(&node, &gateway, &dir);
    let endpoint = format!("http://{}", gateway.admin());
    run.arg(script("sdk.mjs")).arg(package).args([endpoint, format!("http://{}", gateway.addr())]);
    passed(&run.output().unwrap());
}

#[test]
fn terraform_applies_without_drift_and_destroys() {
    let name = "terraform_applies_without_drift_and_destroys";
    let (Some(terraform), Some(plugins)) = (tool("terraform"), terraform_provider()) else {
        skip!(name, "needs terraform, and its AWS provider 5.100.0 in a plugin folder");
    };
    let (gateway, dir) = (gateway(""), TempDir::new());
    let main = std::fs::read_to_string(script("terraform/main.tf")).unwrap();
    dir.file("main.tf", &main.replace("ENDPOINT", &format!("http://{}", gateway.admin())));
    let config = dir.file(
        "terraformrc",
        &format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
            plugins.display()
        ),
    );
    let run = |arguments: &[&str]| {
        let mut run = command(&terraform, &gateway, &dir);
        run.env("TF_CLI_CONFIG_FILE", &config).env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
        run.args(arguments).arg("-no-color").output().unwrap()
    };
    passed(&run(&["init", "-input=false"]));
    passed(&run(&["apply", "-auto-approve", "-input=false"]));
    let url = run(&["output", "-raw", "path"]);
    passed(&url);
    let response = gateway.get(&String::from_utf8_lossy(&url.stdout));
    assert_eq!((response.status, response.text().as_str()), (200, "{\"made\": \"by terraform\"}"));
    // 0: nothing to do, 2: there is drift.
    let again = run(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
    passed(&run(&["destroy", "-auto-approve", "-input=false"]));
    let left = gateway.operator_call("GET", "/catalog", "");
    let left: serde_json::Value = serde_json::from_str(&left.text()).unwrap();
    for kind in ["restApis", "apiKeys", "usagePlans", "domainNames"] {
        assert_eq!(left[kind], serde_json::json!({}), "{kind}");
    }
}
