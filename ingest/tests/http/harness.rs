//! The vocabulary of these tests: an app in a temporary folder, ingest over it, and what lies in its topic.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use formline_core::{
    App, Client, Record, Shutdown, Telemetry,
    app::{PluginFacts, Plugins, load},
    reader::{From, Reader},
    topic,
};
use formline_ingest::{Error, Limits, Options, serve};
use formline_testing::{eventually, kafka, unique};
use reqwest::{RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Longest wait for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Where the form is found.
pub(crate) const FORM: &str = "/student";

/// An app with one form, on a topic of its own.
pub(crate) struct TestApp {
    pub(crate) apps: Vec<Arc<App>>,
    pub(crate) topic: String,
}

/// A running ingest.
pub(crate) struct Ingest {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) shutdown: Shutdown,
    pub(crate) served: JoinHandle<Result<(), Error>>,
    client: Client,
    topic: String,
}

struct NoPlugins;

impl Plugins for NoPlugins {
    fn find(&self, _: &str) -> Option<PluginFacts> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

// === impl TestApp ===

impl TestApp {
    /// A form with the given lines beside the usual ones.
    pub(crate) fn with(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topic = unique("student");
        let text = format!(
            r#"
            [app]
            name = "{topic}"
            [[topic]]
            name = "{topic}"
            partitions = 2
            [[form]]
            name = "student"
            path = "{FORM}"
            topic = "{topic}"
            key = "roll"
            schema = "student.json"
            honeypot = "website"
            {lines}
            "#
        );
        std::fs::write(folder.path().join("app.toml"), text).unwrap();
        std::fs::write(folder.path().join("student.json"), schema().to_string()).unwrap();
        let apps = load(&[folder.path().to_owned()], &NoPlugins, &|_| None);
        Self {
            apps: apps.unwrap(),
            topic,
        }
    }
}

pub(crate) fn schema() -> Value {
    json!({
        "title": "Student",
        "type": "object",
        "properties": {
            "roll": { "type": "string", "pattern": "^[0-9]{1,10}$" },
            "name": { "type": "string", "pattern": "^[A-Za-z]{1,50}$", "title": "Full name" },
            "age": { "$ref": "#/$defs/age" },
            "share": { "type": "number" },
            "newsletter": { "type": "boolean" },
            "courses": { "type": "array", "items": { "enum": ["maths", "music"] } },
            "note": { "type": "string", "maxLength": 500, "pattern": "^(?:\\S(?:[ -~]{0,498}\\S)?)?$" },
        },
        "required": ["roll", "name"],
        "additionalProperties": false,
        "$defs": { "age": { "type": "integer", "minimum": 16, "maximum": 130 } },
    })
}

/// A submission that the form takes.
pub(crate) fn student() -> Value {
    json!({ "roll": "99999", "name": "Asha", "age": 21 })
}

// === impl Ingest ===

impl Ingest {
    /// On the Kafka that all tests share, ready.
    pub(crate) async fn start(app: &TestApp, limits: Limits) -> Self {
        let ingest = Self::start_on(app, limits, kafka().await.bootstrap()).await;
        ingest.wait_ready().await;
        ingest
    }

    /// On a certain Kafka.
    pub(crate) async fn start_on(app: &TestApp, limits: Limits, bootstrap: &str) -> Self {
        let client = Client::new(bootstrap, Default::default());
        topic::apply(&client, &app.apps[0].topics).await.unwrap();
        Self::start_without_topics(app, limits, bootstrap).await
    }

    /// On a Kafka that need not run.
    pub(crate) async fn start_without_topics(
        app: &TestApp,
        limits: Limits,
        bootstrap: &str,
    ) -> Self {
        let client = Client::new(bootstrap, Default::default());
        let shutdown = Shutdown::new();
        let telemetry = Telemetry::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin) = (
            listener.local_addr().unwrap(),
            admin_listener.local_addr().unwrap(),
        );
        // The admin listener outlives the drain, as it does in the process.
        tokio::spawn(telemetry.clone().serve(admin_listener));
        let options = Options {
            listener,
            apps: app.apps.clone(),
            client: client.clone(),
            limits,
            telemetry,
        };
        let served = tokio::spawn(serve(options, shutdown.clone()));
        let http = client_builder().build().unwrap();
        Self {
            address,
            admin,
            http,
            shutdown,
            served,
            client,
            topic: app.topic.clone(),
        }
    }

    pub(crate) async fn wait_ready(&self) {
        eventually(SOON, async || self.readiness().await == StatusCode::OK).await;
    }

    pub(crate) async fn readiness(&self) -> StatusCode {
        let url = format!("http://{}/readyz", self.admin);
        self.http.get(url).send().await.unwrap().status()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    /// A submission as JSON.
    pub(crate) fn post(&self, submission: &Value) -> RequestBuilder {
        self.http.post(self.url(FORM)).json(submission)
    }

    /// What the metric line that begins so says.
    pub(crate) async fn metric(&self, begin: &str) -> Option<f64> {
        let url = format!("http://{}/metrics", self.admin);
        let text = self
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(begin).map(str::to_owned));
        line.map(|rest| rest.trim().parse().unwrap())
    }

    /// Everything in the form's topic.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut records = Vec::new();
            let mut reader = Reader::open(&client, &topic, &[], From::Beginning).unwrap();
            reader
                .read_to_end(|| true, |record| records.push(record))
                .unwrap();
            records
        });
        read.await.unwrap()
    }

    /// Stops as the process would.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.shutdown.begin();
        self.served.await.unwrap()
    }

    /// Asserts that the service still takes submissions.
    pub(crate) async fn is_well(&self) {
        assert_eq!(
            self.post(&student()).send().await.unwrap().status(),
            StatusCode::ACCEPTED
        );
    }

    /// Sends bytes on a connection of their own.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream
    }
}

/// Without the proxies of the environment.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// Everything that comes until the server closes the connection.
pub(crate) async fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer ends it as well.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .expect("it is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The head of a POST to the form.
pub(crate) fn post_head(headers: &str) -> String {
    format!("POST {FORM} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n")
}

/// Asserts that an answer is a problem of that kind and returns it.
pub(crate) async fn problem(answer: Response, slug: &str) -> (HeaderMap, Value) {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    assert_eq!(
        headers["content-type"], "application/problem+json",
        "{status} {text}"
    );
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        problem["type"],
        format!("urn:formline:problem:{slug}"),
        "{text}"
    );
    assert_eq!(problem["status"], status.as_u16());
    for member in ["title", "detail"] {
        assert!(
            problem[member]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{text}"
        );
    }
    assert!(
        problem["instance"]
            .as_str()
            .is_some_and(|id| id.starts_with("urn:uuid:")),
        "{text}"
    );
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(headers["x-content-type-options"], "nosniff");
    (headers, problem)
}
