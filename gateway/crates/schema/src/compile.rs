//! From text to an arena of nodes.
//!
//! Nodes are found by document and JSON pointer, each once; what is found waits in a queue, so that no chain of references,
//! however long, makes this recurse.

use crate::decimal::Decimal;
use crate::format::Format;
use crate::json::Json;
use crate::uri;
use sluice_jsonpath::JavaPattern;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::rc::Rc;

/// Index of a node.
pub(crate) type NodeId = usize;

/// The kinds of values, in the order in which messages list them.
pub(crate) const KINDS: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
pub(crate) const INTEGER: u8 = 1 << 2;
pub(crate) const NUMBER: u8 = 1 << 4;

/// What a keyword demands of a value itself; sorted by the keyword's name, as they are checked.
#[derive(Debug)]
pub(crate) enum Rule {
    AdditionalItems(usize),
    AdditionalProperties,
    AllOf(Vec<NodeId>),
    AnyOf(Vec<NodeId>),
    Dependencies(Vec<(Box<str>, Dependency)>),
    Enum {
        canonical: HashSet<String>,
        shown: Box<str>,
    },
    MaxItems(u64),
    MaxLength(u64),
    MaxProperties(u64),
    Maximum {
        limit: Decimal,
        shown: Box<str>,
        exclusive: bool,
    },
    MinItems(u64),
    MinLength(u64),
    MinProperties(u64),
    Minimum {
        limit: Decimal,
        shown: Box<str>,
        exclusive: bool,
    },
    MultipleOf {
        divisor: Decimal,
        shown: Box<str>,
    },
    Not(NodeId),
    OneOf(Vec<NodeId>),
    Pattern(Box<str>, JavaPattern),
    Required(Vec<Box<str>>),
    /// A bit for each of [`KINDS`].
    Type(u8),
    UniqueItems,
    Format(Format),
}

#[derive(Debug)]
pub(crate) enum Dependency {
    Properties(Vec<Box<str>>),
    Schema(NodeId),
}

/// A schema.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// `$ref`: nothing else counts (draft 4 core, section 7).
    pub(crate) reference: Option<NodeId>,
    pub(crate) rules: Vec<Rule>,
    /// For elements before those of `rest_items`.
    pub(crate) items: Vec<NodeId>,
    pub(crate) rest_items: Option<NodeId>,
    pub(crate) properties: BTreeMap<Box<str>, NodeId>,
    pub(crate) pattern_properties: Vec<(JavaPattern, NodeId)>,
    /// For members that neither of the two knows.
    pub(crate) rest_properties: Option<NodeId>,
}

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    pub(crate) nodes: Vec<Node>,
}

/// Why a text is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// Where: a URI with a JSON pointer.
    pub at: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.reason)
    }
}

impl std::error::Error for SchemaError {}

/// More nodes than this are no model of an API.
const MOST_NODES: usize = 20_000;

impl Schema {
    /// Compiles a schema. `uri` is where it is found: what its relative references are relative to. `documents` gives the text of
    /// other documents by their URI.
    ///
    /// # Errors
    /// When it is not JSON, a keyword has a value that it can't have, or a reference leads nowhere.
    pub fn compile(
        uri: &str,
        text: &str,
        documents: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SchemaError> {
        let mut compiler = Compiler {
            documents,
            loaded: HashMap::new(),
            ids: HashMap::new(),
            known: HashMap::new(),
            queue: VecDeque::new(),
            nodes: Vec::new(),
        };
        compiler.load(uri, text)?;
        compiler.node(Place { document: uri.into(), pointer: String::new() })?;
        while let Some((id, place)) = compiler.queue.pop_front() {
            let node = compiler.compile(&place)?;
            if let Some(slot) = compiler.nodes.get_mut(id) {
                *slot = node;
            }
        }
        let schema = Self { nodes: compiler.nodes };
        match schema.endless_reference() {
            Some(_) => {
                Err(SchemaError { at: uri.to_owned(), reason: "a `$ref` that leads to itself".to_owned() })
            }
            None => Ok(schema),
        }
    }

    /// A chain of references that never reaches a schema.
    fn endless_reference(&self) -> Option<NodeId> {
        (0..self.nodes.len()).find(|start| {
            let mut at = *start;
            for _ in 0..=self.nodes.len() {
                match self.nodes.get(at).and_then(|node| node.reference) {
                    Some(next) => at = next,
                    None => return false,
                }
            }
            true
        })
    }
}

/// A schema's place: document, and JSON pointer with `/` before each (escaped) token.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    document: Rc<str>,
    pointer: String,
}

impl Place {
    fn below(&self, tokens: &[&str]) -> Self {
        let mut pointer = self.pointer.clone();
        for token in tokens {
            pointer.push('/');
            pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
        }
        Self { document: Rc::clone(&self.document), pointer }
    }

    fn tokens(&self) -> Vec<String> {
        self.pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
    }
}

struct Compiler<'d> {
    documents: &'d dyn Fn(&str) -> Option<String>,
    loaded: HashMap<String, Rc<Json>>,
    /// Absolute `id`s.
    ids: HashMap<String, Place>,
    known: HashMap<Place, NodeId>,
    queue: VecDeque<(NodeId, Place)>,
    nodes: Vec<Node>,
}

/// Keywords whose value is a schema, an array of schemas, or an object of schemas.
const SCHEMAS: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "definitions",
    "dependencies",
    "items",
    "not",
    "oneOf",
    "patternProperties",
    "properties",
    "extends",
];
const OBJECTS_OF_SCHEMAS: [&str; 4] = ["definitions", "dependencies", "patternProperties", "properties"];

/// The `id` of a schema, which counts only where there is no `$ref` beside it.
fn id_of(schema: &Json) -> Option<&str> {
    let reference = schema.get("$ref").and_then(Json::as_str);
    schema.get("id").and_then(Json::as_str).filter(|_| reference.is_none())
}

impl Compiler<'_> {
    fn load(&mut self, at: &str, text: &str) -> Result<(), SchemaError> {
        let json = Json::parse(text).map_err(|reason| SchemaError { at: at.to_owned(), reason })?;
        let json = Rc::new(json);
        self.loaded.insert(at.to_owned(), Rc::clone(&json));
        let place = Place { document: at.into(), pointer: String::new() };
        self.collect_ids(&json, at, &place);
        Ok(())
    }

    /// Finds every `id` where a schema can be; recursion ends where the JSON does.
    fn collect_ids(&mut self, schema: &Json, base: &str, place: &Place) {
        let own = id_of(schema).map(|id| uri::resolve(base, id));
        if let Some(own) = &own {
            let whole = own.strip_suffix('#').unwrap_or(own);
            self.ids.entry(whole.to_owned()).or_insert_with(|| place.clone());
        }
        let base = own.as_deref().unwrap_or(base);
        for keyword in SCHEMAS {
            let Some(value) = schema.get(keyword) else { continue };
            let place = place.below(&[keyword]);
            match value {
                Json::Map(entries) if OBJECTS_OF_SCHEMAS.contains(&keyword) => {
                    for (key, schema) in entries {
                        self.collect_ids(schema, base, &place.below(&[key]));
                    }
                }
                Json::Map(_) => self.collect_ids(value, base, &place),
                Json::List(items) => {
                    for (at, schema) in items.iter().enumerate() {
                        self.collect_ids(schema, base, &place.below(&[&at.to_string()]));
                    }
                }
                _ => {}
            }
        }
    }

    /// The schema at a place, and the base of its references.
    fn look_up(&self, place: &Place) -> Option<(Json, String)> {
        let mut json: &Json = self.loaded.get(&*place.document)?;
        let mut base = place.document.to_string();
        for token in place.tokens() {
            if let Some(id) = id_of(json) {
                base = uri::resolve(&base, id);
            }
            json = json.step(&token)?;
        }
        if let Some(id) = id_of(json) {
            base = uri::resolve(&base, id);
        }
        Some((json.clone(), base))
    }

    /// The node of a place; one that is new waits to be compiled.
    fn node(&mut self, place: Place) -> Result<NodeId, SchemaError> {
        if let Some(id) = self.known.get(&place) {
            return Ok(*id);
        }
        let id = self.nodes.len();
        if id >= MOST_NODES {
            return Err(error(&place, format!("expected at most {MOST_NODES} schemas")));
        }
        self.nodes.push(Node::default());
        self.known.insert(place.clone(), id);
        self.queue.push_back((id, place));
        Ok(id)
    }

    fn reference(&mut self, place: &Place, base: &str, reference: &str) -> Result<NodeId, SchemaError> {
        let target = uri::resolve(base, reference);
        let unresolved = || error(place, format!("unresolvable reference `{reference}`"));
        let (document, fragment) = uri::split(&target);
        if let Some(found) = self.ids.get(target.strip_suffix('#').unwrap_or(&target)) {
            return self.node(found.clone());
        }
        if !self.loaded.contains_key(document) && !self.ids.contains_key(document) {
            let text = (self.documents)(document).ok_or_else(unresolved)?;
            self.load(document, &text)?;
        }
        // Its own document may say another `id`: the place where it was found counts as well.
        let start = match (self.ids.get(document), self.loaded.contains_key(document)) {
            (_, true) => Place { document: document.into(), pointer: String::new() },
            (Some(found), false) => found.clone(),
            (None, false) => return Err(unresolved()),
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let anchor = self.ids.get(&format!("{document}#{fragment}")).cloned();
            return self.node(anchor.ok_or_else(unresolved)?);
        }
        let tokens = uri::tokens(fragment);
        let place = start.below(&tokens.iter().map(String::as_str).collect::<Vec<_>>());
        if self.look_up(&place).is_none() {
            return Err(unresolved());
        }
        self.node(place)
    }

    fn compile(&mut self, place: &Place) -> Result<Node, SchemaError> {
        let (json, base) = self.look_up(place).ok_or_else(|| error(place, "nothing is there"))?;
        if !matches!(json, Json::Map(_)) {
            return Err(error(place, "expected a schema, which is an object"));
        }
        let mut node = Node::default();
        if let Some(reference) = json.get("$ref").and_then(Json::as_str) {
            node.reference = Some(self.reference(place, &base, reference)?);
            return Ok(node);
        }
        self.children(place, &json, &mut node)?;
        self.combinations(place, &json, &mut node)?;
        values(place, &json, &mut node)?;
        // By name, as they are checked; `Format` last.
        node.rules.sort_by_key(rank);
        Ok(node)
    }

    /// Schemas of elements and members.
    fn children(&mut self, place: &Place, json: &Json, node: &mut Node) -> Result<(), SchemaError> {
        match json.get("items") {
            Some(Json::List(items)) => {
                for at in 0..items.len() {
                    node.items.push(self.node(place.below(&["items", &at.to_string()]))?);
                }
                match json.get("additionalItems") {
                    Some(Json::Bool(false)) => node.rules.push(Rule::AdditionalItems(items.len())),
                    Some(Json::Map(_)) => {
                        node.rest_items = Some(self.node(place.below(&["additionalItems"]))?)
                    }
                    None | Some(Json::Bool(true)) => {}
                    Some(_) => return Err(error(place, "`additionalItems`: expected a schema or a boolean")),
                }
            }
            Some(_) => node.rest_items = Some(self.node(place.below(&["items"]))?),
            None => {}
        }
        for (key, _) in entries(place, json, "properties")? {
            let id = self.node(place.below(&["properties", key]))?;
            node.properties.insert(key.clone(), id);
        }
        for (key, _) in entries(place, json, "patternProperties")? {
            let pattern = pattern(place, key)?;
            node.pattern_properties.push((pattern, self.node(place.below(&["patternProperties", key]))?));
        }
        match json.get("additionalProperties") {
            Some(Json::Bool(false)) => node.rules.push(Rule::AdditionalProperties),
            Some(Json::Map(_)) => {
                node.rest_properties = Some(self.node(place.below(&["additionalProperties"]))?);
            }
            None | Some(Json::Bool(true)) => {}
            Some(_) => return Err(error(place, "`additionalProperties`: expected a schema or a boolean")),
        }
        Ok(())
    }

    /// Keywords that have schemas for the same value.
    fn combinations(&mut self, place: &Place, json: &Json, node: &mut Node) -> Result<(), SchemaError> {
        type Make = fn(Vec<NodeId>) -> Rule;
        let lists: [(&str, Make); 3] =
            [("allOf", Rule::AllOf), ("anyOf", Rule::AnyOf), ("oneOf", Rule::OneOf)];
        for (keyword, make) in lists {
            let Some(value) = json.get(keyword) else { continue };
            let Json::List(items) = value else {
                return Err(error(place, format!("`{keyword}`: expected a list of schemas")));
            };
            if items.is_empty() {
                return Err(error(place, format!("`{keyword}`: expected at least one schema")));
            }
            let ids = (0..items.len()).map(|at| self.node(place.below(&[keyword, &at.to_string()])));
            node.rules.push(make(ids.collect::<Result<_, _>>()?));
        }
        if json.get("not").is_some() {
            node.rules.push(Rule::Not(self.node(place.below(&["not"]))?));
        }
        let mut dependencies = Vec::new();
        for (key, value) in entries(place, json, "dependencies")? {
            let dependency = match value {
                Json::List(_) => Dependency::Properties(names(place, "dependencies", value)?),
                _ => Dependency::Schema(self.node(place.below(&["dependencies", key]))?),
            };
            dependencies.push((key.clone(), dependency));
        }
        if !dependencies.is_empty() {
            dependencies.sort_by(|a, b| a.0.cmp(&b.0));
            node.rules.push(Rule::Dependencies(dependencies));
        }
        Ok(())
    }
}

fn error(place: &Place, reason: impl Into<String>) -> SchemaError {
    SchemaError { at: format!("{}#{}", place.document, place.pointer), reason: reason.into() }
}

fn pattern(place: &Place, text: &str) -> Result<JavaPattern, SchemaError> {
    JavaPattern::ecma(text).map_err(|reason| error(place, format!("pattern `{text}`: {reason}")))
}

/// The members of a keyword's object.
fn entries<'j>(place: &Place, json: &'j Json, keyword: &str) -> Result<&'j [(Box<str>, Json)], SchemaError> {
    match json.get(keyword) {
        None => Ok(&[]),
        Some(Json::Map(entries)) => Ok(entries),
        Some(_) => Err(error(place, format!("`{keyword}`: expected an object"))),
    }
}

/// A list of names, sorted.
fn names(place: &Place, keyword: &str, value: &Json) -> Result<Vec<Box<str>>, SchemaError> {
    let expected = || error(place, format!("`{keyword}`: expected a list of strings"));
    let Json::List(items) = value else { return Err(expected()) };
    let names = items.iter().map(|item| item.as_str().map(Into::into).ok_or_else(expected));
    let mut names = names.collect::<Result<Vec<Box<str>>, _>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

/// Keywords that look at the value alone.
fn values(place: &Place, json: &Json, node: &mut Node) -> Result<(), SchemaError> {
    type Make = fn(u64) -> Rule;
    let counts: [(&str, Make); 6] = [
        ("maxItems", Rule::MaxItems),
        ("maxLength", Rule::MaxLength),
        ("maxProperties", Rule::MaxProperties),
        ("minItems", Rule::MinItems),
        ("minLength", Rule::MinLength),
        ("minProperties", Rule::MinProperties),
    ];
    for (keyword, make) in counts {
        if let Some(value) = json.get(keyword) {
            let count = value.as_count();
            node.rules.push(make(
                count.ok_or_else(|| error(place, format!("`{keyword}`: expected a number from 0 on")))?,
            ));
        }
    }
    if let Some((limit, shown)) = number(place, json, "maximum")? {
        let exclusive = json.get("exclusiveMaximum") == Some(&Json::Bool(true));
        node.rules.push(Rule::Maximum { limit, shown, exclusive });
    }
    if let Some((limit, shown)) = number(place, json, "minimum")? {
        let exclusive = json.get("exclusiveMinimum") == Some(&Json::Bool(true));
        node.rules.push(Rule::Minimum { limit, shown, exclusive });
    }
    if let Some((divisor, shown)) = number(place, json, "multipleOf")? {
        if !divisor.is_positive() {
            return Err(error(place, "`multipleOf`: expected a number above 0"));
        }
        node.rules.push(Rule::MultipleOf { divisor, shown });
    }
    texts(place, json, node)?;
    if let Some(value) = json.get("enum") {
        let Json::List(items) = value else { return Err(error(place, "`enum`: expected a list")) };
        let canonical = |item: &Json| {
            let mut text = String::new();
            item.canonical(&mut text);
            text
        };
        let mut shown = String::new();
        value.write(&mut shown);
        node.rules.push(Rule::Enum { canonical: items.iter().map(canonical).collect(), shown: shown.into() });
    }
    if let Some(value) = json.get("required") {
        let names = names(place, "required", value)?;
        node.rules.push(Rule::Required(names));
    }
    if json.get("uniqueItems") == Some(&Json::Bool(true)) {
        node.rules.push(Rule::UniqueItems);
    }
    Ok(())
}

/// Keywords whose value is text.
fn texts(place: &Place, json: &Json, node: &mut Node) -> Result<(), SchemaError> {
    match json.get("pattern") {
        None => {}
        Some(Json::Str(text)) => node.rules.push(Rule::Pattern(text.clone(), pattern(place, text)?)),
        Some(_) => return Err(error(place, "`pattern`: expected a string")),
    }
    if let Some(format) = json.get("format").and_then(Json::as_str).and_then(Format::from_name) {
        node.rules.push(Rule::Format(format));
    }
    let kind = |value: &Json| {
        let name = value.as_str()?;
        let bit = 1 << KINDS.iter().position(|known| *known == name)?;
        // Whole numbers are numbers.
        Some(if bit == NUMBER { NUMBER | INTEGER } else { bit })
    };
    let unknown = || error(place, format!("`type`: expected one of {}", KINDS.join(", ")));
    match json.get("type") {
        None => {}
        Some(Json::List(items)) => {
            let bits = items.iter().try_fold(0, |bits, item| Some(bits | kind(item)?));
            node.rules.push(Rule::Type(bits.ok_or_else(unknown)?));
        }
        Some(value) => node.rules.push(Rule::Type(kind(value).ok_or_else(unknown)?)),
    }
    Ok(())
}

fn number(place: &Place, json: &Json, keyword: &str) -> Result<Option<(Decimal, Box<str>)>, SchemaError> {
    match json.get(keyword) {
        None => Ok(None),
        Some(Json::Number(shown, number)) => Ok(Some((number.clone(), shown.clone()))),
        Some(_) => Err(error(place, format!("`{keyword}`: expected a number"))),
    }
}

/// The order of the keywords' names.
const fn rank(rule: &Rule) -> u8 {
    match rule {
        Rule::AdditionalItems(_) => 0,
        Rule::AdditionalProperties => 1,
        Rule::AllOf(_) => 2,
        Rule::AnyOf(_) => 3,
        Rule::Dependencies(_) => 4,
        Rule::Enum { .. } => 5,
        Rule::MaxItems(_) => 6,
        Rule::MaxLength(_) => 7,
        Rule::MaxProperties(_) => 8,
        Rule::Maximum { .. } => 9,
        Rule::MinItems(_) => 10,
        Rule::MinLength(_) => 11,
        Rule::MinProperties(_) => 12,
        Rule::Minimum { .. } => 13,
        Rule::MultipleOf { .. } => 14,
        Rule::Not(_) => 15,
        Rule::OneOf(_) => 16,
        Rule::Pattern(..) => 17,
        Rule::Required(_) => 18,
        Rule::Type(_) => 19,
        Rule::UniqueItems => 20,
        Rule::Format(_) => 21,
    }
}
