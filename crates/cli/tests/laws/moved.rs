//! Folders that are renamed, replaced, unmounted and mounted anew under a running server: nothing is lost, nothing is
//! taken twice, and nothing is written below a mount point.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Place, Rng, files, hash, pause, seed};
use crate::health::status;
use crate::mounts::{in_own_mounts, mount, unmount};
use crate::torture::forgive;

/// A flow from `inbox` to `outbox`.
fn flow(after: &str) -> String {
    let after = match after {
        "move" => "after: move, to: ./done".to_owned(),
        other => format!("after: {other}"),
    };
    format!(
        "name: Torture\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, pattern: \"*.txt\", settle: 100ms, {after} }} }}\n\
         - {{ id: results, type: collect, inputs: [inbox], collection: Torture, destination: {{ type: folder, path: ./outbox }} }}\n"
    )
}

fn serve(after: &str) -> Place {
    let mut place = Place::new();
    place.write_flow(&flow(after));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    place
}

/// Puts a whole file where it is expected.
fn put(folder: &Path, name: &str) {
    fs::write(folder.join(".part"), name).unwrap();
    fs::rename(folder.join(".part"), folder.join(name)).unwrap();
}

/// Waits until exactly these are datasets, each with one revision and its file.
fn collected(place: &mut Place, names: &[&str]) {
    let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    place.wait_for("all are collected", |place| place.datasets().len() >= expected.len());
    let datasets = place.datasets();
    assert_eq!(datasets.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (name, row) in datasets {
        assert_eq!((&row["revision"], &row["hash"]), (&1.into(), &hash(name.as_bytes()).into()), "{name}");
    }
}

/// Exit code and output of an audit.
fn audit(place: &Place) -> (bool, String) {
    let output = place.run(&["ingest", "audit", "torture", "--format", "json"]);
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// What the server says of its health.
fn health(place: &Place) -> String {
    let mut socket = UnixStream::connect(place.path("data/opendmp.sock")).unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether a file is in the folder or in what is claimed there.
fn holds_files(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| match entry.file_type().unwrap().is_dir() {
        true => holds_files(&entry.path()),
        false => !entry.file_name().to_string_lossy().starts_with('.'),
    })
}

/// `mv inbox NEW; mkdir inbox`
fn rename(place: &Place, new: &str) {
    fs::rename(place.path("inbox"), place.path(new)).unwrap();
    fs::create_dir(place.path("inbox")).unwrap();
}

fn renamed_and_made_anew(after: &str) {
    let mut place = serve(after);
    put(&place.path("inbox"), "a.txt");
    collected(&mut place, &["a.txt"]);
    rename(&place, "inbox2");
    put(&place.path("inbox"), "b.txt");
    collected(&mut place, &["a.txt", "b.txt"]);
    place.settle_down();
    assert_eq!(holds_files(&place.path("inbox2")), after == "keep");
    assert_eq!(holds_files(&place.path("inbox")), after == "keep");
    if after == "move" {
        assert_eq!(files(&place.path("done")).into_keys().collect::<Vec<_>>(), ["a.txt", "b.txt"]);
    }
    assert!(audit(&place).0);
    // And moved back.
    fs::rename(place.path("inbox"), place.path("inbox3")).unwrap();
    fs::rename(place.path("inbox2"), place.path("inbox")).unwrap();
    put(&place.path("inbox"), "c.txt");
    collected(&mut place, &["a.txt", "b.txt", "c.txt"]);
    place.stop();
}

#[test]
fn l1_an_inbox_is_renamed_and_made_anew_with_after_keep() {
    renamed_and_made_anew("keep");
}

#[test]
fn l1_an_inbox_is_renamed_and_made_anew_with_after_delete() {
    renamed_and_made_anew("delete");
}

#[test]
fn l1_an_inbox_is_renamed_and_made_anew_with_after_move() {
    renamed_and_made_anew("move");
}

#[test]
fn l1_an_inbox_is_replaced_by_a_link_and_the_link_by_another() {
    for after in ["keep", "delete"] {
        let mut place = serve(after);
        put(&place.path("inbox"), "a.txt");
        collected(&mut place, &["a.txt"]);
        fs::rename(place.path("inbox"), place.path("inbox2")).unwrap();
        for (folder, name) in [("one", "b.txt"), ("other", "c.txt")] {
            fs::create_dir(place.path(folder)).unwrap();
            let _ = fs::remove_file(place.path("inbox"));
            symlink(folder, place.path("inbox")).unwrap();
            put(&place.path("inbox"), name);
            let names: &[&str] = if folder == "one" { &["a.txt", "b.txt"] } else { &["a.txt", "b.txt", "c.txt"] };
            collected(&mut place, names);
        }
        place.settle_down();
        assert!(audit(&place).0);
    }
}

#[test]
fn l1_an_inbox_is_swapped_in_the_middle_of_a_scan() {
    for after in ["keep", "delete"] {
        let mut place = serve(after);
        let many = place.path("many");
        fs::create_dir(&many).unwrap();
        (0..9_000).for_each(|n| fs::write(many.join(format!("old-{n:04}.txt")), format!("old-{n:04}.txt")).unwrap());
        fs::rename(place.path("inbox"), place.path("empty")).unwrap();
        fs::rename(&many, place.path("inbox")).unwrap();
        place.wait_for("it is looked through", |place| !place.json(&["datasets", "list", "--limit", "1"]).is_empty());
        rename(&place, "inbox2");
        (0..10).for_each(|n| put(&place.path("inbox"), &format!("new-{n}.txt")));
        let new = |place: &Place| place.datasets().keys().filter(|name| name.starts_with("new-")).count();
        place.wait_for("what is in the new folder is collected", |place| new(place) == 10);
        place.settle_down();
        assert!(audit(&place).0);
        let datasets = place.datasets();
        let left = files(&place.path("inbox2"));
        println!("{after}: {} datasets, {} files left in the old folder", datasets.len(), left.len());
        for n in 0..9_000 {
            let name = format!("old-{n:04}.txt");
            let (taken, stays) = (datasets.contains_key(&name), left.contains_key(&name));
            assert!(if after == "keep" { stays } else { taken != stays }, "{name}: taken {taken}, stays {stays}");
        }
        assert!(datasets.values().all(|row| row["revision"] == 1));
        assert!(!holds_files(&place.path("inbox2/.opendmp-claimed")));
    }
}

#[test]
fn l1_an_inbox_is_unmounted_and_mounted_anew() {
    in_own_mounts(|| {
        for after in ["keep", "delete"] {
            let mut place = Place::new();
            mount(&place.path("inbox"), 8);
            place.write_flow(&flow(after));
            place.ok(&["flows", "enable", "flow.yaml"]);
            place.start_and_wait();
            put(&place.path("inbox"), "a.txt");
            collected(&mut place, &["a.txt"]);
            unmount(&place.path("inbox"));
            place.wait_for("it is missed", |place| health(place).contains("where nothing is mounted now"));
            let (clean, said) = audit(&place);
            assert!(!clean && said.contains("mount"), "{said}");
            // What lies below the mount point is not what is meant, also after a restart.
            put(&place.path("inbox"), "below.txt");
            place.kill();
            place.start_and_wait();
            place.wait_for("it is missed", |place| health(place).contains("where nothing is mounted now"));
            assert!(place.path("inbox/below.txt").exists());
            mount(&place.path("inbox"), 8);
            put(&place.path("inbox"), "b.txt");
            collected(&mut place, &["a.txt", "b.txt"]);
            // And between two looks.
            unmount(&place.path("inbox"));
            mount(&place.path("inbox"), 8);
            put(&place.path("inbox"), "c.txt");
            collected(&mut place, &["a.txt", "b.txt", "c.txt"]);
            place.settle_down();
            assert!(audit(&place).0 && !health(&place).contains("mounted"));
        }
    });
}

#[test]
fn l1_what_is_claimed_on_a_file_system_that_is_gone_is_told() {
    in_own_mounts(|| {
        let mut place = Place::new();
        mount(&place.path("inbox"), 8);
        place.write_flow(&flow("delete"));
        place.ok(&["flows", "enable", "flow.yaml"]);
        // The server dies between the arrival and the release.
        put(&place.path("inbox"), "a.txt");
        place.start(&[("OPENDMP_FAILPOINT", "after-arrive")]);
        assert!(place.ended().is_some());
        unmount(&place.path("inbox"));
        mount(&place.path("inbox"), 8);
        put(&place.path("inbox"), "b.txt");
        place.start_and_wait();
        collected(&mut place, &["a.txt", "b.txt"]);
        place.wait_for("the claim is missed", |place| health(place).contains("is another folder than before"));
        let (clean, said) = audit(&place);
        assert!(!clean && said.contains("a.txt"), "{said}");
        // A person says that it is gone for good.
        fs::write(place.path("inbox/.opendmp-accept"), "").unwrap();
        place.settle_down();
        assert!(audit(&place).0 && !place.path("inbox/.opendmp-accept").exists());
        place.wait_for("it is well again", |place| health(place).contains("\"ok\""));
    });
}

/// While a folder is away, releases are tried less and less often; when it is there again, nobody waits for the next try.
#[test]
fn l4_what_waits_to_be_let_go_is_let_go_when_its_folder_is_there_again() {
    for after_restart in [false, true] {
        let mut place = Place::new();
        place.write_flow(&flow("delete"));
        place.ok(&["flows", "enable", "flow.yaml"]);
        put(&place.path("inbox"), "a.txt");
        place.start(&[("OPENDMP_FAILPOINT", "after-arrive")]);
        assert!(place.ended().is_some());
        rename(&place, "elsewhere");
        place.start_and_wait();
        place.wait_for("the claim is missed", |place| health(place).contains("is another folder than before"));
        place.wait_for("the release waits", |place| status(place)["backlog"]["due"].is_i64());
        place.stop();
        // As if it had been away for so long that the next try is far off.
        place.sql("UPDATE intent SET due = due + 3600000 WHERE due > 0");
        let back = |place: &Place| {
            fs::remove_dir_all(place.path("inbox")).unwrap();
            fs::rename(place.path("elsewhere"), place.path("inbox")).unwrap();
        };
        if after_restart {
            back(&place);
            place.start_and_wait();
        } else {
            place.start_and_wait();
            place.wait_for("the claim is missed", |place| health(place).contains("is another folder than before"));
            back(&place);
        }
        place.wait_for("it is let go", |place| !holds_files(&place.path("inbox")));
        collected(&mut place, &["a.txt"]);
        place.settle_down();
    }
}

#[test]
fn l1_nothing_is_written_below_the_mount_point_of_an_outbox() {
    in_own_mounts(|| {
        let mut place = Place::new();
        let outbox = place.path("outbox");
        fs::create_dir(&outbox).unwrap();
        mount(&outbox, 8);
        place.write_flow(&flow("keep"));
        place.ok(&["flows", "enable", "flow.yaml"]);
        place.start_and_wait();
        put(&place.path("inbox"), "a.txt");
        place.wait_for("it is exported", |place| place.path("outbox/a.txt").exists());
        unmount(&outbox);
        put(&place.path("inbox"), "b.txt");
        place.wait_for("it is missed", |place| health(place).contains("where nothing is mounted now"));
        assert!(files(&outbox).is_empty());
        place.kill();
        place.start_and_wait();
        put(&place.path("inbox"), "c.txt");
        place.wait_for("it is missed", |place| health(place).contains("where nothing is mounted now"));
        assert!(files(&outbox).is_empty(), "nor after a restart");
        mount(&outbox, 8);
        place.wait_for("it is exported", |place| files(&place.path("outbox")).len() == 2);
        assert_eq!(files(&outbox).into_keys().collect::<Vec<_>>(), ["b.txt", "c.txt"]);
        // A person means the folder itself.
        unmount(&outbox);
        put(&place.path("inbox"), "d.txt");
        place.wait_for("it is missed", |place| health(place).contains("where nothing is mounted now"));
        fs::write(outbox.join(".opendmp-accept"), "").unwrap();
        place.wait_for("it is exported", |place| place.path("outbox/d.txt").exists());
        assert_eq!(files(&outbox).into_keys().collect::<Vec<_>>(), ["d.txt"]);
        collected(&mut place, &["a.txt", "b.txt", "c.txt", "d.txt"]);
        assert!(place.json(&["dead-letters", "list"]).is_empty());
    });
}

#[test]
fn l4_nothing_is_moved_below_a_mount_point() {
    in_own_mounts(|| {
        let mut place = Place::new();
        let disk = place.path("disk");
        fs::create_dir(&disk).unwrap();
        mount(&disk, 8);
        place.write_flow(&flow("move").replace("./done", "./disk/done"));
        place.ok(&["flows", "enable", "flow.yaml"]);
        place.start_and_wait();
        put(&place.path("inbox"), "a.txt");
        place.wait_for("it is moved", |place| place.path("disk/done/a.txt").exists());
        unmount(&disk);
        put(&place.path("inbox"), "b.txt");
        place.wait_for("it is missed", |place| health(place).contains("where nothing is mounted now"));
        assert!(fs::read_dir(&disk).unwrap().next().is_none(), "nothing is made below the mount point");
        assert!(holds_files(&place.path("inbox/.opendmp-claimed")));
        mount(&disk, 8);
        place.wait_for("it is moved", |place| place.path("disk/done/b.txt").exists());
        place.settle_down();
        assert!(audit(&place).0);
    });
}

#[test]
fn l2_exports_are_not_doubled_when_descriptors_run_out() {
    for descriptors in [64, 32] {
        let mut place = Place::new();
        place.write_flow(&flow("keep"));
        place.ok(&["flows", "enable", "flow.yaml"]);
        (0..300).for_each(|n| put(&place.path("inbox"), &format!("{n:03}.txt")));
        // Half of them are there already, as of exports whose end was not recorded.
        fs::create_dir(place.path("outbox")).unwrap();
        (0..150).for_each(|n| put(&place.path("outbox"), &format!("{n:03}.txt")));
        place.start_with_descriptors(descriptors);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) && files(&place.path("outbox")).len() < 300 {
            pause(50);
        }
        let starved = files(&place.path("outbox"));
        assert!(starved.keys().all(|name| !name.contains('-')), "{:?}", starved.keys());
        println!("{descriptors} descriptors: {} files", starved.len());
        place.kill();
        place.start_and_wait();
        place.settle_down();
        forgive(&place);
        place.settle_down();
        let names: Vec<String> = files(&place.path("outbox")).into_keys().filter(|name| name != ".part").collect();
        assert_eq!(names, (0..300).map(|n| format!("{n:03}.txt")).collect::<Vec<_>>());
    }
}

/// A producer that writes while the folder is renamed and made anew: the names of what it wrote.
fn produce(inbox: &Path, stop: &AtomicBool, mut rng: Rng) -> BTreeSet<String> {
    let mut written = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let name = format!("{:05}.txt", written.len());
        let part = inbox.join(format!(".{name}.part"));
        // Where the folder is gone in between, or is another one, it is done again.
        if fs::write(&part, &name).and_then(|()| fs::rename(&part, inbox.join(&name))).is_ok() {
            written.insert(name);
        }
        pause(rng.below(8));
    }
    written
}

fn killed_while_renamed(after: &str) {
    let seed = seed();
    let mut rng = Rng(seed);
    let mut place = Place::new();
    place.write_flow(&flow(after));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let stop = Arc::new(AtomicBool::new(false));
    let (inbox, until, dice) = (place.path("inbox"), Arc::clone(&stop), Rng(seed ^ 0x1234));
    let producing = std::thread::spawn(move || produce(&inbox, &until, dice));
    let (root, until, mut dice) = (place.path("."), Arc::clone(&stop), Rng(seed ^ 0x4321));
    let moving = std::thread::spawn(move || {
        let mut moved = 0;
        while !until.load(Ordering::Relaxed) {
            pause(100 + dice.below(500));
            fs::rename(root.join("inbox"), root.join(format!("moved-{moved}"))).unwrap();
            pause(dice.below(4));
            fs::create_dir(root.join("inbox")).unwrap();
            moved += 1;
        }
        moved
    });
    for _ in 0..12 {
        place.start(&[]);
        pause(200 + rng.below(1_500));
        place.kill();
    }
    stop.store(true, Ordering::Relaxed);
    let (written, moved) = (producing.join().unwrap(), moving.join().unwrap());
    place.start_and_wait();
    place.wait_for("what can be reached is taken", |place| !holds_files(&place.path("inbox")));
    // What lies in a folder that was moved away comes when that is there again, whatever it was when the server died.
    let mut brought_back = 0;
    for n in 0..moved {
        let folder = place.path(&format!("moved-{n}"));
        if !holds_files(&folder) {
            continue;
        }
        brought_back += 1;
        fs::rename(place.path("inbox"), place.path(&format!("last-{n}"))).unwrap();
        fs::rename(&folder, place.path("inbox")).unwrap();
        place.wait_for("it is taken", |place| {
            forgive(place);
            !holds_files(&place.path("inbox"))
        });
    }
    place.settle_down();
    forgive(&place);
    place.settle_down();
    println!("{after}: {} files, {moved} folders, {brought_back} of them brought back", written.len());
    let datasets = place.datasets();
    assert_eq!(datasets.keys().cloned().collect::<BTreeSet<_>>(), written, "0 lost, 0 doubled");
    assert!(datasets.values().all(|row| row["revision"] == 1));
    let exported = files(&place.path("outbox"));
    assert_eq!(exported.keys().cloned().collect::<BTreeSet<_>>(), written);
    if after == "move" {
        assert_eq!(files(&place.path("done")).into_keys().collect::<BTreeSet<_>>(), written);
    }
    let (clean, said) = audit(&place);
    assert!(clean, "{said}");
    place.wait_for("all is well", |place| health(place).contains("\"ok\""));
}

#[test]
fn l1_l2_l4_survive_kills_while_the_inbox_is_renamed_with_after_delete() {
    killed_while_renamed("delete");
}

#[test]
fn l1_l2_l4_survive_kills_while_the_inbox_is_renamed_with_after_move() {
    killed_while_renamed("move");
}
