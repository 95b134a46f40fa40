//! What the installation provides to its sinks: addresses, credentials and limits.

use std::{path::PathBuf, time::Duration};

use formline_core::{
    Client, Secret, Telemetry,
    settings::{self, Smtp},
};
use ipnet::IpNet;

/// What all sinks of a process share.
#[derive(Debug)]
pub struct Options {
    /// How to reach Kafka.
    pub client: Client,
    /// Name of this process in consumer groups. It must stay the same over restarts.
    pub instance: String,
    /// The Sheets API that sheets sinks write to.
    pub google: Option<Google>,
    /// Limit of read calls, and of write calls, to Google in one minute: for all processes together
    /// if there is a Redis, else for this process.
    pub google_calls_per_minute: u32,
    /// Address of the PostgreSQL server that postgres sinks write to.
    pub postgres_url: Option<Secret>,
    /// The SMTP server that email sinks send through.
    pub smtp: Option<Smtp>,
    /// Networks that webhook sinks may call although they are not public.
    pub webhook_private_addresses: Vec<IpNet>,
    /// The Redis that sheets sinks buffer in, and through which processes share the quota of
    /// Google.
    pub redis: Option<settings::Redis>,
    /// Where metrics and health go.
    pub telemetry: Telemetry,
}

/// Where an audit reads what sinks have written.
#[derive(Clone, Debug)]
pub struct AuditSources {
    /// The Kafka that holds the journals of email and webhook sinks.
    pub client: Client,
    /// The Sheets API that has the spreadsheets.
    pub google: Option<Google>,
    /// Address of the PostgreSQL server.
    pub postgres_url: Option<Secret>,
}

/// A server of the Google Sheets API.
#[derive(Clone, Debug)]
pub enum Google {
    /// The sheets emulator, which needs no credentials.
    Emulator {
        /// Its address with a slash at the end, such as `http://127.0.0.1:8082/`.
        base_url: String,
        /// How the sinks call it.
        timing: EmulatorTiming,
    },
    /// Google, as a service account that the spreadsheets are shared with.
    ServiceAccount {
        /// The JSON key file of the account, as the Google console provides it.
        key_file: PathBuf,
        /// Another server of the same API, with a slash at the end.
        base_url: Option<String>,
    },
}

/// How sinks call the sheets emulator. Tests shorten the times.
#[derive(Clone, Copy, Debug)]
pub struct EmulatorTiming {
    /// The timeout of one call.
    pub call_timeout: Duration,
    /// How often a sink checks that the headings of its tab are where it wrote them.
    pub headings_interval: Duration,
}

// === impl EmulatorTiming ===

impl Default for EmulatorTiming {
    /// The emulator is local, so a call that takes 10 s is lost. Reading the checkpoints too early
    /// is safe and only costs a call.
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            headings_interval: Duration::from_secs(20),
        }
    }
}
