//! `formline top` beside a line that works.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use formline_testing::{eventually, free_port, kafka};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    all_rows,
    vocabulary::{Line, PATIENCE, accepted_id, student},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_is_counted_and_measured() {
    let line = Line::start(kafka().await.bootstrap()).await;
    for roll in 0..5 {
        accepted_id(line.submit(&student(roll)).await).await;
    }
    all_rows(&line, 5).await;
    let has_lag = async || line.metrics().await.contains("formline_step_lag_records{");
    eventually(PATIENCE, has_lag).await;
    // What is submitted meanwhile makes rates and latencies.
    let (admin, nobody) = (line.admin(), format!("http://127.0.0.1:{}", free_port()));
    let looking = tokio::task::spawn_blocking(move || {
        top(&[
            "--url",
            &admin,
            "--url",
            &nobody,
            "--json",
            "--interval",
            "3s",
        ])
    });
    let mut roll = 5;
    while !looking.is_finished() {
        accepted_id(line.submit(&student(roll)).await).await;
        roll += 1;
    }
    let (told, code) = looking.await.unwrap();
    assert_eq!(code, Some(0), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    let name = &line.name;
    let stages = ["enrich", "rows", "analytics"].map(|step| format!("step {name}/{step}"));
    let ends = [format!("form {name}"), format!("sink {name}/student-sheet")];
    for title in stages.iter().chain(&ends) {
        let rows = told["stages"].as_array().unwrap();
        let row = rows.iter().find(|row| row["stage"] == title.as_str());
        let row = row.unwrap_or_else(|| panic!("{title} is missing: {told}"));
        assert!(row["rate"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["p99_seconds"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["events"].as_f64().unwrap() > 5.0, "{row}");
        assert!(row["lag"].is_f64() != title.starts_with("form"), "{row}");
        assert_eq!(row["state"], "ready");
    }
    assert!(told["notes"][0].as_str().unwrap().contains("is away: "));

    all_rows(&line, roll).await;
    let admin = line.admin();
    // Without a terminal it prints one table and ends.
    let (text, _) = top(&["--url", &admin, "--interval", "200ms"]);
    let form = text.lines().find(|line| line.starts_with("form ")).unwrap();
    let cells: Vec<&str> = form.split_whitespace().collect();
    assert_eq!(cells[1..4], [name, &*roll.to_string(), "0.0"], "{text}");
    assert!(text.contains("enrich@0.1.0"), "{text}");
}

#[test]
fn without_any_process_it_says_so() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (told, code) = top(&["--url", &nobody, "--once", "--interval", "200ms"]);
    assert_eq!(code, Some(1), "{told}");
    for part in ["is away: Connection refused", "no process answers"] {
        assert!(told.contains(part), "{told}");
    }
    for wrong in [["--url", "127.0.0.1:8081"], ["--interval", "1ms"]] {
        assert_eq!(top(&wrong).1, Some(64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_is_drawn_until_somebody_quits() {
    let line = Line::start(kafka().await.bootstrap()).await;
    accepted_id(line.submit(&student(1)).await).await;
    for quit in [Quit::Key("q"), Quit::Key("\u{3}"), Quit::Signal] {
        let mut terminal = Terminal::open(&line.admin());
        // Blanks are not drawn: the cursor passes over them.
        let title = format!("{}/enrich", line.name);
        eventually(PATIENCE, async || {
            let drawn = terminal.drawn();
            let is_whole = drawn.contains(&title) && drawn.contains("enrich@0.1.0");
            if is_whole { Ok(()) } else { Err(drawn.len()) }
        })
        .await;
        assert!(terminal.drawn().contains("every 200ms"));
        assert_eq!(terminal.end(quit).await, Some(0));
        // The screen from before, and the cursor.
        let drawn = terminal.drawn();
        assert!(drawn.contains("\u{1b}[?1049l"), "{drawn:?}");
        assert!(drawn.ends_with("echo back\r\n"), "it echoes: {drawn:?}");
    }
}

/// What `formline top` prints, and how it ends.
fn top(arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
    let output = command.arg("top").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

/// What ends the view.
enum Quit {
    Key(&'static str),
    Signal,
}

/// A terminal with `formline top` on it.
struct Terminal {
    script: Child,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open(admin: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_formline");
        // A terminal of its own has no size yet. Whether it echoes again is asked of it at the end.
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

    /// Everything that was sent to the terminal so far.
    fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// Ends it, and tells how it ended.
    async fn end(&mut self, how: Quit) -> Option<i32> {
        match how {
            Quit::Key(key) => {
                let keyboard = self.script.stdin.as_mut().unwrap();
                keyboard.write_all(key.as_bytes()).unwrap();
                keyboard.flush().unwrap();
            }
            Quit::Signal => kill(self.process(), Signal::SIGTERM).unwrap(),
        }
        let ended = || std::future::ready(self.script.try_wait().unwrap());
        let ended = eventually(PATIENCE, ended).await;
        eventually(PATIENCE, async || self.drawn().ends_with('\n')).await;
        ended.code()
    }

    /// The process id of `formline top`, as its shell has told it.
    fn process(&self) -> Pid {
        let drawn = self.drawn();
        let (_, told) = drawn.split_once("process ").unwrap();
        Pid::from_raw(told.lines().next().unwrap().parse().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
