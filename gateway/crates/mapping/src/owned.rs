//! A request on its own, for work that goes on elsewhere than where it was received.

use crate::context::ContextVariable;
use crate::view::RequestView;
use sluice_vtl::ContextValue;

/// Everything that a [`RequestView`] tells, copied.
#[derive(Clone, Debug, Default)]
pub struct OwnedRequest {
    path: Vec<(String, String)>,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    context: Vec<(ContextVariable, Owned)>,
    authorizer: Vec<(String, Owned)>,
    claims: Vec<(String, Owned)>,
    stage: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Owned {
    Str(String),
    Long(i64),
    Json(String),
}

impl Owned {
    fn of(value: ContextValue<'_>) -> Self {
        match value {
            ContextValue::Str(text) => Self::Str(text.to_owned()),
            ContextValue::Long(number) => Self::Long(number),
            ContextValue::Json(text) => Self::Json(text.to_owned()),
        }
    }

    fn view(&self) -> ContextValue<'_> {
        match self {
            Self::Str(text) => ContextValue::Str(text),
            Self::Long(number) => ContextValue::Long(*number),
            Self::Json(text) => ContextValue::Json(text),
        }
    }
}

impl OwnedRequest {
    /// A copy of what a view tells, but for its body: that is handed over.
    #[must_use]
    pub fn of(view: &dyn RequestView, body: Vec<u8>) -> Self {
        let mut out = Self { query: view.query().to_owned(), body, ..Self::default() };
        view.path_parameters(&mut |name, value| out.path.push((name.to_owned(), value.to_owned())));
        view.headers(&mut |name, value| out.headers.push((name.to_owned(), value.to_owned())));
        view.authorizer(&mut |name, value| out.authorizer.push((name.to_owned(), Owned::of(value))));
        view.claims(&mut |name, value| out.claims.push((name.to_owned(), Owned::of(value))));
        view.stage_variables(&mut |name, value| out.stage.push((name.to_owned(), value.to_owned())));
        let known = |variable: &ContextVariable| Some((*variable, Owned::of(view.context(*variable)?)));
        out.context = ContextVariable::ALL.iter().filter_map(known).collect();
        out
    }

    /// Gives the body back.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

impl RequestView for OwnedRequest {
    fn path_parameters<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        self.path.iter().for_each(|(name, value)| each(name, value));
    }

    fn query(&self) -> &str {
        &self.query
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        self.headers.iter().for_each(|(name, value)| each(name, value));
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    fn context(&self, variable: ContextVariable) -> Option<ContextValue<'_>> {
        let found = self.context.iter().find(|(known, _)| *known == variable);
        found.map(|(_, value)| value.view())
    }

    fn authorizer<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        self.authorizer.iter().for_each(|(name, value)| each(name, value.view()));
    }

    fn claims<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        self.claims.iter().for_each(|(name, value)| each(name, value.view()));
    }

    fn stage_variables<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        self.stage.iter().for_each(|(name, value)| each(name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRequest;

    #[test]
    fn a_copy_tells_the_same() {
        let view = TestRequest {
            path: vec![("id", "7")],
            query: "a=1",
            headers: vec![("X-A", "b"), ("X-A", "c")],
            body: b"body".to_vec(),
            context: vec![(ContextVariable::Stage, "prod")],
            authorizer: vec![("userId", "u1")],
            stage: vec![("v", "w")],
            ..TestRequest::default()
        };
        let owned = OwnedRequest::of(&view, b"body".to_vec());
        let told = |view: &dyn RequestView| {
            let mut out = vec![view.query().to_owned(), String::from_utf8_lossy(view.body()).into_owned()];
            view.path_parameters(&mut |name, value| out.push(format!("{name}={value}")));
            view.headers(&mut |name, value| out.push(format!("{name}={}", String::from_utf8_lossy(value))));
            view.authorizer(&mut |name, value| out.push(format!("{name}={value:?}")));
            view.stage_variables(&mut |name, value| out.push(format!("{name}={value}")));
            for variable in ContextVariable::ALL {
                out.push(format!("{:?}", view.context(*variable)));
            }
            out
        };
        assert_eq!(told(&owned), told(&view));
        assert_eq!(owned.into_body(), b"body");
    }
}
