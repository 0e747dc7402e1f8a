//! A real server that dies at each named moment of an item's way (see `failpoint.rs` in the engine), and is started again:
//! nothing lost, nothing twice.

use crate::harness::{Place, files, hash};

/// As the engine lists them.
const MOMENTS: [&str; 10] = opendmp_engine::failpoint::MOMENTS;

fn dies_and_comes_back(after: &str, nth: u32) {
    for moment in MOMENTS {
        let mut place = Place::new();
        place.write_flow(&format!(
            "name: Torture\nprocessors:\n\
             - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s, after: {after} }} }}\n\
             - id: work\n  type: script\n  inputs: [inbox]\n  checkpoint: true\n  code: |\n    import os\n    def process(data: bytes) -> bytes:\n        return data.upper() + os.urandom(8).hex().encode()\n\
             - {{ id: shelf, type: collect, inputs: [work], collection: Torture, destination: {{ type: folder, path: ./outbox }} }}\n"
        ));
        place.ok(&["flows", "enable", "flow.yaml"]);
        place.start(&[("OPENDMP_FAILPOINT", &format!("{moment}:{nth}"))]);
        let contents: Vec<String> = (0..8).map(|n| format!("content of file {n}\n")).collect();
        for (n, content) in contents.iter().enumerate() {
            let hidden = place.path(&format!("inbox/.{n}"));
            std::fs::write(&hidden, content).unwrap();
            std::fs::rename(&hidden, place.path(&format!("inbox/file-{n}"))).unwrap();
            // One after another, so that each moment is met again and again; what comes after its death waits.
            place.wait_for_or_end("the file is through", |place| place.path(&format!("outbox/file-{n}")).exists());
        }
        assert_eq!(place.ended(), Some(6), "{moment} is reached {nth} times, and the server aborts there");
        place.start_and_wait();
        place.settle_down();
        let (datasets, exports) = (place.datasets(), files(&place.path("outbox")));
        assert_eq!((datasets.len(), exports.len()), (8, 8), "{moment}");
        for (n, content) in contents.iter().enumerate() {
            let name = format!("file-{n}");
            assert_eq!(datasets[&name]["hash"], hash(&exports[&name]).as_str(), "{moment}: one truth");
            assert_eq!(datasets[&name]["revision"], 1, "{moment}: once");
            assert!(exports[&name].starts_with(content.to_uppercase().as_bytes()), "{moment}");
        }
        let left = files(&place.path("inbox")).len();
        assert_eq!(left, if after == "keep" { 8 } else { 0 }, "{moment}: the source is let go");
    }
}

#[test]
fn with_after_delete() {
    dies_and_comes_back("delete", 2);
}

#[test]
fn with_after_keep() {
    dies_and_comes_back("keep", 1);
}
