//! `[redis]`: where Redis is, one server or a set that Sentinels watch over.

use super::{Secret, holds_password, variable};
use crate::config::{Environment, SectionReader};

/// Where Redis is, 7.0 or newer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Redis {
    /// `url`, FORMLINE_REDIS_URL: one server, `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS. A
    /// password does not belong into the file, but into the variable.
    Server(Secret),
    /// Several servers of which Sentinels choose the master.
    Sentinels(Sentinels),
}

/// Who knows the master, and how to get in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sentinels {
    /// `sentinels`, FORMLINE_REDIS_SENTINELS: `HOST:PORT,…`, at least one. All are asked, whoever answers first counts.
    pub addresses: Vec<(String, u16)>,
    /// `master`, FORMLINE_REDIS_MASTER: the name under which they watch over it.
    pub master: String,
    /// `user`, FORMLINE_REDIS_USER: of the servers, if they have access lists.
    pub user: Option<String>,
    /// FORMLINE_REDIS_PASSWORD: of the servers. In no file.
    pub password: Option<Secret>,
    /// FORMLINE_REDIS_SENTINEL_PASSWORD: of the Sentinels. In no file.
    pub sentinel_password: Option<Secret>,
    /// `tls`, FORMLINE_REDIS_TLS: whether servers and Sentinels speak TLS. Default: false.
    pub tls: bool,
}

const URL_REMEDY: &str = "write redis://HOST:PORT, or rediss://HOST:PORT for TLS";
const SENTINELS_REMEDY: &str = "write HOST:PORT,HOST:PORT,HOST:PORT";

// === impl Redis ===

impl Redis {
    pub(super) fn read(root: &mut SectionReader<'_>, environment: Environment<'_>) -> Option<Self> {
        let mut table = root.table_or_empty("redis");
        let read = Reader {
            table: &mut table,
            environment,
        }
        .read();
        table.finish();
        read
    }
}

/// Reads one table and the variables over it. An empty text is as good as none, since a variable cannot be taken away
/// from everywhere that sets it.
struct Reader<'a, 'b> {
    table: &'a mut SectionReader<'b>,
    environment: Environment<'a>,
}

// === impl Reader ===

impl Reader<'_, '_> {
    fn read(&mut self) -> Option<Redis> {
        let (url, sentinels) = (self.url(), self.text("sentinels"));
        let (master, user, tls) = (self.text("master"), self.text("user"), self.tls());
        let (password, sentinel_password) =
            (self.secret("password"), self.secret("sentinel_password"));
        let Some(sentinels) = sentinels else {
            if url.is_none() && master.is_some() {
                self.table.mistake(
                    "master",
                    "nobody is named who knows the master",
                    "set `sentinels`, or leave `master` away",
                );
            }
            return url.map(Redis::Server);
        };
        if url.is_some() {
            let remedy =
                "leave one of them away: `sentinels` find the server that `url` would name";
            self.table
                .mistake("url", "both `url` and `sentinels` are set", remedy);
        }
        let addresses = self.addresses(&sentinels);
        let Some(master) = master else {
            let remedy = "write the name that stands in `sentinel monitor NAME …`, often mymaster";
            self.table.mistake("master", "`master` is missing", remedy);
            return None;
        };
        Some(Redis::Sentinels(Sentinels {
            addresses,
            master,
            user,
            password,
            sentinel_password,
            tls,
        }))
    }

    fn url(&mut self) -> Option<Secret> {
        let written = self.table.text("url");
        if written.as_deref().is_some_and(holds_password) {
            let remedy = "set FORMLINE_REDIS_URL instead";
            self.table
                .mistake("url", "a password stands in the file", remedy);
        }
        let url = self.variable("url").or(written);
        let url = url.filter(|url| !url.is_empty())?;
        // What it says may be a password in the wrong place.
        let host = url
            .strip_prefix("redis://")
            .or(url.strip_prefix("rediss://"));
        let host = host.map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
        if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', ':'])) {
            self.table
                .mistake("url", "this is no address of Redis", URL_REMEDY);
        }
        Some(Secret::new(url))
    }

    fn addresses(&self, written: &str) -> Vec<(String, u16)> {
        let mut addresses = Vec::new();
        for address in written.split(',').map(str::trim) {
            let parts = address.rsplit_once(':');
            let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
            match parts {
                Some((host, port)) if !host.is_empty() && !host.contains(['/', '@']) => {
                    // Brackets are for writing an IPv6 address only.
                    let host = host.trim_start_matches('[').trim_end_matches(']');
                    addresses.push((host.to_owned(), port));
                }
                _ => (self.table).mistake(
                    "sentinels",
                    "an address is not HOST:PORT",
                    SENTINELS_REMEDY,
                ),
            }
        }
        addresses
    }

    fn tls(&mut self) -> bool {
        let written = self.table.flag("tls", false);
        match self.variable("tls").as_deref() {
            None | Some("") => written,
            Some("true") => true,
            Some("false") => false,
            Some(_) => {
                let remedy = "write true or false";
                self.table.mistake(
                    "tls",
                    "FORMLINE_REDIS_TLS is neither true nor false",
                    remedy,
                );
                written
            }
        }
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        let written = self.table.text(key);
        let text = self.variable(key).or(written);
        text.filter(|text| !text.is_empty())
    }

    /// Only as a variable: a key of that name in the file is one that nobody knows.
    fn secret(&self, key: &str) -> Option<Secret> {
        let text = self.variable(key).filter(|text| !text.is_empty());
        text.map(Secret::new)
    }

    fn variable(&self, key: &str) -> Option<String> {
        (self.environment)(&variable("REDIS_", key))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::load, *};

    #[test]
    fn one_server_is_named_by_its_address() {
        let variables = [("FORMLINE_REDIS_URL", "rediss://a:s3cret@cache/2")];
        let settings = load("[redis]\nurl = \"redis://cache:6379\"", &variables).expect("correct");
        assert!(!format!("{settings:?}").contains("s3cret"));
        let expected = Redis::Server(Secret::new("rediss://a:s3cret@cache/2"));
        assert_eq!(settings.redis, Some(expected));
    }

    #[test]
    fn nothing_and_empty_texts_are_no_redis() {
        for text in ["", "[redis]", "[redis]\nurl = \"\""] {
            let settings = load(text, &[("FORMLINE_REDIS_SENTINELS", "")]);
            assert_eq!(settings.expect("correct").redis, None, "{text}");
        }
    }

    #[test]
    fn sentinels_are_named_in_the_file_or_by_variables_and_passwords_by_variables_alone() {
        let text = "[redis]\nsentinels = \"a:26379, [::1]:26380\"\nmaster = \"one\"\ntls = true";
        let variables = [
            ("FORMLINE_REDIS_MASTER", "two"),
            ("FORMLINE_REDIS_USER", "formline"),
            ("FORMLINE_REDIS_PASSWORD", "s3cret"),
            ("FORMLINE_REDIS_SENTINEL_PASSWORD", "t0p"),
            ("FORMLINE_REDIS_TLS", "false"),
        ];
        let settings = load(text, &variables).expect("correct");
        let expected = Sentinels {
            addresses: vec![("a".to_owned(), 26379), ("::1".to_owned(), 26380)],
            master: "two".to_owned(),
            user: Some("formline".to_owned()),
            password: Some(Secret::new("s3cret")),
            sentinel_password: Some(Secret::new("t0p")),
            tls: false,
        };
        assert_eq!(settings.redis, Some(Redis::Sentinels(expected)));
    }

    #[test]
    fn an_address_may_hold_a_password_without_a_user() {
        let url = "redis://:s3cret@127.0.0.1:6379";
        let settings = load("", &[("FORMLINE_REDIS_URL", url)]).expect("correct");
        assert_eq!(settings.redis, Some(Redis::Server(Secret::new(url))));
    }

    #[test]
    fn each_mistake_is_named_with_its_remedy() {
        for (text, problem) in [
            ("url = \"redis://:s3cret@cache\"", "a password stands in"),
            ("url = \"http://cache\"", "no address of Redis"),
            ("url = \"redis://\"", "no address of Redis"),
            ("url = \"redis://:6379\"", "no address of Redis"),
            ("master = \"one\"", "nobody is named who knows"),
            ("sentinels = \"a:1\"", "`master` is missing"),
            ("sentinels = \"a\"\nmaster = \"one\"", "not HOST:PORT"),
            ("sentinels = \"a:1,\"\nmaster = \"one\"", "not HOST:PORT"),
            (
                "url = \"redis://a\"\nsentinels = \"a:1\"\nmaster = \"one\"",
                "both `url` and",
            ),
            ("password = \"s3cret\"", "unknown key `password`"),
        ] {
            let mistakes = load(&format!("[redis]\n{text}"), &[]).expect_err(text);
            assert!(mistakes[0].problem.contains(problem), "{mistakes:?}");
        }
        let mistakes = load("", &[("FORMLINE_REDIS_TLS", "yes")]).expect_err("a mistake");
        assert!(mistakes[0].problem.contains("neither true nor false"));
    }
}
