//! The host with the machine's own node and python3, and with AWS's Python client where it is installed.
// A test may fail as it likes, and says on standard error why it is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

use serde_json::{Value, json};
use sluice_functions::{
    Body, Config, FunctionError, Host, Invocation, InvokeError, LogLine, LogTail, Response, Runtime,
    Settings, Source, StreamError, log_text,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

/// Whether a program runs; else the test says that it is skipped.
fn has(program: &str, arguments: &[&str]) -> bool {
    let there = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: {program} {} does not run here", arguments.join(" "));
    }
    there
}

/// A directory with these files, gone with the test.
struct Code(PathBuf);

impl Code {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("functions-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let code = Self(path);
        for (name, text) in files {
            code.write(name, text);
        }
        code
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn host(config: Config) -> Host {
    Host::start(vec![config], Settings::default()).unwrap()
}

fn node(code: &Code, handler: &str) -> Config {
    Config {
        init_timeout_ms: 60_000,
        timeout_ms: 60_000,
        ..Config::new("f", Runtime::Node, handler, code.path())
    }
}

fn python(code: &Code, handler: &str) -> Config {
    Config { runtime: Runtime::Python, ..node(code, handler) }
}

async fn ask(host: &Host, event: Value) -> Result<Value, InvokeError> {
    whole(host.invoke("f", Invocation::new(event.to_string())).await?).await
}

async fn whole(response: Response) -> Result<Value, InvokeError> {
    let bytes = match response.body {
        Body::Whole(bytes) => bytes,
        Body::Stream(stream) => stream.collect().await.unwrap(),
    };
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn function_error(outcome: Result<Value, InvokeError>) -> (String, Value) {
    match outcome {
        Err(InvokeError::Function(FunctionError { kind: "Unhandled", error_type, body })) => {
            (error_type, serde_json::from_slice(&body).unwrap())
        }
        other => panic!("expected a function error, found {other:?}"),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn node_handlers_of_every_form() {
    if !has("node", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "index.js",
        "exports.async = async (event, context) => ({ event, id: context.awsRequestId, name: context.functionName,
           left: context.getRemainingTimeInMillis() > 0, arn: context.invokedFunctionArn, env: process.env.GREETING })
         exports.callback = (event, context, callback) => setTimeout(() => callback(null, { got: event }), 5)
         exports.waits = (event, context, callback) => {
           let late = false; setTimeout(() => { late = true }, 20)
           callback(null, { toJSON: () => ({ late }) }) }
         exports.early = (event, context, callback) => {
           context.callbackWaitsForEmptyEventLoop = false; setInterval(() => {}, 1000); callback(null, 'early') }
         exports.nothing = () => 'a value that is no promise'
         exports.nested = { deep: async () => 'deep' }",
    )]);
    let with = |handler: &str| {
        let mut config = node(&code, handler);
        config.environment.insert("GREETING".to_owned(), "hello".to_owned());
        host(config)
    };
    let invocation = Invocation { request_id: Some("id-1".to_owned()), ..Invocation::new(r#"{"a":1}"#) };
    let response = with("index.async").invoke("f", invocation).await.unwrap();
    assert_eq!(response.content_type.as_deref(), Some("application/json"));
    let expected = json!({"event": {"a": 1}, "id": "id-1", "name": "f", "left": true, "env": "hello",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:f"});
    assert_eq!(whole(response).await.unwrap(), expected);
    assert_eq!(ask(&with("index.callback"), json!([1])).await, Ok(json!({"got": [1]})));
    assert_eq!(ask(&with("index.waits"), json!(null)).await, Ok(json!({"late": true})));
    assert_eq!(ask(&with("index.early"), json!(null)).await, Ok(json!("early")));
    assert_eq!(ask(&with("index.nothing"), json!(null)).await, Ok(Value::Null));
    assert_eq!(ask(&with("index.nested.deep"), json!(null)).await, Ok(json!("deep")));
    let modern = Code::new(&[("app.mjs", "export const handler = async () => import.meta.url.slice(-7)")]);
    assert_eq!(ask(&host(node(&modern, "app.handler")), json!(null)).await, Ok(json!("app.mjs")));
}

#[tokio::test]
async fn node_errors_are_told_and_the_instance_goes_on() {
    if !has("node", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "index.js",
        "let calls = 0
         exports.handler = async (event) => { calls += 1
           if (event === 'throw') throw new TypeError('no')
           if (event === 'text') throw 'just text'
           if (event === 'later') { setTimeout(() => { throw new RangeError('late') }, 1); await new Promise(() => {}) }
           if (event === 'never') await new Promise(() => {})
           if (event === 'cycle') { const cycle = {}; cycle.self = cycle; return cycle }
           return calls }",
    )]);
    let host = host(node(&code, "index.handler"));
    let (kind, body) = function_error(ask(&host, json!("throw")).await);
    assert_eq!((kind.as_str(), &body["errorMessage"]), ("TypeError", &json!("no")));
    assert!(body["trace"][1].as_str().unwrap().contains("index.js"));
    assert_eq!(function_error(ask(&host, json!("text")).await).1["errorMessage"], "just text");
    assert_eq!(function_error(ask(&host, json!("later")).await).0, "RangeError");
    assert_eq!(function_error(ask(&host, json!("never")).await).0, "Runtime.NodeJsExit");
    assert_eq!(function_error(ask(&host, json!("cycle")).await).0, "TypeError");
    // All by one process.
    assert_eq!(ask(&host, json!("ok")).await, Ok(json!(6)));
    assert_eq!(host.list()[0].started, 1);
}

#[tokio::test]
async fn node_streams_and_says_why_it_broke_off() {
    if !has("node", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "index.js",
        "exports.handler = awslambda.streamifyResponse(async (event, out) => {
           if (event === 'http') {
             out = awslambda.HttpResponseStream.from(out, { statusCode: 201, headers: { 'x-a': 'b' } })
             out.write('hel'); await new Promise((go) => setTimeout(go, 10)); out.write('lo'); out.end(); return }
           if (event === 'big') { for (let i = 0; i < 100; i++) {
             if (!out.write(Buffer.alloc(200000, 'x'))) await new Promise((go) => out.once('drain', go)) }
             out.end(); return }
           out.write('some'); await new Promise((go) => setTimeout(go, 10))
           if (event === 'exit') process.exit(3)
           throw new Error('half way') })",
    )]);
    let host = host(node(&code, "index.handler"));
    let stream = async |event: &str| {
        let response = host.invoke("f", Invocation::new(json!(event).to_string())).await.unwrap();
        let Body::Stream(stream) = response.body else { panic!("no stream") };
        (response.content_type, stream.collect().await)
    };
    let (content_type, body) = stream("http").await;
    assert_eq!(content_type.as_deref(), Some("application/vnd.awslambda.http-integration-response"));
    assert_eq!(body.unwrap(), "{\"statusCode\":201,\"headers\":{\"x-a\":\"b\"}}\0\0\0\0\0\0\0\0hello");
    // A caller that wants it whole gets no more than answers that come whole may have.
    let Err(StreamError::Function(error)) = stream("big").await.1 else { panic!("all of it was gathered") };
    assert_eq!(error.error_type, "Function.ResponseSizeTooLarge");
    let response = host.invoke("f", Invocation::new("\"big\"")).await.unwrap();
    let Body::Stream(mut pieces) = response.body else { panic!("no stream") };
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        length += piece.unwrap().len();
    }
    assert_eq!(length, 20_000_000);
    match stream("throw").await.1 {
        Err(StreamError::Function(error)) => assert_eq!(error.error_type, "Error"),
        other => panic!("{other:?}"),
    }
    assert_eq!(stream("exit").await.1, Err(StreamError::Broken));
    assert!(stream("http").await.1.is_ok());
}

/// What a handler sees as `_X_AMZN_TRACE_ID`, and what it says of other variables then.
async fn environment(config: Config) {
    let host = host(config);
    for n in 0..3 {
        let trace_id = format!("Root=1-5bef4de7-{n:024};Sampled=1");
        let invocation = Invocation { trace_id: Some(trace_id.clone()), ..Invocation::new("null") };
        let seen = whole(host.invoke("f", invocation).await.unwrap()).await.unwrap();
        assert_eq!(seen, json!([trace_id, trace_id, true, "later", "later", true, "Asia/Tokyo"]));
    }
}

#[tokio::test]
async fn node_has_the_trace_id_in_an_environment_like_any_other() {
    if !has("node", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "index.js",
        "const { execFileSync } = require('child_process')
         process.env.LATER = 'later'; process.env.GONE = 'x'; delete process.env.GONE; process.env.TZ = 'Asia/Tokyo'
         exports.h = async () => [process.env._X_AMZN_TRACE_ID, { ...process.env }._X_AMZN_TRACE_ID,
           '_X_AMZN_TRACE_ID' in process.env && Object.keys(process.env).filter((name) => name === '_X_AMZN_TRACE_ID').length === 1,
           process.env.LATER, String(execFileSync('sh', ['-c', 'printf %s $LATER'])), !('GONE' in process.env),
           Intl.DateTimeFormat().resolvedOptions().timeZone]",
    )]);
    environment(node(&code, "index.h")).await;
}

#[tokio::test]
async fn python_has_the_trace_id_in_an_environment_like_any_other() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "app.py",
        "import os, subprocess, time\n\
         os.environ.update(LATER='later', GONE='x', TZ='Asia/Tokyo')\n\
         del os.environ['GONE']\n\
         time.tzset()\n\
         def handler(event, context):\n\
         \x20   name = '_X_AMZN_TRACE_ID'\n\
         \x20   return [os.getenv(name), dict(os.environ)[name], list(os.environ).count(name) == 1, os.environ['LATER'],\n\
         \x20           subprocess.check_output(['sh', '-c', 'printf %s $LATER'], text=True), 'GONE' not in os.environ,\n\
         \x20           'Asia/Tokyo' if time.tzname == ('JST', 'JST') else time.tzname]\n",
    )]);
    environment(python(&code, "app.handler")).await;
}

#[tokio::test]
async fn python_handlers_and_errors() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "app.py",
        "import os, sys\n\
         def handler(event, context):\n\
         \x20   if event == 'raise': raise KeyError('k')\n\
         \x20   if event == 'set': return {1}\n\
         \x20   if event == 'exit': os._exit(7)\n\
         \x20   print('said', event)\n\
         \x20   print('warned', file=sys.stderr)\n\
         \x20   return {'event': event, 'id': context.aws_request_id, 'name': context.function_name,\n\
         \x20           'left': context.get_remaining_time_in_millis() > 0, 'memory': context.memory_limit_in_mb}\n",
    )]);
    let host = host(python(&code, "app.handler"));
    let mut follow = host.follow("f").unwrap();
    let answer = ask(&host, json!({"ü": 1})).await.unwrap();
    assert_eq!(
        (&answer["event"], &answer["name"], &answer["memory"]),
        (&json!({"ü": 1}), &json!("f"), &json!("128"))
    );
    let (first, second) = (follow.recv().await.unwrap(), follow.recv().await.unwrap());
    let mut lines = [first, second];
    lines.sort_by_key(|line| line.source == Source::Stderr);
    assert_eq!(lines[0], LogLine { instance: 0, source: Source::Stdout, text: "said {'ü': 1}".to_owned() });
    assert_eq!(lines[1], LogLine { instance: 0, source: Source::Stderr, text: "warned".to_owned() });
    assert_eq!(host.logs("f").unwrap().len(), 2);
    let (kind, body) = function_error(ask(&host, json!("raise")).await);
    assert_eq!((kind.as_str(), &body["errorMessage"]), ("KeyError", &json!("'k'")));
    assert!(body["stackTrace"][0].as_str().unwrap().contains("app.py"));
    assert_eq!(function_error(ask(&host, json!("set")).await).0, "Runtime.MarshalError");
    let (kind, body) = function_error(ask(&host, json!("exit")).await);
    assert_eq!(kind, "Runtime.ExitError");
    assert!(
        body["errorMessage"].as_str().unwrap().ends_with("Runtime exited with error: exit status: 7"),
        "{body}"
    );
    assert!(ask(&host, json!("again")).await.is_ok());
    assert_eq!(host.list()[0].started, 2);
}

#[tokio::test]
async fn aws_own_python_client() {
    // `xtask setup` installs it; a virtual environment may be named instead.
    let python = std::env::var("AWSLAMBDARIC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !has(&python, &["-c", "import awslambdaric"]) {
        return;
    }
    let code = Code::new(&[
        (
            "app.py",
            "def handler(event, context):\n    return {'event': event, 'arn': context.invoked_function_arn}\n",
        ),
        ("bootstrap", &format!("#!/bin/sh\nexec {python} -m awslambdaric \"$_HANDLER\"\n")),
    ]);
    let bootstrap = code.path().join("bootstrap");
    std::fs::set_permissions(bootstrap, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let host = host(Config { runtime: Runtime::Provided, ..node(&code, "app.handler") });
    for number in 0..3 {
        let answer = ask(&host, json!(number)).await.unwrap();
        assert_eq!(answer["event"], number);
        assert_eq!(answer["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f");
    }
}

#[tokio::test]
async fn aws_own_rust_client() {
    // Cargo builds examples before it runs tests: this executable is TARGET/PROFILE/deps/NAME.
    let exe = std::env::current_exe().unwrap();
    let example = exe.ancestors().nth(2).unwrap().join("examples/provided");
    if !example.is_file() {
        eprintln!("SKIPPED: {} is not built", example.display());
        return;
    }
    let code = Code::new(&[]);
    std::fs::copy(example, code.path().join("bootstrap")).unwrap();
    let host = host(Config { runtime: Runtime::Provided, ..node(&code, "any.name") });
    for number in 0..3 {
        let answer = ask(&host, json!(number)).await.unwrap();
        assert_eq!(
            answer,
            json!({"event": number, "arn": "arn:aws:lambda:us-east-1:000000000000:function:f"})
        );
    }
    let (_, body) = function_error(ask(&host, json!("fail")).await);
    assert_eq!(body["errorMessage"], "no luck");
    assert_eq!(ask(&host, json!(7)).await.unwrap()["event"], 7, "the instance goes on");
}

const SLEEPER: &str = "import os, signal, time\n\
    def handler(event, context):\n\
    \x20   if event == 'pid': return os.getpid()\n\
    \x20   if event == 'die': os.kill(os.getpid(), signal.SIGKILL)\n\
    \x20   time.sleep(event)\n\
    \x20   return os.getpid()\n";

#[tokio::test]
async fn killed_in_the_middle_of_a_call() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[("app.py", SLEEPER)]);
    let host = host(Config { min_instances: 1, ..python(&code, "app.handler") });
    let first = ask(&host, json!("pid")).await.unwrap();
    let (kind, body) = function_error(ask(&host, json!("die")).await);
    assert_eq!(kind, "Runtime.ExitError");
    assert!(body["errorMessage"].as_str().unwrap().contains("signal: 9"), "{body}");
    // The minimum is kept without a call that asks for it.
    until("another instance", || host.list()[0].idle == 1).await;
    assert_ne!(ask(&host, json!("pid")).await.unwrap(), first);
}

#[tokio::test]
async fn time_is_up() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[("app.py", SLEEPER)]);
    let host = host(Config { timeout_ms: 300, ..python(&code, "app.handler") });
    let pid = ask(&host, json!("pid")).await.unwrap();
    match ask(&host, json!(600)).await {
        Err(InvokeError::TimedOut(error)) => {
            assert_eq!(error.error_type, "Sandbox.Timedout");
            let body: Value = serde_json::from_slice(&error.body).unwrap();
            assert!(
                body["errorMessage"].as_str().unwrap().ends_with("Task timed out after 0.30 seconds"),
                "{body}"
            );
        }
        other => panic!("{other:?}"),
    }
    let process = PathBuf::from(format!("/proc/{pid}"));
    until("the end of the process", || !process.exists()).await;
    assert!(ask(&host, json!("pid")).await.is_ok());
    // The caller's own deadline: the function may go on.
    let deadline = Some(Instant::now() + Duration::from_millis(20));
    let outcome = host.invoke("f", Invocation { deadline, ..Invocation::new("0.1") }).await;
    assert!(matches!(outcome, Err(InvokeError::TimedOut(_))), "{outcome:?}");
    assert!(ask(&host, json!("pid")).await.is_ok());
    assert_eq!(host.list()[0].started, 3, "{:?}", host.list());
}

#[tokio::test]
async fn what_fails_to_start_says_why_and_is_not_tried_at_once() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[
        ("app.py", "raise RuntimeError('not today')\n"),
        ("quits.py", "import os\nos._exit(4)\n"),
    ]);
    for (handler, kind, text) in [
        ("app.handler", "RuntimeError", "not today"),
        ("none.handler", "Runtime.ImportModuleError", "none"),
        ("quits.handler", "Runtime.ExitError", "exit status: 4"),
    ] {
        let host = host(python(&code, handler));
        let (found, body) = function_error(ask(&host, json!(1)).await);
        assert_eq!(found, kind);
        assert!(body["errorMessage"].as_str().unwrap().contains(text), "{body}");
        assert_eq!(host.list()[0].failure.as_ref().unwrap().error_type, kind);
    }
    let slow = Code::new(&[("app.py", "import time\ntime.sleep(600)\n")]);
    let host = host(Config { init_timeout_ms: 200, ..python(&slow, "app.handler") });
    assert_eq!(function_error(ask(&host, json!(1)).await).0, "Sandbox.Timedout");
}

#[tokio::test]
async fn what_failed_to_start_is_tried_again() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[("app.py", "raise RuntimeError('not today')\n")]);
    let host = host(python(&code, "app.handler"));
    assert_eq!(function_error(ask(&host, json!(1)).await).0, "RuntimeError");
    code.write("app.py", "def handler(event, context):\n    return 'right'\n");
    let start = Instant::now();
    loop {
        match ask(&host, json!(1)).await {
            Err(InvokeError::Function(_)) if start.elapsed() < LONG => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return assert_eq!(other, Ok(json!("right"))),
        }
    }
}

#[tokio::test]
async fn six_megabytes_each_way_and_no_more() {
    if !has("node", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "index.js",
        "exports.handler = async (event) => event.grow ? 'x'.repeat(event.grow) : event.text",
    )]);
    let host = host(Config { memory_mb: 512, ..node(&code, "index.handler") });
    let text = "y".repeat((6 << 20) - 100);
    assert_eq!(ask(&host, json!({"text": text})).await, Ok(json!(text)));
    let over = host.invoke("f", Invocation::new(vec![b' '; (6 << 20) + 1])).await;
    assert!(matches!(over, Err(InvokeError::PayloadTooLarge)));
    let (kind, body) = function_error(ask(&host, json!({"grow": 7 << 20})).await);
    assert_eq!(kind, "Function.ResponseSizeTooLarge");
    assert!(body["errorMessage"].as_str().unwrap().starts_with("Response payload size exceeded"));
    assert_eq!(ask(&host, json!({"text": "z"})).await, Ok(json!("z")));
}

#[tokio::test]
async fn scales_to_the_maximum_then_throttles_then_shrinks() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[("app.py", SLEEPER)]);
    let config =
        Config { max_instances: 3, min_instances: 1, idle_timeout_ms: 100, ..python(&code, "app.handler") };
    let host = Arc::new(host(config));
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let host = Arc::clone(&host);
            tokio::spawn(async move { ask(&host, json!(0.5)).await })
        })
        .collect();
    until("three at work", || host.list()[0].busy == 3).await;
    assert_eq!(ask(&host, json!(0)).await, Err(InvokeError::Throttled));
    let mut pids = Vec::new();
    for call in calls {
        pids.push(call.await.unwrap().unwrap().to_string());
    }
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 3);
    until("one that is kept", || {
        host.list()[0].idle == 1 && host.list()[0].busy + host.list()[0].starting == 0
    })
    .await;
    let status = host.list().remove(0);
    assert_eq!((status.invocations, status.throttles), (4, 1));
}

#[tokio::test]
async fn a_changed_directory_replaces_the_code() {
    if !has("node", &["--version"]) {
        return;
    }
    let code = Code::new(&[("index.js", "exports.handler = async () => 'one'")]);
    let host = host(Config { reload: true, ..node(&code, "index.handler") });
    assert_eq!(ask(&host, json!(1)).await, Ok(json!("one")));
    code.write("index.js", "exports.handler = async () => 'another'");
    let start = Instant::now();
    while ask(&host, json!(1)).await != Ok(json!("another")) {
        assert!(start.elapsed() < LONG, "the old code still answers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn closing_waits_for_what_runs_and_leaves_no_process() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[("app.py", SLEEPER)]);
    let host = Arc::new(host(Config { min_instances: 2, ..python(&code, "app.handler") }));
    let pid = ask(&host, json!("pid")).await.unwrap();
    let running = tokio::spawn({
        let host = Arc::clone(&host);
        async move { ask(&host, json!(0.3)).await }
    });
    until("one at work", || host.list()[0].busy == 1).await;
    host.close(LONG).await;
    assert!(running.await.unwrap().is_ok());
    assert!(matches!(ask(&host, json!(0)).await, Err(InvokeError::Unavailable(_))));
    let status = host.list().remove(0);
    assert_eq!(status.starting + status.idle + status.busy, 0);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn values_that_make_no_sense() {
    let code = Code::new(&[]);
    let good = || Config::new("f", Runtime::Node, "index.handler", code.path());
    for (config, expected) in [
        (
            Config { name: "a b".to_owned(), ..good() },
            "function \"a b\": name: expected 1 to 64 letters, digits, - and _, found \"a b\"",
        ),
        (
            Config { handler: "index".to_owned(), ..good() },
            "function \"f\": handler: expected file.function, found \"index\"",
        ),
        (
            Config { directory: "/nowhere".into(), ..good() },
            "function \"f\": directory: expected a directory, found /nowhere",
        ),
        (Config { max_instances: 0, ..good() }, "function \"f\": max_instances: expected 1 to 1000, found 0"),
        (
            Config { min_instances: 17, ..good() },
            "function \"f\": min_instances: expected at most max_instances, found 17",
        ),
        (Config { timeout_ms: 0, ..good() }, "function \"f\": timeout_ms: expected 1 to 900000, found 0"),
        (Config { memory_mb: 1, ..good() }, "function \"f\": memory_mb: expected at least 32, found 1"),
    ] {
        let error = Host::start(vec![config], Settings::default()).err().unwrap();
        assert_eq!(error.to_string(), expected);
    }
    let twice = Host::start(vec![good(), good()], Settings::default()).err().unwrap();
    assert_eq!(twice.to_string(), "function \"f\": name: expected one function of each name, found two");
    let host = Host::start(vec![], Settings::default()).unwrap();
    assert_eq!(host.invoke("f", Invocation::default()).await.unwrap_err(), InvokeError::Unknown);
}

#[tokio::test]
async fn an_invocations_log_is_told_to_who_asks_for_it() {
    if !has("node", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "index.js",
        "exports.h = async (event) => { console.log('hello', event.n); console.error('oh'); if (event.n !== 2) process.stdout.write('no end')
           if (event.n === 3) throw new Error('no luck'); if (event.n === 4) { console.log('last'); process.exit(3) }
           return event.n }",
    )]);
    let mut config = node(&code, "index.h");
    config.max_instances = 1;
    let host = host(config);
    for n in 1..=4 {
        let tail = Arc::<LogTail>::default();
        let invocation = Invocation {
            request_id: Some(format!("id-{n}")),
            tail: (n != 2).then(|| Arc::clone(&tail)),
            ..Invocation::new(format!("{{\"n\":{n}}}"))
        };
        let outcome = host.invoke("f", invocation).await;
        assert_eq!(outcome.is_ok(), n < 3, "{outcome:?}");
        let Some(log) = tail.finish() else {
            assert_eq!(n, 2, "only that one is logged for nobody");
            continue;
        };
        let log = log_text(&log).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[0], format!("START RequestId: id-{n} Version: $LATEST"));
        // What another invocation printed is not among them; two pipes have no common order.
        let greeting = format!("hello {n}");
        for printed in [greeting.as_str(), "oh"] {
            assert_eq!(lines.iter().filter(|line| **line == printed).count(), 1, "{printed}: {log}");
        }
        assert_eq!(lines.iter().filter(|line| line.starts_with("hello")).count(), 1, "{log}");
        assert!(log.contains("no end"), "{log}");
        assert_eq!(log.contains("last"), n == 4, "{log}");
        assert_eq!(lines[lines.len() - 2], format!("END RequestId: id-{n}"));
        assert!(
            lines[lines.len() - 1].starts_with(&format!("REPORT RequestId: id-{n}\tDuration: ")),
            "{log}"
        );
    }
}

#[tokio::test]
async fn a_flooded_log_does_not_hold_an_answer_back() {
    if !has("python3", &["--version"]) {
        return;
    }
    let code = Code::new(&[(
        "app.py",
        "import os, threading\n\
         def flood():\n    while True:\n        os.write(1, b'flood\\n' * 100)\n\
         threading.Thread(target=flood, daemon=True).start()\n\
         def handler(event, context):\n    os.write(1, b'flood\\n')\n    return event['n']\n",
    )]);
    let host = host(python(&code, "app.handler"));
    assert_eq!(ask(&host, json!({ "n": 0 })).await, Ok(json!(0)));
    let is_flooded = || host.logs("f").unwrap().iter().any(|line| line.text == "flood");
    until("the log is flooded", is_flooded).await;
    for n in 1..=3 {
        let tail = Arc::<LogTail>::default();
        let invocation =
            Invocation { tail: Some(Arc::clone(&tail)), ..Invocation::new(format!("{{\"n\":{n}}}")) };
        let answer = tokio::time::timeout(LONG, host.invoke("f", invocation)).await.unwrap().unwrap();
        assert_eq!(whole(answer).await.unwrap(), json!(n));
        let log = log_text(&tail.finish().unwrap()).unwrap();
        assert!(log.len() <= 4096 && log.contains("flood") && log.contains("\nREPORT RequestId: "), "{log}");
    }
}
