//! Dead letters.

use std::collections::BTreeSet;

use opendmp_model::fault::{FaultKind, Tries};
use opendmp_model::history::Result as Outcome;
use opendmp_model::ids::{Pass, TaskId};

use super::desk::{Desk, OK, content, fault, file, letter, reader};
use crate::ErrorKind;
use crate::journal::types::*;

/// Makes a dead letter of each path; answers their ids in order.
async fn fail(d: &Desk, paths: &[&str]) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for path in paths {
        let claimed = d.arrive(path).await;
        let settlement = d.failed(&claimed);
        ids.push(settlement.dead_letters[0].id);
        assert_eq!(d.apply(settlement).await.dead, 1);
    }
    ids
}

pub(super) async fn letters_are_listed(d: Desk) {
    let claimed = d.arrive("a.csv").await;
    let item = claimed.task.items[0].clone();
    d.apply(d.failed(&claimed)).await;
    let rows = d.letters(Filter::default()).await;
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    let expected = letter(item.clone(), &claimed.task.to);
    assert_eq!((row.id, row.id), (expected.id, dead_letter_id(item.id, &reader("clean", 0))));
    assert_eq!((row.flow.as_str(), row.flow_id, row.version.as_str()), ("penguins", d.flow, "v1"));
    assert_eq!((row.run, &row.at, &row.item), (claimed.run, &reader("clean", 0), &item));
    assert_eq!((&row.fault, row.attempts, &row.log), (&expected.fault, 3, &expected.log));
    assert_eq!((row.failed, &row.state, row.export_only), (200, &DeadState::Open, false));
    let ids = fail(&d, &["b", "c", "d"]).await;
    let page = d.j().await.dead_letters(Filter { limit: 2, ..Filter::default() }).await.expect(OK);
    assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[2], ids[1]], "newest first");
    // What ends between two pages neither hides nor repeats the others.
    d.j().await.discard(vec![ids[1]], "known", "ada", 300).await.expect(OK);
    let rest = d.j().await.dead_letters(Filter { limit: 2, after: page.next, ..Filter::default() }).await.expect(OK);
    assert_eq!(rest.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[0], row.id]);
    assert_eq!(rest.next, None);
    let bad = Filter { after: Some("7-x".into()), ..Filter::default() };
    assert_eq!(d.j().await.dead_letters(bad).await.expect_err("not a cursor").kind, ErrorKind::Invalid);
}

pub(super) async fn letters_are_filtered(d: Desk) {
    let ids = fail(&d, &["ant.csv", "bee.txt", "Cat.csv"]).await;
    let (otters, version) = d.save("otters", "o1").await;
    let done = d.ingest(Ingest { flow: otters, version, ..d.ingest_of(vec![file("dog.csv", "1")]) }).await;
    let claimed = d.claim_run(done.run).await;
    d.apply(d.failed(&claimed)).await;
    let found = |filter: Filter| async {
        d.letters(filter).await.iter().map(|row| row.item.name.to_string()).collect::<Vec<_>>()
    };
    let none = Filter::default;
    assert_eq!(found(Filter { flow: Some("otters".into()), ..none() }).await, ["dog.csv"]);
    assert_eq!(found(Filter { flow: Some("penguins".into()), ..none() }).await, ["Cat.csv", "bee.txt", "ant.csv"]);
    assert_eq!(found(Filter { run: Some(done.run), ..none() }).await, ["dog.csv"]);
    assert_eq!(found(Filter { name: Some("*.CSV".into()), ..none() }).await, ["dog.csv", "Cat.csv", "ant.csv"]);
    assert_eq!(found(Filter { name: Some("b".into()), limit: 1, ..none() }).await, ["bee.txt"]);
    for id in [ids[1].to_string(), ids[1].to_string()[..4].to_owned(), "2".to_owned(), "2.0-".to_owned()] {
        assert_eq!(found(Filter { id: id.parse().ok(), ..none() }).await, ["bee.txt"], "{id}");
    }
    assert!(found(Filter { id: "2.7".parse().ok(), ..none() }).await.is_empty());
    d.j().await.discard(vec![ids[0]], "known", "ada", 300).await.expect(OK);
    assert_eq!(found(Filter { name: Some("*.csv".into()), ..none() }).await, ["dog.csv", "Cat.csv"]);
    let ended = Filter { name: Some("*.csv".into()), ended: true, ..none() };
    assert_eq!(found(ended).await, ["dog.csv", "Cat.csv", "ant.csv"]);
    assert!(found(Filter { id: "1".parse().ok(), ..none() }).await.is_empty());
    assert_eq!(found(Filter { id: "1".parse().ok(), ended: true, ..none() }).await, ["ant.csv"]);
}

pub(super) async fn letters_go_in_again(d: Desk) {
    let ids = fail(&d, &["a", "b"]).await;
    let letters = d.letters(Filter::default()).await;
    let (run, count) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    assert_eq!((count, d.flow_row().await.dead_letters), (2, 0));
    let row = d.run(run).await;
    assert_eq!((row.trigger.as_str(), row.outstanding, row.arrivals), ("retry of 2 dead letters", 2, 0));
    assert_eq!((row.mode, row.state, row.started), (RunMode::Live, RunState::Running, 400));
    let claimed = d.claim(10).await;
    let items: Vec<_> = claimed.iter().flat_map(|c| &c.task.items).collect();
    assert!(
        claimed.iter().all(|c| c.run == run && c.task.to == reader("clean", 0) && c.task.tries == Tries::default())
    );
    let mut back = items.clone();
    back.sort_by_key(|item| item.id);
    for (item, letter) in back.iter().zip(letters.iter().rev()) {
        assert_eq!((item.id.arrival, item.id.path), (letter.item.id.arrival, letter.item.id.path));
        assert_eq!((item.id.pass, &item.name, item.content), (Pass(1), &letter.item.name, letter.item.content));
    }
    assert_eq!(claimed[0].task.id, TaskId::new(items[0].id, "clean", 0, 0), "derived as any other");
    assert!(d.letters(Filter::default()).await.is_empty());
    let ended = d.letters(Filter { ended: true, ..Filter::default() }).await;
    let retried = DeadState::Retried { pass: Pass(1), at: 400, actor: "ada".to_owned() };
    assert!(ended.iter().all(|row| row.state == retried));
    let history = d.j().await.history(ids[0].arrival).await.expect(OK);
    let last = history.last().expect("a record of the retry");
    assert_eq!((last.actor.as_str(), last.at, last.steps[0].context), ("ada", 400, d.context));
    let entry = last.steps[0].entries.iter().find(|entry| entry.input.arrival == ids[0].arrival).expect("its entry");
    assert_eq!((entry.result, entry.children[0].id.pass), (Outcome::Reentered, Pass(1)));
    assert_eq!(entry.children[0].id.path, entry.input.path);
    let error = d.j().await.reenter(d.reentry(&letters)).await.expect_err("none of them is open");
    assert_eq!(error.kind, ErrorKind::NotFound);
}

pub(super) async fn an_edited_letter_goes_in_with_other_bytes(d: Desk) {
    let ids = fail(&d, &["a", "b"]).await;
    let letters = d.letters(Filter::default()).await;
    let edit = Some(Edit { content: content("mended"), note: Some("a comma".to_owned()) });
    let both = Reentry { edit: edit.clone(), ..d.reentry(&letters) };
    assert_eq!(d.j().await.reenter(both).await.expect_err("two").kind, ErrorKind::Invalid);
    assert_eq!(d.letters(Filter::default()).await.len(), 2, "they are still open");
    let one = letters.iter().find(|letter| letter.id == ids[0]).expect("the first");
    let reentry = Reentry { edit, ..d.reentry(std::slice::from_ref(one)) };
    let (run, count) = d.j().await.reenter(reentry).await.expect(OK);
    assert_eq!(count, 1);
    let claimed = d.claim_run(run).await;
    let item = &claimed.task.items[0];
    assert_eq!((item.content, &item.name, item.id.path), (content("mended"), &one.item.name, one.item.id.path));
    let history = d.j().await.history(ids[0].arrival).await.expect(OK);
    let last = history.last().expect("a record of the retry");
    let entry = &last.steps[0].entries[0];
    assert_eq!((last.actor.as_str(), entry.result, entry.input), ("ada", Outcome::Reentered, one.item.id));
    let made = content("mended");
    assert_eq!(entry.children[0].content, Some((made.hash, made.size)), "what it became");
    let note = entry.note.as_deref().expect("a remark");
    assert!(note.contains(&one.item.content.hash.to_hex()) && note.contains(&made.hash.to_hex()), "{note}");
    // What was put in its place is found, and stays for as long as its source, also when nothing waits any more.
    d.apply(d.dropped(&claimed)).await;
    assert_eq!(d.j().await.content_of(ids[0].arrival, made.hash).await.expect(OK), [made]);
    assert!(super::roots::roots(&d).await.contains(&made));
    assert!(!super::roots::roots(&d).await.contains(&content("other")));
}

pub(super) async fn only_open_letters_go_in(d: Desk) {
    let ids = fail(&d, &["a", "b", "c"]).await;
    d.j().await.discard(vec![ids[1]], "known", "ada", 300).await.expect(OK);
    let (_, second) = d.save("penguins", "v2").await;
    let unknown = TaskId { pass: Pass(9), ..ids[0] };
    let letters = vec![ids[0], ids[1], ids[0], unknown];
    let reentry = Reentry { letters, version: second, ..d.reentry(&[]) };
    let (run, count) = d.j().await.reenter(reentry.clone()).await.expect(OK);
    assert_eq!((count, d.run(run).await.version.as_str()), (1, "v2"), "each once, through the version given");
    assert_eq!(d.claim_run(run).await.version, second);
    assert_eq!(d.letters(Filter::default()).await.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[2]]);
    let missing = Reentry { letters: vec![ids[2]], version: VersionId(99), ..reentry };
    assert_eq!(d.j().await.reenter(missing).await.expect_err("no such version").kind, ErrorKind::NotFound);
    assert_eq!(d.letters(Filter::default()).await.len(), 1, "it is still open");
    let error = d.j().await.reenter(d.reentry(&[])).await.expect_err("none");
    assert_eq!(error.kind, ErrorKind::NotFound);
}

pub(super) async fn letters_of_one_flow(d: Desk) {
    let ids = fail(&d, &["a"]).await;
    let (otters, version) = d.save("otters", "o1").await;
    let done = d.ingest(Ingest { flow: otters, version, ..d.ingest_of(vec![file("b", "1")]) }).await;
    let claimed = d.claim_run(done.run).await;
    d.apply(d.failed(&claimed)).await;
    let both = d.letters(Filter::default()).await;
    let error = d.j().await.reenter(d.reentry(&both)).await.expect_err("of two flows");
    assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Invalid, true));
    assert_eq!(d.letters(Filter::default()).await.len(), 2, "nothing was done");
    // A flow that was deleted and saved again takes its letters in.
    assert_eq!(d.change(d.flow, FlowState::Deleting).await.expect(OK).state, FlowState::Deleted);
    let (again, version) = d.save("penguins", "v1").await;
    assert_eq!(d.j().await.flow(again).await.expect(OK).dead_letters, 1, "and counts them");
    let (run, _) = d.j().await.reenter(Reentry { letters: ids, version, ..d.reentry(&[]) }).await.expect(OK);
    let claimed = d.claim_run(run).await;
    assert_eq!((claimed.flow, claimed.version), (again, version));
    assert_eq!((d.flow_row().await.dead_letters, d.flow_row().await.outstanding), (0, 0));
    assert_eq!(d.j().await.flow(again).await.expect(OK).outstanding, 1);
}

pub(super) async fn letters_are_discarded(d: Desk) {
    let ids = fail(&d, &["a", "b"]).await;
    let count = d.j().await.discard(vec![ids[0], ids[0]], "known", "ada", 300).await.expect(OK);
    assert_eq!((count, d.flow_row().await.dead_letters), (1, 1));
    let ended = d.letters(Filter { ended: true, ..Filter::default() }).await;
    let state = DeadState::Discarded { reason: "known".to_owned(), at: 300, actor: "ada".to_owned() };
    assert_eq!(
        ended.iter().map(|row| (row.id, row.state.clone())).collect::<Vec<_>>(),
        [(ids[1], DeadState::Open), (ids[0], state)]
    );
    assert_eq!(d.j().await.discard(vec![ids[0]], "again", "bob", 301).await.expect(OK), 0);
    assert_eq!(d.j().await.discard(vec![], "none", "bob", 301).await.expect(OK), 0);
}

pub(super) async fn flows_are_abandoned(d: Desk) {
    let under_way = d.arrive("under way").await;
    for paths in [["a", "b"], ["c", "d"]] {
        d.ingest(d.ingest_of(paths.map(|path| file(path, "1")).to_vec())).await;
    }
    let (otters, version) = d.save("otters", "o1").await;
    d.ingest(Ingest { flow: otters, version, ..d.ingest_of(vec![file("e", "1")]) }).await;
    d.change(d.flow, FlowState::Deleting).await.expect(OK);
    let first = d.j().await.abandon(d.flow, 1, "ada", 300).await.expect(OK);
    let rest = d.j().await.abandon(d.flow, 10, "ada", 301).await.expect(OK);
    assert_eq!((first, rest), (2, 2), "items of so many tasks");
    assert_eq!(d.j().await.abandon(d.flow, 10, "ada", 302).await.expect(OK), 0, "what is claimed is let be");
    let letters = d.letters(Filter { flow: Some("penguins".into()), ..Filter::default() }).await;
    let names: BTreeSet<&str> = letters.iter().map(|row| &*row.item.name).collect();
    assert_eq!(names, BTreeSet::from(["a", "b", "c", "d"]));
    assert!(letters.iter().all(|row| row.fault.kind == FaultKind::Abandoned && row.at == reader("clean", 0)));
    assert!(letters.iter().all(|row| row.id == dead_letter_id(row.item.id, &row.at)));
    let runs = d.j().await.runs(Filter { flow: Some("penguins".into()), ..Filter::default() }).await.expect(OK).rows;
    assert_eq!(runs.iter().map(|run| (run.dead, run.outstanding)).collect::<Vec<_>>(), [(2, 0), (2, 0), (0, 1)]);
    let flow = d.flow_row().await;
    assert_eq!((flow.state, flow.outstanding, flow.dead_letters), (FlowState::Deleting, 1, 4));
    d.apply(d.dropped(&under_way)).await;
    assert_eq!(d.flow_row().await.state, FlowState::Deleted);
    assert_eq!(d.claim(10).await.len(), 1, "the other flow goes on");
}

pub(super) async fn letters_fail_again(d: Desk) {
    let ids = fail(&d, &["a"]).await;
    for pass in 1..=3 {
        let letters = d.letters(Filter::default()).await;
        let (run, _) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
        let claimed = d.claim_run(run).await;
        assert_eq!(claimed.task.items[0].id.pass, Pass(pass));
        let again = letter(claimed.task.items[0].clone(), &claimed.task.to);
        let again = NewDeadLetter { fault: fault(&format!("pass {pass}")), ..again };
        d.apply(Settlement { dead_letters: vec![again], ..d.dropped(&claimed) }).await;
        assert_eq!(d.flow_row().await.dead_letters, 1);
    }
    let all = d.letters(Filter { ended: true, ..Filter::default() }).await;
    assert_eq!(all.len(), 4, "each pass is a letter of its own");
    assert_eq!((all[3].id, all[0].id.pass, all[0].fault.message.as_str()), (ids[0], Pass(3), "pass 3"));
    assert!(all.iter().all(|row| row.id.arrival == ids[0].arrival));
}

pub(super) async fn letters_are_grouped(d: Desk) {
    let mut ids = Vec::new();
    let messages = ["row 1 is 'bad'", "row 22 is 'worse'", "no column `price`", "row 3 is 'bad'"];
    for (n, message) in messages.into_iter().enumerate() {
        let claimed = d.arrive(&format!("file {n}.csv")).await;
        let mut settlement = d.failed(&claimed);
        settlement.at = 200 + n as i64;
        settlement.dead_letters[0].fault = fault(message);
        ids.push(settlement.dead_letters[0].id);
        d.apply(settlement).await;
    }
    let (otters, version) = d.save("otters", "o1").await;
    let done = d.ingest(Ingest { flow: otters, version, ..d.ingest_of(vec![file("dog.csv", "1")]) }).await;
    let claimed = d.claim_run(done.run).await;
    let mut settlement = d.failed(&claimed);
    settlement.dead_letters[0].fault = fault(messages[0]);
    d.apply(settlement).await;
    let groups = |filter: Filter| async { d.j().await.dead_groups(filter).await.expect(OK) };
    let rows = groups(Filter::default()).await.rows;
    let mut told: Vec<_> = rows.iter().map(|row| (row.flow.as_str(), row.message.as_str(), row.count)).collect();
    told.sort_unstable();
    let expected = [("otters", "row … is '…'", 1), ("penguins", "no column `…`", 1), ("penguins", "row … is '…'", 3)];
    assert_eq!(told, expected);
    assert_eq!(
        (rows[0].count, rows[0].first, rows[0].last, rows[0].sample),
        (3, 200, 203, ids[3]),
        "the largest first"
    );
    assert_eq!((rows[0].code.as_str(), rows[0].processor.as_str()), ("ValueError", "clean"));
    // Filters, and pages.
    let of = |flow: &str, text: &str| Filter {
        flow: Some(flow.to_owned()),
        text: Some(text.to_owned()),
        ..Filter::default()
    };
    assert_eq!(groups(of("penguins", "ROW value")).await.rows.len(), 1);
    assert_eq!(groups(of("otters", "column")).await.rows.len(), 0);
    let mut seen = Vec::new();
    let mut filter = Filter { limit: 1, ..Filter::default() };
    loop {
        let page = groups(filter.clone()).await;
        assert_eq!(page.rows.len(), 1);
        seen.extend(page.rows.into_iter().map(|row| row.group));
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, rows.iter().map(|row| row.group).collect::<Vec<_>>());
    for bad in ["", "1", "x-00", "1-zz"] {
        let asked = Filter { after: Some(bad.to_owned()), ..Filter::default() };
        assert_eq!(d.j().await.dead_groups(asked).await.expect_err("not a cursor").kind, ErrorKind::Invalid, "{bad}");
    }
    // Letters of a group, and by words.
    let group = Some(rows[0].group);
    let found = |filter: Filter| async { d.letters(filter).await.iter().map(|row| row.id).collect::<Vec<_>>() };
    assert_eq!(found(Filter { group, ..Filter::default() }).await, [ids[3], ids[1], ids[0]]);
    let words = |text: &str| Filter { text: Some(text.to_owned()), ..Filter::default() };
    assert_eq!(found(Filter { group, ..words("WORSE csv") }).await, [ids[1]]);
    assert_eq!(found(words("column")).await, [ids[2]]);
    assert_eq!(found(words("file 2")).await, [ids[2], ids[1]], "in the name, or in what is said");
    assert!(
        found(Filter { group: Some(opendmp_model::ids::PathHash::root("x")), ..Filter::default() }).await.is_empty()
    );
    // What ends is not counted any more, and what fails again is counted again.
    d.j().await.discard(vec![ids[0]], "known", "ada", 300).await.expect(OK);
    let letters = d.letters(words("worse")).await;
    let (run, _) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    let rows = groups(of("penguins", "row")).await.rows;
    assert_eq!((rows[0].count, rows[0].first, rows[0].sample), (1, 203, ids[3]));
    assert_eq!(found(Filter { group, ended: true, ..Filter::default() }).await, [ids[3], ids[1], ids[0]]);
    let claimed = d.claim_run(run).await;
    let mut settlement = d.failed(&claimed);
    settlement.dead_letters[0].fault = fault("row 9 is 'bad'");
    d.apply(settlement).await;
    assert_eq!(groups(of("penguins", "row")).await.rows[0].count, 2);
}
