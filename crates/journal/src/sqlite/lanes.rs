//! Which call the writer runs next. Callers wait for each answer, so that no order among those who wait is promised.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::writer::{Job, QUEUE};

/// Rows from which a call is a long one: some milliseconds.
const LONG: usize = 100;

/// How long a call keeps others waiting, and whom it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Shares a commit with others of its sort.
    Short,
    /// Shares a commit with other long ones, as long as no short one waits.
    Long,
    /// Runs when all that was sent before it has run.
    Last,
}

impl Lane {
    /// Of a call that writes about so many rows.
    pub(crate) fn of(rows: usize) -> Self {
        if rows < LONG { Self::Short } else { Self::Long }
    }
}

/// The calls that wait. Under one commit go short calls, or long ones; the two take turns, so that neither waits for
/// more than one commit of the other.
pub(crate) struct Lanes {
    jobs: mpsc::Receiver<Box<dyn Job>>,
    short: VecDeque<Box<dyn Job>>,
    long: VecDeque<Box<dyn Job>>,
    /// What comes behind it stays in the channel.
    last: Option<Box<dyn Job>>,
    /// Of the present commit.
    lane: Lane,
}

impl Lanes {
    pub(crate) fn new(jobs: mpsc::Receiver<Box<dyn Job>>) -> Self {
        Self { jobs, short: VecDeque::new(), long: VecDeque::new(), last: None, lane: Lane::Long }
    }

    /// The first call of the next commit; waits for one. `None`: all senders are gone, and nothing is left.
    pub(crate) fn wait(&mut self) -> Option<Box<dyn Job>> {
        self.fill();
        if self.short.is_empty() && self.long.is_empty() && self.last.is_none() {
            let job = self.jobs.blocking_recv()?;
            self.sort(job);
        }
        self.lane = match (self.short.is_empty(), self.long.is_empty()) {
            (true, true) => return self.last.take(),
            (false, true) => Lane::Short,
            (true, false) => Lane::Long,
            (false, false) if self.lane == Lane::Short => Lane::Long,
            (false, false) => Lane::Short,
        };
        self.of_lane().pop_front()
    }

    /// A further call of the same commit, if there is one.
    pub(crate) fn more(&mut self) -> Option<Box<dyn Job>> {
        self.fill();
        if self.lane == Lane::Long && !self.short.is_empty() {
            return None;
        }
        self.of_lane().pop_front()
    }

    fn of_lane(&mut self) -> &mut VecDeque<Box<dyn Job>> {
        if self.lane == Lane::Short { &mut self.short } else { &mut self.long }
    }

    /// Takes in what was sent.
    fn fill(&mut self) {
        while self.last.is_none()
            && self.short.len() + self.long.len() < QUEUE
            && let Ok(job) = self.jobs.try_recv()
        {
            self.sort(job);
        }
    }

    fn sort(&mut self, job: Box<dyn Job>) {
        match job.lane() {
            Lane::Short => self.short.push_back(job),
            Lane::Long => self.long.push_back(job),
            Lane::Last => self.last = Some(job),
        }
    }
}

#[cfg(test)]
mod tests {
    use opendmp_ports::Error;

    use super::super::fail::Result;
    use super::super::tables::Tables;
    use super::*;

    struct Named(&'static str, Lane);

    impl Job for Named {
        fn operation(&self) -> &'static str {
            self.0
        }

        fn lane(&self) -> Lane {
            self.1
        }

        fn run(&mut self, _: &mut Tables<'_>) -> Result<()> {
            Ok(())
        }

        fn answer(self: Box<Self>, _: std::result::Result<(), Error>) {}
    }

    /// The commits that calls make which were sent at once.
    fn commits(sent: &[(&'static str, Lane)]) -> Vec<Vec<&'static str>> {
        let (sender, jobs) = mpsc::channel(100);
        for (name, lane) in sent {
            assert!(sender.try_send(Box::new(Named(name, *lane)) as Box<dyn Job>).is_ok());
        }
        drop(sender);
        let mut lanes = Lanes::new(jobs);
        let mut all = Vec::new();
        while let Some(first) = lanes.wait() {
            let mut commit = vec![first.operation()];
            while let Some(next) = lanes.more() {
                commit.push(next.operation());
            }
            all.push(commit);
        }
        all
    }

    #[test]
    fn short_calls_wait_for_one_long_one_at_most() {
        use Lane::{Long, Short};
        let sent = [("L1", Long), ("s1", Short), ("L2", Long), ("s2", Short), ("L3", Long)];
        assert_eq!(commits(&sent), [vec!["s1", "s2"], vec!["L1", "L2", "L3"]]);
        assert_eq!(commits(&[("L1", Long), ("L2", Long)]), [vec!["L1", "L2"]]);
        assert_eq!(commits(&[("s1", Short), ("s2", Short)]), [vec!["s1", "s2"]]);
    }

    #[test]
    fn a_short_call_that_comes_ends_the_commit_of_long_ones() {
        let (sender, jobs) = mpsc::channel(100);
        let send = |name, lane| assert!(sender.try_send(Box::new(Named(name, lane)) as Box<dyn Job>).is_ok());
        let mut lanes = Lanes::new(jobs);
        send("L1", Lane::Long);
        send("L2", Lane::Long);
        assert_eq!(lanes.wait().unwrap().operation(), "L1");
        send("s1", Lane::Short);
        assert!(lanes.more().is_none());
        assert_eq!(lanes.wait().unwrap().operation(), "s1");
        send("s2", Lane::Short);
        assert_eq!(lanes.more().unwrap().operation(), "s2");
        assert!(lanes.more().is_none());
        send("s3", Lane::Short);
        assert_eq!(lanes.wait().unwrap().operation(), "L2", "long ones have their turn");
        assert!(lanes.more().is_none());
        assert_eq!(lanes.wait().unwrap().operation(), "s3");
    }

    #[test]
    fn the_last_one_comes_behind_all_that_was_sent_before_and_ahead_of_what_comes_behind() {
        use Lane::{Last, Long, Short};
        let sent = [("L1", Long), ("s1", Short), ("all", Last), ("s2", Short), ("L2", Long)];
        assert_eq!(commits(&sent), [vec!["s1"], vec!["L1"], vec!["all"], vec!["s2"], vec!["L2"]]);
    }
}
