//! What a template sees of the gateway, and what it leaves behind.

/// A `$context` variable's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ContextValue<'h> {
    /// A string.
    Str(&'h str),
    /// A whole number, such as `$context.requestTimeEpoch`.
    Long(i64),
    /// JSON: an authorizer's claims, say.
    Json(&'h str),
}

/// Where a request's parameter was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The path's variables.
    Path,
    /// The query string.
    QueryString,
    /// The headers.
    Header,
}

impl Place {
    /// In the order in which `$input.params(name)` searches.
    pub const ALL: [Self; 3] = [Self::Path, Self::QueryString, Self::Header];

    /// Its key in `$input.params()`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::QueryString => "querystring",
            Self::Header => "header",
        }
    }
}

/// The gateway's side: one exchange's data, asked for only when the template wants it.
pub trait Host {
    /// The body as text.
    fn body(&self) -> &str;

    /// Calls `each` with the name and value of every parameter of one place, in order.
    fn parameters<'h>(&'h self, place: Place, each: &mut dyn FnMut(&'h str, &'h str));

    /// The value of `$context.<name>`; names have dots (`identity.sourceIp`).
    fn context(&self, name: &str) -> Option<ContextValue<'_>>;

    /// Calls `each` with every `$context` variable.
    fn context_all<'h>(&'h self, each: &mut dyn FnMut(&'h str, ContextValue<'h>));

    /// Calls `each` with every stage variable.
    fn stage_variables<'h>(&'h self, each: &mut dyn FnMut(&'h str, &'h str));

    /// Variables that exist from the start, as the text of a JSON object; test vectors have them, API Gateway has none.
    fn variables(&self) -> Option<&str> {
        None
    }
}

/// How much a run may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps: nodes run, values looked at.
    pub fuel: u64,
    /// Bytes of output, and of any string made on the way.
    pub output_bytes: usize,
    /// Values in lists and maps, those of the body included.
    pub values: usize,
    /// Rounds of one `#foreach`; it ends there without an error.
    pub foreach_rounds: usize,
    /// Macros within macros.
    pub call_depth: usize,
}

impl Default for Limits {
    /// AWS's rounds and payload size; the rest bounds a run to some 50 milliseconds.
    fn default() -> Self {
        Self {
            fuel: 2_000_000,
            output_bytes: 10 << 20,
            values: 1_000_000,
            foreach_rounds: 1000,
            call_depth: 16,
        }
    }
}

/// A change that the template made to `$context.requestOverride` or `$context.responseOverride`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Such as `requestOverride.header.x-tenant` or `responseOverride.status`.
    pub name: String,
    /// Its value as text.
    pub value: String,
}

/// What a run yields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The output.
    pub text: String,
    /// Overrides, in the order in which the template made them.
    pub overrides: Vec<Override>,
    /// Steps that it took.
    pub fuel_used: u64,
}

/// One line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced<'t> {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was evaluated, as written.
    pub what: &'t str,
    /// Its value, or what was decided.
    pub value: &'t str,
}
