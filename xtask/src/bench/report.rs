//! Medians with their spread and their ratios, as a table for people and as JSON in `target/bench`.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Plan;
use crate::shell;

/// On which side somebody stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Less than which the work can't cost.
    Floor,
    /// `opendmp`.
    Ours,
    /// Another system.
    Peer,
}

/// One measured figure.
pub struct Row {
    /// `W1`, `W3`, …
    pub workload: &'static str,
    /// What was measured. Rows of one workload with equal words here and one unit are held against each other.
    pub what: String,
    /// On which side.
    pub role: Role,
    /// Who did it.
    pub who: String,
    /// What was durable when the work counted as done.
    pub durable: &'static str,
    /// Of `values`; with `/s` more is better, else less.
    pub unit: &'static str,
    /// One a run.
    pub values: Vec<f64>,
}

/// What `opendmp` keeps, in every workload.
pub const ALL: &str = "all: content, datasets, history";

/// What most others keep.
pub const NOTHING: &str = "nothing";

impl Row {
    /// A figure of `opendmp`.
    pub fn ours(workload: &'static str, what: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self { workload, what: what.into(), role: Role::Ours, who: "opendmp".to_owned(), durable: ALL, unit, values }
    }

    /// The middle value; of an even number the mean of the two in the middle. Not a number if there is none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        }
    }

    fn least(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// What it costs: less is better.
    fn cost(&self) -> f64 {
        if self.unit.ends_with("/s") { 1.0 / self.median() } else { self.median() }
    }

    /// How many times as much it costs as the best of a side; `None` without any.
    fn ratio(&self, rows: &[Self], role: Role) -> Option<f64> {
        let same = rows.iter().filter(|row| {
            row.role == role && row.workload == self.workload && row.what == self.what && row.unit == self.unit
        });
        let best = same.map(Self::cost).fold(f64::INFINITY, f64::min);
        (best.is_finite() && best > 0.0).then(|| self.cost() / best)
    }

    fn markdown(&self, rows: &[Self]) -> String {
        let times = |role| self.ratio(rows, role).map_or_else(|| "–".to_owned(), figure);
        format!(
            "| {} | {} | {} | {} {} ({}–{}) | {} | {} | {} | {} |",
            self.workload,
            self.what,
            self.who,
            figure(self.median()),
            self.unit,
            figure(self.least()),
            figure(self.most()),
            self.values.len(),
            times(Role::Floor),
            times(Role::Peer),
            self.durable,
        )
    }

    fn json(&self, rows: &[Self]) -> Value {
        json!({
            "workload": self.workload, "what": self.what, "who": self.who, "durable": self.durable, "unit": self.unit,
            "median": self.median(), "min": self.least(), "max": self.most(), "values": self.values,
            "times_floor": self.ratio(rows, Role::Floor), "times_best_peer": self.ratio(rows, Role::Peer),
        })
    }
}

/// Three significant digits, as many as the spread deserves.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Prints the table and writes `target/bench/results.json`.
pub fn publish(plan: &Plan, rows: &[Row]) -> Result<()> {
    let machine = machine();
    let version = shell::capture(shell::command(&plan.binary).arg("--version"))?;
    let python = shell::capture(shell::python().arg("--version"))?;
    let peers = plan.peers.versions();
    println!("\n{} ({}); {}; {machine}", version.trim(), plan.binary.display(), python.trim());
    if !peers.is_empty() {
        println!("peers, untuned: {}", peers.join(", "));
    }
    for peer in &plan.peers.left_out {
        println!("left out: {peer}");
    }
    if (plan.scale - 1.0).abs() > f64::EPSILON {
        println!("sizes times {}: these are no figures to publish", plan.scale);
    }
    println!("\n| workload | what | who | median (min–max) | runs | × floor | × best peer | durable |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        println!("{}", row.markdown(rows));
    }
    let path = shell::target().join("bench").join("results.json");
    let document = json!({
        "opendmp": version.trim(), "binary": plan.binary, "python": python.trim(), "peers": peers,
        "left_out": plan.peers.left_out, "machine": machine, "scale": plan.scale,
        "rows": rows.iter().map(|row| row.json(rows)).collect::<Vec<_>>(),
    });
    fs::write(&path, format!("{document:#}\n")).with_context(|| format!("can't write {}", path.display()))?;
    println!("\nall values are in {}", path.display());
    Ok(())
}

/// Processor, number of cores, and kernel, as far as the system tells.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(role: Role, unit: &'static str, values: &[f64]) -> Row {
        let (who, what) = (format!("{role:?}"), "one process".to_owned());
        Row { workload: "W1", what, role, who, durable: NOTHING, unit, values: values.to_vec() }
    }

    #[test]
    fn the_median_is_the_middle() {
        let median = |values: &[f64]| row(Role::Ours, "ms", values).median();
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_row_says_what_it_is_and_how_many_times_the_best_it_costs() {
        let times = [
            row(Role::Ours, "ms", &[0.25, 12.34, 2.0]),
            row(Role::Floor, "ms", &[1.0]),
            row(Role::Floor, "ms", &[4.0]),
            row(Role::Peer, "s", &[0.001]),
        ];
        let said = times[0].markdown(&times);
        assert_eq!(said, "| W1 | one process | Ours | 2.00 ms (0.250–12.3) | 3 | 2.00 | – | nothing |");
        let rates = [row(Role::Ours, "items/s", &[50.0]), row(Role::Peer, "items/s", &[100.0])];
        assert_eq!(rates[0].ratio(&rates, Role::Peer), Some(2.0));
        assert_eq!(rates[0].ratio(&rates, Role::Floor), None);
    }
}
