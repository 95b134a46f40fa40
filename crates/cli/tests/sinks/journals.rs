//! Sinks whose effect nobody can look at afterwards: `formline verify` knows it from their journals.

use std::{fs, process::Command};

use formline_testing::{Receiver, Reply, Smtp, eventually, unique};
use serde_json::{Value, json};

use crate::line::{HELLO, Line, text, write_app};

/// A call and a mail for each row; the second cell is the address.
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

async fn start(receiver: &Receiver, smtp: &Smtp) -> Line {
    let variables = vec![
        ("CRM_URL", receiver.url()),
        ("CRM_SECRET", Receiver::SECRET.to_owned()),
        ("FORMLINE_WEBHOOK_PRIVATE_ADDRESSES", "127.0.0.1".to_owned()),
        ("FORMLINE_SMTP_URL", smtp.url()),
    ];
    let prepare = |folder: &std::path::Path, _: &str| {
        fs::write(
            folder.join("thanks.txt"),
            "Thanks for {{ cells[1].value }}.\n",
        )
        .unwrap();
    };
    Line::start(SINKS, variables, prepare).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_mails_are_accounted_for() {
    let (receiver, smtp) = (Receiver::start().await, Smtp::start().await);
    let line = start(&receiver, &smtp).await;
    receiver.script(&[Reply::Status(503)]);
    for _ in 0..3 {
        line.submit(TO_ADA).await;
    }
    let all = |count| ["/crm", "/thanks", "/sheet"].map(|sink| (sink, count, json!({})));
    line.verify_at_rest().expect(0, &all(3));
    assert_eq!(receiver.taken().len(), 3);
    assert_eq!(smtp.mails().len(), 3);

    // A call waits for its next attempt.
    receiver.be_down(true);
    let waiting = line.submit(TO_ADA).await;
    eventually(std::time::Duration::from_secs(60), async || {
        receiver.calls().len() >= 6
    })
    .await;
    let verdict = line.verify(&["--wait", "2s"]);
    let under_way = json!({ "under_way": [waiting] });
    let traced = text(&line.ask(&["trace", &waiting]));
    for part in [
        "journal      ",
        "put-off, attempt 2: the answer was 500",
        "retry        ",
        "attempt 3 is due 20",
        "sent, attempt 1",
        "/crm has not passed it yet",
        "/thanks has passed it",
    ] {
        assert!(traced.contains(part), "no `{part}` in {traced}");
    }
    let elsewhere = ["/thanks", "/sheet"].map(|sink| (sink, 4, json!({})));
    verdict.expect(
        0,
        &[
            ("/crm", 3, under_way),
            elsewhere[0].clone(),
            elsewhere[1].clone(),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_letter_is_delivered() {
    let (receiver, smtp) = (Receiver::start().await, Smtp::start().await);
    let line = start(&receiver, &smtp).await;
    // The second cell is no address.
    smtp.script(&["550"]);
    let refused = line.submit(TO_ADA).await;
    let never = line.submit(HELLO).await;
    let letters = |verdict: &Value| -> Vec<String> {
        let letters = verdict["dead_letters"].as_array().unwrap().iter();
        letters
            .map(|letter| format!("{} {}", letter["id"].as_str().unwrap(), letter["reason"]))
            .collect()
    };
    let verdict = line.verify_at_rest();
    let mut expected = vec![
        format!("{refused} \"refused\""),
        format!("{never} \"bad-address\""),
    ];
    expected.sort();
    assert_eq!(letters(verdict.sink("/thanks")), expected);
    let replayed = line.ask(&["dlq", "replay", "--sink", "thanks", "--reason", "refused"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed));
    eventually(std::time::Duration::from_secs(60), async || {
        smtp.mails().len() == 1
    })
    .await;
    let verdict = line.verify_at_rest();
    assert_eq!(
        verdict.sink("/thanks")["delivered"],
        1,
        "{:#}",
        verdict.json
    );
    assert_eq!(
        letters(verdict.sink("/thanks")),
        [format!("{never} \"bad-address\"")]
    );
}

#[test]
fn a_secret_that_cannot_be_used_is_a_mistake_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    write_app(folder.path(), &unique("demo"), SINKS);
    fs::write(folder.path().join("thanks.txt"), "Thanks\n").unwrap();
    let check = |url: &str, secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        let command = command.arg("check").arg("--app").arg(folder.path());
        let command = command.env("FORMLINE_PLUGINS", formline_testing::plugins_dir());
        let command = command.env("FORMLINE_DATA", folder.path().join("data"));
        let command = command.env("CRM_URL", url).env("CRM_SECRET", secret);
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, told) = check("https://crm.example.org/t0p", Receiver::SECRET);
    assert_eq!(code, Some(0), "{told}");
    for (url, secret, problem) in [
        (
            "https://crm.example.org/t0p",
            "whsec_s3cretAA",
            "a secret has less than 24",
        ),
        (
            "https://a:s3cret@crm.example.org/",
            Receiver::SECRET,
            "it names a user",
        ),
        ("https://", Receiver::SECRET, "it cannot be read"),
    ] {
        let (code, told) = check(url, secret);
        assert_eq!(code, Some(64), "{told}");
        assert!(told.contains(problem), "{told}");
        assert!(!told.contains("s3cret") && !told.contains("t0p"), "{told}");
    }
}
