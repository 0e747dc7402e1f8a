//! Users' scripts, run in worker processes and never in the server.
//!
//! [`Pools`] keeps warm processes for each flow and environment and calls them with many items at a time;
//! [`environment`] makes what a script's inline metadata (PEP 723) asks for; [`check_syntax`] looks at a script without running it. The other end of the frames is `workers/python`, and
//! `sdk/PROTOCOL.md` says how to write one for another language.
//!
//! Nothing here knows flows, journals or content stores: the crate has small value types of its own.

pub mod environment;
mod error;
mod frame;
mod interpreter;
mod launch;
mod log;
mod os;
mod page;
mod pools;
mod process;
mod scratch;
mod spool;
mod value;
mod watch;
mod worker;

pub use error::Error;
pub use interpreter::{Inspection, SyntaxProblem, check_syntax};
pub use pools::{Options, Pools};
pub use scratch::ScratchFile;
pub use spool::Spooled;
pub use value::{
    CallContent, CallItem, CallResult, Child, ChildContent, Failure, Language, LogLevel, LogLine, Numbers, Outcome,
    PoolKey, ScriptSpec,
};

/// The Python worker, as it is written into each scratch directory.
const PYTHON_WORKER: &str = include_str!("../../../workers/python/opendmp_worker.py");
/// Its file name there, which is also its module name.
const PYTHON_WORKER_FILE: &str = "opendmp_worker.py";
/// What lies beside it: its reading and writing of tables, imported when a script first has to do with one.
const PYTHON_TABLES: &str = include_str!("../../../workers/python/opendmp_tables.py");
/// What that is built on: cells and what they are.
const PYTHON_CELLS: &str = include_str!("../../../workers/python/opendmp_cells.py");
/// The files of the worker program.
const PYTHON_FILES: [(&str, &str); 3] =
    [(PYTHON_WORKER_FILE, PYTHON_WORKER), ("opendmp_tables.py", PYTHON_TABLES), ("opendmp_cells.py", PYTHON_CELLS)];
