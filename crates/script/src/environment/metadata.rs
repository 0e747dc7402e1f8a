//! PEP 723: the block of TOML in the comments at the top of a script.

use serde::Deserialize;

use crate::error::Error;

/// What a script says about its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Packages as PEP 508 names them.
    pub dependencies: Vec<String>,
    /// Versions of Python as PEP 440 names them.
    pub requires_python: Option<String>,
    clauses: Vec<Clause>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Block {
    #[serde(default)]
    dependencies: Vec<String>,
    requires_python: Option<String>,
}

impl Metadata {
    /// Read the block of a script; none if it has none.
    ///
    /// # Errors
    /// When there are two blocks, one that is not closed, or one that is not as PEP 723 says.
    pub fn parse(code: &str) -> Result<Option<Self>, Error> {
        let Some((first_line, text)) = block(code)? else { return Ok(None) };
        let block: Block = toml::from_str(&text).map_err(|error| {
            let within = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count());
            invalid(first_line + within, error.message())
        })?;
        let clauses = match &block.requires_python {
            Some(text) => clauses(text).map_err(|what| invalid(first_line, &what))?,
            None => Vec::new(),
        };
        // They become lines of a requirements file, in which options could stand, too.
        if let Some(odd) = block.dependencies.iter().find(|text| {
            text.contains(['\n', '\r']) || text.trim_start().starts_with(['-', '#']) || text.trim_end().ends_with('\\')
        }) {
            return Err(invalid(first_line, &format!("`{}` is not a package", odd.escape_default())));
        }
        Ok(Some(Self { dependencies: block.dependencies, requires_python: block.requires_python, clauses }))
    }

    /// Whether a version of Python fits.
    pub(super) fn allows(&self, version: (u32, u32, u32)) -> bool {
        let version = [version.0, version.1, version.2];
        self.clauses.iter().all(|clause| clause.allows(&version))
    }
}

fn invalid(line: usize, what: &str) -> Error {
    Error::Environment {
        message: format!(
            "the script's metadata can't be read, line {line}: {}",
            what.lines().next().unwrap_or_default()
        ),
        hint: Some("it looks like this: `# /// script`, `# dependencies = [\"pandas==3.1.1\"]`, `# ///`".into()),
    }
}

/// The content of the only `script` block, and the line of the script that it begins at.
fn block(code: &str) -> Result<Option<(usize, String)>, Error> {
    let mut found = None;
    let mut lines = code.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if line.trim_end() != "# /// script" {
            continue;
        }
        let mut comments = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| *line == "#" || line.starts_with("# ")) {
            comments.push(line);
        }
        // The last closing line counts, as the specification has it.
        let Some(end) = comments.iter().rposition(|line| line.trim_end() == "# ///") else {
            return Err(invalid(at + 1, "the block is not closed by `# ///`"));
        };
        let text = comments[..end].iter().map(|line| format!("{}\n", line.get(2..).unwrap_or_default())).collect();
        if found.replace((at + 2, text)).is_some() {
            return Err(invalid(at + 1, "there is a second `script` block"));
        }
    }
    Ok(found)
}

/// One condition on a version, such as `>=3.11`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    operator: &'static str,
    version: Vec<u32>,
    /// It ends with `.*`.
    any: bool,
}

fn clauses(text: &str) -> Result<Vec<Clause>, String> {
    text.split(',').map(str::trim).filter(|clause| !clause.is_empty()).map(clause).collect()
}

fn clause(text: &str) -> Result<Clause, String> {
    let bad = || format!("`{text}` is not a condition on the version of Python");
    let operator =
        ["===", "==", "~=", "!=", "<=", ">=", "<", ">"].into_iter().find(|op| text.starts_with(op)).ok_or_else(bad)?;
    let version = text[operator.len()..].trim();
    let (version, any) = version.strip_suffix(".*").map_or((version, false), |version| (version, true));
    let numbers = version.split('.').map(|part| part.parse().map_err(|_| bad())).collect::<Result<Vec<u32>, _>>()?;
    if (any && !["==", "!="].contains(&operator)) || (operator == "~=" && numbers.len() < 2) {
        return Err(bad());
    }
    Ok(Clause { operator: if operator == "===" { "==" } else { operator }, version: numbers, any })
}

impl Clause {
    fn allows(&self, version: &[u32; 3]) -> bool {
        // Missing parts count as zero, so that 3.11 and 3.11.0 are equal.
        let mut wanted = self.version.clone();
        wanted.resize(wanted.len().max(3), 0);
        let order = version.as_slice().cmp(&wanted[..]);
        let begins_with = |parts: &[u32]| version.iter().zip(parts).all(|(a, b)| a == b);
        match self.operator {
            "==" if self.any => begins_with(&self.version),
            "!=" if self.any => !begins_with(&self.version),
            "==" => order.is_eq(),
            "!=" => order.is_ne(),
            "<=" => order.is_le(),
            ">=" => order.is_ge(),
            "<" => order.is_lt(),
            ">" => order.is_gt(),
            // `~=`: at least this one, and of the same series.
            _ => order.is_ge() && begins_with(&self.version[..self.version.len() - 1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(code: &str) -> Metadata {
        Metadata::parse(code).unwrap().unwrap()
    }

    #[test]
    fn reads_the_block_of_the_specification() {
        let code = "#!/usr/bin/env python\n# /// script\n# requires-python = \">=3.11\"\n# dependencies = [\n#   \"requests<3\",\n\
                    #   \"rich\",\n# ]\n#\n# [tool.other]\n# x = 1\n# ///\n\nimport requests\n";
        let metadata = parse(code);
        assert_eq!(metadata.dependencies, ["requests<3", "rich"]);
        assert_eq!(metadata.requires_python.as_deref(), Some(">=3.11"));
    }

    #[test]
    fn no_block_is_no_metadata() {
        for code in ["", "import x\n", "# /// other\n# a = 1\n# ///\n", "x = '''\n # /// script\n'''\n"] {
            assert_eq!(Metadata::parse(code).unwrap(), None, "{code}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (code, line, what) in [
            ("# /// script\n# dependencies = [\n# ///\n", "line ", ""),
            ("\n# /// script\n# dependencies = 1\n# ///\n", "line 3", "invalid type"),
            ("# /// script\n# dependencies = []\n", "line 1", "not closed"),
            ("# /// script\n# ///\n# /// script\n# ///\n\n# /// script\n# ///\n", "line ", "second"),
            ("# /// script\n# requires-python = \"3.11\"\n# ///\n", "line 2", "not a condition"),
            ("# /// script\n# dependencies = [\"--index-url=http://x\"]\n# ///\n", "line 2", "not a package"),
            ("# /// script\n# dependencies = [\"a\\n-r /etc/passwd\"]\n# ///\n", "line 2", "not a package"),
        ] {
            let error = Metadata::parse(code).unwrap_err();
            assert!(error.to_string().contains(line) && error.to_string().contains(what), "{code}: {error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn versions_of_python_are_compared() {
        for (condition, fit, unfit) in [
            (">=3.11", vec![(3, 11, 0), (3, 13, 2)], vec![(3, 10, 9)]),
            (">=3.9,<3.12", vec![(3, 9, 0), (3, 11, 9)], vec![(3, 12, 0)]),
            ("~=3.10", vec![(3, 10, 0), (3, 99, 0)], vec![(4, 0, 0), (3, 9, 9)]),
            ("~=3.10.2", vec![(3, 10, 2)], vec![(3, 10, 1), (3, 11, 0)]),
            ("==3.11.*", vec![(3, 11, 7)], vec![(3, 12, 0)]),
            ("!=3.11.*, >3", vec![(3, 12, 0)], vec![(3, 11, 4)]),
            ("==3.11", vec![(3, 11, 0)], vec![(3, 11, 1)]),
        ] {
            let metadata = parse(&format!("# /// script\n# requires-python = \"{condition}\"\n# ///\n"));
            assert!(fit.iter().all(|version| metadata.allows(*version)), "{condition}");
            assert!(!unfit.iter().any(|version| metadata.allows(*version)), "{condition}");
        }
    }
}
