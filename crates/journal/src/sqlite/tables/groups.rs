//! Groups of dead letters: which one a letter is in, and how many of each are open.

use opendmp_model::fault::Fault;
use opendmp_ports::journal::FlowId;
use opendmp_ports::journal::letters::group_of;
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::fail::Result;

/// The number of a group, which is made where it is new. The processor by the number of its name, and the name.
pub(super) fn find(conn: &Connection, flow: FlowId, (processor, name): (i64, &str), fault: &Fault) -> Result<i64> {
    let same = group_of(flow, name, fault);
    let known = conn
        .prepare_cached("SELECT id FROM letter_group WHERE key = ?1")?
        .query_row([same.group.0], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let sql = "INSERT INTO letter_group (key, flow, processor, code, message, open) VALUES (?1, ?2, ?3, ?4, ?5, 0)";
    let values = params![same.group.0, flow.0, processor, same.code, same.message];
    Ok(conn.prepare_cached(sql)?.insert(values)?)
}

/// So many more of a group are open.
pub(super) fn count(conn: &Connection, group: Option<i64>, change: i64) -> Result<()> {
    conn.prepare_cached("UPDATE letter_group SET open = open + ?2 WHERE id = ?1")?.execute(params![group, change])?;
    Ok(())
}

/// Puts dead letters that have no group into theirs.
pub(crate) fn group_letters(conn: &Connection) -> Result<()> {
    let sql = "SELECT l.number, l.flow, l.processor, n.text, l.fault, l.state FROM letter l JOIN name n ON n.id = l.processor \
               WHERE l.number > ?1 ORDER BY l.number LIMIT 1";
    let mut next = conn.prepare(sql)?;
    let mut put = conn.prepare("UPDATE letter SET grp = ?2 WHERE number = ?1")?;
    let mut behind = 0;
    loop {
        let found = next.query_row([behind], |row| {
            let of: (u32, i64, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((row.get::<_, i64>(0)?, of, row.get::<_, String>(4)?, row.get::<_, i64>(5)?))
        });
        let Some((number, (flow, processor, name), fault, state)) = found.optional()? else { return Ok(()) };
        let fault: Fault = serde_json::from_str(&fault)?;
        let group = find(conn, FlowId(flow), (processor, &name), &fault)?;
        put.execute([number, group])?;
        if state == 0 {
            count(conn, Some(group), 1)?;
        }
        behind = number;
    }
}
