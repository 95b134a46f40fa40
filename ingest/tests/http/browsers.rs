//! Form pages, what follows their submission, and pages of other origins.

use formline_ingest::Limits;
use reqwest::{Method, RequestBuilder, StatusCode};

use super::harness::{FORM_PATH, Ingest, TestApp, problem, student};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const FORM_SETTINGS: &str = r#"
    redirect = ["https://example.org/thanks", "https://example.org/more"]
    origins = ["https://example.org"]
"#;

fn send(ingest: &Ingest, query: &str, pairs: &[(&str, &str)]) -> RequestBuilder {
    ingest
        .http
        .post(ingest.url(&format!("{FORM_PATH}{query}")))
        .header("accept", BROWSER)
        .form(pairs)
}

#[tokio::test]
async fn a_form_is_served_as_a_page() {
    let ingest = Ingest::start(&TestApp::with(FORM_SETTINGS), Limits::default()).await;
    let response = ingest.get(FORM_PATH).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("https://example.org"),
        "{policy}"
    );
    let page = response.text().await.unwrap();
    for part in [
        "<title>Student</title>",
        ">Full name<span",
        r#"name="website""#,
        r#"method="post""#,
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn a_browser_is_redirected_only_to_allowed_addresses() {
    let ingest = Ingest::start(&TestApp::with(FORM_SETTINGS), Limits::default()).await;
    for (query, target) in [
        ("", "https://example.org/thanks"),
        (
            "?redirect=https%3A%2F%2Fexample.org%2Fmore",
            "https://example.org/more",
        ),
        (
            "?redirect=https%3A%2F%2Fevil.example%2F",
            "https://example.org/thanks",
        ),
    ] {
        let response = send(&ingest, query, &[("roll", "1"), ("name", "Asha")])
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()["location"], target, "{query}");
    }
    assert_eq!(ingest.records().await.len(), 3);
}

#[tokio::test]
async fn without_a_redirect_address_the_page_confirms_the_submission() {
    let ingest = Ingest::start(&TestApp::with(""), Limits::default()).await;
    let response = send(&ingest, "", &[("roll", "1"), ("name", "Asha")])
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(response.text().await.unwrap().contains("Thank you"));
}

#[tokio::test]
async fn after_an_error_the_form_keeps_the_entered_values() {
    let ingest = Ingest::start(&TestApp::with(FORM_SETTINGS), Limits::default()).await;
    let response = send(
        &ingest,
        "",
        &[("roll", "<7>"), ("name", "Asha"), ("age", "3")],
    )
    .send()
    .await
    .unwrap();
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    let page = response.text().await.unwrap();
    for part in [
        r#"value="&lt;7&gt;""#,
        r#"value="Asha""#,
        "less than the minimum of 16",
        r#"role="alert""#,
        "<title>Not sent: Student</title>",
        r##"<a href="#field-0">roll: This is not in the expected format.</a>"##,
        r#"<p class="error" id="field-0-error">This is not in the expected format."#,
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("does not match"), "a pattern in {page}");
    assert!(ingest.records().await.is_empty());
}

#[tokio::test]
async fn pages_of_other_origins_need_permission() {
    let ingest = Ingest::start(&TestApp::with(FORM_SETTINGS), Limits::default()).await;
    let preflight = async |origin: &str| {
        let request = ingest
            .http
            .request(Method::OPTIONS, ingest.url(FORM_PATH))
            .header("origin", origin);
        request
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap()
    };
    let allowed = preflight("https://example.org").await;
    assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        allowed.headers()["access-control-allow-origin"],
        "https://example.org"
    );
    assert_eq!(allowed.headers()["access-control-max-age"], "7200");
    let denied = preflight("https://evil.example").await;
    assert!(!denied.headers().contains_key("access-control-allow-origin"));

    let post = |origin: &str| ingest.post(&student()).header("origin", origin).send();
    let allowed = post("https://example.org").await.unwrap();
    assert_eq!(allowed.status(), StatusCode::ACCEPTED);
    assert_eq!(
        allowed.headers()["access-control-allow-origin"],
        "https://example.org"
    );
    assert_eq!(
        post(&ingest.url("")).await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    problem(post("https://evil.example").await.unwrap(), "origin").await;
    assert_eq!(ingest.records().await.len(), 2);
}
