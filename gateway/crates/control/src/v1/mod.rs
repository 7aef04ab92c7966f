//! The control plane of REST APIs as AWS has it (service `apigateway`, version 2015-07-09).
//!
//! ```text
//! bytes ─> bounds ─> signature ─> route ─> handler over a copy of the catalog ─> store (synced) ─> answer
//!             413        403        404       4xx, and the copy is dropped         5xx
//! ```
//! Handlers are plain functions over a catalog, so that they are tested without a socket. What is not written here
//! answers `NotImplementedException` (501); `docs/compat.md` lists it.

mod account;
mod api_keys;
mod authorizers;
mod deployments;
mod documents;
mod domains;
mod fault;
mod hal;
mod ids;
mod input;
mod integrations;
mod links;
mod methods;
mod models;
mod page;
mod patch;
mod resources;
mod responses;
mod rest_apis;
mod routes;
mod serve;
mod stage_patch;
mod stages;
mod tags;
mod trials;
mod usage;
mod usage_plans;

pub(crate) use routes::decoded;
pub use serve::{Access, ControlPlane, Serving, carry_out};
pub(crate) use serve::{RESET, authenticate, handle, is_ours, reset};
pub use trials::{Subject, Trial, TrialError, TrialOutcome};

use fault::Fault;
use input::Input;
use serde_json::Value;
use sluice_catalog::{Catalog, Definition, RestApi};
use std::sync::Arc;

/// What a handler gives.
pub(crate) type Answer = Result<Reply, Fault>;

/// A good answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
    /// In place of a body.
    pub(crate) document: Option<Document>,
}

/// A file as an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) content_type: &'static str,
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body: Some(body), document: None }
    }

    pub(crate) fn created(body: Value) -> Self {
        Self { status: 201, body: Some(body), document: None }
    }

    /// 200, with a file.
    pub(crate) fn document(document: Document) -> Self {
        Self { status: 200, body: None, document: Some(document) }
    }

    /// 202, without a body.
    pub(crate) fn accepted() -> Self {
        Self { status: 202, body: None, document: None }
    }

    /// 204.
    pub(crate) fn nothing() -> Self {
        Self { status: 204, body: None, document: None }
    }
}

/// A request that has been routed.
pub(crate) struct Call {
    /// Of the path, decoded.
    pub(crate) params: Vec<(&'static str, String)>,
    /// Decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    /// Null if there is none.
    pub(crate) json: Value,
    /// As it was sent.
    pub(crate) body: Vec<u8>,
    /// What the client accepts.
    pub(crate) accept: String,
    /// Seconds since 1970.
    pub(crate) now_s: u64,
    pub(crate) access: Arc<Access>,
}

impl Call {
    /// A parameter of the path; the route has it.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `embed` names it.
    pub(crate) fn embeds(&self, name: &str) -> bool {
        let mut values = self.query.iter().filter(|(key, _)| key == "embed").map(|(_, value)| value);
        values.any(|value| value.split(',').any(|one| one.eq_ignore_ascii_case(name)))
    }

    pub(crate) fn input(&self) -> Result<Input<'_>, Fault> {
        Input::of(&self.json)
    }

    /// The API that the path names.
    pub(crate) fn api<'c>(&self, catalog: &'c Catalog) -> Result<&'c Arc<RestApi>, Fault> {
        let id = self.param("restapi_id");
        catalog.rest_apis.get(id).ok_or_else(|| self.no_api(id))
    }

    pub(crate) fn no_api(&self, id: &str) -> Fault {
        Fault::not_found(format!("Invalid API identifier specified {}:{id}", self.access.account_id))
    }

    pub(crate) fn api_mut<'c>(&self, catalog: &'c mut Catalog) -> Result<&'c mut RestApi, Fault> {
        let id = self.param("restapi_id");
        catalog.rest_apis.get_mut(id).map(Arc::make_mut).ok_or_else(|| self.no_api(id))
    }

    /// The definition of the API that the path names, to be changed.
    pub(crate) fn definition_mut<'c>(&self, catalog: &'c mut Catalog) -> Result<&'c mut Definition, Fault> {
        Ok(Arc::make_mut(&mut self.api_mut(catalog)?.definition))
    }
}

/// A catalog type as AWS answers it. These types have no keys that JSON can't hold.
pub(crate) fn show<T: serde::Serialize>(thing: &T) -> Value {
    serde_json::to_value(thing).unwrap_or(Value::Null)
}

#[cfg(test)]
mod junk;
#[cfg(test)]
mod tests;
