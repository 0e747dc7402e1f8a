//! The one binary `opendmp`: what a person types, turned into requests of [`opendmp_api`], and what comes of them on a
//! terminal. The work itself is done by the engine, in a server or, without one, in this very process.

mod args;
mod backup;
mod data;
mod draw;
mod fail;
mod flow;
mod keeper;
mod limits;
mod machine;
mod present;
mod private;
mod progress;
mod settings;
mod signals;
mod summary;
mod table;
mod target;
mod term;
mod verbs;
mod words;

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::args::{Args, Verb};
use crate::fail::Fail;
use crate::term::Term;

fn main() -> ExitCode {
    tell_panics();
    if std::env::args_os().len() <= 1 {
        // Clap's own way counts a variable that is set as an argument.
        let _ = writeln!(std::io::stderr(), "{}", Args::command().render_help());
        return ExitCode::from(fail::USAGE);
    }
    let parsed = Args::command().try_get_matches().and_then(|given| Ok((Args::from_arg_matches(&given)?, given)));
    let (args, given) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are "errors" with code 0; a broken pipe while printing them is nobody's concern.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let term = Term::new(args.color);
    if matches!(args.verb, Verb::Serve(_) | Verb::Run(_))
        && let Err(error) = opendmp_sandbox::start_launcher()
    {
        return Fail::io("the launcher of scripts and commands can't be started", &error).tell(&term);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Fail::new(format!("the runtime can't be started: {error}")).tell(&term),
    };
    let done = runtime.block_on(verb(args, &given, &term));
    // What still blocks a thread (a look at a hanging network folder) does not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match done {
        Ok(code) => code,
        Err(fail) => fail.tell(&term),
    }
}

async fn verb(args: Args, given: &ArgMatches, term: &Term) -> Result<ExitCode, Fail> {
    let target = args.target;
    match args.verb {
        Verb::Init(args) => verbs::init::init(&args, term),
        Verb::Validate(args) => verbs::validate::validate(&args, &target, term),
        Verb::Plan(args) => verbs::plan::plan(&args, term),
        Verb::Run(args) => verbs::run::run(args, &target, term).await,
        Verb::Serve(args) => verbs::serve::serve(args, settings::of("serve", given), &target, term).await,
        Verb::Token(args) => verbs::token::token(&args, &target, term).await,
        Verb::Flows(args) => verbs::flows::flows(args, &target, term).await,
        Verb::Runs(args) => verbs::runs::runs(args, &target, term).await,
        Verb::Collections(args) => verbs::collections::collections(&args, &target, term).await,
        Verb::Datasets(args) => verbs::datasets::datasets(args, &target, term).await,
        Verb::Items(args) => verbs::items::items(args, &target, term).await,
        Verb::DeadLetters(args) => verbs::dead_letters::dead_letters(args, &target, term).await,
        Verb::Reprocess(args) => verbs::reprocess::reprocess(args, &target, term).await,
        Verb::Ingest(args) => verbs::ingest::ingest(args, &target, term).await,
        Verb::Doctor(args) => verbs::doctor::doctor(&args, &target, term).await,
        Verb::Backup(args) => verbs::backup::backup(args, &target, term).await,
        Verb::Verify(args) => verbs::verify::verify(args, &target, term).await,
        Verb::Gc(args) => verbs::gc::gc(args, &target, term).await,
        Verb::Restore(args) => verbs::restore::restore(args, &target, term).await,
        Verb::Kinds(args) => verbs::kinds::kinds(&args, term),
        Verb::Schema(args) => verbs::kinds::schema(&args, term),
        Verb::Explain(args) => verbs::kinds::explain(&args, term),
        Verb::Completions(args) => verbs::completions(&args, term),
    }
}

/// A panic is a fault of this program; it is told as one.
fn tell_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        let payload = info.payload();
        let said = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "error: this is a fault of opendmp itself: {said}{place}\nhint: nothing that was committed is lost; please \
             report it with these lines and `opendmp --version`"
        );
    }));
}
