//! The client of the SMTP server of the installation. It sends commands one by one, because the
//! meaning of a failure depends on when it happens: before the text of a message nothing was sent,
//! after it the outcome is unknown.

use std::{net::IpAddr, time::Duration};

use formline_core::settings::Smtp;
use lettre::transport::smtp::{
    Error as SmtpError,
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, TlsParameters},
    commands::{Data, Mail as MailFrom, Rcpt},
    extension::ClientId,
};
use percent_encoding::percent_decode_str;
use tokio::{sync::Mutex, time::timeout};
use url::{Host, Url};

use super::compose::Mail;
use crate::{error::Error, per_record::tracker::AttemptFailure};

/// One server, and the idle connections to it.
pub(crate) struct SmtpServer {
    host: String,
    port: u16,
    tls: TlsMode,
    credentials: Option<Credentials>,
    /// Limit of time for a reply.
    timeout: Duration,
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TlsMode {
    /// From the first byte.
    Implicit,
    /// STARTTLS is required.
    StartTls,
    None,
}

/// The outcome of an attempt to send a message.
#[derive(Debug)]
pub(crate) enum SmtpVerdict {
    /// The server has accepted the message.
    Accepted,
    /// The server will never accept the message. The response can name the recipient; the cause
    /// does not.
    Rejected { cause: String, response: String },
    /// The server does not accept this message now; it may accept others.
    Deferred(AttemptFailure),
    /// The server is unavailable, or does not let us in. Nothing was sent.
    Unavailable(String),
    /// The outcome is unknown.
    Unknown(String),
}

/// Limit of idle connections. Beyond it, a connection is closed after its message.
const MAX_IDLE: usize = 4;

/// Limit of time for the reply to a command. RFC 5321 asks for five minutes, but a retry loses
/// nothing.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

// === impl SmtpServer ===

impl SmtpServer {
    /// Reads the address of the server. It connects only when the first message is sent.
    ///
    /// # Errors
    /// If the address is invalid. The error does not contain it, because it can contain a password.
    pub(crate) fn open(smtp: &Smtp) -> Result<Self, Error> {
        // The error of the parser can quote a password.
        let wrong = |why: &str| Error::SmtpUrl(why.to_owned());
        let url = Url::parse(smtp.url.expose()).map_err(|_| wrong("it is not a URL"))?;
        let host = url.host().ok_or_else(|| wrong("it has no host"))?;
        let query: Option<String> =
            (url.query_pairs().find(|(key, _)| key == "tls")).map(|(_, value)| value.into_owned());
        let tls = match (url.scheme(), query.as_deref()) {
            ("smtps", None) => TlsMode::Implicit,
            ("smtp", None) if is_loopback(&host) => TlsMode::None,
            ("smtp", None | Some("required")) => TlsMode::StartTls,
            ("smtp", Some("none")) => TlsMode::None,
            _ => {
                return Err(wrong(
                    "the scheme must be smtp or smtps, and tls must be required or none",
                ));
            }
        };
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = url
            .password()
            .map(|password| Credentials::new(decode(url.username()), decode(password)));
        let port = match tls {
            TlsMode::Implicit => 465,
            TlsMode::StartTls => 587,
            TlsMode::None => 25,
        };
        Ok(Self {
            host: host.to_string().trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            tls,
            credentials,
            timeout: smtp.timeout,
            idle: Mutex::default(),
        })
    }

    /// Makes one attempt. If the future is dropped, the outcome is unknown.
    pub(crate) async fn send(&self, mail: &Mail) -> SmtpVerdict {
        let prepared = timeout(self.timeout.min(COMMAND_TIMEOUT * 3), self.prepare(mail));
        let mut connection = match prepared.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(verdict)) => return verdict,
            Err(_) => {
                return SmtpVerdict::Unavailable("the server did not reply in time".to_owned());
            }
        };
        match timeout(self.timeout, connection.message(&mail.bytes)).await {
            Ok(Ok(_)) => {
                self.keep(connection).await;
                SmtpVerdict::Accepted
            }
            Ok(Err(error)) if error.status().is_some() => SmtpVerdict::of_reply(&error),
            Ok(Err(error)) => SmtpVerdict::Unknown(cause(&error)),
            Err(_) => {
                SmtpVerdict::Unknown("the server did not confirm the message in time".to_owned())
            }
        }
    }

    /// A connection on which the server waits for the text of this message.
    async fn prepare(&self, mail: &Mail) -> Result<AsyncSmtpConnection, SmtpVerdict> {
        let unavailable = |error: SmtpError| SmtpVerdict::Unavailable(cause(&error));
        let mut connection = self.connection().await.map_err(unavailable)?;
        let from = MailFrom::new(mail.envelope.from().cloned(), Vec::new());
        // A server rejects the sender here if it does not let us send at all, which is not the
        // fault of the message.
        connection.command(from).await.map_err(unavailable)?;
        let of_reply = |error: SmtpError| SmtpVerdict::of_reply(&error);
        for to in mail.envelope.to() {
            let to = Rcpt::new(to.clone(), Vec::new());
            connection.command(to).await.map_err(of_reply)?;
        }
        connection.command(Data).await.map_err(of_reply)?;
        Ok(connection)
    }

    /// An idle connection that the server has not closed, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        while let Some(mut connection) = self.take().await {
            if connection.test_connected().await {
                return Ok(connection);
            }
        }
        let hello = ClientId::default();
        let tls = || TlsParameters::new(self.host.clone());
        let implicit = (self.tls == TlsMode::Implicit).then(tls).transpose()?;
        let server = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            server,
            Some(COMMAND_TIMEOUT),
            &hello,
            implicit,
            None,
        )
        .await?;
        if self.tls == TlsMode::StartTls {
            connection.starttls(tls()?, &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, credentials).await?;
        }
        Ok(connection)
    }

    async fn take(&self) -> Option<AsyncSmtpConnection> {
        self.idle.lock().await.pop()
    }

    async fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().await;
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        // With a scheme other than http, the parser takes every host for a name.
        Host::Domain(name) => {
            *name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

impl std::fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

// === impl SmtpVerdict ===

impl SmtpVerdict {
    /// The meaning of a reply that concerns this message and not us. 421 says that the server
    /// closes the connection.
    fn of_reply(error: &SmtpError) -> Self {
        let (cause, response) = (cause(error), error.to_string());
        if error.is_permanent() {
            return Self::Rejected { cause, response };
        }
        if error.is_transient() && error.status().is_some_and(|code| code.to_string() != "421") {
            return Self::Deferred(AttemptFailure {
                cause,
                response,
                retry_after: None,
            });
        }
        Self::Unavailable(cause)
    }

    /// The value of the label `outcome`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "sent",
            Self::Rejected { .. } => "refused",
            Self::Deferred(_) => "put-off",
            Self::Unavailable(_) => "not-sent",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The part of an error that may be logged. The text of a reply often contains the address of the
/// recipient.
fn cause(error: &SmtpError) -> String {
    match error.status() {
        Some(code) => format!("the server replied {code}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use formline_core::Secret;

    use super::*;

    fn open(url: &str) -> Result<SmtpServer, Error> {
        SmtpServer::open(&Smtp {
            url: Secret::new(url),
            timeout: COMMAND_TIMEOUT,
        })
    }

    #[test]
    fn the_labels_of_verdicts_keep_their_words() {
        let failure = AttemptFailure::public("cause", None);
        let (cause, response) = (String::new(), String::new());
        for (verdict, label) in [
            (SmtpVerdict::Accepted, "sent"),
            (SmtpVerdict::Rejected { cause, response }, "refused"),
            (SmtpVerdict::Deferred(failure), "put-off"),
            (SmtpVerdict::Unavailable(String::new()), "not-sent"),
            (SmtpVerdict::Unknown(String::new()), "unknown"),
        ] {
            assert_eq!(verdict.label(), label);
        }
    }

    #[test]
    fn only_loopback_and_tls_none_are_without_tls() {
        for (url, tls, port) in [
            ("smtps://u:p%40@mail.example.org", TlsMode::Implicit, 465),
            ("smtp://mail.example.org", TlsMode::StartTls, 587),
            (
                "smtp://mail.example.org:2525?tls=required",
                TlsMode::StartTls,
                2525,
            ),
            ("smtp://mail.example.org?tls=none", TlsMode::None, 25),
            ("smtp://localhost:1025", TlsMode::None, 1025),
            ("smtp://127.0.0.1:1025", TlsMode::None, 1025),
            ("smtp://[::1]:1025", TlsMode::None, 1025),
            ("smtp://127.0.0.1?tls=required", TlsMode::StartTls, 587),
        ] {
            let server = open(url).expect("a valid address");
            assert_eq!((server.tls, server.port), (tls, port), "{url}");
        }
    }

    #[test]
    fn the_error_about_an_address_does_not_contain_it() {
        for url in [
            "s3cret",
            "smtp:",
            "http://a:s3cret@b",
            "smtps://a:s3cret@b?tls=none",
        ] {
            let refused = open(url).expect_err("an invalid address").to_string();
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
