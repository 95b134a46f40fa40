//! What an operator sees and has to do.

use formline_sinks::Error;
use formline_testing::{Postgres, eventually};

use crate::line::{DEADLINE, Line};

#[tokio::test]
async fn the_schema_is_made_once_by_whoever_comes_first() {
    let line = Line::new().await;
    let (one, two) = (line.start_as("one"), line.start_as("two"));
    let ids = line.submit_many(20).await;
    line.expect(&ids).await;
    one.stop().await;
    two.stop().await;
    let running = line.start();
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM formline._sqlx_migrations WHERE success");
    let count: i64 = count.fetch_one(&mut line.connect().await).await.unwrap();
    assert_eq!(count, 1);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_said_and_tried_again() {
    let postgres = Postgres::start_own().await;
    let mut line = Line::on(&postgres).await;
    line.url = line.database.replace(":secret@", ":wrong@");
    let running = line.start();
    let ids = line.submit_many(1).await;
    running
        .expect_stopped("password authentication failed for user \"formline\" (28P01); check user")
        .await;
    line.execute("ALTER USER formline PASSWORD 'wrong'").await;
    line.database.clone_from(&line.url);
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_said_and_awaited() {
    let mut line = Line::new().await;
    let role = formline_testing::unique("role").replace('-', "_");
    let (_, address) = line.database.split_once('@').unwrap();
    line.url = format!("postgres://{role}:secret@{address}");
    let make = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'");
    let make = sqlx::raw_sql(sqlx::AssertSqlSafe(make));
    make.execute(&mut line.connect().await).await.unwrap();
    let mend = "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database()); END $$";
    let running = line.start();
    let ids = line.submit_many(1).await;
    running
        .expect_stopped("(42501); grant the role CREATE")
        .await;
    line.execute(mend).await;
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_awaited() {
    let postgres = Postgres::start_own().await;
    let mut line = Line::on(&postgres).await;
    let (server, _) = line.database.rsplit_once('/').unwrap();
    let missing = format!("{server}/missing");
    line.url.clone_from(&missing);
    let running = line.start();
    let ids = line.submit_many(1).await;
    running.expect_stopped("(3D000); create the database").await;
    line.execute("CREATE DATABASE missing").await;
    line.database = missing;
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_table_that_is_gone_is_said() {
    let line = Line::new().await;
    let running = line.start();
    let mut ids = line.submit_many(1).await;
    line.expect(&ids).await;
    line.execute("ALTER TABLE formline.responses RENAME TO moved")
        .await;
    ids.extend(line.submit_many(1).await);
    running.expect_stopped("(42P01); restore the schema").await;
    line.execute("ALTER TABLE formline.moved RENAME TO responses")
        .await;
    line.expect(&ids).await;
    running.stop().await;
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_left_alone() {
    let line = Line::new().await;
    let running = line.start();
    let ids = line.submit_many(1).await;
    line.expect(&ids).await;
    running.stop().await;
    line.execute("INSERT INTO formline._sqlx_migrations VALUES (99, 'later', now(), true, '', 0)")
        .await;
    let running = line.start();
    running.expect_stopped("run the version of formline").await;
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_starts() {
    let mut line = Line::new().await;
    let start = async |line: &Line| {
        let shutdown = formline_core::Shutdown::new();
        let running = formline_sinks::run(line.options("one"), vec![line.sink()], shutdown);
        running.await.unwrap_err()
    };
    line.settings.schema = "public; DROP TABLE x".to_owned();
    assert!(matches!(start(&line).await, Error::Schema(_)));
    line.url = "postgres://[::1".to_owned();
    assert!(matches!(start(&line).await, Error::PostgresUrl(_)));
    let mut options = line.options("one");
    options.postgres_url = None;
    let missing = options.check(&[line.sink()]).unwrap_err();
    assert!(missing.to_string().contains("set FORMLINE_POSTGRES_URL"));
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let line = Line::new().await;
    let running = line.start();
    line.submit("no json").await;
    let ids = line.submit_many(2).await;
    line.expect(&ids).await;
    line.expect_offsets(3).await;
    let sink = format!("sink=\"{}.archive\"", line.app);
    let app = format!("app=\"{}\",stage=\"archive\"", line.app);
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
