//! What a running process says of its steps' plug-ins: which it runs, and what it decided about files that were dropped.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    admin::{Address, Away, Visitor},
    commands::text,
    line,
};

/// One of the processes that were asked, and its page `/plugins` or why there is none.
pub(super) struct Running {
    address: Address,
    page: Result<Value, Away>,
}

// === impl Running ===

impl Running {
    /// Asks each process. One that does not answer is no error: the files can be listed without any.
    pub(super) fn ask(addresses: &[Address]) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        line::block_on(async {
            let visitor = Visitor::new()?;
            for address in addresses {
                let page = visitor.page(address, "/plugins").await;
                let page = page.and_then(|page| serde_json::from_str(&page).map_err(Away::strange));
                let address = address.clone();
                all.push(Self { address, page });
            }
            Ok(())
        })?;
        Ok(all)
    }

    pub(super) fn text(&self) -> String {
        let address = &self.address;
        let page = match &self.page {
            Ok(page) => page,
            Err(Away::Refused(StatusCode::NOT_FOUND)) => {
                return format!("\nthe process at {address} runs no steps (yet)\n");
            }
            Err(away) => return format!("\nno line answers at {address}: {away}\n"),
        };
        let mut answer = format!("\nrunning at {address}\n");
        for step in list(&page["steps"]) {
            let [title, since] = ["step", "since"].map(|name| word(&step[name]));
            let plugin = short(&step["plugin"]);
            answer += &format!("{title} runs {plugin} since {since}");
            match step["probation_until"].as_str() {
                Some(until) => answer += &format!(", on probation until {until}\n"),
                None => answer.push('\n'),
            }
            answer.extend(list(&step["decisions"]).map(decision));
        }
        let mut files = list(&page["files"]).map(decision).peekable();
        if files.peek().is_some() {
            answer += "files without a plug-in\n";
        }
        answer.extend(files);
        text::plain(&answer).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        let url = self.address.to_string();
        match &self.page {
            Ok(page) => json!({ "url": url, "steps": page["steps"], "files": page["files"] }),
            Err(away) => json!({ "url": url, "problem": away.to_string() }),
        }
    }
}

/// One line: when, what became of it, from what to what, and why.
fn decision(decision: &Value) -> String {
    let [time, outcome] = ["time", "outcome"].map(|name| word(&decision[name]));
    let ends = [&decision["from"], &decision["to"]];
    let ends = ends.into_iter().filter(|end| end.is_string()).map(short);
    let ends = ends.collect::<Vec<_>>().join(" -> ");
    // What follows the first line is a backtrace.
    let problem = decision["problem"].as_str().unwrap_or_default();
    let problem = problem.lines().next().unwrap_or_default();
    let why = if problem.is_empty() { "" } else { ": " };
    format!("  {time}  {outcome:<12}  {ends}{why}{problem}\n")
}

/// A label with as much of the digest as a person looks at.
fn short(label: &Value) -> String {
    let label = word(label);
    match label.split_once(" sha256:") {
        Some((name, digest)) => {
            let digest: String = digest.chars().take(super::list::DIGITS).collect();
            format!("{name} sha256:{digest}")
        }
        None => label.to_owned(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use formline_core::Telemetry;

    use super::*;

    /// What is told of a process that has published a page, or none.
    fn told(page: Option<Value>) -> (String, Value) {
        let telemetry = Telemetry::new();
        if let Some(page) = page {
            telemetry.publish("plugins", page);
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(listener).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(telemetry.serve(listener));
        let running = Running::ask(&[address.parse().unwrap()]).unwrap();
        let text = running[0].text().replace(&address, "URL");
        (text, running[0].json())
    }

    #[test]
    fn steps_and_decisions_are_told_in_lines() {
        let digest = "0123456789abcdef";
        let (text, json) = told(Some(json!({
            "steps": [
                { "step": "a/one", "plugin": format!("one@2.0.0 sha256:{digest}"), "since": "T1",
                  "probation_until": "T2", "decisions": [
                    { "time": "T0", "outcome": "returned", "from": format!("one@3.0.0 sha256:{digest}"),
                      "to": format!("one@2.0.0 sha256:{digest}"), "problem": "it failed\u{1b}[2J\nbacktrace" },
                    { "time": "T1", "outcome": "gone", "from": "one@2.0.0", "to": null, "problem": null },
                ] },
                { "step": "a/two", "plugin": "two@1.0.0", "since": "T1", "probation_until": null, "decisions": [] },
            ],
            "files": [{ "time": "T3", "outcome": "bad-file", "from": null, "to": "x.wasm", "problem": "no wasm" }],
        })));
        let expected = "\nrunning at URL\n\
            a/one runs one@2.0.0 sha256:0123456789ab since T1, on probation until T2\n  \
              T0  returned      one@3.0.0 sha256:0123456789ab -> one@2.0.0 sha256:0123456789ab: it failed\u{fffd}[2J\n  \
              T1  gone          one@2.0.0\n\
            a/two runs two@1.0.0 since T1\n\
            files without a plug-in\n  \
              T3  bad-file      x.wasm: no wasm\n";
        assert_eq!(text, expected);
        assert_eq!(json["steps"][1]["step"], "a/two");
    }

    #[test]
    fn a_process_without_steps_says_so() {
        let (text, json) = told(None);
        assert_eq!(text, "\nthe process at URL runs no steps (yet)\n");
        assert!(json["problem"].as_str().unwrap().contains("404"), "{json}");
    }
}
