//! Watches the clock, which people and time servers set. Everything that waits has a due time by this clock: where it is
//! set back, that would wait until it shows the old time again, and is brought back to where it belongs. Where it is set
//! far forward, retention stops for a while, since by such a clock everything is old.

use std::time::Duration;

use opendmp_ports::journal::SetBack;
use tokio::sync::watch;

use crate::Engine;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Jumps of less than this are ordinary corrections, in milliseconds.
const SMALL: i64 = 2_000;

/// A jump forward of more than this makes the age of things doubtful, in milliseconds.
const FAR: i64 = 24 * 3_600_000;

/// How long an issue says that the clock was set, and how long retention waits after a jump far forward, in
/// milliseconds.
const TOLD: i64 = 600_000;
const DOUBT: i64 = 24 * 3_600_000;

/// What was on its way into the journal when the clock was set back comes with times of before: it is looked for again
/// so many milliseconds later.
const AGAIN: [i64; 2] = [5_000, 60_000];

/// A jump back of less than this needs no second look: what is missed waits no longer than this, in milliseconds.
const SOON: i64 = 3_600_000;

/// How late what is on its way may have got its time, in milliseconds.
const ON_ITS_WAY: i64 = 60_000;

/// What the health issue is about.
const CLOCK: &str = "clock";

/// How the clock has moved apart from the time that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jump {
    /// It was set back; `now`: what it shows.
    Back { by: i64, now: i64 },
    /// It was set forward, or the machine slept.
    Forward { by: i64 },
}

/// The clock as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    now: i64,
    steady: i64,
}

impl Seen {
    /// Looks again; small jumps are followed in silence.
    fn look(&mut self, now: i64, steady: i64) -> Option<Jump> {
        let passed = steady.saturating_sub(self.steady);
        let by = now.saturating_sub(self.now.saturating_add(passed));
        *self = Self { now, steady };
        match by {
            _ if by <= -SMALL => Some(Jump::Back { by: by.saturating_neg(), now }),
            _ if by >= FAR => Some(Jump::Forward { by }),
            _ => None,
        }
    }
}

/// See the module.
pub(crate) struct ClockWatch {
    seen: Seen,
    /// Corrections to be repeated, and when, by the steady clock.
    again: Vec<(i64, SetBack)>,
    /// Until when the issue is told, by the steady clock.
    told: Option<i64>,
}

impl ClockWatch {
    pub fn new(engine: &Engine) -> Self {
        let seen = Seen { now: engine.clock.now(), steady: engine.clock.steady() };
        Self { seen, again: Vec::new(), told: None }
    }

    /// Looks at the clock once.
    pub async fn look(&mut self, engine: &Engine) {
        let (now, steady) = (engine.clock.now(), engine.clock.steady());
        match self.seen.look(now, steady) {
            Some(Jump::Back { by, now }) => {
                self.again
                    .extend(engine.clock_set_back(by, now).await.into_iter().map(|(at, back)| (steady + at, back)));
                self.told = Some(steady.saturating_add(TOLD));
            }
            Some(Jump::Forward { by }) => {
                engine.doubt_ages(steady.saturating_add(DOUBT));
                engine.trouble(
                    CLOCK,
                    &format!("the clock jumped forward by {}: retention waits for a day", words(by)),
                    Some(
                        "check the time with `timedatectl`; if it is right, restart the server to resume retention now",
                    ),
                );
                self.told = Some(steady.saturating_add(DOUBT));
            }
            None => {}
        }
        let (due, later) = self.again.drain(..).partition(|(at, _)| *at <= steady);
        self.again = later;
        let due: Vec<(i64, SetBack)> = due;
        for (_, back) in due {
            if let Err(error) = engine.journal.clock_set_back(back).await {
                tracing::warn!(%error, "waiting work could not be rescheduled");
                self.again.push((steady.saturating_add(AGAIN[0]), back));
            }
        }
        if self.told.is_some_and(|until| until <= steady) {
            self.told = None;
            engine.withdraw_troubles(|about| about == CLOCK);
        }
    }
}

impl Engine {
    /// Reschedules what waits because the clock was set back by `by` milliseconds and shows `now`. Answers what is to be
    /// done later, after so many milliseconds.
    async fn clock_set_back(&self, by: i64, now: i64) -> Vec<(i64, SetBack)> {
        let first = SetBack { by, from: now };
        let mut later: Vec<(i64, SetBack)> = Vec::new();
        let changed = match self.journal.clock_set_back(first).await {
            Ok(changed) => changed,
            Err(error) => {
                tracing::warn!(%error, "waiting work could not be rescheduled");
                later.push((AGAIN[0], first));
                0
            }
        };
        if by >= SOON {
            let rest = SetBack { by, from: now.saturating_add(by).saturating_sub(ON_ITS_WAY) };
            later.extend(AGAIN.map(|at| (at, rest)));
        }
        self.trouble(
            CLOCK,
            &format!("the clock was set back by {}; {changed} waiting tasks and exports were rescheduled", words(by)),
            Some("check the time with `timedatectl`: arrivals and results are recorded with it"),
        );
        later
    }

    /// For who opens a journal that was written to last at `written` (milliseconds since 1970): where that is in the
    /// future, the clock was set back since, and what waits is rescheduled.
    pub async fn written_last(&self, written: i64) {
        let now = self.clock.now();
        let by = written.saturating_sub(now);
        // Other machines' clocks, which stamp files on network folders, differ by seconds.
        if by > ON_ITS_WAY {
            self.clock_set_back(by, now).await;
        }
    }

    /// Watches the clock until `stop`.
    pub(crate) async fn watch_clock(self: std::sync::Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut clock = ClockWatch::new(&self);
        while !*stop.borrow() {
            clock.look(&self).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

/// A span of time, roughly.
fn words(milliseconds: i64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        ..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use opendmp_model::fault::{Fault, FaultKind, Tries};
    use opendmp_model::item::{Attributes, ContentRef};
    use opendmp_ports::clock::ManualClock;
    use opendmp_ports::content::MemoryContent;
    use opendmp_ports::journal::{
        DEFAULT_SPACE, End, Finished, Ingest, MemoryJournal, NewArrival, NewVersion, RunChoice, RunMode,
    };
    use opendmp_ports::transport::InProcess;
    use opendmp_ports::{Clock, Journal};
    use opendmp_processor::Registry;

    use super::*;
    use crate::Options;

    const YEAR: i64 = 365 * 24 * 3_600_000;

    #[test]
    fn only_jumps_count() {
        let mut seen = Seen { now: 10 * YEAR, steady: 5 };
        assert_eq!(seen.look(10 * YEAR + 1_000, 1_005), None);
        assert_eq!(seen.look(10 * YEAR + 500, 2_005), None, "a correction by a second and a half");
        assert_eq!(seen.look(YEAR, 3_005), Some(Jump::Back { by: 9 * YEAR + 1_500, now: YEAR }));
        assert_eq!(seen.look(YEAR + 1_000, 4_005), None);
        assert_eq!(seen.look(YEAR + 3_600_000, 5_005), None, "an hour of sleep");
        assert_eq!(seen.look(3 * YEAR, 6_005), Some(Jump::Forward { by: 2 * YEAR - 3_600_000 - 1_000 }));
    }

    fn arrival() -> NewArrival {
        NewArrival {
            path: b"a".to_vec(),
            stat: None,
            name: "a".into(),
            content: ContentRef::empty(),
            media_type: None,
            attributes: Attributes::new().into(),
            release: Some(Bytes::from_static(b"release")),
            took: 0,
        }
    }

    /// An engine with an outbox entry that waits to be tried again in five seconds.
    async fn waiting(clock: &Arc<ManualClock>) -> Engine {
        let journal = Arc::new(MemoryJournal::default());
        let lease = journal.open_lease("test", true, 1).await.unwrap().lease;
        let engine = Engine::new(
            Arc::clone(&journal) as Arc<dyn Journal>,
            Arc::new(MemoryContent::default()),
            Arc::new(InProcess::default()),
            Arc::clone(clock) as Arc<dyn Clock>,
            Arc::new(Registry::default()),
            Options::default(),
            lease,
        );
        let version = NewVersion {
            space: DEFAULT_SPACE,
            slug: "a".to_owned(),
            name: "A".to_owned(),
            hash: "1".to_owned(),
            body: Bytes::new(),
            at: 1,
            actor: "ada".to_owned(),
        };
        let (flow, version) = journal.save_version(version).await.unwrap();
        let ingest = Ingest {
            lease,
            flow,
            version,
            processor: "inbox".into(),
            source: journal.source(DEFAULT_SPACE, "in").await.unwrap(),
            run: RunChoice::New { mode: RunMode::Live, trigger: "test".to_owned() },
            arrivals: vec![arrival()],
            readers: Vec::new(),
            context: 0,
            started: clock.now(),
            at: clock.now(),
        };
        journal.ingest(ingest).await.unwrap();
        let entry = journal.claim_intents(lease, clock.now(), 1).await.unwrap().remove(0);
        let fault = Fault::new(FaultKind::Unavailable, "away", "the folder is away");
        let end = End::Retry { due: clock.now() + 5_000, tries: Tries::default(), fault };
        let finished = Finished { id: entry.id, lease, attempt: entry.attempt, end, at: clock.now() };
        journal.finish(vec![finished]).await.unwrap();
        engine
    }

    #[tokio::test]
    async fn what_waits_keeps_its_wait_when_the_clock_is_set_back() {
        let clock = Arc::new(ManualClock::at(20 * YEAR));
        let engine = waiting(&clock).await;
        let mut watch = ClockWatch::new(&engine);
        clock.advance(1_000);
        watch.look(&engine).await;
        assert_eq!(engine.journal.backlog(None).await.unwrap().due, Some(20 * YEAR + 5_000));
        assert!(engine.troubles().is_empty());
        clock.advance(1_000);
        clock.set(10 * YEAR);
        watch.look(&engine).await;
        let due = engine.journal.backlog(None).await.unwrap().due.unwrap();
        assert_eq!(due, 10 * YEAR + 3_000, "two of the five seconds have passed");
        let issues = engine.troubles();
        assert_eq!((issues.len(), issues[0].about.as_str()), (1, CLOCK));
        assert!(issues[0].message.contains("set back by 3650 days; 1 waiting"), "{}", issues[0].message);
        // What had its time from the old clock, and came into the journal only now.
        let claimed = engine.journal.claim_intents(engine.lease, due, 1).await.unwrap().remove(0);
        let end = End::Retry {
            due: 20 * YEAR + 6_000,
            tries: Tries::default(),
            fault: Fault::new(FaultKind::Unavailable, "away", "away"),
        };
        let late = Finished { id: claimed.id, lease: engine.lease, attempt: claimed.attempt, end, at: 20 * YEAR };
        engine.journal.finish(vec![late]).await.unwrap();
        clock.advance(AGAIN[0]);
        watch.look(&engine).await;
        assert_eq!(engine.journal.backlog(None).await.unwrap().due, Some(10 * YEAR + 4_000));
        clock.advance(TOLD);
        watch.look(&engine).await;
        assert!(engine.troubles().is_empty(), "it is told for a while");
    }

    #[tokio::test]
    async fn a_journal_of_the_future_is_brought_back_when_it_is_opened() {
        let clock = Arc::new(ManualClock::at(20 * YEAR));
        let engine = waiting(&clock).await;
        engine.written_last(20 * YEAR + 30_000).await;
        assert!(engine.troubles().is_empty(), "another machine's clock may differ a little");
        clock.set(10 * YEAR);
        engine.written_last(20 * YEAR).await;
        assert_eq!(engine.journal.backlog(None).await.unwrap().due, Some(10 * YEAR + 5_000));
        assert_eq!(engine.troubles().len(), 1);
    }

    #[tokio::test]
    async fn ages_are_in_doubt_after_a_jump_far_forward() {
        let clock = Arc::new(ManualClock::at(YEAR));
        let engine = waiting(&clock).await;
        let mut watch = ClockWatch::new(&engine);
        clock.set(11 * YEAR);
        watch.look(&engine).await;
        assert!(engine.doubts_ages() && engine.troubles()[0].message.contains("retention waits"));
        clock.advance(DOUBT);
        watch.look(&engine).await;
        assert!(!engine.doubts_ages() && engine.troubles().is_empty());
    }

    #[test]
    fn spans_are_told_roughly() {
        assert_eq!([90_000, 600_000, 3 * 3_600_000, YEAR].map(words), ["90 s", "10 min", "3 h", "365 days"]);
    }
}
