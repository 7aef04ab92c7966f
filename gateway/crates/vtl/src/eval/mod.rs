//! Running a template: a walk over its tree.
//!
//! Lists and maps live in a heap that the run owns, so aliasing and cycles are harmless. Objects that are no data
//! (`$input`, `$foreach`, a `#define`d block …) are opaque handles into `objects`.

mod collections;
mod expr;
mod format;
mod gateway;
mod math;
mod reference;
mod strings;
mod util;

pub use util::base64_encode;

use crate::ast::{
    BODY_CONTENT, Block, Call, Expr, FOREACH, Node, PREDEFINED, Slot, VELOCITY_COUNT, VELOCITY_HAS_NEXT,
};
use crate::error::{Error, ErrorKind};
use crate::host::{Host, Limits, Override, Rendered, Traced};
use crate::template::{Late, Names, Template};
use sluice_jsonpath::{
    Budget, Heap, MapId, Out, ReadError, Text, TooManyValues, Value, WriteError, write_java,
};
use std::borrow::Cow;

/// Runs a template.
///
/// # Errors
/// When a Java method would have thrown, or a bound is reached: where and why.
pub fn run(template: &Template, host: &dyn Host, limits: &Limits) -> Result<Rendered, Error> {
    run_traced(template, host, limits, None)
}

/// Runs a template, and tells of each reference, assignment, condition and loop as it is evaluated.
///
/// # Errors
/// As [`run`].
pub fn run_traced(
    template: &Template,
    host: &dyn Host,
    limits: &Limits,
    trace: Option<&mut dyn FnMut(Traced<'_>)>,
) -> Result<Rendered, Error> {
    let late = Late::default();
    let mut eval = Eval::new(template, host, *limits, &late, trace);
    match eval.template() {
        Ok(()) => {
            let fuel_used = limits.fuel - eval.budget.left();
            let overrides = eval.overrides().map_err(|fault| eval.error(fault))?;
            Ok(Rendered { text: eval.out.into_string(), overrides, fuel_used })
        }
        Err(fault) => Err(eval.error(fault)),
    }
}

/// Why a run ended early; the place is the innermost that was known.
#[derive(Debug)]
struct Fault {
    at: Option<usize>,
    kind: ErrorKind,
}

type Run<T> = Result<T, Fault>;

impl Fault {
    fn failed(message: impl Into<String>) -> Self {
        Self { at: None, kind: ErrorKind::Failed(message.into()) }
    }

    const fn limit(bound: &'static str) -> Self {
        Self { at: None, kind: ErrorKind::Limit(bound) }
    }

    fn at(self, at: usize) -> Self {
        Self { at: self.at.or(Some(at)), ..self }
    }
}

impl From<TooManyValues> for Fault {
    fn from(_: TooManyValues) -> Self {
        Self::limit("values in lists and maps")
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooMuchWork => Self::limit("steps"),
            ReadError::TooManyValues => TooManyValues.into(),
        }
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Full => Self::limit("bytes of output"),
            WriteError::TooDeep => Self::limit("nesting of a value"),
        }
    }
}

/// What happens after a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    /// Out of the loop, macro or template.
    Break,
    Stop,
}

/// What is behind an opaque value.
#[derive(Clone, Copy, Debug)]
enum Object<'a> {
    Input,
    Util,
    Context,
    Loop(usize),
    /// A `#define`d block, which runs where it is used.
    Block(&'a Block),
    /// The body of a macro's call, which runs in the caller's frame.
    Body(&'a Block, Option<usize>),
    Iterator(usize),
}

/// One running `#foreach`.
#[derive(Clone, Copy, Debug)]
struct Loop {
    index: usize,
    has_next: bool,
    parent: Option<usize>,
    stopped: bool,
}

/// One running macro. Arguments are evaluated where they are used, in the caller's frame.
struct Frame<'a> {
    args: Vec<(Slot, &'a Expr)>,
    locals: Vec<(Slot, Value<'a>)>,
    body: Option<&'a Block>,
    caller: Option<usize>,
}

struct Eval<'a, 't> {
    template: &'a Template,
    host: &'a dyn Host,
    limits: Limits,
    late: &'a Late,
    trace: Option<&'t mut dyn FnMut(Traced<'_>)>,
    heap: Heap<'a>,
    budget: Budget,
    out: Out,
    /// Which template is running: the outer one, or one of `#evaluate`.
    current: &'a Template,
    variables: Vec<Option<Value<'a>>>,
    objects: Vec<Object<'a>>,
    loops: Vec<Loop>,
    iterators: Vec<(Vec<Value<'a>>, usize)>,
    frames: Vec<Frame<'a>>,
    frame: Option<usize>,
    depth: usize,
    stopped: bool,
    /// The body's value, once it was wanted.
    body: Option<Value<'a>>,
    /// `$context.requestOverride` and `.responseOverride`, once touched.
    overridden: [Option<MapId>; 2],
    /// All of `$context` as a map, once something needs that.
    context: Option<MapId>,
    /// The host's variables.
    preset: Option<MapId>,
}

impl<'a, 't> Eval<'a, 't> {
    fn new(
        template: &'a Template,
        host: &'a dyn Host,
        limits: Limits,
        late: &'a Late,
        trace: Option<&'t mut dyn FnMut(Traced<'_>)>,
    ) -> Self {
        let mut variables = vec![None; template.names.len().max(PREDEFINED.len())];
        for (slot, object) in variables.iter_mut().zip(0..3) {
            *slot = Some(Value::Opaque(object));
        }
        let mut out = Out::new(limits.output_bytes);
        out.reserve(template.source.len() + 256);
        Self {
            template,
            host,
            limits,
            late,
            trace,
            heap: Heap::new(limits.values),
            budget: Budget::new(limits.fuel),
            out,
            current: template,
            variables,
            objects: vec![Object::Input, Object::Util, Object::Context],
            loops: Vec::new(),
            iterators: Vec::new(),
            frames: Vec::new(),
            frame: None,
            depth: 0,
            stopped: false,
            body: None,
            overridden: [None, None],
            context: None,
            preset: None,
        }
    }

    fn error(&self, fault: Fault) -> Error {
        let Template { name, source, .. } = self.current;
        Error::new(name, source, fault.at.unwrap_or(0), fault.kind)
    }

    fn template(&mut self) -> Run<()> {
        self.preset()?;
        let template = self.template;
        self.block(&template.body).map(|_| ())
    }

    /// The variables that the host brings along.
    fn preset(&mut self) -> Run<()> {
        let host = self.host;
        let Some(text) = host.variables() else { return Ok(()) };
        let parsed = sluice_jsonpath::parse(text, &mut self.heap);
        let object = parsed.map_err(|error| Fault::failed(format!("variables: {error}")))?;
        let Value::Map(id) = object else {
            return Err(Fault::failed("variables: expected a JSON object"));
        };
        self.preset = Some(id);
        self.assign_preset(&self.template.names, 0);
        Ok(())
    }

    /// Gives variables from this slot on the values that they have from the start.
    fn assign_preset(&mut self, names: &'a Names, from: Slot) {
        let Some(id) = self.preset else { return };
        let entries: Vec<_> = self.heap.map(id).entries().cloned().collect();
        for (name, value) in entries {
            if let Some(slot) = name.as_str().and_then(|name| names.find(name)).filter(|slot| *slot >= from) {
                self.assign(slot, Some(value));
            }
        }
    }

    fn block(&mut self, nodes: &'a Block) -> Run<Flow> {
        for node in nodes {
            let flow = self.node(node)?;
            if self.stopped {
                return Ok(Flow::Stop);
            }
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node) -> Run<Flow> {
        self.budget.spend(1)?;
        match node {
            Node::Text(text) => self.out.push(text)?,
            Node::Reference(reference) => {
                let value = self.reference(reference)?;
                self.tell(reference.at, &reference.literal, &value)?;
                self.print(&value).map_err(|fault| fault.at(reference.at))?;
            }
            Node::Set { target, value } => {
                let value = self.expr(value).map_err(|fault| fault.at(target.at))?;
                // Null, which only arithmetic yields, assigns nothing.
                if !matches!(value, Value::Null) {
                    self.tell_set(target.at, &target.literal, &value)?;
                    self.set(target, value).map_err(|fault| fault.at(target.at))?;
                }
            }
            Node::If { branches, otherwise } => return self.choose(branches, otherwise.as_ref()),
            Node::Foreach { slot, list, body, at } => {
                return self.foreach(*slot, list, body, *at).map_err(|fault| fault.at(*at));
            }
            Node::Define { slot, body } => {
                let block = self.object(Object::Block(body))?;
                self.assign(*slot, Some(block));
            }
            Node::Evaluate { source, at } => return self.evaluate(source).map_err(|fault| fault.at(*at)),
            Node::Call(call) => return self.call_macro(call).map_err(|fault| fault.at(call.at)),
            Node::Unavailable { name, at } => {
                return Err(Fault::failed(format!("{name}: API Gateway has no files to read")).at(*at));
            }
            Node::Break => return Ok(Flow::Break),
            Node::Stop => {
                self.stopped = true;
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Next)
    }

    fn choose(&mut self, branches: &'a [(Expr, Block)], otherwise: Option<&'a Block>) -> Run<Flow> {
        for (condition, body) in branches {
            let holds = self.condition(condition)?;
            if let (Some(_), Some(reference)) = (&self.trace, first_reference(condition)) {
                let what = format!("#if({} …)", reference.literal);
                self.tell_text(reference.at, &what, if holds { "true" } else { "false" });
            }
            if self.stopped {
                return Ok(Flow::Stop);
            }
            if holds {
                return self.block(body);
            }
        }
        otherwise.map_or(Ok(Flow::Next), |body| self.block(body))
    }

    fn foreach(&mut self, slot: Slot, list: &'a Expr, body: &'a Block, at: usize) -> Run<Flow> {
        let value = self.expr(list)?;
        let items = self.iterable(&value)?;
        let rounds = items.len().min(self.limits.foreach_rounds);
        self.tell_text(at, "#foreach", &format!("{rounds} rounds"));
        if rounds == 0 {
            return Ok(Flow::Next);
        }
        let hidden =
            [slot, FOREACH, VELOCITY_COUNT, VELOCITY_HAS_NEXT].map(|slot| (slot, self.variable(slot)));
        let parent = match &hidden[1].1 {
            Some(Value::Opaque(id)) => match self.objects.get(*id as usize) {
                Some(Object::Loop(parent)) => Some(*parent),
                _ => None,
            },
            _ => None,
        };
        let this = self.loops.len();
        self.loops.push(Loop { index: 0, has_next: true, parent, stopped: false });
        let scope = self.object(Object::Loop(this))?;
        self.assign(FOREACH, Some(scope));
        let total = items.len();
        let mut flow = Flow::Next;
        for (index, item) in items.into_iter().take(rounds).enumerate() {
            self.budget.spend(1)?;
            let has_next = index + 1 < total;
            if let Some(state) = self.loops.get_mut(this) {
                (state.index, state.has_next) = (index, has_next);
            }
            self.assign(VELOCITY_COUNT, Some(Value::Int(i32::try_from(index + 1).unwrap_or(i32::MAX))));
            self.assign(VELOCITY_HAS_NEXT, Some(Value::Bool(has_next)));
            self.assign(slot, Some(item));
            flow = self.block(body)?;
            if flow != Flow::Next || self.loops.get(this).is_some_and(|state| state.stopped) {
                break;
            }
        }
        for (slot, value) in hidden {
            self.assign(slot, value);
        }
        Ok(if flow == Flow::Stop { Flow::Stop } else { Flow::Next })
    }

    fn evaluate(&mut self, source: &'a Expr) -> Run<Flow> {
        let value = self.expr(source)?;
        let text = self.text(&value)?;
        self.budget.spend(text.len() as u64)?;
        let compiled = Template::compile_with("#evaluate", &text, self.current.names.clone());
        let template = compiled.map_err(|error| Fault::failed(error.to_string()))?;
        let template = self.late.templates.keep(template).ok_or(Fault::limit("uses of #evaluate"))?;
        if self.variables.len() < template.names.len() {
            let known = self.variables.len();
            self.variables.resize(template.names.len(), None);
            self.assign_preset(&template.names, known);
        }
        let outer = self.current;
        self.current = template;
        let flow = self.nested(|eval| eval.block(&template.body));
        if let Err(fault) = flow {
            let inner = self.error(fault);
            self.current = outer;
            return Err(Fault::failed(inner.to_string()));
        }
        self.current = outer;
        flow.map(|flow| if flow == Flow::Stop { Flow::Stop } else { Flow::Next })
    }

    /// Runs something one level deeper.
    fn nested<T>(&mut self, run: impl FnOnce(&mut Self) -> Run<T>) -> Run<T> {
        if self.depth >= self.limits.call_depth {
            return Err(Fault::limit("depth of calls"));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn call_macro(&mut self, call: &'a Call) -> Run<Flow> {
        let found = self.current.macros.get(&call.name).or_else(|| self.template.macros.get(&call.name));
        let Some(definition) = found else {
            self.out.push(&call.literal)?;
            return Ok(Flow::Next);
        };
        let frame = Frame {
            args: definition.params.iter().copied().zip(&call.args).collect(),
            locals: Vec::new(),
            body: call.body.as_ref(),
            caller: self.frame,
        };
        let outer = self.frame;
        let this = self.frames.len();
        self.frame = Some(this);
        self.frames.push(frame);
        let flow = self.nested(|eval| eval.block(&definition.body))?;
        self.frame = outer;
        self.frames.truncate(this);
        Ok(if flow == Flow::Stop { Flow::Stop } else { Flow::Next })
    }

    /// Runs a block with output of its own.
    fn captured(&mut self, nodes: &'a Block) -> Run<String> {
        let inner = Out::new(self.limits.output_bytes);
        let outer = std::mem::replace(&mut self.out, inner);
        let flow = self.nested(|eval| eval.block(nodes));
        let text = std::mem::replace(&mut self.out, outer).into_string();
        flow.map(|_| text)
    }

    /// The nodes behind a block, and the frame to run them in.
    fn block_of(&self, id: u32) -> Option<(&'a Block, Option<usize>)> {
        match self.objects.get(id as usize) {
            Some(Object::Block(body)) => Some((body, self.frame)),
            Some(Object::Body(body, frame)) => Some((body, *frame)),
            _ => None,
        }
    }

    /// A new opaque value.
    fn object(&mut self, object: Object<'a>) -> Run<Value<'a>> {
        self.heap.charge(1)?;
        let id = u32::try_from(self.objects.len()).map_err(|_| TooManyValues)?;
        self.objects.push(object);
        Ok(Value::Opaque(id))
    }

    /// Appends a value to the output.
    fn print(&mut self, value: &Value<'a>) -> Run<()> {
        match value {
            Value::Opaque(id) => {
                if let Some((body, frame)) = self.block_of(*id) {
                    let outer = std::mem::replace(&mut self.frame, frame);
                    let flow = self.nested(|eval| eval.block(body));
                    self.frame = outer;
                    return flow.map(|_| ());
                }
                let text = self.text(value)?;
                Ok(self.out.push(&text)?)
            }
            Value::Null => Ok(()),
            _ => {
                let before = self.out.as_str().len();
                write_java(&self.heap, value, &mut self.out)?;
                let written = self.out.as_str().len() - before;
                Ok(self.budget.spend(written as u64 / 64)?)
            }
        }
    }

    /// A value's `toString()`.
    fn text(&mut self, value: &Value<'a>) -> Run<Text<'a>> {
        match value {
            Value::Str(text) => Ok(text.clone()),
            Value::Opaque(id) => {
                if let Some((body, frame)) = self.block_of(*id) {
                    let outer = std::mem::replace(&mut self.frame, frame);
                    let text = self.captured(body);
                    self.frame = outer;
                    return Ok(text?.into());
                }
                if matches!(self.objects.get(*id as usize), Some(Object::Context)) {
                    let all = self.whole_context()?;
                    return self.text(&all);
                }
                Ok(Text::Borrowed(""))
            }
            _ => {
                let mut out = Out::new(self.limits.output_bytes);
                write_java(&self.heap, value, &mut out)?;
                self.budget.spend(out.as_str().len() as u64 / 64)?;
                Ok(out.into_string().into())
            }
        }
    }

    fn tell(&mut self, at: usize, what: &str, value: &Value<'a>) -> Run<()> {
        if self.trace.is_none() {
            return Ok(());
        }
        let text = match value {
            Value::Opaque(_) => Cow::Borrowed("(object)"),
            _ => Cow::Owned(self.text(value)?.to_string()),
        };
        self.tell_text(at, what, &text);
        Ok(())
    }

    fn tell_set(&mut self, at: usize, what: &str, value: &Value<'a>) -> Run<()> {
        if self.trace.is_some() {
            let what = format!("#set({what})");
            self.tell(at, &what, value)?;
        }
        Ok(())
    }

    fn tell_text(&mut self, at: usize, what: &str, value: &str) {
        if let Some(trace) = &mut self.trace {
            let place = Error::new("", &self.current.source, at, ErrorKind::Limit(""));
            trace(Traced { line: place.line, column: place.column, what, value });
        }
    }

    /// The value of a variable, as the innermost macro sees it.
    fn variable(&self, slot: Slot) -> Option<Value<'a>> {
        self.variables.get(slot).cloned().flatten()
    }

    fn assign(&mut self, slot: Slot, value: Option<Value<'a>>) {
        if let Some(place) = self.variables.get_mut(slot) {
            *place = value;
        }
    }

    /// Looks a variable up through the frames; an argument is evaluated in its caller's.
    fn lookup(&mut self, slot: Slot) -> Run<Option<Value<'a>>> {
        let mut at = self.frame;
        while let Some(frame) = at.and_then(|at| self.frames.get(at)) {
            if let Some((_, value)) = frame.locals.iter().find(|(local, _)| *local == slot) {
                return Ok(Some(value.clone()));
            }
            let caller = frame.caller;
            if let Some((_, arg)) = frame.args.iter().find(|(param, _)| *param == slot) {
                let arg = *arg;
                let outer = std::mem::replace(&mut self.frame, caller);
                let value = self.nested(|eval| eval.expr(arg));
                self.frame = outer;
                return value.map(Some);
            }
            if let (BODY_CONTENT, Some(body)) = (slot, frame.body) {
                return self.object(Object::Body(body, caller)).map(Some);
            }
            at = caller;
        }
        Ok(self.variable(slot))
    }

    /// Assigns where the variable lives: an argument in its macro, all else for the whole template.
    fn assign_scoped(&mut self, slot: Slot, value: Value<'a>) {
        let mut at = self.frame;
        while let Some(frame) = at.and_then(|at| self.frames.get_mut(at)) {
            if let Some((_, local)) = frame.locals.iter_mut().find(|(local, _)| *local == slot) {
                *local = value;
                return;
            }
            if frame.args.iter().any(|(param, _)| *param == slot) {
                frame.locals.push((slot, value));
                return;
            }
            at = frame.caller;
        }
        self.assign(slot, Some(value));
    }

    /// What the template overrode, for the gateway.
    fn overrides(&mut self) -> Run<Vec<Override>> {
        let mut found = Vec::new();
        for (id, name) in self.overridden.into_iter().zip(["requestOverride", "responseOverride"]) {
            let Some(id) = id else { continue };
            let entries: Vec<_> = self.heap.map(id).entries().cloned().collect();
            for (key, value) in entries {
                let name = format!("{name}.{}", self.text(&key)?);
                let Value::Map(inner) = value else {
                    found.push(Override { name, value: self.text(&value)?.to_string() });
                    continue;
                };
                let inner: Vec<_> = self.heap.map(inner).entries().cloned().collect();
                for (key, value) in inner {
                    let name = format!("{name}.{}", self.text(&key)?);
                    found.push(Override { name, value: self.text(&value)?.to_string() });
                }
            }
        }
        Ok(found)
    }
}

/// A condition's first reference: where a trace places it.
fn first_reference(expr: &Expr) -> Option<&crate::ast::Reference> {
    match expr {
        Expr::Reference(reference) => Some(reference),
        Expr::Not(inner) => first_reference(inner),
        Expr::And(sides) | Expr::Or(sides) | Expr::Compare(_, sides) | Expr::Math(_, sides) => {
            first_reference(&sides.0).or_else(|| first_reference(&sides.1))
        }
        _ => None,
    }
}

/// Whether a value is true: everything but `false` and null does.
const fn truth(value: &Value<'_>) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// Bytes and UTF-16 units of most strings are the same; this maps a unit's index to a byte's.
fn byte_of(text: &str, units: usize) -> Option<usize> {
    if text.is_ascii() {
        return (units <= text.len()).then_some(units);
    }
    let mut seen = 0;
    for (at, char) in text.char_indices() {
        if seen >= units {
            return Some(at);
        }
        seen += char.len_utf16();
    }
    (seen >= units).then_some(text.len())
}
