//! What a verb was given, as a listing: names, values, and the same words about them as in `--help`.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use opendmp_api::rows::{Setting, SettingFrom};

/// The settings of a verb, in the order of its help. Those that every verb takes are not among them.
pub fn of(verb: &str, given: &ArgMatches) -> Vec<Setting> {
    let mut command = crate::args::Args::command();
    command.build();
    let Some((command, given)) = command.find_subcommand(verb).zip(given.subcommand_matches(verb)) else {
        return Vec::new();
    };
    let own = command.get_arguments().filter(|argument| !argument.is_global_set());
    let named = own.filter_map(|argument| Some((argument, argument.get_long().filter(|name| *name != "help")?)));
    named
        .map(|(argument, name)| {
            let id = argument.get_id().as_str();
            let written = given
                .get_raw(id)
                .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(", "));
            Setting {
                name: name.to_owned(),
                value: written.filter(|value| !value.is_empty()),
                from: match given.value_source(id) {
                    Some(ValueSource::CommandLine) => SettingFrom::CommandLine,
                    Some(ValueSource::EnvVariable) => SettingFrom::Environment,
                    _ => SettingFrom::Default,
                },
                about: argument.get_help().map(ToString::to_string).unwrap_or_default(),
                warning: None,
            }
        })
        .collect()
}
