//! The last steps before the program itself: descriptors, limits, and what it may not do any more.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use super::init::{Failed, at};
use super::launcher::{Shared, number};
use super::wire::{Report, Request, Step};
use super::{landlock, sys};
use crate::command::FIRST_PASSED;

/// What is left of root's powers where the server runs as root: changing owners, modes and contents of files, and low
/// ports. Above all it loses those that change mounts and look into other processes.
const KEPT_CAPABILITIES: [libc::c_ulong; 5] = [0, 1, 3, 4, 10];

/// Processes and threads that a command may have, so that it can't take the last ones that the machine has.
const MAX_PROCESSES: u64 = 4096;

/// Never returns: it becomes the program, or says through `tell` why it could not, and ends.
pub(super) fn run(
    request: &Request,
    shown: &[Option<OwnedFd>],
    stdio: u8,
    descriptors: &[OwnedFd],
    tell: &OwnedFd,
    shared: &Shared,
) -> ! {
    let Err(Failed(step, error)) = become_it(request, shown, stdio, descriptors, shared);
    let _ = nix::unistd::write(tell, &Report::Failed(number(&error), step).encode());
    sys::exit(127)
}

fn become_it(
    request: &Request,
    shown: &[Option<OwnedFd>],
    stdio: u8,
    descriptors: &[OwnedFd],
    shared: &Shared,
) -> Result<Infallible, Failed> {
    nix::unistd::setsid().map_err(|error| at("begin a session")(error.into()))?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|error| at("watch init")(error.into()))?;
    sys::notice_signals();
    limit(request).map_err(at("set limits"))?;
    nix::sys::prctl::set_no_new_privs().map_err(|error| at("give up new privileges")(error.into()))?;
    // Before descriptors are numbered, which takes the numbers of those of folders.
    landlock::restrict(request, shown).map_err(at("apply Landlock rules"))?;
    number_descriptors(stdio, descriptors, shared).map_err(at("pass descriptors"))?;
    let (soft, hard) = shared.files;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(|error| at("set limits")(error.into()))?;
    nix::unistd::chdir(&request.directory)
        .map_err(|error| Failed(Step::Folder(request.directory.clone()), error.into()))?;
    sys::drop_capabilities(&KEPT_CAPABILITIES);
    shared
        .filters
        .apply(request.apart, request.network)
        .map_err(|error| at("filter system calls")(io::Error::other(error)))?;
    Err(Failed(Step::Program, exec(request)))
}

fn limit(request: &Request) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if request.apart {
        // Counted for this namespace alone; without one it would count all processes of the server's user.
        setrlimit(Resource::RLIMIT_NPROC, MAX_PROCESSES, MAX_PROCESSES)?;
    }
    if let Some(bytes) = request.memory {
        setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?;
    }
    if let Some(bytes) = request.file_size {
        setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes)?;
    }
    Ok(())
}

/// Standard input, output and error as far as given, then the others from [`FIRST_PASSED`] on; nothing else stays open.
fn number_descriptors(stdio: u8, descriptors: &[OwnedFd], shared: &Shared) -> io::Result<()> {
    // First to where none of the numbers wanted is, and not higher: a server may have few of them.
    let above = FIRST_PASSED + i32::try_from(descriptors.len()).map_err(io::Error::other)?;
    let mut high = Vec::new();
    for fd in descriptors {
        high.push(fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above))?);
    }
    // What it sees as `/dev/null` itself: through that of the server, root could change the machine's.
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = fcntl(null.as_ref().unwrap_or(&shared.null), FcntlArg::F_DUPFD_CLOEXEC(above))?;
    let mut given = high.iter();
    // SAFETY of numbers: they were just made, and live until `exec`.
    for number in 0..FIRST_PASSED {
        let fd = if stdio & 1 << number == 0 { None } else { given.next() };
        match fd {
            Some(fd) => sys::renumber_raw(*fd, number)?,
            None => sys::renumber_raw(null, number)?,
        }
    }
    let mut next = FIRST_PASSED;
    for fd in given {
        sys::renumber_raw(*fd, next)?;
        next += 1;
    }
    sys::close_from(next, true);
    Ok(())
}

/// Calls `exec`; why that failed.
fn exec(request: &Request) -> io::Error {
    let text = |bytes: &OsStr| CString::new(bytes.as_bytes());
    let all = || -> Result<_, std::ffi::NulError> {
        let arguments: Vec<CString> = std::iter::once(&request.program)
            .chain(&request.arguments)
            .map(|argument| text(argument))
            .collect::<Result<_, _>>()?;
        let variable = |(name, value): &(OsString, OsString)| {
            let mut both = name.clone().into_vec();
            both.push(b'=');
            both.extend(value.as_bytes());
            CString::new(both)
        };
        Ok((arguments, request.env.iter().map(variable).collect::<Result<Vec<CString>, _>>()?))
    };
    let Ok((arguments, env)) = all() else { return io::Error::from_raw_os_error(libc::EINVAL) };
    let mut refused = Errno::ENOENT;
    for candidate in candidates(request) {
        let Ok(candidate) = text(candidate.as_os_str()) else { continue };
        let Err(error) = nix::unistd::execve(&candidate, &arguments, &env);
        match error {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // Another folder may have one that can be run; one that can't be looked into has none for us.
            Errno::EACCES => {
                if nix::sys::stat::stat(candidate.as_c_str()).is_ok() {
                    refused = error;
                }
            }
            _ => return error.into(),
        }
    }
    refused.into()
}

/// Where the program may be.
fn candidates(request: &Request) -> Vec<PathBuf> {
    if request.program.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(&request.program)];
    }
    let path = request.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&request.program))
        .collect()
}
