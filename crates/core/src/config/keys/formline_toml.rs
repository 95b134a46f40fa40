//! The keys of `formline.toml` and the variables that override them.

use crate::config::{
    format,
    key::{ConfigKey, Literal, Section, ValueType, flag, integer, other, table, text, texts, url},
};

/// The whole file.
pub mod file {
    use super::*;

    section! {
        "The settings of the installation. A process reads the file that `--settings` names, or \
         `formline.toml` in its working directory if that exists. Each variable overrides its key.";
        BOOTSTRAP = text("bootstrap", "127.0.0.1:9092", "Addresses of Kafka: `HOST:PORT,…`.")
            .default(Literal::Text("127.0.0.1:9092"))
            .variable("FORMLINE_BOOTSTRAP");
        INSTANCE = text("instance", "worker-1",
            "Name of this process in consumer groups and transactions. Two processes that run the \
             same step must have different names, and each should keep its own over restarts. \
             Default: the name of the host.")
            .variable("FORMLINE_INSTANCE");
        GRACE_MS = integer("grace_ms", 20_000, 0..=600_000,
            "How long a process that shuts down finishes work in progress, in milliseconds.")
            .variable("FORMLINE_GRACE_MS");
        GOOGLE_CREDENTIALS = text("google_credentials", "/etc/formline/service-account.json",
            "File with the key of a Google service account, for sinks of kind `sheets`.")
            .variable("FORMLINE_GOOGLE_CREDENTIALS")
            .fallback("GOOGLE_APPLICATION_CREDENTIALS");
        GOOGLE_CALLS_PER_MINUTE = integer("google_calls_per_minute", 60, 2..=100_000,
            "How often the account may read, and how often it may write, in any one minute. All \
             processes share it if they have a Redis. Without one, each process uses it for \
             itself, so divide it by the number of processes. The default is Google's initial \
             quota.")
            .variable("FORMLINE_GOOGLE_CALLS_PER_MINUTE");
        POSTGRES_URL = url("postgres_url", &format::POSTGRES_URL,
            "postgres://formline@db:5432/forms",
            "Address of the database for sinks of kind `postgres`. The password must be in the \
             variable, or in the file that `PGPASSFILE` names.")
            .variable("FORMLINE_POSTGRES_URL")
            .no_password(
                "set FORMLINE_POSTGRES_URL, or write the password into the file that PGPASSFILE \
                 names",
            );
        WEBHOOK_PRIVATE_ADDRESSES = texts("webhook_private_addresses", 0..=usize::MAX,
            &["10.1.2.0/24", "127.0.0.1"],
            "Private networks and addresses that sinks of kind `webhook` may call, also without \
             TLS. By default they may call public addresses only, so that no app reaches services \
             behind the firewall. In the variable, commas separate them.")
            .format(&format::NETWORK)
            .variable("FORMLINE_WEBHOOK_PRIVATE_ADDRESSES");
        KAFKA = other("kafka", ValueType::TextMap(None), r#"{ "socket.timeout.ms" = "5000" }"#,
            "librdkafka properties for every client, each value as a string. Properties that the \
             guarantees of Formline depend on are rejected. This build has no TLS and no SASL.");
        INGEST = table("ingest", &super::ingest::SECTION);
        SMTP = table("smtp", &super::smtp::SECTION);
        REDIS = table("redis", &super::redis::SECTION);
    }
}

/// `[ingest]`.
pub mod ingest {
    use super::*;

    section! {
        "Limits of the HTTP service.";
        BODY_KIB = integer("body_kib", 512, 1..=900,
            "Maximum size of a request body, in KiB. Body and headers must fit into 1 MB, which is \
             Kafka's limit for a record.")
            .variable("FORMLINE_INGEST_BODY_KIB");
        IN_FLIGHT = integer("in_flight", 4_096, 1..=1_000_000,
            "Requests in progress at one time. Above it, the response is 503.")
            .variable("FORMLINE_INGEST_IN_FLIGHT");
        CONNECTIONS = integer("connections", 10_000, 1..=1_000_000,
            "Connections at one time. Above it, clients wait in the backlog of the kernel.")
            .variable("FORMLINE_INGEST_CONNECTIONS");
        REQUEST_TIMEOUT_MS = integer("request_timeout_ms", 10_000, 100..=600_000,
            "How long a request may take, in milliseconds.")
            .variable("FORMLINE_INGEST_REQUEST_TIMEOUT_MS");
        DELIVERY_TIMEOUT_MS = integer("delivery_timeout_ms", 5_000, 100..=600_000,
            "How long the acknowledgement of Kafka may take, in milliseconds. It must be less than \
             `request_timeout_ms`.")
            .variable("FORMLINE_INGEST_DELIVERY_TIMEOUT_MS");
        PROXIES = integer("proxies", 0, 0..=16,
            "Number of trusted proxies in front of the service, each of which appends the address \
             of its client to `X-Forwarded-For`. With 0, that header is ignored.")
            .variable("FORMLINE_INGEST_PROXIES");
    }
}

/// `[smtp]`.
pub mod smtp {
    use super::*;

    section! {
        "The mail server for sinks of kind `email`.";
        URL = url("url", &format::SMTP_URL, "smtps://smtp.example.org:465",
            "Address of the server: `smtps://` for TLS, `smtp://` for STARTTLS. Without TLS, mail \
             is sent only on the loopback interface, or with `smtp://…?tls=none`. User and password \
             (`smtps://USER:PASSWORD@HOST:PORT`) must be in the variable.")
            .variable("FORMLINE_SMTP_URL")
            .no_password("set FORMLINE_SMTP_URL instead");
        TIMEOUT_MS = integer("timeout_ms", 600_000, 1_000..=3_600_000,
            "How long a response may take, in milliseconds. A server checks a mail before it \
             answers, and a client that does not wait sends the mail twice: RFC 5321 recommends \
             ten minutes.")
            .variable("FORMLINE_SMTP_TIMEOUT_MS");
    }
}

/// `[redis]`.
pub mod redis {
    use super::*;

    section! {
        "A Redis (7.0 or newer) in which sinks buffer rows and processes share their budget of \
         Google calls: either one server, `url`, or several servers with Sentinels, `sentinels` \
         and `master`. An empty text counts as absent.";
        URL = url("url", &format::REDIS_URL, "redis://127.0.0.1:6379/0",
            "Address of one server, instead of `sentinels`: `redis://` or, for TLS, `rediss://`. \
             User and password (`redis://USER:PASSWORD@HOST:PORT`) must be in the variable.")
            .variable("FORMLINE_REDIS_URL")
            .no_password("set FORMLINE_REDIS_URL instead")
            .instead_of("sentinels");
        SENTINELS = text("sentinels", "a:26379,b:26379,c:26379",
            "Addresses of the Sentinels: `HOST:PORT,…`.")
            .format(&format::SENTINELS)
            .variable("FORMLINE_REDIS_SENTINELS");
        MASTER = text("master", "mymaster",
            "Name of the master, as in `sentinel monitor NAME …`. Required with `sentinels`.")
            .variable("FORMLINE_REDIS_MASTER");
        USER = text("user", "formline",
            "User of the servers behind the Sentinels, if they have access control lists.")
            .variable("FORMLINE_REDIS_USER");
        PASSWORD = text("password", "s3cret", "Password of the servers behind the Sentinels.")
            .variable("FORMLINE_REDIS_PASSWORD")
            .variable_only();
        SENTINEL_PASSWORD = text("sentinel_password", "s3cret", "Password of the Sentinels.")
            .variable("FORMLINE_REDIS_SENTINEL_PASSWORD")
            .variable_only();
        TLS = flag("tls", false, "Whether servers and Sentinels are reached by TLS.")
            .variable("FORMLINE_REDIS_TLS");
    }
}
