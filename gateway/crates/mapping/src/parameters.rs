//! Parameter mapping: destinations, and the expressions whose values go there.

use crate::assigned::{Assigned, Place};
use crate::expression::{Expression, ExpressionError, is_name};
use crate::percent;
use crate::refusal::Refusal;
use crate::view::{Request, Response};

/// One assignment.
#[derive(Debug)]
struct Assignment {
    place: Place,
    name: Box<str>,
    from: Expression,
}

/// An integration request's parameters.
#[derive(Debug, Default)]
pub struct RequestParameters {
    assignments: Vec<Assignment>,
}

impl RequestParameters {
    /// Compiles `integration.request.{path,querystring,header}.X` to expression.
    ///
    /// # Errors
    /// All that are wrong, in AWS's words.
    pub fn compile<'t>(
        mapping: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Self, Vec<ExpressionError>> {
        let place = |to: &'t str| {
            let to = to.strip_prefix("integration.request.")?;
            let (place, name) = to.split_once('.')?;
            let place = match place {
                "path" => Place::Path,
                "querystring" => Place::Query,
                "header" => Place::Header,
                _ => return None,
            };
            Some((place, name))
        };
        compile(mapping, place, Expression::request).map(|assignments| Self { assignments })
    }

    /// Parameters that are mapped but not among those that the method declares, in AWS's words.
    pub fn undeclared(&self, declared: impl Fn(&str) -> bool) -> Vec<ExpressionError> {
        let used = self.assignments.iter().filter_map(|assignment| assignment.from.method_parameter());
        used.filter(|name| !declared(name)).map(|name| ExpressionError::undeclared(&name)).collect()
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.assignments.is_empty()
    }

    /// Whether one of them reads from the body.
    #[must_use]
    pub fn read_body(&self) -> bool {
        self.assignments.iter().any(|assignment| assignment.from.reads_body())
    }

    /// Adds what the request has to `out`. Values that go into the path are percent-encoded: a path variable stays as the
    /// client wrote it, anything else becomes one segment, so that no header can lead to another path.
    ///
    /// # Errors
    /// When an expression reads from a body that is not JSON.
    pub fn apply(&self, request: &Request<'_>, out: &mut Assigned) -> Result<(), Refusal> {
        apply(&self.assignments, request, None, out)
    }
}

/// A method response's headers.
#[derive(Debug, Default)]
pub struct ResponseParameters {
    assignments: Vec<Assignment>,
}

impl ResponseParameters {
    /// Compiles `method.response.header.X` to expression.
    ///
    /// # Errors
    /// All that are wrong, in AWS's words.
    pub fn compile<'t>(
        mapping: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Self, Vec<ExpressionError>> {
        let place = |to: &'t str| Some((Place::Header, to.strip_prefix("method.response.header.")?));
        compile(mapping, place, Expression::response).map(|assignments| Self { assignments })
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.assignments.is_empty()
    }

    /// Adds what the response has to `out`.
    ///
    /// # Errors
    /// When an expression reads from a body that is not JSON.
    pub fn apply(
        &self,
        request: &Request<'_>,
        response: &Response<'_>,
        out: &mut Assigned,
    ) -> Result<(), Refusal> {
        apply(&self.assignments, request, Some(response), out)
    }
}

fn compile<'t>(
    mapping: impl IntoIterator<Item = (&'t str, &'t str)>,
    place: impl Fn(&'t str) -> Option<(Place, &'t str)>,
    expression: impl Fn(&str) -> Result<Expression, ExpressionError>,
) -> Result<Vec<Assignment>, Vec<ExpressionError>> {
    let mut assignments = Vec::new();
    let mut errors = Vec::new();
    for (to, from) in mapping {
        let place = place(to).filter(|(_, name)| is_name(name)).ok_or_else(|| ExpressionError::invalid(to));
        match (place, expression(from)) {
            (Ok((place, name)), Ok(from)) => assignments.push(Assignment { place, name: name.into(), from }),
            (place, from) => errors.extend(place.err().into_iter().chain(from.err())),
        }
    }
    if errors.is_empty() { Ok(assignments) } else { Err(errors) }
}

fn apply(
    assignments: &[Assignment],
    request: &Request<'_>,
    response: Option<&Response<'_>>,
    out: &mut Assigned,
) -> Result<(), Refusal> {
    let mut encoded = String::new();
    for Assignment { place, name, from } in assignments {
        if *place != Place::Path {
            from.values(request, response, &mut |value| out.add(*place, name, value))?;
            continue;
        }
        if let Some(raw) = from.raw_path(request) {
            out.add(Place::Path, name, raw);
            continue;
        }
        let keep: &[u8] = if from.is_static() { b"/" } else { b"" };
        from.values(request, response, &mut |value| {
            encoded.clear();
            percent::encode_into(value, keep, &mut encoded);
            out.add(Place::Path, name, &encoded);
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{RequestParameters, ResponseParameters};
    use crate::testing::TestRequest;
    use crate::{Assigned, Place, Request};

    #[test]
    fn parameters_go_to_their_places() {
        let mapping = [
            ("integration.request.path.user", "method.request.path.id"),
            ("integration.request.querystring.q", "method.request.multivaluequerystring.q"),
            ("integration.request.header.X-Stage", "stageVariables.name"),
            ("integration.request.header.X-None", "method.request.header.None"),
        ];
        let parameters = RequestParameters::compile(mapping).unwrap();
        let view = TestRequest {
            path: vec![("id", "7")],
            query: "q=1&q=2",
            stage: vec![("name", "prod")],
            ..TestRequest::default()
        };
        let mut out = Assigned::default();
        parameters.apply(&Request::new(&view), &mut out).unwrap();
        assert_eq!(out.of(Place::Path).collect::<Vec<_>>(), [("user", "7")]);
        assert_eq!(out.of(Place::Query).collect::<Vec<_>>(), [("q", "1"), ("q", "2")]);
        assert_eq!(out.of(Place::Header).collect::<Vec<_>>(), [("X-Stage", "prod")]);
    }

    #[test]
    fn undeclared_parameters_are_told_in_awss_words() {
        let mapping = [("integration.request.path.proxy", "method.request.path.proxy")];
        let parameters = RequestParameters::compile(mapping).unwrap();
        assert!(parameters.undeclared(|name| name == "method.request.path.proxy").is_empty());
        let errors = parameters.undeclared(|_| false);
        assert_eq!(
            errors[0].message,
            "Invalid mapping expression specified: Validation Result: warnings : [], errors : \
             [Invalid mapping expression parameter specified: method.request.path.proxy]"
        );
    }

    #[test]
    fn all_faults_are_told() {
        let errors = RequestParameters::compile([
            ("integration.request.cookie.a", "'1'"),
            ("integration.request.header.a", "nothing"),
            ("method.request.header.a", "neither"),
        ]);
        assert_eq!(errors.unwrap_err().len(), 4);
        assert!(ResponseParameters::compile([("method.response.body", "'1'")]).is_err());
    }
}
