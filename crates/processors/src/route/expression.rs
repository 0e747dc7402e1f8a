//! A CEL expression that is known to end: read with bounds, and accepted only if its cost has one ([`cost`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cel::extractors::This;
use cel::objects::ResolveResult;
use cel::parser::PrattParser;
use cel::{Env, ExecutionError, IdedExpr, Value};
use opendmp_model::kinds::Problem;
use regex::Regex;

use super::tokens::Tokens;
use super::{cost, pattern};

/// The longest expression, in bytes.
const MAX_BYTES: usize = 500;

/// How deeply brackets may nest. The parser and the evaluation recurse.
const MAX_NESTING: u16 = 24;

/// How many nodes an expression may have, after `all`, `exists` and the like became loops.
const MAX_NODES: usize = 4_000;

/// The longest text that `matches` is asked about, in bytes: the longest path. In the worst case it looks at every
/// character once for each state of the pattern.
const MAX_MATCHED: usize = 4 << 10;

/// The code of what can't be read, and of what takes too long.
const BAD: &str = "bad-expression";
pub(super) const COSTLY: &str = "expression-too-costly";

/// An expression that was accepted.
pub(super) struct Expression {
    tree: IdedExpr,
    /// How many steps its evaluation for one item takes at most.
    pub steps: u64,
    /// Which variables it reads.
    pub variables: BTreeSet<&'static str>,
    /// The patterns of its `matches`, compiled.
    patterns: Vec<(String, Regex)>,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, with the place.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_BYTES {
            let message = format!("the expression has {} bytes, and {MAX_BYTES} are the limit", text.len());
            return Err(Problem::new("", BAD, message).hint(SCRIPT));
        }
        // Not the crate's default parser: its generated one takes time and memory that grow exponentially for some texts
        // (cel-rust issue 306). This one is written by hand, and goes through the text once.
        let parser = PrattParser::new().max_recursion_depth(MAX_NESTING).max_expression_node_count(MAX_NODES);
        let tree = parser.parse(text).map_err(|errors| {
            let first = errors.errors.first();
            let message = first.map_or_else(|| errors.to_string(), |error| error.msg.clone());
            // Only what is over a limit of the parser has no place.
            if first.is_some_and(|error| error.pos == (0, 0)) {
                let message = format!("the expression is nested deeper than {MAX_NESTING}, or is too large");
                return Problem::new("", BAD, message).hint(SCRIPT);
            }
            let message = format!("this is not a CEL expression: {}", message.trim().replace('\n', " "));
            let problem =
                Problem::new("", BAD, message).hint("for example `attributes.island == \"Biscoe\" && size > 0`");
            match first.map(|error| error.pos) {
                Some((line, column)) if line >= 1 && column >= 1 => problem.at(line as usize, column as usize),
                _ => problem,
            }
        })?;
        let found = cost::of(&tree).map_err(|refused| at(problem(&refused.why), text, refused.place))?;
        Ok(Self { tree, steps: found.steps, variables: found.variables, patterns: found.patterns })
    }

    /// Evaluates it in a scope that the variables of an item make.
    pub(super) fn evaluate(&self, context: &cel::Context<'_, '_>) -> ResolveResult {
        Value::resolve(&self.tree, context)
    }
}

/// What to do where an expression can't say it.
const SCRIPT: &str = "use a `script` step that sets an attribute, and test that attribute here";

/// A problem, at a place of the text where that is known.
fn at(problem: Problem, text: &str, place: cost::Place) -> Problem {
    let tokens = Tokens::of(text);
    let offset = match place {
        cost::Place::Call(nth) => tokens.call(nth),
        cost::Place::Name(name) => tokens.name(&name),
        cost::Place::Whole => None,
    };
    let Some(before) = offset.and_then(|offset| text.get(..offset)) else { return problem };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    problem.at(line, column)
}

fn problem(why: &cost::Why) -> Problem {
    let bad = |message: String, hint: &str| Problem::new("", BAD, message).hint(hint);
    let costly = |message: String, hint: &str| Problem::new("", COSTLY, message).hint(hint);
    match why {
        cost::Why::Steps => costly(
            format!("this may take more than {} steps for one item", cost::MAX_STEPS),
            "loop over shorter lists, nest fewer loops, or let a `script` step decide it",
        ),
        cost::Why::OpenLoop => costly(
            "this loops over `attributes`, of which an item may have any number".to_owned(),
            "name those that are meant: `has(attributes.a) || has(attributes.b)`; or loop over a list that is written \
             out: `[\"a\", \"b\"].exists(k, k in attributes)`",
        ),
        cost::Why::Pattern => costly(
            "the pattern of `matches` is not a literal text".to_owned(),
            "write it as text: `name.matches(\"^[a-z]+-[0-9]{4}\")`; to look for the text of an attribute use `contains`",
        ),
        cost::Why::Regex(regex::Error::CompiledTooBig(_)) => costly(
            format!("the pattern of `matches` needs more than {} KiB", pattern::MAX_BYTES >> 10),
            "repeat less (`{1000}`), or write `[a-z]` and `[0-9]` for the larger `\\w` and `\\d`",
        ),
        cost::Why::Regex(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            bad(
                format!("the pattern of `matches` can't be read: {last}"),
                "as in `^[a-z]+-[0-9]{4}`; backslashes are written twice, or once in r\"…\"",
            )
        }
        cost::Why::Depth => bad(format!("the expression is nested deeper than {}", cost::MAX_DEPTH), SCRIPT),
        cost::Why::Variable(name) => bad(
            format!("there is no `{name}`"),
            &format!("known are {}; an attribute is written `attributes.{name}`", cost::VARIABLES.join(", ")),
        ),
        cost::Why::Function(name) => bad(
            format!("there is no function `{name}` that is called like this"),
            "there are x.contains(y), x.startsWith(y), x.endsWith(y), x.matches(\"pattern\"), size(x), has(attributes.x), \
             the conversions string, int, uint, double, bool and bytes, and the loops all, exists, exists_one, map and \
             filter over a list",
        ),
        cost::Why::Message => bad("there are no message types".to_owned(), "a map is written `{\"key\": value}`"),
    }
}

/// What conditions are evaluated in: the standard functions, and `matches` with patterns that were compiled before.
pub(super) struct Functions {
    env: Arc<Env>,
    patterns: Arc<HashMap<String, Regex>>,
}

impl Functions {
    /// For these expressions.
    pub(super) fn of<'a>(expressions: impl Iterator<Item = &'a Expression>) -> Self {
        let patterns = expressions.flat_map(|expression| expression.patterns.iter().cloned()).collect();
        Self { env: Arc::new(Env::stdlib()), patterns: Arc::new(patterns) }
    }

    /// A context to evaluate in.
    pub(super) fn context(&self) -> cel::Context<'static, 'static> {
        let mut context = cel::Context::with_env(Arc::clone(&self.env));
        if !self.patterns.is_empty() {
            let patterns = Arc::clone(&self.patterns);
            let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| -> Result<bool, ExecutionError> {
                let failed = |message: String| Err(ExecutionError::function_error("matches", message));
                if text.len() > MAX_MATCHED {
                    return failed(format!("a text of {} bytes is too long, {MAX_MATCHED} are the limit", text.len()));
                }
                match patterns.get(&*pattern) {
                    Some(regex) => Ok(regex.is_match(&text)),
                    None => failed("the pattern is not known".to_owned()),
                }
            };
            // The standard functions of this build have no `matches`: the feature `regex` of the crate is off.
            let added = context.add_function("matches", matches);
            debug_assert!(added.is_ok());
        }
        context
    }
}
