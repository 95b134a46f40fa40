//! The words of these tests: a line that runs as a process of its own, people who submit, and the sheet.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use formline_testing::{Process, free_port, plugins_dir, unique};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// `formline up` with an app that no other test uses. Killed and started again, it keeps ports and data.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) http: Client,
    process: Option<Process>,
    folder: TempDir,
    plugins: PathBuf,
    bootstrap: String,
    address: [SocketAddr; 3],
}

/// A row of the sheet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) time: String,
    pub(crate) late: bool,
    pub(crate) cells: Vec<String>,
}

impl Line {
    /// Copies apps/student-data under a name of its own, and starts it.
    pub(crate) async fn start(bootstrap: &str) -> Self {
        let mut line = Self::prepare(bootstrap);
        line.start_again().await;
        line
    }

    /// The same with a plug-in folder of its own, for a test that drops files into it.
    pub(crate) async fn start_with_own_plugins(bootstrap: &str) -> Self {
        let mut line = Self::prepare(bootstrap);
        line.plugins = line.folder.path().join("plugins");
        fs::create_dir(&line.plugins).unwrap();
        for entry in fs::read_dir(plugins_dir()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), line.plugins.join(entry.file_name())).unwrap();
        }
        line.start_again().await;
        line
    }

    fn prepare(bootstrap: &str) -> Self {
        let name = unique("student-data");
        let folder = tempfile::tempdir().unwrap();
        copy_app(
            &repository().join("apps/student-data"),
            &folder.path().join("app"),
            &name,
        );
        let address = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let http = Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(2000)
            .build()
            .unwrap();
        Self {
            name,
            http,
            process: None,
            folder,
            plugins: plugins_dir().to_owned(),
            bootstrap: bootstrap.to_owned(),
            address,
        }
    }

    /// Starts the process with the same data, and waits until it is ready.
    pub(crate) async fn start_again(&mut self) {
        self.spawn();
        let admin = self.address[1].to_string();
        self.process().wait_ready(&admin).await;
    }

    /// Starts the process without waiting.
    pub(crate) fn spawn(&mut self) {
        let [http, admin, sheets] = self.address.map(|address| address.to_string());
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command
            .args([
                "up", "--http", &http, "--admin", &admin, "--sheets", &sheets,
            ])
            .args(["--bootstrap", &self.bootstrap])
            .arg("--app")
            .arg(self.folder.path().join("app"))
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .arg("--plugins")
            .arg(&self.plugins)
            .env("FORMLINE_INSTANCE", "test");
        self.process = Some(Process::spawn(&mut command));
    }

    /// What happens to it when the power fails.
    pub(crate) fn kill9(&mut self) {
        self.process().kill9();
    }

    /// What an operator does, and how it ended.
    pub(crate) async fn terminate(&mut self) -> std::process::ExitStatus {
        self.process().terminate().await
    }

    pub(crate) fn log(&mut self) -> String {
        self.process().log()
    }

    /// Runs a command that looks at the line from outside, and ends by itself.
    pub(crate) fn look(&self, arguments: &[&str]) -> std::process::Output {
        self.ask(&[arguments, &["--bootstrap", &self.bootstrap]].concat())
    }

    /// The same for a command that does not ask Kafka.
    pub(crate) fn ask(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formline"));
        command.args(arguments);
        command.arg("--app").arg(self.folder.path().join("app"));
        command
            .env("FORMLINE_PLUGINS", &self.plugins)
            .env("FORMLINE_DATA", self.folder.path().join("data"));
        command.output().unwrap()
    }

    /// Drops a file into the plug-in folder, as an operator should.
    pub(crate) fn drop_plugin(&self, file: &str, content: &[u8]) {
        let temporary = self.plugins.join("new");
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, self.plugins.join(file)).unwrap();
    }

    pub(crate) fn plugin(&self, file: &str) -> PathBuf {
        self.plugins.join(file)
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// The form's own address, with the trailing slash that people add.
    pub(crate) fn form(&self) -> String {
        format!("http://{}/{}-form/", self.address[0], self.name)
    }

    pub(crate) async fn submit(&self, student: &Value) -> Response {
        self.http
            .post(self.form())
            .json(student)
            .send()
            .await
            .unwrap()
    }

    /// Where operators look.
    pub(crate) fn admin(&self) -> String {
        format!("http://{}", self.address[1])
    }

    pub(crate) async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.admin());
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// The rows of the sheet below the header, as Google's API gives them; none while the line is away.
    pub(crate) async fn rows(&self) -> Option<Vec<Row>> {
        let sheets = self.address[2];
        let url = format!(
            "http://{sheets}/v4/spreadsheets/{}/values/Responses",
            self.name
        );
        let answer = self.http.get(url).send().await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let answer: Value = answer.json().await.ok()?;
        let rows = answer["values"].as_array().cloned().unwrap_or_default();
        Some(rows.iter().skip(1).map(Row::read).collect())
    }

    /// The page that a person looks at.
    pub(crate) async fn sheet_page(&self) -> String {
        let url = format!(
            "http://{}/spreadsheets/{}/Responses",
            self.address[2], self.name
        );
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

impl Row {
    fn read(row: &Value) -> Self {
        let mut cells = row
            .as_array()
            .unwrap()
            .iter()
            .map(|cell| cell.as_str().unwrap().to_owned());
        let mut cell = || cells.next().unwrap_or_default();
        let (id, time, note) = (cell(), cell(), cell());
        Self {
            id,
            time,
            late: !note.is_empty(),
            cells: cells.collect(),
        }
    }
}

/// The student of the README, with a roll number of its own.
pub(crate) fn student(roll: usize) -> Value {
    json!({
        "name": "Saurabh raj", "roll": roll.to_string(), "university": "BCE", "cgpa": "8.04", "gender": "F",
        "age": "10.11", "email": "saurabh@example.org", "mobile": "7004465984",
    })
}

/// The id in an answer.
pub(crate) async fn accepted_id(answer: Response) -> String {
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let body: Value = answer.json().await.unwrap();
    body["id"].as_str().unwrap().to_owned()
}

/// The sheet holds these ids and no others, each once, in order of time where it does not say late.
pub(crate) fn assert_exactly_once_in_order(rows: &[Row], accepted: &BTreeSet<String>) {
    let ids: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    let lost: Vec<_> = accepted.difference(&ids).take(5).collect();
    let strange: Vec<_> = ids.difference(accepted).take(5).collect();
    assert!(
        lost.is_empty() && strange.is_empty(),
        "lost {lost:?}, strange {strange:?}"
    );
    assert_eq!(rows.len(), ids.len(), "rows are doubled");
    let in_time: Vec<_> = rows
        .iter()
        .filter(|row| !row.late)
        .map(|row| (&row.time, &row.id))
        .collect();
    assert!(in_time.is_sorted(), "rows are out of order");
}

/// How long the fault tests are: every one in short, or at full length (`make drill`).
pub(crate) fn is_drill() -> bool {
    std::env::var("FORMLINE_DRILL").is_ok_and(|length| length == "full")
}

/// A random sequence that `SEED=` repeats.
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new() -> Self {
        let given = std::env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("SEED={seed}");
        Self(seed)
    }

    /// A number below `limit` (SplitMix64).
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The longest wait for something that takes seconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Copies apps/student-data, with its name replaced wherever it stands.
pub(crate) fn copy_app(from: &Path, to: &Path, name: &str) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let file = entry.file_name().into_string().unwrap();
        fs::write(
            to.join(file.replace("student-data", name)),
            text.replace("student-data", name),
        )
        .unwrap();
    }
}
