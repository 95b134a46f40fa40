//! Sinks whose effects cannot be read back at the destination: `formline verify` reads their
//! journals.

use std::{fs, path::Path, time::Duration};

use formline_testing::{Receiver, Reply, Smtp, eventually, plugins_dir, unique};
use serde_json::{Value, json};

use super::pipeline::{HELLO, Pipeline, write_app};
use crate::support::{assert_contains, formline, output_text};

/// A webhook call and an e-mail for each row. The second cell is the address.
const SINKS: &str = r#"
[[sink]]
name = "crm"
kind = "webhook"
input = ["demo.rows"]
url = "${CRM_URL}"
secret = "${CRM_SECRET}"
schedule = ["1s", "24h"]

[[sink]]
name = "thanks"
kind = "email"
input = ["demo.rows"]
to = "/cells/1/value"
from = "Forms <forms@example.org>"
subject = "Thanks"
template = "thanks"
per_address = 100
"#;

const TO_ADA: &str = r#"{"name":"Ada","message":"ada@example.com"}"#;

async fn start(receiver: &Receiver, smtp: &Smtp) -> Pipeline {
    let variables = vec![
        ("CRM_URL", receiver.url()),
        ("CRM_SECRET", Receiver::SECRET.to_owned()),
        ("FORMLINE_WEBHOOK_PRIVATE_ADDRESSES", "127.0.0.1".to_owned()),
        ("FORMLINE_SMTP_URL", smtp.url()),
    ];
    let prepare = |folder: &Path| {
        let template = "Thanks for {{ cells[1].value }}.\n";
        fs::write(folder.join("thanks.txt"), template).unwrap();
    };
    Pipeline::start(SINKS, variables, prepare).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_mails_are_accounted_for() {
    let (receiver, smtp) = (Receiver::start().await, Smtp::start().await);
    let pipeline = start(&receiver, &smtp).await;
    receiver.script(&[Reply::Status(503)]);
    for _ in 0..3 {
        pipeline.submit(TO_ADA).await;
    }
    let all = |count| ["/crm", "/thanks", "/sheet"].map(|sink| (sink, count, json!({})));
    pipeline.verify_at_rest().assert(0, &all(3));
    assert_eq!(receiver.taken().len(), 3);
    assert_eq!(smtp.mails().len(), 3);

    // The next call is deferred after its second attempt.
    receiver.be_down(true);
    let deferred = pipeline.submit(TO_ADA).await;
    eventually(Duration::from_secs(60), async || {
        receiver.calls().len() >= 6
    })
    .await;
    let verdict = pipeline.verify(&["--wait", "2s"]);
    let traced = output_text(&pipeline.run(&["trace", &deferred]));
    let parts = [
        "journal      ",
        "put-off, attempt 2: the response was 500",
        "retry        ",
        "attempt 3 is due 20",
        "sent, attempt 1",
        "/crm has not passed it yet",
        "/thanks has passed it",
    ];
    assert_contains(&traced, &parts);
    let under_way = json!({ "under_way": [deferred] });
    let expected = [
        ("/crm", 3, under_way),
        ("/thanks", 4, json!({})),
        ("/sheet", 4, json!({})),
    ];
    verdict.assert(0, &expected);
}

/// The ids and reasons of the dead letters of a sink.
fn dead_letters(sink: &Value) -> Vec<String> {
    let letters = sink["dead_letters"].as_array().unwrap().iter();
    letters
        .map(|letter| format!("{} {}", letter["id"].as_str().unwrap(), letter["reason"]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_dead_letter_is_delivered() {
    let (receiver, smtp) = (Receiver::start().await, Smtp::start().await);
    let pipeline = start(&receiver, &smtp).await;
    smtp.script(&["550"]);
    let rejected = pipeline.submit(TO_ADA).await;
    // The second cell is not an address.
    let invalid = pipeline.submit(HELLO).await;
    let verdict = pipeline.verify_at_rest();
    let mut expected = vec![
        format!("{rejected} \"refused\""),
        format!("{invalid} \"bad-address\""),
    ];
    expected.sort();
    assert_eq!(dead_letters(verdict.sink("/thanks")), expected);
    let replay = ["dlq", "replay", "--sink", "thanks", "--reason", "refused"];
    let replayed = pipeline.run(&replay);
    let text = output_text(&replayed);
    assert_eq!(replayed.status.code(), Some(0), "{text}");
    eventually(Duration::from_secs(60), async || smtp.mails().len() == 1).await;
    let verdict = pipeline.verify_at_rest();
    let thanks = verdict.sink("/thanks");
    assert_eq!(thanks["delivered"], 1, "{:#}", verdict.json);
    let expected = [format!("{invalid} \"bad-address\"")];
    assert_eq!(dead_letters(thanks), expected);
}

#[test]
fn an_unusable_secret_is_an_error_and_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    write_app(folder.path(), &unique("demo"), SINKS);
    fs::write(folder.path().join("thanks.txt"), "Thanks\n").unwrap();
    let check = |url: &str, secret: &str| {
        let mut command = formline();
        command
            .arg("check")
            .arg("--app")
            .arg(folder.path())
            .env("FORMLINE_PLUGINS", plugins_dir())
            .env("FORMLINE_DATA", folder.path().join("data"))
            .env("CRM_URL", url)
            .env("CRM_SECRET", secret);
        let output = command.output().unwrap();
        (output.status.code(), output_text(&output))
    };
    let (code, text) = check("https://crm.example.org/t0p", Receiver::SECRET);
    assert_eq!(code, Some(0), "{text}");
    for (url, secret, problem) in [
        (
            "https://crm.example.org/t0p",
            "whsec_s3cretAA",
            "a secret has less than 24",
        ),
        (
            "https://a:s3cret@crm.example.org/",
            Receiver::SECRET,
            "it contains a user name",
        ),
        ("https://", Receiver::SECRET, "it is not a URL"),
    ] {
        let (code, text) = check(url, secret);
        assert_eq!(code, Some(64), "{text}");
        assert_contains(&text, &[problem]);
        assert!(!text.contains("s3cret") && !text.contains("t0p"), "{text}");
    }
}
