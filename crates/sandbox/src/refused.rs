//! What to tell people whose command was not allowed to write somewhere.

/// What systems say of a write to where it is not allowed.
const REFUSALS: [&str; 3] = ["Read-only file system", "EROFS", "attempt to write a readonly database"];

/// The hint for an error text of a command that was refused a write: the path as the text names it, and the line that
/// allows it. None where the text tells of no such thing.
pub fn hint(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| REFUSALS.iter().any(|refusal| line.contains(refusal)))?;
    let folder = path_in(line).map(|path| match path.rfind('/') {
        Some(0) | None => path.to_owned(),
        Some(end) => path[..end].to_owned(),
    });
    // Of the home folder only a part is meant.
    if let Some(folder) = folder.as_ref().filter(|folder| std::env::home_dir().is_some_and(|home| home == **folder)) {
        return Some(format!(
            "a script or command may not write to `{folder}`: return results as output; or make a folder in it, let it \
             write there, and name that folder in the processor, as `writable: [\"{folder}/FOLDER\"]`"
        ));
    }
    let line = match &folder {
        Some(folder) => format!("writable: [{}]", serde_json::Value::from(folder.as_str())),
        None => "writable: [FOLDER]".to_owned(),
    };
    let what = folder.map_or_else(|| "there".to_owned(), |folder| format!("to `{folder}`"));
    Some(format!(
        "a script or command may not write {what} unless the processor names it: return results as output, or add the \
         folder, `{line}`"
    ))
}

/// The absolute path that a line is about: the last one between quotes, else the last one at all, up to a blank or a
/// colon. A program that tells its own name says it first.
fn path_in(line: &str) -> Option<&str> {
    let (mut quoted, mut plain) = (None, None);
    let mut from = 0;
    while let Some(start) = line[from..].find('/').map(|at| from + at) {
        let before = line[..start].chars().next_back();
        let end = match before {
            Some(quote @ ('\'' | '"' | '`')) => line[start..].find(quote),
            Some('\u{2018}') => line[start..].find('\u{2019}'),
            None | Some(' ' | '(' | '=') => line[start..].find([' ', ':', ',', ')']).or(Some(line.len() - start)),
            _ => None,
        };
        from = start + end.unwrap_or(1).max(1);
        // The program's own name.
        if start == 0 && end.is_some_and(|end| line[end..].starts_with(':')) {
            continue;
        }
        if let Some(end) = end.filter(|end| *end > 1) {
            let found = if matches!(before, None | Some(' ' | '(' | '=')) { &mut plain } else { &mut quoted };
            *found = Some(&line[start..start + end]);
        }
    }
    quoted.or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_write_names_the_folder_and_the_line() {
        for (text, folder) in [
            ("OSError: [Errno 30] Read-only file system: '/home/ada/out/a b.csv'", "\"/home/ada/out\""),
            ("touch: cannot touch '/srv/x': Read-only file system", "\"/srv\""),
            ("tee: /data/results/y.txt: Read-only file system\nexit", "\"/data/results\""),
            ("sh: 1: cannot create /x: Read-only file system", "\"/x\""),
            ("/bin/own: 1: cannot create /x/y: Read-only file system", "\"/x\""),
            ("Error: EROFS: read-only file system, open '/opt/app/cache.json'", "\"/opt/app\""),
            ("cp: cannot create regular file \u{2018}/mnt/a/b\u{2019}: Read-only file system", "\"/mnt/a\""),
            ("write failed: Read-only file system", "FOLDER"),
            ("/bin/sh: 1: cannot create new.csv: Read-only file system", "FOLDER"),
            ("sqlite3.OperationalError: attempt to write a readonly database", "FOLDER"),
        ] {
            let hint = hint(text).unwrap();
            assert!(hint.contains(&format!("`writable: [{folder}]`")), "{text}: {hint}");
        }
        assert_eq!(hint("Permission denied: '/x'"), None);
        // The home folder as a whole is never advised.
        let home = std::env::home_dir().unwrap();
        let told = hint(&format!("mkdir: cannot create directory '{}/.cache': Read-only file system", home.display()));
        assert!(told.unwrap().contains(&format!("`writable: [\"{}/FOLDER\"]`", home.display())));
    }
}
