//! The test harness: an app in a temporary folder, ingest serving it, and the records in its topic.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use formline_core::{
    App, Client, Record, Shutdown, Telemetry,
    app::{PluginFacts, Plugins, load},
    kafka::{
        reader::{Reader, StartOffset},
        topic,
    },
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

/// How long to wait for a condition.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// The path of the form.
pub(crate) const FORM_PATH: &str = "/student";

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
    /// An app whose form has additional lines of TOML.
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
            path = "{FORM_PATH}"
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

/// A valid submission.
pub(crate) fn student() -> Value {
    json!({ "roll": "99999", "name": "Asha", "age": 21 })
}

// === impl Ingest ===

impl Ingest {
    /// Starts ingest with the Kafka that all tests share, and waits until it is ready.
    pub(crate) async fn start(app: &TestApp, limits: Limits) -> Self {
        let ingest = Self::start_on(app, limits, kafka().await.bootstrap()).await;
        ingest.wait_ready().await;
        ingest
    }

    /// Starts ingest with another Kafka, and creates the topics there.
    pub(crate) async fn start_on(app: &TestApp, limits: Limits, bootstrap: &str) -> Self {
        let client = Client::new(bootstrap, Default::default());
        topic::apply(&client, &app.apps[0].topics).await.unwrap();
        Self::start_without_topics(app, limits, bootstrap).await
    }

    /// Starts ingest with a Kafka that may be unavailable.
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
        // The admin listener outlives the drain, as in the real process.
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
        eventually(TIMEOUT, async || self.readiness().await == StatusCode::OK).await;
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
        self.http.post(self.url(FORM_PATH)).json(submission)
    }

    /// The value of the metric with this name and these labels.
    pub(crate) async fn metric(&self, metric: &str) -> Option<f64> {
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
            .find_map(|line| line.strip_prefix(metric).map(str::to_owned));
        line.map(|rest| rest.trim().parse().unwrap())
    }

    /// All records in the form's topic.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut records = Vec::new();
            let mut reader = Reader::open(&client, &topic, &[], StartOffset::Beginning).unwrap();
            reader
                .read_to_end(|| true, |record| records.push(record))
                .unwrap();
            records
        });
        read.await.unwrap()
    }

    /// Stops ingest as the process does.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.shutdown.begin();
        self.served.await.unwrap()
    }

    /// Asserts that the service accepts a submission.
    pub(crate) async fn assert_accepts_submissions(&self) {
        assert_eq!(
            self.post(&student()).send().await.unwrap().status(),
            StatusCode::ACCEPTED
        );
    }

    /// Sends bytes on a new connection.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream
    }
}

/// A client without the proxies of the environment.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// Reads until the server closes the connection.
pub(crate) async fn read_all(mut stream: TcpStream) -> String {
    let mut response = Vec::new();
    // A reset after the response also ends the connection.
    let _ = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut response))
        .await
        .expect("the server closes the connection in time");
    String::from_utf8_lossy(&response).into_owned()
}

/// A request to submit a body of this media type.
pub(crate) fn post_body(
    ingest: &Ingest,
    media_type: &str,
    body: impl Into<reqwest::Body>,
) -> RequestBuilder {
    ingest
        .http
        .post(ingest.url(FORM_PATH))
        .header("content-type", media_type)
        .body(body)
}

/// The request line and headers of a POST to the form.
pub(crate) fn post_head(headers: &str) -> String {
    format!(
        "POST {FORM_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n"
    )
}

/// Asserts that a response is a problem of this type, and returns its headers and body.
pub(crate) async fn problem(response: Response, slug: &str) -> (HeaderMap, Value) {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
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
