//! `formline up` with an app of its own, its sheet, and assertions about the sheet.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Output},
};

use formline_testing::{Process, eventually, free_port, plugins_dir, unique};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{DEADLINE, copy_student_data, formline};

/// A process that runs apps/student-data under a unique name. After a restart it has the same ports
/// and data.
pub(crate) struct System {
    pub(crate) name: String,
    pub(crate) http: Client,
    process: Option<Process>,
    folder: TempDir,
    plugins: PathBuf,
    bootstrap: String,
    /// Addresses of the HTTP service, the admin listener and the sheets emulator.
    addresses: [SocketAddr; 3],
}

/// A row of the sheet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) time: String,
    pub(crate) late: bool,
    pub(crate) cells: Vec<String>,
}

// === impl System ===

impl System {
    /// Starts the process and waits until it is ready.
    pub(crate) async fn start(bootstrap: &str) -> Self {
        let mut system = Self::prepare(bootstrap);
        system.restart().await;
        system
    }

    /// As [`Self::start`], with a plug-in folder of its own that the test may change.
    pub(crate) async fn start_with_own_plugins(bootstrap: &str) -> Self {
        let mut system = Self::prepare(bootstrap);
        system.plugins = system.folder.path().join("plugins");
        fs::create_dir(&system.plugins).unwrap();
        for entry in fs::read_dir(plugins_dir()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), system.plugins.join(entry.file_name())).unwrap();
        }
        system.restart().await;
        system
    }

    fn prepare(bootstrap: &str) -> Self {
        let (name, folder) = (unique("student-data"), tempfile::tempdir().unwrap());
        copy_student_data(&folder.path().join("app"), &name);
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
            addresses: [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port()))),
        }
    }

    /// Starts the process with the same data, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.spawn();
        let admin = self.addresses[1].to_string();
        self.process().wait_ready(&admin).await;
    }

    fn spawn(&mut self) {
        let [http, admin, sheets] = self.addresses.map(|address| address.to_string());
        let mut command = formline();
        command
            .args(["up", "--http", &http, "--admin", &admin])
            .args(["--sheets", &sheets, "--bootstrap", &self.bootstrap])
            .arg("--app")
            .arg(self.folder.path().join("app"))
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .arg("--plugins")
            .arg(&self.plugins)
            .env("FORMLINE_INSTANCE", "test");
        self.process = Some(Process::spawn(&mut command));
    }

    /// SIGKILL, as after a power failure.
    pub(crate) fn kill9(&mut self) {
        self.process().kill9();
    }

    /// SIGTERM, and how the process ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.process().terminate().await
    }

    pub(crate) fn log(&mut self) -> String {
        self.process().log()
    }

    /// Runs a command that reads Kafka.
    pub(crate) fn run_on_kafka(&self, arguments: &[&str]) -> Output {
        self.run(&[arguments, &["--bootstrap", &self.bootstrap]].concat())
    }

    /// Runs a command on the app.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = formline();
        command.args(arguments);
        command.arg("--app").arg(self.folder.path().join("app"));
        command
            .env("FORMLINE_PLUGINS", &self.plugins)
            .env("FORMLINE_DATA", self.folder.path().join("data"));
        command.output().unwrap()
    }

    /// Writes a file of the plug-in folder atomically, as operators should.
    pub(crate) fn write_plugin(&self, file: &str, content: &[u8]) {
        let temporary = self.plugins.join("new");
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, self.plugins.join(file)).unwrap();
    }

    /// The path of a file of the plug-in folder.
    pub(crate) fn plugin(&self, file: &str) -> PathBuf {
        self.plugins.join(file)
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// The URL of the form, with the trailing slash that users may add.
    pub(crate) fn form(&self) -> String {
        format!("http://{}/{}-form/", self.addresses[0], self.name)
    }

    pub(crate) async fn submit(&self, student: &Value) -> Response {
        let request = self.http.post(self.form()).json(student);
        request.send().await.unwrap()
    }

    /// The URL of the admin listener.
    pub(crate) fn admin(&self) -> String {
        format!("http://{}", self.addresses[1])
    }

    pub(crate) async fn metrics(&self) -> String {
        self.get(format!("{}/metrics", self.admin())).await
    }

    /// The rows of the sheet below the header, as the API returns them. None while the process is
    /// down.
    pub(crate) async fn rows(&self) -> Option<Vec<Row>> {
        let sheets = self.addresses[2];
        let url = format!(
            "http://{sheets}/v4/spreadsheets/{}/values/Responses",
            self.name
        );
        let response = self.http.get(url).send().await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let sheet: Value = response.json().await.ok()?;
        let rows = sheet["values"].as_array().cloned().unwrap_or_default();
        Some(rows.iter().skip(1).map(Row::parse).collect())
    }

    /// The rows of the sheet, once there are at least `count`.
    pub(crate) async fn wait_for_rows(&self, count: usize) -> Vec<Row> {
        eventually(DEADLINE, async || {
            let rows = self.rows().await.unwrap_or_default();
            if rows.len() >= count {
                Ok(rows)
            } else {
                Err(format!("{} of {count} rows", rows.len()))
            }
        })
        .await
    }

    /// The page on which a user views the sheet.
    pub(crate) async fn sheet_page(&self) -> String {
        let sheets = self.addresses[2];
        self.get(format!(
            "http://{sheets}/spreadsheets/{}/Responses",
            self.name
        ))
        .await
    }

    async fn get(&self, url: String) -> String {
        let response = self.http.get(url).send().await.unwrap();
        response.text().await.unwrap()
    }
}

// === impl Row ===

impl Row {
    fn parse(row: &Value) -> Self {
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

/// The id in a response that accepts a submission.
pub(crate) async fn accepted_id(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let body: Value = response.json().await.unwrap();
    body["id"].as_str().unwrap().to_owned()
}

/// Asserts that the sheet contains exactly these ids, each once, and that rows that are not marked
/// as late are in order of time.
pub(crate) fn assert_exactly_once_in_order(rows: &[Row], accepted: &BTreeSet<String>) {
    let ids: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    let lost: Vec<_> = accepted.difference(&ids).take(5).collect();
    let unexpected: Vec<_> = ids.difference(accepted).take(5).collect();
    assert!(
        lost.is_empty() && unexpected.is_empty(),
        "lost {lost:?}, unexpected {unexpected:?}"
    );
    assert_eq!(rows.len(), ids.len(), "rows are duplicated");
    let in_time: Vec<_> = rows
        .iter()
        .filter(|row| !row.late)
        .map(|row| (&row.time, &row.id))
        .collect();
    assert!(in_time.is_sorted(), "rows are out of order");
}
