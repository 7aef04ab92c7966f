//! Paths to the tree of resources.

use sluice_catalog::{Definition, Resource};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resources in the making, by path.
pub(crate) struct Tree<'i> {
    by_path: BTreeMap<String, Resource>,
    /// Ids of the resources that were there before, by path.
    known: BTreeMap<String, String>,
    ids: &'i mut dyn FnMut(usize) -> String,
}

impl<'i> Tree<'i> {
    /// `before`: those of its paths keep their ids; with `keep` they are there from the beginning.
    pub(crate) fn new(before: &Definition, keep: bool, ids: &'i mut dyn FnMut(usize) -> String) -> Self {
        let known =
            before.resources.values().map(|resource| (resource.path.clone(), resource.id.clone())).collect();
        let mut tree = Self { by_path: BTreeMap::new(), known, ids };
        if keep {
            let resources = before.resources.values();
            tree.by_path =
                resources.map(|resource| (resource.path.clone(), Resource::clone(resource))).collect();
        }
        if !tree.by_path.contains_key("/") {
            let root = Resource { id: tree.id("/", 10), path: "/".to_owned(), ..Resource::default() };
            tree.by_path.insert("/".to_owned(), root);
        }
        tree
    }

    pub(crate) fn new_id(&mut self, length: usize) -> String {
        (self.ids)(length)
    }

    fn id(&mut self, path: &str, length: usize) -> String {
        self.known.get(path).cloned().unwrap_or_else(|| (self.ids)(length))
    }

    /// The resource at a path, made with those above it where it is new.
    pub(crate) fn at(&mut self, path: &str) -> Result<&mut Resource, String> {
        let (mut here, mut parent) = (String::new(), self.root());
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let above = if here.is_empty() { "/".to_owned() } else { here.clone() };
            here.push('/');
            here.push_str(part);
            if let Some(known) = self.by_path.get(&here) {
                parent.clone_from(&known.id);
                continue;
            }
            self.may_have(&above, part)
                .map_err(|why| format!("Unable to create resource at path '{path}': {why}"))?;
            let made = Resource {
                id: self.id(&here, 6),
                parent_id: Some(parent),
                path_part: Some(part.to_owned()),
                path: here.clone(),
                ..Resource::default()
            };
            parent = made.id.clone();
            self.by_path.insert(here.clone(), made);
        }
        let at = if here.is_empty() { "/" } else { &here };
        self.by_path.get_mut(at).ok_or_else(|| format!("Unable to create resource at path '{path}'"))
    }

    fn root(&self) -> String {
        self.by_path.get("/").map(|root| root.id.clone()).unwrap_or_default()
    }

    /// AWS's rules for a part below others.
    fn may_have(&self, above: &str, part: &str) -> Result<(), String> {
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        let name = name.map_or(part, |name| name.strip_suffix('+').unwrap_or(name));
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':');
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(
                "Resource's path part only allow a-zA-Z0-9._-: or a valid greedy path variable and curly braces at \
                 the beginning and the end."
                    .to_owned(),
            );
        }
        if above.ends_with("+}") {
            return Err(format!("Cannot create a child of a resource with a greedy path variable: {above}"));
        }
        if name == part {
            return Ok(());
        }
        let below = |path: &str| {
            let rest = path.strip_prefix(above)?;
            let rest = rest.strip_prefix('/').unwrap_or(rest);
            (!rest.is_empty() && !rest.contains('/')).then(|| rest.to_owned())
        };
        let is_variable = |part: &String| part.starts_with('{');
        match self.by_path.keys().filter_map(|path| below(path)).find(is_variable) {
            Some(sibling) => Err(format!(
                "A sibling ({sibling}) of this resource already has a variable path part -- only one is allowed"
            )),
            None => Ok(()),
        }
    }

    /// The id of the root, and all resources by id.
    pub(crate) fn finish(self) -> (String, BTreeMap<String, Arc<Resource>>) {
        let root = self.root();
        let by_id = self.by_path.into_values().map(|resource| (resource.id.clone(), Arc::new(resource)));
        (root, by_id.collect())
    }
}
