//! Formats of texts: what a name, a topic, a path or an address may look like.
//!
//! A format is given twice, as a function for the reader and as a pattern for the JSON Schema. A
//! test compares both.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::SignedDuration;

use crate::kafka::topic;

/// What a text value may look like.
#[derive(Debug)]
pub struct Format {
    /// What the value is, for the reference: `topic`.
    pub title: &'static str,
    /// What the reference says about it, in Markdown.
    pub rule: &'static str,
    /// A regular expression that the whole text matches, for the JSON Schema. It accepts all that
    /// the reader accepts, and may accept more. `[\s\S]` also matches line breaks, `.` does not.
    pub pattern: &'static str,
    /// Returns what is wrong with a text.
    pub(crate) check: fn(&str) -> Option<Fault>,
}

/// What is wrong with a text, and how to fix it.
pub(crate) struct Fault {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

/// After a longer delay an operator has to decide: the record becomes a dead letter.
const MAX_DELAY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Google rejects a longer title.
const MAX_TAB_CHARACTERS: usize = 100;

/// A name of an app, form, step or sink. It becomes part of topics, consumer groups and URLs.
pub(super) static NAME: Format = Format {
    title: "name",
    rule: "1 to 64 of `a`–`z`, `0`–`9` and `-`",
    pattern: "[a-z0-9-]{1,64}",
    check: |text| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_valid = text.chars().all(plain) && text.len() <= 64;
        unless(is_valid, || {
            let problem = format!("`{text}` is not a name");
            (problem, "use at most 64 of a-z, 0-9 and `-`")
        })
    },
};

pub(super) static TOPIC: Format = Format {
    title: "topic",
    rule: "1 to 249 ASCII letters, digits, `.`, `_` and `-`, other than `.` and `..`",
    pattern: "[A-Za-z0-9._-]{1,249}",
    check: |text| {
        unless(topic::is_legal(text), || {
            let problem = format!("Kafka does not accept the topic name `{text}`");
            (
                problem,
                "use letters, digits, `.`, `_` and `-`, at most 249",
            )
        })
    },
};

pub(super) static PATH: Format = Format {
    title: "path",
    rule: "starts with `/`, then ASCII letters, digits, `-`, `_`, `.`, `~` and `/`",
    pattern: "/[A-Za-z0-9/_.~-]*",
    check: check_path,
};

pub(super) static WEB_ADDRESS: Format = Format {
    title: "web address",
    rule: "starts with `https://` or `http://`",
    pattern: r"https?://[\s\S]*",
    check: |text| {
        unless(is_http(text), || {
            let problem = format!("`{text}` is not a web address");
            (problem, "start it with https://")
        })
    },
};

/// The address of a webhook may be a secret, so the problem does not quote it.
pub(super) static WEBHOOK_URL: Format = Format {
    title: "web address",
    rule: "starts with `https://` or `http://`",
    pattern: r"https?://[\s\S]*",
    check: |text| {
        unless(is_http(text), || {
            let problem = "this is not an address that can be called".to_owned();
            (problem, "write https://HOST/PATH")
        })
    },
};

pub(super) static SPREADSHEET: Format = Format {
    title: "spreadsheet id",
    rule: "1 to 100 ASCII letters, digits, `-` and `_`",
    pattern: "[A-Za-z0-9_-]{1,100}",
    check: |text| {
        unless(is_spreadsheet_id(text), || {
            let problem = format!("`{text}` is not the id of a spreadsheet");
            let remedy = "copy it from the spreadsheet's address, between /d/ and /edit";
            (problem, remedy)
        })
    },
};

pub(super) static TAB: Format = Format {
    title: "title of a tab",
    rule: "1 to 100 characters",
    pattern: r"[\s\S]{1,100}",
    check: |text| {
        let length = text.chars().count();
        unless(length <= MAX_TAB_CHARACTERS, || {
            let problem = format!("the title of the tab has {length} characters");
            (problem, "write at most 100, which is Google's limit")
        })
    },
};

pub(super) static POSTGRES_SCHEMA: Format = Format {
    title: "name of a PostgreSQL schema",
    rule: "1 to 63 of `a`–`z`, `0`–`9` and `_`, not starting with a digit or `pg_`",
    pattern: "[a-z_][a-z0-9_]{0,62}",
    check: |text| {
        unless(is_postgres_schema(text), || {
            let problem = format!("`{text}` cannot be the name of the sink's schema");
            let remedy = "use at most 63 of a-z, 0-9 and `_`, not starting with a digit or pg_";
            (problem, remedy)
        })
    },
};

pub(super) static DELAY: Format = Format {
    title: "delay",
    rule: "a duration such as `5s` or `1h 30m`, at most seven days; an empty one is skipped",
    pattern: r"(\+?[0-9Pp][\s\S]*)?",
    check: |text| {
        unless(text.is_empty() || parse_delay(text).is_some(), || {
            let problem = format!("`{text}` is not a delay");
            let remedy = "write delays of up to seven days, such as [\"5s\", \"10m\", \"24h\"]";
            (problem, remedy)
        })
    },
};

pub(super) static NETWORK: Format = Format {
    title: "network",
    rule: "an address, or a network such as `10.1.2.0/24`",
    pattern: r"\s*([0-9A-Fa-f.:]+(/[0-9]+)?)?\s*",
    check: |text| {
        unless(
            text.trim().is_empty() || parse_network(text).is_some(),
            || {
                let problem = format!("`{text}` is not a network");
                (problem, "write 10.1.2.0/24 or an address")
            },
        )
    },
};

// The problems of these addresses do not quote them: a misplaced part may be a password. An empty
// one counts as absent.

pub(super) static POSTGRES_URL: Format = Format {
    title: "address of PostgreSQL",
    rule: "`postgres://USER@HOST:PORT/DATABASE`",
    pattern: r"(postgres(ql)?://[\s\S]*)?",
    check: |text| {
        let is_valid = text.starts_with("postgres://") || text.starts_with("postgresql://");
        unless(is_valid || text.is_empty(), || {
            let problem = "this is not an address of PostgreSQL".to_owned();
            (problem, "write postgres://USER@HOST:PORT/DATABASE")
        })
    },
};

pub(super) static SMTP_URL: Format = Format {
    title: "address of an SMTP server",
    rule: "`smtps://HOST:PORT` or `smtp://HOST:PORT`",
    pattern: r"(smtps?://[\s\S]*)?",
    check: |text| {
        let is_valid = text.starts_with("smtp://") || text.starts_with("smtps://");
        unless(is_valid || text.is_empty(), || {
            let problem = "this is not an address of an SMTP server".to_owned();
            (problem, "write smtps://HOST:PORT or smtp://HOST:PORT")
        })
    },
};

pub(super) static REDIS_URL: Format = Format {
    title: "address of Redis",
    rule: "`redis://HOST:PORT/DATABASE`, or `rediss://…` for TLS",
    pattern: r"(rediss?://([\s\S]*@)?[^/:@][^@]*)?",
    check: |text| {
        let rest = text
            .strip_prefix("redis://")
            .or(text.strip_prefix("rediss://"));
        let host = rest.map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
        let is_valid = host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', ':']));
        unless(is_valid || text.is_empty(), || {
            let problem = "this is not an address of Redis".to_owned();
            let remedy = "write redis://HOST:PORT, or rediss://HOST:PORT for TLS";
            (problem, remedy)
        })
    },
};

pub(super) static SENTINELS: Format = Format {
    title: "list of addresses",
    rule: "`HOST:PORT`, separated by commas",
    pattern: r"([^,/@]+:\+?[0-9]+\s*(,[^,/@]+:\+?[0-9]+\s*)*)?",
    check: |text| {
        let is_valid = text.split(',').all(|one| parse_address(one).is_some());
        unless(is_valid || text.is_empty(), || {
            let problem = "an address is not HOST:PORT".to_owned();
            (problem, "write HOST:PORT,HOST:PORT,HOST:PORT")
        })
    },
};

// === impl Format ===

impl Format {
    /// Returns whether the reader accepts a text.
    pub fn accepts(&self, text: &str) -> bool {
        (self.check)(text).is_none()
    }
}

fn unless(is_valid: bool, fault: impl FnOnce() -> (String, &'static str)) -> Option<Fault> {
    (!is_valid).then(|| {
        let (problem, remedy) = fault();
        let remedy = remedy.to_owned();
        Fault { problem, remedy }
    })
}

fn check_path(written: &str) -> Option<Fault> {
    let path = written.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let (problem, remedy) = if path.is_empty() {
        (
            "the form would occupy all paths".to_owned(),
            "name a path below `/`, for instance \"/student-data-form\"",
        )
    } else if !path.starts_with('/') {
        (
            format!("`{written}` is not the path of a form"),
            "start it with `/`, for instance \"/student-data-form\"",
        )
    } else if !path.chars().all(plain) {
        (
            format!("the path {path} contains characters that a URL cannot have"),
            "use letters, digits, `-`, `_`, `.`, `~` and `/`",
        )
    } else if path == "/openapi.json" || path == "/v1" || path.starts_with("/v1/") {
        (
            format!("the path {path} is reserved for Formline itself"),
            "choose one other than /openapi.json and outside of /v1",
        )
    } else {
        return None;
    };
    unless(false, || (problem, remedy))
}

fn is_http(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Parses a positive delay of at most seven days.
pub(crate) fn parse_delay(text: &str) -> Option<std::time::Duration> {
    let delay: SignedDuration = text.parse().ok()?;
    (delay > SignedDuration::ZERO && delay <= MAX_DELAY).then(|| delay.unsigned_abs())
}

/// Parses a network, or an address as the network of that one address.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let network = text.parse().ok();
    network.or_else(|| Some(text.parse::<IpAddr>().ok()?.into()))
}

/// Parses `HOST:PORT`. An IPv6 address has brackets, which are not part of the host.
pub(crate) fn parse_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let port = port.parse().ok()?;
    let is_host = !host.is_empty() && !host.contains(['/', '@']);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    is_host.then(|| (host.to_owned(), port))
}

/// Returns whether an address contains a password.
pub(crate) fn holds_password(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || rest.contains("password=")
}

/// Returns whether this can be the name of a PostgreSQL schema without quotes, as it is written
/// into statements and connection options. PostgreSQL reserves names that start with `pg_` and
/// truncates names of more than 63 bytes.
pub fn is_postgres_schema(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.len() <= 63
        && name.bytes().all(legal)
        && !name.starts_with("pg_")
}

/// Returns whether this can be the id of a spreadsheet: letters, digits, `-` and `_`, at most 100.
/// Google's ids have 44. Other characters must not become part of a URL.
pub fn is_spreadsheet_id(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !id.is_empty() && id.len() <= 100 && id.bytes().all(legal)
}
