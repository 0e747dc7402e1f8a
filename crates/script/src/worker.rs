//! One worker process with the scripts it has loaded: how it is started, how it takes in a script, and how a batch of
//! items is run on one.
//!
//! Which worker runs what, and what is run again after one died, is decided in [`crate::pools`].

mod collect;
mod send;

use std::ffi::OsString;
use std::fs::File;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use nix::unistd::Pid;
use opendmp_sandbox::disk::Disk;
use opendmp_sandbox::{Command, FIRST_PASSED, Limits, Rules, StartError, Surroundings};
use serde::Deserialize;
use serde_json::json;
use tokio::net::UnixStream;

use crate::error::Error;
use crate::frame::{self, FailureDetail, Garbage, HEADER, Header, INLINE, Kind, PROTOCOL, Wants};
use crate::log::{Lines, RawOutput, call_room};
use crate::page::Page;
use crate::pools::{Options, Shared};
use crate::process::{Process, clean_env, path_with};
use crate::scratch::WorkerDir;
use crate::value::{CallItem, CallResult, Failure, Outcome, ScriptSpec};
use crate::watch::{Verdict, Watch};
use collect::Collect;

/// Runs the worker program from the directory given as its argument, without leaving that on the module path.
const BOOT: &str = "import sys; sys.path.insert(0, sys.argv[1]); import opendmp_worker; sys.path.pop(0); \
                    opendmp_worker.serve(int(sys.argv[2]), int(sys.argv[3]))";
/// A worker whose connection has ended may take so long to end itself, so that its exit status is known.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A worker that is not needed any more may take so long for what it does at exit.
const FAREWELL: Duration = Duration::from_secs(2);
/// Above the limit for what is private to the process there is room for the interpreter itself.
const INTERPRETER: u64 = 64 << 20;

/// A worker whose surroundings changed is replaced at most this often.
const SETTLED: Duration = Duration::from_secs(5);
/// Whether they changed is looked up at most this often.
const LOOKED: Duration = Duration::from_secs(1);

/// After a short call the answer to the next one is looked for this long before it is waited for: a step that takes
/// some microseconds would else wait for threads to be woken, which takes many times as long.
const LOOK: Duration = Duration::from_micros(50);
/// Whether a worker's files fill the disk is looked up at most this often.
const LOOK_AT_DISK: Duration = Duration::from_millis(100);
/// Calls of at most so many items may be short.
const FEW: usize = 8;
/// What is answered within this time was a short call.
const SHORT: Duration = Duration::from_micros(500);

/// A worker holds so many scripts at most, so that one that outlives many versions of its flow does not grow for ever.
const SCRIPTS: usize = 200;

/// A process that waits for a call.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Bytes that it may hold, with its child processes.
    memory_limit: u64,
    /// What it may touch.
    rules: Rules,
    /// What it has loaded; the position is the script's number.
    scripts: Vec<Script>,
    /// Items it was given since it was started.
    pub served: u64,
    /// It should not be used again.
    pub worn: bool,
    started: Instant,
    /// As they were when it was started.
    surroundings: Surroundings,
    /// When they were still so.
    looked: Instant,
    process: Process,
    stream: UnixStream,
    inbox: BytesMut,
    page: Page,
    raw: RawOutput,
    dir: Arc<WorkerDir>,
    next_call: u32,
    /// Its last call was short.
    quick: bool,
}

/// A script in a worker.
#[derive(Debug)]
struct Script {
    spec: Arc<ScriptSpec>,
    wants: Wants,
}

/// The number of a script that a worker has loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded(u16);

/// How a batch ended.
pub(crate) enum End {
    /// Every item has its result.
    Done,
    /// The worker is dead. Results that came are kept; the item in `blamed` (index in the caller's list) has its own.
    Died {
        /// Whose fault it was, if an item was under way.
        blamed: Option<usize>,
        /// How the process ended.
        status: String,
        stderr: String,
    },
    /// The results fill the memory that one call may have: what is left must be another call.
    Full,
    /// The pools are shutting down.
    Closed,
}

/// Why waiting for the worker was given up.
enum Trouble {
    /// Its connection or the process itself ended.
    Gone,
    Garbage(Garbage),
    TimedOut(usize),
    Stuck,
    OverMemory,
    FillsTheDisk,
    /// The server could not send.
    Unsent(std::io::Error),
    Closed,
}

#[derive(Deserialize)]
struct Ready {
    protocol: u32,
    attributes: bool,
}

/// What a refusal says besides the failure.
#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    memory: bool,
}

impl Worker {
    /// Start a process that can load scripts like this one.
    pub(crate) async fn start(shared: &Arc<Shared>, spec: &Arc<ScriptSpec>) -> Result<Self, Error> {
        let (for_start, of) = (Arc::clone(shared), Arc::clone(spec));
        let span = tracing::Span::current();
        let start = move || span.in_scope(|| start_process(&for_start, &of));
        let parts = tokio::task::spawn_blocking(start).await;
        let (mut process, stream, page, dir, surroundings) = match parts {
            Ok(parts) => parts?,
            Err(error) => return Err(Error::start("start a worker", std::io::Error::other(error))),
        };
        let connect = |error| Error::start("connect to a worker", error);
        stream.set_nonblocking(true).map_err(connect)?;
        let stream = UnixStream::from_std(stream).map_err(connect)?;
        let raw = RawOutput::new(process.take_output()).map_err(connect)?;
        let hello = json!({
            "protocol": PROTOCOL,
            "scratch": { "tmp": dir.tmp(), "out": dir.out() },
            // All processes that it sees are its own.
            "apart": opendmp_sandbox::protection().namespaces,
            "limits": {
                "inline": INLINE,
                "children": shared.options.max_children,
                "metadata": shared.options.max_metadata,
            },
        });
        let hello = serde_json::to_vec(&hello).map_err(|error| Error::start("greet a worker", error.into()))?;
        // An error here is the end of the connection, which the first script tells, too.
        let _ = send::plain(&stream, Kind::Hello, 0, hello).await;
        Ok(Self {
            memory_limit: spec.memory_limit,
            rules: spec.rules.clone(),
            scripts: Vec::new(),
            served: 0,
            worn: false,
            started: Instant::now(),
            surroundings,
            looked: Instant::now(),
            process,
            stream,
            inbox: BytesMut::new(),
            page,
            raw,
            dir,
            next_call: 1,
            quick: true,
        })
    }

    /// The script, if it is loaded.
    pub(crate) fn has(&self, spec: &Arc<ScriptSpec>) -> Option<Loaded> {
        // Callers pass the same script again and again; a flow that was loaded anew has an equal one.
        let is_it = |script: &Script| Arc::ptr_eq(&script.spec, spec);
        let at = self.scripts.iter().position(is_it).or_else(|| {
            let equals = |script: &Script| script.spec == *spec;
            self.scripts.iter().position(equals)
        })?;
        Some(Loaded(at as u16))
    }

    /// Whether the script may be loaded; flow and environment are the caller's to compare.
    pub(crate) fn suits(&self, spec: &ScriptSpec) -> bool {
        self.memory_limit == spec.memory_limit && self.rules == spec.rules && self.scripts.len() < SCRIPTS
    }

    /// Send a script and wait until it is loaded. After an error with which it is not [`Worker::worn`] it can be used
    /// for others.
    pub(crate) async fn load(&mut self, shared: &Shared, spec: &Arc<ScriptSpec>) -> Result<Loaded, Error> {
        let number = self.scripts.len() as u16;
        let script = json!({
            "code": spec.code,
            "file_name": spec.file_name,
            "outputs": spec.outputs,
            "parameters": spec.parameters,
        });
        let payload = serde_json::to_vec(&script).map_err(|error| Error::start("describe the script", error.into()))?;
        let limit = shared.options.start_timeout;
        let deadline = Instant::now() + limit;
        let mut closing = shared.closing.subscribe();
        let mut tick = tokio::time::interval(Duration::from_millis(25));
        let answer = {
            let Self { stream, inbox, raw, process, memory_limit, dir, .. } = self;
            let mut disk = DiskWatch::new(shared);
            let sending = send::plain(stream, Kind::Load, number, payload);
            tokio::pin!(sending);
            let mut sent = false;
            loop {
                match take_frame(inbox) {
                    Ok(Some((header, payload))) if header.kind != Kind::Results && header.script == number => {
                        raw.drain_all(0);
                        break Ok((header, payload));
                    }
                    Ok(None) => {}
                    Ok(Some(_)) => break Err(Trouble::Garbage(Garbage("something else than was asked".into()))),
                    Err(garbage) => break Err(Trouble::Garbage(garbage)),
                }
                tokio::select! {
                    // An error here is the end of the connection, which reading tells, too.
                    _ = &mut sending, if !sent => sent = true,
                    gone = read_some(stream, inbox) => if gone.is_break() { break Err(Trouble::Gone) },
                    () = raw.readable() => raw.drain(0),
                    () = closed(&mut closing) => break Err(Trouble::Closed),
                    _ = tick.tick() => {
                        if Instant::now() > deadline {
                            break Err(Trouble::Stuck);
                        }
                        if opendmp_sandbox::holds_more(process.pid(), *memory_limit).await {
                            break Err(Trouble::OverMemory);
                        }
                        if disk.is_filled_by(process.pid(), dir).await {
                            break Err(Trouble::FillsTheDisk);
                        }
                        if process.has_ended() {
                            break Err(Trouble::Gone);
                        }
                    }
                }
            }
        };
        let trouble = match answer {
            Ok((header, payload)) => return self.loaded(header, &payload, spec),
            Err(trouble) => trouble,
        };
        self.worn = true;
        let grace = if matches!(trouble, Trouble::Gone) { LAST_WORDS } else { Duration::ZERO };
        let status = self.process.end(grace).await;
        self.raw.drain_all(0);
        if matches!(trouble, Trouble::Gone) {
            // A worker that refuses the script says so and ends, which may be noticed in any order.
            while try_read_some(&self.stream, &mut self.inbox).is_continue() {}
            if let Ok(Some((header, payload))) = take_frame(&mut self.inbox)
                && header.kind == Kind::Refused
            {
                return self.loaded(header, &payload, spec);
            }
        }
        let (kind, message) = match trouble {
            Trouble::Closed => return Err(Error::Closed),
            Trouble::FillsTheDisk => return Err(Error::FillsTheDisk { folder: shared.options.scratch_root.clone() }),
            Trouble::Stuck | Trouble::TimedOut(_) => return Err(Error::LoadTimeout { after: limit }),
            Trouble::OverMemory => ("OverMemory", over_memory_message(self.memory_limit)),
            Trouble::Garbage(Garbage(how)) => ("Crashed", format!("the process sent {how}")),
            Trouble::Unsent(error) => ("Crashed", format!("the script could not be sent: {error}")),
            Trouble::Gone => ("Crashed", format!("the process ended while it loaded the script: {status}")),
        };
        let failure = Failure { kind: kind.into(), message, traceback: self.raw.tail(), ..Failure::default() };
        Err(Error::Load { failure: Box::new(failure), log: self.load_log() })
    }

    /// Take in the worker's answer to the script.
    fn loaded(&mut self, header: Header, payload: &[u8], spec: &Arc<ScriptSpec>) -> Result<Loaded, Error> {
        let bad = |Garbage(how)| Error::Lost { status: format!("it sent {how}") };
        if header.kind == Kind::Ready {
            let ready: Ready = frame::json(payload).map_err(bad)?;
            if ready.protocol != PROTOCOL {
                let status = format!("it speaks protocol {} instead of {PROTOCOL}", ready.protocol);
                return Err(Error::Lost { status });
            }
            self.scripts.push(Script { spec: Arc::clone(spec), wants: Wants { attributes: ready.attributes } });
            return Ok(Loaded(header.script));
        }
        let Refused { memory } = frame::json(payload).map_err(bad)?;
        let mut failure = Failure::from(frame::json::<FailureDetail>(payload).map_err(bad)?);
        if memory {
            self.worn = true;
            failure.kind = "OverMemory".into();
            failure.message = over_memory_message(self.memory_limit);
        }
        Err(Error::Load { failure: Box::new(failure), log: self.load_log() })
    }

    /// What was printed while the script was loaded.
    fn load_log(&mut self) -> Vec<crate::LogLine> {
        let (mut log, mut room) = (Lines::default(), call_room());
        log.add_entries(&self.page.log(), &mut room);
        for (_, level, text) in self.raw.take().0 {
            log.add(level, &text, &mut room);
        }
        log.lines
    }

    /// Whether it sees what one would that is started now, or is young.
    pub(crate) fn is_settled<'a>(&mut self, now: impl FnOnce() -> &'a Surroundings) -> bool {
        if self.started.elapsed() < SETTLED || self.looked.elapsed() < LOOKED {
            return true;
        }
        self.looked = Instant::now();
        self.surroundings == *now()
    }

    /// Whether it can be given another call.
    pub(crate) fn is_alive(&self) -> bool {
        !self.process.has_ended() && self.dir.is_there()
    }

    /// Run a script on `items[pending[0]]`, `items[pending[1]]`, …, and put what comes of each into `results`.
    ///
    /// After anything but [`End::Done`] the worker is dead or must not be used again.
    pub(crate) async fn run(
        &mut self,
        shared: &Shared,
        Loaded(number): Loaded,
        items: &[CallItem],
        pending: &[usize],
        results: &mut [Option<CallResult>],
    ) -> End {
        let began = Instant::now();
        let frames = send::plan(items, pending);
        let first_call = self.next_call;
        self.next_call = self.next_call.wrapping_add(u32::try_from(frames.len()).unwrap_or(u32::MAX));
        let mut closing = shared.closing.subscribe();
        let Self { stream, inbox, raw, process, scripts, memory_limit, page, dir, .. } = self;
        let Script { spec, wants } = &scripts[usize::from(number)];
        let limit = *memory_limit;
        let mut collect = Collect::new(&shared.options, dir, limit, (&frames, first_call), pending, results);
        let mut watch = Watch::new(spec.timeout, pending.len(), began);
        let mut disk = DiskWatch::new(shared);
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + watch.every(), watch.every());
        let sending = send::calls(stream, items, pending, &frames, first_call, (number, *wants), shared);
        tokio::pin!(sending);
        let mut sent = false;
        let mut look = self.quick && pending.len() <= FEW;
        let trouble = loop {
            match collect.take_all(inbox) {
                Ok(ControlFlow::Continue(())) => collect.write_out().await,
                Ok(ControlFlow::Break(full)) => {
                    raw.drain_all(collect.received().saturating_sub(1));
                    collect.add_raw(raw.take());
                    self.served += pending.len() as u64;
                    self.quick = began.elapsed() < SHORT;
                    self.worn |= collect.saw_memory_error;
                    if !full && began.elapsed() > Duration::from_millis(20) {
                        // A script that leaks is replaced before an innocent item is blamed for it.
                        let held = opendmp_sandbox::memory_of(self.process.pid()).unwrap_or(0);
                        self.worn |= held > limit / 2;
                    }
                    return if full { End::Full } else { End::Done };
                }
                Err(garbage) => break Trouble::Garbage(garbage),
            }
            if std::mem::take(&mut look) {
                match poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await {
                    Poll::Ready(Err(error)) if !is_end(&error) => break Trouble::Unsent(error),
                    polled => sent = polled.is_ready(),
                }
                let until = Instant::now() + LOOK;
                while sent && inbox.is_empty() && Instant::now() < until {
                    // The end of the connection, too, is told below.
                    let _ = try_read_some(stream, inbox);
                }
                continue;
            }
            tokio::select! {
                gone = read_some(stream, inbox) => if gone.is_break() { break Trouble::Gone },
                outcome = &mut sending, if !sent => {
                    sent = true;
                    match outcome {
                        Err(error) if !is_end(&error) => break Trouble::Unsent(error),
                        _ => {}
                    }
                }
                () = raw.readable() => {
                    let at = collect.position(page.look().item).unwrap_or(0).max(collect.received());
                    raw.drain(at.min(pending.len() - 1));
                }
                _ = tick.tick() => {
                    let glance = page.look();
                    let now = Instant::now();
                    let ago = Duration::from_nanos(crate::os::monotonic_ns().saturating_sub(glance.began));
                    let at = collect.position(glance.item);
                    match watch.look(now, at, now.checked_sub(ago), collect.received()) {
                        Verdict::Fine => {}
                        Verdict::Item(at) => break Trouble::TimedOut(at),
                        Verdict::Stuck => break Trouble::Stuck,
                    }
                    if opendmp_sandbox::holds_more(process.pid(), limit).await {
                        break Trouble::OverMemory;
                    }
                    if disk.is_filled_by(process.pid(), dir).await {
                        break Trouble::FillsTheDisk;
                    }
                    if process.has_ended() {
                        break Trouble::Gone;
                    }
                }
                () = closed(&mut closing) => break Trouble::Closed,
            }
        };
        let grace = if matches!(trouble, Trouble::Gone) { LAST_WORDS } else { Duration::ZERO };
        let status = process.end(grace).await;
        if matches!(trouble, Trouble::Closed) {
            return End::Closed;
        }
        // What it sent before it died still counts, and what it began last is known for certain only now.
        let mut more = ControlFlow::Continue(());
        if !matches!(trouble, Trouble::Garbage(_)) {
            while more.is_continue() && try_read_some(stream, inbox).is_continue() {
                match collect.take_all(inbox) {
                    Ok(all) => more = all.map_break(|_| ()),
                    Err(_) => break,
                }
            }
        }
        let received = collect.received();
        let under_way = collect.position(page.look().item).map(|at| at.max(received)).filter(|at| *at < pending.len());
        raw.drain_all(under_way.unwrap_or(received).min(pending.len() - 1));
        let stderr = raw.tail();
        let (blamed, outcome, status) = match trouble {
            _ if received == pending.len() => (None, None, status),
            Trouble::TimedOut(at) => {
                // Its result may have come with the last words after all; then nobody is to blame.
                let at = (at >= received && at < pending.len()).then_some(at);
                (at, Some(Outcome::TimedOut { after: spec.timeout }), "it took too long".to_owned())
            }
            Trouble::Stuck => {
                (Some(received), Some(Outcome::TimedOut { after: spec.timeout }), "it did nothing".to_owned())
            }
            Trouble::OverMemory => (under_way, Some(Outcome::OverMemory { limit }), over_memory_message(limit)),
            Trouble::FillsTheDisk => {
                let folder = shared.options.scratch_root.clone();
                (under_way, Some(Outcome::FillsTheDisk { folder }), "its files filled the disk".to_owned())
            }
            Trouble::Garbage(Garbage(how)) => {
                let status = format!("the process sent {how}");
                let crashed = Outcome::Crashed { status: status.clone(), stderr: stderr.clone() };
                (under_way.or(Some(received)), Some(crashed), status)
            }
            Trouble::Unsent(error) => (None, None, format!("the call could not be sent: {error}")),
            Trouble::Gone | Trouble::Closed => {
                let crashed = Outcome::Crashed { status: status.clone(), stderr: stderr.clone() };
                (under_way, Some(crashed), status)
            }
        };
        let blamed = blamed.zip(outcome).map(|(at, outcome)| collect.blame(at, outcome, &page.log(), watch.lasted()));
        collect.add_raw(raw.take());
        if blamed.is_none() && received == pending.len() {
            return End::Done;
        }
        End::Died { blamed, status, stderr }
    }

    /// Let it end: its connection is closed, and it may finish what it does at exit.
    pub(crate) async fn close(self) {
        let Self { mut process, stream, page, raw, .. } = self;
        drop((stream, page, raw));
        process.end(FAREWELL).await;
    }
}

/// Looks now and then whether a worker's files leave too little room on the disk.
struct DiskWatch {
    disk: Disk,
    looked: Instant,
}

impl DiskWatch {
    fn new(shared: &Shared) -> Self {
        let Options { scratch_root, disk_floor, .. } = &shared.options;
        Self { disk: Disk::new(scratch_root.clone(), *disk_floor), looked: Instant::now() }
    }

    async fn is_filled_by(&mut self, worker: Pid, dir: &Arc<WorkerDir>) -> bool {
        if self.looked.elapsed() < LOOK_AT_DISK {
            return false;
        }
        self.looked = Instant::now();
        let (disk, dir) = (self.disk.clone(), Arc::clone(dir));
        let look = move || File::open(dir.path()).is_ok_and(|folder| disk.is_filled_by(worker, folder.as_fd()));
        // An error is one of ending.
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }
}

/// Whether sending failed for the end of the connection, which reading tells, too.
fn is_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

fn over_memory_message(limit: u64) -> String {
    format!("more memory than the limit of {} MiB", limit >> 20)
}

type Parts = (Process, StdUnixStream, Page, Arc<WorkerDir>, Surroundings);

/// Everything about a start that blocks.
fn start_process(shared: &Shared, spec: &ScriptSpec) -> Result<Parts, Error> {
    let options = &shared.options;
    let environment = &spec.environment;
    let dir = shared.scratch.worker().map_err(|error| Error::start("make a scratch directory", error))?;
    let page = Page::new(dir.path()).map_err(|error| Error::start("make a shared page", error))?;
    let (ours, theirs) = StdUnixStream::pair().map_err(|error| Error::start("make a socket pair", error))?;
    let lib = shared.scratch.lib();
    shared.scratch.compile_for(&environment.made_with);
    let surroundings = shared.surroundings();
    let mut policy =
        options.site.policy(&spec.rules, &[&dir.tmp(), &dir.out(), &dir.cache()], &dir.private(), spec.memory_limit);
    policy.readable.extend([lib.clone(), environment.base.clone()]);
    let mut env = clean_env(&dir);
    if let Some(root) = &environment.root {
        // Others may use it, too, now or later: it is hidden from all, and shown read-only, wherever it lies.
        policy.hidden.push(root.clone());
        policy.readable.push(root.clone());
        env.retain(|(name, _)| name != "PATH");
        env.push(("PATH".into(), path_with(&root.join("bin"))));
        env.push(("VIRTUAL_ENV".into(), root.into()));
    }
    for (name, value) in &options.env {
        env.retain(|(known, _)| known != name.as_str());
        env.push((name.into(), value.into()));
    }
    let passed = page.file().try_clone().map_err(|error| Error::start("pass a page on", error))?;
    let mut arguments: Vec<OsString> = ["-I", "-X", "utf8", "-c", BOOT].map(OsString::from).into();
    // Where the worker program is, and the numbers of its socket and of its page.
    arguments.extend([lib.into_os_string(), FIRST_PASSED.to_string().into(), (FIRST_PASSED + 1).to_string().into()]);
    let command = Command {
        program: environment.interpreter.clone().into(),
        arguments,
        env,
        directory: dir.tmp(),
        stdio: [None, None, None],
        pass: vec![OwnedFd::from(theirs), OwnedFd::from(passed)],
        limits: Limits {
            memory: Some(spec.memory_limit.saturating_add(INTERPRETER)),
            file_size: Some(options.file_limit),
        },
        policy,
    };
    let process = Process::start(command, Arc::clone(&dir)).map_err(|error| match error {
        StartError::Program(error) => {
            Error::Interpreter { path: environment.interpreter.clone(), why: error.to_string() }
        }
        StartError::Folder(path, source) => Error::Folder { path, source },
        StartError::Machine(what, error) => Error::start(format!("start a worker: {what}"), error),
    })?;
    Ok((process, ours, page, dir, surroundings))
}

/// Wait until the pools shut down.
pub(crate) async fn closed(closing: &mut tokio::sync::watch::Receiver<bool>) {
    // What it returns borrows the value and must not be held across an await. The sender outlives the workers.
    drop(closing.wait_for(|closing| *closing).await);
}

/// The next whole frame, if it is there.
fn take_frame(inbox: &mut BytesMut) -> Result<Option<(Header, Bytes)>, Garbage> {
    if inbox.len() < HEADER {
        return Ok(None);
    }
    let header = Header::decode(inbox)?;
    let whole = HEADER + header.length as usize;
    if inbox.len() < whole {
        // The header was checked: this is a bounded amount.
        inbox.reserve(whole - inbox.len());
        return Ok(None);
    }
    let mut frame = inbox.split_to(whole).freeze();
    let payload = frame.split_off(HEADER);
    Ok(Some((header, payload)))
}

/// Wait for bytes and read some. Break: the connection has ended.
async fn read_some(stream: &UnixStream, inbox: &mut BytesMut) -> ControlFlow<()> {
    loop {
        if stream.readable().await.is_err() {
            return ControlFlow::Break(());
        }
        inbox.reserve(64 << 10);
        match stream.try_read_buf(inbox) {
            Ok(0) => return ControlFlow::Break(()),
            Ok(_) => return ControlFlow::Continue(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return ControlFlow::Break(()),
        }
    }
}

/// Read what is there already. Break: there is nothing more.
///
/// Asks the system itself: what the runtime knows of the connection may be older than the worker's last words.
fn try_read_some(stream: &UnixStream, inbox: &mut BytesMut) -> ControlFlow<()> {
    let mut buffer = [0; 32 << 10];
    match nix::unistd::read(stream, &mut buffer) {
        Ok(read) if read > 0 => {
            inbox.extend_from_slice(&buffer[..read]);
            ControlFlow::Continue(())
        }
        Err(nix::Error::EINTR) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}
