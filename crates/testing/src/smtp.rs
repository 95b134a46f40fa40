//! An SMTP server for tests (aiosmtpd). It replies according to a script, and stores accepted mails
//! as files.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::names::free_port;
use crate::process::Process;
use crate::tools::{self, repository};

/// A server on loopback. Its mails survive [`Self::kill`].
#[derive(Debug)]
pub struct Smtp {
    folder: Arc<TempDir>,
    port: u16,
    has_tls: bool,
    process: Process,
}

// === impl Smtp ===

impl Smtp {
    /// A server without TLS.
    ///
    /// # Panics
    /// If it does not start within a minute.
    pub async fn start() -> Self {
        Self::begin(false).await
    }

    /// A server with STARTTLS and a self-signed certificate.
    ///
    /// # Panics
    /// If it does not start within a minute, or openssl is missing.
    pub async fn start_self_signed() -> Self {
        Self::begin(true).await
    }

    async fn begin(has_tls: bool) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        if has_tls {
            create_certificate(&folder);
        }
        let port = free_port();
        let process = serve(&folder, port, has_tls).await;
        Self {
            folder,
            port,
            has_tls,
            process,
        }
    }

    /// Its URL, without a parameter for TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://localhost:{}", self.port)
    }

    /// Sets the replies to the next mails, in the syntax of `smtp_server.py`. Later mails get 250.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn script(&self, answers: &[&str]) {
        let lines: String = answers.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.folder.path().join("script"), lines).expect("the folder is ours");
    }

    /// All accepted mails, in order. Each starts with its recipients in a header `X-Rcpt`.
    ///
    /// # Panics
    /// If a file cannot be read.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path()).expect("the folder is ours");
        let paths = files.map(|file| file.expect("the folder is ours").path());
        let mut mails: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .collect();
        mails.sort();
        let text = |path: &PathBuf| fs::read_to_string(path).expect("mails are ASCII");
        mails.iter().map(text).collect()
    }

    /// The replies to the text of each mail so far.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        let seen = fs::read_to_string(self.folder.path().join("seen"));
        seen.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill9();
    }

    /// Starts the server on the same port, with its mails.
    ///
    /// # Panics
    /// If it does not start within a minute.
    pub async fn restart(&mut self) {
        self.process = serve(&self.folder, self.port, self.has_tls).await;
    }
}

async fn serve(folder: &Arc<TempDir>, port: u16, has_tls: bool) -> Process {
    let mut server = Command::new(python());
    server
        .arg(repository().join("crates/testing/src/smtp_server.py"))
        .arg(port.to_string())
        .arg(folder.path());
    if has_tls {
        server.args([folder.path().join("certificate"), folder.path().join("key")]);
    }
    let mut process = Process::spawn_in(&mut server, Arc::clone(folder));
    process
        .wait_until(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        .await;
    process
}

fn create_certificate(folder: &TempDir) {
    let created = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-out", "certificate", "-keyout", "key"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    assert!(created.is_ok_and(|code| code.success()), "openssl failed");
}

/// A Python with aiosmtpd: the one that `FORMLINE_TEST_SMTP` names or `deploy/setup/tool` installs.
fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| tools::find("FORMLINE_TEST_SMTP", "tool", &["smtp"]))
}
