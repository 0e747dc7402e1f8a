//! The checks over the whole graph: who reads whom. They work on what could be read, so that a fault in one processor
//! does not hide those between others; what is not known is not judged.

use super::flow::{InputRef, Phase, is_id};
use super::tree::shorten;
use super::words::{joined, nearest, there_are};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, codes};
use crate::kinds::{DEFAULT_PORT, Role};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A processor as far as it could be read.
pub(super) struct Seen {
    /// As it stands there, even if it can't be one; `None` when it has none.
    pub(super) id: Option<String>,
    /// Where its id stands, or the processor begins.
    pub(super) place: Span,
    /// `None` when the kind is unknown.
    pub(super) role: Option<Role>,
    pub(super) inputs: Inputs,
    /// `None` when its config is wrong, so that its ports are not known.
    pub(super) ports: Option<Vec<String>>,
    /// Where its ports are declared.
    pub(super) ports_place: Span,
    pub(super) phase: Option<(Phase, Span)>,
}

/// The `inputs` of a processor as far as they could be read.
pub(super) struct Inputs {
    /// The place of the key, if it is there.
    pub(super) key: Option<Span>,
    pub(super) list: Vec<(InputRef, Span)>,
    /// Whether all of them could be read.
    pub(super) whole: bool,
}

/// Checks the graph. `phases` are the names the flow lists.
pub(super) fn check(processors: &[Seen], phases: &[String], out: &mut Diagnostics) {
    let by_id = ids(processors, out);
    let unnamed = processors.iter().any(|processor| processor.id.is_none());
    let known_phases: BTreeSet<&String> = phases.iter().collect();
    let mut resolved = true;
    let mut read: BTreeSet<(usize, &str)> = BTreeSet::new();
    let mut edges: Vec<Vec<(usize, Span)>> = vec![Vec::new(); processors.len()];
    for (index, processor) in processors.iter().enumerate() {
        let id = processor.id.as_deref();
        beginnings(processor, out);
        resolved &= processor.inputs.whole;
        let mut seen: BTreeMap<(&str, &str), Span> = BTreeMap::new();
        for (input, place) in &processor.inputs.list {
            if let Some(first) = seen.insert((&input.processor, input.port()), *place) {
                out.push(
                    Diagnostic::error(codes::DUPLICATE_INPUT, format!("`{input}` is read twice"))
                        .at(*place)
                        .related(first, "first here")
                        .hint("remove one of the two")
                        .of_processor(id),
                );
            }
            let Some(&from) = by_id.get(input.processor.as_str()) else {
                resolved = false;
                let others = by_id.keys().copied().filter(|other| Some(*other) != id);
                // Looking for similar names among thousands takes long, and nobody sees what is beyond the limit.
                let meant = if out.is_full() { None } else { nearest(&input.processor, others.clone().take(5_000)) };
                // It may be one of those whose id is missing.
                if meant.is_none() && unnamed {
                    continue;
                }
                let message = format!("there is no processor `{}`", shorten(&input.processor));
                let diagnostic = Diagnostic::error(codes::UNKNOWN_INPUT, message).at(*place).of_processor(id);
                out.push(match meant {
                    Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
                    None if by_id.len() <= 12 => {
                        let mut others: Vec<&str> = others.collect();
                        others.sort_unstable();
                        diagnostic.hint(there_are(others))
                    }
                    None => diagnostic,
                });
                continue;
            };
            edges[index].push((from, *place));
            read.insert((from, input.port()));
            resolved &= port(input, &processors[from], *place, id, out);
        }
        if let Some((Phase::Name(name), place)) = &processor.phase
            && !phases.is_empty()
            && !known_phases.contains(name)
        {
            let known = phases.iter().map(String::as_str);
            let hint = match nearest(name, known.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the flow has {}", joined(known, "and")),
            };
            out.push(
                Diagnostic::warning(codes::UNKNOWN_PHASE, format!("the flow lists no phase `{}`", shorten(name)))
                    .at(*place)
                    .hint(hint)
                    .of_processor(id),
            );
        }
    }
    cycles(processors, &edges, out);
    if resolved {
        unread(processors, &read, out);
    }
    if !processors.is_empty() && processors.iter().all(|p| matches!(p.role, Some(Role::Ingest | Role::Transform))) {
        out.push(
            Diagnostic::warning(codes::NO_COLLECT, "the flow has no collect, so nothing it makes is kept")
                .at(processors[0].place)
                .hint("add a processor with `type: collect`"),
        );
    }
}

fn ids<'a>(processors: &'a [Seen], out: &mut Diagnostics) -> HashMap<&'a str, usize> {
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    for (index, processor) in processors.iter().enumerate() {
        let Some(id) = processor.id.as_deref() else { continue };
        match by_id.get(id) {
            Some(&first) => out.push(
                Diagnostic::error(codes::DUPLICATE_ID, format!("two processors are called `{id}`"))
                    .at(processor.place)
                    .related(processors[first].place, "first here")
                    .hint("give one of them another `id`")
                    .of_processor(Some(id)),
            ),
            None => {
                by_id.insert(id, index);
            }
        }
    }
    by_id
}

/// An ingest begins a flow, and nothing else does; ports have names of their own.
fn beginnings(processor: &Seen, out: &mut Diagnostics) {
    let id = processor.id.as_deref();
    let name = id.unwrap_or("this processor");
    let nothing_read = processor.inputs.list.is_empty() && processor.inputs.whole;
    match (processor.role, processor.inputs.key) {
        (Some(Role::Ingest), Some(place)) if !nothing_read => out.push(
            Diagnostic::error(codes::INGEST_WITH_INPUTS, format!("`{name}` is an ingest and can't have inputs"))
                .at(place)
                .hint("remove `inputs`; an ingest takes from its `source`")
                .of_processor(id),
        ),
        (Some(Role::Transform | Role::Collect), key) if nothing_read => out.push(
            Diagnostic::error(codes::MISSING_INPUTS, format!("`{name}` reads nothing"))
                .at(key.unwrap_or(processor.place))
                .hint("name the processors it reads: `inputs: [id]`")
                .of_processor(id),
        ),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for port in processor.ports.iter().flatten() {
        let message = if !seen.insert(port) {
            format!("`{name}` has two outputs called `{}`", shorten(port))
        } else if !is_id(port) {
            format!("`{}` can't be the name of an output", shorten(port))
        } else {
            continue;
        };
        let hint = format!("use letters, digits, `_` and `-`; `{DEFAULT_PORT}` is the name of the default output");
        out.push(Diagnostic::error(codes::PORT_CLASH, message).at(processor.ports_place).hint(hint).of_processor(id));
    }
}

/// Whether `from` has the port; told if not.
fn port(input: &InputRef, from: &Seen, place: Span, id: Option<&str>, out: &mut Diagnostics) -> bool {
    if from.role == Some(Role::Collect) {
        out.push(
            Diagnostic::error(
                codes::READS_COLLECT,
                format!("`{}` is a collect; nothing can be read from it", input.processor),
            )
            .at(place)
            .hint("read the processor before it")
            .of_processor(id),
        );
        return false;
    }
    let Some(ports) = &from.ports else { return true };
    if ports.iter().any(|port| port == input.port()) {
        return true;
    }
    let named =
        |port: &str| if port == DEFAULT_PORT { input.processor.clone() } else { format!("{}.{port}", input.processor) };
    let all: Vec<String> = ports.iter().map(|port| named(port)).collect();
    let all = match ports.as_slice() {
        [only] if only == DEFAULT_PORT => format!("it has only its default output, written `{}`", input.processor),
        _ => format!("it has {}", joined(all.iter().map(String::as_str), "and")),
    };
    let (message, meant) = match &input.port {
        None => (format!("`{}` has no default output", input.processor), None),
        Some(port) => {
            (format!("`{}` has no output `{port}`", input.processor), nearest(port, ports.iter().map(String::as_str)))
        }
    };
    let hint = match meant {
        Some(meant) => format!("did you mean `{}`? {all}", named(meant)),
        None => all,
    };
    out.push(Diagnostic::error(codes::UNKNOWN_PORT, message).at(place).hint(hint).of_processor(id));
    false
}

fn unread(processors: &[Seen], read: &BTreeSet<(usize, &str)>, out: &mut Diagnostics) {
    for (index, processor) in processors.iter().enumerate() {
        let (Some(id), Some(ports), Some(Role::Ingest | Role::Transform)) =
            (&processor.id, &processor.ports, processor.role)
        else {
            continue;
        };
        for port in ports.iter().filter(|port| !read.contains(&(index, port.as_str()))) {
            let name = if port == DEFAULT_PORT { id.clone() } else { format!("{id}.{port}") };
            out.push(
                Diagnostic::warning(
                    codes::UNREAD_OUTPUT,
                    format!("nobody reads `{name}`, so what comes out there is dropped"),
                )
                .at(processor.place)
                .hint(format!("name it in the `inputs` of a processor: `inputs: [{name}]`"))
                .of_processor(Some(id)),
            );
        }
    }
}

/// Tells one circle of every group of processors that read each other.
fn cycles(processors: &[Seen], edges: &[Vec<(usize, Span)>], out: &mut Diagnostics) {
    for group in groups(edges) {
        // From the first in the document back along the inputs to itself.
        let members: BTreeSet<usize> = group.iter().copied().collect();
        let start = group[0];
        let Some(path) = circle(start, &members, edges) else { continue };
        let name = |index: usize| processors[index].id.as_deref().unwrap_or("?");
        // Each is read by the next, the last by the first.
        let mut drawn: Vec<&str> = path.iter().map(|(index, _)| name(*index)).collect();
        drawn.push(name(start));
        let shown = if drawn.len() > 12 {
            let (first, last) = (&drawn[..6], &drawn[drawn.len() - 5..]);
            format!("{} -> … {} more … -> {}", first.join(" -> "), drawn.len() - 11, last.join(" -> "))
        } else {
            drawn.join(" -> ")
        };
        let mut places = path.iter().rev().map(|(_, place)| *place);
        let mut diagnostic =
            Diagnostic::error(codes::CYCLE, format!("processors read each other in a circle: {shown}"))
                .hint("remove one of these inputs")
                .of_processor(processors[start].id.as_deref());
        if let Some(place) = places.next() {
            diagnostic = diagnostic.at(place);
        }
        for place in places.take(8) {
            diagnostic = diagnostic.related(place, "and this one");
        }
        out.push(diagnostic);
    }
}

/// The shortest circle through `start`, in the direction of the items: each processor with the place of the input by
/// which the next one, for the last the first, reads it.
fn circle(start: usize, members: &BTreeSet<usize>, edges: &[Vec<(usize, Span)>]) -> Option<Vec<(usize, Span)>> {
    let mut came: HashMap<usize, (usize, Span)> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    'search: while let Some(at) = queue.pop_front() {
        for &(to, place) in edges[at].iter().filter(|(to, _)| members.contains(to)) {
            if came.contains_key(&to) {
                continue;
            }
            came.insert(to, (at, place));
            if to == start {
                break 'search;
            }
            queue.push_back(to);
        }
    }
    let mut path = Vec::new();
    let mut at = start;
    loop {
        let &(before, place) = came.get(&at)?;
        path.push((at, place));
        at = before;
        if at == start {
            break;
        }
    }
    Some(path)
}

/// The groups of processors of which each can be reached from each (Tarjan's strongly connected components, without
/// recursion), left out those of one processor that does not read itself. Each sorted, in the order of the document.
fn groups(edges: &[Vec<(usize, Span)>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let count = edges.len();
    let (mut number, mut low, mut on_stack) = (vec![NEW; count], vec![0; count], vec![false; count]);
    let (mut stack, mut found, mut next) = (Vec::new(), Vec::new(), 0);
    for root in 0..count {
        if number[root] != NEW {
            continue;
        }
        let mut work = vec![(root, 0)];
        while let Some((at, edge)) = work.pop() {
            if edge == 0 {
                number[at] = next;
                low[at] = next;
                next += 1;
                stack.push(at);
                on_stack[at] = true;
            }
            if let Some(&(to, _)) = edges[at].get(edge) {
                work.push((at, edge + 1));
                if number[to] == NEW {
                    work.push((to, 0));
                } else if on_stack[to] {
                    low[at] = low[at].min(number[to]);
                }
                continue;
            }
            if low[at] == number[at] {
                let mut group = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    group.push(member);
                    if member == at {
                        break;
                    }
                }
                if group.len() > 1 || edges[at].iter().any(|(to, _)| *to == at) {
                    group.sort_unstable();
                    found.push(group);
                }
            }
            if let Some(&(parent, _)) = work.last() {
                low[parent] = low[parent].min(low[at]);
            }
        }
    }
    found.sort_unstable();
    found
}
