//! Members of a tar archive: POSIX (ustar, pax), GNU, and what came before.
//!
//! How records follow one another is read here, with the widest reading that no two programs disagree about: the crate
//! `tar` takes the headers of a member for a member of its own where their magic is a little off, cuts values of pax
//! headers at line ends, and believes the size of entries that have no data, so that the members behind are lost. It
//! reads sparse files of GNU.

use std::collections::HashMap;
use std::io::{self, Read};

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_processor::Body;
use tar::Archive;

use super::archive::{LeftOut, cut_short, damaged, empty, long_headers, shown, wrong_format};
use super::{Part, Parts, Room};
use crate::blocks::{BLOCK, Blocks, Spill, Stop, fault};

mod header;

use header::{Header, Kind, Pax};

/// Headers and contents fill whole records of so many bytes.
const RECORD: u64 = 512;

/// The most that the headers of one member may take, long names and attributes included: they are held in memory.
const MOST_HEADERS: u64 = 4 << 20;

/// The most members that hard links of an archive may name: where each is, is held in memory.
const MOST_LINKED: usize = 1 << 18;

/// The members of an archive.
pub(super) struct Members {
    body: Body,
    blocks: Blocks,
    stop: Stop,
    size: u64,
    over: bool,
    /// What holds for all members behind.
    global: Pax,
    links: Links,
}

/// Which members are named by hard links, and where the last one of that name is, as far as the archive was read.
#[derive(Clone, Default)]
pub(super) struct Links(HashMap<[u8; 16], Option<Place>>);

/// Where a content is.
#[derive(Clone, Copy)]
struct Place {
    /// The header of the member, which has the table of a sparse file.
    header: u64,
    data: u64,
    size: u64,
    sparse: bool,
}

/// An entry of the archive.
struct Found {
    path: Vec<u8>,
    sort: Sort,
}

enum Sort {
    /// Its content, where that was asked for; and what is odd about it.
    File(Option<Spill>, Option<String>),
    /// A hard link to a member that was not met before.
    Link(Vec<u8>),
    /// Without a content; what it is, where somebody may miss it.
    Other(Option<&'static str>),
}

/// What a member is made of, before its content is looked at.
struct Entry {
    path: Vec<u8>,
    link: Vec<u8>,
    header: Header,
    /// Where its own header is.
    at: u64,
    /// How many bytes of data the headers say.
    size: u64,
    sparse_pax: bool,
}

impl Found {
    /// What somebody may miss, or is odd.
    fn tell(&self, left_out: &mut LeftOut) {
        match &self.sort {
            Sort::File(_, Some(odd)) => left_out.note(&self.path, odd),
            Sort::File(_, None) | Sort::Other(None) => {}
            Sort::Link(target) => {
                let what = format!("a hard link to `{}`, and no file of that name comes before it", shown(target));
                left_out.add(&self.path, &what);
            }
            Sort::Other(Some(what)) => left_out.add(&self.path, what),
        }
    }
}

impl Members {
    pub(super) fn new(body: Body, links: Links, stop: &Stop) -> Self {
        let blocks = Blocks::new(body.clone(), stop);
        Self { body, blocks, stop: stop.clone(), size: 0, over: false, global: Pax::default(), links }
    }

    /// Looks at all headers; gives which members are named by hard links.
    pub(super) fn survey(body: &Body, stop: &Stop, left_out: &mut LeftOut) -> Result<Links, Fault> {
        let (mut links, mut told) = (Links::default(), LeftOut::default());
        let mut members = Self::new(body.clone(), Links::default(), stop);
        while let Some(found) = members.step(None)? {
            match &found.sort {
                Sort::Link(target) => links.want(target)?,
                _ => found.tell(&mut told),
            }
        }
        // Which links lead somewhere is known once it is known which members to keep in mind.
        if !links.0.is_empty() {
            told = LeftOut::default();
            let mut members = Self::new(body.clone(), links.clone(), stop);
            while let Some(found) = members.step(None)? {
                found.tell(&mut told);
            }
        }
        *left_out = told;
        Ok(links)
    }

    /// The next entry, with its content where there is room for one.
    fn step(&mut self, room: Option<&Room>) -> Result<Option<Found>, Fault> {
        if self.over {
            return Ok(None);
        }
        let begin = self.blocks.position();
        if begin == 0 {
            self.size = self.blocks.size()?;
            if self.size == 0 {
                return Err(empty());
            }
        }
        let Some(entry) = self.entry(begin)? else {
            self.over = true;
            return self.check_end().map(|()| None);
        };
        let mut data = entry.at + RECORD;
        let (mut place, mut other, mut odd, mut target) = (None, None, None, None);
        let mut size = entry.size;
        match entry.header.kind() {
            // Before there was a type for them, folders were told by their names.
            Kind::File if entry.path.ends_with(b"/") => size = self.unexpected_data(data, size),
            Kind::Folder => size = self.unexpected_data(data, size),
            Kind::File | Kind::Unknown(_) => {
                if let Kind::Unknown(sort) = entry.header.kind() {
                    odd = Some(format!(
                        "is of a type that is not known, `{}`, and was taken as a file",
                        sort.escape_ascii()
                    ));
                }
                if entry.sparse_pax {
                    return Err(sparse(&entry.path));
                }
                place = Some(Place { header: entry.at, data, size, sparse: false });
            }
            Kind::Sparse => {
                // A sparse file says how large it becomes, its header how much of it is there.
                data = self.sparse_data(&entry)?;
                size = entry.header.size().ok_or_else(|| self.broken("a size that is no number", begin))?;
                place = Some(Place { header: entry.at, data, size, sparse: true });
            }
            Kind::HardLink => {
                size = self.unexpected_data(data, size);
                // POSIX allows it to have the content once more.
                place = match size {
                    0 => self.links.get(&entry.link),
                    _ => Some(Place { header: entry.at, data, size, sparse: false }),
                };
                if place.is_none() {
                    target = Some(entry.link);
                }
            }
            Kind::Link => {
                size = self.unexpected_data(data, size);
                other = Some("a link");
            }
            Kind::Device => {
                size = self.unexpected_data(data, size);
                other = Some("a device");
            }
            Kind::About => {}
            Kind::Rest => other = Some("the rest of a file whose beginning is in another archive"),
        }
        let next = data.checked_add(size).and_then(|end| end.checked_next_multiple_of(RECORD));
        // The last content may lack what fills its record up: then the mark of the end is missing, too.
        let Some(next) = next.filter(|next| *next <= self.size) else {
            return Err(cut_short(format_args!("within `{}`", shown(&entry.path))));
        };
        self.go_on(next)?;
        self.links.put(&entry.path, place);
        let sort = match (place, target) {
            (Some(place), _) => Sort::File(room.map(|room| self.content(place, room, &entry.path)).transpose()?, odd),
            (None, Some(target)) => Sort::Link(target),
            (None, None) => Sort::Other(other),
        };
        Ok(Some(Found { path: entry.path, sort }))
    }

    /// The headers of the next member; `None` at the mark of the end.
    fn entry(&mut self, begin: u64) -> Result<Option<Entry>, Fault> {
        let (mut pax, mut long_path, mut long_link) = (Pax::default(), None, None);
        let mut read = 0;
        loop {
            let at = self.blocks.position();
            let record = self.record(begin)?;
            if record == [0; RECORD as usize] {
                return match at == begin {
                    true => Ok(None),
                    false => Err(self.broken("its headers have no member behind them", begin)),
                };
            }
            let Some(header) = Header::read(record) else {
                return Err(match at {
                    0 => wrong_format("a tar archive"),
                    _ => self.broken("the checksum of a header differs", begin),
                });
            };
            let size = header.size();
            let mut extension = |members: &mut Self| -> Result<Vec<u8>, Fault> {
                let size = size.ok_or_else(|| members.broken("a size that is no number", begin))?;
                read += RECORD + size.min(MOST_HEADERS);
                if read > MOST_HEADERS {
                    return Err(long_headers(MOST_HEADERS));
                }
                members.extension(size, begin)
            };
            match header.sort() {
                b'x' | b'X' => {
                    let text = extension(self)?;
                    pax.add(&text).ok_or_else(|| self.broken("a pax header can't be read", begin))?;
                }
                b'g' => {
                    let text = extension(self)?;
                    let mut global = std::mem::take(&mut self.global);
                    global.add(&text).ok_or_else(|| self.broken("a pax header can't be read", begin))?;
                    self.global = global;
                }
                b'L' => long_path = Some(header::until_zero(&extension(self)?).to_vec()),
                b'K' => long_link = Some(header::until_zero(&extension(self)?).to_vec()),
                _ => {
                    let says = |of: fn(&Pax) -> Option<&Vec<u8>>| of(&pax).or(of(&self.global)).cloned();
                    let path = says(|pax| pax.path.as_ref()).or(long_path).unwrap_or_else(|| header.path());
                    let link = says(|pax| pax.link.as_ref()).or(long_link).unwrap_or_else(|| header.link().to_vec());
                    let size = pax.size.or(self.global.size).or(size);
                    // What has no data needs no size either.
                    let size = match (size, header.kind()) {
                        (Some(size), _) => size,
                        (None, Kind::Folder | Kind::HardLink | Kind::Link | Kind::Device) => 0,
                        (None, _) => return Err(self.broken("a size that is no number", begin)),
                    };
                    let sparse_pax = pax.sparse || self.global.sparse;
                    return Ok(Some(Entry { path, link, header, at, size, sparse_pax }));
                }
            }
        }
    }

    fn record(&mut self, begin: u64) -> Result<[u8; RECORD as usize], Fault> {
        if self.blocks.position() == begin && begin == self.size {
            return Err(cut_short("the mark of its end is missing"));
        }
        let mut record = [0; RECORD as usize];
        let read = self.blocks.read_exact(&mut record);
        read.map_err(|error| fault(error, |_| cut_short(within(begin))))?;
        Ok(record)
    }

    /// What a header that belongs to a member says.
    fn extension(&mut self, size: u64, begin: u64) -> Result<Vec<u8>, Fault> {
        let end = self.blocks.position() + size.next_multiple_of(RECORD);
        let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = self.blocks.read_exact(&mut text);
        read.map_err(|error| fault(error, |_| cut_short(within(begin))))?;
        self.go_on(end)?;
        Ok(text)
    }

    /// Goes on from there, which lies ahead: within the block where it can, which small members share.
    fn go_on(&mut self, next: u64) -> Result<(), Fault> {
        let ahead = usize::try_from(next.saturating_sub(self.blocks.position())).unwrap_or(usize::MAX);
        if ahead <= BLOCK && ahead <= self.blocks.block()?.len() {
            self.blocks.leave(ahead);
        } else {
            self.blocks.go_to(next);
        }
        Ok(())
    }

    /// How much data there is behind an entry that has none by its type, though its header says so much. Some programs
    /// write the size of the file there and no data, others write the data: what the next header stands behind is right.
    fn unexpected_data(&self, data: u64, size: u64) -> u64 {
        let behind = data.checked_add(size).and_then(|end| end.checked_next_multiple_of(RECORD));
        match behind {
            Some(behind) if size > 0 && !self.is_header(data) && self.is_header(behind) => size,
            _ => 0,
        }
    }

    /// Whether a header is there, or the mark of the end.
    fn is_header(&self, at: u64) -> bool {
        let mut record = [0; RECORD as usize];
        let mut blocks = Blocks::within(self.body.clone(), at..at.saturating_add(RECORD), &self.stop);
        blocks.read_exact(&mut record).is_ok() && (record == [0; RECORD as usize] || Header::read(record).is_some())
    }

    /// Where the data of a sparse file begins: behind its header, and behind more of it where that has not enough room.
    fn sparse_data(&self, entry: &Entry) -> Result<u64, Fault> {
        let mut source = Limited { blocks: self.from(entry.at), left: MOST_HEADERS };
        let read = Archive::new(&mut source).entries().and_then(|mut entries| entries.next().transpose().map(|_| ()));
        read.map_err(|error| fault(error, |error| self.broken(&error.to_string(), entry.at)))?;
        Ok(source.blocks.position())
    }

    fn from(&self, at: u64) -> Blocks {
        Blocks::within(self.body.clone(), at..u64::MAX, &self.stop)
    }

    fn content(&self, place: Place, room: &Room, path: &[u8]) -> Result<Spill, Fault> {
        let mut content = room.spill();
        if place.sparse {
            let mut archive = Archive::new(self.from(place.header));
            let read = sparse_content(&mut archive, &mut content);
            read.map_err(|error| fault(error, |error| damaged(format_args!("{error}, in `{}`", shown(path)))))?;
            return Ok(content);
        }
        let mut blocks = Blocks::within(self.body.clone(), place.data..place.data + place.size, &self.stop);
        loop {
            let block = blocks.take_block()?;
            if block.is_empty() {
                break;
            }
            content.put(&block)?;
        }
        match content.written() == place.size {
            true => Ok(content),
            false => Err(cut_short(format_args!("within `{}`", shown(path)))),
        }
    }

    /// The archive ends with a record of zeros, and more of them may follow.
    fn check_end(&mut self) -> Result<(), Fault> {
        loop {
            let block = self.blocks.take_block()?;
            if block.is_empty() {
                return Ok(());
            }
            if block.iter().any(|byte| *byte != 0) {
                let message = "other bytes follow the end of the archive";
                return Err(Fault::new(FaultKind::Rejected, "trailing-bytes", message)
                    .with_hint("remove them; archives that were joined have to be taken apart before"));
            }
        }
    }

    fn broken(&self, why: &str, begin: u64) -> Fault {
        damaged(format_args!("{why}, {}", within(begin)))
    }
}

fn within(begin: u64) -> String {
    format!("within the member that begins at byte {begin}")
}

fn sparse_content(archive: &mut Archive<Blocks>, content: &mut Spill) -> io::Result<()> {
    let Some(mut entry) = archive.entries()?.next().transpose()? else { return Ok(()) };
    let mut buffer = vec![0; BLOCK];
    loop {
        match entry.read(&mut buffer)? {
            0 if content.written() == entry.size() => return Ok(()),
            0 => return Err(io::Error::other(cut_short("within a sparse file"))),
            count => content.put(&buffer[..count]).map_err(io::Error::other)?,
        }
    }
}

/// Headers that are read, and no more than belong to one member.
struct Limited {
    blocks: Blocks,
    left: u64,
}

impl Read for &mut Limited {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !into.is_empty() {
            return Err(io::Error::other(long_headers(MOST_HEADERS)));
        }
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.blocks.read(&mut into[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Sparse files in pax archives have a table before their content, which would be taken for a part of it.
fn sparse(path: &[u8]) -> Fault {
    let message = format!("`{}` is a sparse file of a sort that can't be read", shown(path));
    Fault::new(FaultKind::Rejected, "sparse-member", message)
        .with_hint("make the archive without `--sparse`, or with `--format=gnu`")
}

impl Links {
    /// That member is named by a link.
    fn want(&mut self, path: &[u8]) -> Result<(), Fault> {
        self.0.insert(Self::key(path), None);
        if self.0.len() > MOST_LINKED {
            let message = format!("hard links of the archive name more than {MOST_LINKED} files");
            return Err(Fault::new(FaultKind::Rejected, "too-many-links", message)
                .with_hint("make the archive with `tar --hard-dereference`, which writes the content of each"));
        }
        Ok(())
    }

    /// What is there now, if that is a file.
    fn put(&mut self, path: &[u8], place: Option<Place>) {
        if !self.0.is_empty()
            && let Some(kept) = self.0.get_mut(&Self::key(path))
        {
            *kept = place;
        }
    }

    fn get(&self, path: &[u8]) -> Option<Place> {
        self.0.get(&Self::key(path)).copied().flatten()
    }

    /// `./a//b`, `/a/b` and `a/b` are the same member.
    fn key(path: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        for part in path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            hasher.update(part).update(b"/");
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        key
    }
}

impl Parts for Members {
    fn next(&mut self, room: &Room) -> Result<Option<Part>, Fault> {
        while let Some(found) = self.step(Some(room))? {
            if let Sort::File(Some(content), _) = found.sort {
                return Ok(Some(Part { content, member: Some(found.path) }));
            }
        }
        Ok(None)
    }
}
