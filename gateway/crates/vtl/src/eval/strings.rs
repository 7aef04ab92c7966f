//! `java.lang.String`. Positions count UTF-16 units, as Java's do.

use super::{Eval, Fault, Run, byte_of, util};
use crate::ast::Method;
use sluice_jsonpath::{Captures, JavaPattern, ListKind, PatternError, Text, Value};
use std::borrow::Cow;

impl<'a> Eval<'a, '_> {
    pub(super) fn string_method(
        &mut self,
        text: &Text<'a>,
        method: &'a Method,
        args: &[Value<'a>],
    ) -> Run<Option<Value<'a>>> {
        self.budget.spend(text.len() as u64 / 64)?;
        let found = match args {
            [] => self.without_arguments(text, &method.name)?,
            [Value::Int(at)] => with_position(text, &method.name, *at)?,
            [Value::Str(other)] => with_text(text, &method.name, other),
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
        Ok(Some(match (&*method.name, args) {
            ("substring", [Value::Int(from), Value::Int(to)]) => {
                Value::Str(substring(text, *from, Some(*to))?)
            }
            ("indexOf", [Value::Str(part), Value::Int(from)]) => {
                let start = byte_of(text, usize::try_from(*from).unwrap_or(0)).unwrap_or(text.len());
                let at = text.get(start..).and_then(|rest| rest.find(&**part));
                units_before(text, at.map(|at| at + start))
            }
            ("startsWith", [Value::Str(part), Value::Int(from)]) => {
                let rest = usize::try_from(*from).ok().and_then(|from| byte_of(text, from));
                Value::Bool(rest.and_then(|at| text.get(at..)).is_some_and(|rest| rest.starts_with(&**part)))
            }
            ("replace", [Value::Str(from), Value::Str(to)]) => {
                self.room_for(text.len() + text.matches(&**from).count() * to.len())?;
                Value::text(text.replace(&**from, to))
            }
            // A static method, so the string it is called on has no part in it.
            ("format", [Value::Str(pattern), args @ ..]) => Value::text(self.format(pattern, args)?),
            ("equals", [_]) => Value::Bool(false),
            ("contains" | "matches" | "split" | "replaceAll" | "replaceFirst", _) => {
                return self.pattern_method(text, method, args);
            }
            ("repeat", [Value::Int(count)]) => {
                let count =
                    usize::try_from(*count).map_err(|_| Fault::failed("repeat: count is negative"))?;
                self.room_for(text.len().saturating_mul(count))?;
                Value::text(text.repeat(count))
            }
            ("valueOf", [value]) => Value::Str(self.text(value)?),
            ("join", [Value::Str(between), Value::List(id)]) => {
                let items = self.heap.list(*id).items.clone();
                let mut joined = String::new();
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        joined.push_str(between);
                    }
                    joined.push_str(&self.text(item)?);
                    self.room_for(joined.len())?;
                }
                Value::text(joined)
            }
            _ => return Ok(None),
        }))
    }

    fn without_arguments(&mut self, text: &Text<'a>, name: &str) -> Run<Option<Value<'a>>> {
        Ok(Some(match name {
            "length" => units(text),
            "isEmpty" => Value::Bool(text.is_empty()),
            "isBlank" => Value::Bool(text.trim().is_empty()),
            "toString" | "intern" => Value::Str(text.clone()),
            "toUpperCase" => Value::text(text.to_uppercase()),
            "toLowerCase" => Value::text(text.to_lowercase()),
            "trim" => Value::Str(util::trim(text)),
            "strip" => Value::text(text.trim().to_owned()),
            "hashCode" => Value::Int(util::scalar_hash(&Value::Str(text.clone()))),
            "getBytes" => {
                let bytes = text.bytes().map(|byte| Value::Int(i32::from(byte as i8))).collect();
                return self.new_list(ListKind::Array, bytes);
            }
            "toCharArray" => {
                let chars = text.chars().map(|char| Value::text(char.to_string())).collect();
                return self.new_list(ListKind::Array, chars);
            }
            _ => return Ok(None),
        }))
    }

    /// Methods that take a regular expression, and `contains`.
    fn pattern_method(
        &mut self,
        text: &Text<'a>,
        method: &'a Method,
        args: &[Value<'a>],
    ) -> Run<Option<Value<'a>>> {
        let Some(Value::Str(source)) = args.first() else { return Ok(None) };
        self.budget.spend(text.len() as u64 / 8)?;
        let pattern = match &method.pattern {
            Some(pattern) => Cow::Borrowed(pattern),
            None => {
                // Compiling costs far more than matching.
                self.budget.spend(1000 + source.len() as u64 * 20)?;
                let compiled = JavaPattern::new(source, "");
                Cow::Owned(compiled.map_err(|error| Fault::failed(format!("regular expression: {error}")))?)
            }
        };
        Ok(Some(match (&*method.name, args) {
            ("matches", [_]) => {
                let mut clock = pattern.clock();
                let matches = pattern.try_matches(text).map_err(slow)?;
                clock.charge(&mut self.budget)?;
                Value::Bool(matches)
            }
            ("replaceAll", [_, Value::Str(by)]) => {
                Value::text(self.replace(&pattern, text, by, usize::MAX)?)
            }
            ("replaceFirst", [_, Value::Str(by)]) => Value::text(self.replace(&pattern, text, by, 1)?),
            ("split", [_]) => return self.split(&pattern, text, 0),
            ("split", [_, Value::Int(limit)]) => return self.split(&pattern, text, *limit),
            _ => return Ok(None),
        }))
    }

    fn replace(&mut self, pattern: &JavaPattern, text: &str, by: &str, times: usize) -> Run<String> {
        let mut out = String::new();
        let (mut last, mut done, mut run) = (0, 0, Ok(()));
        let mut clock = pattern.clock();
        let search = pattern.each_match(text, |captures| {
            if done == times {
                return false;
            }
            done += 1;
            let (start, end) = captures.span();
            out.push_str(text.get(last..start).unwrap_or_default());
            last = end;
            run = expand(by, &captures, &mut out)
                .and_then(|()| Ok(self.budget.spend(MATCH_UNITS)?))
                .and_then(|()| Ok(clock.charge(&mut self.budget)?))
                .and_then(|()| self.room_for(out.len()));
            run.is_ok()
        });
        search.map_err(slow)?;
        run?;
        clock.charge(&mut self.budget)?;
        out.push_str(text.get(last..).unwrap_or_default());
        Ok(out)
    }

    /// `split`: without a limit, trailing empty pieces go.
    fn split(&mut self, pattern: &JavaPattern, text: &Text<'a>, limit: i32) -> Run<Option<Value<'a>>> {
        let most = if limit > 0 { limit as usize } else { usize::MAX };
        let mut pieces = Vec::new();
        let (mut last, mut paid, mut clock) = (0, Ok(()), pattern.clock());
        let search = pattern.each_match(text, |captures| {
            if pieces.len() + 1 >= most {
                return false;
            }
            paid = self.budget.spend(MATCH_UNITS).and_then(|()| clock.charge(&mut self.budget));
            let (start, end) = captures.span();
            // No empty piece before a match of nothing at the start, and none after one at the end.
            if start < end || start != 0 && start != text.len() {
                pieces.push(text.get(last..start).unwrap_or_default());
                last = end;
            }
            paid.is_ok()
        });
        search.map_err(slow)?;
        paid?;
        clock.charge(&mut self.budget)?;
        pieces.push(text.get(last..).unwrap_or_default());
        if limit == 0 && pieces.len() > 1 {
            while pieces.len() > 1 && pieces.last().is_some_and(|piece| piece.is_empty()) {
                pieces.pop();
            }
            if pieces.iter().all(|piece| piece.is_empty()) {
                pieces.clear();
            }
        }
        let items = pieces.into_iter().map(|piece| Value::text(piece.to_owned())).collect();
        self.new_list(ListKind::Array, items)
    }

    /// Refuses strings longer than output may be.
    pub(super) fn room_for(&mut self, bytes: usize) -> Run<()> {
        if bytes > self.limits.output_bytes {
            return Err(Fault::limit("bytes of a string"));
        }
        Ok(self.budget.spend(bytes as u64 / 256)?)
    }
}

/// For a match with its captures, beside the text that was searched.
const MATCH_UNITS: u64 = 11;

fn slow(error: PatternError) -> Fault {
    Fault::failed(format!("regular expression: {error}"))
}

fn with_position<'a>(text: &Text<'a>, name: &str, at: i32) -> Run<Option<Value<'a>>> {
    Ok(Some(match name {
        "substring" => Value::Str(substring(text, at, None)?),
        "charAt" => Value::Str(substring(text, at, at.checked_add(1))?),
        "codePointAt" => {
            let at = usize::try_from(at).ok().and_then(|at| byte_of(text, at));
            let char = at.and_then(|at| text.get(at..)).and_then(|rest| rest.chars().next());
            Value::Int(char.ok_or_else(|| outside(text))? as i32)
        }
        _ => return Ok(None),
    }))
}

fn with_text<'a>(text: &Text<'a>, name: &str, other: &str) -> Option<Value<'a>> {
    Some(match name {
        "contains" => Value::Bool(text.contains(other)),
        "startsWith" => Value::Bool(text.starts_with(other)),
        "endsWith" => Value::Bool(text.ends_with(other)),
        "equals" | "contentEquals" => Value::Bool(**text == *other),
        "equalsIgnoreCase" => Value::Bool(text.to_lowercase() == other.to_lowercase()),
        "indexOf" => units_before(text, text.find(other)),
        "lastIndexOf" => units_before(text, text.rfind(other)),
        "concat" => Value::text(format!("{text}{other}")),
        "compareTo" => Value::Int(compare(text, other)),
        "compareToIgnoreCase" => Value::Int(compare(&text.to_lowercase(), &other.to_lowercase())),
        _ => return None,
    })
}

/// The difference of the first units that differ, or of the lengths.
fn compare(left: &str, right: &str) -> i32 {
    let mut pairs = left.encode_utf16().zip(right.encode_utf16());
    match pairs.find(|(a, b)| a != b) {
        Some((a, b)) => i32::from(a) - i32::from(b),
        None => left.encode_utf16().count() as i32 - right.encode_utf16().count() as i32,
    }
}

fn units(text: &str) -> Value<'static> {
    let count = if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
    Value::Int(i32::try_from(count).unwrap_or(i32::MAX))
}

fn units_before(text: &str, at: Option<usize>) -> Value<'static> {
    match at.and_then(|at| text.get(..at)) {
        Some(before) => units(before),
        None => Value::Int(-1),
    }
}

fn outside(text: &str) -> Fault {
    Fault::failed(format!("StringIndexOutOfBoundsException: length {}", text.encode_utf16().count()))
}

fn substring<'a>(text: &Text<'a>, from: i32, to: Option<i32>) -> Run<Text<'a>> {
    let byte = |at: i32| usize::try_from(at).ok().and_then(|at| byte_of(text, at));
    let range = match (byte(from), to.map_or(Some(text.len()), byte)) {
        (Some(from), Some(to)) => from..to,
        _ => return Err(outside(text)),
    };
    match text {
        Text::Borrowed(text) => text.get(range).map(Text::Borrowed),
        Text::Shared(text) => text.get(range).map(|piece| piece.to_owned().into()),
    }
    .ok_or_else(|| outside(text))
}

/// A replacement: `$1` and `${name}` are groups, a backslash takes the next character as it is.
fn expand(by: &str, captures: &Captures<'_>, out: &mut String) -> Run<()> {
    let mut chars = by.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                let next = chars.next();
                out.push(next.ok_or_else(|| Fault::failed("character to be escaped is missing"))?);
            }
            '$' if chars.next_if_eq(&'{').is_some() => {
                let name: String = chars.by_ref().take_while(|char| *char != '}').collect();
                out.push_str(captures.named(&name).unwrap_or_default());
            }
            '$' => {
                let digit = |char: char| char.to_digit(10).map(|digit| digit as usize);
                let first = chars.next().and_then(digit);
                let mut group = first.filter(|group| *group < captures.groups());
                while let (Some(high), Some(low)) = (group, chars.peek().copied().and_then(digit)) {
                    if high * 10 + low >= captures.groups() {
                        break;
                    }
                    group = Some(high * 10 + low);
                    chars.next();
                }
                let group = group.ok_or_else(|| Fault::failed("Illegal group reference in a replacement"))?;
                out.push_str(captures.get(group).unwrap_or_default());
            }
            _ => out.push(char),
        }
    }
    Ok(())
}
