//! Between which places of each order the rows of a zone are: of some thousand rows whose numbers follow each other. Rows are
//! numbered as they were first seen, and what came later mostly has a later time, a later name. So the first ones in an order
//! of some rows are in a few zones, and the bounds of the others prove that they are not there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use opendmp_model::ids::{Arrival, PathHash, SlotId};
use opendmp_ports::journal::SortBy;
use opendmp_ports::journal::search::{Key, Place};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::sqlite::fail::{Fail, Result};

/// Bits of a row's number that tell rows of a zone apart: the more, the fewer zones are looked at for a page, and the more
/// rows are read of each. Tests have many zones of few rows.
const BITS: u32 = if cfg!(test) { 5 } else { 12 };

/// Zones that are remembered.
const REMEMBERED: usize = 3 * 256;

/// Key and origin: of rows with one key and one origin, all are within.
type Bound = (Key, i64);

/// A zone in one order, as it is to be.
#[derive(Debug)]
struct Zone {
    least: Bound,
    most: Bound,
    changed: bool,
}

/// Zones that were written to, by order and number. What was not saved with the rows is lost with them: whoever ends a
/// transaction without its commit makes this anew.
#[derive(Debug, Default)]
pub(super) struct Zones(BTreeMap<(i64, i64), Zone>);

impl Zones {
    /// Adds where a row is in an order. Where it was before stays within.
    pub(super) fn add(&mut self, conn: &Connection, row: i64, by: SortBy, bound: Bound) -> Result<()> {
        let (order, id) = (order(by), row >> BITS);
        let known = match self.0.entry((order, id)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let sql = "SELECT least, least_origin, most, most_origin FROM zone WHERE sort = ?1 AND id = ?2";
                let stored = conn.prepare_cached(sql)?.query_row([order, id], |stored| {
                    Ok(bound_of(stored, 0).and_then(|least| Ok((least, bound_of(stored, 2)?))))
                });
                let zone = match stored.optional()?.transpose()? {
                    Some((least, most)) => Zone { least, most, changed: false },
                    None => Zone { least: bound.clone(), most: bound.clone(), changed: true },
                };
                place.insert(zone)
            }
        };
        if bound < known.least {
            (known.least, known.changed) = (bound, true);
        } else if bound > known.most {
            (known.most, known.changed) = (bound, true);
        }
        Ok(())
    }

    /// Writes down what was added.
    pub(super) fn save(&mut self, conn: &Connection) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO zone (sort, id, least, least_origin, most, most_origin) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        for ((order, id), zone) in self.0.iter_mut().filter(|(_, zone)| zone.changed) {
            let (least, most) = (value(&zone.least.0), value(&zone.most.0));
            conn.prepare_cached(sql)?.execute(params![order, id, least, zone.least.1, most, zone.most.1])?;
            zone.changed = false;
        }
        if self.0.len() > REMEMBERED {
            self.0.clear();
        }
        Ok(())
    }
}

/// A zone with rows that are asked for.
#[derive(Debug)]
pub(super) struct Within {
    /// No row of it is before this place,
    pub least: Place,
    /// and none behind this one.
    pub most: Place,
    /// Which of the numbers that were asked for are in it.
    pub ids: Range<usize>,
}

/// The zones of rows whose numbers ascend.
pub(super) fn of(conn: &Connection, by: SortBy, ids: &[i64]) -> Result<Vec<Within>> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(Vec::new()) };
    let sql = "SELECT least, least_origin, most, most_origin, id FROM zone WHERE sort = ?1 AND id BETWEEN ?2 AND ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([order(by), first >> BITS, last >> BITS])?;
    let (mut zones, mut at) = (Vec::new(), 0);
    for of_zone in ids.chunk_by(|one, other| one >> BITS == other >> BITS) {
        let of = at..at + of_zone.len();
        let id = ids[at] >> BITS;
        at = of.end;
        loop {
            let Some(row) = rows.next()? else { return Err(Fail::Damaged(format!("no zone {id} of rows"))) };
            if row.get::<_, i64>(4)? == id {
                let place =
                    |(key, origin): Bound, hash| (key, SlotId { origin: Arrival(origin as u64), hash: PathHash(hash) });
                let (least, most) = (place(bound_of(row, 0)?, [0; _]), place(bound_of(row, 2)?, [0xff; _]));
                zones.push(Within { least, most, ids: of });
                break;
            }
        }
    }
    Ok(zones)
}

/// Number of an order. This is stored.
fn order(by: SortBy) -> i64 {
    match by {
        SortBy::Name => 0,
        SortBy::Committed => 1,
        SortBy::Size => 2,
    }
}

fn value(key: &Key) -> Value {
    match key {
        Key::Number(number) => Value::Integer(*number),
        Key::Name(name) => Value::Text(name.clone()),
    }
}

fn bound_of(row: &Row<'_>, at: usize) -> Result<Bound> {
    let key = match row.get_ref(at)? {
        ValueRef::Integer(number) => Key::Number(number),
        other => Key::Name(other.as_str().map_err(rusqlite::Error::from)?.to_owned()),
    };
    Ok((key, row.get(at + 1)?))
}
