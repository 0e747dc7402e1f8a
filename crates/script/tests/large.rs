//! Large content in little memory. Alone in its process, whose use of memory it measures.

mod common;

use common::{Bench, file_item};
use opendmp_script::ChildContent;

#[tokio::test]
async fn large_content_travels_by_descriptor_in_little_memory() {
    let bench = Bench::new().await;
    let path = bench.path().join("large");
    let size = 200_u64 << 20;
    {
        use std::io::Write;
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        for n in 0..size / 8 {
            file.write_all(&n.to_le_bytes()).unwrap();
        }
    }
    let own = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    };
    // Start over with counting the highest use of memory.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = own();
    let code = "import hashlib, shutil\ndef process(item):\n    with item.open() as source, open('copy', 'wb') as target:\n        \
                shutil.copyfileobj(source, target, 1 << 20)\n    source = item.open()\n    source.seek(-8, 2)\n    assert \
                int.from_bytes(source.read(), 'little') == item.size // 8 - 1\n    import pathlib\n    yield item.with_(pathlib.Path('copy'))\n    \
                yield item.with_(item.path(), name='again')\n    yield item\n";
    let mut spec = bench.spec(code);
    spec.memory_limit = 150 << 20;
    let result = bench.run(spec, vec![file_item("large.bin", &path)]).await.pop().unwrap();
    let got = common::children(result);
    assert_eq!(got.len(), 3);
    assert!(common::is_same(&got[2]));
    let mut buffer = vec![0; 1 << 20];
    for child in &got[..2] {
        let ChildContent::File(file) = &child.content else { panic!("a file") };
        assert_eq!(file.size(), size);
        let (mut reader, mut seen) = (std::io::BufReader::new(file.open().unwrap()), 0_u64);
        loop {
            let read = std::io::Read::read(&mut reader, &mut buffer).unwrap();
            if read == 0 {
                break;
            }
            seen += read as u64;
        }
        assert_eq!(seen, size);
    }
    let grown = own().saturating_sub(before);
    assert!(grown < 60 << 20, "the server's memory grew by {} MiB", grown >> 20);
}
