//! How many tests passed, failed and were skipped, read from what the runners print at their end.

use std::fmt;
use std::ops::Add;

use anyhow::{Context as _, Result, ensure};

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ended well.
    pub passed: u32,
    /// Ended otherwise, or not at all.
    pub failed: u32,
    /// Never begun.
    pub skipped: u32,
}

impl Counts {
    /// A check without tests of its own that went well.
    pub fn success() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// A check that failed.
    pub fn failure() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// One check after another: all of them, counted by how they ended.
    pub fn one(ended_well: bool) -> Self {
        if ended_well { Self::success() } else { Self::failure() }
    }

    /// The line that closes the suite.
    pub fn closing_line(self) -> String {
        if self.skipped > 0 {
            format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
        } else {
            format!("{} passed, {} failed", self.passed, self.failed)
        }
    }

    /// From nextest's `Summary [ 0.1s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`.
    ///
    /// Whatever ran without passing (failed, timed out, could not be started) counts as failed.
    pub fn from_nextest(text: &str) -> Result<Self> {
        let text = without_colours(text);
        let line = text
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with("Summary [") && line.contains("run:"))
            .context("nextest printed no summary")?;
        let (head, tail) = line.split_once("run:").context("nextest's summary has another form")?;
        // `12 tests run:`, or `3/12 tests run:` if it was stopped: then the rest never ran, and is not skipped on purpose.
        let ran = head.split_once(']').context("nextest's summary has another form")?.1;
        let ran = ran.split_whitespace().next().context("nextest's summary has no count")?;
        let ran = ran.rsplit('/').next().unwrap_or(ran).parse::<u32>().context("nextest's count is no number")?;
        let passed = before(tail, "passed").unwrap_or(0);
        ensure!(passed <= ran, "nextest counts more passed tests than it ran: {line}");
        Ok(Self { passed, failed: ran - passed, skipped: before(tail, "skipped").unwrap_or(0) })
    }

    /// From `cargo test`'s `test result: ok. 3 passed; 0 failed; 1 ignored; …`, of which there is one for each binary.
    pub fn from_cargo_test(text: &str) -> Result<Self> {
        let text = without_colours(text);
        let mut sum = Self::default();
        for line in text.lines().filter(|line| line.trim_start().starts_with("test result:")) {
            sum = sum
                + Self {
                    passed: before(line, "passed").context("a test result without `passed`")?,
                    failed: before(line, "failed").context("a test result without `failed`")?,
                    skipped: before(line, "ignored").unwrap_or(0),
                };
        }
        Ok(sum)
    }

    /// From vitest's `      Tests  2 failed | 61 passed | 1 skipped (64)`.
    pub fn from_vitest(text: &str) -> Result<Self> {
        let text = without_colours(text);
        let line = text.lines().rev().find(|line| line.trim_start().starts_with("Tests "));
        let line = line.context("vitest printed no count of tests")?.replace('|', ",");
        let of = |word| before(&line, word).unwrap_or(0);
        Ok(Self { passed: of("passed"), failed: of("failed"), skipped: of("skipped") + of("todo") })
    }

    /// From a last line such as [`Counts::closing_line`] gives.
    pub fn from_closing_line(text: &str) -> Result<Self> {
        let text = without_colours(text);
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).context("nothing was printed")?;
        let passed = before(line, "passed").with_context(|| format!("the last line tells no count: {line}"))?;
        let failed = before(line, "failed").with_context(|| format!("the last line tells no count: {line}"))?;
        Ok(Self { passed, failed, skipped: before(line, "skipped").unwrap_or(0) })
    }
}

/// The number that stands before `word`.
fn before(line: &str, word: &str) -> Option<u32> {
    let words: Vec<&str> =
        line.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|w| !w.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok())
}

/// The text without the escape sequences that colour it.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("\u{1b}[") {
        plain.push_str(head);
        rest = tail.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.passed + self.failed)?;
        if self.failed > 0 {
            write!(f, ", {} bad", self.failed)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} skip", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_is_read() {
        let text = "noise\n     Summary [   0.019s] 12 tests run: 9 passed (1 slow, 1 flaky), 2 failed, 1 timed out, 4 skipped\nerror: test run failed\n";
        assert_eq!(Counts::from_nextest(text).unwrap(), Counts { passed: 9, failed: 3, skipped: 4 });
        let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m1\u{1b}[0m test run: \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(Counts::from_nextest(coloured).unwrap(), Counts { passed: 1, failed: 0, skipped: 0 });
        let stopped = "     Summary [   0.1s] 3/12 tests run: 2 passed, 1 failed, 0 skipped";
        assert_eq!(Counts::from_nextest(stopped).unwrap(), Counts { passed: 2, failed: 10, skipped: 0 });
        assert!(Counts::from_nextest("error: no tests to run").is_err());
    }

    #[test]
    fn cargo_test_is_read_over_all_binaries() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(Counts::from_cargo_test(text).unwrap(), Counts { passed: 4, failed: 2, skipped: 1 });
    }

    #[test]
    fn vitest_is_read() {
        let text = " Test Files  1 failed | 3 passed (4)\n      Tests  2 failed | 61 passed | 1 skipped (64)\n   Duration  2 s\n";
        assert_eq!(Counts::from_vitest(text).unwrap(), Counts { passed: 61, failed: 2, skipped: 1 });
        assert_eq!(
            Counts::from_vitest("      Tests  3 passed (3)\n").unwrap(),
            Counts { passed: 3, failed: 0, skipped: 0 }
        );
        assert!(Counts::from_vitest("no test files found").is_err());
    }

    #[test]
    fn a_closing_line_is_read_again() {
        for counts in [Counts { passed: 7, failed: 1, skipped: 2 }, Counts { passed: 3, failed: 0, skipped: 0 }] {
            assert_eq!(Counts::from_closing_line(&format!("more\n{}\n\n", counts.closing_line())).unwrap(), counts);
        }
        assert!(Counts::from_closing_line("it broke off").is_err());
    }

    #[test]
    fn the_closing_line_is_plain() {
        assert_eq!(Counts { passed: 7, failed: 0, skipped: 0 }.closing_line(), "7 passed, 0 failed");
        assert_eq!(Counts { passed: 7, failed: 1, skipped: 2 }.closing_line(), "7 passed, 1 failed, 2 skipped");
    }
}
