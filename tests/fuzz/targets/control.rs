//! Operations of AWS's control plane, one a line (`METHOD PATH?QUERY BODY`), over an API that is there: none panics, an error has AWS's
//! form and changes nothing, and what was changed names only what is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_catalog::Catalog;
use sluice_control::{Access, carry_out};
use std::sync::Arc;

fn access() -> Arc<Access> {
    Arc::new(Access {
        region: "us-east-1".into(),
        account_id: "000000000000".into(),
        execute_api_suffix: "example.com".into(),
        development: true,
        integration_timeout_max_ms: 29_000,
        ..Access::default()
    })
}

/// `{api}`, `{root}` and `{key}` stand for what is there.
fn begin(access: &Arc<Access>) -> (Catalog, String, String, String) {
    let mut catalog = Catalog::default();
    carry_out(&mut catalog, access, ("POST", "/restapis", ""), br#"{"name":"a"}"#);
    carry_out(&mut catalog, access, ("POST", "/apikeys", ""), br#"{"name":"k","enabled":true}"#);
    let api = catalog.rest_apis.keys().next().cloned().unwrap_or_default();
    let root = catalog.rest_apis.values().next().map(|api| api.root_resource_id.clone()).unwrap_or_default();
    let key = catalog.api_keys.keys().next().cloned().unwrap_or_default();
    (catalog, api, root, key)
}

fuzz_target!(|input: &str| {
    let access = access();
    let (mut catalog, api, root, key) = begin(&access);
    for line in input.lines().take(8) {
        let line = line.replace("{api}", &api).replace("{root}", &root).replace("{key}", &key);
        let mut words = line.splitn(3, ' ');
        let (method, target, body) =
            (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let before = catalog.clone();
        let (status, error) = carry_out(&mut catalog, &access, (method, path, query), body.as_bytes());
        match error {
            None => assert!((200..300).contains(&status), "{status}: {line}"),
            Some((kind, message)) => {
                assert!((400..500).contains(&status) || status == 501, "{status} {kind}: {line}");
                assert!(kind.ends_with("Exception") && !message.is_empty(), "{kind}: {line}");
                assert!(catalog == before, "an error has changed something: {line}");
            }
        }
        let problems = sluice_store::problems(&catalog);
        assert!(problems.is_empty(), "{problems:?} after {line}");
    }
});
