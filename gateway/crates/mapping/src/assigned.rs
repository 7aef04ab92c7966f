//! Parameters that mapping has assigned, in one buffer that is used again.

use std::ops::Range;

/// Where a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A variable of the integration's URI; its value is percent-encoded.
    Path,
    /// The integration's query string.
    Query,
    /// A header.
    Header,
}

#[derive(Clone, Debug)]
struct Item {
    place: Place,
    name: Range<usize>,
    value: Range<usize>,
}

/// Names and values, in the order in which they were assigned.
#[derive(Clone, Debug, Default)]
pub struct Assigned {
    text: String,
    items: Vec<Item>,
}

impl Assigned {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.items.clear();
    }

    /// Adds a value; a name may have several.
    pub fn add(&mut self, place: Place, name: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        self.text.push_str(value);
        self.items.push(Item { place, name: start..middle, value: middle..self.text.len() });
    }

    /// Replaces all values of a name.
    pub fn set(&mut self, place: Place, name: &str, value: &str) {
        self.remove(place, name);
        self.add(place, name, value);
    }

    /// Removes all values of a name.
    pub fn remove(&mut self, place: Place, name: &str) {
        let Self { text, items } = self;
        items.retain(|item| item.place != place || !same(place, slice(text, &item.name), name));
    }

    /// The first value of a name.
    #[must_use]
    pub fn get(&self, place: Place, name: &str) -> Option<&str> {
        self.values(place, name).next()
    }

    /// All values of a name.
    pub fn values<'s, 'n>(
        &'s self,
        place: Place,
        name: &'n str,
    ) -> impl Iterator<Item = &'s str> + use<'s, 'n> {
        self.of(place).filter(move |(known, _)| same(place, known, name)).map(|(_, value)| value)
    }

    /// All that goes to one place.
    pub fn of(&self, place: Place) -> impl Iterator<Item = (&str, &str)> {
        let items = self.items.iter().filter(move |item| item.place == place);
        items.map(|item| (slice(&self.text, &item.name), slice(&self.text, &item.value)))
    }
}

fn slice<'t>(text: &'t str, range: &Range<usize>) -> &'t str {
    text.get(range.clone()).unwrap_or_default()
}

/// Header names have no case (RFC 9110 section 5.1).
fn same(place: Place, one: &str, other: &str) -> bool {
    if place == Place::Header { one.eq_ignore_ascii_case(other) } else { one == other }
}

#[cfg(test)]
mod tests {
    use super::{Assigned, Place};

    #[test]
    fn values_are_added_replaced_and_removed() {
        let mut assigned = Assigned::default();
        assigned.add(Place::Query, "a", "1");
        assigned.add(Place::Query, "a", "2");
        assigned.add(Place::Header, "X-A", "3");
        assert_eq!(assigned.values(Place::Query, "a").collect::<Vec<_>>(), ["1", "2"]);
        assigned.set(Place::Header, "x-a", "4");
        assert_eq!(assigned.of(Place::Header).collect::<Vec<_>>(), [("x-a", "4")]);
        assigned.remove(Place::Query, "a");
        assert_eq!(assigned.get(Place::Query, "a"), None);
        assigned.clear();
        assert_eq!(assigned.of(Place::Header).count(), 0);
    }
}
