//! Processor `route`: sends each item to the first port whose expression holds.
//!
//! Expressions are CEL (<https://cel.dev>) over `name`, `size`, `media_type` and `attributes`. What is missing is
//! false, not an error. They look at no content, so none is opened.
//!
//! They are evaluated where they are, on the threads that everything else runs on. So an expression is only accepted if it
//! takes a bounded number of steps for any item: `docs/decisions/0024-expressions-are-bounded.md`.

#[cfg(test)]
mod bounds;
mod cost;
mod expression;
mod pattern;
mod tokens;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use cel::{ExecutionError, Value as Cel};
use opendmp_model::document::ProcessorDoc;
use opendmp_model::fault::{Fault, FaultKind, LogLine};
use opendmp_model::item::Item;
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, schema_of};
use opendmp_processor::{
    Context, Done, Emission, Input, Opened, Outcome, Processor, ProcessorKind, Registry, config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use cost::VARIABLES;
use expression::{Expression, Functions};

/// The config of a `route`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The ports with their conditions, tried in this order. An item for which none holds goes to the port `otherwise`.
    #[schemars(length(min = 1, max = 100))]
    pub routes: Vec<Route>,
}

/// One port and when it is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The name of the port: letters, digits, `_` and `-`. Others read it as `ROUTE.PORT`.
    #[schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"))]
    pub port: String,
    /// The condition, a CEL expression over `name`, `size` (bytes), `media_type` and `attributes.KEY`:
    /// `size > 1000000`, `attributes.island == "Biscoe"`, `name.endsWith(".csv") && has(attributes.region)`.
    #[schemars(length(min = 1, max = 500))]
    pub when: String,
}

/// How many steps are taken before others on the thread have their turn.
const STEPS_AT_ONCE: u64 = cost::MAX_STEPS;

/// The port of items for which no condition holds.
const OTHERWISE: &str = "otherwise";

/// The longest text that the log says of a condition, in bytes: an error may quote what the item has.
const MAX_NOTE: usize = 300;

/// The processor kind `route`.
#[derive(Debug, Default)]
pub struct Kind;

const DOCS: &str = "\
Sends each item, unchanged, to the first port whose condition holds, else to the port `otherwise`. A condition that asks \
for what an item has not (an attribute, a media type) does not hold.

Conditions are cheap: they loop over lists that are written out (`['a', 'b'].exists(x, name.startsWith(x))`), not over \
attributes, and the patterns of `matches` are written out. A condition that could take long is refused when the flow is \
checked. An item whose name and attributes have more than 64 KiB of text is a dead letter.

An output that nobody reads is a warning, and its items are dropped: read `otherwise` where nothing may get lost.
";

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "route".to_owned(),
            class: Class::Processor,
            role: Role::Transform,
            summary: "Sends each item to the first port whose condition holds.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: island\ntype: route\ninputs: [clean]\nroutes:\n  \
                 - { port: biscoe, when: 'attributes.island == \"Biscoe\"' }\n  \
                 - { port: large, when: 'size > 1000000 && media_type == \"text/csv\"' }\n"
                    .to_owned(),
            ],
        })
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut ports: Vec<String> = Vec::new();
        let mut steps = 0u64;
        for (n, route) in read.routes.iter().enumerate() {
            let pointer = format!("/routes/{n}/when");
            match Expression::parse(&route.when) {
                Ok(expression) => {
                    let before = steps;
                    steps = steps.saturating_add(expression.steps);
                    if before <= cost::MAX_STEPS && steps > cost::MAX_STEPS {
                        let limit = cost::MAX_STEPS;
                        let message =
                            format!("up to here the conditions may take more than {limit} steps for one item");
                        let hint =
                            "split it into two `route` steps; the second takes the output `otherwise` of the first";
                        problems.push(Problem::new(pointer, expression::COSTLY, message).hint(hint));
                    }
                }
                Err(problem) => problems.push(problem.below(&pointer)),
            }
            if route.port == OTHERWISE {
                let message = "`otherwise` is the port of what no condition holds for";
                problems.push(
                    Problem::new(format!("/routes/{n}/port"), "reserved-port", message).hint("choose another name"),
                );
            } else if !ports.contains(&route.port) {
                // Two conditions may lead to one port.
                ports.push(route.port.clone());
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        ports.push(OTHERWISE.to_owned());
        Ok(Facts {
            default_output: false,
            outputs: ports,
            determinism: Determinism::ByConstruction,
            code: vec!["/routes".to_owned()],
            ..Facts::default()
        })
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, _context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let mut routes = Vec::with_capacity(read.routes.len());
        for route in read.routes {
            let expression = Expression::parse(&route.when)
                .map_err(|problem| Fault::new(FaultKind::Failed, problem.code, problem.message))?;
            routes.push((Arc::from(route.port), expression));
        }
        Ok(Opened::Transform(Arc::new(Router::new(routes))))
    }
}

/// An open route.
struct Router {
    routes: Vec<(Arc<str>, Expression)>,
    functions: Functions,
    otherwise: Arc<str>,
    /// Which of [`VARIABLES`] the conditions name: no other is made for an item.
    named: [bool; VARIABLES.len()],
    /// How many items are looked at before others have their turn.
    at_once: usize,
}

#[async_trait]
impl Processor for Router {
    fn reads_content(&self) -> bool {
        false
    }

    fn batch(&self) -> usize {
        opendmp_model::item::BUNDLE_ITEMS
    }

    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        let mut done = Vec::with_capacity(inputs.len());
        for (n, inputs) in inputs.chunks(self.at_once).enumerate() {
            if n > 0 {
                tokio::task::yield_now().await;
            }
            let root = self.functions.context();
            done.extend(inputs.iter().map(|input| self.route(&root, &input.item)));
        }
        Ok(done)
    }
}

impl Router {
    fn new(routes: Vec<(Arc<str>, Expression)>) -> Self {
        let named = VARIABLES.map(|name| routes.iter().any(|(_, expression)| expression.variables.contains(name)));
        let functions = Functions::of(routes.iter().map(|(_, expression)| expression));
        let steps = routes.iter().map(|(_, expression)| expression.steps).fold(1, u64::saturating_add);
        let at_once = (STEPS_AT_ONCE / steps).max(1) as usize;
        Self { routes, functions, otherwise: OTHERWISE.into(), named, at_once }
    }

    fn route(&self, root: &cel::Context<'_, '_>, item: &Item) -> Done {
        let mut context = root.new_inner_scope();
        let mut text = 0;
        for (name, _) in VARIABLES.iter().zip(self.named).filter(|(_, named)| *named) {
            let (value, bytes) = variable(name, item);
            context.add_variable_from_value(*name, value);
            text += bytes;
        }
        if text as u64 > cost::MAX_TEXT {
            let limit = cost::MAX_TEXT >> 10;
            let message = format!(
                "the item's name and attributes have {text} bytes of text, and conditions look at {limit} KiB at most"
            );
            let fault = Fault::new(FaultKind::Rejected, "too-much-text", message);
            return Done::silent(Outcome::Fault(fault.with_hint("keep long texts in the content, not in attributes")));
        }
        let mut log = Vec::new();
        let mut taken = Arc::clone(&self.otherwise);
        for (port, expression) in &self.routes {
            match expression.evaluate(&context) {
                Ok(Cel::Bool(true)) => {
                    taken = Arc::clone(port);
                    break;
                }
                Ok(Cel::Bool(false)) | Err(ExecutionError::NoSuchKey(_)) => {}
                Ok(other) => {
                    log.push(note(port, format!("gave {:?}, which is neither true nor false", other.type_of())));
                }
                Err(error) => log.push(note(port, error.to_string())),
            }
        }
        let outcome = Outcome::Emit { many: false, children: vec![Emission::same(Some(taken))] };
        Done { log, ..Done::silent(outcome) }
    }
}

fn note(port: &str, mut text: String) -> LogLine {
    if text.len() > MAX_NOTE {
        text.truncate(text.floor_char_boundary(MAX_NOTE));
        text.push('…');
    }
    LogLine {
        level: "warning".to_owned(),
        text: format!("the condition of `{port}` could not be evaluated and counts as false: {text}"),
    }
}

/// One of [`VARIABLES`], of an item, and how many bytes of text it has.
fn variable(name: &str, item: &Item) -> (Cel, usize) {
    let text = |text: &str| (Cel::String(Arc::new(text.to_owned())), text.len());
    match name {
        "name" => text(&item.name),
        "size" => (Cel::Int(i64::try_from(item.content.size).unwrap_or(i64::MAX)), 0),
        "media_type" => text(item.media_type.as_deref().unwrap_or("")),
        _ => {
            // What an attribute takes beside its text is counted too: very many short ones are as much work.
            let bytes = |(key, value): (&String, &Value)| 8 + key.len() + value.as_str().map_or(0, str::len);
            let map: HashMap<String, Cel> =
                item.attributes.iter().map(|(key, value)| (key.clone(), scalar(value))).collect();
            (map.into(), item.attributes.iter().map(bytes).sum())
        }
    }
}

fn scalar(value: &Value) -> Cel {
    match value {
        Value::Bool(value) => Cel::Bool(*value),
        Value::String(value) => Cel::String(Arc::new(value.clone())),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => Cel::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::item;
    use opendmp_model::document::Common;
    use serde_json::json;

    fn doc(routes: Value) -> ProcessorDoc {
        let Value::Object(map) = json!({ "routes": routes }) else { unreachable!() };
        ProcessorDoc { id: "r".into(), kind: "route".into(), common: Common::new("r", "route"), config: map }
    }

    fn prepare(routes: Value) -> Result<Facts, Vec<Problem>> {
        Kind.prepare(&Registry::default(), &doc(routes), &std::collections::BTreeMap::new())
    }

    async fn ports(when: &str, items: Vec<Item>) -> Vec<(String, usize)> {
        let doc = doc(json!([{ "port": "yes", "when": when }]));
        let context = crate::fixtures::context(std::path::Path::new("/"));
        let Ok(Opened::Transform(router)) = Kind.open(&Registry::default(), &doc, &context).await else {
            panic!("a route opens")
        };
        let inputs = items.into_iter().map(|item| Input { item, body: opendmp_processor::Body::Unread }).collect();
        let mut out = Vec::new();
        for done in router.process(inputs).await.unwrap() {
            let Outcome::Emit { children, .. } = done.outcome else { panic!("a route emits") };
            out.push((children[0].port.as_deref().unwrap().to_owned(), done.log.len()));
        }
        out
    }

    fn with(attributes: Value) -> Item {
        let Value::Object(map) = attributes else { unreachable!() };
        Item { attributes: map.into(), media_type: Some("text/csv".into()), ..item("a.csv", b"12345") }
    }

    #[tokio::test]
    async fn the_first_condition_that_holds_decides() {
        let biscoe = || with(json!({ "island": "Biscoe", "depth": 2.5, "n": 7, "ok": true }));
        for (when, expected) in [
            ("attributes.island == 'Biscoe'", "yes"),
            ("attributes.island == 'Dream'", "otherwise"),
            ("attributes.region == 'north'", "otherwise"),
            ("!has(attributes.region)", "yes"),
            ("attributes.n > 6 && attributes.depth < 3.0 && attributes.ok", "yes"),
            ("size == 5 && media_type == 'text/csv' && name.endsWith('.csv')", "yes"),
            ("name.matches('^a')", "yes"),
        ] {
            assert_eq!(ports(when, vec![biscoe()]).await, [(expected.to_owned(), 0)], "{when}");
        }
    }

    #[tokio::test]
    async fn what_can_not_be_told_is_false_and_said() {
        assert_eq!(
            ports("attributes.island > 3", vec![with(json!({ "island": "x" }))]).await,
            [("otherwise".into(), 1)]
        );
        assert_eq!(ports("size", vec![with(json!({}))]).await, [("otherwise".into(), 1)]);
    }

    #[test]
    fn bad_expressions_are_told_at_once() {
        let long = "a".repeat(501);
        let deep = "[".repeat(40);
        for (when, word) in [
            ("size >", "not a CEL"),
            ("island == 'x'", "no `island`"),
            (long.as_str(), "500 are the limit"),
            (deep.as_str(), "nested"),
        ] {
            let problems =
                prepare(json!([{ "port": "a", "when": when }, { "port": "b", "when": "true ==" }])).unwrap_err();
            assert_eq!(problems.len(), 2, "{when}");
            assert!(problems[0].message.contains(word), "{when}: {}", problems[0].message);
            assert_eq!(problems[0].pointer, "/routes/0/when");
        }
        assert_eq!(prepare(json!([{ "port": "otherwise", "when": "true" }])).unwrap_err()[0].code, "reserved-port");
    }

    #[test]
    fn all_conditions_together_have_a_bound() {
        let when = "['a', 'b', 'c', 'd'].exists(x, name.contains(x)) || attributes.a.endsWith('x')";
        let routes = |n: usize| Value::from_iter((0..n).map(|n| json!({ "port": format!("p{n}"), "when": when })));
        assert!(prepare(routes(20)).is_ok());
        let problems = prepare(routes(100)).unwrap_err();
        assert_eq!((problems.len(), problems[0].code), (1, "expression-too-costly"));
        assert!(problems[0].pointer.ends_with("/when") && problems[0].hint.is_some());
    }

    #[tokio::test]
    async fn an_item_with_very_long_attributes_is_refused() {
        let doc = doc(json!([{ "port": "yes", "when": "has(attributes.a)" }]));
        let context = crate::fixtures::context(std::path::Path::new("/"));
        let Ok(Opened::Transform(router)) = Kind.open(&Registry::default(), &doc, &context).await else {
            panic!("a route opens")
        };
        for (length, refused) in [(60 << 10, false), (65 << 10, true)] {
            let item = with(json!({ "a": "x".repeat(length) }));
            let done = router.process(vec![Input { item, body: opendmp_processor::Body::Unread }]).await.unwrap();
            let fault = match &done[0].outcome {
                Outcome::Fault(fault) => Some((fault.kind, fault.code.as_str())),
                _ => None,
            };
            assert_eq!(fault, refused.then_some((FaultKind::Rejected, "too-much-text")), "{length}");
        }
    }

    #[test]
    fn ports_are_named_once() {
        let facts = prepare(json!([
            { "port": "a", "when": "size > 1" }, { "port": "b", "when": "size > 2" }, { "port": "a", "when": "true" },
        ]))
        .unwrap();
        assert_eq!(facts.ports(), ["a", "b", "otherwise"]);
    }
}
