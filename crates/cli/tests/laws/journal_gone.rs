//! A journal, content or lock that is missing, empty, cut short, replaced or taken back, before a start and while a server
//! works: nothing begins anew, nothing is freed, nothing is settled into a file that is gone, and a restore brings it back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Place, files, hash, pause};
use crate::mounts::{bind, in_own_mounts, mount, unmount};

const FLOW: &str = "\
name: Torture
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - { id: results, type: collect, inputs: [inbox], collection: Torture, destination: { type: folder, path: ./out } }
";

fn put(place: &Place, name: &str, content: &str) {
    fs::write(place.path(&format!("inbox/.{name}")), content).unwrap();
    fs::rename(place.path(&format!("inbox/.{name}")), place.path(&format!("inbox/{name}"))).unwrap();
}

/// A data directory with datasets in packs and files, and a backup of it.
fn place() -> Place {
    let place = Place::new();
    place.write_flow(FLOW);
    for n in 0..5 {
        put(&place, &format!("small-{n}.txt"), &format!("small {n}"));
    }
    put(&place, "large.txt", &"large ".repeat(100_000));
    place.ok(&["run", "flow.yaml"]);
    assert_eq!(place.datasets().len(), 6);
    place.ok(&["backup", place.path("backup").to_str().unwrap()]);
    place
}

/// Every stored byte, by path.
fn content(place: &Place) -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, out: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), out),
                false => _ = out.insert(entry.path(), hash(&fs::read(entry.path()).unwrap())),
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(&place.path("data/content/packs"), &mut out);
    walk(&place.path("data/content/files"), &mut out);
    assert!(out.len() > 1);
    out
}

/// A verb that fails with these words, and says what can be done.
fn refused(place: &Place, arguments: &[&str], words: &str) {
    let output = place.run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} does not fail: {}", String::from_utf8_lossy(&output.stdout));
    assert!(text.contains(words) && text.contains("hint:"), "{arguments:?}: {text}");
}

/// Everything that could work or free anything is refused, and nothing stored is touched.
fn nothing_goes(place: &Place, before: &BTreeMap<PathBuf, String>, words: &str) {
    for arguments in [
        &["gc"][..],
        &["gc", "--dry-run"],
        &["run", "flow.yaml"],
        &["flows", "enable", "flow.yaml"],
        &["datasets", "list"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["gc"],
    ] {
        refused(place, arguments, words);
        assert_eq!(&content(place), before, "{arguments:?}");
    }
}

/// A restore into a new directory brings everything back.
fn restores(place: &Place) {
    let again = place.path("again");
    let again = again.to_str().unwrap();
    place.ok(&["restore", place.path("backup").to_str().unwrap(), "--data-dir", again]);
    let rows = place.json(&["datasets", "list", "--data-dir", again]);
    assert_eq!(rows.len(), 6);
    place.ok(&["gc", "--data-dir", again]);
    place.ok(&["verify", "--data-dir", again]);
    for row in rows {
        let got = place.run(&["datasets", "get", row["id"].as_str().unwrap(), "--data-dir", again]);
        assert_eq!(row["hash"], hash(&got.stdout).as_str());
    }
    fs::remove_dir_all(again).unwrap();
}

fn journal(place: &Place) -> PathBuf {
    place.path("data/journal.db")
}

#[test]
fn a_journal_that_is_missing_or_not_its_own_is_no_beginning() {
    let place = place();
    let before = content(&place);
    let aside = place.path("aside.db");
    fs::rename(journal(&place), &aside).unwrap();
    nothing_goes(&place, &before, "is missing");
    assert!(!journal(&place).exists(), "none was made");
    // The name alone says that there was one.
    fs::rename(place.path("data/content"), place.path("content-aside")).unwrap();
    refused(&place, &["gc"], "is missing");
    fs::rename(place.path("content-aside"), place.path("data/content")).unwrap();
    // And so does content alone.
    fs::rename(place.path("data/instance"), place.path("instance-aside")).unwrap();
    nothing_goes(&place, &before, "is missing");
    fs::rename(place.path("instance-aside"), place.path("data/instance")).unwrap();

    fs::write(journal(&place), "").unwrap();
    nothing_goes(&place, &before, "is empty");
    for length in [50, 4_096, aside.metadata().unwrap().len() / 2 / 4_096 * 4_096, aside.metadata().unwrap().len() - 1]
    {
        fs::copy(&aside, journal(&place)).unwrap();
        fs::File::options().write(true).open(journal(&place)).unwrap().set_len(length).unwrap();
        nothing_goes(&place, &before, "");
    }
    fs::write(journal(&place), "another program's file, long enough to be one".repeat(100)).unwrap();
    nothing_goes(&place, &before, "journal.db");

    // Of another data directory, used and unused.
    let other = place.path("other");
    place.ok(&["run", "flow.yaml", "--data-dir", other.to_str().unwrap()]);
    fs::copy(other.join("journal.db"), journal(&place)).unwrap();
    nothing_goes(&place, &before, "another data directory");
    fs::rename(place.path("data/instance"), place.path("instance-aside")).unwrap();
    nothing_goes(&place, &before, "belongs to the journal");
    fs::remove_file(place.path("data/instance")).unwrap_or_default();
    fs::rename(place.path("instance-aside"), place.path("data/instance")).unwrap();
    restores(&place);

    // The right one goes on, without a word.
    fs::copy(&aside, journal(&place)).unwrap();
    assert_eq!(place.datasets().len(), 6);
    place.ok(&["gc"]);
    assert_eq!(place.datasets().len(), 6);
    place.ok(&["verify"]);
}

#[test]
fn a_journal_that_was_taken_back_frees_nothing() {
    let mut place = place();
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(suffix.is_empty(), place.path(&format!("data/journal.db{suffix}")).exists());
    }
    let newest = place.path("newest.db");
    put(&place, "later.txt", "stored after the backup");
    place.ok(&["run", "flow.yaml"]);
    fs::copy(journal(&place), &newest).unwrap();
    let before = content(&place);
    // By hand, as somebody might who knows where the backup has its journal.
    fs::copy(place.path("backup/journal.db"), journal(&place)).unwrap();
    nothing_goes(&place, &before, "older than its content");
    fs::copy(&newest, journal(&place)).unwrap();
    assert_eq!(place.datasets().len(), 7);
    place.ok(&["verify"]);
    // It is meant: then the rest is garbage.
    fs::copy(place.path("backup/journal.db"), journal(&place)).unwrap();
    fs::remove_file(place.path("data/content/journal")).unwrap();
    place.start_and_wait();
    assert_eq!(place.datasets().len(), 6);
    place.stop();
    place.ok(&["verify"]);
    restores(&place);
}

#[test]
fn content_that_is_missing_is_no_beginning() {
    let place = place();
    let aside = place.path("content-aside");
    fs::rename(place.path("data/content"), &aside).unwrap();
    for mounted in [false, true] {
        if mounted {
            // What a disk leaves that is not mounted.
            fs::create_dir(place.path("data/content")).unwrap();
        }
        for arguments in
            [&["gc"][..], &["run", "flow.yaml"], &["datasets", "list"], &["serve", "--listen", "127.0.0.1:0"]]
        {
            refused(&place, arguments, "the stored content in");
        }
        assert_eq!(files(&place.path("data/content")).len(), 0);
    }
    fs::remove_dir(place.path("data/content")).unwrap();
    fs::rename(&aside, place.path("data/content")).unwrap();
    place.ok(&["gc"]);
    assert_eq!(place.datasets().len(), 6);
    place.ok(&["verify"]);
}

/// Whoever could store, settle or free anything is refused with these words; who only looks is not.
fn lacking(place: &Place, words: &str) {
    for arguments in [&["gc"][..], &["run", "flow.yaml"], &["serve", "--listen", "127.0.0.1:0"]] {
        refused(place, arguments, words);
        refused(place, arguments, "content.reach");
    }
    let said = place.run(&["doctor", "--format", "json"]);
    assert!(!said.stdout.is_empty());
}

#[test]
fn content_of_before_is_not_taken_for_the_one_of_now() {
    let mut place = place();
    let (older, newer, now) = (place.path("older"), place.path("newer"), place.path("data/content"));
    let copied = std::process::Command::new("cp").arg("-a").args([&now, &older]).status().unwrap();
    assert!(copied.success());
    put(&place, "later.txt", "stored after the copy");
    place.ok(&["run", "flow.yaml"]);
    let before = content(&place);
    fs::rename(&now, &newer).unwrap();
    fs::rename(&older, &now).unwrap();
    put(&place, "waits.txt", "not taken in");
    lacking(&place, "is older than its journal");
    assert!(!place.run(&["verify"]).status.success());
    assert_eq!(place.datasets().len(), 7, "what is recorded can be looked at");
    assert_eq!(files(&place.path("inbox")).len(), 1);
    fs::rename(&now, &older).unwrap();
    fs::rename(&newer, &now).unwrap();
    assert_eq!(content(&place), before);
    place.start_and_wait();
    place.stop();
    place.ok(&["run", "flow.yaml"]);
    assert_eq!(place.datasets().len(), 8);
    place.ok(&["gc"]);
    place.ok(&["verify"]);
}

#[test]
fn packs_and_files_that_are_missing_are_told_at_the_start() {
    let mut place = place();
    put(&place, "later.txt", "a pack of its own");
    place.ok(&["run", "flow.yaml"]);
    let before = content(&place);
    let packs: Vec<PathBuf> =
        before.keys().filter(|path| path.extension().is_some_and(|it| it == "pack")).cloned().collect();
    assert!(packs.len() > 1);
    let aside = place.path("aside");
    for part in packs.iter().cloned().chain([place.path("data/content/packs"), place.path("data/content/files")]) {
        fs::rename(&part, &aside).unwrap();
        lacking(&place, "stored content is missing");
        assert!(!place.run(&["verify"]).status.success());
        assert!(!part.exists(), "it is not made in its place");
        fs::rename(&aside, &part).unwrap();
        place.ok(&["gc"]);
        assert_eq!(content(&place), before);
    }
    // Cut short: of the highest, which alone may grow.
    let last = packs.last().unwrap();
    fs::copy(last, &aside).unwrap();
    fs::File::options().write(true).open(last).unwrap().set_len(60).unwrap();
    lacking(&place, "has 60 bytes");
    fs::copy(&aside, last).unwrap();
    place.ok(&["verify"]);
    // A backup saves the rest, and it is gone on without it where that is meant.
    fs::remove_file(&packs[0]).unwrap();
    lacking(&place, "stored content is missing");
    let backup = place.run(&["backup", place.path("another").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&backup.stderr).contains("everything else is backed up"), "{backup:?}");
    fs::remove_file(place.path("data/content.reach")).unwrap();
    place.start_and_wait();
    place.stop();
    place.ok(&["gc"]);
    let got = place.ok(&["datasets", "get", place.datasets()["later.txt"]["id"].as_str().unwrap()]);
    assert_eq!(got, "a pack of its own");
}

#[test]
fn what_can_be_made_again_may_be_missing() {
    let place = place();
    let instance = fs::read(place.path("data/instance")).unwrap();
    for name in ["instance", "search.db", "content/journal", "lock", "content/lock", "content.reach"] {
        fs::remove_file(place.path("data").join(name)).unwrap_or_default();
    }
    place.ok(&["gc"]);
    assert_eq!(place.datasets().len(), 6);
    assert_eq!(fs::read(place.path("data/instance")).unwrap(), instance, "the journal knows it");
    put(&place, "more.txt", "more");
    place.ok(&["run", "flow.yaml"]);
    assert_eq!(place.datasets().len(), 7);
    place.ok(&["verify"]);
}

/// What the server reports, as one text.
fn issues(place: &Place) -> String {
    String::from_utf8_lossy(&place.run(&["doctor", "--format", "json"]).stdout).into_owned()
}

/// A server that has done all it had to do; `prepare` is given its data directory before the first start.
fn at_work(prepare: impl Fn(&Path)) -> Place {
    let mut place = place();
    prepare(&place.path("data"));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    put(&place, "before.txt", "before");
    place.wait_for("it works", |place| place.path("out/before.txt").exists());
    place.wait_for("nothing is set aside", |place| files(&place.path("inbox")).is_empty());
    place.wait_for("nothing is under way", |place| place.json(&["flows", "list"])[0]["outstanding"] == 0);
    place
}

/// Takes something away while a server works, drops a file, and puts it back: nothing is settled, released or freed
/// meanwhile, and all goes on afterwards.
fn taken_away(what: &str, words: &str, take: impl Fn(&Path), back: impl Fn(&Path)) {
    let mut place = at_work(|_| ());
    let before = content(&place);
    take(&place.path("data"));
    put(&place, "during.txt", "what must not be lost");
    place.wait_for("it is reported", |place| issues(place).contains(words));
    let status = place.run(&["gc"]);
    assert!(!status.status.success(), "{what}: {}", String::from_utf8_lossy(&status.stdout));
    assert!(!place.path("out/during.txt").exists(), "{what}: nothing was settled");
    // Its bytes are at their source, wherever they were set aside.
    let at_source = walked(&place.path("inbox"));
    assert!(at_source.iter().any(|content| content == b"what must not be lost"), "{what}: {at_source:?}");
    back(&place.path("data"));
    for (path, content) in &before {
        let now = hash(&fs::read(path).unwrap_or_default());
        assert!(path.extension().is_some_and(|it| it == "pack") || now == *content, "{what}: {}", path.display());
    }
    place.wait_for("it goes on", |place| place.path("out/during.txt").exists());
    place.wait_for("it is well", |place| !issues(place).contains(words));
    place.ok(&["gc"]);
    place.stop();
    assert_eq!(place.datasets().len(), 8, "{what}");
    place.ok(&["verify"]);
}

/// The contents of all files below a folder.
fn walked(folder: &Path) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = files(folder).into_values().collect();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            out.extend(walked(&entry.path()));
        }
    }
    out
}

fn rename(data: &Path, from: &str, to: &str) {
    fs::rename(data.join(from), data.join(to)).unwrap();
}

#[test]
fn a_journal_that_is_removed_while_a_server_works_stops_it() {
    let words = "journal.db was removed";
    taken_away(
        "removed",
        words,
        |data| rename(data, "journal.db", "../gone.db"),
        |data| rename(data, "../gone.db", "journal.db"),
    );
}

#[test]
fn a_journal_that_is_replaced_while_a_server_works_stops_it() {
    let replace = |data: &Path| {
        rename(data, "journal.db", "../gone.db");
        fs::copy(data.join("../backup/journal.db"), data.join("journal.db")).unwrap();
    };
    taken_away("replaced", "journal.db was replaced", replace, |data| rename(data, "../gone.db", "journal.db"));
}

#[test]
fn a_log_that_is_removed_while_a_server_works_stops_it() {
    let words = "journal.db-wal was removed";
    taken_away(
        "log",
        words,
        |data| rename(data, "journal.db-wal", "../gone"),
        |data| rename(data, "../gone", "journal.db-wal"),
    );
}

#[test]
fn content_that_is_removed_while_a_server_works_is_not_collected() {
    let mut place = place();
    place.start_and_wait();
    for replaced in [false, true] {
        fs::rename(place.path("data/content"), place.path("gone")).unwrap();
        if replaced {
            fs::create_dir_all(place.path("data/content/packs")).unwrap();
        }
        refused(&place, &["gc"], "was removed or replaced");
        place.wait_for("it is reported", |place| issues(place).contains("was removed or replaced"));
        if replaced {
            fs::remove_dir_all(place.path("data/content")).unwrap();
        }
        fs::rename(place.path("gone"), place.path("data/content")).unwrap();
        place.wait_for("it is well", |place| !issues(place).contains("was removed or replaced"));
    }
    place.ok(&["gc"]);
    place.stop();
    assert_eq!(place.datasets().len(), 6);
    place.ok(&["verify"]);
}

/// Content goes away while a server works and files come in: nothing is ingested, nothing is made below `shown`, which is
/// what is at its path meanwhile; and when it is back, all is processed. Looks longer than a retry takes.
fn content_is_away(words: &str, shown: &str, prepare: impl Fn(&Path), take: impl Fn(&Path), back: impl Fn(&Path)) {
    let mut place = at_work(prepare);
    let text = |n: usize| format!("file {n} ").repeat(if n.is_multiple_of(5) { 60_000 } else { 10 });
    take(&place.path("data"));
    let there = walked(&place.path(shown));
    for n in 0..20 {
        put(&place, &format!("during-{n}.txt"), &text(n));
        pause(100);
    }
    place.wait_for("it is reported", |place| issues(place).contains(words));
    pause(6_000);
    assert!(issues(&place).contains(words), "{}", issues(&place));
    assert!(walked(&place.path(shown)) == there, "something is stored in its place");
    assert_eq!(files(&place.path("out")).len(), 7, "nothing came out");
    let at_source = walked(&place.path("inbox"));
    let missing: Vec<usize> = (0..20).filter(|n| !at_source.contains(&text(*n).into_bytes())).collect();
    assert!(missing.is_empty(), "these are no longer at their source: {missing:?}");
    back(&place.path("data"));
    place.wait_for("all is processed", |place| files(&place.path("out")).len() == 27);
    place.wait_for("it is well", |place| !issues(place).contains(words));
    place.settle_down();
    assert!(place.json(&["dead-letters", "list"]).is_empty());
    place.ok(&["verify"]);
    place.ok(&["gc"]);
    place.stop();
    place.ok(&["verify"]);
    for (name, row) in place.datasets() {
        let got = place.run(&["datasets", "get", row["id"].as_str().unwrap()]);
        assert_eq!(row["hash"], hash(&got.stdout).as_str(), "{name}");
    }
    place.ok(&["backup", place.path("another").to_str().unwrap()]);
}

const AWAY: &str = "was removed or replaced while it was in use";

#[test]
fn content_that_is_moved_away_while_a_server_works_takes_nothing_in() {
    let take = |data: &Path| rename(data, "content", "../gone");
    content_is_away(AWAY, "data/content", |_| {}, take, |data| rename(data, "../gone", "content"));
}

#[test]
fn content_that_is_made_anew_while_a_server_works_takes_nothing_in() {
    for copied in [false, true] {
        let take = |data: &Path| {
            rename(data, "content", "../gone");
            if copied {
                for folder in ["packs", "files", "tmp"] {
                    fs::create_dir_all(data.join("content").join(folder)).unwrap();
                }
                for file in ["format", "journal", "lock"] {
                    fs::copy(data.join("../gone").join(file), data.join("content").join(file)).unwrap();
                }
            } else {
                fs::create_dir(data.join("content")).unwrap();
            }
        };
        let back = |data: &Path| {
            fs::remove_dir_all(data.join("content")).unwrap();
            rename(data, "../gone", "content");
        };
        content_is_away(AWAY, "data/content", |_| {}, take, back);
    }
}

#[test]
fn content_that_is_unmounted_while_a_server_works_takes_nothing_in() {
    in_own_mounts(|| {
        // Of a file system of its own, which is kept alive at another place.
        let prepare = |data: &Path| {
            let disk = data.join("../disk");
            fs::create_dir(&disk).unwrap();
            mount(&disk, 200);
            let copied = std::process::Command::new("cp").arg("-a").arg(data.join("content/.")).arg(&disk).status();
            assert!(copied.unwrap().success());
            rename(data, "content", "../below");
            fs::create_dir(data.join("content")).unwrap();
            bind(&disk, &data.join("content"));
        };
        let back = |data: &Path| bind(&data.join("../disk"), &data.join("content"));
        content_is_away(AWAY, "data/content", prepare, |data| unmount(&data.join("content")), back);
    });
}

/// Copies a journal with the files beside it, in the place of another.
fn copy_journal(place: &Place, from: &str, to: &str) {
    fs::create_dir_all(place.path(to)).unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let (from, to) = (place.path(from).join(name), place.path(to).join(name));
        let _ = fs::remove_file(&to);
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }
}

/// The journal was copied just after the content had followed it, and the server was killed soon after.
#[test]
fn an_older_journal_is_told_after_a_kill() {
    let mut place = Place::new();
    place.write_flow(FLOW);
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    let is_out = |place: &Place, name: &str| place.path("out").join(name).exists();
    let followed = |place: &Place| fs::read_to_string(place.path("data/content/journal")).unwrap_or_default();
    put(&place, "before", &"large ".repeat(100_000));
    place.wait_for("the first one is out", |place| is_out(place, "before"));
    let at = followed(&place);
    place.wait_for("the content follows the journal", |place| followed(place) != at);
    copy_journal(&place, "data", "older");
    for n in 0..10 {
        let name = format!("after-{n}");
        put(&place, &name, &name);
        place.wait_for("one more is out", |place| is_out(place, &name));
    }
    place.kill();
    let before = content(&place);
    copy_journal(&place, "data", "newest");
    copy_journal(&place, "older", "data");
    // Than its content, or than it was itself: that depends on when its log was copied into it.
    nothing_goes(&place, &before, "is older than");
    // As it says, to go on with the older one: then it is the content that knows more.
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(place.path(&format!("data/journal.db{end}")));
    }
    nothing_goes(&place, &before, "the journal is older than its content");
    copy_journal(&place, "newest", "data");
    place.ok(&["gc"]);
    place.ok(&["verify"]);
    assert_eq!(place.datasets().len(), 11);
}

/// SQLite would lay the newer log over the older journal, which has the newest number then, and lacks what came between.
#[test]
fn an_older_journal_beside_a_newer_log_is_told() {
    let mut place = place();
    place.ok(&["flows", "enable", "flow.yaml"]);
    let is_out = |place: &Place, name: &str| place.path("out").join(name).exists();
    for round in ["then", "now"] {
        place.start_and_wait();
        for n in 0..10 {
            let name = format!("{round}-{n}");
            put(&place, &name, &name.repeat(5_000));
            place.wait_for("one more is out", |place| is_out(place, &name));
        }
        // What came is in the journal itself, and the log begins anew.
        if round == "then" { place.stop() } else { place.kill() }
    }
    let before = content(&place);
    let (journal, newest) = (place.path("data/journal.db"), place.path("newest.db"));
    fs::rename(&journal, &newest).unwrap();
    fs::copy(place.path("backup/journal.db"), &journal).unwrap();
    nothing_goes(&place, &before, "`journal.db` is older than it was");
    fs::rename(&newest, &journal).unwrap();
    place.ok(&["gc"]);
    place.ok(&["verify"]);
    assert_eq!(place.datasets().len(), 26);
}

#[test]
fn packs_and_files_are_not_mounted_by_themselves() {
    in_own_mounts(|| {
        let place = place();
        for folder in ["packs", "files"] {
            let (disk, at) = (place.path("disk"), place.path("data/content").join(folder));
            fs::rename(&at, &disk).unwrap();
            fs::create_dir(&at).unwrap();
            bind(&disk, &at);
            refused(&place, &["gc"], "is mounted by itself");
            unmount(&at);
            fs::remove_dir(&at).unwrap();
            fs::rename(&disk, &at).unwrap();
        }
        place.ok(&["verify"]);
    });
}

#[test]
fn a_journal_that_is_cut_short_while_a_server_works_frees_nothing() {
    let mut place = place();
    place.start_and_wait();
    let before = content(&place);
    fs::File::options().write(true).open(journal(&place)).unwrap().set_len(0).unwrap();
    assert!(!place.run(&["gc"]).status.success());
    place.wait_for("it is reported", |place| issues(place).contains("cut short"));
    place.kill();
    nothing_goes(&place, &before, "");
    assert_eq!(content(&place), before);
    restores(&place);
}

/// Pages of the file turn into something else, as a failing disk or another program may do it: what is met first is told
/// for as long as the server lives, and from then on nothing is recorded, released or freed.
#[test]
fn a_journal_that_is_damaged_while_a_server_works_stops_it() {
    use std::os::unix::fs::FileExt;

    let mut place = at_work(|_| ());
    // Its log is empty after that.
    place.stop();
    place.start_and_wait();
    let before = content(&place);
    let file = fs::File::options().write(true).open(journal(&place)).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    (1..pages).for_each(|page| file.write_all_at(&[0xa5; 4096], page * 4096).unwrap());
    put(&place, "during.txt", "what must not be lost");
    place.wait_for("it is reported", |place| issues(place).contains("the journal is damaged"));
    assert!(!place.run(&["gc"]).status.success());
    assert!(!place.path("out/during.txt").exists(), "nothing was settled");
    assert!(walked(&place.path("inbox")).iter().any(|content| content == b"what must not be lost"));
    place.kill();
    assert_eq!(content(&place), before);
    restores(&place);
}

#[test]
fn a_lock_holds_by_more_than_its_name() {
    let mut place = place();
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    for _ in 0..2 {
        fs::remove_file(place.path("data/lock")).unwrap();
        fs::remove_file(place.path("data/content/lock")).unwrap_or_default();
        // So that only the lock stands in the way; the server makes both again.
        fs::remove_file(place.path("data/opendmp.sock")).unwrap();
        refused(&place, &["serve", "--listen", "127.0.0.1:0"], "in use by another opendmp");
        place.wait_for("the socket is made again", |place| place.path("data/opendmp.sock").exists());
        place.wait_for("the file is made again", |place| {
            let pid = fs::read_to_string(place.path("data/lock")).unwrap_or_default();
            pid.trim() == place.pid().to_string()
        });
    }
    place.stop();
}
