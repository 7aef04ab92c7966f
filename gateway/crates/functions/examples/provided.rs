//! A function in Rust on AWS's own runtime client, for `tests/host.rs`: what runs as `bootstrap` of a `provided` runtime.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(async |event: LambdaEvent<Value>| {
        if event.payload == "fail" {
            return Err(Error::from("no luck"));
        }
        Ok(json!({ "event": event.payload, "arn": event.context.invoked_function_arn }))
    }))
    .await
}
