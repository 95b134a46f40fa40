//! Settings from files and variables, and the diagnostics about them.

use std::time::Duration;

use super::*;
use crate::config::Diagnostic;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<Diagnostic>> {
    let folder = tempfile::tempdir().expect("a folder is created");
    let file = folder.path().join("formline.toml");
    std::fs::write(&file, text).expect("a file is written");
    let environment = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::load(Some(&file), &environment)
}

#[test]
fn variables_override_the_file_and_the_file_overrides_defaults() {
    let text = "bootstrap = \"a:1\"\ninstance = \"one\"\n[ingest]\nin_flight = 7\n[kafka]\n\"socket.timeout.ms\" = \"5000\"";
    let variables = [
        ("FORMLINE_BOOTSTRAP", "b:2"),
        ("FORMLINE_INGEST_BODY_KIB", "8"),
    ];
    let settings = load(text, &variables).expect("valid settings");
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
fn passwords_are_rejected_in_the_file_and_hidden_in_logs() {
    let variables = [("FORMLINE_POSTGRES_URL", "postgres://a:s3cret@db/forms")];
    let settings = load("postgres_url = \"postgres://db/x\"", &variables).expect("valid settings");
    assert!(!format!("{settings:?}").contains("s3cret"));
    let url = settings.postgres_url.expect("it is set");
    assert_eq!(url.expose(), "postgres://a:s3cret@db/forms");
    for (url, problem) in [
        (
            "postgres://a:s3cret@db/forms",
            "the file contains a password",
        ),
        (
            "postgres://db/forms?password=s3cret",
            "the file contains a password",
        ),
        ("mysql://db/forms", "not an address of PostgreSQL"),
    ] {
        let text = format!("postgres_url = \"{url}\"");
        let diagnostics = load(&text, &[]).expect_err("an error");
        assert!(diagnostics[0].problem.contains(problem), "{diagnostics:?}");
    }
    for valid in ["", "postgresql://a@db:5432/x", "postgres:///x?host=/run"] {
        load(&format!("postgres_url = \"{valid}\""), &[]).expect("valid settings");
    }
}

#[test]
fn the_password_of_the_mail_server_is_accepted_in_the_variable_only() {
    let variables = [("FORMLINE_SMTP_URL", "smtps://a:s3cret@mail.example.org")];
    let text = "[smtp]\nurl = \"smtps://mail.example.org\"\ntimeout_ms = 1000";
    let smtp = (load(text, &variables).expect("valid settings").smtp).expect("it is set");
    assert_eq!(smtp.url.expose(), "smtps://a:s3cret@mail.example.org");
    assert_eq!(smtp.timeout, Duration::from_secs(1));
    assert_eq!(load("", &[]).expect("valid settings").smtp, None);
    for (url, problem) in [
        ("smtps://a:s3cret@mail", "the file contains a password"),
        ("http://mail", "not an address of an SMTP server"),
    ] {
        let text = format!("[smtp]\nurl = \"{url}\"");
        let diagnostics = load(&text, &[]).expect_err("an error");
        assert!(diagnostics[0].problem.contains(problem), "{diagnostics:?}");
    }
}

#[test]
fn networks_are_an_array_in_the_file_and_separated_by_commas_in_the_variable() {
    let text = "webhook_private_addresses = [\"10.0.0.0/8\", \"::1\"]";
    let networks = load(text, &[])
        .expect("valid settings")
        .webhook_private_addresses;
    assert_eq!(networks[0].to_string(), "10.0.0.0/8");
    assert_eq!(networks[1].to_string(), "::1/128");
    let variable = |value| [("FORMLINE_WEBHOOK_PRIVATE_ADDRESSES", value)];
    let networks = load(text, &variable("127.0.0.1, 10.1.0.0/16")).expect("valid settings");
    assert_eq!(networks.webhook_private_addresses.len(), 2);
    assert_eq!(
        load("", &[])
            .expect("valid settings")
            .webhook_private_addresses,
        []
    );
    let diagnostics = load("", &variable("intranet")).expect_err("an error");
    assert!(
        diagnostics[0]
            .problem
            .contains("`intranet` is not a network")
    );
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = "bootstarp = \"a:1\"\n[ingest]\nin_flight = 0\ndelivery_timeout_ms = 10000\n[kafka]\nacks = \"1\"";
    let diagnostics = load(text, &[("FORMLINE_GRACE_MS", "soon")]).expect_err("five errors");
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
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

#[test]
fn one_redis_server_is_set_by_its_address() {
    let variables = [("FORMLINE_REDIS_URL", "rediss://a:s3cret@cache/2")];
    let settings =
        load("[redis]\nurl = \"redis://cache:6379\"", &variables).expect("valid settings");
    assert!(!format!("{settings:?}").contains("s3cret"));
    let expected = Redis::Server(Secret::new("rediss://a:s3cret@cache/2"));
    assert_eq!(settings.redis, Some(expected));
}

#[test]
fn empty_texts_set_no_redis() {
    for text in ["", "[redis]", "[redis]\nurl = \"\""] {
        let settings = load(text, &[("FORMLINE_REDIS_SENTINELS", "")]);
        assert_eq!(settings.expect("valid settings").redis, None, "{text}");
    }
}

#[test]
fn sentinels_are_set_in_file_or_variables_and_their_passwords_in_variables_only() {
    let text = "[redis]\nsentinels = \"a:26379, [::1]:26380\"\nmaster = \"one\"\ntls = true";
    let variables = [
        ("FORMLINE_REDIS_MASTER", "two"),
        ("FORMLINE_REDIS_USER", "formline"),
        ("FORMLINE_REDIS_PASSWORD", "s3cret"),
        ("FORMLINE_REDIS_SENTINEL_PASSWORD", "t0p"),
        ("FORMLINE_REDIS_TLS", "false"),
    ];
    let settings = load(text, &variables).expect("valid settings");
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
fn an_address_may_contain_a_password_without_a_user() {
    let url = "redis://:s3cret@127.0.0.1:6379";
    let settings = load("", &[("FORMLINE_REDIS_URL", url)]).expect("valid settings");
    assert_eq!(settings.redis, Some(Redis::Server(Secret::new(url))));
}

#[test]
fn each_error_in_the_redis_table_is_reported() {
    for (text, problem) in [
        (
            "url = \"redis://:s3cret@cache\"",
            "the file contains a password",
        ),
        ("url = \"http://cache\"", "not an address of Redis"),
        ("url = \"redis://\"", "not an address of Redis"),
        ("url = \"redis://:6379\"", "not an address of Redis"),
        ("master = \"one\"", "`master` is set without `sentinels`"),
        ("sentinels = \"a:1\"", "`master` is missing"),
        ("sentinels = \"a\"\nmaster = \"one\"", "not HOST:PORT"),
        ("sentinels = \"a:1,\"\nmaster = \"one\"", "not HOST:PORT"),
        (
            "url = \"redis://a\"\nsentinels = \"a:1\"\nmaster = \"one\"",
            "both `url` and",
        ),
        ("password = \"s3cret\"", "unknown key `password`"),
    ] {
        let diagnostics = load(&format!("[redis]\n{text}"), &[]).expect_err(text);
        assert!(diagnostics[0].problem.contains(problem), "{diagnostics:?}");
    }
    let diagnostics = load("", &[("FORMLINE_REDIS_TLS", "yes")]).expect_err("an error");
    assert!(diagnostics[0].problem.contains("neither true nor false"));
}
