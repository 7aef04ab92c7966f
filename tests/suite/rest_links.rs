//! REST APIs: integrations over VPC links, which lead to upstream groups of the configuration.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, http_proxy};
use sluice_harness::{Backend, Gateway, Reply};

fn over_link(kind: &str, uri: &str, link: &str) -> Value {
    let mut integration = http_proxy(uri);
    integration["type"] = json!(kind);
    integration["httpMethod"] = json!("GET");
    integration["connectionType"] = json!("VPC_LINK");
    integration["connectionId"] = json!(link);
    integration["integrationResponses"] = json!({ "200": { "statusCode": "200" } });
    integration
}

#[test]
fn a_link_leads_to_a_group_by_id_or_name() {
    let servers = [Backend::start(|_| Reply::ok("one")), Backend::start(|_| Reply::ok("two"))];
    let other = Backend::start(|_| Reply::ok("other"));
    let config = format!(
        "[upstreams.private]\ntargets = [\"{}\", \"{}\"]\n[upstreams.other]\ntargets = [\"{}\"]\n\
         [vpc_links.abc123]\nupstream = \"private\"\n[vpc_links.orders]\nupstream = \"other\"\n",
        servers[0].addr(),
        servers[1].addr(),
        other.addr()
    );
    let gateway = Gateway::start(&config);
    let uri = "http://internal.example.com:8080/v1/{id}";
    let api = RestApi::new("a")
        .method("GET", "/streams/{id}", over_link("HTTP_PROXY", uri, "abc123"))
        .method("GET", "/mapped/{id}", over_link("HTTP", uri, "${stageVariables.link}"))
        .method("GET", "/named/{id}", over_link("HTTP_PROXY", uri, "xyz789"))
        .method("GET", "/nowhere/{id}", over_link("HTTP_PROXY", uri, "nope"))
        .deploy_with("s", json!({ "variables": { "link": "abc123" } }));
    let mut all = catalog(&[api]);
    all["vpcLinks"] = json!({ "xyz789": { "id": "xyz789", "name": "orders", "targetArns": [], "status": "AVAILABLE", "statusMessage": "" } });
    gateway.serve_catalog(&all);
    for path in ["/streams/7", "/mapped/7"] {
        let mut said: Vec<String> = (0..2).map(|_| gateway.rest("a", "s", path).text()).collect();
        said.sort();
        assert_eq!(said, ["one", "two"], "{path}: one after the other");
    }
    for request in servers.iter().flat_map(Backend::requests) {
        assert_eq!(request.target, "/v1/7");
        assert_eq!(request.header("host"), Some("internal.example.com:8080"), "what the URI says");
    }
    assert_eq!(gateway.rest("a", "s", "/named/7").text(), "other");
    let nowhere = gateway.rest("a", "s", "/nowhere/7");
    nowhere.assert_refusal(500, "Internal server error", "InternalServerErrorException");
    gateway.wait_for_line(0, "VPC link `nope` leads nowhere: write [vpc_links.nope]");
}

#[test]
fn links_follow_the_configuration() {
    let (one, two) = (Backend::start(|_| Reply::ok("one")), Backend::start(|_| Reply::ok("two")));
    let config = |groups: &[(&str, &Backend)]| {
        let groups =
            groups.iter().map(|(name, at)| format!("[upstreams.{name}]\ntargets = [\"{}\"]\n", at.addr()));
        format!("{}[vpc_links.l]\nupstream = \"b\"\n", groups.collect::<String>())
    };
    let gateway = Gateway::start(&config(&[("a", &one), ("b", &two)]));
    let link = over_link("HTTP_PROXY", "http://h/", "l");
    gateway.serve_rest(&[RestApi::new("a").method("GET", "/", link).deploy("s")]);
    assert_eq!(gateway.rest("a", "s", "/").text(), "two");
    // The group has another place in the file: what was compiled before must not lead to its old one.
    gateway.write_config(&config(&[("b", &two), ("a", &one)]));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.rest("a", "s", "/").text(), "two");
    gateway.write_config("[vpc_links.l]\nupstream = \"gone\"\n");
    let refused = gateway.reload();
    assert!(refused.text().contains(":2:12: error: unknown upstream `gone`"), "{}", refused.text());
}
