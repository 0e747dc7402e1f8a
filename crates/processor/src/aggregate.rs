//! Many items that become one. The engine holds them, durably, until a group is full or over, and puts them in order;
//! an author says when that is, and what the one made of them looks like.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use opendmp_model::fault::Fault;
use opendmp_model::item::Item;

use crate::Input;

/// When a group of held items is closed: at whichever of these comes first. One at least is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Close {
    /// So many items.
    pub count: Option<u64>,
    /// So many bytes of content: the item that reaches it still belongs to the group.
    pub bytes: Option<u64>,
    /// So long nothing was added.
    pub quiet: Option<Duration>,
    /// Its run has nothing else to do. Items of different runs are in different groups then.
    pub end_of_run: bool,
}

/// An aggregate, opened.
#[derive(Clone)]
pub struct Aggregate {
    /// When a group is closed.
    pub close: Close,
    /// The attribute whose value an item's group is; `None`: all items are of one group. Items without it are of one
    /// group of their own.
    pub group_by: Option<Arc<str>>,
    /// How they become one.
    pub join: Arc<dyn Join>,
}

/// How items become one.
pub trait Join: Send + Sync {
    /// Name of what is made of a group, by its first item.
    ///
    /// # Errors
    /// Where the name can't be made of that item.
    fn name(&self, first: &Item) -> Result<String, Fault>;

    /// Its media type.
    fn media_type(&self) -> &str;

    /// Begins one.
    fn begin(&self) -> Box<dyn Joining>;
}

/// Why an item could not be added.
#[derive(Debug)]
pub enum JoinError {
    /// It is the item's fault: the item is a dead letter, and the others go on without it. Nothing of it was written.
    Item(Fault),
    /// Its bytes can't be read, or what is made can't be written.
    Io(io::Error),
}

impl From<io::Error> for JoinError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One group in the making. Items come in order, and what is made is written on the way: its memory does not grow with
/// them, but for what a format wants at its end. Called beside the async runtime, so it may block.
pub trait Joining: Send {
    /// Adds the next item. [`JoinError::Item`] only before anything of the item was written.
    ///
    /// # Errors
    /// See [`JoinError`].
    fn add(&mut self, input: &Input, out: &mut dyn Write) -> Result<(), JoinError>;

    /// Writes what comes last. With no item added, an empty document of its format.
    ///
    /// # Errors
    /// Where it can't be written.
    fn end(self: Box<Self>, out: &mut dyn Write) -> io::Result<()>;
}
