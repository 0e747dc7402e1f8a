//! `cargo xtask demo`: from a fresh clone to datasets that can explain themselves, on real data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::{files, shell};

/// The dataset whose history is shown.
const SHOWN: &str = "PAL0708-Biscoe.csv";

/// Runs the demonstration as the command line asks for it.
pub fn main(arguments: &[&str]) -> Result<()> {
    let folder = match arguments {
        [] => shell::target().join("demo"),
        ["--dir", folder] => std::env::current_dir()?.join(folder),
        _ => bail!("demo takes nothing but --dir D"),
    };
    let begin = Instant::now();
    println!("building opendmp (a few minutes the first time)");
    let binary = shell::build(shell::Profile::Debug)?;
    println!("built in {}\n", shell::spell(begin.elapsed()));
    show(&binary, &folder)?;
    println!("\ndone in {}; all of it is in {}", shell::spell(begin.elapsed()), folder.display());
    Ok(())
}

/// Runs the penguins in `folder`, which must be empty or an earlier demonstration's, and checks that their tables came.
pub fn show(binary: &Path, folder: &Path) -> Result<()> {
    files::fresh(folder)?;
    let example = folder.join("penguins");
    let original = shell::root().join("examples").join("penguins");
    for part in ["penguins.yaml", "clean.py"] {
        fs::create_dir_all(&example)?;
        fs::copy(original.join(part), example.join(part))?;
    }
    files::copy(&original.join("inbox"), &example.join("inbox"))?;
    println!("copied examples/penguins to {}: three seasons of field work in its inbox\n", example.display());

    let opendmp = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.current_dir(folder).args(arguments).args(["--data-dir", "data"]);
        println!("$ {}", shell::describe(&command));
        let result = shell::run(&mut command);
        println!();
        result
    };
    opendmp(&["run", "penguins/penguins.yaml"])?;
    opendmp(&["datasets", "list"])?;
    opendmp(&["datasets", "history", SHOWN])?;

    let tables: Vec<PathBuf> = files::list(&example.join("outbox"))?;
    let expected = files::list(&original.join("expected"))?;
    if tables != expected {
        bail!("the demonstration wrote {tables:?} instead of {expected:?}");
    }
    println!("{} tables in {}", tables.len(), example.join("outbox").display());
    Ok(())
}
