//! Retention: what is let go although somebody could still ask for it, because a flow says for how long things are kept.
//!
//! What is let go is marked, in the journal, and from then on its content is no root: the next collection of garbage
//! frees it. The rows stay, so that it can be told what there was and when it went. Of history the rows themselves go.

use std::collections::BTreeMap;

use opendmp_model::ids::{Arrival, Pass};

use super::types::{FlowId, SpaceId};

/// What is to be let go. Times are those before which it goes, milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetGo {
    /// Content of sources, by flow: of arrivals all of which was done before that time. A flow stands for those that were
    /// deleted before it under its name, too.
    ///
    /// MUST NOT touch an arrival of which anything is under way: its run is not done; it is in a task, held by an
    /// aggregate or an open dead letter, or its result is still to be exported; or a reprocess of its flow is being fed.
    /// When all was done is the latest of: it came in, its run ended, a step was recorded of it, a dead letter of it
    /// ended. Where history went that may have told of something later, it stays.
    Sources(BTreeMap<FlowId, i64>),
    /// Revisions of one shelf.
    Revisions {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: String,
        /// Slug of the flow.
        flow: String,
        /// The collect processor.
        processor: String,
        /// Which go.
        rule: RevisionRule,
    },
    /// Records of history, by flow, as with sources: of runs that are done. The record of how an arrival came in MUST
    /// stay as long as content of an arrival that it may be of is kept, so that it can be reprocessed.
    History(BTreeMap<FlowId, i64>),
}

/// Which revisions of a dataset go: those that neither keeps. MUST NOT say nothing at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionRule {
    /// So many are kept, the newest ones.
    pub newest: Option<u32>,
    /// Those are kept that were committed, or came out the same again, at this time or later.
    pub since: Option<i64>,
}

/// A part of what is let go. Asked for part by part, so that nobody waits for long.
#[derive(Clone, Debug)]
pub struct LetGoPart {
    /// What.
    pub what: LetGo,
    /// Where to begin: [`LetGone::next`] of the part before.
    pub after: Option<String>,
    /// How many rows are looked at: arrivals, revisions, or records. Those of one dataset are never cut apart.
    pub limit: usize,
    /// Nothing is let go, it is only counted.
    pub dry: bool,
    /// Now.
    pub at: i64,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetGone {
    /// How many.
    pub count: u64,
    /// Bytes of their content, or of the records. What else leads to the same content keeps it.
    pub bytes: u64,
    /// Where more may be; `None` at the end.
    pub next: Option<String>,
}

/// One revision, as far as its retention goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptRevision {
    /// What it is as new as: what revisions are numbered by.
    pub latest: (Arrival, Pass),
    /// When it was committed, or came out the same last.
    pub at: i64,
    /// Its content was let go already.
    pub gone: bool,
    /// Its export is still to be done.
    pub pending: bool,
}

/// Which of a dataset's revisions are to be let go, by place in the list.
pub fn outdated(revisions: &[KeptRevision], rule: RevisionRule) -> Vec<usize> {
    let mut order: Vec<usize> = (0..revisions.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(revisions[*at].latest));
    let newest = rule.newest.map_or(0, |newest| newest as usize);
    let old = |at: &usize| {
        let one = &revisions[*at];
        !one.gone && !one.pending && rule.since.is_none_or(|since| one.at < since)
    };
    if rule == RevisionRule::default() {
        return Vec::new();
    }
    order.into_iter().skip(newest).filter(old).collect()
}

/// What is known of an arrival, for its retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Something of it is under way.
    pub busy: bool,
    /// When anything of it was last done.
    pub at: i64,
    /// History from before this time may have gone.
    pub forgot: Option<i64>,
}

/// Whether the content of an arrival may be let go, of which all has to be done before this time.
pub fn is_over(done: Done, before: i64) -> bool {
    !done.busy && done.at < before && done.forgot.is_none_or(|forgot| forgot <= before)
}

/// The number that a part of arrivals or records begins behind.
///
/// # Errors
/// For what is no cursor of these.
pub fn begins_at(after: Option<&str>, operation: &'static str) -> crate::Result<u64> {
    after.map_or(Ok(0), |after| after.parse().map_err(|_| super::decide::bad_cursor(operation)))
}

/// The last number of a part, and where the next one begins.
pub fn ends_at(begin: u64, limit: usize, last: u64) -> (u64, Option<String>) {
    let end = begin.saturating_add(limit.max(1) as u64).min(last);
    (end, (end < last).then(|| end.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions(times: &[i64]) -> Vec<KeptRevision> {
        let one = |(n, at): (usize, &i64)| KeptRevision {
            latest: (Arrival(n as u64), Pass(0)),
            at: *at,
            gone: false,
            pending: false,
        };
        times.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_revision_stays_for_either_reason() {
        let all = revisions(&[10, 20, 30, 40]);
        let rule = |newest, since| RevisionRule { newest, since };
        assert_eq!(outdated(&all, rule(None, None)), [0; 0]);
        assert_eq!(outdated(&all, rule(Some(1), None)), [2, 1, 0]);
        assert_eq!(outdated(&all, rule(Some(9), None)), [0; 0]);
        assert_eq!(outdated(&all, rule(None, Some(30))), [1, 0]);
        assert_eq!(outdated(&all, rule(None, Some(99))), [3, 2, 1, 0], "with an age only, the newest, too");
        assert_eq!(outdated(&all, rule(Some(3), Some(30))), [0]);
        assert_eq!(outdated(&all, rule(Some(1), Some(20))), [0]);
    }

    #[test]
    fn the_newest_is_the_one_that_came_out_last() {
        let mut all = revisions(&[10, 20, 30]);
        all[0].latest = (Arrival(9), Pass(0));
        assert_eq!(outdated(&all, RevisionRule { newest: Some(1), since: None }), [2, 1]);
        (all[2].gone, all[1].pending) = (true, true);
        assert_eq!(outdated(&all, RevisionRule { newest: Some(1), since: None }), [0; 0]);
    }

    #[test]
    fn a_source_stays_while_something_is_under_way_or_unknown() {
        let done = Done { busy: false, at: 10, forgot: None };
        assert!(is_over(done, 11) && !is_over(done, 10));
        assert!(!is_over(Done { busy: true, ..done }, 11));
        assert!(is_over(Done { forgot: Some(11), ..done }, 11));
        assert!(!is_over(Done { forgot: Some(12), ..done }, 11));
    }

    #[test]
    fn parts_follow_each_other() {
        assert_eq!(ends_at(0, 10, 25), (10, Some("10".to_owned())));
        assert_eq!(ends_at(20, 10, 25), (25, None));
        assert_eq!(ends_at(0, 0, 0), (0, None));
        assert_eq!(begins_at(Some("10"), "x").unwrap(), 10);
        assert!(begins_at(Some("1-ff"), "x").is_err());
    }
}
