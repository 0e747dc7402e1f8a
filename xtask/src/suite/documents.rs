//! What the documents (`*.md`) promise: that links lead somewhere, that commands exist, that quoted files say just that.
//!
//! Links to other hosts are not followed: whether they answer says more about the network than about the documents.
//!
//! A document binds a code block to a file by a comment on the line before it: `<!-- same as PATH -->` if the block is the
//! whole file, `<!-- part of PATH -->` if it is an excerpt; `PATH` is relative to the workspace.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::Report;
use super::counts::Counts;
use crate::{files, shell};

/// Folders whose documents are others'.
const FOREIGN: &[&str] = &["target", "node_modules"];

/// Languages of code blocks that hold commands to type.
const SHELLS: &[&str] = &["sh", "bash", "shell"];

/// A code block with what a reader is told about it.
#[derive(Debug)]
struct Block {
    /// Counted from 1.
    line: usize,
    language: String,
    text: String,
    /// The last comment before it, without its brackets, if nothing else stands between them.
    comment: Option<String>,
}

/// A document taken apart.
#[derive(Debug, Default)]
struct Document {
    /// Targets of links and pictures, with their lines.
    links: Vec<(usize, String)>,
    /// Names that `#anchor` may ask for.
    anchors: Vec<String>,
    blocks: Vec<Block>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        let mut comment: Option<String> = None;
        for (event, range) in
            Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES).into_offset_iter()
        {
            let line = 1 + text[..range.start].matches('\n').count();
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    if let Some(title) = heading.take() {
                        let slug = slug(&title);
                        let times = seen.entry(slug.clone()).or_default();
                        document.anchors.push(if *times == 0 { slug } else { format!("{slug}-{times}") });
                        *times += 1;
                    }
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(info) => info.split([' ', ',']).next().unwrap_or_default().to_owned(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block { line, language, text: String::new(), comment: comment.take() });
                }
                Event::End(TagEnd::CodeBlock) => document.blocks.extend(block.take()),
                Event::Html(html) | Event::InlineHtml(html) => {
                    for key in ["href", "src"] {
                        document.links.extend(attributes(&html, key).map(|target| (line, target)));
                    }
                    for key in ["id", "name"] {
                        document.anchors.extend(attributes(&html, key));
                    }
                    if let Some(said) = html.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) {
                        comment = Some(said.trim().to_owned());
                    }
                }
                Event::Start(Tag::Paragraph | Tag::List(_) | Tag::Table(_) | Tag::BlockQuote(_)) => comment = None,
                Event::Text(part) | Event::Code(part) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&part);
                    } else if let Some(title) = &mut heading {
                        title.push_str(&part);
                    }
                }
                _ => {}
            }
        }
        document
    }
}

/// The anchor that a heading gets where people read it: lower case, without punctuation, hyphens for blanks.
fn slug(title: &str) -> String {
    let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The values of `key="…"` in a piece of HTML.
fn attributes<'a>(html: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    html.split_whitespace().filter_map(move |word| {
        let value = word.trim_start_matches('<').strip_prefix(key)?.strip_prefix("=\"")?;
        Some(value.split_once('"')?.0.to_owned())
    })
}

/// Every document of the project, as a path relative to the workspace and its parts.
fn documents() -> Result<HashMap<PathBuf, Document>> {
    let root = shell::root();
    let mut found = HashMap::new();
    for entry in fs::read_dir(root).context("can't list the workspace")? {
        let name = entry.context("can't list the workspace")?.file_name();
        let top = Path::new(&name);
        if name.as_encoded_bytes().starts_with(b".") || FOREIGN.iter().any(|foreign| top.ends_with(foreign)) {
            continue;
        }
        let paths = if root.join(top).is_dir() {
            files::list(&root.join(top))?.into_iter().map(|path| top.join(path)).collect()
        } else {
            vec![top.to_owned()]
        };
        for path in paths {
            let foreign = path.components().any(|part| FOREIGN.iter().any(|foreign| part.as_os_str() == *foreign));
            if path.extension().is_some_and(|extension| extension == "md") && !foreign {
                let text =
                    fs::read_to_string(root.join(&path)).with_context(|| format!("can't read {}", path.display()))?;
                found.insert(path, Document::parse(&text));
            }
        }
    }
    Ok(found)
}

/// `folder/target` with `.` and `..` resolved by name, or `None` if that leaves the workspace.
fn resolve(folder: &Path, target: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    Some(path)
}

/// `%20` and the like as the bytes they stand for.
fn decoded(target: &str) -> String {
    let bytes = target.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Why a link leads nowhere, if it does.
fn dead(from: &Path, target: &str, all: &HashMap<PathBuf, Document>, exists: &dyn Fn(&Path) -> bool) -> Option<String> {
    if target.split_once(':').is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric())) {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() {
        from.to_owned()
    } else {
        match resolve(from.parent().unwrap_or(Path::new("")), &decoded(file)) {
            Some(path) => path,
            None => return Some("it leaves the repository".to_owned()),
        }
    };
    if !exists(&path) {
        return Some(format!("there is no {}", path.display()));
    }
    let anchor = decoded(anchor?);
    let document = all.get(&path)?;
    (!document.anchors.contains(&anchor)).then(|| format!("{} has no heading for #{anchor}", path.display()))
}

/// Every link in every document.
pub fn links() -> Report {
    let all = documents()?;
    let mut counts = Counts::default();
    let mut links = 0;
    for (path, document) in &all {
        let mut ends_well = true;
        for (line, target) in &document.links {
            links += 1;
            if let Some(why) = dead(path, target, &all, &|path| shell::root().join(path).exists()) {
                println!("{}:{line}: the link to {target} is dead: {why}", path.display());
                ends_well = false;
            }
        }
        counts = counts + Counts::one(ends_well);
    }
    println!("{links} links in {} documents", all.len());
    Ok(counts)
}

/// Every command line, and every block that is bound to a file.
pub fn statements() -> Report {
    let binary = shell::build(shell::Profile::Debug)?;
    let mut counts = Counts::default();
    for (path, document) in documents()? {
        for block in &document.blocks {
            let commands = commands(block).map(|command| supported(&binary, &command));
            for result in bound(block).into_iter().chain(commands) {
                if let Err(error) = &result {
                    println!("{}:{}: {error:#}", path.display(), block.line);
                }
                counts = counts + Counts::one(result.is_ok());
            }
        }
    }
    println!("{} statements checked", counts.passed + counts.failed);
    Ok(counts)
}

/// Compares a block with the file it is bound to, if it is bound to one.
fn bound(block: &Block) -> Option<Result<()>> {
    let comment = block.comment.as_deref()?;
    let (whole, path) = match (comment.strip_prefix("same as "), comment.strip_prefix("part of ")) {
        (Some(path), _) => (true, path),
        (_, Some(path)) => (false, path),
        _ => return None,
    };
    let compare = || {
        let text = fs::read_to_string(shell::root().join(path)).with_context(|| format!("can't read {path}"))?;
        if whole && text.trim_end() != block.text.trim_end() {
            bail!("the block is not the same as {path}");
        }
        if !text.contains(block.text.trim_end()) {
            bail!("the block is not part of {path}");
        }
        Ok(())
    };
    Some(compare())
}

/// The commands of a block, each as its words.
fn commands(block: &Block) -> impl Iterator<Item = Vec<String>> + use<> {
    let console = block.language == "console";
    let mut lines: Vec<String> = Vec::new();
    if console || SHELLS.contains(&block.language.as_str()) {
        let mut open = false;
        for line in block.text.lines() {
            let line = if open {
                line
            } else if let Some(line) = line.strip_prefix("$ ") {
                line
            } else if console {
                continue;
            } else {
                line
            };
            let (line, more) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
            match lines.last_mut() {
                Some(last) if open => last.push_str(line),
                _ => lines.push(line.to_owned()),
            }
            open = more;
        }
    }
    lines.into_iter().flat_map(|line| words(&line))
}

/// A line of shell as the simple commands on it: split at blanks and operators, quotes honoured, comments and
/// redirections left out. Enough for what documents show; no substitution of any kind.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    let mut skip_next = false;
    let mut finish = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>, redirects: bool| {
        if let Some(word) = word.take() {
            if skip_next {
                skip_next = false;
            } else if let Some(command) = commands.last_mut() {
                command.push(word);
            }
        }
        skip_next |= redirects;
    };
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';') => {
                finish(&mut word, &mut commands, false);
                commands.push(Vec::new());
            }
            (None, '>' | '<') => {
                characters.next_if(|next| matches!(next, '>' | '&'));
                // `2>` names a stream, it is no word of the command.
                if word.as_deref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) {
                    word = None;
                }
                finish(&mut word, &mut commands, true);
            }
            (None, c) if c.is_whitespace() => finish(&mut word, &mut commands, false),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    finish(&mut word, &mut commands, false);
    commands.retain(|command| !command.is_empty());
    commands
}

/// Asks the program whether it knows the command: with `--help` behind it clap checks every verb and flag, and runs nothing.
fn supported(binary: &Path, command: &[String]) -> Result<()> {
    let known: Vec<&str> = command.iter().map(String::as_str).skip_while(|word| word.contains('=')).collect();
    match known.as_slice() {
        ["cargo", "xtask", name, ..] if !crate::COMMANDS.contains(name) => {
            bail!("`cargo xtask {name}` does not exist")
        }
        // Behind `--` a `--help` would be an argument, and the command would run.
        ["opendmp", rest @ ..] if !rest.contains(&"--") => {
            let mut ask = shell::command(binary);
            ask.args(rest).arg("--help");
            shell::capture(&mut ask).map(|_| ()).with_context(|| format!("`{}` is no command", known.join(" ")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_made_as_on_the_web() {
        let document = Document::parse("# Say `hello`, world!\n\n## Twice\n\n## Twice\n\n<a id=\"here\"></a>\n");
        assert_eq!(document.anchors, ["say-hello-world", "twice", "twice-1", "here"]);
    }

    #[test]
    fn dead_links_are_told_from_living_ones() {
        let mut all = HashMap::new();
        let page = "# Top\n[a](other.md#part) [b](../README.md) [c](#top) [d](https://example.org/x) ![e](two%20words.png)\n\
                    [f](missing.md) [g](other.md#gone) [h](../../etc) [i](#gone)\n\n`[no](link.md)`\n\n```\n[nor](this.md)\n```\n";
        all.insert(PathBuf::from("docs/page.md"), Document::parse(page));
        all.insert(PathBuf::from("docs/other.md"), Document::parse("## Part\n"));
        let there = ["docs/page.md", "docs/other.md", "README.md", "docs/two words.png"];
        let exists = |path: &Path| there.contains(&path.to_str().unwrap());
        let from = PathBuf::from("docs/page.md");
        let dead: Vec<String> = all[&from]
            .links
            .iter()
            .filter_map(|(line, target)| Some(format!("{line} {target}: {}", dead(&from, target, &all, &exists)?)))
            .collect();
        assert_eq!(
            dead,
            [
                "3 missing.md: there is no docs/missing.md",
                "3 other.md#gone: docs/other.md has no heading for #gone",
                "3 ../../etc: it leaves the repository",
                "3 #gone: docs/page.md has no heading for #gone",
            ]
        );
    }

    #[test]
    fn commands_are_taken_from_blocks_for_shells() {
        let text = "```sh\nopendmp run 'my flow.yaml' \\\n  --timeout 5s  # wait\nls | wc -l > n.txt; cd x\n```\n\n\
                    ```console\n$ opendmp datasets list 2>&1\nPenguins 3\n```\n\n```yaml\nopendmp: 1\n```\n";
        let document = Document::parse(text);
        let found: Vec<Vec<String>> = document.blocks.iter().flat_map(commands).collect();
        assert_eq!(
            found,
            [
                vec!["opendmp", "run", "my flow.yaml", "--timeout", "5s"],
                vec!["ls"],
                vec!["wc", "-l"],
                vec!["cd", "x"],
                vec!["opendmp", "datasets", "list"],
            ]
        );
    }

    #[test]
    fn a_block_is_bound_by_the_comment_right_before_it() {
        let text = "<!-- part of xtask/Cargo.toml -->\n```toml\n[package]\nname = \"xtask\"\n```\n\n\
                    <!-- same as xtask/Cargo.toml -->\n```toml\n[package]\n```\n\n\
                    <!-- same as xtask/Cargo.toml -->\nWords between.\n\n```toml\nfree\n```\n";
        let document = Document::parse(text);
        let results: Vec<Option<bool>> = document.blocks.iter().map(|block| bound(block).map(|r| r.is_ok())).collect();
        assert_eq!(results, [Some(true), Some(false), None]);
    }

    #[test]
    fn unknown_xtasks_are_told() {
        let words = |line: &str| words(line).remove(0);
        let binary = Path::new("/nonexistent");
        assert!(supported(binary, &words("cargo xtask demo")).is_ok());
        assert!(supported(binary, &words("CI=true cargo xtask fly")).is_err());
        assert!(supported(binary, &words("opendmp run x")).is_err());
    }
}
