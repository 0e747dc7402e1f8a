//! A run plan for people: plain text for a terminal, Mermaid for a page.

use super::{PlannedProcessor, RunPlan};
use crate::kinds::{DEFAULT_PORT, Determinism, Role};
use std::fmt::Write;

impl RunPlan {
    /// Stages from first to last, a line for each processor: what it is, who reads it, what it can't promise.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let count = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        let processors = count(self.processors.len(), "processor", "processors");
        let stages = count(self.stages.len(), "stage", "stages");
        // Writing to a string can't fail.
        let _ = writeln!(out, "{} · {processors} in {stages}", self.name);
        if self.parts.len() > 1 {
            let _ =
                writeln!(out, "{} that have nothing to do with each other", count(self.parts.len(), "part", "parts"));
        }
        let width = |of: fn(&PlannedProcessor) -> &str| {
            self.processors.iter().map(|p| of(p).chars().count()).max().unwrap_or(0)
        };
        let (ids, kinds) = (width(|p| &p.id), width(|p| &p.kind));
        for (number, stage) in self.stages.iter().enumerate() {
            let together =
                if stage.len() > 1 { format!(" · {} at the same time", stage.len()) } else { String::new() };
            let _ = writeln!(out, "\nstage {}{together}", number + 1);
            for at in stage {
                let processor = &self.processors[*at];
                let mut line = format!("  {:ids$}  {:kinds$}  {}", processor.id, processor.kind, self.reads(processor));
                let mut notes = Vec::new();
                if processor.determinism == Determinism::Unknown {
                    notes.push("may not be deterministic");
                }
                if processor.settings.checkpoint {
                    notes.push("checkpoint");
                }
                if !notes.is_empty() {
                    let _ = write!(line, "  ({})", notes.join(", "));
                }
                let _ = writeln!(out, "{}", line.trim_end());
                for port in
                    processor.outputs.iter().filter(|port| processor.readers.get(*port).is_none_or(Vec::is_empty))
                {
                    let name = if port == DEFAULT_PORT { "its output" } else { port };
                    let _ = writeln!(out, "  {:ids$}  {:kinds$}  nobody reads {name}", "", "");
                }
            }
        }
        out
    }

    fn reads(&self, processor: &PlannedProcessor) -> String {
        if processor.inputs.is_empty() {
            return "starts here".to_owned();
        }
        let names = processor.inputs.iter().map(|input| {
            let id = &self.processors[input.processor].id;
            if input.port == DEFAULT_PORT { id.clone() } else { format!("{id}.{}", input.port) }
        });
        format!("<- {}", names.collect::<Vec<_>>().join(", "))
    }

    /// A Mermaid flowchart. Ids are letters, digits, `_` and `-`, and nodes are named by number, so that nothing a
    /// person wrote can be taken for Mermaid's own words.
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (at, processor) in self.processors.iter().enumerate() {
            let label = format!("\"{}<br/><small>{}</small>\"", processor.id, processor.kind);
            let shape = match processor.role {
                Role::Ingest => format!("([{label}])"),
                Role::Transform => format!("[{label}]"),
                Role::Collect => format!("[({label})]"),
            };
            let _ = writeln!(out, "  p{at}{shape}");
        }
        for (at, processor) in self.processors.iter().enumerate() {
            for input in &processor.inputs {
                let arrow = if input.port == DEFAULT_PORT { "-->".to_owned() } else { format!("-->|{}|", input.port) };
                let _ = writeln!(out, "  p{} {arrow} p{at}", input.processor);
            }
        }
        out
    }
}
