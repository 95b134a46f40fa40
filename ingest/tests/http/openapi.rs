//! Tests the service against its OpenAPI description: schemathesis sends requests that the
//! description allows and requests that it forbids, and checks the responses.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use formline_ingest::Limits;
use serde_json::Value;

use super::harness::{Ingest, TestApp};

#[tokio::test]
async fn the_description_covers_every_form() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let described: Value = ingest
        .get("/openapi.json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(described["openapi"], "3.1.0");
    for path in ["/student", "/v1/forms/student/submissions"] {
        let post = &described["paths"][path]["post"];
        assert_eq!(post["requestBody"]["content"].as_object().unwrap().len(), 3);
        for status in [
            "202", "303", "400", "403", "408", "409", "413", "415", "422", "429", "431", "503",
        ] {
            assert!(post["responses"][status].is_object(), "{status}");
        }
    }
}

/// U+0000 is excluded, because JSON Schema cannot express that it is rejected; `rejections` covers
/// it.
const OPTIONS: &str = "--checks all --mode all --phases examples,coverage,fuzzing --max-examples 25 \
    --seed 1 --generation-allow-x00 false --request-timeout 10 --no-color";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_violations() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let program = tokio::task::spawn_blocking(schemathesis).await.unwrap();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/unique_keys.py");
    let mut run = tokio::process::Command::new(program);
    run.args(["run", &ingest.url("/openapi.json")])
        .args(OPTIONS.split_whitespace())
        .env("SCHEMATHESIS_HOOKS", hooks)
        // A proxy from the environment cannot reach the loopback interface.
        .env("NO_PROXY", "127.0.0.1")
        // schemathesis writes a folder of reports to the working directory.
        .current_dir(std::env::temp_dir());
    let output = run.output().await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}{errors}");
    ingest.assert_accepts_submissions().await;
}

/// The program in `FORMLINE_SCHEMATHESIS`, or else the pinned version that `deploy/setup/tool`
/// installs.
fn schemathesis() -> PathBuf {
    if let Some(program) = std::env::var_os("FORMLINE_SCHEMATHESIS") {
        return program.into();
    }
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/setup/tool");
    let output = Command::new(tool).arg("schemathesis").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().into()
}
