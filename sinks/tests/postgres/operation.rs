//! What an operator sees, and what they must do.

use formline_sinks::Error;
use formline_testing::{Postgres, eventually};

use crate::pipeline::{DEADLINE, Pipeline};

#[tokio::test]
async fn two_processes_create_the_schema_once() {
    let pipeline = Pipeline::new().await;
    let (one, two) = (pipeline.start_as("one"), pipeline.start_as("two"));
    let ids = pipeline.submit_many(20).await;
    pipeline.expect(&ids).await;
    one.stop().await;
    two.stop().await;
    let running = pipeline.start();
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM formline._sqlx_migrations WHERE success");
    let count: i64 = count
        .fetch_one(&mut pipeline.connect().await)
        .await
        .unwrap();
    assert_eq!(count, 1);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_retried() {
    let postgres = Postgres::start_own().await;
    let mut pipeline = Pipeline::on(&postgres).await;
    pipeline.url = pipeline.database.replace(":secret@", ":wrong@");
    let running = pipeline.start();
    let ids = pipeline.submit_many(1).await;
    running
        .expect_stopped("password authentication failed for user \"formline\" (28P01); check user")
        .await;
    pipeline
        .execute("ALTER USER formline PASSWORD 'wrong'")
        .await;
    pipeline.database.clone_from(&pipeline.url);
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_missing_privilege_is_reported_and_retried() {
    let mut pipeline = Pipeline::new().await;
    let role = formline_testing::unique("role").replace('-', "_");
    let (_, address) = pipeline.database.split_once('@').unwrap();
    pipeline.url = format!("postgres://{role}:secret@{address}");
    let make = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'");
    let make = sqlx::raw_sql(sqlx::AssertSqlSafe(make));
    make.execute(&mut pipeline.connect().await).await.unwrap();
    let grant = "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database()); END $$";
    let running = pipeline.start();
    let ids = pipeline.submit_many(1).await;
    running
        .expect_stopped("(42501); grant the role CREATE")
        .await;
    pipeline.execute(grant).await;
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_missing_database_is_reported_and_retried() {
    let postgres = Postgres::start_own().await;
    let mut pipeline = Pipeline::on(&postgres).await;
    let (server, _) = pipeline.database.rsplit_once('/').unwrap();
    let missing = format!("{server}/missing");
    pipeline.url.clone_from(&missing);
    let running = pipeline.start();
    let ids = pipeline.submit_many(1).await;
    running.expect_stopped("(3D000); create the database").await;
    pipeline.execute("CREATE DATABASE missing").await;
    pipeline.database = missing;
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_missing_table_is_reported() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let mut ids = pipeline.submit_many(1).await;
    pipeline.expect(&ids).await;
    pipeline
        .execute("ALTER TABLE formline.responses RENAME TO moved")
        .await;
    ids.extend(pipeline.submit_many(1).await);
    running.expect_stopped("(42P01); restore the schema").await;
    pipeline
        .execute("ALTER TABLE formline.moved RENAME TO responses")
        .await;
    pipeline.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_not_changed() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    let ids = pipeline.submit_many(1).await;
    pipeline.expect(&ids).await;
    running.stop().await;
    pipeline
        .execute("INSERT INTO formline._sqlx_migrations VALUES (99, 'later', now(), true, '', 0)")
        .await;
    let running = pipeline.start();
    running.expect_stopped("run the version of formline").await;
    running.stop().await;
}

#[tokio::test]
async fn invalid_settings_are_reported_before_anything_starts() {
    let mut pipeline = Pipeline::new().await;
    let start = async |pipeline: &Pipeline| {
        let shutdown = formline_core::Shutdown::new();
        let running = formline_sinks::run(pipeline.options("one"), vec![pipeline.sink()], shutdown);
        running.await.unwrap_err()
    };
    pipeline.settings.schema = "public; DROP TABLE x".to_owned();
    assert!(matches!(start(&pipeline).await, Error::Schema(_)));
    pipeline.url = "postgres://[::1".to_owned();
    assert!(matches!(start(&pipeline).await, Error::PostgresUrl(_)));
    let mut options = pipeline.options("one");
    options.postgres_url = None;
    let missing = options.check(&[pipeline.sink()]).unwrap_err();
    assert!(missing.to_string().contains("set FORMLINE_POSTGRES_URL"));
}

#[tokio::test]
async fn metrics_count_records_and_transactions() {
    let pipeline = Pipeline::new().await;
    let running = pipeline.start();
    pipeline.submit("not json").await;
    let ids = pipeline.submit_many(2).await;
    pipeline.expect(&ids).await;
    pipeline.expect_offsets(3).await;
    let sink = format!("sink=\"{}.archive\"", pipeline.app);
    let app = format!("app=\"{}\",stage=\"archive\"", pipeline.app);
    let expected = [
        (
            format!(r#"formline_sink_records_total{{outcome="written",{sink}}}"#),
            2.0,
        ),
        (
            format!(r#"formline_sink_records_total{{outcome="dead-letter",{sink}}}"#),
            1.0,
        ),
        (format!("formline_sink_batch_size_sum{{{sink}}}"), 2.0),
        (format!("formline_sink_buffered_records{{{sink}}}"), 0.0),
        (
            r#"formline_dead_letters_total{reason="refused",stage="archive"}"#.to_owned(),
            1.0,
        ),
        (
            format!("formline_end_to_end_latency_seconds_count{{{app}}}"),
            2.0,
        ),
    ];
    for (name, value) in expected {
        eventually(DEADLINE, async || {
            let found = running.metric(&name).await;
            (found == value)
                .then_some(())
                .ok_or(format!("{name} is {found}"))
        })
        .await;
    }
    let transactions =
        |outcome| format!(r#"formline_postgres_transactions_total{{outcome="{outcome}",{sink}}}"#);
    assert!(running.metric(&transactions("stored")).await >= 1.0);
    assert!(running.metric(&transactions("bad-row")).await >= 1.0);
    running.stop().await;
}
