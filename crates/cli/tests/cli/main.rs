//! The command line as people and programs use it: the real binary, on data directories of its own.

mod backup;
mod damage;
mod events;
mod exits;
mod expressions;
mod flows;
mod gc;
mod help;
mod items;
mod journey;
mod lookup;
mod operate;
mod output;
mod place;
mod remote;
mod reprocess;
mod retention;
mod server;
mod token;
mod tryout;
mod validate;
