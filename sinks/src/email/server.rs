//! The SMTP server of the installation. It is spoken to step by step, because what a failure means depends on when it
//! comes: before the text of a mail nothing was sent, after it nobody knows.

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
use crate::{Error, books::Failure};

/// One server, and the connections to it that are open and free.
pub(crate) struct Server {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    /// How long an answer may take.
    patience: Duration,
    free: Mutex<Vec<AsyncSmtpConnection>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tls {
    /// From the first byte.
    Whole,
    /// STARTTLS, or no mail.
    Start,
    None,
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The server has taken the mail.
    Taken,
    /// It will never take it: for everybody, and as the server has said it, which may name the recipient.
    Refused { why: String, said: String },
    /// It does not take this mail now; others it may take.
    PutOff(Failure),
    /// It does not work as a server, or not for us. No mail was sent.
    Away(String),
    /// Nobody knows.
    Unknown(String),
}

/// Connections that are kept open. Beyond, they are closed after their mail.
const FREE: usize = 4;

/// An answer to a command takes at most so long: RFC 5321 wants five minutes, but nothing is lost by trying again.
const COMMAND: Duration = Duration::from_secs(30);

// === impl Server ===

impl Server {
    pub(crate) fn open(smtp: &Smtp) -> Result<Self, Error> {
        // What the parser says may quote a password.
        let wrong = |why: &str| Error::SmtpUrl(why.to_owned());
        let url = Url::parse(smtp.url.expose()).map_err(|_| wrong("it is no address"))?;
        let host = url.host().ok_or_else(|| wrong("it names no host"))?;
        let query: Option<String> =
            (url.query_pairs().find(|(key, _)| key == "tls")).map(|(_, value)| value.into_owned());
        let tls = match (url.scheme(), query.as_deref()) {
            ("smtps", None) => Tls::Whole,
            ("smtp", None) if is_loopback(&host) => Tls::None,
            ("smtp", None | Some("required")) => Tls::Start,
            ("smtp", Some("none")) => Tls::None,
            _ => {
                return Err(wrong(
                    "it begins with smtp: or smtps:, and tls is required or none",
                ));
            }
        };
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = url
            .password()
            .map(|password| Credentials::new(decode(url.username()), decode(password)));
        let port = match tls {
            Tls::Whole => 465,
            Tls::Start => 587,
            Tls::None => 25,
        };
        Ok(Self {
            host: host.to_string().trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            tls,
            credentials,
            patience: smtp.timeout,
            free: Mutex::default(),
        })
    }

    /// One attempt. Dropped in the middle, nobody knows what came of it.
    pub(crate) async fn send(&self, mail: &Mail) -> Verdict {
        let prepared = timeout(self.patience.min(COMMAND * 3), self.prepare(mail));
        let mut connection = match prepared.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(verdict)) => return verdict,
            Err(_) => return Verdict::Away("no answer in time".to_owned()),
        };
        match timeout(self.patience, connection.message(&mail.bytes)).await {
            Ok(Ok(_)) => {
                self.keep(connection).await;
                Verdict::Taken
            }
            Ok(Err(error)) if error.status().is_some() => Verdict::about_mail(&error),
            Ok(Err(error)) => Verdict::Unknown(why(&error)),
            Err(_) => Verdict::Unknown("no answer after the text of the mail".to_owned()),
        }
    }

    /// A connection on which the server waits for the text of this mail.
    async fn prepare(&self, mail: &Mail) -> Result<AsyncSmtpConnection, Verdict> {
        let away = |error: SmtpError| Verdict::Away(why(&error));
        let mut connection = self.connection().await.map_err(away)?;
        let from = MailFrom::new(mail.envelope.from().cloned(), Vec::new());
        // Who may not send at all is refused here, and no mail would be the better for being given up.
        connection.command(from).await.map_err(away)?;
        let about_mail = |error: SmtpError| Verdict::about_mail(&error);
        for to in mail.envelope.to() {
            let to = Rcpt::new(to.clone(), Vec::new());
            connection.command(to).await.map_err(about_mail)?;
        }
        connection.command(Data).await.map_err(about_mail)?;
        Ok(connection)
    }

    /// A free connection that the server has not closed, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        while let Some(mut connection) = self.take().await {
            if connection.test_connected().await {
                return Ok(connection);
            }
        }
        let hello = ClientId::default();
        let tls = || TlsParameters::new(self.host.clone());
        let whole = (self.tls == Tls::Whole).then(tls).transpose()?;
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(COMMAND), &hello, whole, None).await?;
        if self.tls == Tls::Start {
            connection.starttls(tls()?, &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, credentials).await?;
        }
        Ok(connection)
    }

    async fn take(&self) -> Option<AsyncSmtpConnection> {
        self.free.lock().await.pop()
    }

    async fn keep(&self, connection: AsyncSmtpConnection) {
        let mut free = self.free.lock().await;
        if free.len() < FREE {
            free.push(connection);
        }
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        // Of an address that is no http one, the parser takes every host for a name.
        Host::Domain(name) => {
            *name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

// === impl Verdict ===

impl Verdict {
    /// An answer to a command that is about this mail and not about us. 421 says that the server goes.
    fn about_mail(error: &SmtpError) -> Self {
        let (why, said) = (why(error), error.to_string());
        if error.is_permanent() {
            return Self::Refused { why, said };
        }
        if error.is_transient() && error.status().is_some_and(|code| code.to_string() != "421") {
            let patience = None;
            return Self::PutOff(Failure {
                why,
                said,
                patience,
            });
        }
        Self::Away(why)
    }

    /// For metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Taken => "sent",
            Self::Refused { .. } => "refused",
            Self::PutOff(_) => "put-off",
            Self::Away(_) => "not-sent",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What may be logged. The words of an answer are not: they often repeat the recipient's address.
fn why(error: &SmtpError) -> String {
    match error.status() {
        Some(code) => format!("the server has answered {code}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use formline_core::settings::Secret;

    use super::*;

    fn open(url: &str) -> Result<Server, Error> {
        Server::open(&Smtp {
            url: Secret::new(url),
            timeout: COMMAND,
        })
    }

    #[test]
    fn only_loopback_and_an_explicit_wish_do_without_tls() {
        for (url, tls, port) in [
            ("smtps://u:p%40@mail.example.org", Tls::Whole, 465),
            ("smtp://mail.example.org", Tls::Start, 587),
            (
                "smtp://mail.example.org:2525?tls=required",
                Tls::Start,
                2525,
            ),
            ("smtp://mail.example.org?tls=none", Tls::None, 25),
            ("smtp://localhost:1025", Tls::None, 1025),
            ("smtp://127.0.0.1:1025", Tls::None, 1025),
            ("smtp://[::1]:1025", Tls::None, 1025),
            ("smtp://127.0.0.1?tls=required", Tls::Start, 587),
        ] {
            let server = open(url).expect("an address");
            assert_eq!((server.tls, server.port), (tls, port), "{url}");
        }
    }

    #[test]
    fn a_wrong_address_is_refused_without_being_shown() {
        for url in [
            "s3cret",
            "smtp:",
            "http://a:s3cret@b",
            "smtps://a:s3cret@b?tls=none",
        ] {
            let refused = open(url).expect_err("no address").to_string();
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
