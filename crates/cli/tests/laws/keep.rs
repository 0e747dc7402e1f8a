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
