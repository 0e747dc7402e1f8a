//! The signals by which a person or the system asks a command to stop: Ctrl-C, SIGTERM, and the SIGHUP of a terminal that
//! is closed.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fail::Fail;

/// See the module.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None where it was ignored when the command began, as under `nohup`: then it stays so.
    hangup: Option<Signal>,
}

impl Signals {
    /// Waits for them from now on.
    pub fn new() -> Result<Self, Fail> {
        let wait = |kind| signal(kind).map_err(|error| Fail::io("signals can't be waited for", &error));
        Ok(Self {
            interrupt: wait(SignalKind::interrupt())?,
            terminate: wait(SignalKind::terminate())?,
            hangup: if ignores(SignalKind::hangup()) { None } else { Some(wait(SignalKind::hangup())?) },
        })
    }

    /// The next of them; answers its name.
    pub async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Whether this process ignores a signal.
fn ignores(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    let bit = u32::try_from(kind.as_raw_value()).unwrap_or(0).saturating_sub(1);
    mask.checked_shr(bit).unwrap_or(0) & 1 == 1
}
