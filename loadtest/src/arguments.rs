//! The command line. Flags have the same meaning as those of `formline`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, builder::RangedI64ValueParser};

use crate::bare::copy_loop::BATCH_RECORDS;

/// Compares Formline with a minimal program that does the same work, on the same machine and the
/// same Kafka.
#[derive(Debug, Parser)]
#[command(name = "formline-loadtest", version, max_term_width = 100)]
pub struct Arguments {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure Formline and its bare counterparts in turn; all parts by default. Run it in the root
    /// of the repository
    Bench(Bench),
    /// The bare counterpart of ingest: an HTTP server that reads each body, responds with 202 and
    /// discards it
    BareHandler {
        /// Address to listen on
        #[arg(long, value_name = "HOST:PORT")]
        listen: SocketAddr,
    },
    /// The bare counterpart of a chain of steps: loops that copy each topic to the next one in
    /// transactions
    BareLoops {
        /// Addresses of Kafka
        #[arg(long, value_name = "HOST:PORT,…")]
        bootstrap: String,
        /// Topics of the chain in order; at least two
        #[arg(long = "topic", value_name = "TOPIC", required = true)]
        topics: Vec<String>,
        /// Maximum number of records in a transaction
        #[arg(long, value_name = "N", default_value_t = BATCH_RECORDS)]
        batch: usize,
    },
    /// The bare counterpart of a PostgreSQL sink: a loop that copies a topic into a table without
    /// keys or indexes. The URL of the database is in `FORMLINE_POSTGRES_URL`
    BareStore {
        /// Addresses of Kafka
        #[arg(long, value_name = "HOST:PORT,…")]
        bootstrap: String,
        /// Topic to read
        #[arg(long, value_name = "TOPIC")]
        topic: String,
        /// Maximum number of rows in a transaction
        #[arg(long, value_name = "N")]
        batch: usize,
    },
}

/// How to measure.
#[derive(Args, Debug)]
pub struct Bench {
    /// The part to measure; without it, all parts with their defaults
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    /// The `formline` to measure [default: the one in the folder of this program]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) formline: Option<PathBuf>,
    /// Addresses of Kafka [default: start one with deploy/kafka/kafka and stop it afterwards]
    #[arg(long, value_name = "HOST:PORT,…", global = true)]
    pub(crate) bootstrap: Option<String>,
    /// Folder of the built plug-ins [default: build them with deploy/setup/plugins]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) plugins: Option<PathBuf>,
    /// Number of rounds; each measures both sides in turn
    #[arg(long, value_name = "N", global = true, default_value_t = 2, value_parser = up_to(100))]
    pub(crate) rounds: u32,
    /// Seed of the students' roll numbers and names [default: from the clock]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) seed: Option<u32>,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) json: Option<PathBuf>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Part {
    /// The cost of an event in the plug-in host, and of JSON work in WebAssembly and natively;
    /// without Kafka
    Host(HostArgs),
    /// The time from the response to the committed output of two steps, compared with two bare
    /// loops
    Chain(ChainArgs),
    /// One step that never waits for events, compared with a bare loop with transactions of the
    /// same size
    Saturated(SaturatedArgs),
    /// The PostgreSQL sink with a full topic, compared with a bare loop that runs COPY into a table
    /// without indexes
    Postgres(PostgresArgs),
    /// The sheets sink at Google's quota of 60 writes per minute; measured once, regardless of
    /// --rounds
    Sheets(SheetsArgs),
    /// Accepted submissions per second and their cost, compared with a bare handler
    Ingest(IngestArgs),
}

/// Options of the part `host`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HostArgs {
    /// Seconds for each batch size in each round
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = up_to(3600))]
    pub(crate) seconds: u32,
}

/// Options of the part `chain`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ChainArgs {
    /// Measured seconds for each side in each round
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = up_to(3600))]
    pub(crate) seconds: u32,
    /// Submissions per second
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = up_to(100_000))]
    pub(crate) rate: u32,
}

/// Options of the part `saturated`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SaturatedArgs {
    /// Events in the topic at the start of each round
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = up_to(100_000_000))]
    pub(crate) events: u32,
}

/// Options of the part `postgres`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PostgresArgs {
    /// Rows in the topic at the start of each round
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = up_to(100_000_000))]
    pub(crate) rows: u32,
}

/// Options of the part `sheets`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SheetsArgs {
    /// Rows in the topic at the start; fewer than 60,000 take less than a minute, so the quota has
    /// no effect
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = up_to(1_000_000))]
    pub(crate) rows: u32,
}

/// Options of the part `ingest`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct IngestArgs {
    /// Measured seconds for each row of the table
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = up_to(3600))]
    pub(crate) seconds: u32,
}

/// Parses a number from 1 to `max`.
fn up_to(max: i64) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=max)
}

// === impl Part ===

impl Part {
    /// All parts with their defaults. Ingest is last, because it leaves a large backlog for the
    /// steps of the chain.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::Host(HostArgs::default()),
            Self::Chain(ChainArgs::default()),
            Self::Saturated(SaturatedArgs::default()),
            Self::Postgres(PostgresArgs::default()),
            Self::Sheets(SheetsArgs::default()),
            Self::Ingest(IngestArgs::default()),
        ]
    }

    /// Whether the part needs no Kafka.
    pub(crate) fn is_offline(self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// Whether the part uses the plug-in of the bench.
    pub(crate) fn needs_guest(self) -> bool {
        matches!(self, Self::Host(_) | Self::Saturated(_))
    }
}

impl Default for HostArgs {
    fn default() -> Self {
        Self { seconds: 5 }
    }
}

impl Default for SaturatedArgs {
    fn default() -> Self {
        Self { events: 300_000 }
    }
}

impl Default for PostgresArgs {
    fn default() -> Self {
        Self { rows: 200_000 }
    }
}

impl Default for SheetsArgs {
    fn default() -> Self {
        Self { rows: 100_000 }
    }
}

impl Default for ChainArgs {
    fn default() -> Self {
        Self {
            seconds: 60,
            rate: 1000,
        }
    }
}

impl Default for IngestArgs {
    fn default() -> Self {
        Self { seconds: 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(line: &str) -> Bench {
        let arguments = Arguments::try_parse_from(line.split(' ')).expect("valid arguments");
        match arguments.command {
            Command::Bench(bench) => bench,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_may_follow_the_part_and_all_parts_have_their_defaults() {
        let chain = bench("formline-loadtest bench chain --rate 5 --rounds 3 --json out.json");
        assert_eq!((chain.rounds, chain.json), (3, Some("out.json".into())));
        assert!(matches!(
            chain.part,
            Some(Part::Chain(ChainArgs {
                seconds: 60,
                rate: 5
            }))
        ));

        assert!(bench("formline-loadtest bench").part.is_none());
        let parts = ["host", "chain", "saturated", "postgres", "sheets", "ingest"];
        let parsed = parts.map(|part| bench(&format!("formline-loadtest bench {part}")).part);
        let parsed: Vec<_> = parsed.into_iter().flatten().collect();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Part::all()));
    }
}
