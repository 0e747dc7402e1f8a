//! Processor `external`: runs a command for each item.
//!
//! Content goes in by standard input or as a file, comes out by standard output or as files; nothing of it is held in
//! memory. Each command has a scratch folder and a sandbox of its own (`opendmp-sandbox`), and ends with the call: on
//! time-out, on cancellation and when the server dies.

mod outputs;
mod room;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::document::{ByteSize, ProcessorDoc};
use opendmp_model::fault::{Fault, FaultKind, LogLine};
use opendmp_model::item::{Attributes, Item};
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, schema_of};
use opendmp_model::name;
use opendmp_processor::{
    Body, Context, Done, Emission, Emissions, Input, Opened, Outcome, Place, Processor, ProcessorKind, Registry,
    config, saved_config,
};
use opendmp_sandbox::{Child, Command, Limits, Rules, Site, StartError};
use rustix::process::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

use self::outputs::Outputs;
use self::room::{Room, Shelf, content};
use crate::isolation::{self, Home, Network, rules};
use crate::scratch::{Scratch, fills_the_disk};
use crate::template::Template;

/// The config of an `external`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The command: the program and its arguments, each an entry. No shell looks at them. A program with a `/` in its
    /// name is relative to the flow file. Placeholders are `{input}` (a file with the content), `{output}` (the file the
    /// command is to write), `{outputs}` (a folder whose files become items, in the order of their names), `{base}`
    /// (the folder of the flow file), and those of names: `{name}`, `{stem}`, `{ext}`, `{attributes.KEY}`, …; a brace
    /// itself is written twice. Without `{input}` the content comes by standard input; without `{output}` and
    /// `{outputs}` the result is what the command writes to standard output.
    #[serde(default)]
    #[schemars(extend("format" = "code"))]
    pub command: Vec<String>,
    /// A line for `sh -c` in place of `command`, where a shell is wanted. Item names and attributes are not put into it;
    /// they are in the variables `NAME`, `STEM` and `EXT`. Where the line names them, `$INPUT` is a file with the
    /// content, `$OUTPUT` the file that it is to write, and `$OUTPUTS` a folder whose files become items. Without
    /// `$INPUT` the content comes by standard input; without `$OUTPUT` and `$OUTPUTS` the result is standard output.
    #[serde(default)]
    #[schemars(extend("format" = "code"))]
    pub shell: Option<String>,
    /// Environment variables of the command, beside `PATH`, `HOME`, `LANG` and `TMPDIR`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The name of the result, a template: `{stem}.gz`. By default that of the item.
    #[serde(default)]
    pub name: Option<String>,
    /// The media type of the results. By default that of the item, where the name stays.
    #[serde(default)]
    pub media_type: Option<String>,
    /// The most memory that the command and all that it starts may take together, with shared memory and files in memory.
    #[serde(default = "default_memory")]
    pub memory: ByteSize,
    /// The largest file the command may write.
    #[serde(default = "default_output")]
    pub max_output: ByteSize,
    /// Folders the command may write to, relative to the flow file, in addition to its scratch folder (which is its
    /// working directory), `/tmp` and those of `opendmp serve --writable`.
    #[serde(default)]
    pub writable: Vec<String>,
    /// The home folder of the user that runs OpenDMP: `readable`, or `private`: it appears empty.
    #[serde(default)]
    pub home: Home,
    /// Whether it may use the network: `on` or `off`.
    #[serde(default)]
    pub network: Network,
    /// Whether equal items always give equal results, which only you can know.
    #[serde(default)]
    pub deterministic: bool,
}

fn default_memory() -> ByteSize {
    ByteSize::mib(8 << 10)
}

fn default_output() -> ByteSize {
    ByteSize::mib(64 << 10)
}

/// Placeholders of commands beyond those of names, by number.
const OWN: [&str; 4] = ["input", "output", "outputs", "base"];
const INPUT: usize = 0;
const OUTPUT: usize = 1;
const OUTPUTS: usize = 2;

/// What the files are called in a `shell` line, by the same numbers.
const VARIABLES: [&str; 3] = ["INPUT", "OUTPUT", "OUTPUTS"];

/// Whether a line for a shell names a variable: `$INPUT`, `${INPUT}`, `${INPUT%.gz}`.
fn names(line: &str, variable: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.split('$').skip(1).any(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.strip_prefix('#').unwrap_or(rest).strip_prefix(variable).is_some_and(|rest| !rest.starts_with(of_name))
    })
}

/// How often the memory of a command and the disk that it writes to are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Characters of a command's last line that its fault repeats.
const MOST_SAID: usize = 200;

/// How much of standard error, and of standard output where that is not the result, is kept: its end.
const MOST_LOG: usize = 64 << 10;

const DOCS: &str = "\
Runs a command for each item, with a scratch folder of its own as working directory, which is removed afterwards. What \
it writes to standard error becomes the item's log. An exit code other than 0 is a failure, tried again as `on_error` \
says; a command that takes longer than `timeout` is stopped, with all it started.

It can read what the server's user can read, except OpenDMP's own data, and write only to its scratch folder, a `/tmp` \
of its own and the folders named in `writable`. It sees no other processes.
";

/// The processor kind `external`.
#[derive(Debug)]
pub struct Kind {
    scratch: Scratch,
    site: Arc<Site>,
}

impl Kind {
    /// Commands that work in folders below `scratch`. They see and write what `site` allows.
    pub fn new(scratch: impl Into<Scratch>, site: Arc<Site>) -> Self {
        Self { scratch: scratch.into(), site }
    }
}

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "external".to_owned(),
            class: Class::Processor,
            role: Role::Transform,
            summary: "Runs a command on each item.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: sort\ntype: external\ninputs: [clean]\ncommand: [sort, \"-t,\", -k1]\n".to_owned(),
                "id: pack\ntype: external\ninputs: [clean]\ncommand: [gzip, \"-1\"]\nname: \"{name}.gz\"\nmedia_type: application/gzip\n"
                    .to_owned(),
                "id: pages\ntype: external\ninputs: [clean]\ncommand: [pdftoppm, -png, \"{input}\", \"{outputs}/page\"]\n".to_owned(),
            ],
        })
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        match (&read.shell, read.command.as_slice()) {
            (None, []) => problems.push(
                Problem::new("", "no-command", "an external needs a `command` or a `shell` line")
                    .hint("for example `command: [sort, \"-t,\", -k1]`"),
            ),
            (Some(_), [_, ..]) => problems.push(
                Problem::new("/shell", "two-commands", "an external has `command` or `shell`, not both")
                    .hint("remove one"),
            ),
            _ => {}
        }
        let mut uses = [false; OWN.len()];
        for (n, argument) in read.command.iter().enumerate() {
            match Template::parse_with(argument, &OWN) {
                Ok(template) => {
                    for (own, used) in uses.iter_mut().enumerate() {
                        *used |= template.has_own(own);
                    }
                }
                Err(error) => problems.push(error.problem(&format!("/command/{n}"), argument)),
            }
        }
        if read.command.first().is_some_and(|program| program.trim().is_empty()) {
            problems.push(Problem::new("/command/0", "no-command", "the program has no name"));
        }
        let mut at = "/command";
        if let Some(line) = &read.shell {
            at = "/shell";
            for (own, used) in uses.iter_mut().enumerate().take(VARIABLES.len()) {
                *used |= names(line, VARIABLES[own]);
                let placeholder = format!("{{{}}}", OWN[own]);
                if line.contains(&placeholder) {
                    let message = format!("`{placeholder}` is not replaced in a `shell` line");
                    let hint = format!("write `\"${}\"`, or use `command`", VARIABLES[own]);
                    problems.push(Problem::new(at, "placeholder-in-shell", message).hint(hint));
                }
            }
        }
        if uses[OUTPUT] && uses[OUTPUTS] {
            let message = "a command writes one output file or a folder of outputs, not both";
            problems.push(
                Problem::new(at, "two-outputs", message)
                    .hint("`{outputs}` (`$OUTPUTS` in a shell) is a folder for any number of files"),
            );
        }
        if let Some(name) = &read.name {
            if let Err(error) = Template::parse(name) {
                problems.push(error.problem("/name", name));
            }
            if uses[OUTPUTS] {
                let message = "with `{outputs}` each item is named as its file";
                problems.push(Problem::new("/name", "no-name-here", message).hint("remove `name`"));
            }
        }
        problems.extend(isolation::problems(&read.writable));
        for key in read.env.keys() {
            if key.is_empty() || key.contains(['=', '\0']) {
                problems.push(Problem::new(
                    format!("/env/{key}"),
                    "bad-variable",
                    "this can't be the name of a variable",
                ));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Facts {
            determinism: if read.deterministic { Determinism::Declared } else { Determinism::Unknown },
            determinism_hint: Some("if equal items always give equal results, say `deterministic: true`".to_owned()),
            code: vec![if read.shell.is_some() { "/shell" } else { "/command" }.to_owned()],
            ..Facts::default()
        })
    }

    fn places(&self, _: &Registry, doc: &ProcessorDoc, base: &Path) -> Vec<Place> {
        config::<Config>(&doc.config).map_or_else(|_| Vec::new(), |read| isolation::places(&read.writable, base))
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let template = |text: &String| {
            Template::parse_with(text, &OWN)
                .map_err(|error| Fault::new(FaultKind::Failed, "bad-template", error.message).with_hint(error.hint))
        };
        let mut arguments = read.command.iter().map(template).collect::<Result<Vec<_>, _>>()?;
        let program = match (&read.shell, read.command.first()) {
            (Some(_), _) | (None, None) => PathBuf::from("/bin/sh"),
            (None, Some(program)) if program.contains('/') => context.resolve(program)?,
            (None, Some(program)) => PathBuf::from(program),
        };
        if !arguments.is_empty() {
            arguments.remove(0);
        }
        let line = read.shell.as_deref().unwrap_or_default();
        let uses = |own: usize| arguments.iter().any(|argument| argument.has_own(own)) || names(line, VARIABLES[own]);
        let command = External {
            by_file: uses(INPUT),
            results: match (uses(OUTPUT), uses(OUTPUTS)) {
                (true, _) => Results::File,
                (false, true) => Results::Folder,
                (false, false) => Results::Stdout,
            },
            name: read.name.as_ref().map(template).transpose()?,
            base: context.base.clone(),
            timeout: context.timeout,
            scratch: self.scratch.clone(),
            rules: rules(&read.writable, read.home, read.network, context, &self.site)?,
            site: Arc::clone(&self.site),
            program,
            arguments,
            read,
        };
        Ok(Opened::Transform(Arc::new(command)))
    }
}

/// Where the results are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Results {
    Stdout,
    File,
    Folder,
}

/// An open external.
struct External {
    read: Config,
    program: PathBuf,
    arguments: Vec<Template>,
    by_file: bool,
    results: Results,
    name: Option<Template>,
    base: PathBuf,
    timeout: Duration,
    scratch: Scratch,
    rules: Rules,
    site: Arc<Site>,
}

#[async_trait]
impl Processor for External {
    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        let mut done = Vec::with_capacity(inputs.len());
        for input in inputs {
            done.push(self.one(input).await);
        }
        Ok(done)
    }
}

impl External {
    async fn one(&self, input: Input) -> Done {
        let began = Instant::now();
        let mut log = Vec::new();
        let (outcome, note) = match self.run(input, &mut log).await {
            Ok((outcome, note)) => (outcome, Some(note)),
            Err(fault) => (Outcome::Fault(fault), None),
        };
        Done { outcome, log, took: began.elapsed(), note }
    }

    async fn run(&self, input: Input, log: &mut Vec<LogLine>) -> Result<(Outcome, String), Fault> {
        let room = Arc::new(self.room(&input).await?);
        let item = &input.item;
        let mut command = self.command(item, &room)?;
        let (by_file, body, to_file) = (self.by_file, input.body.clone(), self.results == Results::Stdout);
        let (scratch, place) = (self.scratch.clone(), Arc::clone(&room));
        let start = move || -> Result<Started, Fault> {
            let pipe = || io::pipe().map_err(|error| world("making a pipe", &error));
            let mut feed = None;
            match (by_file, body) {
                (true, _) | (false, Body::Unread) => {}
                (false, Body::Bytes(bytes)) => {
                    let (read, write) = pipe()?;
                    command.stdio[0] = Some(read.into());
                    feed = Some((OwnedFd::from(write), bytes));
                }
                (false, Body::File(file)) => {
                    // The command could change the stored file's mode through the server's own descriptor.
                    let file = opendmp_sandbox::read_only(&file, scratch.as_ref());
                    command.stdio[0] = Some(file.map_err(|error| world("opening the content", &error))?.into());
                }
            }
            let mut result = None;
            let stdout = if to_file {
                let made = Shelf::with_output(&place).map_err(|error| world("making a scratch file", &error))?;
                let (shelf, write, read) = made;
                command.stdio[1] = Some(write.into());
                result = Some((shelf, read));
                None
            } else {
                let (read, write) = pipe()?;
                command.stdio[1] = Some(write.into());
                Some(OwnedFd::from(read))
            };
            let (stderr, write) = pipe()?;
            command.stdio[2] = Some(write.into());
            let program = command.program.clone();
            let child = command.spawn().map_err(|error| not_started(&program, &error))?;
            Ok(Started { child, feed, stdout, stderr: stderr.into(), result })
        };
        // From here on it is killed, with all it started, however this ends.
        let Started { mut child, feed, stdout: out, stderr: err, result } = beside(start).await??;
        let (process, memory) = (child.id(), self.read.memory.get());
        let (out, err) = (out.map(reader).transpose()?, Some(reader(err)?));
        let write = async {
            if let Some((pipe, bytes)) = feed
                && let Ok(mut pipe) = Sender::from_owned_fd(pipe)
            {
                // A command may stop reading before the end, as `head` does; its exit code says whether that is well.
                let _ = pipe.write_all(&bytes).await;
            }
        };
        let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
        let work = async {
            let ((), (), (), status) = tokio::join!(write, stdout.drain(out), stderr.drain(err), child.wait());
            status
        };
        let over_memory = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if opendmp_sandbox::holds_more(process, memory).await {
                    break;
                }
            }
        };
        let filling = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let (disk, place) = (self.scratch.disk().clone(), Arc::clone(&room));
                // An error is one of ending; there is nothing to be stopped then.
                if beside(move || disk.is_filled_by(process, place.folder().as_fd())).await.unwrap_or(false) {
                    break;
                }
            }
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout(self.timeout, work) => ended.map_err(|_| Stopped::TooLong),
            () = over_memory => Err(Stopped::OverMemory),
            () = filling => Err(Stopped::FillsTheDisk),
        };
        // What it wrote is the item's log, and no business of the server's.
        let status = ended.as_ref().ok().and_then(|status| Some(tracing::field::display(status.as_ref().ok()?)));
        tracing::debug!(command = self.shown(), status, in_time = ended.is_ok(), "a command ended");
        if ended.is_err() {
            // Nothing of it writes into the scratch folder any more when that is removed.
            let _ = child.kill().await;
        }
        log.extend(stdout.lines("stdout"));
        log.extend(stderr.lines("stderr"));
        let status = match ended {
            Ok(status) => status.map_err(|error| world("waiting for the command", &error))?,
            Err(Stopped::TooLong) => {
                let message =
                    format!("`{}` took longer than {} s, and was stopped", self.shown(), self.timeout.as_secs_f64());
                return Err(Fault::new(FaultKind::TimedOut, "timed-out", message)
                    .with_hint("raise `timeout` if that is how long it takes"));
            }
            Err(Stopped::OverMemory) => {
                let message =
                    format!("`{}` wanted more than {} MiB of memory, and was stopped", self.shown(), memory >> 20);
                return Err(Fault::new(FaultKind::OverMemory, "over-memory", message)
                    .with_hint("raise `memory` if that is what it needs"));
            }
            Err(Stopped::FillsTheDisk) => {
                return Err(fills_the_disk(&format!("`{}`", self.shown()), self.scratch.as_ref()));
            }
        };
        if let Err(fault) = self.judge(status, &stderr) {
            let scratch = self.scratch.clone();
            return Err(beside(move || scratch.blame_disk(fault)).await?);
        }
        // It may not have looked whether its write was refused.
        if let Some(hint) = opendmp_sandbox::refused_write_hint(&stderr.text()) {
            log.push(LogLine { level: "warning".to_owned(), text: format!("a write was refused: {hint}") });
        }
        let note = "exit 0".to_owned();
        Ok((self.take(item, &room, result).await?, note))
    }

    fn shown(&self) -> String {
        self.program.display().to_string()
    }

    async fn room(&self, input: &Input) -> Result<Room, Fault> {
        let (scratch, body, by_file) = (self.scratch.clone(), input.body.clone(), self.by_file);
        let own_name = input.item.name.to_string();
        let wanted = match &self.name {
            Some(template) => template.item_name(&input.item, &[])?,
            None => own_name.clone(),
        };
        let make = move || -> io::Result<Room> {
            crate::blocks::make_scratch(&scratch)?;
            let (room, input) = Room::make(scratch.as_ref(), safe(&own_name), safe(&wanted), by_file)?;
            if let Some(mut input) = input {
                match &body {
                    Body::Unread => {}
                    Body::Bytes(bytes) => input.write_all(bytes)?,
                    Body::File(file) => _ = io::copy(&mut reopened(file)?, &mut input)?,
                }
            }
            Ok(room)
        };
        beside(make).await?.map_err(|error| world("preparing the scratch folder", &error))
    }

    fn command(&self, item: &Item, room: &Room) -> Result<Command, Fault> {
        let path = |path: &Path| name::from_bytes(path.as_os_str().as_bytes());
        let own = [path(&room.input()), path(&room.output()), path(&room.outputs()), path(&self.base)];
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let os = |text: &str| OsString::from_vec(name::to_bytes(text));
        let mut arguments = Vec::with_capacity(self.arguments.len());
        if let Some(line) = &self.read.shell {
            arguments.extend([OsString::from("-c"), line.into()]);
        }
        for argument in &self.arguments {
            arguments.push(os(&argument.text(item, &own)?));
        }
        let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
        for key in ["PATH", "HOME", "TZ"] {
            if let Some(value) = std::env::var_os(key) {
                env.insert(key.into(), value);
            }
        }
        env.insert("LANG".into(), "C.UTF-8".into());
        env.insert("TMPDIR".into(), room.path().into());
        env.insert("XDG_CACHE_HOME".into(), room.cache().into());
        if self.read.shell.is_some() {
            env.insert("NAME".into(), os(&item.name));
            env.insert("STEM".into(), os(name::stem(&item.name)));
            env.insert("EXT".into(), os(name::extension(&item.name)));
            // Only what the line names is there, so that nothing is looked for in vain.
            if self.by_file {
                env.insert("INPUT".into(), room.input().into());
            }
            match self.results {
                Results::Stdout => {}
                Results::File => _ = env.insert("OUTPUT".into(), room.output().into()),
                Results::Folder => _ = env.insert("OUTPUTS".into(), room.outputs().into()),
            }
        }
        env.extend(self.read.env.iter().map(|(key, value)| (key.into(), value.into())));
        let memory = self.read.memory.get();
        Ok(Command {
            program: self.program.clone().into(),
            arguments,
            env: env.into_iter().collect(),
            directory: room.path().to_owned(),
            stdio: [None, None, None],
            pass: Vec::new(),
            limits: Limits { memory: Some(memory), file_size: Some(self.read.max_output.get()) },
            policy: self.site.policy(&self.rules, &[room.path()], &room.tmp(), memory),
        })
    }

    fn judge(&self, status: ExitStatus, stderr: &Tail) -> Result<(), Fault> {
        if status.success() {
            return Ok(());
        }
        let mut fault = match (status.code(), status.signal()) {
            (Some(code), _) => {
                let said = stderr.last_line().map(|line| format!(": {line}")).unwrap_or_default();
                let message = format!("`{}` ended with exit code {code}{said}", self.shown());
                Fault::new(FaultKind::Failed, "exit-code", message)
            }
            (None, Some(signal)) if signal == Signal::XFSZ.as_raw() => {
                let message = format!(
                    "`{}` wrote more than {} MiB, and was stopped",
                    self.shown(),
                    self.read.max_output.get() >> 20
                );
                Fault::new(FaultKind::Failed, "too-much-output", message)
                    .with_hint("raise `max_output` if that is what it writes")
            }
            (None, signal) => {
                let message = format!("`{}` was killed by signal {}", self.shown(), signal.unwrap_or_default());
                Fault::new(FaultKind::Crashed, "killed", message)
            }
        };
        let text = stderr.text();
        fault.hint = fault.hint.or_else(|| opendmp_sandbox::refused_write_hint(&text));
        fault.traceback = (!text.trim().is_empty()).then_some(text);
        Err(fault)
    }

    /// Takes the results over. Where they are standard output, the file with it is given.
    async fn take(&self, item: &Item, room: &Arc<Room>, stdout: Option<(Arc<Shelf>, File)>) -> Result<Outcome, Fault> {
        let (room, results) = (Arc::clone(room), self.results);
        let renamed = match (&self.name, results) {
            (Some(template), Results::Stdout | Results::File) => Some(template.item_name(item, &[])?),
            _ => None,
        };
        let media_type = self.read.media_type.clone();
        let (shown, scratch) = (self.shown(), self.scratch.clone());
        let take = move || -> Result<Outcome, Fault> {
            let (shelf, file) = match (results, stdout) {
                (Results::Folder, _) => {
                    let shelf = Shelf::find(&room, room::OUTPUTS, &shown)?;
                    return Ok(Outcome::Stream(Emissions::new(Outputs::list(shelf, scratch.as_ref(), media_type)?)));
                }
                (_, Some((shelf, file))) => (shelf, Some(file)),
                (_, None) => {
                    let shelf = Shelf::find(&room, room::OUT, &shown)?;
                    let file = shelf.file(room.output_name())?;
                    (shelf, file)
                }
            };
            let Some(file) = file else {
                let message = format!("`{shown}` ended well, but wrote no file `{{output}}`");
                return Err(Fault::new(FaultKind::Failed, "no-output", message));
            };
            let child = Emission {
                port: None,
                name: renamed,
                media_type,
                attributes: Attributes::new(),
                content: content(&shelf, room.output_name(), file)?,
            };
            Ok(Outcome::Emit { many: false, children: vec![child] })
        };
        beside(take).await?
    }
}

/// A name as a file name: what an item may be called and a file may not is replaced.
fn safe(name: &str) -> Vec<u8> {
    let mut bytes = name::to_bytes(name);
    bytes.iter_mut().filter(|byte| matches!(byte, b'/' | 0)).for_each(|byte| *byte = b'_');
    bytes.truncate(255);
    if matches!(bytes.as_slice(), b"" | b"." | b"..") { b"content".to_vec() } else { bytes }
}

/// The same file with a position of its own.
fn reopened(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).or_else(|_| {
        use std::io::Seek;
        let mut again = file.try_clone()?;
        again.rewind()?;
        Ok(again)
    })
}

/// Why a command was stopped.
enum Stopped {
    TooLong,
    OverMemory,
    FillsTheDisk,
}

/// A command that runs, and what it is connected with.
struct Started {
    child: Child,
    /// What is to be written to its standard input.
    feed: Option<(OwnedFd, Bytes)>,
    stdout: Option<OwnedFd>,
    stderr: OwnedFd,
    /// The file that is its standard output, to be read, where that is the result.
    result: Option<(Arc<Shelf>, File)>,
}

fn reader(pipe: OwnedFd) -> Result<Receiver, Fault> {
    Receiver::from_owned_fd(pipe).map_err(|error| world("reading a pipe", &error))
}

fn not_started(program: &OsStr, error: &StartError) -> Fault {
    if let StartError::Folder(path, error) = error
        && opendmp_sandbox::is_closed(error)
    {
        return isolation::closed(path);
    }
    let message = format!("`{}` can't be started: {error}", program.display());
    let hint = match error {
        StartError::Program(error) if error.kind() == io::ErrorKind::NotFound => {
            "install it, or write its whole path; what is found is decided by the PATH of the server".to_owned()
        }
        StartError::Program(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "make it executable: `chmod +x`".to_owned()
        }
        StartError::Folder(path, _) => {
            format!("make that folder (`mkdir -p '{}'`), or take it out of `writable`", path.display())
        }
        _ => return Fault::new(FaultKind::Unavailable, "not-started", message),
    };
    Fault::new(FaultKind::Failed, "not-started", message).with_hint(hint)
}

/// The end of what a stream gave.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    left_out: u64,
}

impl Tail {
    async fn drain(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            self.bytes.extend_from_slice(&buffer[..read]);
            if self.bytes.len() > 2 * MOST_LOG {
                let cut = self.bytes.len() - MOST_LOG;
                self.bytes.drain(..cut);
                self.left_out += cut as u64;
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The last line that says something, cut where it is long: most programs say there why they ended.
    fn last_line(&self) -> Option<String> {
        let text = self.text();
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        let end = last.char_indices().nth(MOST_SAID).map_or("", |_| "…");
        Some(last.chars().take(MOST_SAID).filter(|char| !char.is_control()).chain(end.chars()).collect())
    }

    fn lines(&self, level: &str) -> Vec<LogLine> {
        let line = |text: String| LogLine { level: level.to_owned(), text };
        let cut = (self.left_out > 0).then(|| line(format!("({} bytes before this were left out)", self.left_out)));
        cut.into_iter().chain(self.text().lines().map(|text| line(text.to_owned()))).collect()
    }
}

async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| Fault::new(FaultKind::Unavailable, "interrupted", error.to_string()))
}

/// A failure of the machine, not of the item.
fn world(what: &str, error: &io::Error) -> Fault {
    crate::scratch::failed(what, error)
}
