//! Judges one file at a time: known, in work, not yet still, or claimed now.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use opendmp_model::ids::ContentHash;
use opendmp_model::item::Attributes;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_model::name;
use opendmp_processor::{Body, Claim, SourceError};
use serde_json::Value;

use super::super::aside::{CLAIMED, Place, same_content};
use super::super::lease::{self, Writer};
use super::super::roots::Reached;
use super::super::still::{Look, Verdict, recent_until, same};
use super::super::{After, failed, known};
use super::pass::{Pass, not_followed};
use super::{Answer, Call, Found, Shared};
use crate::beneath::{Folder, Taken, is_file, is_link, split, version, version_of};

/// Content up to this many bytes is read at once, so that it needs no open file.
const SMALL: u64 = 256 << 10;
/// A file that is open for writing, but has not changed for this long, is told of, in milliseconds.
const OPEN_TOO_LONG: i64 = 10_000;

impl Pass {
    /// Judges what was found, and claims it if it can be.
    pub(super) fn judge(&mut self, call: &mut Call<'_>, found: Found, answer: &Answer) -> Result<(), SourceError> {
        match found {
            Found::Offered(key) => {
                // A claimed file stays offered until it is released; one that is gone needs no watching.
                let claimed = key.starts_with(CLAIMED);
                let is_over = if claimed {
                    let reached = Place::from_key(&key).and_then(|at| call.shared.roots.of(&at, Some(&self.root)));
                    reached.is_none_or(|Reached { root, .. }| {
                        let there = root.folder.descend(split(&key).0).and_then(|folder| folder.look(split(&key).1));
                        matches!(there, Ok(None)) || there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
                    })
                } else {
                    let mut offered = call.shared.offered();
                    let stat = offered.get(&key).copied();
                    let settled = answer.known.zip(stat).is_some_and(|(known, stat)| same(&known.stat, &stat));
                    if settled {
                        offered.remove(&key);
                    }
                    false
                };
                if is_over {
                    call.shared.offered().remove(&key);
                }
                Ok(())
            }
            Found::Fresh(path) if self.held.as_ref() == Some(&path) => {
                self.wait_a_while(call, &path);
                Ok(())
            }
            Found::Fresh(path) => self.fresh(call, path, answer),
            Found::Left(place, _) if self.held.as_ref() == Some(&place.path) => {
                self.wait_a_while(call, &place.key());
                Ok(())
            }
            Found::Left(place, asked) => {
                let ready = call.scanner.ready.len();
                self.left(call, &place, &asked, answer);
                let is_offered = call.scanner.ready.len() > ready || call.shared.offered().contains_key(&place.key());
                let is_over = answer.releasing || answer.known.is_some_and(|known| same_content(&known.stat, &asked));
                if !is_offered && !is_over {
                    self.held = Some(place.path);
                }
                Ok(())
            }
        }
    }

    /// A file of the folder.
    fn fresh(&mut self, call: &mut Call<'_>, path: Vec<u8>, answer: &Answer) -> Result<(), SourceError> {
        call.scanner.waiting.remove(&path);
        let (folder, file_name) = split(&path);
        let opened = match &self.near {
            Some((near, opened)) if near == folder => Ok(opened.clone()),
            _ => self.root.folder.descend(folder).map(Arc::new),
        };
        let found = opened.and_then(|opened| {
            let stat = opened.look(file_name)?;
            Ok((opened, stat))
        });
        let (opened, stat) = match found {
            Ok((opened, Some(stat))) if is_file(&stat) => (opened, version(&stat)),
            Ok((_, Some(stat))) if is_link(&stat) => {
                call.tell(&path, FileStat::default(), not_followed());
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => {
                call.tell(&path, FileStat::default(), failed("looking at", &path, &error));
                return Ok(());
            }
        };
        if self.near.as_ref().is_none_or(|(near, _)| near != folder) {
            self.near = Some((folder.to_vec(), opened.clone()));
        }
        if let Some(known) = answer.known.filter(|known| same(&known.stat, &stat)) {
            call.scanner.still.forget(&path);
            if known.stat.recent {
                self.look_again(call, &opened, path, stat, &known);
            }
            return Ok(());
        }
        let offered = call.shared.offered().get(&path).copied();
        match offered {
            // Once it is in the ledger it is looked at again.
            Some(offered) if same(&offered, &stat) => {
                if offered.recent {
                    self.wait_a_while(call, &path);
                }
                return Ok(());
            }
            // An earlier version is still on its way into the ledger.
            Some(_) => {
                self.wait_a_while(call, &path);
                return Ok(());
            }
            None => {}
        }
        // What is small is taken before a tick is over, and looked at again afterwards.
        let may_be_recent = call.shared.after == After::Keep && stat.size <= SMALL;
        let recent = may_be_recent.then(|| recent_until(&stat, &call.look)).flatten();
        let look = if recent.is_some() { Look { tick: 0, ..call.look } } else { call.look };
        match call.scanner.still.judge(&path, &stat, &look) {
            Verdict::Wait(until) => {
                self.wait(call, &path, until);
                Ok(())
            }
            Verdict::Take(_) if call.shared.after == After::Keep => {
                self.take(call, &opened, path, (stat, answer.known), recent);
                Ok(())
            }
            Verdict::Take(stood) => self.set_aside(call, &opened, path, stat, stood),
        }
    }

    /// Opens a file that should still be `stat`; what stands in the way is told, or waited for.
    fn open(
        &mut self,
        call: &mut Call<'_>,
        folder: &Folder,
        (key, path): (&[u8], &[u8]),
        stat: &FileStat,
    ) -> Option<File> {
        match folder.read(split(path).1).and_then(|file| Ok((version_of(&file)?, file))) {
            Ok((now, file)) if same(&now, stat) => Some(file),
            Ok(_) => {
                self.wait_a_while(call, key);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                call.tell(path, *stat, failed("opening", path, &error));
                None
            }
        }
    }

    /// Claims a file that stays where it is. Until `recent`, a further change of it may not show in its stamps.
    fn take(
        &mut self,
        call: &mut Call<'_>,
        folder: &Folder,
        path: Vec<u8>,
        (stat, known): (FileStat, Option<Known>),
        recent: Option<i64>,
    ) {
        let Some(file) = self.open(call, folder, (&path, &path), &stat) else { return };
        if let Some(until) = recent {
            self.wait(call, &path, until);
            // It has hardly begun to be written, perhaps.
            if lease::writer(&file) == Writer::Someone {
                return;
            }
        }
        let stat = FileStat { recent: recent.is_some(), ..stat };
        match body(file, stat.size) {
            Ok(body) => {
                let claim = claim(call.shared, &path, stat, body, known, None);
                call.offer(path, stat, claim);
            }
            Err(error) => call.tell(&path, stat, failed("reading", &path, &error)),
        }
    }

    /// Looks again at a file that was read soon after its last change, now that another change would show: where its
    /// content is another by now, that is another version of it.
    fn look_again(&mut self, call: &mut Call<'_>, folder: &Folder, path: Vec<u8>, stat: FileStat, known: &Known) {
        if let Some(until) = recent_until(&stat, &call.look) {
            return self.wait(call, &path, until);
        }
        let Some(file) = self.open(call, folder, (&path, &path), &stat) else { return };
        let read = || match body(file.try_clone()?, stat.size)? {
            Body::Bytes(bytes) if ContentHash::of(&bytes) == known.hash => Ok((None, version_of(&file)?)),
            body => Ok((Some(body), version_of(&file)?)),
        };
        match read() {
            Ok((_, after)) if !same(&after, &stat) => self.wait_a_while(call, &path),
            Ok((None, _)) => call.scanner.sure.push((known.latest, stat)),
            Ok((Some(body), _)) => {
                let claim = claim(call.shared, &path, stat, body, Some(*known), None);
                call.offer(path, stat, claim);
            }
            Err(error) => call.tell(&path, stat, failed("reading", &path, &error)),
        }
    }

    /// Claims a file by renaming it aside.
    fn set_aside(
        &mut self,
        call: &mut Call<'_>,
        folder: &Folder,
        path: Vec<u8>,
        stat: FileStat,
        stood: i64,
    ) -> Result<(), SourceError> {
        let Some(file) = self.open(call, folder, (&path, &path), &stat) else { return Ok(()) };
        let Call { shared, owner, scanner, .. } = &mut *call;
        let area = scanner.areas.take(&shared.roots, &self.root, owner, &shared.life, shared.after, &path);
        let (token, area) = area.map_err(|error| no_aside(&error))?;
        let asked = leases(call.shared, &area)?.then(|| lease::writer(&file));
        if asked == Some(Writer::Someone) {
            self.wait_a_while(call, &path);
            if stood >= OPEN_TOO_LONG {
                call.tell(&path, stat, still_open());
            }
            return Ok(());
        }
        let (parent, file_name) = split(&path);
        let place = Place { owner: call.owner.to_vec(), token, path: path.clone() };
        let renamed = area
            .descend_making(parent, false)
            .and_then(|into| folder.rename(file_name, &into, file_name, Taken::Refuse).map(|()| into));
        let into = match renamed {
            Ok(into) => into,
            Err(error) => {
                // Gone, or listed twice.
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) {
                    call.tell(&path, stat, not_renamed(&path, &error));
                }
                return Ok(());
            }
        };
        let got = match into.stat(file_name) {
            Ok(got) => got,
            Err(error) => {
                call.tell(&path, stat, failed("looking at", &path, &error));
                return Ok(());
            }
        };
        if !is_file(&got) {
            // Something else took the name at the last moment.
            if let Err(error) = into.rename(file_name, folder, file_name, Taken::Refuse) {
                call.tell(&path, stat, failed("putting back", &path, &error));
            }
            return Ok(());
        }
        call.scanner.areas.note(&path);
        let got = version(&got);
        let unchanged = same_content(&got, &stat);
        // Who opened the file before the rename may still write to it.
        let certain = asked == Some(Writer::Nobody) && lease::writer(&file) == Writer::Nobody;
        if unchanged && certain {
            self.offer_claimed(call, &place, file, &into);
        } else {
            let key = place.key();
            self.wait_a_while(call, &key);
            call.scanner.still.judge(&key, &got, &call.look);
        }
        Ok(())
    }

    /// Offers a claimed file that nobody writes any more, as it is now.
    fn offer_claimed(&mut self, call: &mut Call<'_>, place: &Place, file: File, folder: &Folder) {
        let named = folder.stat(split(&place.path).1).map(|stat| version(&stat));
        match version_of(&file).and_then(|stat| Ok((stat, named?))) {
            Ok((stat, named)) if same(&stat, &named) => match body(file, stat.size) {
                Ok(body) => {
                    let claim = claim(call.shared, &place.path, stat, body, None, Some(place.release(&stat)));
                    call.offer(place.key(), stat, claim);
                }
                Err(error) => call.tell(&place.path, stat, failed("reading", &place.path, &error)),
            },
            Ok(_) => self.wait_a_while(call, &place.key()),
            Err(error) => call.tell(&place.path, FileStat::default(), failed("looking at", &place.path, &error)),
        }
    }

    /// A claimed file that nobody is at work with: set aside and not yet still, given back, or left by a crash.
    fn left(&mut self, call: &mut Call<'_>, place: &Place, asked: &FileStat, answer: &Answer) {
        let key = place.key();
        call.scanner.waiting.remove(&key);
        if call.shared.offered().contains_key(&key) {
            return;
        }
        let Some(reached) = call.shared.roots.of(place, Some(&self.root)) else { return };
        let opened = place.open(&reached.root.folder).and_then(|(folder, name)| Ok((folder.look(name)?, folder)));
        let (folder, stat) = match opened {
            Ok((Some(stat), folder)) if is_file(&stat) => (folder, version(&stat)),
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return call.tell(&key, FileStat::default(), failed("looking at", &place.path, &error)),
        };
        if !same_content(&stat, asked) {
            return self.wait_a_while(call, &key);
        }
        if answer.releasing {
            return;
        }
        // In the ledger, and its release carried out, as far as the ledger knows: left for a person to decide.
        if answer.known.is_some_and(|known| same(&known.stat, &stat)) {
            return;
        }
        let Some(file) = self.open(call, &folder, (&key, &place.path), &stat) else { return };
        let asked = match leases(call.shared, &folder) {
            Ok(true) => lease::writer(&file),
            _ => Writer::Unknown,
        };
        let verdict = call.scanner.still.judge(&key, &stat, &call.look);
        match (asked, verdict) {
            (Writer::Someone, verdict) => {
                self.wait_a_while(call, &key);
                if matches!(verdict, Verdict::Take(stood) if stood >= OPEN_TOO_LONG) {
                    call.tell(&key, stat, still_open());
                }
            }
            (Writer::Nobody, _) | (Writer::Unknown, Verdict::Take(_)) => self.offer_claimed(call, place, file, &folder),
            (Writer::Unknown, Verdict::Wait(until)) => self.wait(call, &key, until),
        }
    }
}

/// Whether leases can be relied on here, tried once.
fn leases(shared: &Shared, area: &Folder) -> Result<bool, SourceError> {
    if let Some(known) = shared.leases.get() {
        return Ok(*known);
    }
    let found = lease::dependable(area).map_err(|error| no_aside(&error))?;
    Ok(*shared.leases.get_or_init(|| found))
}

/// The bytes to be stored: read at once where they are few.
fn body(file: File, size: u64) -> io::Result<Body> {
    if size > SMALL {
        return Ok(Body::File(file.into()));
    }
    let mut bytes = BytesMut::zeroed(usize::try_from(size).unwrap_or_default());
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    Ok(Body::Bytes(bytes.freeze()))
}

fn claim(
    shared: &Shared,
    path: &[u8],
    stat: FileStat,
    body: Body,
    known: Option<Known>,
    release: Option<Bytes>,
) -> Claim {
    let (folder, file_name) = split(path);
    let mut attributes = Attributes::new();
    if !folder.is_empty() {
        attributes.insert("folder".to_owned(), Value::String(name::from_bytes(folder)));
    }
    let source_path = format!("{}/{}", shared.written.trim_end_matches('/'), name::from_bytes(path));
    attributes.insert("source_path".to_owned(), Value::String(source_path));
    let item_name = name::from_bytes(file_name);
    let media_type = mime_guess::from_ext(name::extension(&item_name)).first_raw().map(str::to_owned);
    Claim { path: path.to_vec(), version: Some(stat), known, name: item_name, media_type, attributes, body, release }
}

fn still_open() -> SourceError {
    SourceError {
        code: "still-open",
        message: "the file does not change, but a program still has it open for writing".to_owned(),
        hint: Some("it is taken once that program closes it".to_owned()),
    }
}

fn no_aside(error: &io::Error) -> SourceError {
    // Of the record of it, for one: the folder is not to blame then.
    if let Some(known) = known(error) {
        return known;
    }
    let hint = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "the folder is on a read-only file system: use `after: keep`, or mount it writable"
        }
        io::ErrorKind::PermissionDenied => {
            "use `after: keep`, or give the user OpenDMP runs as the right to write to the folder"
        }
        io::ErrorKind::NotADirectory => {
            "something named `.opendmp-claimed` is in the folder and is no folder: move it away"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk of that folder",
        _ => "use `after: keep`, or look at the disk",
    };
    SourceError {
        code: "no-claims",
        message: format!("files can't be set aside in `.opendmp-claimed`: {error}"),
        hint: Some(hint.to_owned()),
    }
}

fn not_renamed(path: &[u8], error: &io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::CrossesDevices => SourceError {
            code: "other-file-system",
            message: "the file is on another file system than the folder and can't be set aside".to_owned(),
            hint: Some("add an ingest whose `path` is on that file system, or use `after: keep`".to_owned()),
        },
        _ => failed("setting aside", path, error),
    }
}
