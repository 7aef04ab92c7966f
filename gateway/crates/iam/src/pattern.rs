//! Texts with wildcards and variables, compiled; alone, or as the six components of an ARN.

use crate::context::{Context, Value};
use crate::date::Iso;
use crate::text::Scratch;

/// What a text may contain besides itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syntax {
    /// `*` and `?`.
    pub(crate) wildcards: bool,
    /// `${key}`: since version 2012-10-17.
    pub(crate) variables: bool,
    /// Compare ASCII letters without regard to case.
    pub(crate) ignore_case: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(Box<str>),
    /// `?`: one character.
    One,
    /// `*`: any number of them.
    Many,
    Variable {
        key: Box<str>,
        default: Option<Box<str>>,
    },
}

/// A compiled text.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pieces: Box<[Piece]>,
    ignore_case: bool,
}

impl Pattern {
    /// Compiles; an error says what was expected.
    pub(crate) fn compile(text: &str, syntax: Syntax) -> Result<Self, &'static str> {
        Ok(Self { pieces: pieces(text, syntax)?.into(), ignore_case: syntax.ignore_case })
    }

    /// Holds for every text.
    pub(crate) fn is_any(&self) -> bool {
        matches!(&*self.pieces, [Piece::Many])
    }

    /// Whether all of `text` is what the pattern says. Each `*` takes as little as it can, and only the last one met is
    /// ever extended: what an earlier one could take more, this one can take as well.
    pub(crate) fn matches(&self, text: &str, context: &dyn Context) -> bool {
        let (mut next, mut rest) = (0, text);
        let mut star: Option<(usize, &str)> = None;
        loop {
            match self.pieces.get(next) {
                Some(Piece::Many) => {
                    next += 1;
                    star = Some((next, rest));
                    continue;
                }
                Some(piece) => {
                    if let Some(after) = self.consume(piece, rest, context) {
                        next += 1;
                        rest = after;
                        continue;
                    }
                }
                None if rest.is_empty() => return true,
                // A pattern that ends in `*` takes what is left.
                None if star.is_some_and(|(after, _)| after == self.pieces.len()) => return true,
                None => {}
            }
            let Some((after, from)) = star else { return false };
            let mut longer = from.chars();
            if longer.next().is_none() {
                return false;
            }
            rest = longer.as_str();
            star = Some((after, rest));
            next = after;
        }
    }

    /// What is left of `text` after a piece that is not `*`.
    fn consume<'t>(&self, piece: &Piece, text: &'t str, context: &dyn Context) -> Option<&'t str> {
        match piece {
            Piece::Literal(literal) => self.strip(text, literal),
            Piece::One => {
                let mut characters = text.chars();
                characters.next().map(|_| characters.as_str())
            }
            Piece::Variable { key, default } => {
                let mut scratch = Scratch::new();
                let value = match context.value(key) {
                    Some(value) => single(value, &mut scratch)?,
                    // A variable without a value: the text that it is part of matches nothing.
                    None => default.as_deref()?,
                };
                self.strip(text, value)
            }
            Piece::Many => None,
        }
    }

    fn strip<'t>(&self, text: &'t str, prefix: &str) -> Option<&'t str> {
        let (head, rest) = text.split_at_checked(prefix.len())?;
        let same = if self.ignore_case { head.eq_ignore_ascii_case(prefix) } else { head == prefix };
        same.then_some(rest)
    }
}

/// A value as text. Keys with several values can't stand for a text.
pub(crate) fn single<'a>(value: Value<'a>, scratch: &'a mut Scratch) -> Option<&'a str> {
    Some(match value {
        Value::Text(text) => text,
        Value::Texts(_) => return None,
        Value::Number(number) => scratch.show(number),
        Value::Bool(is) => scratch.show(is),
        Value::Ip(ip) => scratch.show(ip.to_canonical()),
        Value::TimeMs(time_ms) => scratch.show(Iso(time_ms)),
    })
}

fn pieces(text: &str, syntax: Syntax) -> Result<Vec<Piece>, &'static str> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        let special = match character {
            '*' if syntax.wildcards => Piece::Many,
            '?' if syntax.wildcards => Piece::One,
            '$' if syntax.variables && after.starts_with('{') => {
                let inside = after.get(1..).unwrap_or_default();
                let (name, behind) = inside.split_once('}').ok_or("a policy variable that ends in }")?;
                rest = behind;
                match name {
                    // The escapes of the three characters that mean something.
                    "*" | "?" | "$" => literal.push_str(name),
                    _ => {
                        flush(&mut literal, &mut pieces);
                        pieces.push(variable(name)?);
                    }
                }
                continue;
            }
            _ => {
                literal.push(character);
                rest = after;
                continue;
            }
        };
        rest = after;
        flush(&mut literal, &mut pieces);
        // `**` is `*`.
        if special != Piece::Many || pieces.last() != Some(&Piece::Many) {
            pieces.push(special);
        }
    }
    flush(&mut literal, &mut pieces);
    Ok(pieces)
}

fn flush(literal: &mut String, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into()));
    }
}

/// `aws:username`, or `aws:PrincipalTag/team, 'company-wide'`.
fn variable(inside: &str) -> Result<Piece, &'static str> {
    const EXPECTED: &str = "a policy variable: ${key} or ${key, 'default'}";
    let (key, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((key, default)) => {
            let quoted = default.trim().strip_prefix('\'').and_then(|default| default.strip_suffix('\''));
            (key, Some(quoted.ok_or(EXPECTED)?))
        }
    };
    let key = key.trim();
    if !key.contains(':') || key.contains(|c: char| c.is_whitespace() || "'*?${".contains(c)) {
        return Err(EXPECTED);
    }
    Ok(Piece::Variable { key: key.to_ascii_lowercase().into(), default: default.map(Box::from) })
}

/// How many parts `arn:partition:service:region:account:resource` has.
const COMPONENTS: usize = 6;

/// A pattern for ARNs. Each component is matched by itself, so that no `*` reaches over a colon into the next; the last
/// one has all the colons and slashes that are left.
#[derive(Debug, Clone)]
pub(crate) enum ArnPattern {
    /// `*`.
    Any,
    /// Up to six: “If you specify an incomplete ARN […] AWS automatically completes the ARN by adding wildcard
    /// characters to all missing fields” (IAM user guide, Resource element).
    Components(Box<[Pattern]>),
}

impl ArnPattern {
    pub(crate) fn compile(text: &str, variables: bool) -> Result<Self, &'static str> {
        const EXPECTED: &str = "an ARN (arn:partition:service:region:account:resource) or *";
        let syntax = Syntax { wildcards: true, variables, ignore_case: false };
        let pieces = pieces(text, syntax)?;
        if pieces.as_slice() == [Piece::Many] {
            return Ok(Self::Any);
        }
        let components = split(pieces);
        match components.first().map(Vec::as_slice) {
            Some([Piece::Literal(first)]) if **first == *"arn" && components.len() > 2 => {}
            _ => return Err(EXPECTED),
        }
        let patterns =
            components.into_iter().map(|pieces| Pattern { pieces: pieces.into(), ignore_case: false });
        Ok(Self::Components(patterns.collect()))
    }

    pub(crate) fn matches(&self, arn: &str, context: &dyn Context) -> bool {
        let Self::Components(patterns) = self else { return true };
        let mut components = arn.splitn(COMPONENTS, ':');
        let given = patterns.iter().all(|pattern| {
            components.next().is_some_and(|component| pattern.is_any() || pattern.matches(component, context))
        });
        // What the pattern leaves out must be there all the same: a shorter text is no ARN.
        given && components.count() == COMPONENTS - patterns.len()
    }
}

/// Splits at the colons of literals: those of variables' names are none.
fn split(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut components = vec![Vec::new()];
    for piece in pieces {
        let Piece::Literal(literal) = piece else {
            push(&mut components, piece);
            continue;
        };
        let mut parts = literal.splitn(COMPONENTS + 1 - components.len(), ':');
        if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            push(&mut components, Piece::Literal(part.into()));
        }
        for part in parts {
            components.push(Vec::new());
            if !part.is_empty() {
                push(&mut components, Piece::Literal(part.into()));
            }
        }
    }
    components
}

fn push(components: &mut [Vec<Piece>], piece: Piece) {
    if let Some(last) = components.last_mut() {
        last.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::{ArnPattern, Pattern, Syntax};
    use crate::context::{Map, Value};
    use proptest::prelude::*;

    const ALL: Syntax = Syntax { wildcards: true, variables: true, ignore_case: false };

    /// The definition: by trying everything.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => naive(&pattern[1..], text) || (!text.is_empty() && naive(pattern, &text[1..])),
            (Some('?'), Some(_)) => naive(&pattern[1..], &text[1..]),
            (Some(wanted), Some(found)) => wanted == found && naive(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn wildcards_match_as_defined(pattern in "[abé*?]{0,9}", text in "[abé]{0,9}") {
            let compiled = Pattern::compile(&pattern, ALL).unwrap();
            let expected = naive(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(compiled.matches(&text, &Map::default()), expected);
        }

        #[test]
        fn an_arn_matches_by_components(pattern in "arn:a(:[ab*?]{0,2}){4}", text in "arn:a(:[ab]{0,2}){4}(:b)?") {
            let compiled = ArnPattern::compile(&pattern, true).unwrap();
            let expected = pattern.splitn(6, ':').zip(text.splitn(6, ':')).all(|(pattern, text)| {
                naive(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
            });
            prop_assert_eq!(compiled.matches(&text, &Map::default()), expected);
        }

        #[test]
        fn nothing_panics(pattern in any::<String>(), text in any::<String>()) {
            if let Ok(compiled) = Pattern::compile(&pattern, ALL) {
                compiled.matches(&text, &Map::default());
            }
            if let Ok(compiled) = ArnPattern::compile(&format!("arn:{pattern}"), true) {
                compiled.matches(&text, &Map::default());
            }
        }
    }

    #[test]
    fn variables_and_escapes() {
        let context = Map::default()
            .with("aws:username", Value::Text("a*na"))
            .with("aws:SourceIp", Value::Ip("::ffff:10.0.0.1".parse().unwrap()))
            .with("aws:CurrentTime", Value::TimeMs(1_561_939_200_123))
            .with("aws:TagKeys", Value::Texts(&["x"]));
        for (pattern, text, expected) in [
            ("home/${aws:username}/*", "home/a*na/x", true),
            ("home/${AWS:UserName}", "home/a*na", true),
            // A value's wildcards are letters.
            ("home/${aws:username}", "home/anna", false),
            ("${aws:SourceIp}", "10.0.0.1", true),
            ("${aws:CurrentTime}", "2019-07-01T00:00:00.123Z", true),
            // Without a value the text matches nothing, not even itself.
            ("${aws:userid}*", "x", false),
            ("${aws:userid}", "${aws:userid}", false),
            ("${aws:TagKeys}", "x", false),
            ("${aws:userid, 'nobody'}", "nobody", true),
            ("${aws:username,'nobody'}", "a*na", true),
            ("${*}${?}${$}", "*?$", true),
            ("${*}", "x", false),
            ("$x$", "$x$", true),
        ] {
            let compiled = Pattern::compile(pattern, ALL).unwrap();
            assert_eq!(compiled.matches(text, &context), expected, "{pattern} {text}");
        }
        for pattern in
            ["${aws:username", "${}", "${username}", "${aws:user name}", "${aws:x, y}", "${aws:${a}}"]
        {
            assert!(Pattern::compile(pattern, ALL).is_err(), "{pattern}");
        }
        let old = Pattern::compile("${aws:username", Syntax { variables: false, ..ALL }).unwrap();
        assert!(old.matches("${aws:username", &context));
    }

    #[test]
    fn arns_are_completed_and_split() {
        let context = Map::default().with("aws:username", Value::Text("u:v"));
        let arn = "arn:aws:execute-api:us-east-1:123456789012:abc/prod/GET/users/a:b";
        for (pattern, expected) in [
            ("*", true),
            ("arn:aws:execute-api", true),
            ("arn:aws:execute-api:*", true),
            ("arn:*:execute-api:us-*:*:abc/*", true),
            ("arn:aws:execute-api:us-east-1:123456789012:abc/prod/GET/users/a:?", true),
            ("arn:aws:execute-api:us-east-1:123456789012:abc/prod/GET/users", false),
            // No star reaches into the next component.
            ("arn:aws:*:abc/*", false),
            ("arn:aws:s3:*", false),
            ("arn:aws:execute-api:US-EAST-1:*:*", false),
        ] {
            assert_eq!(
                ArnPattern::compile(pattern, true).unwrap().matches(arn, &context),
                expected,
                "{pattern}"
            );
        }
        let own = ArnPattern::compile("arn:aws:x:::home/${aws:username}/*", true).unwrap();
        assert!(own.matches("arn:aws:x:::home/u:v/1", &context));
        assert!(!ArnPattern::compile("arn:aws:x", true).unwrap().matches("arn:aws:x", &context));
        for text in ["", "arn", "arn:aws", "execute-api:/prod", "a*", "**x", "http://x:y:z"] {
            assert!(ArnPattern::compile(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn long_texts_cost_little() {
        let pattern = Pattern::compile("*a*a*a*a*a*a*a*b", ALL).unwrap();
        assert!(!pattern.matches(&"a".repeat(8192), &Map::default()));
    }
}
