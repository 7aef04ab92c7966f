//! Lists in pages: `limit` and `position`.

use super::{Answer, Call, Reply, fault::Fault};
use serde_json::{Map, Value, json};

const DEFAULT_LIMIT: usize = 25;
const MAX_LIMIT: usize = 500;

/// One page of what `items` gives; keys in ascending order. The position is the last key of the page before, encoded.
pub(crate) fn page<'k, T>(
    call: &Call,
    items: impl Iterator<Item = (&'k str, T)>,
    mut show: impl FnMut(T) -> Value,
) -> Answer {
    let limit = match call.query("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| Fault::bad_request(format!("Invalid limit value: {text}")))?,
    };
    let after = match call.query("position") {
        None => None,
        Some(text) => Some(decode(text).ok_or_else(|| Fault::bad_request("Invalid position parameter"))?),
    };
    let mut shown = Vec::new();
    let mut last = "";
    let mut position = None;
    for (key, item) in items.filter(|(key, _)| after.as_deref().is_none_or(|after| *key > after)) {
        if shown.len() == limit {
            position = Some(encode(last));
            break;
        }
        shown.push(show(item));
        last = key;
    }
    let mut body = Map::new();
    body.insert("item".to_owned(), Value::Array(shown));
    if let Some(position) = position {
        body.insert("position".to_owned(), json!(position));
    }
    Ok(Reply::ok(Value::Object(body)))
}

fn encode(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(text: &str) -> Option<String> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    rest.is_empty().then(|| String::from_utf8(bytes?).ok())?
}
