//! What is damaged is told, and nothing is silently wrong: on the real binary, in a data directory that a killed server
//! left. Flipped bytes of content and truncated packs are `backup`'s.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use serde_json::Value;

use crate::place::{Place, until};

const FLOW: &str = "\
name: Damage
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - { id: shelf, type: collect, inputs: [inbox], collection: Damage }
";

/// Three datasets of a server that was killed: what it did last is in the journal's log.
fn killed() -> Place {
    let place = Place::new();
    place.write("flow.yaml", FLOW);
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    for n in 0..3 {
        place.write(&format!("inbox/{n}.txt"), format!("file {n}"));
        until("it is collected", || place.rows(&["datasets", "list"]).len() == n + 1);
    }
    until("all is done", || place.rows(&["flows", "list"])[0]["outstanding"] == 0);
    drop(server);
    place
}

fn told(place: &Place, arguments: &[&str], what: &str) {
    let done = place.run(arguments).exits(1);
    assert!(done.err.contains(what) && done.err.contains("hint: "), "{}", done.err);
}

#[test]
fn a_cut_log_of_the_journal_is_told() {
    let place = killed();
    let log = place.data.join("journal.db-wal");
    let length = fs::metadata(&log).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    let before = fs::read(&log).unwrap();
    for cut in [length - 4_000, length / 2, 0] {
        file.set_len(cut).unwrap();
        // Nobody goes on from an earlier moment without a word, however often it is tried.
        let what = "`journal.db-wal` is damaged";
        for arguments in
            [&["verify"][..], &["datasets", "list"], &["serve", "--listen", "127.0.0.1:0"], &["backup", "b"]]
        {
            told(&place, arguments, what);
        }
        let verified = place.run(&["verify", "--format", "json"]).exits(1).json();
        assert!(verified["journal_faults"][0].as_str().unwrap().contains(what), "{verified}");
    }
    // A byte in the middle, where SQLite would stop without a word.
    file.write_all_at(&before, 0).unwrap();
    file.write_all_at(&[before[length as usize / 2] ^ 1], length / 2).unwrap();
    told(&place, &["datasets", "list"], "`journal.db-wal` is damaged");
    // Whole again, all is there; and the hint goes on from an earlier moment.
    file.write_all_at(&before, 0).unwrap();
    assert_eq!(place.rows(&["datasets", "list"]).len(), 3);
}

#[test]
fn a_journal_that_is_older_than_its_content_is_told() {
    let place = Place::new();
    place.write("flow.yaml", FLOW);
    let journal = place.data.join("journal.db");
    let collect = |name: &str| {
        place.write(&format!("inbox/{name}"), name);
        place.ok(&["run", "flow.yaml"]);
    };
    collect("0.txt");
    place.ok(&["verify"]);
    let older = fs::read(&journal).unwrap();
    collect("1.txt");
    let newer = fs::read(&journal).unwrap();
    for name in ["journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(place.data.join(name));
    }
    fs::write(&journal, &older).unwrap();
    for arguments in [&["verify"][..], &["datasets", "list"]] {
        told(&place, arguments, "the journal is older than its content");
    }
    let verified = place.run(&["verify", "--format", "json"]).exits(1).json();
    let fault = verified["journal_faults"][0].as_str().unwrap();
    assert!(fault.contains("older than its content"), "{verified}");
    // Nothing was changed by that.
    assert!(fs::read(&journal).unwrap() == older);
    for name in ["journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(place.data.join(name));
    }
    fs::write(&journal, &newer).unwrap();
    place.ok(&["verify"]);
    assert_eq!(place.rows(&["datasets", "list"]).len(), 2);
}

#[test]
fn where_there_is_no_data_directory_verify_says_so() {
    let place = Place::new();
    let nothing = "there is no data directory at";
    told(&place, &["verify"], nothing);
    assert!(!place.data.exists());
    fs::create_dir(&place.data).unwrap();
    told(&place, &["verify"], nothing);
    fs::create_dir(place.data.join("content")).unwrap();
    fs::write(place.data.join("content/format"), "opendmp content 1\n").unwrap();
    told(&place, &["verify"], nothing);
    fs::write(place.data.join("instance"), "0123456789abcdef\n").unwrap();
    told(&place, &["verify"], "journal.db is missing");
    fs::remove_dir_all(&place.data).unwrap();
    fs::create_dir(&place.data).unwrap();
    fs::write(place.data.join("letter"), "x").unwrap();
    told(&place, &["verify"], "is not a data directory");
    assert_eq!(fs::read_dir(&place.data).unwrap().count(), 1, "nothing is made");
}

#[test]
fn a_cut_log_can_be_left_behind_on_purpose() {
    let place = killed();
    let log = fs::OpenOptions::new().write(true).open(place.data.join("journal.db-wal")).unwrap();
    log.set_len(log.metadata().unwrap().len() / 2).unwrap();
    told(&place, &["datasets", "list"], "remove `journal.db-shm`");
    fs::remove_file(place.data.join("journal.db-shm")).unwrap();
    // What the log had is missing from the journal, and content may belong to it.
    told(&place, &["datasets", "list"], "the journal is older than its content");
    fs::remove_file(place.data.join("content/journal")).unwrap();
    assert!(place.rows(&["datasets", "list"]).len() < 3);
    place.ok(&["verify"]);
}

#[test]
fn a_journal_of_a_newer_version_is_left_alone() {
    let place = Place::new();
    place.write("flow.yaml", FLOW);
    place.write("inbox/0.txt", "file");
    place.ok(&["run", "flow.yaml"]);
    let journal = place.data.join("journal.db");
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    // Its version: https://www.sqlite.org/fileformat.html, section 1.3.
    file.write_all_at(&99u32.to_be_bytes(), 60).unwrap();
    let before = fs::read(&journal).unwrap();
    for arguments in
        [&["datasets", "list"][..], &["serve", "--listen", "127.0.0.1:0"], &["run", "flow.yaml"], &["backup", "b"]]
    {
        told(&place, arguments, "format 99");
    }
    assert!(place.run(&["verify"]).exits(1).err.contains("format 99"));
    assert_eq!(fs::read(&journal).unwrap(), before, "nothing was changed");
}

#[test]
fn damage_in_what_waits_to_be_expanded_is_told() {
    const COUNT: usize = 4_500;
    let place = Place::new();
    place.write(
        "flow.yaml",
        "\
name: Many
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s } }
  - { id: many, type: split, inputs: [inbox], as: lines }
  - { id: shelf, type: collect, inputs: [many], collection: Many }
",
    );
    let lines: String = (0..COUNT).map(|n| format!("line number {n:06}\n")).collect();
    place.write("inbox/lines.txt", lines);
    place.ok(&["flows", "enable", "flow.yaml"]);
    // Dies when the children are written down, and none is expanded.
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("OPENDMP_FAILPOINT", "after-settle:1").stdout(std::process::Stdio::null());
    assert!(!command.stderr(std::process::Stdio::null()).status().unwrap().success());
    assert_eq!(place.rows(&["flows", "list"])[0]["outstanding"], COUNT);
    let sound = place.run(&["verify", "--format", "json"]).exits(0).json();
    assert_eq!((&sound["damaged"], &sound["lacking"]), (&0.into(), &0.into()));
    place.ok(&["backup", "sound"]);
    place.ok(&["backup", "--verify", "sound"]);

    // A child's content, which the journal names nowhere yet.
    let pack = fs::read_dir(place.data.join("content/packs")).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
    let whole = fs::read(&pack).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&pack).unwrap();
    let at = |text: &str| {
        let text = text.as_bytes();
        let places = whole.windows(text.len()).enumerate().filter(|(_, part)| *part == text).map(|(at, _)| at as u64);
        places.collect::<Vec<_>>()
    };
    let of_child = *at("line number 004321\n").last().unwrap();
    file.write_all_at(b"#", of_child).unwrap();
    let lacking = |arguments: &[&str]| -> (Value, String) {
        let done = place.run(arguments).exits(1);
        (serde_json::from_str::<Value>(&done.out).unwrap_or_default()["lacking"].clone(), done.err)
    };
    assert_eq!(lacking(&["verify", "--format", "json"]).0, 1, "the child's content");
    assert!(lacking(&["verify"]).1.contains("damaged: what came of lines.txt: b3:"));
    // And so a copy of it, made now.
    assert!(lacking(&["backup", "damaged"]).1.contains("damaged: what came of lines.txt: b3:"));
    assert_eq!(lacking(&["backup", "--verify", "damaged", "--format", "json"]).0, 1);
    file.write_all_at(b"l", of_child).unwrap();

    // A block: the names of the children are in it alone.
    let name = at("lines-4321").pop().or_else(|| at("4321").pop()).expect("a block has the children's names");
    file.write_all_at(b"#", name).unwrap();
    let (count, _) = lacking(&["verify", "--format", "json"]);
    assert_eq!(count, 1, "the block; what is in it can't be known");
    assert!(lacking(&["verify"]).1.contains("damaged: what came of lines.txt: b3:"));
}
