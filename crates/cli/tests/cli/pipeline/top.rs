//! `formline top` of a running pipeline.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use formline_testing::{eventually, free_port, kafka};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::system::{System, accepted_id};
use crate::support::{DEADLINE, assert_contains, formline, output_text, student};

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_is_counted_and_measured() {
    let system = System::start(kafka().await.bootstrap()).await;
    for roll in 0..5 {
        accepted_id(system.submit(&student(roll)).await).await;
    }
    system.wait_for_rows(5).await;
    let has_lag = async || {
        system
            .metrics()
            .await
            .contains("formline_step_lag_records{")
    };
    eventually(DEADLINE, has_lag).await;
    let admin = system.admin();
    let unused = format!("http://127.0.0.1:{}", free_port());
    let measuring = tokio::task::spawn_blocking(move || {
        let urls = ["--url", &admin, "--url", &unused];
        top(&[&urls[..], &["--json", "--interval", "3s"]].concat())
    });
    // Submissions between the two scrapes give rates and latencies.
    let mut roll = 5;
    while !measuring.is_finished() {
        accepted_id(system.submit(&student(roll)).await).await;
        roll += 1;
    }
    let (text, code) = measuring.await.unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert_every_stage_is_measured(&serde_json::from_str(&text).unwrap(), &system.name);

    system.wait_for_rows(roll).await;
    // Without a terminal it prints one table and exits.
    let (text, _) = top(&["--url", &system.admin(), "--interval", "200ms"]);
    let form = text.lines().find(|line| line.starts_with("form ")).unwrap();
    let cells: Vec<&str> = form.split_whitespace().collect();
    let expected = [&*system.name, &*roll.to_string(), "0.0"];
    assert_eq!(cells[1..4], expected, "{text}");
    assert_contains(&text, &["enrich@0.1.0"]);
}

/// Asserts that each stage of apps/student-data has figures, and that the unused address is noted.
fn assert_every_stage_is_measured(table: &Value, name: &str) {
    let steps = ["enrich", "rows", "analytics"].map(|step| format!("step {name}/{step}"));
    let ends = [format!("form {name}"), format!("sink {name}/student-sheet")];
    for title in steps.iter().chain(&ends) {
        let rows = table["stages"].as_array().unwrap();
        let row = rows.iter().find(|row| row["stage"] == title.as_str());
        let row = row.unwrap_or_else(|| panic!("{title} is missing: {table}"));
        assert!(row["rate"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["p99_seconds"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["events"].as_f64().unwrap() > 5.0, "{row}");
        assert!(row["lag"].is_f64() != title.starts_with("form"), "{row}");
        assert_eq!(row["state"], "ready");
    }
    let note = table["notes"][0].as_str().unwrap();
    assert_contains(note, &["cannot be queried: "]);
}

#[test]
fn it_fails_without_any_process() {
    let unused = format!("http://127.0.0.1:{}", free_port());
    let (text, code) = top(&["--url", &unused, "--once", "--interval", "200ms"]);
    assert_eq!(code, Some(1), "{text}");
    let parts = [
        "cannot be queried: Connection refused",
        "no process responds",
    ];
    assert_contains(&text, &parts);
    for wrong in [["--url", "127.0.0.1:8081"], ["--interval", "1ms"]] {
        assert_eq!(top(&wrong).1, Some(64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_is_drawn_until_the_user_quits() {
    let system = System::start(kafka().await.bootstrap()).await;
    accepted_id(system.submit(&student(1)).await).await;
    for quit in [Quit::Key("q"), Quit::Key("\u{3}"), Quit::Signal] {
        let mut terminal = Terminal::open(&system.admin());
        // Blanks are not drawn: the cursor skips them.
        let title = format!("{}/enrich", system.name);
        eventually(DEADLINE, async || {
            let drawn = terminal.drawn();
            let is_complete = drawn.contains(&title) && drawn.contains("enrich@0.1.0");
            if is_complete {
                Ok(())
            } else {
                Err(drawn.len())
            }
        })
        .await;
        assert_contains(&terminal.drawn(), &["every 200ms"]);
        assert_eq!(terminal.end(quit).await.code(), Some(0));
        // It has left the alternate screen, and restored the echo.
        let drawn = terminal.drawn();
        assert!(drawn.contains("\u{1b}[?1049l"), "{drawn:?}");
        assert!(drawn.ends_with("echo back\r\n"), "no echo: {drawn:?}");
    }
}

/// The output and exit code of `formline top`.
fn top(arguments: &[&str]) -> (String, Option<i32>) {
    let output = formline().arg("top").args(arguments).output().unwrap();
    (output_text(&output), output.status.code())
}

/// What ends the view.
enum Quit {
    Key(&'static str),
    Signal,
}

/// A terminal that runs `formline top`.
struct Terminal {
    script: Child,
    drawn: Arc<Mutex<Vec<u8>>>,
}

// === impl Terminal ===

impl Terminal {
    fn open(admin: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_formline");
        // A new terminal has no size. At the end, `echo back` shows that the terminal echoes again.
        let commands = format!(
            "stty cols 200 rows 20
             sh -c 'echo process $$; exec {program} top --url {admin} --interval 200ms'; code=$?
             stty -a | grep -q -e ' echo ' && echo echo back; exit $code"
        );
        let mut script = Command::new("script")
            .args(["--quiet", "--return", "--command", &commands, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let drawn = Arc::<Mutex<Vec<u8>>>::default();
        let (mut output, seen) = (script.stdout.take().unwrap(), Arc::clone(&drawn));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { script, drawn }
    }

    /// The output to the terminal so far.
    fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// Ends the view, and returns how the terminal ended.
    async fn end(&mut self, how: Quit) -> ExitStatus {
        match how {
            Quit::Key(key) => {
                let keyboard = self.script.stdin.as_mut().unwrap();
                keyboard.write_all(key.as_bytes()).unwrap();
                keyboard.flush().unwrap();
            }
            Quit::Signal => kill(self.process(), Signal::SIGTERM).unwrap(),
        }
        let ended = || std::future::ready(self.script.try_wait().unwrap());
        let ended = eventually(DEADLINE, ended).await;
        eventually(DEADLINE, async || self.drawn().ends_with('\n')).await;
        ended
    }

    /// The process id of `formline top`, which its shell has printed.
    fn process(&self) -> Pid {
        let drawn = self.drawn();
        let (_, printed) = drawn.split_once("process ").unwrap();
        Pid::from_raw(printed.lines().next().unwrap().parse().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
