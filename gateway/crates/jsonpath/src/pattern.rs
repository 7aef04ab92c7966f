//! Java's regular expressions.
//!
//! Most run on an engine whose time is linear in the text. Look-around, back references and possessive quantifiers need
//! backtracking, which could take forever: there both the text and the steps are bounded, and reaching a bound is an error.
//! Within the bounds one search takes a few milliseconds at most, and a budget pays for the time that it took.

use crate::eval::{Budget, ReadError};
use regex::{Regex, RegexBuilder};
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::time::Duration;

/// A compiled program larger than this is refused.
const LARGEST_PROGRAM: usize = 1 << 18;

/// Longest text that is matched with backtracking, bytes: each step may look at all of it.
const LONGEST_TEXT: usize = 512;

/// Most steps back in one search.
const MOST_STEPS_BACK: usize = 3000;

/// What a unit of a budget stands for.
const UNIT_NS: u128 = 24;

/// A regular expression in Java's syntax.
#[derive(Clone, Debug)]
pub struct JavaPattern {
    /// Finds anywhere.
    find: Engine,
    /// Matches the whole text.
    whole: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Linear(Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// A pattern that can't be used here, or a search that took too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl PatternError {
    fn too_long() -> Self {
        Self(format!("more than {LONGEST_TEXT} bytes of text, or {MOST_STEPS_BACK} steps back, to match"))
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

/// What a match captured; group 0 is the match.
#[derive(Debug)]
pub enum Captures<'t> {
    /// By the linear engine.
    Linear(regex::Captures<'t>),
    /// By the other.
    Backtracking(fancy_regex::Captures<'t, str>),
}

impl<'t> Captures<'t> {
    /// How many groups the pattern has, with group 0.
    #[must_use]
    pub fn groups(&self) -> usize {
        match self {
            Self::Linear(captures) => captures.len(),
            Self::Backtracking(captures) => captures.len(),
        }
    }

    /// A group's text, if it took part.
    #[must_use]
    pub fn get(&self, group: usize) -> Option<&'t str> {
        match self {
            Self::Linear(captures) => captures.get(group).map(|found| found.as_str()),
            Self::Backtracking(captures) => captures.get(group).map(|found| found.as_str()),
        }
    }

    /// A named group's text, if there is such a group and it took part.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&'t str> {
        match self {
            Self::Linear(captures) => captures.name(name).map(|found| found.as_str()),
            Self::Backtracking(captures) => captures.name(name).map(|found| found.as_str()),
        }
    }

    /// Where the match begins and ends.
    #[must_use]
    pub fn span(&self) -> (usize, usize) {
        match self {
            Self::Linear(captures) => captures.get(0).map_or((0, 0), |found| (found.start(), found.end())),
            Self::Backtracking(captures) => {
                captures.get(0).map_or((0, 0), |found| (found.start(), found.end()))
            }
        }
    }
}

impl Engine {
    fn new(pattern: &str, flags: &str) -> Result<Self, PatternError> {
        if !needs_backtracking(pattern) {
            let linear = RegexBuilder::new(pattern)
                .case_insensitive(flags.contains('i'))
                .multi_line(flags.contains('m'))
                .dot_matches_new_line(flags.contains('s'))
                .size_limit(LARGEST_PROGRAM)
                .dfa_size_limit(LARGEST_PROGRAM)
                .nest_limit(64)
                .build();
            return match linear {
                Ok(engine) => Ok(Self::Linear(engine)),
                Err(error) => Err(PatternError(last_line(&error.to_string()))),
            };
        }
        let backtracking = fancy_regex::RegexBuilder::new(pattern)
            .case_insensitive(flags.contains('i'))
            .multi_line(flags.contains('m'))
            .dot_matches_new_line(flags.contains('s'))
            .delegate_size_limit(LARGEST_PROGRAM)
            .delegate_dfa_size_limit(LARGEST_PROGRAM)
            .backtrack_limit(MOST_STEPS_BACK)
            .build();
        let engine = backtracking.map_err(|error| PatternError(last_line(&error.to_string())))?;
        Ok(Self::Backtracking(Box::new(engine)))
    }

    fn is_match(&self, text: &str) -> Result<bool, PatternError> {
        match self {
            Self::Linear(engine) => Ok(engine.is_match(text)),
            Self::Backtracking(_) if text.len() > LONGEST_TEXT => Err(PatternError::too_long()),
            Self::Backtracking(engine) => engine.is_match(text).map_err(|_| PatternError::too_long()),
        }
    }
}

/// Whether a pattern has look-around, an atomic group, a back reference or a possessive quantifier. (The linear engine takes
/// `a*+` for a repetition of `a*`.)
fn needs_backtracking(pattern: &str) -> bool {
    let mut chars = pattern.char_indices();
    let (mut in_class, mut after_quantifier) = (0_usize, false);
    while let Some((at, char)) = chars.next() {
        let rest = pattern.get(at..).unwrap_or_default();
        let quantified = std::mem::replace(&mut after_quantifier, false);
        match char {
            '\\' => {
                let escaped = chars.next().map_or(' ', |(_, char)| char);
                if in_class == 0 && (('1'..='9').contains(&escaped) || rest.starts_with("\\k<")) {
                    return true;
                }
            }
            '[' => in_class += 1,
            ']' => in_class = in_class.saturating_sub(1),
            _ if in_class > 0 => {}
            '(' if ["(?=", "(?!", "(?<=", "(?<!", "(?>"].iter().any(|group| rest.starts_with(group)) => {
                return true;
            }
            '+' if quantified => return true,
            '*' | '+' | '}' => after_quantifier = true,
            '?' => after_quantifier = !quantified,
            _ => {}
        }
    }
    false
}

impl JavaPattern {
    /// Compiles a pattern; `flags` as in `/…/i`.
    ///
    /// # Errors
    /// When it is not a regular expression, or would need too much memory.
    pub fn new(pattern: &str, flags: &str) -> Result<Self, PatternError> {
        Self::translated(&translate(pattern, BLANK_IN_JAVA), flags)
    }

    /// Compiles a pattern of JSON Schema: ECMA 262's dialect, which differs in what is white space.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn ecma(pattern: &str) -> Result<Self, PatternError> {
        Self::translated(&translate(pattern, BLANK_IN_ECMA), "")
    }

    fn translated(pattern: &str, flags: &str) -> Result<Self, PatternError> {
        let whole = Engine::new(&format!(r"\A(?:{pattern})\z"), flags)?;
        Ok(Self { find: Engine::new(pattern, flags)?, whole })
    }

    /// Starts to take the time, where the pattern is one that may take long.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(matches!(self.find, Engine::Backtracking(_)).then(cpu_time))
    }

    /// As [`Self::matches`], paid for.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn matches_within(&self, text: &str, budget: &mut Budget) -> Result<bool, ReadError> {
        budget.spend(text.len() as u64 / 8)?;
        let mut clock = self.clock();
        let matches = self.matches(text);
        clock.charge(budget).map(|()| matches)
    }

    /// As [`Self::finds`], paid for.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn finds_within(&self, text: &str, budget: &mut Budget) -> Result<bool, ReadError> {
        budget.spend(text.len() as u64 / 16)?;
        let mut clock = self.clock();
        let finds = self.finds(text);
        clock.charge(budget).map(|()| finds)
    }

    /// `Matcher.matches()`; a search that takes too long counts as no match.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.try_matches(text).unwrap_or(false)
    }

    /// `Matcher.matches()`.
    ///
    /// # Errors
    /// When the search takes too long.
    pub fn try_matches(&self, text: &str) -> Result<bool, PatternError> {
        self.whole.is_match(text)
    }

    /// `Matcher.find()`; a search that takes too long counts as no match.
    #[must_use]
    pub fn finds(&self, text: &str) -> bool {
        self.find.is_match(text).unwrap_or(false)
    }

    /// Calls `each` with every match, from the left, until it says that this was enough.
    ///
    /// # Errors
    /// When the search takes too long.
    pub fn each_match<'t>(
        &self,
        text: &'t str,
        mut each: impl FnMut(Captures<'t>) -> bool,
    ) -> Result<(), PatternError> {
        match &self.find {
            Engine::Linear(engine) => {
                engine.captures_iter(text).all(|captures| each(Captures::Linear(captures)));
            }
            Engine::Backtracking(_) if text.len() > LONGEST_TEXT => return Err(PatternError::too_long()),
            Engine::Backtracking(engine) => {
                for captures in engine.captures_iter(text) {
                    let captures = captures.map_err(|_| PatternError::too_long())?;
                    if !each(Captures::Backtracking(captures)) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The time that searches take by backtracking: how long cannot be told from text and pattern. It is the thread's own, so that
/// nobody pays for what others do with the CPU meanwhile.
#[derive(Debug)]
pub struct Clock(Option<Duration>);

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl Clock {
    /// Has a budget pay for the time since the last call.
    ///
    /// # Errors
    /// When the budget is used up.
    pub fn charge(&mut self, budget: &mut Budget) -> Result<(), ReadError> {
        let Some(since) = &mut self.0 else { return Ok(()) };
        let now = cpu_time();
        let units = now.saturating_sub(*since).as_nanos() / UNIT_NS;
        *since = now;
        budget.spend(u64::try_from(units).unwrap_or(u64::MAX))
    }
}

/// The engine's message ends with the reason; before it stands a picture of the pattern.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// What `\s` stands for, inside a class.
const BLANK_IN_JAVA: &str = r" \t\n\x0B\f\r";
const BLANK_IN_ECMA: &str = r"\s\x{FEFF}";

/// What Java writes differently: classes are ASCII there, and `\Z`, `\h`, `\R` and some class names are missing here.
fn translate(pattern: &str, blank: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        let Some(escaped) = chars.next() else {
            out.push('\\');
            break;
        };
        match escaped {
            'd' => out.push_str("[0-9]"),
            'D' => out.push_str("[^0-9]"),
            'w' => out.push_str("[a-zA-Z_0-9]"),
            'W' => out.push_str("[^a-zA-Z_0-9]"),
            's' => out.push_str(&format!("[{blank}]")),
            'S' => out.push_str(&format!("[^{blank}]")),
            'c' => control(&mut chars, &mut out),
            'h' => out.push_str(r"[ \t\x{A0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]"),
            'Z' => out.push_str(r"(?:\n?\z)"),
            'R' => out.push_str(r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])"),
            'Q' => quoted(&mut chars, &mut out),
            'p' | 'P' => class(escaped, &mut chars, &mut out),
            // Java takes a backslash before any character that is no letter.
            _ if !escaped.is_ascii_alphanumeric() => out.push_str(&regex::escape(&escaped.to_string())),
            _ => {
                out.push('\\');
                out.push(escaped);
            }
        }
    }
    out
}

/// `\cX`.
fn control(chars: &mut std::str::Chars<'_>, out: &mut String) {
    match chars.as_str().chars().next().filter(char::is_ascii_alphabetic) {
        Some(letter) => {
            chars.next();
            out.push_str(&format!("\\x{:02X}", letter as u8 % 32));
        }
        None => out.push_str("\\c"),
    }
}

/// `\Q…\E`.
fn quoted(chars: &mut std::str::Chars<'_>, out: &mut String) {
    let rest = chars.as_str();
    let (literal, after) = rest.split_once("\\E").unwrap_or((rest, ""));
    out.push_str(&regex::escape(literal));
    *chars = after.chars();
}

/// `\p{Alpha}`; names that are not POSIX ones are the engine's to know.
fn class(letter: char, chars: &mut std::str::Chars<'_>, out: &mut String) {
    let rest = chars.as_str();
    let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let Some((name, after)) = name else {
        out.push('\\');
        out.push(letter);
        return;
    };
    *chars = after.chars();
    let posix = ["Lower", "Upper", "Alpha", "Digit", "Alnum", "Punct", "Graph", "Print", "Blank", "Cntrl"]
        .into_iter()
        .find(|posix| *posix == name);
    let negated = if letter == 'P' { "^" } else { "" };
    match (posix, name) {
        (Some(posix), _) => out.push_str(&format!("[[:{negated}{}:]]", posix.to_lowercase())),
        (None, "XDigit") => out.push_str(&format!("[[:{negated}xdigit:]]")),
        (None, "Space") => out.push_str(&format!("[[:{negated}space:]]")),
        (None, "ASCII") => out.push_str(&format!("[[:{negated}ascii:]]")),
        (None, _) => out.push_str(&format!("\\{letter}{{{}}}", name.strip_prefix("Is").unwrap_or(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::{JavaPattern, LONGEST_TEXT};
    use crate::Budget;

    #[test]
    fn java_syntax_is_understood() {
        for (pattern, text, matches) in [
            ("[0-9]*", "123", true),
            ("[0-9]*", "d123", false),
            (r"^\d{4}-\d{2}$", "2020-01", true),
            (r"\d+", "٣", false),
            (r"[\d\-]+", "1-2", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\p{Alpha}+", "abc", true),
            (r"\p{IsLatin}+", "abc", true),
            (r"a\/b", "a/b", true),
            (r".*\Z", "abc", true),
        ] {
            assert_eq!(JavaPattern::new(pattern, "").unwrap().matches(text), matches, "{pattern}");
        }
        assert!(JavaPattern::new("ABC", "i").unwrap().matches("abc"));
    }

    #[test]
    fn what_needs_backtracking_has_it_and_is_bounded() {
        for (pattern, text, matches) in [
            (r"^(?=.*[A-Z])(?=.*\d).{8,}$", "passw0rD", true),
            (r"^(?=.*[A-Z])(?=.*\d).{8,}$", "password", false),
            (r"(?!200)\d{3}", "404", true),
            (r"(?!200)\d{3}", "200", false),
            (r"(a|b)\1", "aa", true),
            (r"(a|b)\1", "ab", false),
            (r"a*+a", "aaa", false),
        ] {
            assert_eq!(JavaPattern::new(pattern, "").unwrap().matches(text), matches, "{pattern} {text}");
        }
        let slow = JavaPattern::new(r"(?!x)(?:(a|aa)+)\1c", "").unwrap();
        assert!(slow.try_matches(&"a".repeat(100)).is_err());
        assert!(slow.try_matches(&"a".repeat(3000)).is_err());
        let mut found = Vec::new();
        let words = JavaPattern::new(r"(?<=\s|^)(?<first>\w)", "").unwrap();
        words
            .each_match("ab cd ef", |one| {
                found.push((one.span(), one.named("first").unwrap(), one.groups()));
                found.len() < 2
            })
            .unwrap();
        assert_eq!(found, [((0, 1), "a", 2), ((3, 4), "c", 2)]);
    }

    #[test]
    fn a_budget_pays_for_the_time_of_backtracking() {
        let slow = JavaPattern::new("(?:(?=.*x)a|a)*b", "").unwrap();
        let text = "a".repeat(LONGEST_TEXT);
        let mut budget = Budget::new(1_000_000);
        let searches = (0..100_000).take_while(|_| slow.finds_within(&text, &mut budget).is_ok()).count();
        // By length alone it would be 31,250.
        assert!(searches < 20_000, "{searches}");
        let linear = JavaPattern::new("a*b", "").unwrap();
        let mut budget = Budget::new(100 * 32);
        assert_eq!((0..1000).take_while(|_| linear.finds_within(&text, &mut budget).is_ok()).count(), 100);
    }

    #[test]
    fn what_is_no_pattern_or_needs_too_much_room_is_refused() {
        assert!(JavaPattern::new("((a{1000}){1000}){1000}", "").is_err());
        assert!(JavaPattern::new("(?=(a{1000}){1000})b", "").is_err());
        assert!(JavaPattern::new("(", "").is_err());
        assert!(JavaPattern::new("(?=", "").is_err());
        assert!(JavaPattern::new(&"(?=".repeat(10_000), "").is_err());
    }
}
