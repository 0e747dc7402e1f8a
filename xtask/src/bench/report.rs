//! Medians with their spread, as a table for people and as JSON in `target/bench`.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Plan;
use crate::shell;

/// One measured figure.
pub struct Row {
    /// `W1`, `W3`, …
    pub workload: &'static str,
    /// Who did it: a floor, or `opendmp`.
    pub who: &'static str,
    /// What was measured.
    pub what: String,
    /// Of `values`.
    pub unit: &'static str,
    /// One a run.
    pub values: Vec<f64>,
}

impl Row {
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

    fn markdown(&self) -> String {
        format!(
            "| {} | {} | {} | {} {} | {} | {} | {} |",
            self.workload,
            self.who,
            self.what,
            figure(self.median()),
            self.unit,
            figure(self.least()),
            figure(self.most()),
            self.values.len()
        )
    }

    fn json(&self) -> Value {
        json!({
            "workload": self.workload, "who": self.who, "what": self.what, "unit": self.unit,
            "median": self.median(), "min": self.least(), "max": self.most(), "values": self.values,
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
    println!("\n{} ({}); {}; {machine}\n", version.trim(), plan.binary.display(), python.trim());
    println!("| workload | who | what | median | min | max | runs |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        println!("{}", row.markdown());
    }
    let path = shell::target().join("bench").join("results.json");
    let document = json!({
        "opendmp": version.trim(), "binary": plan.binary, "python": python.trim(), "machine": machine,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
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

    fn row(values: &[f64]) -> Row {
        Row { workload: "W1", who: "floor", what: "one process".to_owned(), unit: "ms", values: values.to_vec() }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(row(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(row(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(row(&[]).median().is_nan());
    }

    #[test]
    fn a_row_says_what_it_is() {
        assert_eq!(row(&[0.25, 12.34, 1.0]).markdown(), "| W1 | floor | one process | 1.00 ms | 0.250 | 12.3 | 3 |");
    }
}
