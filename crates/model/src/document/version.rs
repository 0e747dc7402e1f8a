//! A saved flow: immutable, named by the hash of what it means, with everything in it that it needs to run.
//!
//! The hash is of the document's values (not of comments, formatting or the order of keys), of the content of every
//! file the flow names, and of the environment locks. Its encoding is frozen: a golden test says so. The text as
//! written is kept beside it, because people want their comments back.

use super::flow::slug;
use super::tree::{self, Node};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::ids::ContentHash;
use crate::kinds::clean_path;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Separates these hashes from all others ever made with BLAKE3. The number is the version of the encoding.
const VERSION_DOMAIN: &str = "opendmp flow version v1";
const CONFIG_DOMAIN: &str = "opendmp processor config v1";
const CODE_DOMAIN: &str = "opendmp processor code v1";

/// The format versions are stored in. The first one is also that of a version that does not say.
pub const FORMAT: u16 = 1;

fn first_format() -> u16 {
    1
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let format = u16::deserialize(deserializer)?;
    if (1..=FORMAT).contains(&format) {
        Ok(format)
    } else {
        Err(de::Error::custom(format!(
            "this flow version is stored in format {format}; this program reads up to {FORMAT}"
        )))
    }
}

/// What a version is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowSource {
    /// YAML or JSON, as written.
    pub text: String,
    /// Every file the flow names, by its path relative to the document.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Environment locks by processor id.
    pub locks: BTreeMap<String, String>,
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub ContentHash);

        impl $name {
            /// Lower-case hexadecimal, 64 digits.
            pub fn to_hex(self) -> String {
                self.0.to_hex()
            }

            /// The first six digits, for people.
            pub fn short(self) -> String {
                self.0.short(6)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
    };
}

hash_type!(
    /// Names a flow version.
    VersionHash
);
hash_type!(
    /// Names what one processor does: its own config, the files it names, its environment lock. Equal in two versions
    /// means that held state and remembered results can be carried over.
    ConfigHash
);
hash_type!(
    /// Names the code of one processor, wherever it is written.
    CodeHash
);

/// A saved flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// The format this is stored in, [`FORMAT`]; a newer one is refused when it is read.
    #[serde(default = "first_format", deserialize_with = "known_format")]
    pub format: u16,
    /// Its name.
    pub hash: VersionHash,
    /// The flow's name as written.
    pub name: String,
    /// The flow's identity.
    pub slug: String,
    /// The text as written.
    pub text: String,
    /// What it means: without comments, aliases and merge keys, the keys sorted.
    pub document: Value,
    /// The files it names, by clean relative path.
    #[serde(default, with = "file_contents", skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Vec<u8>>,
    /// Environment locks by processor id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locks: BTreeMap<String, String>,
}

impl Version {
    /// Makes the version of a source. Refused when the text can't be read or has no name; whether its processors make
    /// sense is the business of [`mod@super::check`].
    pub fn new(source: FlowSource) -> Result<Version, Diagnostics> {
        let (root, diagnostics) = tree::parse(&source.text);
        let Some(root) = root.filter(|_| !diagnostics.has_errors()) else { return Err(diagnostics) };
        let name = root.get("name").and_then(Node::text).unwrap_or("").to_owned();
        let slug = slug(&name);
        if slug.is_empty() {
            let message = "a flow needs a `name` with letters or digits";
            return Err(Diagnostic::error(codes::BAD_NAME, message).at(root.first_line()).into());
        }
        let mut files = BTreeMap::new();
        for (path, content) in source.files {
            match clean_path(&path) {
                Ok(path) => files.insert(path, content),
                Err(problem) => return Err(Diagnostic::error(codes::BAD_FILE, format!("`{path}`: {problem}")).into()),
            };
        }
        let document = sorted(root.to_json());
        let hash = version_hash(&document, &files, &source.locks);
        Ok(Version { format: FORMAT, hash, name, slug, text: source.text, document, files, locks: source.locks })
    }

    /// Whether this is what its hash names; `false` says that what was stored is damaged. The text is the truth that
    /// is read again, because a decoder of JSON may round a fraction.
    pub fn is_intact(&self) -> bool {
        Version::new(self.source()).is_ok_and(|again| again.hash == self.hash && again.name == self.name)
    }

    /// What it was made of.
    pub fn source(&self) -> FlowSource {
        FlowSource { text: self.text.clone(), files: self.files.clone(), locks: self.locks.clone() }
    }
}

/// Hashes of one processor: `config` is its kind's own keys, `files` those it names, `code` pointers into `config`.
pub(crate) fn processor_hashes(
    kind: &str,
    config: &Map<String, Value>,
    code: &[String],
    files: &[(String, &[u8])],
    lock: Option<&str>,
) -> (ConfigHash, Option<CodeHash>) {
    let mut hasher = Hasher::new(CONFIG_DOMAIN);
    hasher.text(kind);
    hasher.map(config);
    hasher.number(files.len() as u64);
    for (name, content) in files {
        hasher.text(name);
        hasher.bytes(content);
    }
    // The tag keeps no lock apart from an empty one.
    hasher.number(u64::from(lock.is_some()));
    hasher.text(lock.unwrap_or(""));
    let config_hash = ConfigHash(hasher.end());
    let config_value = Value::Object(config.clone());
    let inline: Vec<&str> = code.iter().filter_map(|pointer| config_value.pointer(pointer)?.as_str()).collect();
    if inline.is_empty() && files.is_empty() {
        return (config_hash, None);
    }
    // Contents only, so that code that moves from `code:` into a file stays the same code.
    let mut hasher = Hasher::new(CODE_DOMAIN);
    hasher.text(kind);
    hasher.number((inline.len() + files.len()) as u64);
    inline.iter().for_each(|text| hasher.text(text));
    files.iter().for_each(|(_, content)| hasher.bytes(content));
    (config_hash, Some(CodeHash(hasher.end())))
}

fn version_hash(document: &Value, files: &BTreeMap<String, Vec<u8>>, locks: &BTreeMap<String, String>) -> VersionHash {
    let mut hasher = Hasher::new(VERSION_DOMAIN);
    hasher.value(document);
    hasher.number(files.len() as u64);
    for (path, content) in files {
        hasher.text(path);
        hasher.bytes(content);
    }
    hasher.number(locks.len() as u64);
    for (processor, lock) in locks {
        hasher.text(processor);
        hasher.text(lock);
    }
    VersionHash(hasher.end())
}

/// The frozen encoding: every value begins with a tag, every text and every list with its length as 8 bytes little
/// endian, maps are sorted by the bytes of their keys. Numbers are whole (8 bytes) or fractions (the bits of the
/// double), never text, whose form depends on who prints it.
struct Hasher(blake3::Hasher);

impl Hasher {
    fn new(domain: &str) -> Hasher {
        Hasher(blake3::Hasher::new_derive_key(domain))
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn tag(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(0),
            Value::Bool(false) => self.tag(1),
            Value::Bool(true) => self.tag(2),
            Value::Number(number) => {
                if let Some(whole) = number.as_u64() {
                    self.tag(3);
                    self.number(whole);
                } else if let Some(negative) = number.as_i64() {
                    self.tag(4);
                    self.number(negative.cast_unsigned());
                } else {
                    self.tag(5);
                    self.number(number.as_f64().unwrap_or(f64::NAN).to_bits());
                }
            }
            Value::String(text) => {
                self.tag(6);
                self.text(text);
            }
            Value::Array(list) => {
                self.tag(7);
                self.number(list.len() as u64);
                list.iter().for_each(|item| self.value(item));
            }
            Value::Object(map) => {
                self.tag(8);
                self.map(map);
            }
        }
    }

    fn map(&mut self, map: &Map<String, Value>) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_unstable();
        self.number(keys.len() as u64);
        for key in keys {
            self.text(key);
            self.value(&map[key.as_str()]);
        }
    }

    fn end(self) -> ContentHash {
        ContentHash(*self.0.finalize().as_bytes())
    }
}

/// The same with the keys of all maps sorted by their bytes.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        other => other,
    }
}

/// Files as JSON: text as text, anything else as hexadecimal digits.
mod file_contents {
    use super::{BTreeMap, Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Content {
        Text(String),
        Hex(String),
    }

    pub(super) fn serialize<S: Serializer>(
        files: &BTreeMap<String, Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(files.iter().map(|(path, content)| {
            let content = match std::str::from_utf8(content) {
                Ok(text) => Content::Text(text.to_owned()),
                Err(_) => Content::Hex(content.iter().map(|byte| format!("{byte:02x}")).collect()),
            };
            (path, content)
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
        BTreeMap::<String, Content>::deserialize(deserializer)?
            .into_iter()
            .map(|(path, content)| match content {
                Content::Text(text) => Ok((path, text.into_bytes())),
                Content::Hex(hex) => bytes_of(&hex)
                    .map(|bytes| (path, bytes))
                    .ok_or_else(|| de::Error::custom("a file's content is damaged")),
            })
            .collect()
    }

    fn bytes_of(hex: &str) -> Option<Vec<u8>> {
        if !hex.len().is_multiple_of(2) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
    }
}
