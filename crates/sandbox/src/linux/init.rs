//! Init: the first process of a command. It makes the mounts, starts the program, and ends everything when the program
//! ends or the server closes the command's socket.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::launcher::{Shared, number};
use super::wire::{self, Report, Request, Step};
use super::{mounts, program, shown, sys};

/// A step that failed, and why.
pub(super) struct Failed(pub Step, pub io::Error);

/// For steps that are not about a folder or the program.
pub(super) fn at(what: &'static str) -> impl Fn(io::Error) -> Failed {
    move |error| Failed(Step::Other(what.to_owned()), error)
}

/// `apart`: it has namespaces of its own.
pub(super) fn run(control: &UnixStream, apart: bool, stdio: u8, descriptors: Vec<OwnedFd>, shared: &Shared) -> ! {
    let report = watch(control, apart, stdio, descriptors, shared)
        .unwrap_or_else(|Failed(step, error)| Report::Failed(number(&error), step));
    let _ = wire::send(control, &report.encode(), &[]);
    sys::exit(0)
}

fn watch(
    control: &UnixStream,
    apart: bool,
    stdio: u8,
    descriptors: Vec<OwnedFd>,
    shared: &Shared,
) -> Result<Report, Failed> {
    let _ = nix::sys::prctl::set_name(c"opendmp-init");
    // In a PID namespace the kernel ends all when this process ends; else it has to do that itself.
    let at_the_end = if apart { Signal::SIGKILL } else { Signal::SIGTERM };
    nix::sys::prctl::set_pdeathsig(at_the_end).map_err(|error| at("watch the launcher")(error.into()))?;
    // When memory runs out, the kernel takes a command before the server. Lowering it again is root's.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    // It still has the server's environment in its memory, which the command must not read.
    nix::sys::prctl::set_dumpable(false).map_err(|error| at("close its memory")(error.into()))?;
    let request = Request::receive(control).map_err(at("read the request"))?;
    let shown = shown::open(&request)?;
    if request.apart {
        mounts::make(&request.mounts, &shown, request.shared_memory)?;
    } else {
        nix::sys::prctl::set_child_subreaper(true).map_err(|error| at("adopt processes")(error.into()))?;
    }
    if request.program.is_empty() {
        return Ok(Report::Ended(0));
    }
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    sys::notice_children();
    if !request.apart {
        ended.add(Signal::SIGTERM);
        sys::notice_the_end();
    }
    ended.thread_block().map_err(|error| at("block a signal")(error.into()))?;
    let signals = SignalFd::with_flags(&ended, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| at("watch the program")(error.into()))?;
    let (told, tell) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| at("make a pipe")(error.into()))?;
    let program = sys::fork(|| program::run(&request, &shown, stdio, &descriptors, &tell, shared))
        .map_err(at("start a process"))?;
    drop((descriptors, tell, shown));
    // Nothing comes where the program was started: `exec` closes the other end.
    let mut why = Vec::new();
    fs::File::from(told).read_to_end(&mut why).map_err(at("start the program"))?;
    if let Some(report) = Report::take(&mut why).map_err(at("start the program"))? {
        return Ok(report);
    }
    let _ = wire::send(control, &Report::Started.encode(), &[]);
    let status = until_it_ends(control, &signals, program);
    end_all(request.apart, program);
    Ok(Report::Ended(status.unwrap_or(nix::libc::SIGKILL)))
}

/// Waits until the program ends: its status; or until the server wants it ended: none.
fn until_it_ends(control: &UnixStream, signals: &SignalFd, program: Pid) -> Option<i32> {
    loop {
        let mut status = None;
        // Those that were orphaned are ours to wait for, too.
        while let Some((pid, ended)) = sys::wait_any(false) {
            if pid == program {
                status = Some(ended);
            }
        }
        if status.is_some() {
            return status;
        }
        // What is closed can be read: nothing.
        let closed = PollFlags::POLLIN;
        let mut events = [PollFd::new(control.as_fd(), closed), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        }
        if events[0].revents().is_some_and(|events| !events.is_empty()) {
            return None;
        }
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                return None;
            }
        }
    }
}

/// Kills all that is left, and waits for it.
fn end_all(apart: bool, program: Pid) {
    if apart {
        // All processes of the namespace but this one.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        while sys::wait_any(true).is_some() {}
        return;
    }
    let _ = nix::sys::signal::killpg(program, Signal::SIGKILL);
    loop {
        // Those of a child that ends become ours, so that none is missed in the end.
        for child in children() {
            let _ = kill(child, Signal::SIGKILL);
        }
        match waitpid(None, Some(WaitPidFlag::empty())) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn children() -> Vec<Pid> {
    let text = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
}
