//! `Cache-Control` (RFC 9111 section 5.2).

use super::Fields;
use sluice_wire::KnownHeader;

/// The most that a number of seconds counts for: 2^31, as RFC 9111 section 1.2.2 says of values that overflow.
const SECONDS_MAX: u64 = 1 << 31;

/// What a request asks of caches on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// Keep nothing of this exchange.
    pub no_store: bool,
    /// Ask the origin before a stored answer is used. Also `Pragma: no-cache` where there is no `Cache-Control`
    /// (section 5.4), and `max-age=0`.
    pub no_cache: bool,
    /// Answer from what is stored, or 504.
    pub only_if_cached: bool,
    /// No older answer, seconds.
    pub max_age_s: Option<u64>,
    /// Fresh for at least so long, seconds.
    pub min_fresh_s: Option<u64>,
    /// Stale for at most so long is fine, seconds; `u64::MAX`: for however long.
    pub max_stale_s: Option<u64>,
    /// Stale for at most so long is fine if the origin fails, seconds (RFC 5861 section 4).
    pub stale_if_error_s: Option<u64>,
}

impl RequestControl {
    /// Of a request's fields. What can't be read asks for nothing.
    #[must_use]
    pub fn of(fields: Fields<'_>) -> Self {
        let mut found = Self::default();
        let mut present = false;
        for line in fields.all(KnownHeader::CacheControl) {
            present = true;
            for directive in Directives::new(line) {
                found.note(&directive);
            }
        }
        if !present {
            let mut pragma = fields.all(KnownHeader::Pragma).flat_map(Directives::new);
            found.no_cache = pragma.any(|directive| directive.is(b"no-cache"));
        }
        found
    }

    fn note(&mut self, directive: &Directive<'_>) {
        let seconds = directive.seconds();
        match () {
            () if directive.is(b"no-store") => self.no_store = true,
            () if directive.is(b"no-cache") => self.no_cache = true,
            () if directive.is(b"only-if-cached") => self.only_if_cached = true,
            () if directive.is(b"max-age") => {
                self.no_cache |= seconds == Some(0);
                self.max_age_s = self.max_age_s.or(seconds);
            }
            () if directive.is(b"min-fresh") => self.min_fresh_s = self.min_fresh_s.or(seconds),
            () if directive.is(b"max-stale") => {
                let any = directive.argument.is_none().then_some(u64::MAX);
                self.max_stale_s = self.max_stale_s.or(seconds).or(any);
            }
            () if directive.is(b"stale-if-error") => {
                self.stale_if_error_s = self.stale_if_error_s.or(seconds)
            }
            () => {}
        }
    }
}

/// What a response says to caches. A lifetime that can't be read counts as 0: "caches are encouraged to consider responses
/// that have invalid freshness information to be stale" (section 4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseControl {
    /// Don't store.
    pub no_store: bool,
    /// Don't use without validation. Also in its form with field names, which a cache may read as the plain one
    /// (section 5.2.2.4).
    pub no_cache: bool,
    /// For one user only, so not for us; also in its form with field names (section 5.2.2.7).
    pub private: bool,
    /// For everyone, even where the method, the status or credentials would forbid it.
    pub public: bool,
    /// Never serve it stale: `must-revalidate`, or for shared caches `proxy-revalidate` and `s-maxage`
    /// (sections 5.2.2.2, 5.2.2.8, 5.2.2.10).
    pub must_revalidate: bool,
    /// Said `must-revalidate` itself, which admits credentials (section 3.5).
    pub must_revalidate_itself: bool,
    /// Only for caches that know what the status means; then `no-store` is for those that don't (section 5.2.2.3).
    pub must_understand: bool,
    /// Lifetime, seconds.
    pub max_age_s: Option<u64>,
    /// Lifetime in shared caches, seconds.
    pub s_maxage_s: Option<u64>,
    /// Stale for at most so long while it is validated, seconds (RFC 5861 section 3).
    pub stale_while_revalidate_s: u64,
    /// Stale for at most so long if the origin fails, seconds (RFC 5861 section 4).
    pub stale_if_error_s: u64,
}

impl ResponseControl {
    /// Of a response's fields.
    #[must_use]
    pub fn of(fields: Fields<'_>) -> Self {
        let mut found = Self::default();
        for directive in fields.all(KnownHeader::CacheControl).flat_map(Directives::new) {
            found.note(&directive);
        }
        found
    }

    fn note(&mut self, directive: &Directive<'_>) {
        let lifetime = || Some(directive.seconds().unwrap_or(0));
        match () {
            () if directive.is(b"no-store") => self.no_store = true,
            () if directive.is(b"no-cache") => self.no_cache = true,
            () if directive.is(b"private") => self.private = true,
            () if directive.is(b"public") => self.public = true,
            () if directive.is(b"must-understand") => self.must_understand = true,
            () if directive.is(b"proxy-revalidate") => self.must_revalidate = true,
            () if directive.is(b"must-revalidate") => {
                self.must_revalidate = true;
                self.must_revalidate_itself = true;
            }
            // Of repeated ones the first counts (section 4.2.1).
            () if directive.is(b"max-age") => self.max_age_s = self.max_age_s.or_else(lifetime),
            () if directive.is(b"s-maxage") => {
                self.must_revalidate = true;
                self.s_maxage_s = self.s_maxage_s.or_else(lifetime);
            }
            () if directive.is(b"stale-while-revalidate") => {
                self.stale_while_revalidate_s = directive.seconds().unwrap_or(0);
            }
            () if directive.is(b"stale-if-error") => {
                self.stale_if_error_s = directive.seconds().unwrap_or(0);
            }
            () => {}
        }
    }
}

/// `name` or `name=argument`.
#[derive(Clone, Copy, Debug)]
struct Directive<'a> {
    name: &'a [u8],
    argument: Option<&'a [u8]>,
}

impl Directive<'_> {
    fn is(&self, name: &[u8]) -> bool {
        self.name.trim_ascii_end().eq_ignore_ascii_case(name)
    }

    /// The argument as delta-seconds, a token or a quoted string: recipients should take both (section 5.2). White space
    /// around the `=` is no part of the grammar and makes it unreadable.
    fn seconds(&self) -> Option<u64> {
        let argument = self.argument.filter(|_| !self.name.ends_with(b" ") && !self.name.ends_with(b"\t"))?;
        let plain = match argument {
            [b'"', inner @ .., b'"'] => inner,
            plain => plain,
        };
        if plain.is_empty() || !plain.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = plain.iter().fold(0_u64, |n, b| (n * 10 + u64::from(b - b'0')).min(SECONDS_MAX));
        Some(number)
    }
}

/// The directives of one line. Commas and signs within quotes are part of an argument.
#[derive(Clone, Debug)]
struct Directives<'a> {
    rest: &'a [u8],
}

impl<'a> Directives<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// Up to the next comma that is not quoted.
    fn element(&mut self) -> &'a [u8] {
        let (mut quoted, mut escaped) = (false, false);
        let end = self.rest.iter().position(|b| {
            match b {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        let (element, rest) = match end.and_then(|at| self.rest.split_at_checked(at)) {
            Some((element, rest)) => (element, rest.get(1..).unwrap_or_default()),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        element.trim_ascii()
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        while !self.rest.is_empty() {
            let element = self.element();
            if element.is_empty() {
                continue;
            }
            let equals = element.iter().position(|b| *b == b'=');
            return Some(match equals.and_then(|at| element.split_at_checked(at)) {
                Some((name, argument)) => Directive { name, argument: argument.get(1..) },
                None => Directive { name: element, argument: None },
            });
        }
        None
    }
}
