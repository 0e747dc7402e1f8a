//! What every journal keeps: each sentence of the contract on [`Journal`], as checks that any
//! implementation runs. A check begins with an empty journal and panics where the contract is broken.
//!
//! An implementation that is durable runs the suite twice: as it is, and closed and opened again between any two
//! calls ([`all`] with `reopen`), so that nothing of what it answered lives in memory alone.

mod again;
mod definitions;
mod desk;
mod exports;
mod held;
mod history;
mod ledger;
mod letters;
mod lineage;
mod listing;
mod queue;
mod retain;
mod revisions;
mod roots;
mod runs;
mod search;
mod settling;
mod targets;

use std::sync::Arc;

use async_trait::async_trait;

pub use desk::Desk;

use super::Journal;

/// A place for one journal.
#[async_trait]
pub trait Bench: Send + Sync {
    /// Opens the journal of this place: new the first time, and then with all that was answered.
    async fn open(&self) -> Arc<dyn Journal>;
}

macro_rules! checks {
    ($fresh:ident, $reopen:ident: $($file:ident { $($check:ident),* $(,)? })*) => {$($(
        $file::$check(Desk::new(Box::new($fresh()), $reopen).await).await;
    )*)*};
}

/// Runs all checks, each on a place that `fresh` gives.
///
/// # Panics
/// Where the contract is broken.
pub async fn all<B: Bench + 'static>(fresh: impl Fn() -> B, reopen: bool) {
    checks! { fresh, reopen:
        definitions {
            versions_are_saved_once, flows_change, flows_end, contexts_and_sources_have_one_number,
            leases_fence, what_is_missing_is_said, versions_are_listed, drafts_are_kept, drafts_are_changed_by_those_who_saw_them,
        }
        ledger {
            arrivals_are_numbered, tasks_go_to_each_reader, kept_versions_come_once, how_a_file_is_now_is_noted,
            items_without_a_version_go_by_content,
            repeats_within_an_ingest, releases_come_once, origins_stay, trials_leave_no_trace,
            recent_versions_go_by_content, a_lost_lease_takes_nothing_in, runs_are_chosen, odd_paths_stay_as_they_are, large_ingests_are_cut,
        }
        queue {
            claims_are_exclusive, claims_keep_order, due_times_are_kept, a_clock_set_back_stops_nothing, suspects_stand_apart, runs_are_claimed_alone,
            flows_take_turns,
            unclaimed_is_unharmed, tasks_come_back_whole, many_claim_at_once,
        }
        held {
            what_is_held_is_looked_at_when_it_is_full, a_part_of_a_row_may_be_taken, a_look_may_be_put_off,
            rows_come_in_order_and_in_parts, quiet_groups_are_looked_at_in_time, a_clock_set_back_keeps_no_group_open, a_run_that_ends_closes_its_groups,
            the_last_export_of_a_run_closes_its_groups,
            a_persons_run_closes_what_it_added_to, a_deleted_flow_closes_what_it_holds, what_is_held_may_be_abandoned,
            watermarks_tell_how_far_all_has_come, manifests_count_for_what_they_hold,
        }
        settling {
            the_first_settlement_counts, lost_claims_are_fenced, fenced_changes_nothing, all_or_nothing,
            sequences_grow, many_settle_at_once, what_follows_may_be_claimed_along,
        }
        revisions {
            equal_results_add_only_history, revisions_are_in_order_of_arrival, equality_is_with_the_one_before, a_revision_is_as_new_as_its_latest_result,
            two_items_never_share_a_revision, retried_items_add_revisions, collections_are_counted,
        }
        listing {
            datasets_are_listed_in_order, datasets_are_filtered, pages_follow_each_other, names_stay_as_they_are,
        }
        search {
            datasets_are_put_in_order, words_are_found_anywhere, searches_are_filtered, searches_are_paged,
        }
        exports {
            an_export_is_carried_out, equal_results_are_not_exported_again, another_name_is_exported_again,
            another_destination_is_exported_again, occupied_targets_follow_the_policy, refused_exports_are_repeated_alone,
            retries_wait, attempts_of_unknown_end_are_told, lost_leases_finish_nothing, releases_are_intents_too, waiting_releases_can_be_made_due,
            what_is_done_is_done,
        }
        targets {
            collisions_get_numbers, numbers_are_kept, collisions_overwrite, collisions_keep, collisions_fail,
            older_never_overwrites_newer, one_at_a_time_and_in_order, an_older_one_goes_first, many_numbers_are_found,
            a_foreign_target_is_given_up, a_moved_revision_is_not_confused,
        }
        runs { runs_end, open_runs_wait, flows_tell_since_when, runs_count, runs_are_listed }
        letters {
            letters_are_listed, letters_are_filtered, letters_go_in_again, an_edited_letter_goes_in_with_other_bytes,
            only_open_letters_go_in, letters_of_one_flow, letters_are_grouped, letters_are_discarded,
            flows_are_abandoned, letters_fail_again,
        }
        roots { what_is_followed_is_told, what_is_held_and_listed_is_told, many_are_told }
        again {
            historic_arrivals_are_the_newest_of_their_paths, historic_arrivals_of_a_collection,
            a_reprocess_is_fed_part_by_part, a_reprocess_may_be_stopped, a_lost_lease_feeds_nothing,
            repeats_are_known, results_are_remembered, what_was_remembered_first_is_forgotten_first,
        }
        retain {
            sources_go_when_all_is_done, edits_go_with_their_source, sources_stay_while_somebody_may_need_them, what_went_is_not_sent_in_again,
            revisions_go_by_number_and_age, equal_results_bring_revisions_back, revisions_stay_until_they_are_exported,
            history_goes, content_is_found_by_its_hash, versions_are_found_by_their_hash,
        }
        history {
            history_is_of_those_concerned, wide_records_are_found, records_come_back_whole,
            the_latest_are_told_newest_first, what_waits_is_told_by_processor,
            records_are_of_a_run_or_of_a_flow,
        }
        lineage {
            one_of_many_has_a_short_way, a_way_goes_through_what_records_nothing, a_way_goes_through_a_group,
            a_way_goes_through_what_was_sent_in_again, the_last_equal_results_are_named,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::Bench;
    use crate::journal::{Journal, MemoryJournal};

    struct InMemory(Arc<MemoryJournal>);

    #[async_trait]
    impl Bench for InMemory {
        async fn open(&self) -> Arc<dyn Journal> {
            Arc::clone(&self.0) as Arc<dyn Journal>
        }
    }

    #[tokio::test]
    async fn the_journal_in_memory_conforms() {
        super::all(|| InMemory(Arc::default()), false).await;
    }
}
