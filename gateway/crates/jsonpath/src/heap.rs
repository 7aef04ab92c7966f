//! Where the lists and maps of one evaluation live.

use crate::text::Text;
use crate::value::Value;
use std::collections::HashMap;

/// A list's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListId(u32);

/// A map's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapId(u32);

/// What a list is in Java; it decides how the list prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// An array of the body's, `net.minidev.json.JSONArray`: prints as JSON.
    Json,
    /// An `ArrayList`: prints as `[a, b]`.
    Java,
    /// A Java array: prints as `[Ljava.lang.String;@…`.
    Array,
    /// A map's entry, key and value: prints as `key=value`.
    Entry,
}

/// What a map is in Java; it decides the order of iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `LinkedHashMap`: insertion order. Objects of the body are such.
    Linked,
    /// `HashMap`: order of the hash table. Map literals of a template are such.
    Hash,
}

/// A list.
#[derive(Debug)]
pub struct List<'a> {
    /// What it is in Java.
    pub kind: ListKind,
    /// Its elements.
    pub items: Vec<Value<'a>>,
}

/// Maps with more entries than this have an index.
const UNINDEXED: usize = 12;

/// A map that keeps insertion order.
#[derive(Debug)]
pub struct Map<'a> {
    kind: MapKind,
    entries: Vec<(Value<'a>, Value<'a>)>,
    /// Positions of string keys, once there are many.
    index: Option<HashMap<Text<'a>, usize>>,
    /// Size of Java's table, which grows and never shrinks.
    table: usize,
}

impl<'a> Map<'a> {
    fn new(kind: MapKind) -> Self {
        Self { kind, entries: Vec::new(), index: None, table: 16 }
    }

    /// How many entries it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in insertion order.
    pub fn entries(&self) -> impl Iterator<Item = &(Value<'a>, Value<'a>)> {
        self.entries.iter()
    }

    /// The entries in the order in which Java would iterate.
    pub fn ordered(&self) -> impl Iterator<Item = &(Value<'a>, Value<'a>)> {
        let hashed = (self.kind == MapKind::Hash).then(|| self.hashed());
        let linked = if hashed.is_some() { &[][..] } else { &self.entries };
        linked.iter().chain(hashed.into_iter().flatten())
    }

    fn hashed(&self) -> Vec<&(Value<'a>, Value<'a>)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        let mask = self.table as u32 - 1;
        // Stable: colliding keys stay in insertion order, as in a bucket's chain.
        entries.sort_by_key(|(key, _)| spread(java_hash(key)) & mask);
        entries
    }

    /// The value of a string key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let position = match &self.index {
            Some(index) => *index.get(key)?,
            None => self.entries.iter().position(|(have, _)| have.as_str() == Some(key))?,
        };
        self.entries.get(position).map(|(_, value)| value)
    }

    /// The value of any key.
    #[must_use]
    pub fn get_key(&self, key: &Value<'a>) -> Option<&Value<'a>> {
        if let Value::Str(text) = key {
            return self.get(text);
        }
        self.entries.iter().find(|(have, _)| have.same_key(key)).map(|(_, value)| value)
    }

    fn position(&self, key: &Value<'a>) -> Option<usize> {
        match (key, &self.index) {
            (Value::Str(text), Some(index)) => index.get(&**text).copied(),
            _ => self.entries.iter().position(|(have, _)| have.same_key(key)),
        }
    }

    fn insert(&mut self, key: Value<'a>, value: Value<'a>) -> Option<Value<'a>> {
        if let Some((_, old)) = self.position(&key).and_then(|at| self.entries.get_mut(at)) {
            return Some(std::mem::replace(old, value));
        }
        if let (Some(index), Value::Str(text)) = (&mut self.index, &key) {
            index.insert(text.clone(), self.entries.len());
        }
        self.entries.push((key, value));
        while self.entries.len() * 4 > self.table * 3 {
            self.table *= 2;
        }
        if self.index.is_none() && self.entries.len() > UNINDEXED {
            self.reindex();
        }
        None
    }

    fn reindex(&mut self) {
        let keys = self.entries.iter().enumerate();
        let positions = keys.filter_map(|(at, (key, _))| match key {
            Value::Str(text) => Some((text.clone(), at)),
            _ => None,
        });
        self.index = (self.entries.len() > UNINDEXED).then(|| positions.collect());
    }

    /// Removes a key; its value, if it was there.
    pub fn remove(&mut self, key: &Value<'a>) -> Option<Value<'a>> {
        let at = self.position(key)?;
        let (_, value) = self.entries.remove(at);
        self.reindex();
        Some(value)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index = None;
    }
}

/// `hashCode()` of a key.
fn java_hash(key: &Value<'_>) -> u32 {
    let long = |number: i64| (number ^ ((number as u64) >> 32) as i64) as u32;
    match key {
        Value::Bool(true) => 1231,
        Value::Bool(false) => 1237,
        Value::Int(number) => *number as u32,
        Value::Long(number) => long(*number),
        Value::Double(number) => long(number.to_bits() as i64),
        Value::Str(text) | Value::BigInt(text) | Value::Decimal(text) => {
            text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
        }
        Value::Null | Value::List(_) | Value::Map(_) | Value::Opaque(_) => 0,
    }
}

/// `HashMap.hash`.
const fn spread(hash: u32) -> u32 {
    hash ^ (hash >> 16)
}

/// The heap's capacity is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyValues;

/// All lists and maps of one evaluation.
///
/// Handles of another heap find nothing, or something else: they are never dangling.
#[derive(Debug)]
pub struct Heap<'a> {
    lists: Vec<List<'a>>,
    maps: Vec<Map<'a>>,
    /// Values that may still be put into lists and maps.
    room: usize,
}

impl<'a> Heap<'a> {
    /// A heap for so many values.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { lists: Vec::new(), maps: Vec::new(), room: capacity }
    }

    /// Takes room for so many values.
    ///
    /// # Errors
    /// When the capacity is used up.
    pub const fn charge(&mut self, values: usize) -> Result<(), TooManyValues> {
        match self.room.checked_sub(values) {
            Some(room) => {
                self.room = room;
                Ok(())
            }
            None => Err(TooManyValues),
        }
    }

    /// A new list.
    ///
    /// # Errors
    /// When the capacity is used up.
    pub fn new_list(&mut self, kind: ListKind, items: Vec<Value<'a>>) -> Result<ListId, TooManyValues> {
        self.charge(items.len() + 1)?;
        let id = u32::try_from(self.lists.len()).map_err(|_| TooManyValues)?;
        self.lists.push(List { kind, items });
        Ok(ListId(id))
    }

    /// A new, empty map.
    ///
    /// # Errors
    /// When the capacity is used up.
    pub fn new_map(&mut self, kind: MapKind) -> Result<MapId, TooManyValues> {
        self.charge(1)?;
        let id = u32::try_from(self.maps.len()).map_err(|_| TooManyValues)?;
        self.maps.push(Map::new(kind));
        Ok(MapId(id))
    }

    /// A list.
    #[must_use]
    pub fn list(&self, id: ListId) -> &List<'a> {
        const EMPTY: &List<'static> = &List { kind: ListKind::Java, items: Vec::new() };
        self.lists.get(id.0 as usize).unwrap_or(EMPTY)
    }

    /// A list's elements, to change.
    pub fn items_mut(&mut self, id: ListId) -> Option<&mut Vec<Value<'a>>> {
        self.lists.get_mut(id.0 as usize).map(|list| &mut list.items)
    }

    /// A map.
    #[must_use]
    pub fn map(&self, id: MapId) -> &Map<'a> {
        const EMPTY: &Map<'static> =
            &Map { kind: MapKind::Linked, entries: Vec::new(), index: None, table: 16 };
        self.maps.get(id.0 as usize).unwrap_or(EMPTY)
    }

    /// A map, to change; use [`put`](Self::put) to add to it.
    pub fn map_mut(&mut self, id: MapId) -> Option<&mut Map<'a>> {
        self.maps.get_mut(id.0 as usize)
    }

    /// Puts a value into a map; what was there before, if anything.
    ///
    /// # Errors
    /// When the capacity is used up.
    pub fn put(
        &mut self,
        id: MapId,
        key: Value<'a>,
        value: Value<'a>,
    ) -> Result<Option<Value<'a>>, TooManyValues> {
        self.charge(1)?;
        Ok(self.maps.get_mut(id.0 as usize).and_then(|map| map.insert(key, value)))
    }

    /// Adds a value to a list.
    ///
    /// # Errors
    /// When the capacity is used up.
    pub fn push(&mut self, id: ListId, value: Value<'a>) -> Result<(), TooManyValues> {
        self.charge(1)?;
        if let Some(items) = self.items_mut(id) {
            items.push(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Heap, MapKind, TooManyValues};
    use crate::value::Value;

    #[test]
    fn a_linked_map_keeps_order_and_finds_keys_however_many() {
        let mut heap = Heap::new(10_000);
        let id = heap.new_map(MapKind::Linked).unwrap();
        for number in (0..100).rev() {
            heap.put(id, Value::text(format!("k{number}")), Value::Int(number)).unwrap();
        }
        let map = heap.map(id);
        assert!(matches!(map.get("k42"), Some(Value::Int(42))));
        assert_eq!(map.ordered().next().unwrap().0.as_str(), Some("k99"));
        heap.map_mut(id).unwrap().remove(&Value::text("k99"));
        assert!(matches!(heap.map(id).get("k0"), Some(Value::Int(0))));
        assert!(heap.map(id).get("k99").is_none());
    }

    #[test]
    fn a_hash_map_iterates_as_javas_does() {
        let mut heap = Heap::new(100);
        let id = heap.new_map(MapKind::Hash).unwrap();
        for key in ["zeta", "b", "a", "name", "id"] {
            heap.put(id, Value::text(key), Value::Null).unwrap();
        }
        let keys: Vec<_> = heap.map(id).ordered().filter_map(|(key, _)| key.as_str()).collect();
        // As `new HashMap()` printed them on OpenJDK 17.
        assert_eq!(keys, ["zeta", "a", "b", "name", "id"]);
    }

    #[test]
    fn the_capacity_is_kept() {
        let mut heap = Heap::new(2);
        let id = heap.new_map(MapKind::Hash).unwrap();
        assert!(heap.put(id, Value::Int(1), Value::Null).is_ok());
        assert!(matches!(heap.put(id, Value::Int(2), Value::Null), Err(TooManyValues)));
    }
}
