//! `sluice vtl run`, `test` and `trace`: what they print, and with which exit code.

use std::process::Output;

use sluice_harness::{Sluice, TempDir};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn run_shows_the_output_and_the_overrides() {
    let dir = TempDir::new();
    let template = dir.file(
        "request.vtl",
        "#set($context.responseOverride.status = 201)\n{\"user\": $input.json('$.user'), \"ip\": \"$context.identity.sourceIp\", \"q\": \"$input.params('q')\", \"v\": \"$stageVariables.color\"}",
    );
    let input = dir.file(
        "input.json",
        r#"{"body": {"user": {"name": "Ada", "n": 1.50}}, "params": {"querystring": {"q": "a b"}}, "stageVariables": {"color": "blue"}}"#,
    );
    let context = dir.file("context.json", r#"{"identity": {"sourceIp": "192.0.2.1"}}"#);
    let args = [
        "vtl",
        "run",
        template.to_str().unwrap(),
        "--input",
        input.to_str().unwrap(),
        "--context",
        context.to_str().unwrap(),
    ];
    let output = Sluice::output(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "{\"user\": {\"name\":\"Ada\",\"n\":1.5}, \"ip\": \"192.0.2.1\", \"q\": \"a b\", \"v\": \"blue\"}\n"
    );
    assert_eq!(stderr(&output), "$context.responseOverride.status = 201\n");
}

#[test]
fn a_fault_names_template_line_and_column() {
    let dir = TempDir::new();
    let template = dir.file("bad.vtl", "{\n  \"a\": #if($x) 1\n}");
    let output = Sluice::output(&["vtl", "run", template.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("bad.vtl:3:2: expected `#end` of #if, found the end of the template"), "{told}");
}

#[test]
fn test_shows_what_differs() {
    let dir = TempDir::new();
    dir.file(
        "good.json",
        r#"{"template": "$input.path('$.a')", "input": {"body": {"a": 1}}, "output": "1"}"#,
    );
    dir.file("wrong.json", r#"{"template": ["a", "$x b ", "c"], "output": ["a", "b", "c"]}"#);
    let output = Sluice::output(&["vtl", "test", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert!(told.contains("wrong.json: differs\n     2 - b\n     2 +  b \n"), "{told}");
    assert!(told.ends_with("1 of 2 cases as expected\n"), "{told}");
}

#[test]
fn the_recorded_answers_are_such_cases() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/crates/vtl/vectors");
    let output = Sluice::output(&["vtl", "test", folder]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

#[test]
fn trace_tells_values_by_place() {
    let dir = TempDir::new();
    let template = dir.file("t.vtl", "#set($a = 2)\n#foreach($i in [1, 2])\n#if($i == $a)$i#end\n#end");
    let output = Sluice::output(&["vtl", "trace", template.to_str().unwrap()]);
    let told = stdout(&output);
    for line in
        ["1:6     #set($a) = 2", "2:1     #foreach = 2 rounds", "3:5     #if($i …) = false", "3:14    $i = 2"]
    {
        assert!(told.contains(line), "{line:?} is missing in:\n{told}");
    }
    assert!(told.contains("-------- output, after"), "{told}");
}
