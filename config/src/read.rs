//! TOML tables checked against the table of keys, and typed access to what passed.

use crate::diagnostic::{Located, Position, Reporter};
use crate::spec::{Default, Key, Kind, Section};
use crate::suggest::known_names;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of the file (`[server]`, `[routes.users]`), already checked: getters fall back to the default where the
/// value was wrong, because its diagnostic has been written.
pub(crate) struct Fields<'a, 'i> {
    section: &'static Section,
    table: Option<&'a DeTable<'i>>,
    /// Where the table begins.
    pub(crate) at: Position,
}

impl<'a, 'i> Fields<'a, 'i> {
    /// A table that the file does not have: all defaults.
    pub(crate) const fn absent(section: &'static Section) -> Self {
        Self { section, table: None, at: Position { line: 1, column: 1 } }
    }

    /// Checks keys, types, ranges and required keys.
    pub(crate) fn check(
        section: &'static Section,
        title: &str,
        table: &'a DeTable<'i>,
        at: Position,
        out: &mut Reporter<'_>,
    ) -> Self {
        for (name, value) in table {
            match section.key(name.get_ref()) {
                Some(key) => check_value(key, value, out),
                None => out.error_at(
                    &name.span(),
                    format!("unknown key `{}` in [{title}]", name.get_ref()),
                    Some(known_names(name.get_ref(), "keys", section.keys.iter().map(|k| k.name))),
                ),
            }
        }
        for key in section.keys {
            if matches!(key.default, Default::Required) && !table.contains_key(key.name) {
                out.error(at, format!("[{title}] lacks `{}`", key.name), Some(key.doc.to_owned()));
            }
        }
        Self { section, table: Some(table), at }
    }

    fn value(&self, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        debug_assert!(self.section.key(name).is_some(), "{name} is not in the table of keys");
        self.table?.get(name)
    }

    fn default(&self, name: &str) -> Default {
        self.section.key(name).map_or(Default::Absent, |key| key.default)
    }

    /// Whether the file has the key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Where the value was written, or the table if it was not.
    pub(crate) fn place(&self, name: &str, out: &Reporter<'_>) -> Position {
        self.value(name).map_or(self.at, |value| out.position(value.span().start))
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        let fallback = matches!(self.default(name), Default::Bool(true));
        self.value(name).and_then(|value| value.get_ref().as_bool()).unwrap_or(fallback)
    }

    /// The choice, where `true` is the first; `None` for `false`.
    pub(crate) fn bool_or_choice(&self, name: &str) -> Option<&'a str> {
        let Some(Kind::BoolOrChoice(choices)) = self.section.key(name).map(|key| key.kind) else {
            return None;
        };
        let written = self.value(name)?.get_ref();
        match written.as_bool() {
            Some(on) => choices.first().copied().filter(|_| on),
            None => written.as_str(),
        }
    }

    /// A whole number in range; `None` when absent without a default.
    pub(crate) fn integer_if_any(&self, name: &str) -> Option<u64> {
        let written = self.value(name).and_then(|value| integer(value.get_ref()));
        match (written.and_then(|n| u64::try_from(n).ok()), self.default(name)) {
            (Some(number), _) => Some(number),
            (None, Default::Integer(number)) => Some(number),
            (None, _) => None,
        }
    }

    /// A whole number in range, converted to the type of its setting. The range in the table fits that type.
    pub(crate) fn integer<T: TryFrom<u64> + std::default::Default>(&self, name: &str) -> T {
        self.integer_if_any(name).and_then(|n| T::try_from(n).ok()).unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        self.value(name).and_then(|value| number(value.get_ref())).unwrap_or(0.0)
    }

    /// A string with its place; `None` when absent without a default.
    pub(crate) fn text(&self, name: &str, out: &Reporter<'_>) -> Option<Located<String>> {
        let written = self.value(name).and_then(|value| value.get_ref().as_str());
        let text = match (written, self.default(name)) {
            (Some(text), _) => text,
            (None, Default::Text(text)) => text,
            (None, _) => return None,
        };
        Some(Located::new(text.to_owned(), self.place(name, out)))
    }

    /// Whether a list was written that has nothing in it.
    pub(crate) fn is_empty_list(&self, name: &str) -> bool {
        self.value(name).and_then(|value| value.get_ref().as_array()).is_some_and(|items| items.is_empty())
    }

    /// The strings of a list with their places.
    pub(crate) fn texts(&self, name: &str, out: &Reporter<'_>) -> Vec<Located<String>> {
        let items = self.value(name).and_then(|value| value.get_ref().as_array());
        items
            .into_iter()
            .flat_map(|items| items.iter())
            .filter_map(|item| {
                let text = item.get_ref().as_str()?;
                Some(Located::new(text.to_owned(), out.position(item.span().start)))
            })
            .collect()
    }
}

/// One value against its kind.
fn check_value(key: &Key, value: &Spanned<DeValue<'_>>, out: &mut Reporter<'_>) {
    let wrong_type = |out: &mut Reporter<'_>| {
        out.error_at(
            &value.span(),
            format!("`{}` expects {}, found {}", key.name, key.kind.expected(), found(value.get_ref())),
            None,
        );
    };
    match key.kind {
        Kind::Bool if value.get_ref().is_bool() => {}
        Kind::Text if value.get_ref().is_str() => {}
        Kind::Integer(min, max, unit) if value.get_ref().is_integer() => {
            let written = integer(value.get_ref());
            if !written.is_some_and(|n| (i128::from(min)..=i128::from(max)).contains(&n)) {
                let message = format!("`{}` expects {min} to {max} {unit}", key.name);
                let shown = written.map_or_else(|| "a larger number".to_owned(), |n| n.to_string());
                out.error_at(&value.span(), format!("{}, found {shown}", message.trim_end()), None);
            }
        }
        Kind::Number(above, max, unit) if number(value.get_ref()).is_some() => {
            let written = number(value.get_ref()).unwrap_or(f64::NAN);
            if !(written > above && written <= max) {
                let message =
                    format!("`{}` expects above {above}, up to {max} {unit}, found {written}", key.name);
                out.error_at(&value.span(), message, None);
            }
        }
        Kind::Choice(choices) => match value.get_ref().as_str() {
            Some(text) if choices.contains(&text) => {}
            Some(text) => out.error_at(
                &value.span(),
                format!("`{}` does not know \"{text}\"", key.name),
                Some(known_names(text, "values", choices.iter().copied())),
            ),
            None => wrong_type(out),
        },
        Kind::BoolOrChoice(_) if value.get_ref().is_bool() => {}
        Kind::BoolOrChoice(choices) => match value.get_ref().as_str() {
            Some(text) if choices.contains(&text) => {}
            Some(text) => out.error_at(
                &value.span(),
                format!("`{}` does not know \"{text}\"", key.name),
                Some(known_names(text, "values", choices.iter().copied())),
            ),
            None => wrong_type(out),
        },
        Kind::TextList => match value.get_ref().as_array() {
            Some(items) => {
                for item in items.iter().filter(|item| !item.get_ref().is_str()) {
                    let found = found(item.get_ref());
                    out.error_at(
                        &item.span(),
                        format!("`{}` expects strings, found {found}", key.name),
                        None,
                    );
                }
            }
            None if value.get_ref().is_str() => out.error_at(
                &value.span(),
                format!("`{}` expects a list of strings, found a string", key.name),
                Some(format!("write {} = [\"…\"]", key.name)),
            ),
            None => wrong_type(out),
        },
        Kind::Bool | Kind::Text | Kind::Integer(..) | Kind::Number(..) => wrong_type(out),
    }
}

/// A value as a message names it.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(n) => format!("the integer {n}"),
        DeValue::Float(n) => format!("the number {n}"),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn integer(value: &DeValue<'_>) -> Option<i128> {
    let number = value.as_integer()?;
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(n) => n.as_str().parse().ok(),
        #[expect(clippy::cast_precision_loss, reason = "rates beyond 2^53 are out of range")]
        DeValue::Integer(_) => integer(value).map(|n| n as f64),
        _ => None,
    }
}
