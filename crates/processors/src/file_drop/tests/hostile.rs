//! Producers that create, append, truncate, replace and remove as they like while the folder is taken from. Each
//! version names itself and ends in a hash, so that what was torn is seen, and what was lost or taken twice is counted.

use super::*;
use std::io::Write;
use std::sync::Condvar;
use std::time::{Duration, Instant};

/// How often each producer acts.
const ROUNDS: u32 = 250;

/// Chooses by a seed, so that a failure can be looked at again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A few bytes mostly, now and then more than is read at once.
    fn payload(&mut self) -> Vec<u8> {
        let len = if self.roll(12) == 0 { 260_000 + self.roll(300_000) } else { self.roll(5_000) };
        vec![b'a' + u8::try_from(self.roll(26)).unwrap(); usize::try_from(len).unwrap()]
    }
}

/// One record: its name, its length, its bytes, and a hash of all that.
fn record(id: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("{id} {}\n", payload.len()).into_bytes();
    out.extend_from_slice(payload);
    let hash = ContentHash::of(&out).to_hex();
    out.extend_from_slice(hash.as_bytes());
    out
}

/// The names of the records, `None` where one is torn.
fn records(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    while !bytes.is_empty() {
        let line = bytes.iter().position(|&b| b == b'\n')?;
        let (id, len) = std::str::from_utf8(&bytes[..line]).ok()?.split_once(' ')?;
        let end = line + 1 + len.parse::<usize>().ok()?;
        let hash = bytes.get(end..end + 64)?;
        if ContentHash::of(&bytes[..end]).to_hex().as_bytes() != hash {
            return None;
        }
        ids.push(id.to_owned());
        bytes = &bytes[end + 64..];
    }
    Some(ids)
}

/// What the producers share.
#[derive(Clone)]
struct Yard {
    dir: PathBuf,
    /// Records that must each be taken exactly once.
    owed: Arc<Mutex<Vec<String>>>,
    /// Versions whose writer paused for so long that they seemed to stand still half written.
    paused: Arc<Mutex<Vec<String>>>,
    settle: Duration,
    looks: Arc<Looks>,
    /// Names that changed, as a watcher tells them.
    told: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

/// Counts the looks of the taker, which looks until all producers are done.
#[derive(Default)]
struct Looks {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Looks {
    fn one_more(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    /// Waits for as many looks from now on.
    fn wait_for(&self, many: u64) {
        let count = self.count.lock().unwrap();
        let until = *count + many;
        drop(self.changed.wait_while(count, |count| *count < until).unwrap());
    }
}

impl Yard {
    /// Lets the taker in between, sometimes for long enough that a file stands still.
    fn breathe(&self, dice: &mut Dice) {
        self.looks.wait_for(dice.roll(16));
    }

    fn tell(&self, name: &str) {
        self.told.lock().unwrap().insert(name.as_bytes().to_vec());
    }

    fn owe(&self, id: &str) {
        self.owed.lock().unwrap().push(id.to_owned());
    }

    /// Files made once and never touched again.
    fn create(self) {
        let mut dice = Dice(1);
        for n in 0..ROUNDS {
            let id = format!("u{n}");
            let hidden = self.dir.join(format!(".{id}"));
            std::fs::write(&hidden, record(&id, &dice.payload())).unwrap();
            std::fs::rename(hidden, self.dir.join(&id)).unwrap();
            self.tell(&id);
            self.owe(&id);
            self.breathe(&mut dice);
        }
    }

    /// A few names, replaced by rename, and removed now and then.
    fn replace(self) {
        let mut dice = Dice(2);
        for n in 0..ROUNDS {
            let (id, hidden, name) = (format!("r{n}"), self.dir.join(".next"), format!("r-{}", dice.roll(4)));
            let target = self.dir.join(&name);
            std::fs::write(&hidden, record(&id, &dice.payload())).unwrap();
            std::fs::rename(hidden, &target).unwrap();
            self.tell(&name);
            if dice.roll(5) == 0 {
                self.breathe(&mut dice);
                let _ = std::fs::remove_file(target);
            }
            self.breathe(&mut dice);
        }
    }

    /// A few names, truncated and written again in pieces.
    fn rewrite(self) {
        let mut dice = Dice(3);
        for n in 0..ROUNDS {
            let id = format!("w{n}");
            let bytes = record(&id, &dice.payload());
            let mut last = Instant::now();
            let name = format!("w-{}", dice.roll(4));
            let mut file = std::fs::File::create(self.dir.join(&name)).unwrap();
            let mut longest = Duration::ZERO;
            for piece in bytes.chunks(bytes.len() / 4 + 1) {
                file.write_all(piece).unwrap();
                self.tell(&name);
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            drop(file);
            self.tell(&name);
            if longest.max(last.elapsed()) > self.settle / 2 {
                self.paused.lock().unwrap().push(id);
            }
            self.breathe(&mut dice);
        }
    }

    /// A few names, appended to a record at a time, opened anew for each.
    fn append(self) {
        let mut dice = Dice(4);
        for n in 0..ROUNDS {
            let id = format!("p{n}");
            let name = format!("p-{}", dice.roll(4));
            let mut file = std::fs::File::options().append(true).create(true).open(self.dir.join(&name)).unwrap();
            self.owe(&id);
            let bytes = record(&id, &dice.payload());
            let before = Instant::now();
            file.write_all(&bytes).unwrap();
            drop(file);
            self.tell(&name);
            if before.elapsed() > self.settle / 2 {
                self.paused.lock().unwrap().push(id);
            }
            self.breathe(&mut dice);
        }
    }
}

/// Takes from the folder until all producers are done and nothing is left: what was accepted, by path.
/// With `by_name` it looks only at what was told, as a server does whose watcher misses nothing.
async fn take_all(
    inbox: &Inbox,
    yard: &Yard,
    by_name: bool,
    producers: Vec<std::thread::JoinHandle<()>>,
) -> Vec<(String, Vec<u8>)> {
    let looks = &yard.looks;
    let mut accepted = Vec::new();
    let (mut changed, mut quiet) = (0u32, 0);
    while quiet < 2 {
        let done = producers.iter().all(std::thread::JoinHandle::is_finished);
        let scan = if by_name {
            let names = std::mem::take(&mut *yard.told.lock().unwrap()).into_iter().collect();
            inbox.source.claim_changed(&inbox.book, names, now(), 64).await.unwrap()
        } else {
            inbox.source.claim(&inbox.book, now(), 64).await.unwrap()
        };
        looks.one_more();
        let mut releases = Vec::new();
        let mut held = true;
        for claim in scan.claims {
            let bytes = content(&claim);
            match inbox.source.confirm(&claim).await.unwrap() {
                Claimed::Changed => {
                    changed += 1;
                    held = false;
                }
                Claimed::Whole(stat) => {
                    inbox.book.settle(&claim, stat.unwrap(), &bytes);
                    releases.extend(claim.release.clone());
                    accepted.push((name::from_bytes(&claim.path), bytes));
                }
            }
        }
        // Releases that are not carried out yet are tried again, as the engine does.
        while !releases.is_empty() {
            let ends = inbox.source.release_all(&releases).await;
            let mut ends = ends.iter();
            releases.retain(|release| {
                let is_done = ends.next().unwrap().is_ok();
                if is_done {
                    inbox.book.releasing.lock().unwrap().remove(release);
                }
                !is_done
            });
            tokio::task::yield_now().await;
        }
        quiet = if done && scan.complete && held { quiet + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    for producer in producers {
        producer.join().unwrap();
    }
    println!("{} accepted, {changed} changed under the reader", accepted.len());
    accepted
}

fn yard(inbox: &Inbox, settle: Duration) -> Yard {
    Yard {
        dir: inbox.path(b""),
        owed: Arc::default(),
        paused: Arc::default(),
        settle,
        looks: Arc::default(),
        told: Arc::default(),
    }
}

fn count(accepted: &[(String, Vec<u8>)]) -> BTreeMap<String, u32> {
    let mut taken = BTreeMap::new();
    for id in accepted.iter().filter_map(|(_, bytes)| records(bytes)).flatten() {
        *taken.entry(id).or_insert(0) += 1;
    }
    taken
}

fn start(yard: &Yard, works: &[fn(Yard)]) -> Vec<std::thread::JoinHandle<()>> {
    works.iter().map(|work| (*work, yard.clone())).map(|(work, yard)| std::thread::spawn(move || work(yard))).collect()
}

const ALL: [fn(Yard); 4] = [Yard::create, Yard::replace, Yard::rewrite, Yard::append];

async fn with_delete(by_name: bool) {
    let inbox = inbox(serde_json::json!({ "path": "./in", "after": "delete", "settle": "0s" }));
    let yard = yard(&inbox, Duration::ZERO);
    let producers = start(&yard, &ALL);
    let accepted = take_all(&inbox, &yard, by_name, producers).await;
    let torn: Vec<&String> =
        accepted.iter().filter(|(_, bytes)| records(bytes).is_none()).map(|(path, _)| path).collect();
    assert_eq!(torn, Vec::<&String>::new(), "a file that is open for writing is never taken");
    let taken = count(&accepted);
    let owed = yard.owed.lock().unwrap().clone();
    let lost: Vec<&String> = owed.iter().filter(|id| !taken.contains_key(*id)).collect();
    assert_eq!(lost, Vec::<&String>::new());
    let twice: Vec<_> = taken.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(twice, []);
    assert_eq!(inbox.names(), Vec::<String>::new(), "nothing is left behind");
    assert!(!by_name || inbox.listed() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_delete_each_record_is_taken_exactly_once() {
    with_delete(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_delete_each_record_is_taken_exactly_once_by_its_name() {
    with_delete(true).await;
}

async fn with_keep(settle: Duration, works: &[fn(Yard)], by_name: bool) {
    let settle_ms = format!("{}ms", settle.as_millis());
    let inbox = inbox(serde_json::json!({ "path": "./in", "settle": settle_ms }));
    let yard = yard(&inbox, settle);
    let producers = start(&yard, works);
    let accepted = take_all(&inbox, &yard, by_name, producers).await;
    let torn = accepted.iter().filter(|(_, bytes)| records(bytes).is_none()).count();
    let paused = yard.paused.lock().unwrap().len();
    assert!(torn <= paused, "{torn} torn, but only {paused} writers paused for long enough to be taken for done");
    let mut versions = BTreeSet::new();
    for (path, bytes) in &accepted {
        assert!(versions.insert((path, ContentHash::of(bytes))) || bytes.is_empty(), "{path} was taken twice");
    }
    let taken = count(&accepted);
    for n in 0..ROUNDS {
        assert_eq!(taken.get(&format!("u{n}")), Some(&1));
    }
    // What is there now was taken last, byte for byte.
    for path in inbox.names() {
        let last = accepted.iter().rev().find(|(taken, _)| *taken == path).map(|(_, bytes)| bytes);
        assert_eq!(last, Some(&std::fs::read(inbox.path(path.as_bytes())).unwrap()), "{path}");
    }
    assert!(!by_name || inbox.listed() == 0);
    let known = inbox.book.known.lock().unwrap();
    assert!(known.values().all(|known| !known.stat.recent), "all that was taken early was looked at again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keep_what_stands_still_is_taken_whole() {
    with_keep(Duration::from_millis(60), &ALL, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keep_what_stands_still_is_taken_whole_by_its_name() {
    with_keep(Duration::from_millis(60), &ALL, true).await;
}

/// Producers that rename finished files in need no time to settle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keep_what_is_renamed_in_is_taken_at_once() {
    with_keep(Duration::ZERO, &ALL[..2], false).await;
    with_keep(Duration::ZERO, &ALL[..2], true).await;
}
