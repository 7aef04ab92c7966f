//! An exchange for tests.

use crate::context::ContextVariable;
use crate::view::{RequestView, ResponseView};
use sluice_vtl::ContextValue;

#[derive(Default)]
pub(crate) struct TestRequest {
    pub(crate) path: Vec<(&'static str, &'static str)>,
    pub(crate) query: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
    pub(crate) context: Vec<(ContextVariable, &'static str)>,
    pub(crate) authorizer: Vec<(&'static str, &'static str)>,
    pub(crate) claims: Vec<(&'static str, &'static str)>,
    pub(crate) stage: Vec<(&'static str, &'static str)>,
}

impl RequestView for TestRequest {
    fn path_parameters<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        self.path.iter().for_each(|(name, value)| each(name, value));
    }

    fn query(&self) -> &str {
        self.query
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        self.headers.iter().for_each(|(name, value)| each(name, value.as_bytes()));
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    fn context(&self, variable: ContextVariable) -> Option<ContextValue<'_>> {
        if variable == ContextVariable::RequestTimeEpoch {
            return Some(ContextValue::Long(1_700_000_000_123));
        }
        self.context.iter().find(|(known, _)| *known == variable).map(|(_, value)| ContextValue::Str(value))
    }

    fn authorizer<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        self.authorizer.iter().for_each(|(name, value)| each(name, ContextValue::Str(value)));
    }

    fn claims<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        self.claims.iter().for_each(|(name, value)| each(name, ContextValue::Str(value)));
    }

    fn stage_variables<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        self.stage.iter().for_each(|(name, value)| each(name, value));
    }
}

#[derive(Default)]
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
}

impl ResponseView for TestResponse {
    fn status(&self) -> u16 {
        self.status
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        self.headers.iter().for_each(|(name, value)| each(name, value.as_bytes()));
    }

    fn body(&self) -> &[u8] {
        &self.body
    }
}
