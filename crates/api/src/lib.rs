//! How an engine is asked from outside: one service, one set of routes, one typed client.
//!
//! [`Service`] answers; [`router()`] is the service as HTTP with JSON (and lines of JSON where an answer takes long);
//! [`Client`] asks, over the Unix socket of a server or directly within the process when no server runs, so that every
//! verb of the command line is written once. [`description`] is that of the API, made from the routes themselves.
//! Over TCP the same routes stand behind the door in `access`, with the web page (`page`) for what is no route; `events`
//! tells all who watch what happens.

mod access;
mod activity;
mod archive;
pub mod ask;
pub mod backup;
mod client;
pub mod diff;
pub mod drafts;
pub mod events;
pub mod flows;
pub mod garbage;
mod links;
mod page;
pub mod past;
pub mod plan;
pub mod problem;
mod request;
mod router;
mod routes;
pub mod rows;
pub mod search;
mod serve;
mod service;
pub mod tryout;

use std::time::Duration;

pub use access::Access;
pub use axum::Router;
pub use client::{Client, Content, Events};
pub use router::{http, router};
pub use routes::description;
pub use serve::{serve_tcp, serve_unix};
pub use service::{Service, Teller};

/// The name of a server's socket in its data directory.
pub const SOCKET: &str = "opendmp.sock";

/// How long what is in work may go on after a stop was asked for.
pub const GRACE: Duration = Duration::from_secs(10);

/// The header that says who asks.
const ACTOR: &str = "opendmp-actor";

/// The header with the hash of content.
const HASH: &str = "opendmp-hash";

/// Header of an answer that is an item's content: where it came from.
const FROM: &str = "opendmp-from";
