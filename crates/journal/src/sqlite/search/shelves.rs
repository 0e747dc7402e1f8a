//! What is known of all names of a shelf: which trigrams some of them have, and between which numbers its rows are. A search
//! leaves out what can't have its words, since names of one collection are alike and often share a word that those of
//! others lack.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::fail::Result;

/// Bytes of a set of trigrams: a bit for each of 4,096 values that a trigram may hash to. The thousand trigrams of numbers
/// leave three of four bits for words.
const BYTES: usize = 512;

/// Shelves that are remembered.
const REMEMBERED: usize = 1_024;

/// A shelf, as it is to be.
#[derive(Debug)]
struct Shelf {
    least: i64,
    most: i64,
    grams: Vec<u8>,
    changed: bool,
}

/// Shelves that were written to. What was not saved with the rows is lost with them: whoever ends a transaction without its
/// commit makes this anew.
#[derive(Debug, Default)]
pub(super) struct Shelves(BTreeMap<i64, Shelf>);

impl Shelves {
    /// Adds the name of a new row.
    pub(super) fn add(&mut self, conn: &Connection, shelf: i64, row: i64, name: &str) -> Result<()> {
        let known = match self.0.entry(shelf) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let sql = "SELECT least, most, grams FROM shelf WHERE id = ?1";
                let stored = conn.prepare_cached(sql)?.query_row([shelf], |stored| {
                    Ok(Shelf { least: stored.get(0)?, most: stored.get(1)?, grams: stored.get(2)?, changed: false })
                });
                let new = Shelf { least: row, most: row, grams: vec![0; BYTES], changed: true };
                place.insert(stored.optional()?.unwrap_or(new))
            }
        };
        known.least = known.least.min(row);
        known.most = known.most.max(row);
        known.changed = true;
        for gram in grams(name) {
            let (byte, bit) = place(gram);
            if let Some(byte) = known.grams.get_mut(byte) {
                *byte |= bit;
            }
        }
        Ok(())
    }

    /// Writes down what was added.
    pub(super) fn save(&mut self, conn: &Connection) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO shelf (id, least, most, grams) VALUES (?1, ?2, ?3, ?4)";
        for (id, shelf) in self.0.iter_mut().filter(|(_, shelf)| shelf.changed) {
            conn.prepare_cached(sql)?.execute(params![id, shelf.least, shelf.most, shelf.grams])?;
            shelf.changed = false;
        }
        if self.0.len() > REMEMBERED {
            self.0.clear();
        }
        Ok(())
    }
}

/// Between which numbers the rows of a shelf are; `None` where it has none, or none whose name can have all of the words.
pub(super) fn with_words(conn: &Connection, shelf: i64, words: &[String]) -> Result<Option<(i64, i64)>> {
    let mut statement = conn.prepare_cached("SELECT least, most, grams FROM shelf WHERE id = ?1")?;
    let mut rows = statement.query([shelf])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let known = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    let has = |gram| {
        let (byte, bit) = place(gram);
        known.get(byte).is_none_or(|byte| byte & bit != 0)
    };
    let has_all = words.iter().flat_map(|word| grams(word)).all(has);
    Ok(if has_all { Some((row.get(0)?, row.get(1)?)) } else { None })
}

/// The trigrams of a text.
pub(super) fn grams(text: &str) -> impl Iterator<Item = [char; 3]> {
    let (second, third) = (text.chars().skip(1), text.chars().skip(2));
    text.chars().zip(second).zip(third).map(|((first, second), third)| [first, second, third])
}

/// Byte and bit of a trigram. This is stored: another way to hash is another version of the file.
fn place(gram: [char; 3]) -> (usize, u8) {
    let all = gram.iter().fold(0_u64, |all, char| all << 21 | u64::from(u32::from(*char)));
    let hash = (all.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize;
    (hash / 8, 1 << (hash % 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_name_is_never_ruled_out() {
        let names = ["scan-000123.csv", "größe 7\u{0}.txt", "日本語の名前", "ab", "", "a\nb c"];
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(super::super::file::TABLES).unwrap();
        // As by two programs, one after the other.
        for (rows, names) in [(7.., &names[..3]), (10.., &names[3..])] {
            let mut shelves = Shelves::default();
            for (row, name) in rows.zip(names) {
                shelves.add(&conn, 1, row, name).unwrap();
            }
            shelves.save(&conn).unwrap();
        }
        let with = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            with_words(&conn, 1, &words).unwrap()
        };
        for name in names {
            let chars: Vec<char> = name.chars().collect();
            for (from, to) in (0..chars.len()).flat_map(|from| (from..=chars.len()).map(move |to| (from, to))) {
                let word: String = chars[from..to].iter().collect();
                assert_eq!(with(&[&word, "000"]), Some((7, 12)), "{word:?} of {name:?}");
            }
        }
        assert_eq!(with(&["other"]), None);
        assert_eq!(with(&["scan", "other"]), None, "all of them");
        assert_eq!(with_words(&conn, 2, &[]).unwrap(), None, "a shelf without rows");
    }
}
