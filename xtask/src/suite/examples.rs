//! The steps that run the built binary as a user would: the examples, the demonstration, the workloads in small.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Report;
use super::counts::Counts;
use crate::{demo, files, shell, tools};

/// Runs every folder of `examples/` in a copy and compares what came out with its `expected/`.
pub fn all() -> Report {
    let binary = shell::build(shell::Profile::Debug)?;
    let examples = shell::root().join("examples");
    let work = shell::target().join("examples");
    files::fresh(&work)?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&examples).context("can't list the examples")? {
        let entry = entry.context("can't list the examples")?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let mut counts = Counts::default();
    for name in &names {
        let result = one(&binary, &examples.join(name), &work.join(name), name);
        match &result {
            Ok(files) => println!("{name}: {files} files as expected"),
            Err(error) => println!("{name}: {error:#}"),
        }
        counts = counts + Counts::one(result.is_ok());
    }
    Ok(counts)
}

/// Runs one example twice; the second run finds nothing new and changes nothing. Returns the number of files it wrote.
fn one(binary: &Path, example: &Path, work: &Path, name: &str) -> Result<usize> {
    files::copy(example, work)?;
    // A developer's own run in the work tree may have left results; ours start from none.
    let outbox = work.join("outbox");
    if outbox.exists() {
        fs::remove_dir_all(&outbox).with_context(|| format!("can't remove {}", outbox.display()))?;
    }
    let flow = format!("{name}.yaml");
    let path = tools::path()?;
    let opendmp = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.current_dir(work).env("PATH", &path).args(arguments).args(["--data-dir", "../data"]);
        shell::capture(&mut command)
    };
    let told = opendmp(&["validate", &flow])?;
    if told.contains("warning") {
        bail!("an example should validate without warnings: {}", told.trim());
    }
    for round in ["first", "second"] {
        opendmp(&["run", &flow])?;
        compare(&outbox, &work.join("expected")).with_context(|| format!("after the {round} run"))?;
    }
    Ok(files::list(&outbox)?.len())
}

/// The same files, with the same bytes; of pictures the same width and height, for their bytes are the library's affair.
fn compare(found: &Path, expected: &Path) -> Result<()> {
    let names = files::list(expected)?;
    let found_names = files::list(found)?;
    if names != found_names {
        bail!("it wrote {found_names:?} instead of {names:?}");
    }
    for name in &names {
        let read =
            |folder: &Path| fs::read(folder.join(name)).with_context(|| format!("can't read {}", name.display()));
        let (got, wanted) = (read(found)?, read(expected)?);
        if name.extension().is_some_and(|extension| extension == "jpg") {
            let (got, wanted) = (jpeg_size(&got), jpeg_size(&wanted));
            if got.is_none() || got != wanted {
                bail!("{} measures {got:?} instead of {wanted:?}", name.display());
            }
        } else if got != wanted {
            bail!(
                "{} differs from what is expected; see {} and {}",
                name.display(),
                found.display(),
                expected.display()
            );
        }
    }
    Ok(())
}

/// Width and height of a JPEG in pixels, from its frame header (ITU-T T.81, B.2.2).
fn jpeg_size(bytes: &[u8]) -> Option<(u16, u16)> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let marker = *rest.strip_prefix(&[0xff])?.first()?;
        let segment = rest.get(2..)?;
        let length = usize::from(u16::from_be_bytes([*segment.first()?, *segment.get(1)?]));
        // SOF0 to SOF15, without the three codes in between that mean tables.
        if (0xc0..=0xcf).contains(&marker) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let size = segment.get(3..7)?;
            return Some((u16::from_be_bytes([size[2], size[3]]), u16::from_be_bytes([size[0], size[1]])));
        }
        rest = segment.get(length..)?;
    }
}

/// The demonstration, with the binary that the other steps use.
pub fn demo() -> Report {
    let binary = demo::build()?;
    demo::show(&binary, &shell::target().join("demo"))?;
    Ok(Counts::success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_real_jpeg() {
        let rocket = fs::read(shell::root().join("examples/photos/inbox/rocket.jpg")).unwrap();
        assert_eq!(jpeg_size(&rocket), Some((640, 427)));
        assert_eq!(jpeg_size(b"not a picture"), None);
        assert_eq!(jpeg_size(&rocket[..20]), None);
    }

    #[test]
    fn differences_are_found() {
        let folder = std::env::temp_dir().join(format!("xtask-compare-{}", std::process::id()));
        let (found, expected) = (folder.join("found"), folder.join("expected"));
        for (path, text) in [("found/a.txt", "A"), ("expected/a.txt", "A")] {
            fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), text).unwrap();
        }
        assert!(compare(&found, &expected).is_ok());
        fs::write(found.join("a.txt"), "B").unwrap();
        assert!(compare(&found, &expected).unwrap_err().to_string().contains("differs"));
        fs::write(found.join("b.txt"), "B").unwrap();
        assert!(compare(&found, &expected).unwrap_err().to_string().contains("instead of"));
        fs::remove_dir_all(folder).unwrap();
    }
}
