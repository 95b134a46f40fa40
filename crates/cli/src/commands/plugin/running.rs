//! The plug-ins of running processes: which one each step runs, and the decisions about new files.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::digest;
use crate::{
    admin::{AdminAddress, AdminClient, AdminError},
    process, terminal,
};

/// The page `/plugins` of a process, or why it could not be read.
pub(super) struct RunningPlugins {
    address: AdminAddress,
    page: Result<Value, AdminError>,
}

// === impl RunningPlugins ===

impl RunningPlugins {
    /// Queries each process. One that does not respond is no error: the files can be listed without
    /// it.
    pub(super) fn query(addresses: &[AdminAddress]) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        process::block_on(async {
            let client = AdminClient::new()?;
            for address in addresses {
                let page = client.get(address, "/plugins").await;
                let parse =
                    |page: String| serde_json::from_str(&page).map_err(AdminError::malformed);
                let page = page.and_then(parse);
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
            Err(AdminError::Status(StatusCode::NOT_FOUND)) => {
                return format!("\nthe process at {address} runs no steps (yet)\n");
            }
            Err(error) => return format!("\nno process responds at {address}: {error}\n"),
        };
        let mut text = format!("\nrunning at {address}\n");
        for step in list(&page["steps"]) {
            let [title, since] = ["step", "since"].map(|name| string(&step[name]));
            let plugin = short(&step["plugin"]);
            text += &format!("{title} runs {plugin} since {since}");
            match step["probation_until"].as_str() {
                Some(until) => text += &format!(", on probation until {until}\n"),
                None => text.push('\n'),
            }
            text.extend(list(&step["decisions"]).map(decision));
        }
        let mut files = list(&page["files"]).map(decision).peekable();
        if files.peek().is_some() {
            text += "rejected files\n";
        }
        text.extend(files);
        terminal::plain(&text).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        let url = self.address.to_string();
        match &self.page {
            Ok(page) => json!({ "url": url, "steps": page["steps"], "files": page["files"] }),
            Err(error) => json!({ "url": url, "problem": error.to_string() }),
        }
    }
}

/// One line: the time, the outcome, the plug-ins before and after, and the problem if there was
/// one.
fn decision(decision: &Value) -> String {
    let [time, outcome] = ["time", "outcome"].map(|name| string(&decision[name]));
    let plugins = [&decision["from"], &decision["to"]];
    let plugins = plugins.into_iter().filter(|label| label.is_string());
    let plugins = plugins.map(short).collect::<Vec<_>>().join(" -> ");
    // The lines below the first are a backtrace.
    let problem = string(&decision["problem"]);
    let problem = problem.lines().next().unwrap_or_default();
    let colon = if problem.is_empty() { "" } else { ": " };
    format!("  {time}  {outcome:<12}  {plugins}{colon}{problem}\n")
}

/// The label of a plug-in with a short digest.
fn short(label: &Value) -> String {
    let label = string(label);
    match label.split_once(" sha256:") {
        Some((name, digest)) => format!("{name} sha256:{}", digest::short(digest)),
        None => label.to_owned(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use formline_core::Telemetry;

    use super::*;

    /// The text and JSON output for a process that has published a page, or none.
    fn output_for(page: Option<Value>) -> (String, Value) {
        let telemetry = Telemetry::new();
        if let Some(page) = page {
            telemetry.publish("plugins", page);
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(listener).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(telemetry.serve(listener));
        let running = RunningPlugins::query(&[address.parse().unwrap()]).unwrap();
        let text = running[0].text().replace(&address, "URL");
        (text, running[0].json())
    }

    #[test]
    fn steps_and_decisions_are_printed_as_lines() {
        let digest = "0123456789abcdef";
        let (text, json) = output_for(Some(json!({
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
            rejected files\n  \
              T3  bad-file      x.wasm: no wasm\n";
        assert_eq!(text, expected);
        assert_eq!(json["steps"][1]["step"], "a/two");
    }

    #[test]
    fn a_process_without_steps_is_reported() {
        let (text, json) = output_for(None);
        assert_eq!(text, "\nthe process at URL runs no steps (yet)\n");
        assert!(json["problem"].as_str().unwrap().contains("404"), "{json}");
    }
}
