//! What belongs to the installation and not to an app: `formline.toml`, and `FORMLINE_…` variables over it.

mod redis;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use ipnet::IpNet;

pub use self::redis::{Redis, Sentinels};
pub use crate::secret::Secret;
use crate::{
    config::{Diagnostic, Document, Environment, SectionReader},
    kafka::client::{self, Client},
};

/// The settings of this process, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// `bootstrap`, FORMLINE_BOOTSTRAP: addresses of Kafka, `HOST:PORT,…`.
    pub bootstrap: String,
    /// `[kafka]`: librdkafka properties for every client, such as `socket.timeout.ms`. Not those that guarantees stand on.
    pub kafka: BTreeMap<String, String>,
    /// `instance`, FORMLINE_INSTANCE: this process's name in consumer groups and transactions. Two processes that run
    /// the same step must have different ones, and each should keep its own over restarts. Default: the host's name.
    pub instance: String,
    /// `google_credentials`, FORMLINE_GOOGLE_CREDENTIALS or GOOGLE_APPLICATION_CREDENTIALS: a service-account key.
    pub google_credentials: Option<PathBuf>,
    /// `postgres_url`, FORMLINE_POSTGRES_URL: where PostgreSQL is, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. A password
    /// does not belong into the file, but into the variable, or into the file that PGPASSFILE names.
    pub postgres_url: Option<Secret>,
    /// `[smtp]`: the server that takes e-mails.
    pub smtp: Option<Smtp>,
    /// `google_calls_per_minute`, FORMLINE_GOOGLE_CALLS_PER_MINUTE: how often Google lets our account read, and write, in
    /// any one minute. With Redis all processes share it; without, each process takes it for itself, so with several of
    /// them it is to be divided by their number. Default: 60, which is what Google grants at first.
    pub google_calls_per_minute: u32,
    /// `webhook_private_addresses`, FORMLINE_WEBHOOK_PRIVATE_ADDRESSES: networks such as `10.0.0.0/8` that webhook sinks may
    /// call although they are not public, also without TLS. Default: none, so that no app can reach what stands behind
    /// the firewall.
    pub webhook_private_addresses: Vec<IpNet>,
    /// `[redis]`: a Redis that sinks may buffer in and share budgets by.
    pub redis: Option<Redis>,
    /// `[ingest]`.
    pub ingest: Ingest,
    /// `grace_ms`, FORMLINE_GRACE_MS: how long a stopping process finishes what it has in hand.
    pub grace: Duration,
}

/// The server that takes e-mails.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Smtp {
    /// `url`, FORMLINE_SMTP_URL: `smtps://USER:PASSWORD@HOST:PORT`, or `smtp://…` for STARTTLS, which may be left away
    /// (`?tls=none`) and is on loopback. A password does not belong into the file, but into the variable.
    pub url: Secret,
    /// `timeout_ms`, FORMLINE_SMTP_TIMEOUT_MS: how long an answer may take. After the text of a mail a server checks it,
    /// and who does not wait sends it twice: RFC 5321 wants ten minutes.
    pub timeout: Duration,
}

/// Limits of the HTTP service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ingest {
    /// `body_kib`, FORMLINE_INGEST_BODY_KIB: largest body; must leave room for headers below Kafka's 1 MB.
    pub body_bytes: usize,
    /// `in_flight`, FORMLINE_INGEST_IN_FLIGHT: requests at one time; beyond it the answer is 503.
    pub in_flight: usize,
    /// `connections`, FORMLINE_INGEST_CONNECTIONS: at one time; beyond it clients wait in the kernel's backlog.
    pub connections: usize,
    /// `request_timeout_ms`, FORMLINE_INGEST_REQUEST_TIMEOUT_MS: until a request is answered, whatever happens.
    pub request_timeout: Duration,
    /// `delivery_timeout_ms`, FORMLINE_INGEST_DELIVERY_TIMEOUT_MS: until Kafka must have acknowledged.
    pub delivery_timeout: Duration,
    /// `proxies`, FORMLINE_INGEST_PROXIES: trusted proxies in front, each of which appends its client to
    /// `X-Forwarded-For`; without them that header is not believed.
    pub proxies: usize,
}

/// The file that is read if none is named and it is there.
pub const DEFAULT_FILE: &str = "formline.toml";

// === impl Settings ===

impl Settings {
    /// Reads `file`, or `formline.toml` if there is one, and the variables.
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
                let remedy = "name a file of settings, or leave --settings away".to_owned();
                return Err(vec![Diagnostic {
                    file: path,
                    line: 0,
                    problem,
                    remedy,
                }]);
            }
        };
        let document = Document::new(path, text, environment);
        let (settings, mistakes) = document.read(|root| Self::read(root, environment));
        if mistakes.is_empty() {
            Ok(settings)
        } else {
            Err(mistakes)
        }
    }

    /// How to reach Kafka.
    pub fn client(&self) -> Client {
        Client::new(&self.bootstrap, self.kafka.clone())
    }

    fn read(root: &mut SectionReader<'_>, environment: Environment<'_>) -> Self {
        let text = |root: &mut SectionReader<'_>, key: &'static str| {
            let written = root.text(key);
            environment(&variable("", key)).or(written)
        };
        let google = text(root, "google_credentials")
            .or_else(|| environment("GOOGLE_APPLICATION_CREDENTIALS"));
        Self {
            bootstrap: text(root, "bootstrap").unwrap_or_else(|| "127.0.0.1:9092".to_owned()),
            instance: text(root, "instance").unwrap_or_else(host_name),
            google_credentials: google.filter(|path| !path.is_empty()).map(PathBuf::from),
            postgres_url: read_postgres_url(root, environment),
            smtp: Smtp::read(root, environment),
            google_calls_per_minute: read_google_calls(root, environment),
            webhook_private_addresses: read_networks(root, environment),
            redis: Redis::read(root, environment),
            kafka: read_properties(root),
            grace: milliseconds(number(
                root,
                environment,
                "",
                "grace_ms",
                20_000,
                0..=600_000,
            )),
            ingest: Ingest::read(root, environment),
        }
    }
}

fn read_postgres_url(root: &mut SectionReader<'_>, environment: Environment<'_>) -> Option<Secret> {
    let key = "postgres_url";
    let written = root.text(key);
    if written.as_deref().is_some_and(holds_password) {
        let remedy =
            "set FORMLINE_POSTGRES_URL, or write the password into the file that PGPASSFILE names";
        root.mistake(key, "a password stands in the file", remedy);
    }
    let url = environment(&variable("", key)).or(written);
    let url = url.filter(|url| !url.is_empty())?;
    // What it says may be a password in the wrong place.
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let remedy = "write postgres://USER@HOST:PORT/DATABASE";
        root.mistake(key, "this is no address of PostgreSQL", remedy);
    }
    Some(Secret::new(url))
}

// === impl Smtp ===

impl Smtp {
    fn read(root: &mut SectionReader<'_>, environment: Environment<'_>) -> Option<Self> {
        let mut table = root.table_or_empty("smtp");
        let written = table.text("url");
        if written.as_deref().is_some_and(holds_password) {
            let remedy = "set FORMLINE_SMTP_URL";
            table.mistake("url", "a password stands in the file", remedy);
        }
        let timeout_ms = number(
            &mut table,
            environment,
            "SMTP_",
            "timeout_ms",
            600_000,
            1_000..=3_600_000,
        );
        let url = environment(&variable("SMTP_", "url")).or(written);
        let url = url.filter(|url| !url.is_empty());
        // What it says may be a password in the wrong place.
        if url
            .as_deref()
            .is_some_and(|url| !url.starts_with("smtp://") && !url.starts_with("smtps://"))
        {
            let remedy = "write smtps://HOST:PORT or smtp://HOST:PORT";
            table.mistake("url", "this is no address of an smtp server", remedy);
        }
        table.finish();
        Some(Self {
            url: Secret::new(url?),
            timeout: milliseconds(timeout_ms),
        })
    }
}

fn read_google_calls(root: &mut SectionReader<'_>, environment: Environment<'_>) -> u32 {
    let key = "google_calls_per_minute";
    let calls = number(root, environment, "", key, 60, 2..=100_000);
    u32::try_from(calls).unwrap_or_default()
}

fn read_networks(root: &mut SectionReader<'_>, environment: Environment<'_>) -> Vec<IpNet> {
    let key = "webhook_private_addresses";
    let written = root.texts(key);
    let variable = environment(&variable("", key));
    let texts: Vec<&str> = match &variable {
        Some(variable) => variable.split(',').collect(),
        None => written.iter().map(String::as_str).collect(),
    };
    let texts = texts.into_iter().map(str::trim);
    let networks = texts.filter(|text| !text.is_empty()).filter_map(|text| {
        let network = text.parse().ok();
        let network = network.or_else(|| Some(IpAddr::from_str(text).ok()?.into()));
        if network.is_none() {
            let problem = format!("`{text}` is no network");
            root.mistake(key, &problem, "write 10.1.2.0/24 or an address");
        }
        network
    });
    networks.collect()
}

fn holds_password(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || rest.contains("password=")
}

fn read_properties(root: &mut SectionReader<'_>) -> BTreeMap<String, String> {
    let properties = root.text_map("kafka");
    for (name, value) in &properties {
        if let Some((problem, remedy)) = client::check_property(name, value) {
            root.mistake("kafka", &problem, &remedy);
        }
    }
    properties
}

impl Ingest {
    fn read(root: &mut SectionReader<'_>, environment: Environment<'_>) -> Self {
        let mut table = root.table_or_empty("ingest");
        let mut number =
            |key, default, range| number(&mut table, environment, "INGEST_", key, default, range);
        let read = Self {
            body_bytes: size(number("body_kib", 512, 1..=900)) << 10,
            in_flight: size(number("in_flight", 4096, 1..=1_000_000)),
            connections: size(number("connections", 10_000, 1..=1_000_000)),
            request_timeout: milliseconds(number("request_timeout_ms", 10_000, 100..=600_000)),
            delivery_timeout: milliseconds(number("delivery_timeout_ms", 5_000, 100..=600_000)),
            proxies: size(number("proxies", 0, 0..=16)),
        };
        if read.delivery_timeout >= read.request_timeout {
            table.mistake(
                "delivery_timeout_ms",
                "kafka's answer may come after the request has timed out",
                "make delivery_timeout_ms smaller than request_timeout_ms",
            );
        }
        table.finish();
        read
    }
}

/// A number of the file, or of the variable over it.
fn number(
    section: &mut SectionReader<'_>,
    environment: Environment<'_>,
    prefix: &str,
    key: &'static str,
    default: i64,
    range: std::ops::RangeInclusive<i64>,
) -> i64 {
    let written = section.integer(key, default, range.clone());
    let name = variable(prefix, key);
    let Some(text) = environment(&name) else {
        return written;
    };
    match text.parse() {
        Ok(number) if range.contains(&number) => number,
        _ => {
            let remedy = format!("write {} to {}", range.start(), range.end());
            section.mistake(key, &format!("{name} is `{text}`"), &remedy);
            written
        }
    }
}

fn variable(prefix: &str, key: &str) -> String {
    format!("FORMLINE_{prefix}{}", key.to_ascii_uppercase())
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "formline".to_owned(), |name| name.trim().to_owned())
}

fn milliseconds(count: i64) -> Duration {
    Duration::from_millis(count.unsigned_abs())
}

fn size(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn load(
        text: &str,
        variables: &[(&str, &str)],
    ) -> Result<Settings, Vec<Diagnostic>> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("formline.toml");
        std::fs::write(&file, text).expect("a file");
        let environment = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::load(Some(&file), &environment)
    }

    #[test]
    fn variables_win_over_the_file_and_the_file_over_defaults() {
        let text = "bootstrap = \"a:1\"\ninstance = \"one\"\n[ingest]\nin_flight = 7\n[kafka]\n\"socket.timeout.ms\" = \"5000\"";
        let variables = [
            ("FORMLINE_BOOTSTRAP", "b:2"),
            ("FORMLINE_INGEST_BODY_KIB", "8"),
        ];
        let settings = load(text, &variables).expect("correct settings");
        assert_eq!(
            (settings.bootstrap.as_str(), settings.instance.as_str()),
            ("b:2", "one")
        );
        assert_eq!(
            (settings.ingest.in_flight, settings.ingest.body_bytes),
            (7, 8192)
        );
        assert_eq!(settings.ingest.connections, 10_000);
        assert_eq!(settings.kafka["socket.timeout.ms"], "5000");
    }

    #[test]
    fn a_password_stands_in_no_file_and_in_no_log() {
        let variables = [("FORMLINE_POSTGRES_URL", "postgres://a:s3cret@db/forms")];
        let settings = load("postgres_url = \"postgres://db/x\"", &variables).expect("correct");
        assert!(!format!("{settings:?}").contains("s3cret"));
        let url = settings.postgres_url.expect("it is set");
        assert_eq!(url.expose(), "postgres://a:s3cret@db/forms");
        for (url, problem) in [
            ("postgres://a:s3cret@db/forms", "a password stands in"),
            (
                "postgres://db/forms?password=s3cret",
                "a password stands in",
            ),
            ("mysql://db/forms", "no address of PostgreSQL"),
        ] {
            let text = format!("postgres_url = \"{url}\"");
            let mistakes = load(&text, &[]).expect_err("a mistake");
            assert!(mistakes[0].problem.contains(problem), "{mistakes:?}");
        }
        for fine in ["", "postgresql://a@db:5432/x", "postgres:///x?host=/run"] {
            load(&format!("postgres_url = \"{fine}\""), &[]).expect("correct");
        }
    }

    #[test]
    fn the_password_of_the_mail_server_stands_in_the_variable_alone() {
        let variables = [("FORMLINE_SMTP_URL", "smtps://a:s3cret@mail.example.org")];
        let text = "[smtp]\nurl = \"smtps://mail.example.org\"\ntimeout_ms = 1000";
        let smtp = (load(text, &variables).expect("correct").smtp).expect("it is set");
        assert_eq!(smtp.url.expose(), "smtps://a:s3cret@mail.example.org");
        assert_eq!(smtp.timeout, Duration::from_secs(1));
        assert_eq!(load("", &[]).expect("correct").smtp, None);
        for (url, problem) in [
            ("smtps://a:s3cret@mail", "a password stands in"),
            ("http://mail", "no address of an smtp server"),
        ] {
            let text = format!("[smtp]\nurl = \"{url}\"");
            let mistakes = load(&text, &[]).expect_err("a mistake");
            assert!(mistakes[0].problem.contains(problem), "{mistakes:?}");
        }
    }

    #[test]
    fn networks_come_as_a_list_or_with_commas() {
        let text = "webhook_private_addresses = [\"10.0.0.0/8\", \"::1\"]";
        let networks = load(text, &[]).expect("correct").webhook_private_addresses;
        assert_eq!(networks[0].to_string(), "10.0.0.0/8");
        assert_eq!(networks[1].to_string(), "::1/128");
        let variable = |value| [("FORMLINE_WEBHOOK_PRIVATE_ADDRESSES", value)];
        let networks = load(text, &variable("127.0.0.1, 10.1.0.0/16")).expect("correct");
        assert_eq!(networks.webhook_private_addresses.len(), 2);
        assert_eq!(
            load("", &[]).expect("correct").webhook_private_addresses,
            []
        );
        let mistakes = load("", &variable("intranet")).expect_err("a mistake");
        assert!(mistakes[0].problem.contains("`intranet` is no network"));
    }

    #[test]
    fn all_mistakes_are_found_at_once() {
        let text = "bootstarp = \"a:1\"\n[ingest]\nin_flight = 0\ndelivery_timeout_ms = 10000\n[kafka]\nacks = \"1\"";
        let mistakes = load(text, &[("FORMLINE_GRACE_MS", "soon")]).expect_err("five mistakes");
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let all = lines.join("\n");
        for part in [
            "did you mean `bootstrap`",
            "toml:3: 0 is out of range",
            "after the request",
            "is `soon`",
            "`acks` is set by formline",
        ] {
            assert!(all.contains(part), "{part} in\n{all}");
        }
    }
}
