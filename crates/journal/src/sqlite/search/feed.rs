//! Between the journal's writer, which says what was committed, and the thread that follows it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    /// The last change.
    last: i64,
    /// When something was committed last, a change or not.
    at: Option<Instant>,
    /// Somebody wants the thread to look.
    woken: bool,
    closing: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    state: Mutex<State>,
    changed: Condvar,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last change there was when the journal was opened.
    pub(crate) fn begin(&self, last: i64) {
        self.lock().last = last;
    }

    /// Something was committed; changes go up to `last` now.
    pub(crate) fn committed(&self, last: i64) {
        let mut state = self.lock();
        state.at = Some(Instant::now());
        if std::mem::replace(&mut state.last, last) != last {
            self.changed.notify_all();
        }
    }

    pub(crate) fn last(&self) -> i64 {
        self.lock().last
    }

    /// Whether something was committed as lately.
    pub(crate) fn is_busy(&self, lately: Duration) -> bool {
        self.lock().at.is_some_and(|at| at.elapsed() < lately)
    }

    /// What was committed last was the thread's own.
    pub(crate) fn was_own(&self) {
        self.lock().at = None;
    }

    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Waits for a change behind this one, or to be woken, so long at most. Answers whether there was a reason.
    pub(crate) fn wait_behind(&self, change: i64, most: Option<Duration>) -> bool {
        let waits = |state: &mut State| state.last <= change && !state.woken && !state.closing;
        let state = self.lock();
        let mut state = match most {
            None => self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner),
            Some(most) => self.changed.wait_timeout_while(state, most, waits).unwrap_or_else(PoisonError::into_inner).0,
        };
        let reason = !waits(&mut state);
        state.woken = false;
        reason
    }

    /// Rests, unless it is to end.
    pub(crate) fn rest(&self, time: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, time, |state| !state.closing);
    }
}
