//! Whether a server keeps what its description says: requests made up from the description by Schemathesis, good ones
//! and bad ones, against a server that has something of everything. No answer may be a fault of the server, or one that
//! is not described.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::page::Server;
use super::{Counts, Report};
use crate::{files, shell, tools};

/// What is looked at in each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,unsupported_method,missing_required_header";

/// Requests made up for each operation, beside those for each way of being wrong.
const EXAMPLES: &str = "20";

/// Operations that must have been carried out, not only refused.
const CARRIED_OUT: usize = 40;

/// How many operations were, by the server's own metrics.
const ANSWERED: &str = "
import os, re, sys, urllib.request
request = urllib.request.Request(sys.argv[1] + '/metrics', headers={'Authorization': 'Bearer ' + os.environ['OPENDMP_TOKEN']})
text = urllib.request.urlopen(request, timeout=30).read().decode()
print(len(set(re.findall(r'opendmp_requests_total\\{(.*),status=\"2\\d\\d\"\\} [1-9]', text))))
";

/// How long a flow may take to take its file in.
const PATIENCE: Duration = Duration::from_secs(60);

/// A flow that makes a dataset and a dead letter of each file.
const FLOW: &str = "\
name: Copy
processors:
- {id: inbox, type: ingest, source: {type: file_drop, path: ./in, settle: 0s}}
- {id: shelf, type: collect, inputs: [inbox], collection: Copies, destination: {type: folder, path: ./out}}
- {id: broken, type: external, inputs: [inbox], command: ['false'], on_error: {retries: 0}}
- {id: never, type: collect, inputs: [broken], collection: Never}
";

/// See the module.
pub fn kept() -> Report {
    let packages = shell::target().join("contract-tools");
    tools::install_list("contract.txt", &packages)?;
    let binary = shell::build(shell::Profile::Debug)?;
    let folder = shell::target().join("contract");
    files::fresh(&folder)?;
    fs::create_dir_all(folder.join("copy/in"))?;
    fs::write(folder.join("copy/flow.yaml"), FLOW)?;
    fs::write(folder.join("copy/in/a.txt"), "a")?;
    let server = Server::start(&binary, &folder)?;
    let ask = |arguments: &[&str]| {
        let mut command = shell::command(&binary);
        command.current_dir(&folder).args(arguments).args(["--data-dir", "data", "--format", "json"]);
        shell::capture(&mut command)
    };
    ask(&["flows", "enable", "copy/flow.yaml"])?;
    // One to be deleted, so that the other is there for all else.
    fs::write(folder.join("gone.yaml"), FLOW.replace("Copy", "Gone"))?;
    ask(&["flows", "enable", "gone.yaml"])?;
    let rows = |arguments: &[&str]| -> Result<Value> {
        let begin = Instant::now();
        loop {
            let rows: Value = serde_json::from_str(&ask(arguments)?)?;
            if rows.get(0).is_some() {
                return Ok(rows[0].clone());
            }
            if begin.elapsed() > PATIENCE {
                bail!("`opendmp {}` shows nothing", arguments.join(" "));
            }
            shell::pause(Duration::from_millis(100));
        }
    };
    let (dataset, letter) = (rows(&["datasets", "list"])?, rows(&["dead-letters", "list"])?);
    let text =
        |row: &Value, key: &str| row[key].as_str().map(str::to_owned).with_context(|| format!("no {key}: {row}"));
    let named = [
        ("/api/v1/datasets/", text(&dataset, "id")?),
        ("/api/v1/items/", text(&dataset, "item")?),
        ("/api/v1/dead-letters/", text(&letter, "id")?),
    ];
    configure(&folder, &named)?;
    let mut run = shell::python();
    run.current_dir(&folder).args(["-m", "schemathesis.cli", "run", "--no-color", "--continue-on-failure"]);
    run.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", "1"]);
    // It has no end.
    run.args(["--exclude-path", "/api/v1/events", "--request-timeout", "30", "--warnings", "off"]);
    run.arg(format!("{}/api/v1/openapi.json", server.url));
    run.env("PYTHONPATH", &packages).env("OPENDMP_TOKEN", &server.token);
    let told = shell::tell(&mut run)?;
    if !told.success {
        bail!("the server does not keep what its description says ({}); its log is in {}", told.end, folder.display());
    }
    let mut count = shell::python();
    count.args(["-c", ANSWERED, &server.url]).env("OPENDMP_TOKEN", &server.token);
    let answered: usize = shell::capture(&mut count)?.trim().parse().context("the server tells no metrics any more")?;
    println!("{answered} operations were carried out, the others refused at least");
    if answered < CARRIED_OUT {
        bail!("only {answered} operations were carried out: the requests are about what is not there");
    }
    Ok(Counts::success())
}

/// What stands for the parts of paths, so that most requests are about something that is there.
fn configure(folder: &Path, named: &[(&str, String)]) -> Result<()> {
    let mut text = String::from(
        "headers = { Authorization = \"Bearer ${OPENDMP_TOKEN}\" }\n\n[parameters]\n\"path.flow\" = \"copy\"\n\
         \"path.run\" = 1\n\"path.processor\" = \"inbox\"\n",
    );
    text += "\n[[operations]]\ninclude-operation-id = \"delete_flow\"\nparameters = { \"path.flow\" = \"gone\" }\n";
    for (path, id) in named {
        text += &format!(
            "\n[[operations]]\ninclude-path-regex = \"^{path}[{{]id\"\nparameters = {{ \"path.id\" = \"{id}\" }}\n"
        );
    }
    fs::write(folder.join("schemathesis.toml"), text).context("can't write the configuration")
}
