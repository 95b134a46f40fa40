//! Renders the definition of the command line as `docs/reference/cli.md`.

use clap::{Arg, ArgAction, Command};

use super::markdown::{code, code_block, table};

const HEADER: &str = "\
<!-- Generated from the program. Do not edit; regenerate with:
     FORMLINE_WRITE_REFERENCE=1 cargo test -p formline-cli reference -->

# Command-line reference

";

/// The whole reference. `root` must be built, so that it contains the propagated flags.
fn render(root: &Command) -> String {
    let mut text = HEADER.to_owned();
    text += &description(root);
    let commands = leaves(root);
    let summaries: Vec<_> = commands.iter().map(|one| summary(one)).collect();
    text += "## Commands\n\n";
    text += &table(["Command", "Purpose"], &summaries);
    text += "## Options of all commands\n\n";
    let global = root.get_arguments().filter(|arg| arg.is_global_set());
    text += &options(global);
    text += "`-h` prints a short help, `--help` a long one, and `-V` or `--version` the version with \
             the commit and the build date.\n\n";
    text += "## Exit codes and environment\n\n";
    text += &code_block("text", &after_help(root));
    text += "Options that can also be set by a variable:\n\n";
    text += &table(["Variable", "Option"], &variables(root, &commands));
    for command in commands {
        text += &section(command);
    }
    format!("{}\n", text.trim_end())
}

/// The commands without subcommands, in the order of the definition.
fn leaves(command: &Command) -> Vec<&Command> {
    let mut found = Vec::new();
    for subcommand in subcommands(command) {
        match subcommands(subcommand).next() {
            Some(_) => found.extend(leaves(subcommand)),
            None => found.push(subcommand),
        }
    }
    found
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|subcommand| subcommand.get_name() != "help")
}

/// A row of the list of commands, which links to the section.
fn summary(command: &Command) -> [String; 2] {
    let title = title(command);
    let link = format!("[{}](#{})", code(&title), title.replace(' ', "-"));
    [link, about(command)]
}

fn section(command: &Command) -> String {
    let title = title(command);
    let mut text = format!("## {title}\n\n{}", description(command));
    let usage = command.clone().render_usage().to_string();
    text += &code_block("text", usage.trim_start_matches("Usage: "));
    let positionals: Vec<_> = command.get_positionals().map(positional).collect();
    text += &table(["Argument", "Default", "Meaning"], &positionals);
    let arguments = command.get_arguments();
    let own = arguments.filter(|arg| !arg.is_positional() && !arg.is_global_set());
    text += &options(own.filter(|arg| !is_help_or_version(arg)));
    if let Some(examples) = after_help(command).strip_prefix("Examples:\n") {
        let lines: Vec<_> = examples.lines().map(str::trim_start).collect();
        text += &code_block("sh", &lines.join("\n"));
    }
    text
}

/// The name as typed, such as `formline dlq list`.
fn title(command: &Command) -> String {
    command.get_bin_name().unwrap_or_default().to_owned()
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The summary as a sentence, and the longer description.
fn description(command: &Command) -> String {
    let about = about(command);
    let long = command.get_long_about().map(ToString::to_string);
    let long = long.unwrap_or_default();
    let rest = long.strip_prefix(&about).unwrap_or_default().trim();
    let rest = match rest {
        "" => String::new(),
        rest => format!("{rest}\n\n"),
    };
    format!("{about}.\n\n{rest}")
}

fn after_help(command: &Command) -> String {
    let text = command.get_after_help().map(ToString::to_string);
    text.unwrap_or_default()
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: Vec<_> = arguments.map(option).collect();
    table(["Option", "Default", "Meaning"], &rows)
}

fn is_help_or_version(argument: &Arg) -> bool {
    matches!(
        argument.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

fn option(argument: &Arg) -> [String; 3] {
    let long = argument.get_long().unwrap_or_default();
    let name = match value_name(argument) {
        Some(value) if takes_value(argument) => format!("--{long} {value}"),
        _ => format!("--{long}"),
    };
    let [default, meaning] = default_and_meaning(argument);
    [code(&name), default, meaning]
}

fn positional(argument: &Arg) -> [String; 3] {
    let name = value_name(argument).unwrap_or_default();
    let [default, meaning] = default_and_meaning(argument);
    [code(&name), default, meaning]
}

fn value_name(argument: &Arg) -> Option<String> {
    let names = argument.get_value_names()?;
    Some(names.first()?.to_string())
}

fn default_and_meaning(argument: &Arg) -> [String; 2] {
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    // A default that depends on the command or on other options is part of the text.
    let (mut meaning, computed) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']')),
        None => (help, ""),
    };
    let declared = argument.get_default_values().first();
    let default = match declared.filter(|_| takes_value(argument)) {
        Some(value) => code(&value.to_string_lossy()),
        None => computed.to_owned(),
    };
    let values = argument.get_possible_values();
    if takes_value(argument) && !values.is_empty() {
        let names: Vec<_> = values.iter().map(|value| code(value.get_name())).collect();
        meaning += &format!("; one of {}", names.join(", "));
    }
    if let Some(variable) = argument.get_env() {
        let variable = variable.to_string_lossy();
        meaning += &format!("; variable {}", code(&variable));
    }
    if argument.is_required_set() {
        meaning += "; required";
    }
    [default, meaning]
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The variables of all commands, each once.
fn variables(root: &Command, commands: &[&Command]) -> Vec<[String; 2]> {
    let all = [root].into_iter().chain(commands.iter().copied());
    let mut rows: Vec<_> = all
        .flat_map(Command::get_arguments)
        .filter_map(|argument| {
            let variable = argument.get_env()?.to_string_lossy();
            let option = format!("--{}", argument.get_long()?);
            Some([code(&variable), code(&option)])
        })
        .collect();
    rows.sort();
    rows.dedup();
    rows
}

mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::{arguments::Arguments, reference::file::assert_current};

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_cli_reference_is_current() {
        let mut root = Arguments::command();
        root.build();
        assert_current("cli.md", &render(&root));
    }

    #[test]
    fn every_command_and_option_is_described() {
        let mut root = Arguments::command();
        root.build();
        for command in leaves(&root) {
            let title = title(command);
            assert!(!about(command).is_empty(), "{title} has no summary");
            assert!(
                !after_help(command).is_empty(),
                "{title} has no example in after_help"
            );
            for argument in command.get_arguments() {
                let is_described = argument.get_help().is_some();
                assert!(is_described, "{title}: {} has no help", argument.get_id());
            }
        }
    }
}
