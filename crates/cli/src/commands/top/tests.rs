//! What `formline top` shows of processes that serve metrics through the real admin listener. The
//! metric names are tested in `tests/cli/pipeline`, on a real pipeline.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use formline_core::{
    Telemetry,
    telemetry::{HealthCheck, LATENCY_BUCKETS, counters, gauges, histograms},
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    screen::{KeyAction, Screen},
    table::Table,
    watched_process::{WatchedProcess, scrape},
};
use crate::admin::AdminClient;

/// Increases a counter by a number.
type Add = dyn Fn(&str, u64);

/// A process with one form, one step and one sink.
struct FakeProcess {
    telemetry: Telemetry,
    step: HealthCheck,
    address: String,
    serving: JoinHandle<()>,
    add: Box<Add>,
}

// === impl FakeProcess ===

impl FakeProcess {
    async fn start() -> Self {
        let telemetry = Telemetry::new();
        let submissions = counters("formline_submissions_total", "s", &["form", "outcome"]);
        let step = counters(
            "formline_step_events_total",
            "e",
            &["app", "step", "outcome"],
        );
        let sink = counters("formline_sink_records_total", "r", &["sink", "outcome"]);
        let lag = gauges("formline_step_lag_records", "l", &["app", "step", "topic"]);
        let labels = ["app", "step", "plugin", "version"];
        let info = gauges("formline_plugin_info", "i", &labels);
        let name = "formline_http_request_duration_seconds";
        let requests = histograms(name, "d", &["form", "method"], LATENCY_BUCKETS);
        for (topic, records) in [("a", 3), ("b", 4)] {
            lag.with_label_values(&["demo", "rows", topic]).set(records);
        }
        info.with_label_values(&["demo", "rows", "rows", "0.1.0"])
            .set(1);
        submissions.with_label_values(&["demo", "accepted"]);
        for metric in [&submissions, &step, &sink] {
            telemetry.register(metric.clone());
        }
        telemetry.register(lag);
        telemetry.register(info);
        telemetry.register(requests.clone());
        let parts = ["step demo/rows worker 0", "step demo/rows worker 1"];
        let [first, second] = parts.map(|name| telemetry.startup_check(name));
        for part in [&first, &second, &telemetry.startup_check("sink demo/sheet")] {
            part.ready();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = telemetry.clone();
        let add = move |what: &str, count| match what {
            "sink" => sink
                .with_label_values(&["demo.sheet", "written"])
                .inc_by(count),
            "dead-letter" => step
                .with_label_values(&["demo", "rows", what])
                .inc_by(count),
            _ => {
                submissions
                    .with_label_values(&["demo", "accepted"])
                    .inc_by(count);
                let requests = requests.with_label_values(&["demo", "POST"]);
                (0..count).for_each(|_| requests.observe(0.2));
            }
        };
        Self {
            telemetry,
            step: second,
            address,
            serving: tokio::spawn(async { serving.serve(listener).await.unwrap() }),
            add: Box::new(add),
        }
    }

    fn watched(&self) -> WatchedProcess {
        WatchedProcess::new(self.address.parse().unwrap())
    }

    async fn stop(&mut self) {
        self.serving.abort();
        assert!((&mut self.serving).await.unwrap_err().is_cancelled());
    }
}

/// The lines of the screen, and the colour of each.
fn drawn(screen: &Screen) -> (Vec<String>, Vec<Color>) {
    let mut terminal = Terminal::new(TestBackend::new(140, 12)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| -> String { (0..140).map(|x| buffer[(x, y)].symbol()).collect() };
    let lines = (0..12).map(line).map(|line| line.trim_end().to_owned());
    (
        lines.collect(),
        (0..12).map(|y| buffer[(0, y)].fg).collect(),
    )
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

#[tokio::test]
async fn two_scrapes_become_a_table() {
    let (one, other) = (FakeProcess::start().await, FakeProcess::start().await);
    let client = AdminClient::new().unwrap();
    let mut processes = [one.watched(), other.watched()];
    (one.add)("form", 100);
    scrape(&mut processes, &client).await;
    (one.add)("form", 10);
    (other.add)("form", 10);
    (other.add)("sink", 5);
    (other.add)("dead-letter", 2);
    other.step.waiting("restoring state");
    scrape(&mut processes, &client).await;

    let mut screen = Screen::new(Duration::from_secs(2), 2);
    screen.show(Table::of(&processes));
    let (lines, colors) = drawn(&screen);
    assert!(lines[0].contains("2 processes, every 2s"), "{}", lines[0]);
    assert_eq!(words(&lines[2])[..4], ["stage", "events", "rate/s", "lag"]);
    let [form, step, sink] = [3, 4, 5].map(|line| words(&lines[line]));
    assert_eq!(form[..3], ["form", "demo", "120"]);
    assert!(form[3].parse::<f64>().unwrap() > 0.0, "{form:?}");
    // All took 0.2 s, which is in the bucket from 0.1 to 0.25 s.
    assert_eq!(form[4..], ["-", "248", "ms", "0", "-", "-", "ready"]);
    assert_eq!(step[..3], ["step", "demo/rows", "2"]);
    let rest = "14 - 0 2 rows@0.1.0 1 of 4 waiting: restoring state";
    assert_eq!(step[4..], words(rest));
    assert_eq!(sink[..3], ["sink", "demo/sheet", "5"]);
    assert_eq!(colors[3..6], [Color::Reset, Color::Red, Color::Reset]);
}

#[tokio::test]
async fn a_process_that_waits_or_does_not_respond_is_shown() {
    let (mut one, other) = (FakeProcess::start().await, FakeProcess::start().await);
    let client = AdminClient::new().unwrap();
    let mut processes = [one.watched(), other.watched()];
    (one.add)("form", 100);
    (other.add)("form", 10);
    one.telemetry.startup_check("start").waiting("starting");
    scrape(&mut processes, &client).await;
    one.stop().await;
    let notes = Table::of(&processes).notes;
    let note = format!("{} is waiting: start: starting", one.address);
    assert_eq!(notes, [note]);
    scrape(&mut processes, &client).await;
    let table = Table::of(&processes);
    let text = table.text();
    let mut lines = text.lines().skip(1);
    assert_eq!(words(lines.next().unwrap())[..3], ["form", "demo", "10"]);
    assert!(
        lines.last().unwrap().contains("cannot be queried"),
        "{text}"
    );
    let mut screen = Screen::new(Duration::from_secs(2), 2);
    screen.show(table);
    let (lines, _) = drawn(&screen);
    assert_eq!(words(&lines[3])[2], "10", "the other process is counted");
    let note = format!("{} cannot be queried: Connection refused", one.address);
    assert!(lines[11].starts_with(&note), "{}", lines[11]);
}

#[tokio::test]
async fn a_stage_without_any_process_stays_in_the_table() {
    let mut only = FakeProcess::start().await;
    let (client, mut processes) = (AdminClient::new().unwrap(), [only.watched()]);
    scrape(&mut processes, &client).await;
    only.stop().await;
    scrape(&mut processes, &client).await;
    let table = Table::of(&processes);
    assert_eq!(table.rows.len(), 3);
    assert_eq!(table.json()["stages"][1]["state"], "away");
    let mut screen = Screen::new(Duration::from_secs(2), 1);
    screen.show(table);
    let (lines, colors) = drawn(&screen);
    assert_eq!(words(&lines[4]), words("step demo/rows - - - - - - - away"));
    assert_eq!(colors[4], Color::Yellow);
}

#[tokio::test]
async fn a_response_of_another_server_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/readyz#", listener.local_addr().unwrap());
    let telemetry = Telemetry::new();
    telemetry.startup_check("step").ready();
    tokio::spawn(telemetry.serve(listener));
    let mut processes = [WatchedProcess::new(address.parse().unwrap())];
    scrape(&mut processes, &AdminClient::new().unwrap()).await;
    let error = processes[0].error.as_ref().unwrap().to_string();
    let expected = "not a response of Formline: line 1 is not a metric";
    assert_eq!(error, expected);
}

#[tokio::test]
async fn keys_sort_pause_and_quit() {
    let served = FakeProcess::start().await;
    let (client, mut processes) = (AdminClient::new().unwrap(), [served.watched()]);
    scrape(&mut processes, &client).await;
    let mut screen = Screen::new(Duration::from_secs(2), 1);
    screen.show(Table::of(&processes));
    // Only the lag differs so far.
    for (order, first) in [
        ("stage", "form"),
        ("rate", "form"),
        ("lag", "step"),
        ("p99", "form"),
        ("errors", "form"),
    ] {
        let (lines, _) = drawn(&screen);
        assert!(lines[0].contains(&format!("sort: {order}")), "{}", lines[0]);
        assert_eq!(words(&lines[3])[0], first, "{order}");
        assert_eq!(screen.press(key(KeyCode::Char('s'))), KeyAction::Continue);
    }
    assert_eq!(screen.press(key(KeyCode::Char('p'))), KeyAction::Continue);
    (served.add)("form", 7);
    scrape(&mut processes, &client).await;
    screen.show(Table::of(&processes));
    let (lines, _) = drawn(&screen);
    assert!(lines[0].contains("paused"), "{}", lines[0]);
    assert_eq!(words(&lines[3])[2], "0", "the table is not updated");
    assert_eq!(screen.press(key(KeyCode::Char(' '))), KeyAction::Continue);
    screen.show(Table::of(&processes));
    assert_eq!(words(&drawn(&screen).0[3])[2], "7");

    assert_eq!(screen.press(key(KeyCode::Char('c'))), KeyAction::Continue);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for quit in [key(KeyCode::Char('q')), key(KeyCode::Esc), control_c] {
        assert_eq!(screen.press(quit), KeyAction::Quit);
    }
}
