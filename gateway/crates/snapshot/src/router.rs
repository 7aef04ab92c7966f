//! Host, method and path to route.
//!
//! # What matches
//! - Hosts: the exact name's routes, then those of each `*.` wildcard above it, longest first, then those without a host.
//!   The next group is asked only when the one before has no route for the request.
//! - Paths, as AWS HTTP APIs choose: the most specific full match first, segment by segment from the left, a static
//!   segment before a `{param}`; only when there is none, the greedy `{proxy+}` with the most specific prefix.
//! - Methods are part of the match: a route for another method does not hide a less specific route that fits. On one
//!   path, a route that names the method is preferred to one for any.
//! - Segments compare byte by byte with regard to case, after percent-encoding is normalised (RFC 3986 6.2.2). `{param}`
//!   takes one segment that is not empty; only `{proxy+}` takes empty segments, so `/a` and `/a/` differ, and
//!   `/a/{proxy+}` takes `/a/` and `/a//b` but not `/a`.
//! - Dot segments, encoded or not, and malformed percent-encoding are [`Match::BadPath`].
//!
//! # How
//! One trie per host group, all in flat arrays. A static edge is found by one probe of a hash table that all nodes share,
//! keyed by node and segment, so the cost depends on the segments of the path and not on the number of routes. The walk
//! recurses only where both a static segment and a parameter fit; `{proxy+}` seen on the way are remembered.

mod build;
mod hosts;
pub(crate) mod hygiene;
mod words;

#[cfg(test)]
mod tests;

pub use build::{RouterBuilder, RouterError};
pub use hosts::host_of;

use crate::pattern::{CAPTURES_MAX, SEGMENT_MAX_BYTES};
use crate::route::RouteId;
use hosts::Hosts;
use hygiene::Hygiene;
use sluice_wire::{Method, Span};
use words::{Key, MAPPED_BYTES};

/// No node, no terminal, no route.
const NONE: u32 = u32::MAX;
/// Longest path whose places fit a span.
const MAX_BYTES: usize = u32::MAX as usize;
/// Segments up to here are compared by their two words.
const WORDS_BYTES: usize = 16;
/// Known methods, and one place for any.
const METHODS: usize = 10;
/// Place of a terminal's route for any method.
const ANY: usize = 9;

/// The compiled routes of one snapshot.
#[derive(Debug)]
pub struct Router {
    hosts: Hosts,
    /// Root of the routes without a host.
    default_root: u32,
    nodes: Vec<Node>,
    /// Open addressing, a power of two of slots, at most half of them used.
    edges: Vec<Edge>,
    /// Static segments that do not fit in two words, one after the other.
    labels: Vec<u8>,
    terminals: Vec<Terminal>,
}

/// A place in a pattern.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Node behind a `{param}`.
    param: u32,
    /// Terminal of the patterns that end here.
    full: u32,
    /// Terminal of the patterns that continue with `{proxy+}`.
    greedy: u32,
    /// Whether any static segment continues from here.
    has_static: bool,
}

/// A static segment from one node to another.
#[derive(Clone, Copy, Debug)]
struct Edge {
    /// First and last eight bytes of the segment: all of it, mostly.
    head: u64,
    tail: u64,
    parent: u32,
    /// `NONE`: a free slot.
    child: u32,
    label_start: u32,
    label_len: u32,
}

/// Routes of one pattern by method.
#[derive(Clone, Debug)]
struct Terminal {
    by_method: [u32; METHODS],
    /// Methods that `Method` does not know.
    by_name: Vec<(Box<[u8]>, u32)>,
    /// Bit N: segment N is a parameter.
    params: u64,
}

/// Outcome of routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// This route.
    Found(RouteId),
    /// No pattern fits host and path.
    NotFound,
    /// A pattern fits, but none for this method.
    MethodNotAllowed,
    /// A dot segment or malformed percent-encoding: answer 400.
    BadPath,
}

/// Places of the parameters' raw text in the path, in the order of the pattern. Reusable.
#[derive(Clone, Debug)]
pub struct Captures {
    spans: [Span; CAPTURES_MAX],
    len: usize,
}

impl Default for Captures {
    fn default() -> Self {
        Self::new()
    }
}

impl Captures {
    /// No captures.
    pub const fn new() -> Self {
        Self { spans: [Span { start: 0, end: 0 }; CAPTURES_MAX], len: 0 }
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where capture `index` is.
    pub fn span(&self, index: usize) -> Option<Span> {
        self.spans.get(..self.len)?.get(index).copied()
    }

    /// The raw text of capture `index`; empty if there is none.
    pub fn get<'p>(&self, index: usize, path: &'p [u8]) -> &'p [u8] {
        self.span(index).and_then(|span| path.get(span.start as usize..span.end as usize)).unwrap_or_default()
    }

    fn push(&mut self, start: usize, end: usize) {
        if let Some(span) = self.spans.get_mut(self.len) {
            *span = Span { start: start as u32, end: end as u32 };
            self.len += 1;
        }
    }
}

/// One request on its way through the trie.
struct Walk<'r> {
    path: &'r [u8],
    /// Bit N: byte N of the path is `/`, or the path ends there.
    slashes: u64,
    encoded: bool,
    method: usize,
    method_name: &'r [u8],
    captures: &'r mut Captures,
    /// Best `{proxy+}` so far.
    greedy: Option<Greedy>,
    /// A pattern fitted, its methods did not.
    wrong_method: bool,
}

impl Walk<'_> {
    /// Where the segment at `at` ends: at a `/` or the end of the path.
    #[inline(always)]
    fn end_of(&self, at: usize) -> usize {
        let ahead = if at < MAPPED_BYTES { self.slashes >> at } else { 0 };
        if ahead != 0 { at + ahead.trailing_zeros() as usize } else { self.far_end_of(at) }
    }

    #[cold]
    fn far_end_of(&self, at: usize) -> usize {
        let from = at.max(MAPPED_BYTES).min(self.path.len());
        let ahead = self.path.get(from..).unwrap_or_default();
        from + ahead.iter().position(|byte| *byte == b'/').unwrap_or(ahead.len())
    }
}

/// A `{proxy+}` that fits.
#[derive(Clone, Copy)]
struct Greedy {
    route: u32,
    terminal: u32,
    /// Where its capture begins.
    start: usize,
}

impl Router {
    /// Finds the route of a request. `host` is the authority (a port is ignored), `path` is raw, without the query.
    pub fn route(
        &self,
        host: &[u8],
        method: Method,
        method_name: &[u8],
        path: &[u8],
        captures: &mut Captures,
    ) -> Match {
        captures.len = 0;
        // Spans are 32 bits wide; no request line comes near.
        if path.first() != Some(&b'/') || path.len() > MAX_BYTES {
            return Match::NotFound;
        }
        let (hygiene, slashes) = hygiene::inspect(path);
        if hygiene == Hygiene::Bad {
            return Match::BadPath;
        }
        let end = if path.len() < MAPPED_BYTES { 1 << path.len() } else { 0 };
        let mut walk = Walk {
            path,
            slashes: slashes | end,
            encoded: hygiene == Hygiene::Encoded,
            method: place_of(method),
            method_name,
            captures,
            greedy: None,
            wrong_method: false,
        };
        let mut found = None;
        if !self.hosts.is_empty() {
            self.hosts.visit(host, |root| {
                found = self.walk(root, &mut walk);
                found.is_some()
            });
        }
        match found.or_else(|| self.walk(self.default_root, &mut walk)) {
            Some(route) => Match::Found(RouteId(route)),
            None if walk.wrong_method => Match::MethodNotAllowed,
            None => Match::NotFound,
        }
    }

    /// One host group.
    fn walk(&self, root: u32, walk: &mut Walk<'_>) -> Option<u32> {
        walk.captures.len = 0;
        if let Some(route) = self.descend(walk, root, 1) {
            return Some(route);
        }
        let greedy = walk.greedy.take()?;
        self.capture_greedy(walk, greedy);
        Some(greedy.route)
    }

    /// Walks from `node`, where the segment at `at` comes next.
    fn descend(&self, walk: &mut Walk<'_>, mut node: u32, mut at: usize) -> Option<u32> {
        let path = walk.path;
        let mut greedy = None;
        let found = loop {
            let here = self.nodes.get(node as usize)?;
            if here.greedy != NONE
                && let Some(route) = self.pick(here.greedy, walk)
            {
                greedy = Some(Greedy { route, terminal: here.greedy, start: at });
            }
            let end = walk.end_of(at);
            if end == at {
                // "/" is the pattern without segments; everywhere else an empty segment is for {proxy+} alone.
                break if path.len() == 1 { self.pick(here.full, walk) } else { None };
            }
            let fixed = match (here.has_static, walk.encoded) {
                (false, _) => NONE,
                (true, false) => self.child(node, path, at, end),
                (true, true) => self.child_encoded(node, path, at, end),
            };
            if fixed == NONE || here.param != NONE {
                if fixed != NONE {
                    let kept = walk.captures.len;
                    if let Some(route) = self.arrive(walk, fixed, end) {
                        return Some(route);
                    }
                    walk.captures.len = kept;
                }
                if here.param == NONE {
                    break None;
                }
                walk.captures.push(at, end);
                node = here.param;
            } else {
                node = fixed;
            }
            if end >= path.len() {
                break self.finish(walk, node);
            }
            at = end + 1;
        };
        // What a static segment led to was tried first and is more specific than what was seen here.
        if found.is_none() {
            walk.greedy = walk.greedy.or(greedy);
        }
        found
    }

    /// Goes on from `node` after the segment that ended at `end`.
    fn arrive(&self, walk: &mut Walk<'_>, node: u32, end: usize) -> Option<u32> {
        if end >= walk.path.len() { self.finish(walk, node) } else { self.descend(walk, node, end + 1) }
    }

    /// The route of a path that ends at `node`.
    #[inline(always)]
    fn finish(&self, walk: &mut Walk<'_>, node: u32) -> Option<u32> {
        self.pick(self.nodes.get(node as usize)?.full, walk)
    }

    /// The route of a terminal for the request's method.
    #[inline]
    fn pick(&self, terminal: u32, walk: &mut Walk<'_>) -> Option<u32> {
        let terminal = self.terminals.get(terminal as usize)?;
        let mut route = if walk.method == ANY {
            terminal
                .by_name
                .iter()
                .find(|(name, _)| **name == *walk.method_name)
                .map_or(NONE, |(_, route)| *route)
        } else {
            terminal.by_method.get(walk.method).copied().unwrap_or(NONE)
        };
        if route == NONE {
            route = terminal.by_method.get(ANY).copied().unwrap_or(NONE);
        }
        walk.wrong_method |= route == NONE;
        (route != NONE).then_some(route)
    }

    /// The node behind a static segment, or `NONE`.
    #[inline(always)]
    fn child(&self, node: u32, text: &[u8], start: usize, end: usize) -> u32 {
        let Key { hash, head, tail } = words::key(text, start, end, node);
        let mask = self.edges.len().wrapping_sub(1);
        let len = end - start;
        let mut at = hash as usize & mask;
        while let Some(edge) = self.edges.get(at) {
            let is_it = edge.parent == node
                && edge.head == head
                && edge.tail == tail
                && edge.label_len as usize == len;
            if is_it && (len <= WORDS_BYTES || self.label(edge) == text.get(start..end)) {
                return edge.child;
            }
            if edge.child == NONE {
                break;
            }
            at = (at + 1) & mask;
        }
        NONE
    }

    fn label(&self, edge: &Edge) -> Option<&[u8]> {
        self.labels.get(edge.label_start as usize..)?.get(..edge.label_len as usize)
    }

    /// [`Self::child`] for paths with percent-encoding.
    #[cold]
    fn child_encoded(&self, node: u32, path: &[u8], at: usize, end: usize) -> u32 {
        let mut text = [0; SEGMENT_MAX_BYTES];
        let mut len = 0;
        hygiene::normalise(path.get(at..end).unwrap_or_default(), |byte| {
            if let Some(slot) = text.get_mut(len) {
                *slot = byte;
            }
            len += 1;
        });
        // No static segment is longer than the buffer.
        text.get(..len).map_or(NONE, |text| self.child(node, text, 0, len))
    }

    /// Captures of a `{proxy+}` pattern. The walk may have gone on and come back since it was seen, so the parameters
    /// before it are found again from the pattern.
    fn capture_greedy(&self, walk: &mut Walk<'_>, greedy: Greedy) {
        walk.captures.len = 0;
        let mut params = self.terminals.get(greedy.terminal as usize).map_or(0, |terminal| terminal.params);
        let mut at = 1;
        while params != 0 {
            let end = walk.end_of(at);
            if params & 1 != 0 {
                walk.captures.push(at, end);
            }
            params >>= 1;
            at = end + 1;
        }
        walk.captures.push(greedy.start, walk.path.len());
    }
}

/// Where a terminal keeps the route of a method.
const fn place_of(method: Method) -> usize {
    match method {
        Method::Get => 0,
        Method::Head => 1,
        Method::Post => 2,
        Method::Put => 3,
        Method::Delete => 4,
        Method::Options => 5,
        Method::Patch => 6,
        Method::Trace => 7,
        Method::Connect => 8,
        Method::Other => ANY,
    }
}
