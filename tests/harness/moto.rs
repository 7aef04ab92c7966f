//! moto's server: services of AWS behind integrations, and those that tests ask themselves.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::call::Call;
use crate::conn::fetch;
use crate::http::Response;
use crate::system::{TempDir, target_dir};
use crate::wait::eventually;

/// moto's server, on a port that it picks.
pub struct Moto {
    process: Child,
    /// `host:port`.
    pub address: String,
    _dir: TempDir,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn moto_python() -> Option<PathBuf> {
    target_dir().map(|target| target.join("moto-venv/bin/python3")).filter(|python| python.is_file())
}

impl Moto {
    /// `None` where moto is not installed.
    pub fn start() -> Option<Self> {
        let (python, dir) = (moto_python()?, TempDir::new());
        let mut process = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("moto says where it listens").unwrap();
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.trim().to_owned();
            }
        };
        // Its log goes on; nobody who reads it would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        eventually("moto accepts", || TcpStream::connect(&address).ok());
        Some(Self { process, address, _dir: dir })
    }

    /// Asks a service of the query protocol, and gives its XML.
    pub fn query(&self, service: &str, form: &str) -> String {
        self.post(service, form, &[("content-type", "application/x-www-form-urlencoded")]).text()
    }

    /// Makes a queue, and gives its URL.
    pub fn queue(&self, name: &str) -> Value {
        self.ask("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": name }))["QueueUrl"].clone()
    }

    /// The body of the only message on a queue, read as JSON.
    pub fn message(&self, queue: &Value) -> Value {
        let received = self.ask("sqs", "AmazonSQS.ReceiveMessage", &json!({ "QueueUrl": queue }));
        let body = received["Messages"][0]["Body"].as_str().unwrap_or_else(|| panic!("{received}"));
        serde_json::from_str(body).unwrap()
    }

    /// Asks a service of a JSON protocol as a client would, without a signature.
    pub fn ask(&self, service: &str, target: &str, body: &Value) -> Value {
        let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.0")];
        self.post(service, &body.to_string(), &headers).json()
    }

    fn post(&self, service: &str, body: &str, headers: &[(&str, &str)]) -> Response {
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut call = Call::post("/", body).host(&self.address).header("authorization", &credential);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let response = fetch(self.address.parse().unwrap(), &call);
        assert_eq!(response.status, 200, "{response:?}");
        response
    }
}
