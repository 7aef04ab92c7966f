//! From text to a compiled document.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

use crate::MAX_DOCUMENT_BYTES;
use crate::condition::Condition;
use crate::error::{At, PolicyError};
use crate::json::{Node, quote};
use crate::operator::Operator;
use crate::pattern::{ArnPattern, Pattern, Syntax};
use crate::policy::{Effect, Kind, Policy, Resource, Statement};
use crate::principal::Principals;
use std::collections::HashSet;

type Members = [(String, Node)];

impl Policy {
    /// Parses and compiles a document.
    pub fn parse(text: &str, kind: Kind<'_>) -> Result<Self, PolicyError> {
        let root = At::Root;
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(
                root.error(format!("at most {MAX_DOCUMENT_BYTES} bytes"), format!("{} bytes", text.len()))
            );
        }
        let node = serde_json::from_str(text).map_err(|error| root.error("JSON", error.to_string()))?;
        let members = object(&node, root)?;
        only(members, &["Version", "Id", "Statement"], root)?;
        let variables = match get(members, "Version") {
            None => false,
            Some(Node::Text(version)) if version == "2012-10-17" => true,
            Some(Node::Text(version)) if version == "2008-10-17" => false,
            Some(other) => {
                return Err(root
                    .member("Version")
                    .error("\"2012-10-17\" or \"2008-10-17\"", other.describe()));
            }
        };
        optional_text(members, "Id", root)?;
        let at = root.member("Statement");
        let compiler = Compiler { kind, variables };
        let statements: Box<[Statement]> = match get(members, "Statement") {
            Some(Node::List(list)) if !list.is_empty() => {
                let each = list
                    .iter()
                    .enumerate()
                    .map(|(index, node)| compiler.statement(index, node, at.item(index)));
                each.collect::<Result<_, _>>()?
            }
            Some(Node::List(_)) => return Err(at.error("at least one statement", "an empty list")),
            Some(node) => Box::new([compiler.statement(0, node, at)?]),
            None => return Err(root.error("a Statement", "none")),
        };
        let mut sids = HashSet::new();
        for sid in statements.iter().filter_map(Statement::sid) {
            if !sids.insert(sid) {
                return Err(at.error("a Sid of its own for each statement", format!("{} twice", quote(sid))));
            }
        }
        Ok(Self { statements })
    }
}

struct Compiler<'a> {
    kind: Kind<'a>,
    variables: bool,
}

impl Compiler<'_> {
    fn statement(&self, index: usize, node: &Node, at: At<'_>) -> Result<Statement, PolicyError> {
        let members = object(node, at)?;
        let known = [
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        only(members, &known, at)?;
        let effect = match get(members, "Effect") {
            Some(Node::Text(effect)) if effect == "Allow" => Effect::Allow,
            Some(Node::Text(effect)) if effect == "Deny" => Effect::Deny,
            Some(other) => return Err(at.member("Effect").error("\"Allow\" or \"Deny\"", other.describe())),
            None => return Err(at.error("an Effect", "none")),
        };
        let sid = optional_text(members, "Sid", at)?.filter(|sid| !sid.is_empty()).map(Box::from);
        let (not_action, actions) = self.actions(members, at)?;
        let (not_resource, resources) = self.resources(members, at)?;
        Ok(Statement {
            index,
            sid,
            effect,
            principals: self.principals(members, at)?,
            not_action,
            actions,
            not_resource,
            resources,
            conditions: self.conditions(members, at)?,
        })
    }

    fn principals(&self, members: &Members, at: At<'_>) -> Result<Option<Principals>, PolicyError> {
        let found = either(members, "Principal", "NotPrincipal", at)?;
        match (self.kind, found) {
            (Kind::Resource(_), Some((not, name, node))) => {
                Principals::parse(not, node, at.member(name)).map(Some)
            }
            (Kind::Resource(_), None) => Err(at.error("a Principal", "none")),
            (_, Some((_, name, _))) => {
                Err(at.member(name).error("no principal, since the policy is the caller's own", "one"))
            }
            (_, None) => Ok(None),
        }
    }

    fn actions(&self, members: &Members, at: At<'_>) -> Result<(bool, Box<[Pattern]>), PolicyError> {
        let Some((not, name, node)) = either(members, "Action", "NotAction", at)? else {
            return Err(at.error("an Action or NotAction", "none"));
        };
        let syntax = Syntax { wildcards: true, variables: false, ignore_case: true };
        let actions = texts(node, at.member(name), |text, at| {
            let named = text
                .split_once(':')
                .is_some_and(|(service, action)| !service.is_empty() && !action.is_empty());
            if text != "*" && !named {
                return Err(at.error("service:action (execute-api:Invoke) or *", quote(text)));
            }
            Pattern::compile(text, syntax).map_err(|expected| at.error(expected, quote(text)))
        })?;
        Ok((not, actions))
    }

    fn resources(&self, members: &Members, at: At<'_>) -> Result<(bool, Box<[Resource]>), PolicyError> {
        let Some((not, name, node)) = either(members, "Resource", "NotResource", at)? else {
            return Err(at.error("a Resource or NotResource", "none"));
        };
        let resources = texts(node, at.member(name), |text, at| {
            let expanded = match self.kind {
                Kind::Resource(Some(api)) => api.expand(text),
                _ => None,
            };
            let whole = expanded.as_deref().unwrap_or(text);
            let pattern = ArnPattern::compile(whole, self.variables)
                .map_err(|expected| at.error(expected, quote(text)))?;
            Ok(Resource { pattern, text: whole.into() })
        })?;
        Ok((not, resources))
    }

    fn conditions(&self, members: &Members, at: At<'_>) -> Result<Box<[Condition]>, PolicyError> {
        let Some(node) = get(members, "Condition") else { return Ok(Box::default()) };
        let at = at.member("Condition");
        let mut conditions = Vec::new();
        for (name, keys) in object(node, at)? {
            let Some(operator) = Operator::named(name) else {
                return Err(at.error(
                    "condition operators of IAM, like StringEquals or IpAddressIfExists",
                    quote(name),
                ));
            };
            let at = at.member(name);
            for (key, values) in object(keys, at)? {
                if key.is_empty() {
                    return Err(at.error("a condition key", "an empty name"));
                }
                conditions.push(Condition::parse(operator, key, values, at.member(key), self.variables)?);
            }
        }
        Ok(conditions.into())
    }
}

fn get<'n>(members: &'n Members, name: &str) -> Option<&'n Node> {
    members.iter().find(|(member, _)| member == name).map(|(_, node)| node)
}

fn object<'n>(node: &'n Node, at: At<'_>) -> Result<&'n Members, PolicyError> {
    match node {
        Node::Map(members) => Ok(members),
        other => Err(at.error("an object", other.describe())),
    }
}

fn only(members: &Members, known: &[&str], at: At<'_>) -> Result<(), PolicyError> {
    match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(at.error(known.join(", "), quote(name))),
    }
}

fn optional_text<'n>(members: &'n Members, name: &str, at: At<'_>) -> Result<Option<&'n str>, PolicyError> {
    match get(members, name) {
        None => Ok(None),
        Some(Node::Text(text)) => Ok(Some(text)),
        Some(other) => Err(at.member(name).error("a text", other.describe())),
    }
}

/// An element or its negation, but not both: whether it is the negation, its name, its value.
fn either<'n, 'k>(
    members: &'n Members,
    name: &'k str,
    negation: &'k str,
    at: At<'_>,
) -> Result<Option<(bool, &'k str, &'n Node)>, PolicyError> {
    match (get(members, name), get(members, negation)) {
        (Some(_), Some(_)) => Err(at.error(format!("either {name} or {negation}"), "both")),
        (Some(node), None) => Ok(Some((false, name, node))),
        (None, Some(node)) => Ok(Some((true, negation, node))),
        (None, None) => Ok(None),
    }
}

/// A text or a list of texts, each compiled.
fn texts<T>(
    node: &Node,
    at: At<'_>,
    compile: impl Fn(&str, At<'_>) -> Result<T, PolicyError>,
) -> Result<Box<[T]>, PolicyError> {
    match node {
        Node::Text(text) => Ok(Box::new([compile(text, at)?])),
        Node::List(list) if !list.is_empty() => list
            .iter()
            .enumerate()
            .map(|(index, node)| match node {
                Node::Text(text) => compile(text, at.item(index)),
                other => Err(at.item(index).error("a text", other.describe())),
            })
            .collect(),
        Node::List(_) => Err(at.error("at least one", "an empty list")),
        other => Err(at.error("a text or a list of texts", other.describe())),
    }
}
