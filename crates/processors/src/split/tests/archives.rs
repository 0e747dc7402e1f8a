//! Archives as programs of many sorts and ages make them. What is in them is compared with what other readers say.

use super::*;

/// The members of an archive, with their paths and contents, and the words of the log.
async fn read(format: &str, archive: &[u8]) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
    let bench = Bench::new();
    let done = bench.call(json!({ "as": format }), "a", Body::Bytes(Bytes::copy_from_slice(archive))).await;
    let log = done.log.into_iter().map(|line| line.text).collect();
    let Outcome::Stream(children) = done.outcome else { panic!("{:?}", done.outcome) };
    let children = children.map(|child| seen(child.unwrap()));
    (children.map(|child| (child.member.unwrap(), child.content)).collect(), log)
}

fn of(members: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    members.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect()
}

/// A record of a tar archive and the data behind it; `said` is the size that the header says.
fn entry(sort: u8, path: &str, link: &str, said: usize, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 512];
    record[..path.len()].copy_from_slice(path.as_bytes());
    record[100..108].copy_from_slice(b"0000644\0");
    record[124..136].copy_from_slice(format!("{said:011o}\0").as_bytes());
    record[156] = sort;
    record[157..157 + link.len()].copy_from_slice(link.as_bytes());
    record[257..265].copy_from_slice(b"ustar\x0000");
    summed(&mut record);
    record.extend_from_slice(data);
    record.resize(512 + data.len().next_multiple_of(512), 0);
    record
}

fn summed(record: &mut [u8]) {
    record[148..156].fill(b' ');
    let sum: u32 = record[..512].iter().map(|byte| u32::from(*byte)).sum();
    record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn ended(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let mut length = key.len() + value.len() + 3;
        while length.to_string().len() + key.len() + value.len() + 3 > length {
            length += 1;
        }
        text.extend_from_slice(format!("{length} {key}=").as_bytes());
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    entry(b'x', "PaxHeaders/x", "", text.len(), &text)
}

#[tokio::test]
async fn entries_without_data_hide_no_members() {
    let members = of(&[("a", b"aaaaa"), ("c", b""), ("d", b"ddd")]);
    for (archive, told) in [
        (&include_bytes!("../../cases/dir-ustar.tar")[..], None),
        (include_bytes!("../../cases/chr-ustar.tar"), Some("a device")),
        (include_bytes!("../../cases/hardlink-ustar.tar"), None),
    ] {
        let (found, log) = read("tar", archive).await;
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).filter(|path| *path != "b").collect();
        assert_eq!(paths, ["a", "c", "d"]);
        assert_eq!(log.iter().any(|line| line.contains("left out")), told.is_some() || log.len() == 1, "{log:?}");
    }
    // Every other type without data, folders that are told by their names, and a size of the file and more.
    for (sort, path) in [(b'2', "b"), (b'4', "b"), (b'6', "b"), (b'5', "b/"), (0, "b/"), (b'0', "b/"), (b'1', "b")] {
        for said in [5, 512, 513, 2048, 1 << 30] {
            let b = entry(sort, path, "nowhere", said, b"");
            let archive = ended(&[
                entry(b'0', "a", "", 5, b"aaaaa"),
                b,
                entry(b'0', "c", "", 0, b""),
                entry(b'0', "d", "", 3, b"ddd"),
            ]);
            assert_eq!(read("tar", &archive).await.0, members, "{} {path} {said}", sort as char);
        }
        // And where the data is there all the same.
        let b = entry(sort, path, "nowhere", 600, &[b'b'; 600]);
        let archive = ended(&[
            entry(b'0', "a", "", 5, b"aaaaa"),
            b,
            entry(b'0', "c", "", 0, b""),
            entry(b'0', "d", "", 3, b"ddd"),
        ]);
        let found = read("tar", &archive).await.0;
        assert_eq!(found.iter().filter(|(path, _)| path != "b").cloned().collect::<Vec<_>>(), members);
        // POSIX lets a hard link have the content once more.
        assert_eq!(found.iter().any(|(_, content)| content == &[b'b'; 600]), sort == b'1');
    }
}

#[tokio::test]
async fn values_of_pax_headers_may_have_line_ends() {
    for archive in
        [&include_bytes!("../../cases/xattr_nl_first.tar")[..], include_bytes!("../../cases/xattr_nl_second.tar")]
    {
        let paths: Vec<String> = read("tar", archive).await.0.into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "b"]);
    }
    let paths: Vec<String> =
        read("tar", include_bytes!("../../cases/pax_path_nl.tar")).await.0.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["a\nbé", "b"]);
    for (key, value) in [("SCHILY.xattr.user.x", &b"\n\n7 a=b\n"[..]), ("comment", b"a=b\0\xff\n"), ("x=y", b"\n")] {
        let head = pax(&[(key, value), ("path", b"new\nname")]);
        let archive = ended(&[head, entry(b'0', "old", "", 3, b"new"), entry(b'0', "b", "", 1, b"b")]);
        assert_eq!(read("tar", &archive).await.0, of(&[("new\nname", b"new"), ("b", b"b")]), "{key}");
    }
    // What was said before is taken back by an empty value, and the last one counts.
    let head = pax(&[("path", b"one"), ("path", b"two"), ("size", b"9"), ("size", b"")]);
    assert_eq!(read("tar", &ended(&[head, entry(b'0', "old", "", 1, b"1")])).await.0, of(&[("two", b"1")]));
    for bad in ["5 a=b\n", "x a=b\n", "6 ab\n\n", "99 a=b\n", "12 size=12x\n", "6a=bcd"] {
        let head = entry(b'x', "x", "", bad.len(), bad.as_bytes());
        let archive = ended(&[head, entry(b'0', "old", "", 1, b"1")]);
        assert_eq!(Bench::new().refused(json!({ "as": "tar" }), &archive).await.code, "damaged", "{bad:?}");
    }
}

#[tokio::test]
async fn headers_count_whatever_their_magic() {
    for archive in
        [&include_bytes!("../../cases/pax_badmagic_size.tar")[..], include_bytes!("../../cases/pax_version70_size.tar")]
    {
        let found = read("tar", archive).await.0;
        assert_eq!((found.len(), found[0].0.as_str(), found[0].1.len()), (1, "test", 4));
    }
    let magic = |mut record: Vec<u8>, magic: &[u8; 8]| {
        record[257..265].copy_from_slice(magic);
        summed(&mut record);
        record
    };
    let long = "n".repeat(200);
    for odd in [b"ustar\x0070", b"\0star\x0000", b"ustar  \0", b"\0\0\0\0\0\0\0\0", b"ustar\0\0\0"] {
        let name = magic(entry(b'L', "././@LongLink", "", 201, format!("{long}\0").as_bytes()), odd);
        let size = magic(pax(&[("size", b"4")]), odd);
        let archive = ended(&[name, entry(b'0', "a", "", 1, b"1"), size, magic(entry(b'0', "b", "", 0, b"four"), odd)]);
        assert_eq!(read("tar", &archive).await.0, of(&[(&long, b"1"), ("b", b"four")]));
        // The beginning of a long path is one where POSIX made the header.
        let mut record = entry(b'0', "name", "", 1, b"1");
        record[345..351].copy_from_slice(b"folder");
        let posix = odd.starts_with(b"ustar") && odd[5] == 0;
        let path = if posix { "folder/name" } else { "name" };
        assert_eq!(read("tar", &ended(&[magic(record, odd)])).await.0, of(&[(path, b"1")]));
    }
    // A type that nobody knows is a file, as POSIX has it, and that is told.
    let (found, log) = read("tar", &ended(&[entry(b'Z', "odd", "", 1, b"1"), entry(b'0', "b", "", 1, b"2")])).await;
    assert_eq!(found, of(&[("odd", b"1"), ("b", b"2")]));
    assert_eq!(log, ["`odd` is of a type that is not known, `Z`, and was taken as a file"]);
    // Checksums of signed bytes, sizes with blanks around, and in bytes.
    let mut record = entry(b'0', "gr\u{f6}\u{df}e", "", 3, b"123");
    record[124..136].copy_from_slice(b"         3 \0");
    summed(&mut record);
    let mut signed = record.clone();
    signed[148..156].fill(b' ');
    let sum: i32 = signed[..512].iter().map(|byte| i32::from(byte.cast_signed())).sum();
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut wide = record.clone();
    wide[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    summed(&mut wide);
    for record in [record, signed, wide] {
        assert_eq!(read("tar", &ended(&[record])).await.0, of(&[("größe", b"123")]));
    }
}

#[tokio::test]
async fn hard_links_have_the_content_that_they_name() {
    let large: Vec<u8> = (0..1_500_000u32).flat_map(u32::to_le_bytes).collect();
    let archive = ended(&[
        entry(b'0', "./a.csv", "", large.len(), &large),
        entry(b'1', "b.csv", "a.csv", 0, b""),
        entry(b'1', "c.csv", "./b.csv", 0, b""),
        entry(b'0', "a.csv", "", 3, b"new"),
        entry(b'1', "d.csv", "/a.csv", 0, b""),
        entry(b'1', "a.csv", "a.csv", 0, b""),
    ]);
    let (found, log) = read("tar", &archive).await;
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["./a.csv", "b.csv", "c.csv", "a.csv", "d.csv", "a.csv"]);
    assert!(found[..3].iter().all(|(_, content)| content == &large));
    assert!(found[3..].iter().all(|(_, content)| content == b"new"));
    assert!(log.is_empty(), "{log:?}");
    // What leads nowhere, forward, or to what is no file, is told.
    let archive = ended(&[
        entry(b'1', "b", "later", 0, b""),
        entry(b'0', "later", "", 1, b"1"),
        entry(b'2', "s", "later", 0, b""),
        entry(b'1', "c", "s", 0, b""),
        entry(b'1', "d", "gone", 0, b""),
    ]);
    let (found, log) = read("tar", &archive).await;
    assert_eq!(found, of(&[("later", b"1")]));
    assert_eq!(log.len(), 4);
    assert_eq!(log[0], "`b` was left out: it is a hard link to `later`, and no file of that name comes before it");
    // Each counts for what all children hold together.
    let links: Vec<Vec<u8>> = (0..3).map(|n| entry(b'1', &format!("l{n}"), "a", 0, b"")).collect();
    let archive = ended(&[vec![entry(b'0', "a", "", 1_000, &[b'a'; 1_000])], links].concat());
    let most = json!({ "as": "tar", "max_total": "3999 B" });
    assert_eq!(Bench::new().refused(most, &archive).await.code, "holds-too-much");
}

/// As GNU's `tar` writes them, sparse files among them.
#[tokio::test]
async fn hard_links_of_the_usual_program_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.csv"), "data\n").unwrap();
    let sparse = std::fs::File::create(at("s1")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 1 << 19).unwrap();
    for (from, to) in [("a.csv", "b.csv"), ("s1", "s2")] {
        assert!(std::process::Command::new("ln").args([at(from), at(to)]).status().unwrap().success());
    }
    for options in [&["--format=gnu", "--sparse"][..], &["--format=pax"], &["--format=ustar"], &["--format=v7"]] {
        let mut command = std::process::Command::new("tar");
        let packed = command.args(options).args(["--sort=name", "-cf", "-", "-C"]).arg(folder.path()).arg(".").output();
        let (found, log) = read("tar", &packed.unwrap().stdout).await;
        assert!(log.is_empty(), "{log:?}");
        let get = |path: &str| &found.iter().find(|(found, _)| found == path).expect(path).1;
        assert_eq!((get("./a.csv").as_slice(), get("./b.csv").as_slice()), (&b"data\n"[..], &b"data\n"[..]));
        assert!(get("./s2").len() == 1 << 20 && get("./s1") == get("./s2"), "{options:?}");
    }
}

/// What Python's `tarfile` makes of an archive, paths and contents, and what GNU's `tar` does, contents: null where it
/// refuses the archive. For each archive in a folder a line.
const OTHERS: &str = r#"
import json, os, subprocess, sys, tarfile
for name in sorted(os.listdir(sys.argv[1])):
    path = os.path.join(sys.argv[1], name)
    try:
        members = []
        with tarfile.open(path, "r:", errors="surrogateescape", errorlevel=2) as archive:
            for member in archive:
                if member.isreg() or member.islnk():
                    try:
                        file = archive.extractfile(member)
                    except KeyError:
                        continue
                    if file is not None:
                        members.append([os.fsencode(member.name).hex(), file.read().hex()])
    except Exception as error:
        members = None
    gnu = subprocess.run(["tar", "-xOf", path], capture_output=True)
    print(json.dumps([members, None if gnu.returncode else gnu.stdout.hex()]))
"#;

/// One byte or a few are changed, fields are filled with odd values, and checksums put right again. Whatever Python or
/// `tar` finds in an archive, `split` finds too, or it refuses the archive: never fewer members, never less of them.
#[tokio::test]
async fn changed_archives_are_read_as_others_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut seed = 20_261_130_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let long = format!("{}\0", "n".repeat(150));
    let base = [
        entry(b'0', "a", "", 5, b"aaaaa"),
        entry(b'5', "b/", "", 0, b""),
        pax(&[("path", b"c\nc"), ("mtime", b"1.5")]),
        entry(b'0', "c", "", 600, &[b'c'; 600]),
        entry(b'1', "h", "a", 0, b""),
        entry(b'L', "././@LongLink", "", long.len(), long.as_bytes()),
        entry(b'0', "d", "", 3, b"ddd"),
        entry(b'2', "s", "a", 0, b""),
        entry(b'0', "e", "", 0, b""),
        entry(b'0', "f", "", 1, b"f"),
    ];
    let mut archives = Vec::new();
    for _ in 0..300 {
        let mut entries = base.to_vec();
        for _ in 0..=random(2) {
            let which = random(entries.len());
            let record = &mut entries[which];
            match random(6) {
                0 => record[156] = b"0123456757SLKxgVDZ\0"[random(19)],
                1 => {
                    let size = [0, 1, 5, 511, 512, 513, 1024, 4_000][random(8)];
                    record[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
                }
                2 => record[257 + random(8)] = b"\0 uX"[random(4)],
                3 => record[random(512)] = u8::try_from(random(256)).unwrap(),
                4 => drop(entries.remove(which)),
                _ => entries.swap(which, which.saturating_sub(1)),
            }
        }
        entries.iter_mut().for_each(|record| summed(record));
        archives.push(ended(&entries));
    }
    for (n, archive) in archives.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{n:06}.tar")), archive).unwrap();
    }
    let output = std::process::Command::new("python3").args(["-c", OTHERS]).arg(folder.path()).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let (mut same, mut refused, mut differ) = (0, 0, Vec::new());
    for (archive, line) in archives.iter().zip(lines.lines()) {
        let (python, gnu): (Option<Vec<(String, String)>>, Option<String>) = serde_json::from_str(line).unwrap();
        let Ok(children) = Bench::new().split(json!({ "as": "tar" }), "a", archive).await else {
            refused += 1;
            continue;
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let ours: Vec<(String, String)> = children
            .iter()
            .map(|child| (hex(child.member.as_deref().unwrap().as_bytes()), hex(&child.content)))
            .collect();
        // Python takes no file for a folder by its name, and finds the names of labels and folders for hard links.
        let first = ours.iter().any(|(path, _)| path == "61");
        let file = |(path, _): &(String, String)| !path.ends_with("2f") && (path != "68" || first);
        let theirs = python.map(|members| members.into_iter().filter(file).collect::<Vec<_>>());
        let texts = ours.iter().map(|(_, content)| content.as_str()).collect::<String>();
        // GNU writes no content for links when it writes to its output.
        let unlinked = |gnu: &String| texts.len() >= gnu.len();
        if theirs.as_ref() == Some(&ours) {
            same += 1;
        } else {
            differ.push((
                theirs.is_some_and(|theirs| theirs.len() > ours.len()),
                gnu.as_ref().is_some_and(|gnu| !unlinked(gnu)),
            ));
        }
    }
    assert_eq!(lines.lines().count(), archives.len());
    // Most are read by both, and some are refused: else nothing was compared.
    assert!(same > 50 && refused > 10, "the same {same}, refused {refused}, other {}", differ.len());
    assert_eq!(differ.iter().filter(|(python, _)| *python).count(), 0, "Python reads more members");
    assert_eq!(differ.iter().filter(|(_, gnu)| *gnu).count(), 0, "tar reads more bytes");
}

/// A member of a zip archive: who made it, flags, the bytes of its name, the extra field, the content.
type Stored<'a> = (u8, u16, &'a [u8], Vec<u8>, &'a [u8]);

fn zip_by(members: &[Stored<'_>]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (maker, flags, name, extra, content) in members {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let short = |value: usize| u16::try_from(value).unwrap().to_le_bytes();
        let long = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
        let common = [
            &20u16.to_le_bytes()[..],
            &flags.to_le_bytes(),
            &[0; 6],
            &crc.sum().to_le_bytes(),
            &long(content.len()),
            &long(content.len()),
            &short(name.len()),
        ]
        .concat();
        let at = long(archive.len());
        archive.extend([&b"PK\x03\x04"[..], &common, &short(0), name, content].concat());
        let entry = [&b"PK\x01\x02\x14"[..], &[*maker], &common, &short(extra.len()), &[0; 10], &at, name, extra];
        directory.extend(entry.concat());
    }
    let (at, size) = (u32::try_from(archive.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = u16::try_from(members.len()).unwrap().to_le_bytes();
    archive.extend(directory);
    archive
        .extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size.to_le_bytes(), &at.to_le_bytes(), &[0; 2]].concat());
    archive
}

fn unicode(version: u8, of: &[u8], path: &str) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(of);
    let length = u16::try_from(path.len() + 5).unwrap();
    [&0x7075u16.to_le_bytes()[..], &length.to_le_bytes(), &[version], &crc.sum().to_le_bytes(), path.as_bytes()]
        .concat()
}

#[tokio::test]
async fn names_in_zip_archives_are_read_as_their_makers_wrote_them() {
    const UNIX: u8 = 3;
    let none = Vec::new;
    for (maker, flags, name, extra, path) in [
        // DOS, NTFS and VFAT part folders with a backslash, unless a name has a slash; elsewhere it is a character.
        (0, 0, &b"report\\2024\\jan.csv"[..], none(), "report/2024/jan.csv"),
        (10, 0, b"report\\jan.csv", none(), "report/jan.csv"),
        (14, 0, b"\\jan.csv", none(), "/jan.csv"),
        (0, 0, b"a/b\\c.csv", none(), "a/b\\c.csv"),
        (UNIX, 0, b"a\\c.csv", none(), "a\\c.csv"),
        // Code page 437, but where it is said or seen that it is something else.
        (0, 0, b"Gr\x94\xe1e.csv", none(), "Größe.csv"),
        (UNIX, 0, b"caf\x82.csv", none(), "café.csv"),
        (0, 0, b"\x81\x8e\x99\x9a.csv", none(), "üÄÖÜ.csv"),
        (0, 0, "größe 日本.csv".as_bytes(), none(), "größe 日本.csv"),
        (0, 0x800, "größe.csv".as_bytes(), none(), "größe.csv"),
        (0, 0x800, b"gr\x94.csv", none(), "gr\\x94.csv"),
        // The extra field, where it is of that name.
        (0, 0, b"Gr__e.csv", unicode(1, b"Gr__e.csv", "Größe.csv"), "Größe.csv"),
        (0, 0, b"Gr\x94\xe1e.csv", unicode(1, b"Gr\x94\xe1e.csv", "日本.csv"), "日本.csv"),
        (0, 0, b"renamed.csv", unicode(1, b"old.csv", "Größe.csv"), "renamed.csv"),
        (0, 0, b"other.csv", unicode(2, b"other.csv", "Größe.csv"), "other.csv"),
    ] {
        let archive = zip_by(&[(maker, flags, name, extra, b"a\n1\n")]);
        assert_eq!(read("zip", &archive).await, (of(&[(path, b"a\n1\n")]), vec![]), "{}", name.escape_ascii());
    }
    let archive = zip_by(&[
        (0, 0, b"report\\", none(), b""),
        (0, 0, b"report\\2024\\jan.csv", none(), b"a,b\n1,2\n"),
        (0, 0, b"odd\\", none(), b"x"),
    ]);
    let (found, log) = read("zip", &archive).await;
    assert_eq!(found, of(&[("report/2024/jan.csv", b"a,b\n1,2\n")]));
    assert_eq!(log, ["`odd/` was left out: it is a folder, although it has a content"]);
    assert_eq!(Bench::new().split(json!({ "as": "zip" }), "a", &archive).await.unwrap()[0].name, "jan.csv");
}

#[tokio::test]
async fn bytes_behind_a_zip_archive_are_left_out_and_told() {
    let archive = zip_by(&[(3, 0, b"a.csv", vec![], b"a\n1\n"), (3, 0, b"b.csv", vec![], b"")]);
    for behind in [&b"\r\n"[..], &[0; 512], b"PK\x05\x06", b"-----END-----\n", &[b'x'; 60_000]] {
        let (found, log) = read("zip", &[archive.as_slice(), behind].concat()).await;
        assert_eq!(found, of(&[("a.csv", b"a\n1\n"), ("b.csv", b"")]));
        assert_eq!(log, [format!("{} bytes behind the end of the archive were left out", behind.len())]);
    }
    // An archive within one that was cut is not taken for it.
    let outer = zip_by(&[(3, 0, b"inner.zip", vec![], &archive), (3, 0, b"z", vec![], b"z")]);
    for length in 60..outer.len() - 1 {
        let cut = Bench::new().refused(json!({ "as": "zip" }), &outer[..length]).await;
        assert_eq!(cut.code, "cut-short", "{length}");
    }
}

#[tokio::test]
async fn hints_fit_their_cause() {
    let bench = Bench::new();
    let mut part = zip_by(&[(3, 0, b"a", vec![], b"content")]);
    let end = part.len() - 22;
    part[end + 4] = 1;
    let fault = bench.refused(json!({ "as": "zip" }), &part).await;
    assert!(fault.code == "several-parts" && fault.hint.unwrap().contains("one part"));
    let head = entry(b'x', "x", "", 5 << 20, &vec![b'x'; 5 << 20]);
    let fault = bench.refused(json!({ "as": "tar" }), &ended(&[head, entry(b'0', "a", "", 1, b"1")])).await;
    assert!(fault.hint.unwrap().contains("attributes"));
    let fault = bench.refused(json!({ "as": "tar" }), &zip_by(&[(3, 0, b"a", vec![], &[b'x'; 600])])).await;
    assert!(fault.code == "wrong-format" && fault.hint.unwrap().contains("what made it"));
}

#[tokio::test]
async fn names_and_comments_may_look_like_the_end_of_a_zip_archive() {
    for name in [
        // 20 bytes that begin as a locator does, and whole ends.
        &b"PK\x06\x07 is no locator.."[..],
        b"a PK\x06\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0",
        b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x16\0",
        b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x30\0\0\0\x20\0\0\0\x16\0",
    ] {
        let archive = zip_by(&[(3, 0, name, vec![], b"content")]);
        let found = read("zip", &archive).await.0;
        assert_eq!((found.len(), found[0].1.as_slice()), (1, &b"content"[..]), "{}", name.escape_ascii());
    }
    let comment = b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x05\0\0\0\x05\0\0\0\0\0";
    let mut archive = zip_by(&[(3, 0, b"a", vec![], b"content")]);
    let at = archive.len() - 2;
    archive[at..].copy_from_slice(&22u16.to_le_bytes());
    assert_eq!(read("zip", &[archive.as_slice(), comment].concat()).await.0, of(&[("a", b"content")]));
}
