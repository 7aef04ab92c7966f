//! The command line: what it prints, where, and with which exit code.

use std::process::Output;

use sluice_harness::{Gateway, Sluice, TempDir, skip, tool};

const USAGE: i32 = 2;
const INVALID: i32 = 3;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Validates a configuration; returns the exit code and the diagnostics.
fn validate(text: &str) -> (Option<i32>, String) {
    let dir = TempDir::new();
    let path = dir.file("gateway.toml", text);
    let output = Sluice::output(&["validate", path.to_str().unwrap()]);
    (output.status.code(), stderr(&output) + &stdout(&output))
}

#[track_caller]
fn assert_invalid(text: &str, place: &str, words: &[&str]) {
    let (code, told) = validate(text);
    assert_eq!(code, Some(INVALID), "{text}\n{told}");
    assert!(told.contains(&format!("gateway.toml:{place}: error: ")), "expected a fault at {place}:\n{told}");
    for word in words {
        assert!(told.contains(word), "expected {word:?} in:\n{told}");
    }
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let output = Sluice::output(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for word in ["run", "validate", "reload", "version", "schema", "xdp", "explain-client", "vtl"] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
    assert!(text.to_lowercase().contains("exit"), "exit codes are documented in the help:\n{text}");
    for command in ["run", "validate", "reload"] {
        let output = Sluice::output(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(stdout(&output).contains("Usage"), "{command}");
    }
}

#[test]
fn version_says_which() {
    for args in [&["version"][..], &["--version"][..]] {
        let output = Sluice::output(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let text = stdout(&output);
        assert!(text.starts_with("sluice ") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}

#[test]
fn bad_usage_exits_2() {
    for args in [&["no-such-command"][..], &["run", "--no-such-flag"], &["validate"], &["run", "--config"]] {
        let output = Sluice::output(args);
        assert_eq!(output.status.code(), Some(USAGE), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn a_valid_file_is_valid() {
    let (code, told) = validate("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn faults_are_placed_and_explained() {
    assert_invalid("[routes.a]\npath = \"/a\"\nmock_boddy = \"a\"\n", "3:1", &["mock_boddy", "mock_body"]);
    assert_invalid("[sever]\ncores = 1\n", "1:2", &["sever", "server"]);
    assert_invalid("[server]\ncores = \"two\"\n", "2:9", &["integer"]);
    assert_invalid("[server]\ncores = 0\n", "2:9", &[]);
    assert_invalid("[server]\nlisten = [\"nonsense\"]\n", "2:11", &["nonsense"]);
    assert_invalid(
        "[routes.a]\npath = \"/a\"\nupstream = \"userz\"\n[upstreams.users]\ntargets = [\"127.0.0.1:1\"]\n",
        "3:12",
        &["users"],
    );
    assert_invalid("[routes.a]\npath = \"a\"\nmock_body = \"x\"\n", "2:8", &["/"]);
    assert_invalid("[routes.a]\npath = \"/a/{proxy+}/b\"\nmock_body = \"x\"\n", "2:8", &[]);
    assert_invalid("[routes.a]\npath = \"/a\"\nmock_body = \"x\"\nlimits = [\"none\"]\n", "4:11", &["none"]);
    assert_invalid("[keys.a]\nvalue = \"short\"\n", "2:9", &[]);
    assert_invalid("[limits.a]\nrate = -1\nburst = 1\n", "2:8", &[]);
    assert_invalid("[routes.a]\npath = \n", "2:8", &[]);
}

#[test]
fn every_fault_is_told_at_once() {
    let (code, told) = validate("[server]\ncoers = 1\nvia = 3\n[routes.a]\npath = 7\n");
    assert_eq!(code, Some(INVALID));
    for place in [":2:1:", ":3:7:", ":5:8:"] {
        assert!(told.contains(place), "{place} is missing in:\n{told}");
    }
}

#[test]
fn two_routes_for_the_same_requests_are_a_fault() {
    let (code, told) = validate(
        "[routes.a]\npath = \"/u/{id}\"\nmock_body = \"a\"\n[routes.b]\npath = \"/u/{name}\"\nmock_body = \"b\"\n",
    );
    assert_eq!(code, Some(INVALID), "{told}");
    assert!(told.contains("gateway.toml:") && told.contains('a') && told.contains('b'), "{told}");
}

#[test]
fn secrets_are_not_printed() {
    let secret = "s3cret-key-of-a-customer";
    let (_, told) =
        validate(&format!("[keys.a]\nvalue = \"{secret}\"\n[keys.b]\nvalue = \"{secret}\"\nlimits = 3\n"));
    assert!(!told.contains(secret), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_apart_from_a_bad_one() {
    let output = Sluice::output(&["validate", "/no/such/file.toml"]);
    assert!(matches!(output.status.code(), Some(1..=3)), "{output:?}");
    assert!(stderr(&output).contains("/no/such/file.toml"));
    let output = Sluice::output(&["run", "--config", "/no/such/file.toml"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("/no/such/file.toml"));
}

#[test]
fn run_refuses_a_bad_file_with_the_same_words() {
    let dir = TempDir::new();
    let path = dir.file("gateway.toml", "[routes.a]\npath = \"/a\"\nmock_boddy = \"a\"\n");
    let output = Sluice::output(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(INVALID));
    assert!(stderr(&output).contains(&format!("{}:3:1: error: ", path.display())), "{output:?}");
}

#[test]
fn a_taken_port_is_a_runtime_failure_that_names_it() {
    // Listening without SO_REUSEPORT, as another program would.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let dir = TempDir::new();
    let path = dir.file(
        "gateway.toml",
        &format!(
            "[server]\nlisten = [\"{addr}\"]\nadmin_listen = \"off\"\n[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n"
        ),
    );
    let output = Sluice::output(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains(&addr.to_string()), "{output:?}");
}

#[test]
fn the_schema_is_json_schema_for_every_section() {
    let output = Sluice::output(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")), "{schema}");
    for section in ["server", "upstreams", "routes", "keys", "limits", "cache", "access_log", "xdp"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[test]
fn xdp_top_says_what_the_filter_does() {
    let gateway = Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let output = Sluice::output(&["xdp", "top", "--once", "--admin", &gateway.admin().to_string()]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert!(!(output.stdout.is_empty() && output.stderr.is_empty()), "it says that there is no filter");
}

#[test]
fn the_schema_accepts_what_validate_accepts() {
    let Some(python) = tool("python3") else {
        skip!("the_schema_accepts_what_validate_accepts", "python3 is not installed");
    };
    let probe =
        std::process::Command::new(&python).args(["-c", "import jsonschema, tomllib"]).output().unwrap();
    if !probe.status.success() {
        skip!("the_schema_accepts_what_validate_accepts", "python3 lacks jsonschema or tomllib");
    }
    let dir = TempDir::new();
    let schema = dir.path().join("schema.json");
    std::fs::write(&schema, Sluice::output(&["schema"]).stdout).unwrap();
    let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/quickstart.toml");
    let script = "import json,sys,tomllib,jsonschema\n\
                  jsonschema.validate(tomllib.load(open(sys.argv[2],'rb')), json.load(open(sys.argv[1])))";
    let output =
        std::process::Command::new(python).args(["-c", script]).arg(&schema).arg(&sample).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}
