//! The command line: one `Args` struct per command. Each flag is declared once, in the group that
//! it belongs to, and means the same in every command.

mod command;
mod dlq;
mod duration;
mod generate;
mod observe;
mod plugin;
mod run;
mod shared;
mod verify;

pub(crate) use self::{
    command::{Arguments, Command},
    dlq::{DeadLetterFilter, DlqCommand, DlqListArgs, DlqResolveArgs, DlqShowArgs},
    generate::{CompletionsArgs, ManArgs},
    observe::{HeaderFilter, TapArgs, TopArgs, TraceArgs},
    plugin::{
        PluginBuildArgs, PluginCommand, PluginInspectArgs, PluginListArgs, PluginNewArgs,
        PluginTestArgs,
    },
    run::{
        CheckArgs, FlushArgs, IngestArgs, ProcessArgs, SheetsEmulatorArgs, SinkArgs,
        TopicsApplyArgs, TopicsCommand, UpArgs,
    },
    shared::{AppFolders, InstallationArgs, KafkaArgs, SheetsArgs},
    verify::VerifyArgs,
};
