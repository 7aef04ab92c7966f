//! The form of answers for clients that do not ask for `application/json`: HAL, with `_links` and `_embedded`.

use serde_json::{Map, Value, json};

/// What a path names, for links to the guide.
const CURIES: &str = "https://docs.aws.amazon.com/apigateway/latest/developerguide/restapi-{rel}.html";

/// `body` as it is answered at `path`.
pub(crate) fn dress(body: Value, path: &str, is_list: bool) -> Value {
    let Value::Object(mut members) = body else { return body };
    let mut links = Map::new();
    links.insert("self".to_owned(), json!({ "href": path }));
    links.insert("curies".to_owned(), json!({ "href": CURIES, "name": "restapi", "templated": true }));
    if let (true, Some(Value::Array(items))) = (is_list, members.remove("item")) {
        let href = |item: &Value| {
            let id = ["id", "stageName", "domainName", "responseType", "basePath"]
                .iter()
                .find_map(|name| item.get(name)?.as_str())
                .unwrap_or_default();
            json!({ "href": format!("{}/{id}", path.trim_end_matches('/')) })
        };
        links.insert("item".to_owned(), Value::Array(items.iter().map(href).collect()));
        if let Some(position) = members.get("position").and_then(Value::as_str) {
            links.insert("next".to_owned(), json!({ "href": format!("{path}?position={position}") }));
        }
        let dressed = items.into_iter().map(|item| {
            let own = href(&item).get("href").and_then(Value::as_str).unwrap_or(path).to_owned();
            dress(item, &own, false)
        });
        members.insert("_embedded".to_owned(), json!({ "item": dressed.collect::<Vec<_>>() }));
    }
    members.insert("_links".to_owned(), Value::Object(links));
    Value::Object(members)
}
