//! The source ledger: arrivals and what of their sources is still to be let go.

use bytes::Bytes;
use opendmp_model::ids::{Arrival, ContentHash};
use opendmp_model::ledger::{FileStat, Known};
use opendmp_ports::journal::decide::{self, Made, SourceLedger};
use opendmp_ports::journal::{Ingest, Ingested, RunChoice, RunMode, SourceId};
use opendmp_ports::transport::StepCounts;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::settle::EncodedSteps;
use super::{Origin, Tables, blob};
use crate::sqlite::blobs::{content_bytes, content_of, stat_bytes, stat_of};
use crate::sqlite::fail::{Fail, Result};

/// Looks up what the ledger knows of paths in one source.
pub(crate) struct KnownPaths<'c> {
    statement: CachedStatement<'c>,
    source: SourceId,
}

impl<'c> KnownPaths<'c> {
    pub(crate) fn new(conn: &'c Connection, source: SourceId) -> Result<Self> {
        let sql = "SELECT id, origin, content, stat FROM arrival INDEXED BY arrival_path \
                   WHERE known = 1 AND source = ?1 AND path = ?2 ORDER BY id DESC LIMIT 1";
        Ok(Self { statement: conn.prepare_cached(sql)?, source })
    }

    pub(crate) fn get(&mut self, path: &[u8]) -> Result<Option<Known>> {
        let found = self.statement.query_row(params![self.source.0, path], |row| {
            let numbers = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
            let content = row.get_ref(2)?.as_blob()?.to_vec();
            Ok((numbers, content, row.get::<_, Option<Vec<u8>>>(3)?))
        });
        let Some(((latest, origin), content, stat)) = found.optional()? else { return Ok(None) };
        let hash: ContentHash = content_of(&content)?.hash;
        let stat = stat.as_deref().map(stat_of).transpose()?.unwrap_or_default();
        Ok(Some(Known { origin: Arrival(origin), latest: Arrival(latest), stat, hash }))
    }
}

/// Looks up which releases are pending in one source.
pub(crate) struct Releasing<'c> {
    statement: CachedStatement<'c>,
    source: SourceId,
}

impl<'c> Releasing<'c> {
    pub(crate) fn new(conn: &'c Connection, source: SourceId) -> Result<Self> {
        let sql = "SELECT 1 FROM release INDEXED BY release_name WHERE source = ?1 AND name = ?2";
        Ok(Self { statement: conn.prepare_cached(sql)?, source })
    }

    pub(crate) fn get(&mut self, name: &[u8]) -> Result<bool> {
        Ok(self.statement.exists(params![self.source.0, name])?)
    }
}

struct Ledger<'c> {
    known: KnownPaths<'c>,
    releasing: Releasing<'c>,
    /// The ledger knows no path between the least and the greatest of this ingest.
    all_new: bool,
    last: i64,
}

/// Arrivals in one ingest from which on it is worth asking for all of them at once whether any path is known: numbered
/// items come behind all that are there.
const MANY: usize = 16;

impl SourceLedger for Ledger<'_> {
    type Error = Fail;

    fn known(&mut self, path: &[u8]) -> Result<Option<Known>> {
        if self.all_new { Ok(None) } else { self.known.get(path) }
    }

    fn releasing(&mut self, release: &[u8]) -> Result<bool> {
        self.releasing.get(release)
    }

    fn next(&mut self) -> Arrival {
        self.last += 1;
        Arrival(self.last as u64)
    }
}

impl Tables<'_> {
    /// Whether no path between the least and the greatest of many arrivals is known.
    fn all_new(&self, ingest: &Ingest) -> Result<bool> {
        if ingest.arrivals.len() < MANY {
            return Ok(false);
        }
        let paths = || ingest.arrivals.iter().map(|arrival| &arrival.path);
        let sql = "SELECT 1 FROM arrival INDEXED BY arrival_path \
                   WHERE known = 1 AND source = ?1 AND path BETWEEN ?2 AND ?3 LIMIT 1";
        Ok(!self.sql(sql)?.exists(params![ingest.source.0, paths().min(), paths().max()])?)
    }

    /// Says how the files of arrivals are now, which have the same bytes.
    pub(crate) fn affirm(&mut self, source: SourceId, arrivals: &[(Arrival, FileStat)]) -> Result<()> {
        let mut update = self.sql("UPDATE arrival SET stat = ?3 WHERE id = ?1 AND source = ?2 AND stat IS NOT NULL")?;
        for (arrival, stat) in arrivals {
            update.execute(params![arrival.0 as i64, source.0, blob(Some(stat_bytes(stat)))])?;
        }
        Ok(())
    }

    /// Takes source items in. The items come back with the answer, for the caller's thread to let go.
    pub(crate) fn ingest(&mut self, ingest: &Ingest) -> Result<(Ingested, impl Send + use<>)> {
        let operation = "journal ingest";
        if !self.live(ingest.lease) {
            return Err(decide::taken_over(operation).into());
        }
        if !self.sql("SELECT 1 FROM source WHERE id = ?1")?.exists([ingest.source.0])? {
            return Err(decide::missing(operation, format!("source {}", ingest.source)).into());
        }
        let version = i64::from(ingest.version.0);
        let (run, mode) = match &ingest.run {
            RunChoice::Existing(run) => match self.find_run(*run)? {
                None => return Err(decide::missing(operation, format!("run {run}")).into()),
                Some(known) if known.finished.is_some() => return Err(decide::run_over(*run).into()),
                Some(known) if known.flow != ingest.flow => {
                    return Err(decide::foreign_run(*run, ingest.flow).into());
                }
                Some(known) => (*run, known.mode),
            },
            RunChoice::New { mode, trigger } => {
                (self.new_run(ingest.flow, version, *mode, trigger, false, ingest.at)?, *mode)
            }
        };
        let mut ledger = Ledger {
            known: KnownPaths::new(self.conn, ingest.source)?,
            releasing: Releasing::new(self.conn, ingest.source)?,
            all_new: self.all_new(ingest)?,
            last: self.memory.last.arrival,
        };
        let new = decide::admit(&ingest.arrivals, mode, &mut ledger)?;
        self.memory.last.arrival = ledger.last;
        drop(ledger);
        let (items, tasks) = decide::arrivals(ingest, &new);
        let mut releases: Vec<&Bytes> = Vec::new();
        let sql = "INSERT INTO arrival (id, source, flow, run, origin, at, known, path, content, stat, media, seq) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let mut insert = self.sql(sql)?;
        let live = mode == RunMode::Live;
        let seq = self.next_seq();
        for admitted in &new {
            let arrival = &ingest.arrivals[admitted.index];
            let media = arrival.media_type.as_deref().map(|text| self.name(text)).transpose()?;
            insert.execute(params![
                admitted.number.0 as i64,
                ingest.source.0,
                ingest.flow.0,
                run.0 as i64,
                admitted.origin.0 as i64,
                ingest.at,
                live,
                arrival.path,
                content_bytes(&arrival.content),
                blob(arrival.stat.as_ref().map(stat_bytes)),
                media,
                seq.0 as i64,
            ])?;
            releases.extend(arrival.release.as_ref().filter(|_| live));
        }
        drop(insert);
        let origin = Origin { flow: ingest.flow, version, run };
        let tasks: Vec<_> = tasks.into_iter().map(Into::into).collect();
        let change = self.enqueue(&tasks, origin, mode, |_| Some(seq))?;
        let intents = i64::from(!releases.is_empty());
        if !releases.is_empty() {
            self.add_release(ingest.source, &ingest.processor, &releases, origin)?;
        }
        let record = decide::arrival_record(ingest, &new, &items);
        let steps = if new.is_empty() { vec![] } else { vec![record] };
        self.write_history(seq, run, ingest.at, "source", &EncodedSteps::new(&steps), &Made::Unknown)?;
        if !new.is_empty() {
            let processor = self.name(&ingest.processor)?;
            let count = new.len() as u64;
            let tally = self.run(run)?;
            tally.arrivals += count;
            tally.count(processor, &StepCounts { done: count, emitted: count, ..StepCounts::default() });
        }
        self.outstanding(run, change, intents, ingest.at)?;
        Ok((Ingested { run, new: new.len() as u64, seq }, (items, steps)))
    }
}
