//! Where output goes, and in which colours.

use std::process::Stdio;

use crate::place::{Place, UPPER, flow};

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let place = Place::new();
    for arguments in
        [&["kinds", "script"][..], &["schema", "flow"], &["--help"], &["explain"], &["completions", "bash"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.command(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn colours_are_for_terminals_or_on_request() {
    let place = Place::new();
    place.write("bad.yaml", "name: x\nprocesors: []\n");
    let plain = place.run(&["validate", "bad.yaml"]).exits(2);
    assert!(!plain.err.contains('\u{1b}') && plain.err.contains("╭─[bad.yaml:2:1]"), "{}", plain.err);
    let coloured = place.run(&["validate", "bad.yaml", "--color", "always"]).exits(2);
    assert!(coloured.err.contains("\u{1b}[1;31merror[unknown-key]\u{1b}[0m"), "{:?}", coloured.err);
}

#[test]
fn the_data_directory_is_where_it_was_said() {
    let place = Place::new();
    place.write("flow.yaml", flow("Where", UPPER, ""));
    place.write("inbox/a.txt", "a");
    let home = place.path("home");
    let run = |command: &mut std::process::Command| assert!(command.output().unwrap().status.success());
    run(place
        .command(&["run", "flow.yaml"])
        .env_remove("OPENDMP_DATA_DIR")
        .env_remove("XDG_DATA_HOME")
        .env("HOME", &home));
    assert!(home.join(".local/share/opendmp/journal.db").exists());
    let share = place.path("share");
    run(place.command(&["run", "flow.yaml"]).env_remove("OPENDMP_DATA_DIR").env("XDG_DATA_HOME", &share));
    assert!(share.join("opendmp/journal.db").exists());
    run(&mut place.command(&["--data-dir", "here", "run", "flow.yaml"]));
    assert!(place.path("here/journal.db").exists() && !place.data.exists());
    let nowhere = place
        .command(&["runs", "list"])
        .env_remove("OPENDMP_DATA_DIR")
        .env_remove("XDG_DATA_HOME")
        .env_remove("HOME")
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("hint: say where with --data-dir DIR"));
}
