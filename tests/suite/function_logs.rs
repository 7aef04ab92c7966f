//! What a hosted function logs, told to the caller of an invocation: `X-Amz-Log-Type: Tail`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sluice_harness::{Gateway, Sluice, TempDir, python, skip, tool};

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

const NODE: &str = r#"
exports.handler = async (event) => {
  console.log('node', event.n)
  if (event.fail) throw new TypeError('no luck')
  if (event.exit) { console.log('last words'); process.exit(3) }
  if (event.sleep) await new Promise((resolve) => setTimeout(resolve, 60000))
  if (event.lines) for (let i = 0; i < event.lines; i++) console.log(`line ${i} ${'x'.repeat(50)}`)
  return event.n
}
exports.stream = awslambda.streamifyResponse(async (event, out) => {
  console.log('streaming', event.n)
  out.write('a piece')
  out.end()
})
"#;

const PYTHON: &str = r#"
import sys

def handler(event, context):
    print("python", event["n"])
    print("no end of line", end="", file=sys.stderr)
    if event.get("fail"):
        raise ValueError("no luck")
    return context.aws_request_id
"#;

/// Asks as argument 2 says, a call each; prints what AWS's client made of each answer.
const CLIENT: &str = r#"
import base64, json, sys
import boto3
from botocore.config import Config

client = boto3.client(
    "lambda", endpoint_url=f"http://{sys.argv[1]}", region_name="us-east-1", aws_access_key_id=sys.argv[3],
    aws_secret_access_key=sys.argv[4], config=Config(retries={"max_attempts": 1}))
for call in json.loads(sys.argv[2]):
    event = json.dumps(call["event"])
    asked = {"FunctionName": call["function"], "Payload": event, **({"LogType": call["type"]} if "type" in call else {})}
    if call["function"] == "stream":
        answer = client.invoke_with_response_stream(**asked)
        events = list(answer["EventStream"])
        payload = b"".join(event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event)
        end = events[-1]["InvokeComplete"]
        log, error = end.get("LogResult"), end.get("ErrorCode")
    else:
        answer = client.invoke(**asked)
        payload, log, error = answer["Payload"].read(), answer.get("LogResult"), answer.get("FunctionError")
    print(json.dumps({
        "log": log and base64.b64decode(log).decode(), "error": error, "payload": payload.decode(),
        "id": answer["ResponseMetadata"]["RequestId"]}))
"#;

fn gateway(dir: &TempDir, functions: &[(&str, &str, &str)]) -> Gateway {
    let mut config = format!("[access_keys.{KEY}]\nsecret = \"{SECRET}\"\n");
    for (name, runtime, handler) in functions {
        config.push_str(&format!(
            "[functions.{name}]\nruntime = \"{runtime}\"\nhandler = \"{handler}\"\ndirectory = {:?}\ninit_timeout_ms = 60000\ntimeout_ms = {}\nmax_instances = 1\n",
            dir.path(),
            if *name == "slow" { 1500 } else { 60_000 },
        ));
    }
    Gateway::start(&config)
}

/// What AWS's client makes of these calls.
fn ask(python: &Path, gateway: &Gateway, calls: &Value) -> Vec<Value> {
    let mut run = Command::new(python);
    run.args(["-c", CLIENT, &gateway.admin().to_string(), &calls.to_string(), KEY, SECRET]);
    let output = run.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of a log between Lambda's own, and the fields of its report.
#[track_caller]
fn between(answer: &Value) -> (Vec<&str>, Vec<&str>) {
    let id = answer["id"].as_str().unwrap();
    let log = answer["log"].as_str().unwrap();
    let mut lines: Vec<&str> = log.lines().collect();
    let report = lines.pop().unwrap();
    assert_eq!(lines.pop(), Some(format!("END RequestId: {id}").as_str()), "{log}");
    assert_eq!(lines.remove(0), format!("START RequestId: {id} Version: $LATEST"), "{log}");
    let fields: Vec<&str> = report.split('\t').collect();
    assert_eq!(fields[0], format!("REPORT RequestId: {id}"), "{log}");
    assert!(fields[1].starts_with("Duration: ") && fields[1].ends_with(" ms"), "{log}");
    assert!(fields[2].starts_with("Billed Duration: ") && fields[2].ends_with(" ms"), "{log}");
    assert!(fields[3].starts_with("Memory Size: ") && fields[3].ends_with(" MB"), "{log}");
    (lines, fields[4..].to_vec())
}

#[test]
fn a_node_functions_log_is_told_to_who_asks() {
    let name = "a_node_functions_log_is_told_to_who_asks";
    let (Some(python), Some(_)) = (python("boto3"), tool("node")) else {
        skip!(name, "needs node, and a python3 with boto3 (cargo xtask setup brings it)");
    };
    let dir = TempDir::new();
    dir.file("index.js", NODE);
    let functions = [("js", "node", "index.handler"), ("stream", "node", "index.stream")];
    let gateway = gateway(&dir, &functions);
    let calls = json!([
        { "function": "js", "event": { "n": 1 } },
        { "function": "js", "event": { "n": 2 }, "type": "None" },
        { "function": "js", "event": { "n": 3 }, "type": "Tail" },
        { "function": "js", "event": { "n": 4, "fail": true }, "type": "Tail" },
        { "function": "js", "event": { "n": 5, "lines": 500 }, "type": "Tail" },
        { "function": "stream", "event": { "n": 6 }, "type": "Tail" },
        { "function": "js", "event": { "n": 7, "exit": true }, "type": "Tail" },
        { "function": "js", "event": { "n": 8 }, "type": "Tail" },
    ]);
    let answers = ask(&python, &gateway, &calls);
    assert!(answers[..2].iter().all(|answer| answer["log"].is_null()), "nobody asked: {answers:?}");
    let (lines, fields) = between(&answers[2]);
    // Neither what the calls before have printed, nor that the instance has just started.
    assert_eq!((lines, fields.len(), answers[2]["payload"].as_str()), (vec!["node 3"], 1, Some("3")));
    assert!(fields[0].starts_with("Max Memory Used: "), "{fields:?}");

    assert_eq!(answers[3]["error"], "Unhandled");
    assert_eq!(between(&answers[3]).0, ["node 4"]);

    let log = answers[4]["log"].as_str().unwrap();
    assert!(log.len() <= 4096 && log.len() > 4000, "{}", log.len());
    let end = format!("line 499 {}\nEND RequestId: {}\n", "x".repeat(50), answers[4]["id"].as_str().unwrap());
    assert!(log.contains(&end) && !log.contains("START"), "{log}");

    let (lines, fields) = between(&answers[5]);
    assert_eq!((lines, answers[5]["payload"].as_str()), (vec!["streaming 6"], Some("a piece")));
    assert!(fields[1].starts_with("Init Duration: "), "an instance's first: {fields:?}");

    assert_eq!(answers[6]["error"], "Unhandled");
    let (lines, fields) = between(&answers[6]);
    assert_eq!(lines[..2], ["node 7", "last words"]);
    assert!(lines[2].ends_with("Error: Runtime exited with error: exit status: 3"), "{lines:?}");
    assert_eq!(fields, ["Status: error", "Error Type: Runtime.ExitError"]);
    assert_eq!(between(&answers[7]).0, ["node 8"]);
}

#[test]
fn a_timeout_ends_the_log_that_is_told() {
    let name = "a_timeout_ends_the_log_that_is_told";
    let (Some(python), Some(_)) = (python("boto3"), tool("node")) else {
        skip!(name, "needs node, and a python3 with boto3 (cargo xtask setup brings it)");
    };
    let dir = TempDir::new();
    dir.file("index.js", NODE);
    let gateway = gateway(&dir, &[("slow", "node", "index.handler")]);
    let calls = json!([{ "function": "slow", "event": { "n": 1, "sleep": true }, "type": "Tail" }]);
    let answers = ask(&python, &gateway, &calls);
    let (lines, fields) = between(&answers[0]);
    assert_eq!((lines.len(), lines[0]), (2, "node 1"));
    assert!(lines[1].ends_with("Task timed out after 1.50 seconds"), "{lines:?}");
    assert_eq!(fields.last(), Some(&"Status: timeout"), "{fields:?}");
    assert!(answers[0]["payload"].as_str().unwrap().contains("Sandbox.Timedout"), "{answers:?}");
}

#[test]
fn a_python_functions_log_is_told_to_who_asks() {
    let name = "a_python_functions_log_is_told_to_who_asks";
    let Some(python) = python("boto3") else {
        skip!(name, "python3 lacks boto3 (cargo xtask setup brings it)");
    };
    let dir = TempDir::new();
    dir.file("app.py", PYTHON);
    let gateway = gateway(&dir, &[("py", "python", "app.handler")]);
    let calls = json!([
        { "function": "py", "event": { "n": 1 }, "type": "Tail" },
        { "function": "py", "event": { "n": 2, "fail": true }, "type": "Tail" },
        { "function": "py", "event": { "n": 3 } },
    ]);
    let answers = ask(&python, &gateway, &calls);
    for (n, answer) in (1..).zip(&answers[..2]) {
        let (mut lines, _) = between(answer);
        // Two pipes have no order between them.
        lines.sort_unstable();
        assert_eq!(lines, ["no end of line".to_owned(), format!("python {n}")]);
    }
    assert_eq!((&answers[1]["error"], &answers[2]["log"]), (&json!("Unhandled"), &Value::Null));
    let told: Value = serde_json::from_str(answers[0]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(told, answers[0]["id"], "the function and its caller know it by one id");
}

#[test]
fn the_command_lines_tell_it() {
    let name = "the_command_lines_tell_it";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let dir = TempDir::new();
    dir.file("index.js", NODE);
    let gateway = gateway(&dir, &[("js", "node", "index.handler")]);
    let admin = gateway.admin().to_string();
    let run = |payload: &str, more: &[&str]| {
        let arguments = ["functions", "invoke", "js", "--admin", &admin, "--payload", payload];
        let output = Sluice::output(&[&arguments, more].concat());
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, err)
    };
    assert_eq!(run(r#"{"n":1}"#, &[]), (Some(0), "1\n".to_owned(), String::new()));
    let (code, out, err) = run(r#"{"n":2}"#, &["--tail"]);
    assert_eq!((code, out.as_str()), (Some(0), "2\n"), "{err}");
    assert!(err.starts_with("START RequestId: ") && err.contains("\nnode 2\nEND RequestId: "), "{err}");
    let (code, _, err) = run(r#"{"n":3,"fail":true}"#, &["--tail"]);
    assert!(code == Some(1) && err.contains("\nnode 3\nEND RequestId: ") && err.contains("no luck"), "{err}");
    let (code, _, err) = run("{}", &["--tail", "--event"]);
    assert!(code == Some(2) && err.contains("cannot be used with"), "{err}");
}

#[test]
fn awss_command_line_asks_for_it() {
    let name = "awss_command_line_asks_for_it";
    let (Some(python), Some(_)) = (python("awscli"), tool("node")) else {
        skip!(name, "needs node, and a python3 with awscli (cargo xtask setup brings it)");
    };
    let dir = TempDir::new();
    dir.file("index.js", NODE);
    let gateway = gateway(&dir, &[("js", "node", "index.handler")]);
    let endpoint = format!("http://{}", gateway.admin());
    let out = dir.path().join("out.json");
    let mut run = Command::new(python);
    run.args(["-m", "awscli", "lambda", "invoke", "--endpoint-url", &endpoint, "--region", "us-east-1"])
        .args(["--function-name", "js", "--log-type", "Tail", "--payload", r#"{"n":1}"#, "--output", "text"])
        .args(["--query", "LogResult"])
        .arg(&out)
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let output = run.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // "START RequestId: ", in Base64.
    assert!(output.stdout.starts_with(b"U1RBUlQgUmVxdWVzdElkOi"), "{output:?}");
    assert_eq!(std::fs::read_to_string(out).unwrap(), "1");
}
