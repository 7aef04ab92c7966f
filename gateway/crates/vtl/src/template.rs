//! Compiled once, run many times.

use crate::ast::{Block, Macro, PREDEFINED, Slot};
use crate::error::Error;
use crate::parse;
use std::cell::OnceCell;
use std::collections::HashMap;

/// Names of variables, by slot.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    slots: HashMap<String, Slot>,
}

impl Default for Names {
    fn default() -> Self {
        let slots = PREDEFINED.iter().enumerate().map(|(slot, name)| ((*name).to_owned(), slot));
        Self { slots: slots.collect() }
    }
}

impl Names {
    pub(crate) fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = self.slots.len();
        self.slots.insert(name.to_owned(), slot);
        slot
    }

    pub(crate) fn find(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) body: Block,
    pub(crate) macros: HashMap<String, Macro>,
    pub(crate) names: Names,
}

impl Template {
    /// Compiles a template; `name` is what errors call it.
    ///
    /// # Errors
    /// When Velocity would not parse it: where, what was expected and what was found.
    pub fn compile(name: &str, source: &str) -> Result<Self, Error> {
        Self::compile_with(name, source, Names::default())
    }

    /// Compiles a template whose variables continue another's.
    pub(crate) fn compile_with(name: &str, source: &str, names: Names) -> Result<Self, Error> {
        parse::template(name, source, names)
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Things made while a template runs that must live as long as the run: templates of `#evaluate`, texts to parse.
#[derive(Debug)]
pub(crate) struct Chain<T> {
    first: OnceCell<Box<Link<T>>>,
}

#[derive(Debug)]
struct Link<T> {
    item: T,
    next: Chain<T>,
}

/// A chain is walked from its start, and dropped link by link.
const LONGEST_CHAIN: usize = 100;

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Self { first: OnceCell::new() }
    }
}

impl<T> Chain<T> {
    /// Keeps an item; `None` when there are too many.
    pub(crate) fn keep(&self, item: T) -> Option<&T> {
        let mut at = self;
        for _ in 0..LONGEST_CHAIN {
            match at.first.get() {
                Some(link) => at = &link.next,
                None => {
                    let link = Box::new(Link { item, next: Self::default() });
                    return Some(&at.first.get_or_init(|| link).item);
                }
            }
        }
        None
    }
}

/// What a run keeps.
#[derive(Debug, Default)]
pub(crate) struct Late {
    pub(crate) templates: Chain<Template>,
    pub(crate) texts: Chain<String>,
}
