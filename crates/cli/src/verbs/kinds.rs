//! `opendmp kinds`, `schema` and `explain`: what a flow can be made of, and what is meant by an error.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::ValueEnum;
use opendmp_model::diagnostic::{codes, explain as explanation};
use opendmp_model::document::schema::flow_schema;
use opendmp_model::kinds::{Class, KindInfo, Kinds};
use serde_json::Value as Json;

use crate::args::Format;
use crate::fail::Fail;
use crate::machine::Checker;
use crate::table::{self, Shown, Value, column, wide};
use crate::term::Term;

/// What `kinds` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp kinds               all of them
  opendmp kinds script        what a script takes, with examples")]
pub struct Args {
    /// The kind to explain
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    shown: Shown,
}

/// What `schema` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp schema flow > opendmp.schema.json

Editors with a YAML language server complete and check a flow that begins with
  # yaml-language-server: $schema=opendmp.schema.json")]
pub struct SchemaArgs {
    /// Of what
    #[arg(value_enum)]
    of: SchemaOf,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaOf {
    /// A flow file
    Flow,
}

/// What `explain` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp explain unknown-key
  opendmp explain             all codes")]
pub struct ExplainArgs {
    /// The code, as it stands in `error[CODE]`
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Lists or explains kinds.
pub fn kinds(args: &Args, term: &Term) -> Result<ExitCode, Fail> {
    let checker = Checker::new()?;
    let all: Vec<KindInfo> = checker.kinds.list().into_iter().cloned().collect();
    let Some(name) = &args.name else {
        let columns = [
            column("name", |info: &KindInfo| Value::Text(info.name.clone())),
            column("class", |info| Value::Text(info.class.to_string())),
            wide("summary", |info| Value::Text(info.summary.clone())),
        ];
        table::whole(all, &columns, &args.shown, "there are no kinds", term)?;
        return Ok(ExitCode::SUCCESS);
    };
    let found: Vec<KindInfo> = all.iter().filter(|info| info.name == *name).cloned().collect();
    if found.is_empty() {
        let names: Vec<&str> = all.iter().map(|info| info.name.as_str()).collect();
        return Err(Fail::usage(format!("there is no kind `{name}`")).hint(format!("there are: {}", names.join(", "))));
    }
    match args.shown.format {
        Format::Json => term.out(&table::json(&found)?)?,
        Format::Text => {
            let pages: Vec<String> = found.iter().map(|info| page(info, &*checker.kinds, term)).collect();
            term.out(&pages.join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A kind's help.
fn page(info: &KindInfo, kinds: &dyn Kinds, term: &Term) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(out, "{} · {}\n{}\n\n{}\n", term.bold(&info.name), info.class, info.summary, info.docs.trim());
    let _ = writeln!(out, "{}", term.bold("keys"));
    let required: Vec<&str> =
        info.schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let properties = info.schema["properties"].as_object();
    for (key, schema) in properties.into_iter().flatten() {
        let mut notes = Vec::new();
        if required.contains(&key.as_str()) {
            notes.push("required".to_owned());
        }
        if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
            notes.push(format!("default {}", default.as_str().map_or_else(|| default.to_string(), str::to_owned)));
        }
        let choices = choices(schema, &info.schema);
        if !choices.is_empty() {
            notes.push(format!("one of {}", choices.join(", ")));
        }
        if let Some(class) = schema.get(opendmp_model::kinds::CLASS_KEYWORD).and_then(Json::as_str) {
            let of_class = kinds.list().into_iter().filter(|kind| kind.class.as_str() == class);
            let names: Vec<&str> = of_class.map(|kind| kind.name.as_str()).collect();
            notes.push(format!("a {class}: {}", names.join(", ")));
        }
        let notes = if notes.is_empty() {
            String::new()
        } else {
            format!("  {}", term.dim(&format!("({})", notes.join("; "))))
        };
        let _ = writeln!(out, "  {}{notes}", term.bold(key));
        for line in schema["description"].as_str().unwrap_or("").lines() {
            let _ = writeln!(out, "      {line}");
        }
    }
    if info.class == Class::Processor {
        let _ = writeln!(
            out,
            "\nEvery processor may also say: description, phase, inputs, timeout, concurrency, on_error, checkpoint, memo, labels."
        );
    }
    for (n, example) in info.examples.iter().enumerate() {
        let _ = writeln!(out, "\n{}", term.bold(if n == 0 { "example" } else { "another" }));
        for line in example.trim_end().lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// The values a key takes, where they are few.
fn choices(schema: &Json, root: &Json) -> Vec<String> {
    let target = schema.get("$ref").and_then(Json::as_str).and_then(|to| root.pointer(to.trim_start_matches('#')));
    let schema = target.unwrap_or(schema);
    let values = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    let constants =
        schema.get("oneOf").and_then(Json::as_array).into_iter().flatten().filter_map(|one| one.get("const"));
    values.chain(constants).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
}

/// Prints a schema.
pub fn schema(args: &SchemaArgs, term: &Term) -> Result<ExitCode, Fail> {
    let checker = Checker::new()?;
    match args.of {
        SchemaOf::Flow => term.out(&table::object(&flow_schema(&*checker.kinds))?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Explains a code.
pub fn explain(args: &ExplainArgs, term: &Term) -> Result<ExitCode, Fail> {
    let more = opendmp_processors::explanations();
    let known = codes().iter().chain(more);
    let Some(code) = &args.code else {
        let lines: String = known.map(|info| format!("{}\n  {}\n", term.bold(info.code), info.explanation)).collect();
        term.out(&lines)?;
        return Ok(ExitCode::SUCCESS);
    };
    let found = explanation(code).or_else(|| more.iter().find(|info| info.code == *code).map(|info| info.explanation));
    match found {
        Some(text) => term.out(&format!("{text}\n"))?,
        None => {
            return Err(Fail::usage(format!("there is no code `{}`", crate::words::line(code)))
                .hint("`opendmp explain` lists all codes"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
