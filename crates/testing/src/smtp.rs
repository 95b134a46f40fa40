//! An SMTP server for tests (aiosmtpd) that answers by a script and keeps what it takes as files.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Process, free_port, repository};

/// A server on loopback. Its mails outlive [`Self::kill`].
#[derive(Debug)]
pub struct Smtp {
    folder: Arc<TempDir>,
    port: u16,
    has_tls: bool,
    process: Process,
}

// === impl Smtp ===

impl Smtp {
    /// Without TLS.
    ///
    /// # Panics
    /// When it does not start within a minute.
    pub async fn start() -> Self {
        Self::begin(false).await
    }

    /// With STARTTLS, and a certificate that nobody has signed.
    ///
    /// # Panics
    /// When it does not start within a minute, or openssl is missing.
    pub async fn start_self_signed() -> Self {
        Self::begin(true).await
    }

    async fn begin(has_tls: bool) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        if has_tls {
            make_certificate(&folder);
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

    /// Its address, without what is to be done about TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://localhost:{}", self.port)
    }

    /// Answers the next mails with these lines (`smtp_server.py` says which there are), later ones with 250.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn script(&self, answers: &[&str]) {
        let lines: String = answers.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.folder.path().join("script"), lines).expect("our own folder");
    }

    /// Everything that it has taken, in order: the recipients in a header `X-Rcpt`, then the mail.
    ///
    /// # Panics
    /// When a file cannot be read.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path()).expect("our own folder");
        let paths = files.map(|file| file.expect("our own folder").path());
        let mut mails: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .collect();
        mails.sort();
        let text = |path: &PathBuf| fs::read_to_string(path).expect("mails are ASCII");
        mails.iter().map(text).collect()
    }

    /// What it has answered to the text of each mail that came so far.
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

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// When it does not start within a minute.
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

fn make_certificate(folder: &TempDir) {
    let made = Command::new("openssl")
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
    assert!(made.is_ok_and(|code| code.success()), "openssl failed");
}

/// `FORMLINE_TEST_SMTP`, else what `deploy/setup/tool` installs: a Python that has aiosmtpd.
fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| match std::env::var_os("FORMLINE_TEST_SMTP") {
        Some(python) => python.into(),
        None => {
            let script = repository().join("deploy/setup/tool");
            let output = Command::new(&script)
                .arg("smtp")
                .stderr(Stdio::inherit())
                .output();
            let output = output.expect("the script is there");
            assert!(output.status.success(), "{} failed", script.display());
            String::from_utf8_lossy(&output.stdout).trim().into()
        }
    })
}
