//! Routes to flat arrays.

use super::hosts::Hosts;
use super::{ANY, Edge, METHODS, NONE, Node, Router, Terminal, WORDS_BYTES, place_of, words};
use crate::pattern::{Pattern, Segment};
use crate::route::RouteId;
use sluice_wire::Method;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Two routes for the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterError {
    /// Name of the route that was refused.
    pub route: Arc<str>,
    /// Name of the route that was there before.
    pub other: Arc<str>,
    /// The method of both, `None`: any.
    pub method: Option<Arc<str>>,
}

impl fmt::Display for RouterError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, other, method } = self;
        let method = method.as_deref().unwrap_or("any method");
        write!(out, "routes `{other}` and `{route}` take the same requests ({method})")
    }
}

impl std::error::Error for RouterError {}

/// Collects routes for a [`Router`].
#[derive(Debug, Default)]
pub struct RouterBuilder {
    /// Roots by host in lower case; `*.` kept; "" for routes without one. Sorted, so that equal configurations compile
    /// to equal routers.
    roots: BTreeMap<Box<str>, u32>,
    nodes: Vec<Draft>,
    terminals: Vec<(Terminal, Vec<Owner>)>,
}

/// A node while routes are added.
#[derive(Debug)]
struct Draft {
    node: Node,
    children: BTreeMap<Box<[u8]>, u32>,
}

/// Who answers a method of a terminal.
#[derive(Debug)]
struct Owner {
    method: Option<Arc<str>>,
    route: Arc<str>,
}

impl RouterBuilder {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. `host` is a name, `*.` and a name, or `None` for any; no `methods`: any.
    ///
    /// # Errors
    /// An earlier route already takes some of the same requests: same host, same shape of path, same method. All of the
    /// methods that do not clash are added.
    pub fn add<'m>(
        &mut self,
        id: RouteId,
        name: &Arc<str>,
        host: Option<&str>,
        pattern: &Pattern,
        methods: impl IntoIterator<Item = &'m str>,
    ) -> Result<(), RouterError> {
        let terminal = self.terminal(host, pattern);
        let mut clash = None;
        let mut any = true;
        for method in methods {
            any = false;
            clash = clash.or(self.own(terminal, Some(method), id, name));
        }
        if any {
            clash = self.own(terminal, None, id, name);
        }
        match clash {
            Some(other) => Err(other),
            None => Ok(()),
        }
    }

    /// Where the pattern ends, made if need be.
    fn terminal(&mut self, host: Option<&str>, pattern: &Pattern) -> u32 {
        let host = host.unwrap_or("").to_ascii_lowercase();
        let known = self.roots.get(host.as_str()).copied();
        let mut node = known.unwrap_or_else(|| {
            let root = self.draft();
            self.roots.insert(host.into(), root);
            root
        });
        let mut params = 0u64;
        let mut greedy = false;
        for (depth, segment) in pattern.segments().iter().enumerate() {
            node = match segment {
                Segment::Static(text) => self.static_child(node, text),
                Segment::Param(_) => {
                    params |= 1 << (depth & 63);
                    self.param_child(node)
                }
                Segment::Greedy(_) => {
                    greedy = true;
                    node
                }
            };
        }
        let next = index(self.terminals.len());
        let Some(draft) = self.nodes.get_mut(node as usize) else { return NONE };
        let place = if greedy { &mut draft.node.greedy } else { &mut draft.node.full };
        if *place == NONE {
            *place = next;
            let empty = Terminal { by_method: [NONE; METHODS], by_name: Vec::new(), params };
            self.terminals.push((empty, Vec::new()));
        }
        *place
    }

    fn draft(&mut self) -> u32 {
        let node = Node { param: NONE, full: NONE, greedy: NONE, has_static: false };
        self.nodes.push(Draft { node, children: BTreeMap::new() });
        index(self.nodes.len() - 1)
    }

    fn static_child(&mut self, parent: u32, text: &[u8]) -> u32 {
        if let Some(child) = self.nodes.get(parent as usize).and_then(|draft| draft.children.get(text)) {
            return *child;
        }
        let child = self.draft();
        if let Some(draft) = self.nodes.get_mut(parent as usize) {
            draft.node.has_static = true;
            draft.children.insert(text.into(), child);
        }
        child
    }

    fn param_child(&mut self, parent: u32) -> u32 {
        if let Some(param) =
            self.nodes.get(parent as usize).map(|draft| draft.node.param).filter(|p| *p != NONE)
        {
            return param;
        }
        let child = self.draft();
        if let Some(draft) = self.nodes.get_mut(parent as usize) {
            draft.node.param = child;
        }
        child
    }

    /// Gives a method of a terminal to a route, or says whose it is.
    fn own(
        &mut self,
        terminal: u32,
        method: Option<&str>,
        id: RouteId,
        name: &Arc<str>,
    ) -> Option<RouterError> {
        let (terminal, owners) = self.terminals.get_mut(terminal as usize)?;
        if let Some(owner) = owners.iter().find(|owner| owner.method.as_deref() == method) {
            let (route, other) = (Arc::clone(name), Arc::clone(&owner.route));
            return Some(RouterError { route, other, method: owner.method.clone() });
        }
        owners.push(Owner { method: method.map(Arc::from), route: Arc::clone(name) });
        let known = method.map_or(ANY, |method| place_of(Method::from_bytes(method.as_bytes())));
        match (method, known) {
            (Some(method), ANY) => terminal.by_name.push((method.as_bytes().into(), id.0)),
            _ => {
                if let Some(slot) = terminal.by_method.get_mut(known) {
                    *slot = id.0;
                }
            }
        }
        None
    }

    /// The finished router.
    pub fn build(self) -> Router {
        let mut exact = Vec::new();
        let mut wildcard = Vec::new();
        let mut default_root = NONE;
        for (host, root) in &self.roots {
            match (host.as_ref(), host.strip_prefix("*.")) {
                ("", _) => default_root = *root,
                (_, Some(name)) => wildcard.push((name.as_bytes().into(), *root)),
                (name, None) => exact.push((name.as_bytes().into(), *root)),
            }
        }
        let (edges, labels) = edges(&self.nodes);
        Router {
            hosts: Hosts::new(exact, wildcard),
            default_root,
            nodes: self.nodes.iter().map(|draft| draft.node).collect(),
            edges,
            labels,
            terminals: self.terminals.into_iter().map(|(terminal, _)| terminal).collect(),
        }
    }
}

/// The table of static edges that all nodes share, and the text of the long ones.
fn edges(nodes: &[Draft]) -> (Vec<Edge>, Vec<u8>) {
    let count: usize = nodes.iter().map(|draft| draft.children.len()).sum();
    let slots = (count * 2).next_power_of_two();
    let free = Edge { head: 0, tail: 0, parent: NONE, child: NONE, label_start: 0, label_len: 0 };
    let mut edges = vec![free; slots];
    let mut labels = Vec::new();
    for (parent, draft) in nodes.iter().enumerate() {
        let parent = index(parent);
        for (text, child) in &draft.children {
            let key = words::key(text, 0, text.len(), parent);
            let edge = Edge {
                head: key.head,
                tail: key.tail,
                parent,
                child: *child,
                label_start: index(labels.len()),
                label_len: index(text.len()),
            };
            if text.len() > WORDS_BYTES {
                labels.extend_from_slice(text);
            }
            let mut at = key.hash as usize & (slots - 1);
            while edges.get(at).is_some_and(|taken| taken.child != NONE) {
                at = (at + 1) & (slots - 1);
            }
            if let Some(slot) = edges.get_mut(at) {
                *slot = edge;
            }
        }
    }
    (edges, labels)
}

/// Indexes are 32 bits wide; a configuration with more nodes than that does not fit in memory.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}
