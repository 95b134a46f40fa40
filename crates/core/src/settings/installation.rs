//! The settings of this process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

use super::{ingest::Ingest, redis::Redis, smtp::Smtp};
use crate::{
    config::{
        Diagnostic, Document, Environment, SectionReader, keys::formline_toml::file, parse_network,
    },
    kafka::client::{self, Client},
    secret::Secret,
};

/// The settings of this process, validated. The table
/// [`keys::formline_toml`](crate::config::keys::formline_toml) describes each key of the file and its
/// variable.
///
/// ```
/// use formline_core::Settings;
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("formline.toml");
/// std::fs::write(&file, "bootstrap = \"kafka:9092\"\n[ingest]\nin_flight = 100")?;
/// let environment = |name: &str| (name == "FORMLINE_INSTANCE").then(|| "worker-1".to_owned());
/// let settings = Settings::load(Some(&file), &environment).expect("they are valid");
/// assert_eq!((settings.bootstrap.as_str(), settings.ingest.in_flight), ("kafka:9092", 100));
/// assert_eq!(settings.instance, "worker-1");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Addresses of Kafka: `HOST:PORT,…`.
    pub bootstrap: String,
    /// librdkafka properties for every client.
    pub kafka: BTreeMap<String, String>,
    /// Name of this process in consumer groups and transactions.
    pub instance: String,
    /// File with the key of a Google service account.
    pub google_credentials: Option<PathBuf>,
    /// Address of the database of PostgreSQL sinks.
    pub postgres_url: Option<Secret>,
    /// The mail server.
    pub smtp: Option<Smtp>,
    /// How often the Google account may read, and how often it may write, in any one minute.
    pub google_calls_per_minute: u32,
    /// Networks that webhook sinks may call although they are not public, also without TLS.
    pub webhook_private_addresses: Vec<IpNet>,
    /// A Redis that sinks buffer in and share budgets by.
    pub redis: Option<Redis>,
    /// Limits of the HTTP service.
    pub ingest: Ingest,
    /// How long a process that shuts down finishes work in progress.
    pub grace: Duration,
}

/// The file that is read if none is named and it exists.
pub const DEFAULT_FILE: &str = "formline.toml";

// === impl Settings ===

impl Settings {
    /// Reads `file`, or [`DEFAULT_FILE`] if that exists, and the variables.
    ///
    /// # Errors
    ///
    /// Returns all diagnostics about the file and the variables.
    pub fn load(
        file: Option<&Path>,
        environment: Environment<'_>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(error) => {
                let problem = format!("the file cannot be read: {error}");
                let remedy = "name a file of settings, or omit --settings".to_owned();
                return Err(vec![Diagnostic {
                    file: path,
                    line: 0,
                    problem,
                    remedy,
                }]);
            }
        };
        let document = Document::new(path, text, environment);
        let (settings, diagnostics) =
            SectionReader::read_document(document, &file::SECTION, Self::read);
        if diagnostics.is_empty() {
            Ok(settings)
        } else {
            Err(diagnostics)
        }
    }

    /// Returns how to reach Kafka.
    pub fn client(&self) -> Client {
        Client::new(&self.bootstrap, self.kafka.clone())
    }

    fn read(root: &mut SectionReader<'_>) -> Self {
        let google_credentials = root.filled_text(&file::GOOGLE_CREDENTIALS);
        Self {
            bootstrap: root.text(&file::BOOTSTRAP),
            instance: root
                .optional_text(&file::INSTANCE)
                .unwrap_or_else(host_name),
            google_credentials: google_credentials.map(PathBuf::from),
            postgres_url: root.filled_text(&file::POSTGRES_URL).map(Secret::new),
            smtp: Smtp::read(root),
            google_calls_per_minute: root.count(&file::GOOGLE_CALLS_PER_MINUTE),
            webhook_private_addresses: read_networks(root),
            redis: Redis::read(root),
            kafka: read_properties(root),
            grace: root.milliseconds(&file::GRACE_MS),
            ingest: Ingest::read(root),
        }
    }
}

fn read_networks(root: &mut SectionReader<'_>) -> Vec<IpNet> {
    let networks = root.texts(&file::WEBHOOK_PRIVATE_ADDRESSES);
    let parsed = networks.iter().filter_map(|text| parse_network(text));
    parsed.collect()
}

fn read_properties(root: &mut SectionReader<'_>) -> BTreeMap<String, String> {
    let properties = root.text_map(&file::KAFKA);
    for (name, value) in &properties {
        if let Some((problem, remedy)) = client::check_property(name, value) {
            root.report(&file::KAFKA, problem, remedy);
        }
    }
    properties
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "formline".to_owned(), |name| name.trim().to_owned())
}
