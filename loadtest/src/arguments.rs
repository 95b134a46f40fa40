//! What can be typed. Flags mean the same as those of `formline`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, builder::RangedI64ValueParser};

use crate::bare::copy_loop::BATCH_RECORDS;

/// Measures Formline beside the least that could do the same work, on the same machine and the same Kafka.
#[derive(Debug, Parser)]
#[command(name = "formline-loadtest", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure, in turn with a bare counterpart; without a subcommand all of it. Run it at the repository's root
    Bench(Bench),
    /// The bare counterpart of ingest: an HTTP server that reads the body, answers 202 and forgets it
    BareHandler {
        /// Address to listen on
        #[arg(long, value_name = "HOST:PORT")]
        listen: SocketAddr,
    },
    /// The bare counterpart of a chain of steps: loops that copy each topic to the next one in transactions
    BareLoops {
        /// Addresses of Kafka
        #[arg(long, value_name = "HOST:PORT,…")]
        bootstrap: String,
        /// Topic of the chain, in order; at least two
        #[arg(long = "topic", value_name = "TOPIC", required = true)]
        topics: Vec<String>,
        /// Records of one transaction; more wait for the next one
        #[arg(long, value_name = "N", default_value_t = BATCH_RECORDS)]
        batch: usize,
    },
    /// The bare counterpart of a PostgreSQL sink: a loop that copies a topic into a table without keys or indexes. The
    /// database is that of `FORMLINE_POSTGRES_URL`
    BareStore {
        /// Addresses of Kafka
        #[arg(long, value_name = "HOST:PORT,…")]
        bootstrap: String,
        /// Topic to read
        #[arg(long, value_name = "TOPIC")]
        topic: String,
        /// Rows of one transaction; more wait for the next one
        #[arg(long, value_name = "N")]
        batch: usize,
    },
}

/// How to measure.
#[derive(Args, Debug)]
pub struct Bench {
    /// The part to measure; none: all parts with their defaults
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    /// The `formline` to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) formline: Option<PathBuf>,
    /// Addresses of Kafka [default: starts one with deploy/kafka/kafka and stops it afterwards]
    #[arg(long, value_name = "HOST:PORT,…", global = true)]
    pub(crate) bootstrap: Option<String>,
    /// Folder of the built plug-ins [default: builds them with deploy/setup/plugins]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) plugins: Option<PathBuf>,
    /// How often both sides are measured, in turn
    #[arg(long, value_name = "N", global = true, default_value_t = 2, value_parser = up_to(100))]
    pub(crate) rounds: u32,
    /// Begins the rolls of the students and chooses their names [default: from the clock]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) seed: Option<u32>,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) json: Option<PathBuf>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Part {
    /// What an event costs in the host of plug-ins, and JSON work in WebAssembly beside the same natively; no Kafka
    Host(Host),
    /// From the answer to the committed output of two steps, beside two bare loops
    Chain(Chain),
    /// One step that never waits for events, beside a bare loop with transactions of the same size
    Saturated(Saturated),
    /// The PostgreSQL sink with rows that lie ready, beside a bare loop that does COPY into a table without indexes
    Postgres(Postgres),
    /// The sheets sink at Google's quota of 60 writes a minute; measured once, whatever --rounds says
    Sheets(Sheets),
    /// Accepted submissions a second and their cost, beside a bare handler
    Ingest(Ingest),
}

/// How the host is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Host {
    /// Seconds for each size of a batch in each round
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = up_to(3600))]
    pub(crate) seconds: u32,
}

/// How the chain is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// Seconds that are measured on each side of each round
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = up_to(3600))]
    pub(crate) seconds: u32,
    /// Submissions a second
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = up_to(100_000))]
    pub(crate) rate: u32,
}

/// How a saturated step is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Saturated {
    /// Events that lie ready in each round
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = up_to(100_000_000))]
    pub(crate) events: u32,
}

/// How the PostgreSQL sink is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Postgres {
    /// Rows that lie ready in each round
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = up_to(100_000_000))]
    pub(crate) rows: u32,
}

/// How the sheets sink is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Sheets {
    /// Rows that lie ready; with fewer than 60,000 it takes less than a minute, and the quota does not show
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = up_to(1_000_000))]
    pub(crate) rows: u32,
}

/// How ingest is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Ingest {
    /// Seconds that are measured in each cell of the table
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = up_to(3600))]
    pub(crate) seconds: u32,
}

/// A number from 1 to `most`.
fn up_to(most: i64) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=most)
}

// === impl Part ===

impl Part {
    /// All parts with their defaults. Ingest comes last: it leaves more records behind than the steps of the chain could
    /// work off in a while.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::Host(Host::default()),
            Self::Chain(Chain::default()),
            Self::Saturated(Saturated::default()),
            Self::Postgres(Postgres::default()),
            Self::Sheets(Sheets::default()),
            Self::Ingest(Ingest::default()),
        ]
    }

    /// Whether it does without Kafka.
    pub(crate) fn is_offline(self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// Whether it measures with the plug-in of the bench.
    pub(crate) fn needs_guest(self) -> bool {
        matches!(self, Self::Host(_) | Self::Saturated(_))
    }
}

impl Default for Host {
    fn default() -> Self {
        Self { seconds: 5 }
    }
}

impl Default for Saturated {
    fn default() -> Self {
        Self { events: 300_000 }
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self { rows: 200_000 }
    }
}

impl Default for Sheets {
    fn default() -> Self {
        Self { rows: 100_000 }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            seconds: 60,
            rate: 1000,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self { seconds: 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(typed: &str) -> Bench {
        let typed = Arguments::try_parse_from(typed.split(' ')).expect("right use");
        match typed.command {
            Command::Bench(bench) => bench,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_may_stand_behind_the_part_and_defaults_are_the_same_without_one() {
        let chain = bench("formline-loadtest bench chain --rate 5 --rounds 3 --json out.json");
        assert_eq!((chain.rounds, chain.json), (3, Some("out.json".into())));
        assert!(matches!(
            chain.part,
            Some(Part::Chain(Chain {
                seconds: 60,
                rate: 5
            }))
        ));

        assert!(bench("formline-loadtest bench").part.is_none());
        let parts = ["host", "chain", "saturated", "postgres", "sheets", "ingest"];
        let typed = parts.map(|part| bench(&format!("formline-loadtest bench {part}")).part);
        let typed: Vec<_> = typed.into_iter().flatten().collect();
        assert_eq!(format!("{typed:?}"), format!("{:?}", Part::all()));
    }
}
