//! Executes the commands of the tutorials and how-tos, in order, as a reader would type them.
//!
//! CONTRIBUTING.md describes how a document marks its blocks. Each document is one test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod document;
mod expectation;
mod links;
mod paths;
mod ports;
mod session;
mod stubs;

use std::{collections::BTreeSet, fs};

use self::{
    document::{Action, Document},
    paths::repository,
    session::Session,
};

/// Defines one test for each document, and the list of all of them.
macro_rules! documents {
    ($($name:ident: $path:literal,)+) => {
        const DOCUMENTS: &[&str] = &[$($path),+];

        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                execute($path).await;
            }
        )+
    };
}

documents! {
    tutorial_first_app: "docs/tutorial/first-app.md",
    tutorial_first_plugin: "docs/tutorial/first-plugin.md",
    how_to_dead_letters: "docs/how-to/dead-letters.md",
    how_to_email: "docs/how-to/email.md",
    how_to_observe: "docs/how-to/observe.md",
    how_to_postgres: "docs/how-to/postgres.md",
    how_to_redis: "docs/how-to/redis.md",
    how_to_scale_out: "docs/how-to/scale-out.md",
    how_to_sheets: "docs/how-to/sheets.md",
    how_to_upgrade: "docs/how-to/upgrade.md",
    how_to_verify: "docs/how-to/verify.md",
    how_to_webhook: "docs/how-to/webhook.md",
}

async fn execute(path: &str) {
    let text = fs::read_to_string(repository().join(path)).unwrap();
    let document = Document::parse(path, &text).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::start(&document).await;
    for block in &document.blocks {
        session.perform(block).await;
    }
}

#[test]
fn every_document_is_executed() {
    let mut found = BTreeSet::new();
    for folder in ["docs/tutorial", "docs/how-to"] {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            found.insert(format!("{folder}/{name}"));
        }
    }
    let listed: BTreeSet<String> = DOCUMENTS.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(found, listed, "add the document to the list in main.rs");
}

#[test]
fn every_document_has_a_command_that_is_executed() {
    for path in DOCUMENTS {
        let text = fs::read_to_string(repository().join(path)).unwrap();
        let document = Document::parse(path, &text).unwrap_or_else(|error| panic!("{error}"));
        let executes = |action: &Action| matches!(action, Action::Run { .. } | Action::Start(_));
        let count = document.blocks.iter().map(|block| &block.action);
        let count = count.filter(|action| executes(action)).count();
        assert!(count > 0, "{path} has no block that is executed");
    }
}
