//! Expressions, URIs, templates and gateway responses, one a line, over a request that the last line makes: nothing panics,
//! and a URI that is rendered can stand in a request line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_mapping::{
    Answer, Assigned, BinaryMediaTypes, ContextValue, ContextVariable, GatewayResponseSource, GatewayResponses, Kind,
    Outgoing, Refusal, Request, RequestMapping, RequestParameters, RequestSource, RequestView, UriTemplate,
};

struct View<'i> {
    text: &'i str,
}

impl RequestView for View<'_> {
    fn path_parameters<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        each("id", "a%2Fb");
    }

    fn query(&self) -> &str {
        self.text
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        each("x", self.text.as_bytes());
        each("Content-Type", b"application/json");
    }

    fn body(&self) -> &[u8] {
        self.text.as_bytes()
    }

    fn context(&self, variable: ContextVariable) -> Option<ContextValue<'_>> {
        (variable == ContextVariable::Stage).then_some(ContextValue::Str(self.text))
    }

    fn stage_variables<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        each("v", "value");
    }
}

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (expression, uri, template, answer, text) = (line(), line(), line(), line(), line());
    let view = View { text };
    let request = Request::new(&view);
    let mut out = Outgoing::default();
    let places = ["path.p", "querystring.q", "header.h"].map(|to| format!("integration.request.{to}"));
    let parameters = places.each_ref().map(|to| (to.as_str(), expression));
    let source = RequestSource {
        parameters: if RequestParameters::compile(parameters).is_ok() { &parameters } else { &[] },
        templates: &[("application/json", template)],
        ..RequestSource::default()
    };
    if let Ok(mapping) = RequestMapping::compile(&source) {
        let _ = mapping.apply(&request, &BinaryMediaTypes::default(), &mut out);
    }
    if let Ok(uri) = UriTemplate::compile(uri) {
        let mut rendered = String::new();
        for assigned in [&out.parameters, &Assigned::default()] {
            rendered.clear();
            if uri.render(&request, assigned, None, &mut rendered).is_ok() {
                assert!(!rendered.contains([' ', '\r', '\n']), "{rendered:?}");
            }
        }
    }
    let responses = GatewayResponses::compile(&[GatewayResponseSource {
        kind: Kind::Default4xx,
        status: None,
        parameters: &[],
        templates: &[("application/json", answer)],
    }]);
    let refusal = Refusal::new(Kind::Throttled, "Too Many Requests");
    responses.expect("no status, no headers").answer(&refusal, &request, &mut Answer::default());
});
