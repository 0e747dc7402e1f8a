//! The project's own commands, run as `cargo xtask COMMAND`: the demonstration, the test suite, the workloads.
//!
//! This crate only drives other programs (cargo, the built `opendmp`, Python); nothing of the product lives here, and it
//! depends on none of the product's crates, so that a fresh clone has it built within seconds.

mod bench;
mod demo;
mod files;
mod shell;
mod suite;
mod tools;
mod web;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--dir D]                        build opendmp and its page, serve examples/penguins in a fresh folder, print the
                                        link that opens it
  web                                   build the page, which the binary embeds
  test [FILTER] [--list]                every check and test; FILTER is a step, or part of the names of tests
  test e2e JOURNEY                      only journeys through the page whose names have JOURNEY
  advisories                            known vulnerabilities of the dependencies; needs the network to github.com
  bench [W1|W1c|W2p|W2b|W2d|W3|W4|W5|W4-1000|W5z|growth|flows|split|kept|commands|listing|watchers|page]...
        [--peers] [--runs N] [--scale F] [--debug] [--binary PATH]
                                        the workloads beside their floors, on a release build unless told otherwise;
                                        those after W5 take long and are measured only when named
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo", rest @ ..] => demo::main(rest),
        ["test", rest @ ..] => suite::main(rest),
        ["web"] => web::build(),
        ["advisories"] => suite::advisories(),
        ["bench", rest @ ..] => bench::main(rest),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The commands above, for the check that the documents name no others.
const COMMANDS: &[&str] = &["demo", "web", "test", "advisories", "bench", "help"];

#[cfg(test)]
mod tests {
    use super::{COMMANDS, USAGE};

    #[test]
    fn the_usage_names_every_command() {
        for command in COMMANDS.iter().filter(|command| **command != "help") {
            assert!(USAGE.lines().any(|line| line.trim_start().starts_with(command)), "{command}");
        }
    }
}
