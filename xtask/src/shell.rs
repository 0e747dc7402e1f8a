//! Running other programs: visibly, quietly, or visibly while keeping what they print. Not which programs, nor why.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo puts what it builds, and we what we make.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Whether skipping anything is a failure.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// `cargo`, the very one that runs us, at the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// `program` at the workspace's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The Python that tests and floors run on.
pub fn python() -> Command {
    let mut command = command(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    // The sources are shared by every run of the tests; compiled copies beside them would be litter.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The command as a person would type it.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        line.push(' ');
        if argument.is_empty() || argument.contains(|c: char| c.is_whitespace() || "\"'$*".contains(c)) {
            line.push_str(&format!("'{argument}'"));
        } else {
            line.push_str(&argument);
        }
    }
    line
}

/// Runs it with our own standard streams; an exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("can't start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs it and returns its standard output; an exit code other than 0 is an error that quotes its standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("can't start `{line}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` ended with {}: {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something that is not UTF-8"))
}

/// What a program printed, on both streams, and how it ended.
pub struct Told {
    /// Both streams, line by line as they came.
    pub text: String,
    /// Whether the exit code was 0.
    pub success: bool,
    /// The end as a person would say it.
    pub end: String,
}

/// Runs it, shows what it prints while it runs, and keeps it.
pub fn tell(command: &mut Command) -> Result<Told> {
    let line = describe(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start `{line}`"))?;
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<u8>>(64);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut text = Vec::new();
    for line in receiver {
        std::io::stdout().write_all(&line).context("can't print")?;
        text.extend_from_slice(&line);
    }
    let status = child.wait().with_context(|| format!("lost sight of `{line}`"))?;
    Ok(Told { text: String::from_utf8_lossy(&text).into_owned(), success: status.success(), end: status.to_string() })
}

/// Does nothing for `time`: between two looks at another process that tells nobody when it changes.
#[expect(clippy::disallowed_methods, reason = "there is no executor here to block, and no event to wait for")]
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// A stretch of time as people read it.
pub fn spell(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// How to build the binary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Debug,
    /// What is shipped.
    Release,
}

/// Builds `opendmp` and returns the path of the binary.
pub fn build(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "opendmp", "--locked"]);
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    run(&mut command)?;
    let binary = target().join(folder).join(format!("opendmp{}", std::env::consts::EXE_SUFFIX));
    if !binary.is_file() {
        bail!("cargo built no {}", binary.display());
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_spelt_for_people() {
        assert_eq!(spell(Duration::from_millis(1_234)), "1.2 s");
        assert_eq!(spell(Duration::from_secs(184)), "3 min 04 s");
    }

    #[test]
    fn both_streams_are_kept_and_the_end_is_told() {
        let told = tell(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
        assert!(told.text.contains("out\n") && told.text.contains("err\n"), "{}", told.text);
        assert!(!told.success);
        assert!(told.end.contains('3'), "{}", told.end);
    }

    #[test]
    fn a_failed_command_says_why() {
        let error = capture(Command::new("sh").args(["-c", "echo no such thing >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().contains("no such thing"), "{error}");
    }

    #[test]
    fn a_command_reads_as_typed() {
        let mut command = Command::new("/usr/bin/printf");
        command.args(["%s", "two words"]);
        assert_eq!(describe(&command), "printf %s 'two words'");
    }
}
