//! An integration's URI: text with `{path variables}` and `${stageVariables.x}`.

use crate::assigned::{Assigned, Place};
use crate::percent;
use crate::refusal::Refusal;
use crate::view::Request;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    /// `{name}`: what the integration request's path parameters say.
    Path(Box<str>),
    /// `${stageVariables.name}`.
    StageVariable(Box<str>),
}

/// A compiled URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    pieces: Vec<Piece>,
    /// Of the literal before the first variable: scheme and authority, if all of them stand there.
    origin: usize,
}

/// Why a text is not a URI here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriError {
    /// Byte in the text.
    pub at: usize,
    /// What would have been right.
    pub expected: &'static str,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for UriError {}

impl UriTemplate {
    /// Compiles a URI.
    ///
    /// # Errors
    /// When a brace is not closed or has nothing that is known in it, or a byte can't stand in a URI.
    pub fn compile(text: &str) -> Result<Self, UriError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let at = text.len() - rest.len() + open;
            let error = |expected| UriError { at, expected };
            let (before, after) = rest.split_at(open);
            let (inside, after) = after.split_once('}').ok_or(error("`}` after `{`"))?;
            let name = inside.strip_prefix('{').unwrap_or(inside);
            let (before, piece) = match before.strip_suffix('$') {
                Some(before) => {
                    let name = name.strip_prefix("stageVariables.").filter(|name| !name.is_empty());
                    (before, Piece::StageVariable(name.ok_or(error("`stageVariables.` and a name"))?.into()))
                }
                None if name.is_empty() => return Err(error("a name between `{` and `}`")),
                // `{proxy+}` is written `{proxy}` there; AWS takes both.
                None => (before, Piece::Path(name.strip_suffix('+').unwrap_or(name).into())),
            };
            if !before.is_empty() {
                pieces.push(Piece::Literal(before.into()));
            }
            pieces.push(piece);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        if let Some(at) = text.find(|char: char| char <= ' ' || char == '\x7f') {
            return Err(UriError { at, expected: "no white space and no control character" });
        }
        let origin = match pieces.first() {
            Some(Piece::Literal(first)) => {
                let end = origin_end(first);
                if pieces.len() == 1 || end < first.len() { end } else { 0 }
            }
            _ => 0,
        };
        Ok(Self { pieces, origin })
    }

    /// Scheme and authority (`http://host:port`), if no variable has a part in them: what a connection pool can be made for
    /// at publication. What [`render`](Self::render) writes begins with it.
    #[must_use]
    pub fn fixed_origin(&self) -> Option<&str> {
        match self.pieces.first() {
            Some(Piece::Literal(first)) => first.get(..self.origin).filter(|origin| !origin.is_empty()),
            _ => None,
        }
    }

    /// Names of the path variables.
    pub fn path_variables(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Path(name) => Some(&**name),
            _ => None,
        })
    }

    /// Names of the stage variables.
    pub fn stage_variables(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::StageVariable(name) => Some(&**name),
            _ => None,
        })
    }

    /// Appends the URI: its variables filled in, then the query parameters that were assigned.
    ///
    /// `passed` is a query that goes on as the client wrote it (proxy integrations), but for parameters that are assigned.
    ///
    /// # Errors
    /// When a variable has no value.
    pub fn render(
        &self,
        request: &Request<'_>,
        assigned: &Assigned,
        passed: Option<&str>,
        out: &mut String,
    ) -> Result<(), Refusal> {
        let start = out.len();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Path(name) => out.push_str(assigned.get(Place::Path, name).ok_or_else(|| {
                    Refusal::configuration(format_args!("Invalid endpoint address: no value for {{{name}}}"))
                })?),
                Piece::StageVariable(name) => {
                    out.push_str(request.stage_variable(name).ok_or_else(|| {
                        Refusal::configuration(format_args!("Invalid stage variable: {name} is not set"))
                    })?)
                }
            }
        }
        let uri = out.get(start..).unwrap_or_default();
        // `http://host?q` and `http://host` have the path `/`.
        let end = origin_end(uri);
        if end > 0 && !uri.get(end..).unwrap_or_default().starts_with('/') {
            out.insert(start + end, '/');
        }
        let mut separator = if out.get(start..).is_some_and(|uri| uri.contains('?')) { '&' } else { '?' };
        for pair in passed.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if assigned.get(Place::Query, &percent::decode(name, true)).is_none() {
                out.push(std::mem::replace(&mut separator, '&'));
                out.push_str(pair);
            }
        }
        for (name, value) in assigned.of(Place::Query) {
            out.push(std::mem::replace(&mut separator, '&'));
            percent::encode_into(name, b"", out);
            out.push('=');
            percent::encode_into(value, b"", out);
        }
        Ok(())
    }
}

/// Where scheme and authority end (RFC 3986 section 3); 0 if there is no scheme of HTTP's.
fn origin_end(uri: &str) -> usize {
    let Some(scheme) = ["http://", "https://"].into_iter().find(|scheme| uri.starts_with(scheme)) else {
        return 0;
    };
    let rest = uri.get(scheme.len()..).unwrap_or_default();
    scheme.len() + rest.find(['/', '?', '#']).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::UriTemplate;
    use crate::testing::TestRequest;
    use crate::{Assigned, Place, Request, RequestParameters};

    fn render(uri: &str, mapping: &[(&str, &str)], view: &TestRequest, passed: Option<&str>) -> String {
        let request = Request::new(view);
        let mut assigned = Assigned::default();
        let parameters = RequestParameters::compile(mapping.iter().copied()).unwrap();
        parameters.apply(&request, &mut assigned).unwrap();
        let mut out = String::new();
        UriTemplate::compile(uri).unwrap().render(&request, &assigned, passed, &mut out).unwrap();
        out
    }

    fn view() -> TestRequest {
        TestRequest {
            path: vec![("id", "a%2Fb"), ("proxy", "x/y%20z")],
            query: "q=1&r=2",
            headers: vec![("X-Evil", "../admin?x=1")],
            stage: vec![("host", "blue.example:8080"), ("v", "v2")],
            ..TestRequest::default()
        }
    }

    #[test]
    fn variables_are_filled_in() {
        let path = |name, from| (name, from);
        for (uri, mapping, expected) in [
            ("http://h", vec![], "http://h/"),
            ("http://h?a=1", vec![], "http://h/?a=1"),
            ("http://${stageVariables.host}/${stageVariables.v}", vec![], "http://blue.example:8080/v2"),
            (
                "http://h/{a}/x",
                vec![path("integration.request.path.a", "method.request.path.id")],
                "http://h/a%2Fb/x",
            ),
            (
                "http://h/{proxy+}",
                vec![path("integration.request.path.proxy", "method.request.path.proxy")],
                "http://h/x/y%20z",
            ),
            (
                "http://h/{a}",
                vec![path("integration.request.path.a", "method.request.header.x-evil")],
                "http://h/..%2Fadmin%3Fx%3D1",
            ),
            ("http://h/{a}", vec![path("integration.request.path.a", "'b/c'")], "http://h/b/c"),
            (
                "http://h/?k=v",
                vec![path("integration.request.querystring.q", "method.request.querystring.q")],
                "http://h/?k=v&q=1",
            ),
            (
                "arn:aws:apigateway:eu-west-1:s3:path/b/{a}",
                vec![path("integration.request.path.a", "method.request.path.id")],
                "arn:aws:apigateway:eu-west-1:s3:path/b/a%2Fb",
            ),
        ] {
            assert_eq!(render(uri, &mapping, &view(), None), expected);
        }
    }

    #[test]
    fn a_passed_query_gives_way_to_assigned_parameters() {
        let mapping = [("integration.request.querystring.q", "'new value'")];
        let out = render("http://h/p", &mapping, &view(), Some("q=1&r=2&%71=3"));
        assert_eq!(out, "http://h/p?r=2&q=new%20value");
    }

    #[test]
    fn the_origin_is_known_where_no_variable_is_in_it() {
        let origin = |uri| UriTemplate::compile(uri).unwrap().fixed_origin().map(str::to_owned);
        assert_eq!(origin("http://h:80/a/{b}").as_deref(), Some("http://h:80"));
        assert_eq!(origin("https://h").as_deref(), Some("https://h"));
        assert_eq!(origin("https://${stageVariables.h}/a"), None);
        assert_eq!(origin("https://h${stageVariables.h}/a"), None);
        assert_eq!(origin("${stageVariables.u}"), None);
    }

    #[test]
    fn variables_without_a_value_refuse_the_request() {
        let view = view();
        let request = Request::new(&view);
        for uri in ["http://h/{none}", "http://${stageVariables.none}/"] {
            let uri = UriTemplate::compile(uri).unwrap();
            let refusal = uri.render(&request, &Assigned::default(), None, &mut String::new()).unwrap_err();
            assert_eq!(refusal.message, "Internal server error");
            assert!(refusal.log.contains("none"), "{}", refusal.log);
        }
        let mut assigned = Assigned::default();
        assigned.set(Place::Path, "none", "there");
        let uri = UriTemplate::compile("http://h/{none}").unwrap();
        uri.render(&request, &assigned, None, &mut String::new()).unwrap();
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for (uri, at) in [("http://h/{a", 9), ("http://h/{}", 9), ("http://h/${a}", 10), ("http://h/a b", 10)]
        {
            assert_eq!(UriTemplate::compile(uri).unwrap_err().at, at, "{uri}");
        }
    }
}
