//! Backups of a directory that is in use, and what comes back from them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::place::{Place, UPPER, flow, steady, until};

/// Name and content of every dataset, as the command line gives them.
fn contents(place: &Place, rows: &[Value]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for row in rows {
        let (name, id) = (row["name"].as_str().unwrap(), row["id"].as_str().unwrap());
        out.insert(name.to_owned(), place.ok(&["datasets", "get", id]));
    }
    out
}

fn datasets(place: &Place) -> Vec<Value> {
    place.rows(&["datasets", "list", "--all"])
}

fn drop_files(place: &Place, range: std::ops::Range<usize>) {
    for n in range {
        // Some are large content, in files of their own.
        let content = if n % 50 == 0 { format!("file {n}\n").repeat(40_000) } else { format!("file {n}\n") };
        place.write(&format!(".new-{n}"), content);
        fs::rename(place.path(&format!(".new-{n}")), place.path(&format!("inbox/f{n:03}.txt"))).unwrap();
    }
}

/// The bytes of all packs and files below a folder of content.
fn bytes_in(content: &Path) -> u64 {
    let mut bytes = 0;
    for part in ["packs", "files"] {
        let mut folders = vec![content.join(part)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => bytes += entry.metadata().unwrap().len(),
                }
            }
        }
    }
    bytes
}

#[test]
fn a_working_server_is_backed_up_and_comes_back() {
    let place = Place::new();
    place.write("flow.yaml", flow("Kept", UPPER, ""));
    fs::create_dir(place.path("inbox")).unwrap();
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    drop_files(&place, 0..200);
    until("it works", || !datasets(&place).is_empty());
    // In the middle of the work; a relative path is where the person is, not where the server is.
    let first = place.run(&["backup", "kept/backup"]).exits(0);
    assert!(first.out.contains("✓ backed up to ./kept/backup as of "), "{}", first.out);
    until("all is done", || datasets(&place).len() == 200);
    until("all is exported", || place.rows(&["flows", "list"])[0]["outstanding"] == 0);
    let between = bytes_in(&place.path("kept/backup/content"));
    drop_files(&place, 200..220);
    until("the later ones are done", || datasets(&place).len() == 220);
    until("all is exported", || place.rows(&["flows", "list"])[0]["outstanding"] == 0);
    let second = place.run(&["backup", "kept/backup", "--format", "json"]).exits(0).json();
    assert_eq!((&second["again"], &second["damaged"], &second["lacking"]), (&true.into(), &0.into(), &0.into()));
    assert_eq!(second["holds"]["datasets"], 220);
    let after = bytes_in(&place.path("kept/backup/content"));
    assert_eq!(second["copied_bytes"], after - between, "only what was new");
    assert_eq!(place.run(&["backup", "kept/backup", "--format", "json"]).exits(0).json()["copied_bytes"], 0);
    let whole = place.run(&["backup", "--verify", "kept/backup"]).exits(0);
    assert!(whole.out.contains("✓ ./kept/backup is whole"), "{}", whole.out);

    let (rows, held) = (datasets(&place), contents(&place, &datasets(&place)));
    let history = steady(&place.ok(&["datasets", "history", "f117.txt"]));
    server.stop().exits(0);

    // Elsewhere, with the old one gone.
    let mut again = place;
    fs::rename(&again.data, again.path("lost")).unwrap();
    again.data = again.path("again");
    let restored = again.run(&["restore", "kept/backup"]).exits(0);
    assert!(restored.out.contains("1 flow (1 enabled), 220 datasets"), "{}", restored.out);
    assert!(restored.out.contains("let go at its source"), "{}", restored.out);
    assert_eq!(datasets(&again), rows);
    assert_eq!(contents(&again, &rows), held);
    assert_eq!(held["f100.txt"].len(), "FILE 100\n".len() * 40_000);
    assert_eq!(steady(&again.ok(&["datasets", "history", "f117.txt"])), history);
    assert_eq!(fs::metadata(&again.data).unwrap().permissions().mode() & 0o777, 0o700);

    // It works on: what is known is not taken again, what is new is.
    let server = again.serve(&[]);
    drop_files(&again, 220..221);
    until("the new one is done", || datasets(&again).len() == 221);
    assert_eq!(again.ok(&["datasets", "get", "f220.txt"]), "FILE 220\n");
    assert_eq!(again.rows(&["ingest", "audit", "kept"])[0]["compared"], 221);
    // Its own backup goes on in the same folder.
    let third = again.run(&["backup", "kept/backup", "--format", "json"]).exits(0).json();
    assert_eq!((&third["again"], &third["holds"]["datasets"]), (&true.into(), &221.into()));
    server.stop().exits(0);
    again.run(&["backup", "--verify", "kept/backup"]).exits(0);

    let refused = again.run(&["restore", "kept/backup"]).exits(1);
    assert!(refused.err.contains("is not empty") && refused.err.contains("--data-dir DIR"), "{}", refused.err);
    assert_eq!(datasets(&again).len(), 221);
}

/// A directory with five datasets, small and large, and the pack that holds the small ones.
fn five() -> (Place, PathBuf) {
    let place = Place::new();
    place.write("flow.yaml", flow("Five", UPPER, ""));
    for n in 0..4 {
        place.write(&format!("inbox/{n}.txt"), format!("file {n}\n").repeat(100));
    }
    place.write("inbox/big.txt", "large\n".repeat(100_000));
    place.ok(&["run", "flow.yaml"]);
    let packs = fs::read_dir(place.data.join("content/packs")).unwrap();
    let pack = packs.map(|entry| entry.unwrap().path()).next().unwrap();
    (place, pack)
}

/// Changes one byte of the only place where `text` is.
fn flip(path: &Path, text: &str) {
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap() as u64;
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"#", at).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

#[test]
fn damage_is_told_by_name_and_the_rest_is_saved() {
    let (place, pack) = five();
    flip(&pack, "FILE 2");
    let done = place.run(&["backup", "b"]).exits(1);
    assert!(
        done.err.contains("damaged: packs/0000000") && done.err.contains("is not what was written"),
        "{}",
        done.err
    );
    assert!(done.err.contains("a dataset of arrival ") && done.err.contains(", 2.txt: b3:"), "{}", done.err);
    assert!(done.err.contains("everything else is backed up\nhint: "), "{}", done.err);
    assert!(done.out.contains("✗ backed up to ./b"), "{}", done.out);
    let verified = place.run(&["backup", "--verify", "b", "--format", "json"]).exits(1).json();
    assert_eq!((&verified["damaged"], &verified["lacking"]), (&1.into(), &1.into()));

    let restored = place.run(&["restore", "b", "--data-dir", "again"]).exits(1);
    assert!(restored.err.contains("everything else is restored"), "{}", restored.err);
    let get = |name: &str| place.run(&["datasets", "get", name, "--data-dir", "again"]);
    assert_eq!(get("3.txt").exits(0).out, "FILE 3\n".repeat(100));
    assert_eq!(get("big.txt").exits(0).out, "LARGE\n".repeat(100_000));
    get("2.txt").exits(1);
}

#[test]
fn a_data_directory_is_read_whole_and_damage_is_told_with_who_refers_to_it() {
    let (place, pack) = five();
    let server = place.serve(&[]);
    let sound = place.run(&["verify", "--format", "json"]).exits(0).json();
    assert_eq!((&sound["damaged"], &sound["lacking"], &sound["holds"]["datasets"]), (&0.into(), &0.into(), &5.into()));
    assert!(place.ok(&["verify"]).starts_with("✓ "));
    server.stop().exits(0);

    flip(&pack, "FILE 2");
    let damaged = place.run(&["verify"]).exits(1);
    assert!(damaged.out.starts_with("✗ ") && damaged.out.contains("1 damaged place"), "{}", damaged.out);
    assert!(damaged.err.contains("a dataset of arrival ") && damaged.err.contains(", 2.txt: b3:"), "{}", damaged.err);
    assert!(damaged.err.contains("hint: `opendmp restore` of a sound backup"), "{}", damaged.err);

    // Cut in the middle: everything behind is lacking, and what is before is not.
    let length = fs::metadata(&pack).unwrap().len();
    fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(length / 2).unwrap();
    let cut = place.run(&["verify", "--format", "json"]).exits(1).json();
    assert!(cut["lacking"].as_u64().unwrap() > 1, "{cut}");

    // Pages of the journal, and then its head.
    let journal = place.data.join("journal.db");
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    for page in 3..20 {
        file.write_all_at(&[0x5a; 512], page * 4096).unwrap();
    }
    let bad = place.run(&["verify"]).exits(1);
    assert!(bad.err.contains("damaged: journal.db: "), "{}", bad.err);
    file.write_all_at(b"nothing", 0).unwrap();
    let bad = place.run(&["verify"]);
    assert_ne!(bad.status.code(), Some(0), "{}", bad.err);
    assert!(bad.err.contains("journal.db"), "{}", bad.err);
}

#[test]
fn an_earlier_backup_keeps_what_is_damaged_later() {
    let (place, pack) = five();
    place.ok(&["backup", "b"]);
    flip(&pack, "FILE 2");
    // It is where old and new are compared, at the end of the pack.
    let told = place.run(&["backup", "b"]).exits(1);
    assert!(told.err.contains("the copy keeps what it has"), "{}", told.err);
    assert!(told.err.contains("the backup has as it should be\nhint: "), "{}", told.err);
    place.ok(&["backup", "--verify", "b"]);
    place.ok(&["restore", "b", "--data-dir", "again"]);
    assert_eq!(place.ok(&["datasets", "get", "2.txt", "--data-dir", "again"]), "FILE 2\n".repeat(100));

    // A backup that is damaged itself says so, too.
    let packs = fs::read_dir(place.path("b/content/packs")).unwrap();
    flip(&packs.map(|entry| entry.unwrap().path()).next().unwrap(), "FILE 3");
    let damaged = place.run(&["backup", "--verify", "b"]).exits(1);
    assert!(
        damaged.out.contains("✗ ./b is damaged") && damaged.err.contains("3.txt"),
        "{}{}",
        damaged.out,
        damaged.err
    );
}

#[test]
fn folders_that_don_t_fit_are_refused_with_a_hint() {
    let (place, _) = five();
    let refused = |arguments: &[&str], why: &str| {
        let done = place.run(arguments).exits(1);
        assert!(done.err.contains(why) && done.err.contains("hint: "), "{}", done.err);
    };
    refused(&["backup", "data/inside"], "in the data directory itself");
    refused(&["backup", "inbox"], "holds something that is not a backup");
    refused(&["backup", "b", "--data-dir", "none"], "there is no data directory");
    refused(&["backup", "--verify", "inbox"], "is not a backup");
    refused(&["backup", "--verify", "nowhere"], "there is no folder");
    refused(&["restore", "inbox", "--data-dir", "again"], "is not a backup");
    assert!(!place.path("again").exists());
    place.ok(&["backup", "b"]);
    refused(&["restore", "b"], "is not empty");
    refused(&["restore", "b", "--data-dir", "inbox"], "is not empty");
    let other = Place::new();
    other.write("flow.yaml", flow("Other", UPPER, ""));
    other.write("inbox/x", "x");
    other.ok(&["run", "flow.yaml"]);
    let to = place.path("b");
    let done = other.run(&["backup", to.to_str().unwrap()]).exits(1);
    assert!(done.err.contains("a backup of another data directory"), "{}", done.err);
    place.ok(&["backup", "--verify", "b"]);

    // Nothing works on what is half restored.
    fs::create_dir(place.path("half")).unwrap();
    fs::write(place.path("half/restoring"), "x").unwrap();
    refused(&["datasets", "list", "--data-dir", "half"], "was broken off");
}
