//! How many steps the evaluation of an expression takes at most, found without evaluating it.
//!
//! A step is a node that is evaluated, an element that is copied, or up to [`TEXT_STEP`] bytes that are looked at or
//! copied. For each value the analysis knows how large it can be: literals have their size, texts of an item are at most
//! [`MAX_TEXT`], lists have as many elements as are written, and what is made of them follows from that. Loops multiply.
//! Nothing is estimated below what can happen, so what is accepted ends.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use regex::Regex;

use super::pattern;

/// What expressions may look at.
pub(super) const VARIABLES: [&str; 4] = ["name", "size", "media_type", "attributes"];

/// How many steps all conditions of a `route` may take for one item: a few milliseconds in a release build.
pub(super) const MAX_STEPS: u64 = 20_000;

/// How deeply an expression may be nested in all, operators included. Its evaluation recurses, and a level takes some 30 KiB
/// of the stack in a debug build; a thread that runs flows has 2 MiB.
pub(super) const MAX_DEPTH: usize = 24;

/// How many bytes of text an item may have in the name, the media type and the attributes that conditions look at.
pub(super) const MAX_TEXT: u64 = 64 << 10;

/// How many bytes of text are looked at in one step.
const TEXT_STEP: u64 = 1 << 10;

/// What copying all attributes of an item takes: an attribute has at least some bytes of text.
const ATTRIBUTES: u64 = MAX_TEXT / 8;

/// What is known of an accepted expression.
#[derive(Debug)]
pub(super) struct Found {
    /// Its steps at most.
    pub steps: u64,
    /// The variables it reads.
    pub variables: BTreeSet<&'static str>,
    /// The patterns of its `matches`, compiled.
    pub patterns: Vec<(String, Regex)>,
}

/// Why an expression is refused, and where.
#[derive(Debug)]
pub(super) struct Refused {
    pub why: Why,
    pub place: Place,
}

#[derive(Debug)]
pub(super) enum Why {
    /// It takes too many steps.
    Steps,
    /// It loops over what has no known length.
    OpenLoop,
    /// A pattern is not a literal.
    Pattern,
    /// A pattern can't be read, or is too large.
    Regex(regex::Error),
    /// It is nested too deeply.
    Depth,
    /// There is no such variable.
    Variable(String),
    /// There is no such function with such arguments.
    Function(String),
    /// It makes a message.
    Message,
}

/// A place in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The nth call of a function by name, from 0.
    Call(usize),
    /// The first use of a name.
    Name(String),
    /// Nowhere in particular.
    Whole,
}

/// How large a value is at most.
#[derive(Clone, Debug, Default)]
struct Size {
    /// Bytes of text, or steps of another sort times [`TEXT_STEP`].
    bytes: u64,
    /// Elements of a list, keys of a map.
    count: u64,
    /// Whether there may be more elements than `count`: it is, or may be, the attributes.
    open: bool,
    /// What each element or value is at most.
    item: Option<Box<Size>>,
}

impl Size {
    fn text(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// The attributes.
    fn attributes() -> Self {
        let item = Some(Box::new(Self::text(MAX_TEXT)));
        Self { bytes: ATTRIBUTES * TEXT_STEP, count: 0, open: true, item }
    }

    /// The steps to look at all of it once.
    fn steps(&self) -> u64 {
        let items = self.item.as_ref().map_or(0, |item| self.count.saturating_mul(item.steps()));
        items.saturating_add(self.bytes / TEXT_STEP).saturating_add(1)
    }

    /// An element, or what is at a key.
    fn item(self) -> Self {
        self.item.map_or_else(Self::default, |item| *item)
    }

    /// One or the other.
    fn or(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            count: self.count.max(other.count),
            open: self.open || other.open,
            item: either(self.item, other.item),
        }
    }

    /// One behind the other.
    fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            count: self.count.saturating_add(other.count),
            open: self.open || other.open,
            item: either(self.item, other.item),
        }
    }
}

fn either(one: Option<Box<Size>>, other: Option<Box<Size>>) -> Option<Box<Size>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Box::new(one.or(*other))),
        (one, other) => one.or(other),
    }
}

/// Finds out what an expression takes.
pub(super) fn of(tree: &IdedExpr) -> Result<Found, Refused> {
    let mut walk = Walk { depth: 0, calls: 0, scope: Vec::new(), variables: BTreeSet::new(), patterns: Vec::new() };
    let (_, steps) = walk.node(tree)?;
    within(steps, Place::Whole)?;
    Ok(Found { steps, variables: walk.variables, patterns: walk.patterns })
}

fn within(steps: u64, place: Place) -> Result<(), Refused> {
    if steps > MAX_STEPS { Err(Refused { why: Why::Steps, place }) } else { Ok(()) }
}

struct Walk {
    depth: usize,
    /// Calls by name that were met, in the order of the text.
    calls: usize,
    /// Variables of the loops around, the innermost last.
    scope: Vec<(String, Size)>,
    variables: BTreeSet<&'static str>,
    patterns: Vec<(String, Regex)>,
}

type Costs = Result<(Size, u64), Refused>;

impl Walk {
    /// How large the value of a node is at most, and what evaluating it takes at most.
    fn node(&mut self, node: &IdedExpr) -> Costs {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Refused { why: Why::Depth, place: Place::Whole });
        }
        let (size, steps) = match &node.expr {
            Expr::Literal(literal) => (Size::text(literal_bytes(literal)), 0),
            Expr::Ident(name) => (self.variable(name)?, 0),
            Expr::Select(select) => {
                if select.test {
                    self.calls += 1;
                }
                let (operand, steps) = self.node(&select.operand)?;
                (if select.test { Size::default() } else { operand.item() }, steps)
            }
            Expr::List(list) => {
                let mut items = None;
                let mut steps = 0u64;
                for element in &list.elements {
                    let (size, cost) = self.node(element)?;
                    steps = steps.saturating_add(cost).saturating_add(size.steps());
                    items = either(items, Some(Box::new(size)));
                }
                (Size { count: list.elements.len() as u64, item: items, ..Size::default() }, steps)
            }
            Expr::Map(map) => {
                let mut items = None;
                let mut steps = 0u64;
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(Refused { why: Why::Message, place: Place::Whole });
                    };
                    for part in [&entry.key, &entry.value] {
                        let (size, cost) = self.node(part)?;
                        steps = steps.saturating_add(cost).saturating_add(size.steps());
                        items = either(items, Some(Box::new(size)));
                    }
                }
                (Size { count: map.entries.len() as u64, item: items, ..Size::default() }, steps)
            }
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(comprehension) => self.comprehension(comprehension)?,
            Expr::Struct(_) | Expr::Unspecified => {
                return Err(Refused { why: Why::Message, place: Place::Whole });
            }
        };
        self.depth -= 1;
        Ok((size, steps.saturating_add(1)))
    }

    fn variable(&mut self, name: &str) -> Result<Size, Refused> {
        if let Some((_, size)) = self.scope.iter().rev().find(|(known, _)| known == name) {
            return Ok(size.clone());
        }
        let Some(known) = VARIABLES.into_iter().find(|known| *known == name) else {
            return Err(Refused { why: Why::Variable(name.to_owned()), place: Place::Name(name.to_owned()) });
        };
        self.variables.insert(known);
        Ok(match known {
            "size" => Size::default(),
            "attributes" => Size::attributes(),
            _ => Size::text(MAX_TEXT),
        })
    }

    fn call(&mut self, call: &CallExpr) -> Costs {
        let named = call.func_name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && call.func_name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let target = call.target.as_ref().map(|target| self.node(target)).transpose()?;
        let nth = self.calls;
        self.calls += usize::from(named);
        let mut steps = target.as_ref().map_or(0, |(_, steps)| *steps);
        let is_member = target.is_some();
        let mut sizes: Vec<Size> = target.into_iter().map(|(size, _)| size).collect();
        for argument in &call.args {
            let (size, cost) = self.node(argument)?;
            steps = steps.saturating_add(cost);
            sizes.push(size);
        }
        let all = sizes.iter().map(Size::steps).fold(0u64, u64::saturating_add);
        let mut sizes = sizes.into_iter();
        let operands = (sizes.next(), sizes.next(), sizes.next());
        let scalar = Size::default;
        let (size, cost) = match (call.func_name.as_str(), is_member, operands) {
            (operators::CONDITIONAL, false, (Some(_), Some(one), Some(other))) => (one.or(other), 0),
            (operators::LOGICAL_AND | operators::LOGICAL_OR, false, (Some(_), Some(_), None))
            | (
                operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                false,
                (Some(_), Some(_), None),
            )
            | (
                operators::LOGICAL_NOT | operators::NEGATE | operators::NOT_STRICTLY_FALSE,
                false,
                (Some(_), None, None),
            ) => (scalar(), 0),
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                false,
                (Some(one), Some(other), None),
            ) => (scalar(), one.steps().min(other.steps())),
            (operators::ADD, false, (Some(one), Some(other), None)) => {
                let sum = one.and(other);
                let steps = sum.steps();
                (sum, steps)
            }
            (operators::INDEX, false, (Some(one), Some(_), None)) => (one.item(), 0),
            (operators::IN, false, (Some(sought), Some(within), None)) => {
                let each = within.item.as_ref().map_or(1, |item| item.steps().min(sought.steps()));
                (scalar(), sought.steps().saturating_add(within.count.saturating_mul(each)))
            }
            ("size", _, (Some(of), None, None)) => (scalar(), if of.open { 1 } else { of.bytes / TEXT_STEP }),
            ("contains" | "startsWith" | "endsWith", true, (Some(_), Some(_), None)) => (scalar(), all),
            ("matches", _, (Some(_), Some(_), None)) => {
                let pattern = match call.args.last().map(|pattern| &pattern.expr) {
                    Some(Expr::Literal(LiteralValue::String(pattern))) => pattern.inner().to_owned(),
                    _ => return Err(Refused { why: Why::Pattern, place: Place::Call(nth) }),
                };
                let (regex, cost) = pattern::compile(&pattern)
                    .map_err(|error| Refused { why: Why::Regex(error), place: Place::Call(nth) })?;
                self.patterns.push((pattern, regex));
                (scalar(), all.saturating_add(cost))
            }
            // Numbers and truth values are written in a few bytes.
            ("string" | "bytes", false, (Some(of), None, None)) => (Size::text(of.bytes.saturating_add(32)), all),
            ("int" | "uint" | "double" | "bool", false, (Some(_), None, None)) => (scalar(), all),
            ("dyn", false, (Some(of), None, None)) => (of, 0),
            ("type", false, (Some(_), None, None)) => (scalar(), 0),
            _ => {
                let why = Why::Function(call.func_name.clone());
                return Err(Refused { why, place: if named { Place::Call(nth) } else { Place::Whole } });
            }
        };
        let steps = steps.saturating_add(cost);
        within(steps, if named { Place::Call(nth) } else { Place::Whole })?;
        Ok((size, steps))
    }

    /// A loop: `all`, `exists`, `exists_one`, `map` and `filter` have become these.
    fn comprehension(&mut self, of: &ComprehensionExpr) -> Costs {
        let (range, mut steps) = self.node(&of.iter_range)?;
        let place = Place::Call(self.calls);
        self.calls += 1;
        if range.open {
            return Err(Refused { why: Why::OpenLoop, place });
        }
        let rounds = range.count;
        let element = range.item();
        let copied = element.steps();
        let (start, cost) = self.node(&of.accu_init)?;
        steps = steps.saturating_add(cost);
        let collects = matches!(of.accu_init.expr, Expr::List(_));
        let outer = self.scope.len();
        // What was gathered so far is extended in place, so each round costs what it adds.
        self.scope.push((of.accu_var.clone(), start));
        self.scope.push((of.iter_var.clone(), element));
        let (_, condition) = self.node(&of.loop_cond)?;
        let (added, step) = self.node(&of.loop_step)?;
        let (_, result) = self.node(&of.result)?;
        self.scope.truncate(outer);
        let round = condition.saturating_add(step).saturating_add(copied).saturating_add(1);
        steps = steps.saturating_add(rounds.saturating_mul(round)).saturating_add(result);
        within(steps, place)?;
        let size = if collects {
            Size { count: rounds.saturating_mul(added.count), item: added.item, ..Size::default() }
        } else {
            Size::default()
        };
        Ok((size, steps))
    }
}

fn literal_bytes(literal: &LiteralValue) -> u64 {
    match literal {
        LiteralValue::String(text) => text.inner().len() as u64,
        LiteralValue::Bytes(bytes) => bytes.inner().len() as u64,
        _ => 0,
    }
}
