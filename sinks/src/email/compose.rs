//! Composes the message for a record. The address comes from a form and is not trusted: one
//! recipient, without a display name.

use formline_core::{
    App, Diagnostic, Record,
    app::{Email, Sink},
    event,
};
use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::template::Templates;

/// Composes the messages of one sink.
#[derive(Debug)]
pub(crate) struct Composer {
    to: String,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    template: String,
    templates: Templates,
}

/// A message that is ready to send.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) envelope: Envelope,
    pub(crate) bytes: Vec<u8>,
    /// A hash of the recipient's mailbox, used instead of the address in the journal and in rate
    /// limits.
    pub(crate) recipient: String,
    /// The form that the record comes from; empty if the record does not say.
    pub(crate) form: String,
}

/// Why a record yields no message; it is dead-lettered.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct MailRejection {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

/// Longest address in bytes (RFC 5321, section 4.5.3.1.3).
const ADDRESS_LIMIT: usize = 254;

// === impl Composer ===

impl Composer {
    /// Reads the addresses and templates of a sink.
    ///
    /// # Errors
    /// If an address or a template is invalid.
    pub(crate) fn read(app: &App, sink: &Sink, settings: &Email) -> Result<Self, Diagnostic> {
        let diagnostic = |problem: String, remedy: &str| Diagnostic {
            file: sink.location.file.to_path_buf(),
            line: sink.location.line,
            problem,
            remedy: remedy.to_owned(),
        };
        let sender = |key: &str, text: &String| {
            text.parse::<Mailbox>().map_err(|_| {
                let problem = format!("`{key}` of sink `{}` is not an e-mail address", sink.name);
                diagnostic(problem, "write \"Name <name@example.org>\"")
            })
        };
        let templates = Templates::read(&app.folder, &settings.template, &settings.subject);
        Ok(Self {
            to: settings.to.clone(),
            from: sender("from", &settings.from)?,
            reply_to: (settings.reply_to.as_ref())
                .map(|text| sender("reply_to", text))
                .transpose()?,
            template: settings.template.clone(),
            templates: templates.map_err(|(problem, remedy)| diagnostic(problem, remedy))?,
        })
    }

    /// Composes the message for a record. `id` identifies the record.
    ///
    /// # Errors
    /// If the value is not JSON, names no valid address, or does not fit the templates.
    pub(crate) fn compose(&self, record: &Record, id: &[u8]) -> Result<Mail, MailRejection> {
        let fields: Value = serde_json::from_slice(record.value().unwrap_or_default())
            .map_err(|_| rejected("malformed", "the value of the record is not JSON"))?;
        let to = self.recipient(&fields)?;
        let unfilled = |detail| MailRejection {
            reason: "template",
            detail,
        };
        let text = self.templates.fill(&fields).map_err(unfilled)?;
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(text.subject)
            .message_id(Some(self.message_id(id)))
            // Out-of-office systems do not reply to it (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let message = match (text.plain, text.html) {
            (Some(plain), Some(html)) => {
                builder.multipart(MultiPart::alternative_plain_html(plain, html))
            }
            (None, Some(html)) => builder.singlepart(SinglePart::html(html)),
            (plain, None) => builder.singlepart(SinglePart::plain(plain.unwrap_or_default())),
        };
        let message = message.map_err(|error| unfilled(error.to_string()))?;
        let address = mailbox(&to);
        Ok(Mail {
            envelope: message.envelope().clone(),
            bytes: message.formatted(),
            recipient: short_hash(address.as_bytes()),
            form: event::form(record).unwrap_or_default().to_owned(),
        })
    }

    /// The address that the record names, if it is safe to pass to a server.
    fn recipient(&self, fields: &Value) -> Result<Address, MailRejection> {
        let named = match self.to.strip_prefix('/') {
            Some(_) => fields.pointer(&self.to),
            None => fields.get(&self.to),
        };
        let no_text = || bad_address(format!("field `{}` does not contain text", self.to));
        let text = named.and_then(Value::as_str).ok_or_else(no_text)?.trim();
        let address: Option<Address> = text.parse().ok();
        let address = address.filter(is_deliverable);
        address.ok_or_else(|| {
            bad_address(format!(
                "field `{}` does not contain an e-mail address",
                self.to
            ))
        })
    }

    /// The same at every attempt, because mail programs and providers fold messages of one id.
    fn message_id(&self, id: &[u8]) -> String {
        // Ids of Formline are plain; those of other producers can contain any bytes.
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let id = match std::str::from_utf8(id) {
            Ok(id) if id.bytes().all(|byte| plain(&byte)) && id.len() <= 64 => id.to_owned(),
            _ => short_hash(id),
        };
        format!("<{id}.{}@{}>", self.template, self.from.email.domain())
    }
}

/// Whether an address is plain ASCII with a domain name: no quotes and spaces, no IP address, no
/// name that only the mail server itself resolves.
fn is_deliverable(address: &Address) -> bool {
    let text = address.to_string();
    let top = address.domain().rsplit('.').next().unwrap_or_default();
    text.len() <= ADDRESS_LIMIT
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['"', '<', '>', ',', ';', '\\'])
        && address.domain().contains('.')
        && top.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !address.domain().ends_with(']')
}

/// The address as rate limits count it: most providers deliver `ada+anything@` to `ada@`, and none
/// distinguishes case.
fn mailbox(to: &Address) -> String {
    let user = to.user().split('+').next().unwrap_or_default();
    format!("{user}@{}", to.domain()).to_lowercase()
}

fn bad_address(detail: String) -> MailRejection {
    MailRejection {
        reason: "bad-address",
        detail,
    }
}

fn rejected(reason: &'static str, detail: &str) -> MailRejection {
    MailRejection {
        reason,
        detail: detail.to_owned(),
    }
}

fn short_hash(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use formline_core::{
        app::{Location, SinkKind},
        event::header,
        kafka::record::Partition,
    };
    use serde_json::json;

    use super::*;

    fn compose(fields: &Value, id: &str) -> Result<String, MailRejection> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("thanks.txt"), "Dear {{ name }}")
            .expect("the folder is writable");
        let settings = Email {
            to: "email".to_owned(),
            from: "Forms <forms@example.org>".to_owned(),
            reply_to: Some("office@example.org".to_owned()),
            subject: "Thanks, {{ name }}".to_owned(),
            template: "thanks".to_owned(),
            per_address: 1,
            per_form: 1,
            schedule: Vec::new(),
        };
        let sink = Sink {
            app: "app".to_owned(),
            name: "mail".to_owned(),
            input: Vec::new(),
            kind: SinkKind::Email(settings.clone()),
            location: Location {
                file: Arc::new(PathBuf::new()),
                line: 1,
            },
        };
        let app = App {
            name: "app".to_owned(),
            folder: folder.path().to_owned(),
            topics: Vec::new(),
            forms: Vec::new(),
            steps: Vec::new(),
            sinks: Vec::new(),
        };
        let composer = Composer::read(&app, &sink, &settings).expect("the settings are valid");
        let partition = Partition {
            topic: "topic".into(),
            number: 0,
        };
        let value = fields.to_string();
        let headers = [(header::ID, id.as_bytes())];
        let record = Record::new(partition, 0, 0, None, Some(value.as_bytes()), &headers);
        let mail = composer.compose(&record, id.as_bytes())?;
        Ok(String::from_utf8(mail.bytes).expect("messages are ASCII"))
    }

    #[test]
    fn fields_and_ids_cannot_add_headers() {
        let injection = "x\r\nBcc: evil@example.com\r\n\r\nHello";
        for (email, id) in [("a@example.com", "id"), ("a@example.com", injection)] {
            let mail =
                compose(&json!({ "email": email, "name": injection }), id).expect("a message");
            let (head, _) = mail.split_once("\r\n\r\n").expect("headers");
            let names: Vec<&str> = (head.split("\r\n"))
                .filter(|line| !line.starts_with([' ', '\t']))
                .filter_map(|line| line.split_once(':').map(|(name, _)| name))
                .collect();
            assert!(!names.contains(&"Bcc"), "{head}");
            assert!(!head.contains("\r\n\r\n"));
            assert!(
                names.contains(&"Auto-Submitted") && names.contains(&"Reply-To"),
                "{head}"
            );
        }
    }

    #[test]
    fn only_one_plain_address_is_accepted() {
        for bad in [
            "",
            "a",
            "a@b",
            "a@localhost",
            "a@127.0.0.1",
            "a@[127.0.0.1]",
            "a@example.com\r\nRCPT TO:<b@example.com>",
            "a@example.com, b@example.com",
            "A <a@example.com>",
            "\"a b\"@example.com",
            "ä@example.com",
        ] {
            let refused = compose(&json!({ "email": bad, "name": "x" }), "id");
            assert_eq!(
                refused.map_err(|why| why.reason),
                Err("bad-address"),
                "{bad}"
            );
        }
        let refused = compose(&json!({ "email": ["a@example.com"], "name": "x" }), "id");
        assert!(refused.is_err());
        assert!(compose(&json!({ "email": " a@example.com ", "name": "x" }), "id").is_ok());
    }
}
