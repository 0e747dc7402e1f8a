//! The laws L1 to L4 (DESIGN.md, section 2), tested step by step over the in-memory ports with the real engine.
//!
//! A seed decides everything. `OPENDMP_SEED=n` replays one seed and tells what happened; `OPENDMP_SEEDS=n` runs so many
//! of them in each test.

#![expect(clippy::type_complexity, reason = "what the world keeps about a thing is read once, beside where it is kept")]

mod sim;

use std::collections::BTreeMap;

use sim::{Faults, Flow, Law, Mode, Mutant, Setup, run};

/// Seeds of each test: a thousand over all of them.
const SEEDS: u64 = 100;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a setup with many seeds; the first that breaks a rule is replayed and told.
fn hold(setup: &Setup, seeds: u64) -> BTreeMap<&'static str, u64> {
    let one = variable("OPENDMP_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..variable("OPENDMP_SEEDS").unwrap_or(seeds),
    };
    let mut counted: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        match run(setup, seed, one.is_some()) {
            Ok(counts) => counts.into_iter().for_each(|(what, n)| *counted.entry(what).or_default() += n),
            Err(found) => {
                let again = run(setup, seed, true).expect_err("a seed must do the same twice");
                let from = again.notes.len().saturating_sub(400);
                eprintln!("{}", again.notes[from..].join("\n"));
                assert_eq!((again.law, again.step), (found.law, found.step), "a seed must do the same twice");
                panic!(
                    "{:?} broken at step {} of seed {seed}: {} (OPENDMP_SEED={seed} replays it)",
                    found.law, found.step, found.message
                );
            }
        }
    }
    println!("{counted:?}");
    counted
}

/// Whether the rules notice a port that lies, and as what.
fn notices(mutant: Mutant, setup: Setup, laws: &[Law]) {
    let setup = Setup { mutant: Some(mutant), ..setup };
    let found = (0..60).find_map(|seed| run(&setup, seed, false).err());
    let found = found.unwrap_or_else(|| panic!("nobody noticed {mutant:?}"));
    assert!(laws.contains(&found.law), "{mutant:?} was noticed as {:?}: {}", found.law, found.message);
}

fn happened(counted: &BTreeMap<&'static str, u64>, what: &[&str]) {
    for what in what {
        assert!(
            counted.get(what).is_some_and(|n| *n > 0) || variable("OPENDMP_SEED").is_some(),
            "no {what} in {counted:?}"
        );
    }
}

#[test]
fn l1_nothing_lost() {
    let counted = hold(&Setup::default(), 60);
    happened(
        &counted,
        &[
            "settled",
            "crashes",
            "suspects",
            "released",
            "exported",
            "retried letters",
            "failed calls",
            "reprocesses",
            "files that changed but for their bytes",
        ],
    );
}

#[test]
fn l1_many_of_one_and_one_of_many() {
    let setup = Setup { flows: vec![Flow::Many, Flow::Straight], crashes: 100, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["settled", "crashes", "spooled", "closed groups", "exported"]);
}

#[test]
fn l1_retention_lets_go_only_of_what_is_done() {
    let setup = Setup { retention: true, crashes: 150, changes: 20, ..Setup::default() };
    let counted = hold(&setup, SEEDS / 2);
    happened(&counted, &["sources let go", "revisions let go", "reprocesses", "retried letters", "crashes"]);
    let many = Setup { flows: vec![Flow::Many], retention: true, ..Setup::default() };
    happened(&hold(&many, SEEDS / 4), &["sources let go", "closed groups"]);
}

#[test]
fn l2_many_of_one_and_one_of_many() {
    let setup = Setup { flows: vec![Flow::Many], mode: Mode::Several, crashes: 200, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["settled already", "fenced", "spooled", "closed groups", "take-overs"]);
}

#[test]
fn l2_one_truth() {
    let setup = Setup { mode: Mode::Several, crashes: 200, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["settled", "settled already", "fenced", "take-overs"]);
}

#[test]
fn l3_bytes_first_world_last() {
    let faults = Faults { content: 60, sink: 150, ..Setup::default().faults };
    let setup = Setup { faults, crashes: 250, large: true, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["settled", "crashes", "exported"]);
}

#[test]
fn l4_sources_let_go_last() {
    let faults = Faults { journal: 50, source: 80, again: 200, ..Setup::default().faults };
    let setup = Setup {
        flows: vec![Flow::Fan, Flow::Slow],
        faults,
        crashes: 150,
        changes: 25,
        check_every: 8,
        ..Setup::default()
    };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["released", "crashes"]);
}

#[test]
fn older_never_overwrites_newer() {
    let faults = Faults { sink: 200, again: 150, ..Setup::default().faults };
    let flows = vec![Flow::Straight, Flow::Pure];
    let setup = Setup { flows, faults, mode: Mode::Several, changes: 30, paths: 2, equal: 400, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["exported", "exports that met something foreign"]);
}

/// Folders are moved while nothing crashes: whatever was claimed in them is finished there.
fn moved() -> Setup {
    let flows = vec![Flow::Fan, Flow::Slow];
    Setup { flows, moves: true, crashes: 0, fresh: false, changes: 25, ..Setup::default() }
}

/// Folders are moved while engines die: what was claimed in them is finished once they are back.
fn moved_by_crashing() -> Setup {
    Setup { crashes: 150, fresh: true, ..moved() }
}

#[test]
fn l1_folders_are_moved_away() {
    happened(&hold(&moved(), SEEDS / 4), &["moved folders", "released", "failed calls"]);
}

#[test]
fn l1_l4_folders_are_moved_away_while_engines_die() {
    let counted = hold(&moved_by_crashing(), SEEDS / 4);
    happened(&counted, &["moved folders", "released", "crashes", "releases in folders that are not there"]);
    let several = Setup { mode: Mode::Several, ..moved_by_crashing() };
    happened(&hold(&several, SEEDS / 10), &["moved folders", "released", "take-overs"]);
}

/// The journal's file is removed and put back while engines work and die.
fn robbed() -> Setup {
    Setup {
        thief: true,
        flows: vec![Flow::Fan, Flow::Slow, Flow::Straight],
        changes: 20,
        crashes: 100,
        ..Setup::default()
    }
}

#[test]
fn l1_l4_nothing_is_let_go_or_exported_while_the_journal_is_gone() {
    let counted = hold(&robbed(), SEEDS / 4);
    let seen = ["journals that were gone", "calls of a journal that was gone", "released", "exported", "crashes"];
    happened(&counted, &seen);
}

#[test]
fn work_goes_on_by_itself() {
    let faults = Faults { journal: 40, content: 40, source: 40, sink: 150, again: 60 };
    let setup = Setup { faults, crashes: 0, fresh: false, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["failed calls", "released", "exported"]);
}

#[test]
fn exports_of_a_target_are_one_at_a_time() {
    let faults = Faults { sink: 400, again: 400, ..Faults::default() };
    let setup =
        Setup { flows: vec![Flow::Straight], faults, slow_sink: 300, changes: 20, paths: 2, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["exported"]);
}

#[test]
fn suspects_run_alone() {
    let flows = vec![Flow::Poison];
    let setup = Setup { flows, faults: Faults::default(), crashes: 0, changes: 20, paths: 12, ..Setup::default() };
    let counted = hold(&setup, SEEDS);
    happened(&counted, &["poisoned", "suspects"]);
}

#[test]
fn the_rules_notice_ports_that_lie() {
    let many = || Setup { flows: vec![Flow::Many], ..Setup::default() };
    let several = || Setup { mode: Mode::Several, crashes: 200, ..Setup::default() };
    for (mutant, setup, laws) in [
        (Mutant::DropsTask, Setup::default(), &[Law::L1][..]),
        (Mutant::DropsDeadLetter, Setup::default(), &[Law::L1]),
        (Mutant::ForgetsReader, Setup::default(), &[Law::L1]),
        (Mutant::DropsHeld, many(), &[Law::L1]),
        (Mutant::KeepsJoined, many(), &[Law::L2, Law::L5]),
        (Mutant::SkipsBlock, many(), &[Law::L1]),
        (Mutant::AcceptsLate, several(), &[Law::L2]),
        (Mutant::MixesAttempts, several(), &[Law::L1, Law::L2, Law::L5]),
        (Mutant::ClaimsTwice, several(), &[Law::L2]),
        (Mutant::NoLedger, Setup::default(), &[Law::Once]),
        (Mutant::TakesAllForUnchanged, Setup::default(), &[Law::L1]),
        (Mutant::NoSync, Setup::default(), &[Law::L3]),
        (Mutant::TornSink, Setup::default(), &[Law::L3, Law::L2]),
        (Mutant::EagerStep, Setup::default(), &[Law::L3]),
        (Mutant::ReleasesAtClaim, Setup::default(), &[Law::L4]),
        (Mutant::ReleasesByPath, Setup::default(), &[Law::L4]),
        (Mutant::ClaimsIntoFormerFolder, moved(), &[Law::L1, Law::L4, Law::Rest]),
        (Mutant::WorksWithoutJournal, robbed(), &[Law::L3, Law::L4]),
        (Mutant::ReleasesElsewhere, moved_by_crashing(), &[Law::L4, Law::Once]),
    ] {
        notices(mutant, setup, laws);
    }
}
