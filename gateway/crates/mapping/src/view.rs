//! What mapping sees of an exchange.
//!
//! The data plane implements the views over the bytes that it has; [`Request`] and [`Response`] stand on top for the length
//! of one exchange and keep what was decoded or parsed.

use crate::context::{ContextName, ContextVariable};
use crate::percent;
use crate::work::Work;
use sluice_jsonpath::{Heap, Out, Path, Value, write_java, write_json};
use sluice_schema::{Invalid, Schema};
use sluice_vtl::ContextValue;
use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::fmt;

/// A method request, as it was received.
pub trait RequestView {
    /// Names and values of the path's variables, still percent-encoded, in the order of the path.
    fn path_parameters<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str));

    /// What follows `?`, still encoded; empty if nothing does.
    fn query(&self) -> &str;

    /// All header lines, in order.
    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8]));

    /// The body, without its transfer coding.
    fn body(&self) -> &[u8];

    /// The value of a `$context` variable; `None` where it has none in this exchange.
    fn context(&self, variable: ContextVariable) -> Option<ContextValue<'_>>;

    /// The access key that the request was signed with.
    fn access_key(&self) -> Option<&str> {
        None
    }

    /// What a Lambda authorizer returned in `context`.
    fn authorizer<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        let _ = each;
    }

    /// The claims of a token that a Cognito authorizer has accepted.
    fn claims<'v>(&'v self, each: &mut dyn FnMut(&'v str, ContextValue<'v>)) {
        let _ = each;
    }

    /// The stage's variables.
    fn stage_variables<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str));
}

/// An integration's response, as it was received.
pub trait ResponseView {
    /// Status code.
    fn status(&self) -> u16;

    /// All header lines, in order.
    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8]));

    /// The body, without its transfer coding.
    fn body(&self) -> &[u8];
}

/// Name and value, decoded.
pub(crate) type Pair<'v> = (Cow<'v, str>, Cow<'v, str>);

/// A request, with what was decoded of it.
pub struct Request<'v> {
    view: &'v dyn RequestView,
    path: OnceCell<Vec<(&'v str, Cow<'v, str>)>>,
    query: OnceCell<Vec<Pair<'v>>>,
    headers: OnceCell<Vec<Pair<'v>>>,
    body: Body<'v>,
    own_work: Work,
    lent_work: Option<&'v Work>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

impl<'v> Request<'v> {
    /// Over what was received; nothing is decoded yet. Mapping it may take [what it may elsewhere](Work::apart).
    #[must_use]
    pub fn new(view: &'v dyn RequestView) -> Self {
        Self {
            view,
            path: OnceCell::new(),
            query: OnceCell::new(),
            headers: OnceCell::new(),
            body: Body::new(view.body()),
            own_work: Work::apart(view.body().len()),
            lent_work: None,
        }
    }

    /// As [`new`](Self::new), but mapping it draws on this work.
    #[must_use]
    pub fn within(view: &'v dyn RequestView, work: &'v Work) -> Self {
        Self { lent_work: Some(work), ..Self::new(view) }
    }

    /// What mapping draws on.
    pub(crate) fn work(&self) -> &Work {
        self.lent_work.unwrap_or(&self.own_work)
    }

    /// What was received.
    #[must_use]
    pub fn view(&self) -> &'v dyn RequestView {
        self.view
    }

    /// The body.
    #[must_use]
    pub(crate) const fn body(&self) -> &Body<'v> {
        &self.body
    }

    /// The path's variables, decoded.
    pub(crate) fn path(&self) -> &[(&'v str, Cow<'v, str>)] {
        self.path.get_or_init(|| {
            let mut pairs = Vec::new();
            self.view.path_parameters(&mut |name, raw| pairs.push((name, percent::decode(raw, false))));
            pairs
        })
    }

    /// The query's parameters, decoded.
    pub(crate) fn query(&self) -> &[Pair<'v>] {
        self.query.get_or_init(|| percent::query(self.view.query()).collect())
    }

    /// The path's variables, decoded, to be shown.
    #[must_use]
    pub fn path_pairs(&self) -> Vec<(String, String)> {
        self.path().iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    }

    /// The query's parameters, decoded, to be shown.
    #[must_use]
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        self.query().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    /// The headers as text.
    pub(crate) fn headers(&self) -> &[Pair<'v>] {
        self.headers.get_or_init(|| {
            let mut pairs: Vec<Pair<'v>> = Vec::new();
            self.view.headers(&mut |name, value| {
                pairs.push((Cow::Borrowed(name), String::from_utf8_lossy(value)));
            });
            pairs
        })
    }

    /// A path variable as it stands in the path.
    pub(crate) fn raw_path_parameter(&self, name: &str) -> Option<&'v str> {
        let mut found = None;
        self.view.path_parameters(&mut |known, raw| {
            if known == name {
                found = Some(raw);
            }
        });
        found
    }

    /// The last value of a header, as AWS takes it where it takes one.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'v, str>> {
        let mut found = None;
        self.view.headers(&mut |known, value| {
            if known.eq_ignore_ascii_case(name) {
                found = Some(String::from_utf8_lossy(value));
            }
        });
        found
    }

    /// A stage variable.
    #[must_use]
    pub fn stage_variable(&self, name: &str) -> Option<&'v str> {
        let mut found = None;
        self.view.stage_variables(&mut |known, value| {
            if known == name {
                found = Some(value);
            }
        });
        found
    }

    /// A `$context` variable. Overrides have no value here: a template's are its own until it ends.
    #[must_use]
    pub fn context(&self, name: &ContextName) -> Option<ContextValue<'v>> {
        let mut found = None;
        let mut pick = |key: &str, known: &str, value| {
            if known == key {
                found = Some(value);
            }
        };
        match name {
            ContextName::Fixed(variable) => return self.view.context(*variable),
            ContextName::Claim(key) => self.view.claims(&mut |known, value| pick(key, known, value)),
            ContextName::Authorizer(key) => self.view.authorizer(&mut |known, value| pick(key, known, value)),
            ContextName::Claims
            | ContextName::RequestHeader(_)
            | ContextName::RequestPath(_)
            | ContextName::RequestQuery(_)
            | ContextName::ResponseHeader(_) => {}
        }
        found
    }
}

/// A response, with what was decoded of it.
pub struct Response<'v> {
    view: &'v dyn ResponseView,
    body: Body<'v>,
}

impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.view.status()).finish_non_exhaustive()
    }
}

impl<'v> Response<'v> {
    /// Over what was received; nothing is decoded yet.
    #[must_use]
    pub fn new(view: &'v dyn ResponseView) -> Self {
        Self { view, body: Body::new(view.body()) }
    }

    /// What was received.
    #[must_use]
    pub fn view(&self) -> &'v dyn ResponseView {
        self.view
    }

    pub(crate) const fn body(&self) -> &Body<'v> {
        &self.body
    }
}

/// A body that is not JSON although an expression reads from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// A parsed body.
type Tree<'v> = (Heap<'v>, Value<'v>);

/// A body, parsed once and only when something reads from it.
pub(crate) struct Body<'v> {
    bytes: &'v [u8],
    text: OnceCell<Cow<'v, str>>,
    tree: RefCell<Option<Result<Tree<'v>, NotJson>>>,
}

/// Values of a body that expressions read from; the heap of a template has its own limit.
const VALUES: usize = 1_000_000;

impl<'v> Body<'v> {
    const fn new(bytes: &'v [u8]) -> Self {
        Self { bytes, text: OnceCell::new(), tree: RefCell::new(None) }
    }

    pub(crate) const fn bytes(&self) -> &'v [u8] {
        self.bytes
    }

    /// As text; bytes that are no UTF-8 become U+FFFD.
    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| String::from_utf8_lossy(self.bytes))
    }

    fn parse(&self) -> Result<Tree<'v>, NotJson> {
        let text = std::str::from_utf8(self.bytes).map_err(|_| NotJson)?;
        let mut heap = Heap::new(VALUES);
        // No body counts as an empty object.
        let text = if text.trim_ascii().is_empty() { "{}" } else { text };
        let root = sluice_jsonpath::parse(text, &mut heap).map_err(|_| NotJson)?;
        Ok((heap, root))
    }

    /// Checks the body against a model.
    pub(crate) fn check(&self, schema: &Schema, work: &Work) -> Result<Result<(), Invalid>, NotJson> {
        let mut tree = self.tree.borrow_mut();
        let (heap, root) = tree.get_or_insert_with(|| self.parse()).as_mut().map_err(|error| *error)?;
        Ok(work.draw(work.left(), |budget| schema.check(heap, root, budget)))
    }

    /// Gives `each` what a path leads to, as text; nothing where it leads nowhere.
    pub(crate) fn read(&self, path: &Path, work: &Work, each: &mut dyn FnMut(&str)) -> Result<(), NotJson> {
        // AWS reads a body as JSON only where it begins like it; in any other nothing is found.
        if !matches!(self.bytes.trim_ascii_start(), [b'{' | b'[' | b'"' | b'\'', ..]) {
            return Ok(());
        }
        let mut tree = self.tree.borrow_mut();
        let (heap, root) = tree.get_or_insert_with(|| self.parse()).as_mut().map_err(|error| *error)?;
        let found = work.draw(work.left(), |budget| path.read(heap, root, budget));
        let Ok(Some(value)) = found else { return Ok(()) };
        match &value {
            Value::Null => {}
            Value::Str(text) => each(text),
            _ => {
                let mut out = Out::new(1 << 20);
                let written = match value {
                    Value::List(_) | Value::Map(_) => write_json(heap, &value, &mut out),
                    _ => write_java(heap, &value, &mut out),
                };
                work.spend(out.as_str().len() as u64 / 32);
                if written.is_ok() {
                    each(out.as_str());
                }
            }
        }
        Ok(())
    }
}
