//! Health issues: what keeps the engine from going on and a person can repair, each known by what it concerns.
//!
//! An issue is reported as resolved only once it was calm for a while: who raises and clears one each second neither
//! fills the log nor makes it come and go in lists. An issue that comes back soon has to stay calm for longer each time.
//! Plain decisions; the caller says what time it is, by a clock that nobody can set.

use std::collections::HashMap;

use crate::engine::Trouble;

/// How long an issue must not have been raised again before it counts as resolved, in milliseconds.
const CALM: i64 = 5_000;

/// How often that is doubled at most where it keeps coming back.
const DOUBLED: u32 = 6;

/// How long a resolved issue is remembered, so that its return is known as such, in milliseconds.
const REMEMBERED: i64 = 600_000;

/// How long an issue whose message changes is not logged again, in milliseconds.
const LOGGED: i64 = 10_000;

/// What all of the engine can't go on without. Everything else concerns single flows, or a part of what helps.
const CENTRAL: [&str; 7] = ["journal", JOURNAL_READ, "content", "queue", "intents", DISK, crate::garbage::STORAGE];

/// The journal does not answer, as seen by who asks how the engine is.
pub(crate) const JOURNAL_READ: &str = "journal reads";

/// The disk of the data directory has less than the reserve.
pub(crate) const DISK: &str = "disk";

impl Trouble {
    /// Whether nothing goes on because of it; else it concerns a flow, or a part of what helps.
    pub fn is_central(&self) -> bool {
        CENTRAL.contains(&self.about.as_str())
    }
}

/// All issues, by what they concern.
#[derive(Debug, Default)]
pub(crate) struct Issues {
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    issue: Trouble,
    state: State,
    /// How often it came back soon after it was resolved.
    returns: u32,
    /// When it was logged last, and the message.
    logged: (i64, String),
}

/// Times of the steady clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Raised,
    /// Cleared, but not for long enough.
    Calm(i64),
    Resolved(i64),
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    Nothing,
    Raised,
}

impl Issues {
    /// Raises an issue. `now`: milliseconds since 1970, `steady`: of the steady clock.
    pub fn raise(&mut self, about: &str, message: &str, hint: Option<&str>, now: i64, steady: i64) -> Log {
        self.settle(steady, |_| {});
        let issue = |since| Trouble {
            about: about.to_owned(),
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
            since,
        };
        let Some(known) = self.known.get_mut(about) else {
            let logged = (steady, message.to_owned());
            let known = Known { issue: issue(now), state: State::Raised, returns: 0, logged };
            self.known.insert(about.to_owned(), known);
            return Log::Raised;
        };
        let is_back = matches!(known.state, State::Resolved(_));
        if is_back {
            known.returns = known.returns.saturating_add(1);
        }
        let since = if is_back { now } else { known.issue.since };
        (known.issue, known.state) = (issue(since), State::Raised);
        let is_news = is_back || known.logged.1 != message;
        if is_news && steady.saturating_sub(known.logged.0) >= LOGGED {
            known.logged = (steady, message.to_owned());
            return Log::Raised;
        }
        Log::Nothing
    }

    /// Says that what an issue is about works. It is resolved once that has held for a while.
    pub fn clear(&mut self, about: &str, steady: impl FnOnce() -> i64) {
        if let Some(known) = self.known.get_mut(about)
            && known.state == State::Raised
        {
            known.state = State::Calm(steady());
        }
    }

    /// Drops issues that concern what is no longer there.
    pub fn withdraw(&mut self, concerns: impl Fn(&str) -> bool) {
        self.known.retain(|about, _| !concerns(about));
    }

    /// Resolves what has been calm for long enough, telling each, and forgets what was resolved long ago.
    pub fn settle(&mut self, steady: i64, mut resolved: impl FnMut(&str)) {
        self.known.retain(|about, known| match known.state {
            State::Raised => true,
            State::Calm(since) => {
                if steady.saturating_sub(since) >= CALM << known.returns.min(DOUBLED) {
                    known.state = State::Resolved(steady);
                    resolved(about);
                }
                true
            }
            State::Resolved(since) => steady.saturating_sub(since) < REMEMBERED,
        });
    }

    /// The issues that are not resolved, by what they concern.
    pub fn open(&self) -> Vec<Trouble> {
        let open = self.known.values().filter(|known| !matches!(known.state, State::Resolved(_)));
        let mut all: Vec<Trouble> = open.map(|known| known.issue.clone()).collect();
        all.sort_by(|a, b| a.about.cmp(&b.about));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(issues: &mut Issues, message: &str, at: i64) -> Log {
        issues.raise("flow a", message, None, at, at)
    }

    fn resolved(issues: &mut Issues, at: i64) -> usize {
        let mut count = 0;
        issues.settle(at, |_| count += 1);
        count
    }

    #[test]
    fn an_issue_that_comes_and_goes_stays_listed_and_is_logged_once() {
        let mut issues = Issues::default();
        assert_eq!(raise(&mut issues, "away", 0), Log::Raised);
        for second in 1..100 {
            issues.clear("flow a", || second * 1_000 - 500);
            assert_eq!(resolved(&mut issues, second * 1_000 - 400), 0);
            assert_eq!(issues.open().len(), 1);
            assert_eq!(raise(&mut issues, "away", second * 1_000), Log::Nothing);
        }
        assert_eq!(issues.open()[0].since, 0, "it is the same issue all the time");
        issues.clear("flow a", || 100_000);
        assert_eq!((resolved(&mut issues, 100_000 + CALM - 1), issues.open().len()), (0, 1));
        assert_eq!((resolved(&mut issues, 100_000 + CALM), issues.open().len()), (1, 0));
    }

    #[test]
    fn an_issue_that_returns_must_stay_calm_for_longer() {
        let mut issues = Issues::default();
        let (mut at, mut logged) = (0, 0);
        for round in 0..20 {
            logged += i32::from(raise(&mut issues, "away", at) == Log::Raised);
            issues.clear("flow a", || at);
            let calm = CALM << round.min(DOUBLED);
            assert_eq!(resolved(&mut issues, at + calm - 1), 0, "round {round}");
            assert_eq!(resolved(&mut issues, at + calm), 1);
            at += calm;
        }
        assert!(at / i64::from(logged) > 60_000, "{logged} times in {at} ms");
        assert_eq!(resolved(&mut issues, at + REMEMBERED), 0);
        assert!(issues.known.is_empty(), "and is forgotten in the end");
    }

    #[test]
    fn messages_that_alternate_are_logged_now_and_then() {
        let mut issues = Issues::default();
        let logged = (0..600).filter(|second| {
            raise(&mut issues, if second % 2 == 0 { "one" } else { "other" }, second * 1_000) == Log::Raised
        });
        assert!(logged.count() <= 60);
        assert_eq!(issues.open()[0].message, "other", "the list tells the present one");
    }

    #[test]
    fn what_is_not_there_any_more_has_no_issue() {
        let mut issues = Issues::default();
        raise(&mut issues, "away", 0);
        issues.withdraw(|about| about == "flow b");
        assert_eq!(issues.open().len(), 1);
        issues.withdraw(|about| about == "flow a");
        assert!(issues.open().is_empty());
    }
}
