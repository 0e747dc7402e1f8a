//! Whom a verb asks: whoever answers for a data directory, or a server at an address.

use std::path::{Path, PathBuf};

use opendmp_api::Client;

use crate::data::{DataDir, Need, Session, actor};
use crate::fail::Fail;

/// The longest file that may hold a token, in bytes.
const LONGEST: u64 = 4 << 10;

/// What is asked, as it can be typed with every verb.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// Where everything is kept [default: $XDG_DATA_HOME/opendmp or ~/.local/share/opendmp]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "OPENDMP_DATA_DIR",
        hide_env = true,
        help_heading = "Everywhere"
    )]
    data_dir: Option<PathBuf>,
    /// Ask the server at this address, as http://127.0.0.1:7117, in place of a data directory; its token comes from
    /// --token-file or OPENDMP_TOKEN. Nothing is encrypted on the way
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    server: Option<String>,
    /// The file with the access token for --server, as `access-token` in the server's data directory
    #[arg(long, global = true, value_name = "FILE", requires = "server", help_heading = "Everywhere")]
    token_file: Option<PathBuf>,
}

/// The variable with the token: never an argument, which every user of the machine could read.
const TOKEN: &str = "OPENDMP_TOKEN";

impl Target {
    /// Whether a server at an address is asked, which has other files than this machine or, at least, this person.
    pub fn is_remote(&self) -> bool {
        self.server.is_some()
    }

    /// The data directory, for what is done to its files; `what` is that, for words.
    pub fn data_dir(&self, what: &str) -> Result<DataDir, Fail> {
        if self.is_remote() {
            return Err(Fail::usage(format!("{what} needs the data directory at hand, which --server does not give"))
                .hint("do it on the server's machine, with --data-dir"));
        }
        DataDir::choose(self.data_dir.clone())
    }

    /// Begins to ask.
    pub async fn session(&self, need: Need) -> Result<Session, Fail> {
        match &self.server {
            Some(server) => {
                let client = Client::http(server, &self.token()?, &actor()).map_err(|problem| {
                    let mut fail = Fail::from(problem);
                    fail.exit = crate::fail::USAGE;
                    fail
                })?;
                Ok(Session::with(client))
            }
            None => Session::open(&DataDir::choose(self.data_dir.clone())?, need).await,
        }
    }

    fn token(&self) -> Result<String, Fail> {
        let token = match &self.token_file {
            Some(file) => read(file)?,
            None => std::env::var(TOKEN).unwrap_or_default(),
        };
        let token = token.trim().to_owned();
        if token.is_empty() {
            return Err(Fail::usage("there is no access token for the server").hint(format!(
                "give the file `access-token` of its data directory as --token-file, or its content as {TOKEN}"
            )));
        }
        Ok(token)
    }
}

fn read(file: &Path) -> Result<String, Fail> {
    let failed = |error: &std::io::Error| {
        let mut fail = Fail::io(format_args!("the token file {} can't be read", file.display()), error);
        fail.exit = crate::fail::USAGE;
        fail.hint("it is a copy of the file `access-token` in the server's data directory")
    };
    let mut text = String::new();
    let open = std::fs::File::open(file).map_err(|error| failed(&error))?;
    std::io::Read::read_to_string(&mut std::io::Read::take(open, LONGEST), &mut text)
        .map_err(|error| failed(&error))?;
    Ok(text)
}
