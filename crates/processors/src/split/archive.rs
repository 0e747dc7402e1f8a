//! What archives have in common: names of members, and what is left out of them.

use opendmp_model::fault::{Fault, FaultKind, LogLine};
use opendmp_model::name;

/// So many of what was left out are told one by one.
const MOST_TOLD: u64 = 100;

/// The file name of the member with that path. It is a name only: no path that stands in an archive is ever used as one.
pub(super) fn file_name(path: &[u8], index: u32) -> String {
    let last = path.split(|byte| *byte == b'/').rfind(|part| !part.is_empty()).unwrap_or_default();
    if matches!(last, b"" | b"." | b"..") || last.contains(&0) {
        return format!("member-{index:06}");
    }
    name::from_bytes(last)
}

/// A path to be told of.
pub(super) fn shown(path: &[u8]) -> String {
    name::printable(&name::from_bytes(path))
}

/// What of an archive becomes no child, though somebody may miss it.
#[derive(Default)]
pub(super) struct LeftOut {
    lines: Vec<LogLine>,
    count: u64,
}

impl LeftOut {
    /// A member, and what it is: `a link`.
    pub(super) fn add(&mut self, path: &[u8], what: &str) {
        self.count += 1;
        if self.count <= MOST_TOLD {
            self.lines.push(line(format!("`{}` was left out: it is {what}", shown(path))));
        }
    }

    /// A member that became a child all the same, and what is odd about it: `is of an odd type`.
    pub(super) fn note(&mut self, path: &[u8], what: &str) {
        if (self.lines.len() as u64) < MOST_TOLD {
            self.lines.push(line(format!("`{}` {what}", shown(path))));
        }
    }

    /// Something about the archive itself.
    pub(super) fn tell(&mut self, text: String) {
        self.lines.push(line(text));
    }

    pub(super) fn lines(mut self) -> Vec<LogLine> {
        if self.count > MOST_TOLD {
            self.lines.push(line(format!("{} more members were left out", self.count - MOST_TOLD)));
        }
        self.lines
    }
}

fn line(text: String) -> LogLine {
    LogLine { level: "warning".to_owned(), text }
}

/// The archive can't be read, and where.
pub(super) fn damaged(why: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Rejected, "damaged", format!("the archive is damaged: {why}"))
        .with_hint("send it again; its bytes were changed on the way")
}

/// It ends before its end, and where.
pub(super) fn cut_short(place: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Rejected, "cut-short", format!("the archive ends too early: {place}"))
        .with_hint("send it again; its end was not copied")
}

/// Its members are in several files.
pub(super) fn several_parts() -> Fault {
    let message = "the archive is one of several parts, and the others are in other files";
    Fault::new(FaultKind::Rejected, "several-parts", message)
        .with_hint("make it again in one part, or join the parts before they come here (`zip -s 0 --out whole.zip`)")
}

/// More than a member may have.
pub(super) fn long_headers(most: u64) -> Fault {
    damaged(format_args!("the headers of a member take more than {} MiB", most >> 20)).with_hint(
        "make the archive again without the extended attributes of files (`tar --no-xattrs`), if it is whole",
    )
}

/// No bytes at all.
pub(super) fn empty() -> Fault {
    let message = "the item is empty: even an archive of nothing has some bytes";
    Fault::new(FaultKind::Rejected, "empty-archive", message)
        .with_hint("look at what made it, or send empty items past this step with a `route`")
}

/// Something else.
pub(super) fn wrong_format(wanted: &str) -> Fault {
    let message = format!("the item is not {wanted}");
    Fault::new(FaultKind::Rejected, "wrong-format", message)
        .with_hint("look at what made it; compressed archives (`.tar.gz`) go through `decompress` before")
}
