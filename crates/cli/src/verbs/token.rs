//! `opendmp token`: the access token of a data directory, and links that sign a browser in once.

use std::process::ExitCode;

use opendmp_api::Client;

use crate::data::{DataDir, actor};
use crate::fail::Fail;
use crate::target::Target;
use crate::term::Term;

use super::serve::{TOKEN, is_token};

/// What `token` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp token --link
  xdg-open \"$(opendmp token --link)\"
  curl -H \"Authorization: Bearer $(opendmp token --show)\" http://127.0.0.1:7117/metrics

Without an option it says where the token is. A link opens the page once, within ten minutes; the
browser stays signed in. It is made by the server that runs on the data directory. The token
itself never expires, and whoever has it may run code as you: prefer links. To replace the token,
remove its file and restart the server.")]
pub struct Args {
    /// Print a link that opens the page of the running server and works once
    #[arg(long, conflicts_with = "show")]
    link: bool,
    /// Print the token itself, for programs
    #[arg(long)]
    show: bool,
}

/// Says where the token is, prints it, or makes a link.
pub async fn token(args: &Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let data = target.data_dir("`token`")?;
    if args.link {
        return link(&data, term).await;
    }
    let path = data.path().join(TOKEN);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fail::new(format!("there is no access token in {} yet", data.path().display()))
                .hint("`opendmp serve` makes it; --data-dir names another data directory"));
        }
        Err(error) => return Err(Fail::io(path.display(), &error)),
    };
    if !is_token(text.trim()) {
        // Not what is in it: it may be a token with a typing error.
        return Err(Fail::new(format!("{} holds no token", path.display()))
            .hint("remove the file and start the server again: it makes another one"));
    }
    if args.show {
        term.out(&format!("{}\n", text.trim()))?;
    } else {
        term.out(&format!(
            "the access token is in {}\nfor a browser: opendmp token --link\nfor programs: opendmp token --show\n",
            path.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn link(data: &DataDir, term: &Term) -> Result<ExitCode, Fail> {
    let path = data.path().display();
    let none = || {
        Fail::new(format!("no server is running on {path}"))
            .hint(format!("start one with `opendmp serve --data-dir {path}`; --data-dir names another data directory"))
    };
    if !data.exists() {
        return Err(none());
    }
    let socket = data.socket()?;
    if tokio::net::UnixStream::connect(&socket.path).await.is_err() {
        return Err(none());
    }
    let link = Client::socket(&socket.path, &actor()).sign_in_link().await?;
    term.out(&format!("{}\n", link.url))?;
    if term.out_is_terminal {
        term.err(&format!("opens the page once, until {}", link.expires));
    }
    Ok(ExitCode::SUCCESS)
}
