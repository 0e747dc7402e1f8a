//! What a machine offers to keep commands apart.

/// A means that is missing, and what is therefore not protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The means: `namespaces`, `landlock`, `seccomp`.
    pub means: &'static str,
    /// What commands can do without it.
    pub effect: &'static str,
    /// Why it is missing, where that is known.
    pub why: String,
    /// What a person can do about it.
    pub hint: Option<&'static str>,
}

/// What keeps commands apart on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Private views of files and processes.
    pub namespaces: bool,
    /// Version of Landlock; 0: none.
    pub landlock: u32,
    /// System calls are filtered.
    pub seccomp: bool,
    /// The server runs as root, so what namespaces don't cover is root's, too.
    pub root: bool,
    /// What is not there.
    pub missing: Vec<Missing>,
}

impl Protection {
    /// In a few words: `namespaces, Landlock 7, seccomp`.
    pub fn summary(&self) -> String {
        let mut words = Vec::new();
        if self.namespaces {
            words.push("namespaces".to_owned());
        }
        if self.landlock > 0 {
            words.push(format!("Landlock {}", self.landlock));
        }
        if self.seccomp {
            words.push("seccomp".to_owned());
        }
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    }
}

/// What to tell people whose server runs as root.
pub const AS_ROOT: &str = "make a user for it (`useradd --system --create-home opendmp`), give that user the data directory and the folders of the \
     flows, and run `opendmp` as that user; a service file of systemd has `User=opendmp`";
