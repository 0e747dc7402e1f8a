use bytes::Bytes;
use opendmp_ports::clock::ManualClock;

use super::*;

const HOUR: i64 = 60 * 60 * 1_000;

struct Place {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    limits: UploadLimits,
}

impl Place {
    fn new() -> Self {
        let limits = UploadLimits { each: 1 << 20, all: 2 << 20, ..UploadLimits::default() };
        Self { folder: tempfile::tempdir().unwrap(), clock: Arc::new(ManualClock::at(1_000)), limits }
    }

    fn open(&self) -> Uploads {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Uploads::open(&self.folder.path().join("uploads"), self.limits, clock).unwrap()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("uploads")).unwrap().count()
    }
}

async fn put(uploads: &Uploads, name: &str, bytes: Vec<u8>) -> Result<Kept, Fault> {
    let mut receiving = uploads.begin(name, None).await?;
    // In pieces of odd sizes, as a network gives them.
    for piece in bytes.chunks(70_001) {
        receiving.write(&Bytes::copy_from_slice(piece)).await?;
    }
    receiving.end().await
}

async fn bytes_of(uploads: &Uploads, id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    (&*uploads.open_one(id).await.unwrap().1).read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn an_upload_is_kept_for_a_day_over_restarts() {
    let place = Place::new();
    let uploads = place.open();
    let mode = std::fs::metadata(place.folder.path().join("uploads")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let bytes: Vec<u8> = (0..900_000_u32).map(|n| n as u8).collect();
    let kept = put(&uploads, "größe 日本.csv", bytes.clone()).await.unwrap();
    assert_eq!((kept.size, kept.hash), (900_000, ContentHash::of(&bytes)));
    assert_eq!((kept.media_type.as_deref(), kept.expires - kept.since), (Some("text/csv"), 24 * HOUR));
    assert!(bytes_of(&uploads, &kept.id).await == bytes);
    let empty = put(&uploads, "empty", Vec::new()).await.unwrap();
    assert_eq!((empty.size, empty.media_type), (0, None));
    drop(uploads);

    place.clock.advance(23 * HOUR);
    let uploads = place.open();
    assert_eq!(uploads.get(&kept.id).unwrap(), kept);
    assert!(bytes_of(&uploads, &kept.id).await == bytes);
    let younger = put(&uploads, "b", b"b".to_vec()).await.unwrap();
    place.clock.advance(HOUR);
    assert_eq!(uploads.get(&kept.id).unwrap_err().code, "not-found", "it is over, swept or not");
    uploads.sweep().await;
    assert_eq!((place.files(), bytes_of(&uploads, &younger.id).await), (2, b"b".to_vec()));
    uploads.remove(&younger.id).await.unwrap();
    assert_eq!((place.files(), uploads.remove(&younger.id).await.unwrap_err().code.as_str()), (0, "not-found"));
    place.clock.advance(-HOUR);
    assert_eq!(lock(&uploads.0.state).taken, 0);
}

#[tokio::test]
async fn what_is_broken_off_leaves_nothing() {
    let place = Place::new();
    let uploads = place.open();
    let mut receiving = uploads.begin("a", None).await.unwrap();
    receiving.write(&Bytes::from(vec![1; 600_000])).await.unwrap();
    assert_eq!((place.files(), lock(&uploads.0.state).taken > 500_000), (1, true));
    // Without a runtime it is removed at once.
    std::thread::spawn(move || drop(receiving)).join().unwrap();
    assert_eq!((place.files(), lock(&uploads.0.state).taken), (0, 0));

    let refused = put(&uploads, "large", vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert_eq!((refused.code.as_str(), place.files()), ("too-large", 0));

    // What a killed process left is removed when the next one begins; what is whole stays.
    let kept = put(&uploads, "whole", b"whole".to_vec()).await.unwrap();
    let folder = place.folder.path().join("uploads");
    std::fs::write(folder.join("0123456789abcdef0123456789abcdef"), "half").unwrap();
    std::fs::write(folder.join("0123456789abcdef0123456789abcdef.new"), "{").unwrap();
    std::fs::write(folder.join("ffffffffffffffffffffffffffffffff.json"), "{}").unwrap();
    let shortened = put(&uploads, "short", b"short".to_vec()).await.unwrap();
    std::fs::write(folder.join(&shortened.id), "sho").unwrap();
    assert_eq!(uploads.open_one(&shortened.id).await.unwrap_err().code, "damaged");
    let uploads = place.open();
    assert_eq!((place.files(), bytes_of(&uploads, &kept.id).await), (2, b"whole".to_vec()));
}

#[tokio::test]
async fn the_oldest_go_first() {
    let place = Place::new();
    let uploads = place.open();
    let mut all = Vec::new();
    for n in 0..4 {
        place.clock.advance(1);
        all.push(put(&uploads, &format!("{n}"), vec![n; 700_000]).await.unwrap().id);
    }
    assert!(uploads.get(&all[0]).is_err() && uploads.get(&all[1]).is_err());
    assert!(bytes_of(&uploads, &all[2]).await == vec![2; 700_000]);
    // Who reads one goes on, also when it goes.
    let (_, open) = uploads.open_one(&all[2]).await.unwrap();
    put(&uploads, "more", vec![9; 900_000]).await.unwrap();
    assert!(uploads.get(&all[2]).is_err());
    let mut bytes = Vec::new();
    (&*open).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 700_000);
    // Those that come in at once may not be more than all there may be.
    let mut coming = Vec::new();
    for _ in 0..2 {
        let mut one = uploads.begin("x", None).await.unwrap();
        one.write(&Bytes::from(vec![0; 1 << 20])).await.unwrap();
        coming.push(one);
    }
    assert_eq!(put(&uploads, "y", vec![0; 300_000]).await.unwrap_err().code, "no-room");
}

#[tokio::test]
async fn nothing_is_taken_from_the_reserve() {
    let mut place = Place::new();
    place.limits.reserve = u64::MAX;
    let refused = put(&place.open(), "a", b"a".to_vec()).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.kind), ("no-room", FaultKind::NoSpace));
    assert!(refused.message.contains("the reserve of") && refused.hint.is_some());
    assert_eq!(place.files(), 0);
}

#[tokio::test]
async fn names_lead_nowhere() {
    let place = Place::new();
    let uploads = place.open();
    let long = "x".repeat(LONGEST_NAME + 1);
    for bad in ["", ".", "..", "a/b", "/etc/passwd", "a\0", long.as_str()] {
        assert_eq!(put(&uploads, bad, Vec::new()).await.unwrap_err().code, "bad-name", "{bad:?}");
    }
    for odd in ["-rf", "new\nline", "..hidden", "caf\\xe9", " ", "\u{202e}gpj.exe"] {
        let kept = put(&uploads, odd, b"x".to_vec()).await.unwrap();
        assert_eq!((kept.name.as_str(), is_id(&kept.id)), (odd, true));
    }
    for bad in ["../x", "", "0123", "0123456789ABCDEF0123456789abcdef"] {
        assert_eq!(uploads.open_one(bad).await.unwrap_err().code, "not-found");
        assert_eq!(uploads.remove(bad).await.unwrap_err().code, "not-found");
    }
    let bad = uploads.begin("a", Some("text\n/x")).await.err().unwrap();
    assert_eq!(bad.code, "bad-media-type");
    let given = uploads.begin("a.csv", Some("text/x; charset=latin1")).await.unwrap().end().await.unwrap();
    assert_eq!(given.media_type.as_deref(), Some("text/x; charset=latin1"));
}
