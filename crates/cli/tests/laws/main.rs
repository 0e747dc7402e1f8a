//! The laws on the real binary: killed at random and at named moments, fed with odd input, short of room and of rights.

mod backup;
mod disks;
mod failpoints;
mod fan;
mod garbage;
mod harness;
mod health;
mod journal_gone;
mod keep;
mod memory;
mod mounts;
mod moved;
mod odd;
mod relations;
mod reprocess;
mod sandbox;
mod torture;
