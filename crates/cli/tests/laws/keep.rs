//! Files that stay where they are and are taken at once, on a real server that is killed now and then: what stands in
//! them last is what is collected last, however fast it changed.

use crate::harness::{Place, hash};

const NAMES: [&str; 4] = ["renamed", "written", "appended", "twice"];

/// Changes all files; the contents have one length, so that only times and bytes tell them apart.
fn change(place: &Place, round: u32) {
    let path = |name: &str| place.path(&format!("inbox/{name}"));
    let content = |name: &str, n: u32| format!("{name:>8} {round:04} {n}\n");
    std::fs::write(path(".next"), content("renamed", 0)).unwrap();
    std::fs::rename(path(".next"), path("renamed")).unwrap();
    std::fs::write(path("written"), content("written", 0)).unwrap();
    let mut log = std::fs::File::options().append(true).create(true).open(path("appended")).unwrap();
    std::io::Write::write_all(&mut log, content("appended", 0).as_bytes()).unwrap();
    for n in 0..2 {
        std::fs::write(path("twice"), content("twice", n)).unwrap();
    }
}

fn the_last_content_is_collected(kills: bool) {
    let mut place = Place::new();
    place.write_flow(
        "name: Torture\nprocessors:\n\
         - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s } }\n\
         - { id: shelf, type: collect, inputs: [inbox], collection: Torture }\n",
    );
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    for round in 0..60 {
        change(&place, round);
        if kills && round % 20 == 7 {
            place.kill();
            change(&place, round + 1_000);
            place.start_and_wait();
        }
    }
    place.settle_down();
    let last = |place: &Place, name: &str| hash(&std::fs::read(place.path(&format!("inbox/{name}"))).unwrap());
    place.wait_for("the last content of each is collected", |place| {
        let datasets = place.datasets();
        NAMES.iter().all(|name| datasets.get(*name).is_some_and(|row| row["hash"] == last(place, name).as_str()))
    });
}

#[test]
fn l1_what_changes_fast_is_not_missed() {
    the_last_content_is_collected(false);
}

#[test]
fn l1_what_changes_fast_is_not_missed_by_a_server_that_is_killed() {
    the_last_content_is_collected(true);
}

/// A large one is stored from the file, a small one from memory.
const KEPT: [(&str, usize); 2] = [("small", 10), ("large", 3 << 20)];

/// Touched, with other rights, and put back from a backup: files with the bytes that they had are no new versions, for a
/// server and for runs without one, and make no run.
#[test]
fn l2_files_with_the_bytes_of_before_are_not_processed_again() {
    let mut place = Place::new();
    place.write_flow(
        "name: Torture\nprocessors:\n\
         - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s } }\n\
         - { id: both, type: aggregate, inputs: [inbox], batch: { count: 4 }, as: lines }\n\
         - { id: shelf, type: collect, inputs: [inbox], collection: Kept }\n\
         - { id: sums, type: collect, inputs: [both], collection: Sums, destination: { type: folder, path: ./out } }\n",
    );
    let path = |place: &Place, name: &str| place.path(&format!("inbox/{name}"));
    let bytes = |size: usize, last: u8| [vec![b'x'; size], vec![last, b'\n']].concat();
    for (name, size) in KEPT {
        std::fs::write(path(&place, name), bytes(size, b'1')).unwrap();
    }
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    place.wait_for("both are collected", |place| place.datasets().len() == 2);
    let runs = place.json(&["runs", "list"]).len();
    let touch = |place: &Place| {
        for (name, _) in KEPT {
            let path = path(place, name);
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    };
    let restore = |place: &Place| {
        for (name, _) in KEPT {
            std::fs::copy(path(place, name), place.path("restored")).unwrap();
            std::fs::rename(place.path("restored"), path(place, name)).unwrap();
        }
    };
    let known = |place: &Place| {
        let audit = &place.json(&["ingest", "audit", "torture"])[0];
        assert_eq!(audit["compared"], 2, "{audit}");
        audit["entries"].as_array().unwrap().is_empty()
    };
    for change in [&touch as &dyn Fn(&Place), &restore] {
        change(&place);
        place.wait_for("they are known", known);
    }
    place.stop();
    touch(&place);
    place.ok(&["run", "flow.yaml"]);
    restore(&place);
    place.start_and_wait();
    place.wait_for("they are known", known);
    // Behind all of these, so that what they could have made is there.
    for version in [2, 3] {
        std::fs::write(path(&place, "small"), bytes(10, b'0' + version)).unwrap();
        place.wait_for("other bytes are a new version", |place| place.datasets()["small"]["revision"] == version);
    }
    place.settle_down();
    assert_eq!(place.json(&["runs", "list"]).len(), runs + 3, "one by hand, one for each new version");
    let lines = |content: Vec<u8>| content.split(|byte| *byte == b'\n').count() - 1;
    let out: Vec<usize> = crate::harness::files(&place.path("out")).into_values().map(lines).collect();
    assert_eq!(out, [4], "each version once");
    place.stop();
}
