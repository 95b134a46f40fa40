//! `formline check`: every mistake of apps and settings at once. Starts nothing and asks no server.

use anyhow::Result;
use serde_json::json;

use super::{Installation, Mistakes};
use crate::arguments::Check;

pub(super) fn run(arguments: &Check) -> Result<()> {
    let checked = Installation::load(&arguments.apps);
    if arguments.output.json {
        return as_json(checked);
    }
    for app in checked?.apps {
        let (forms, steps, sinks) = (app.forms.len(), app.steps.len(), app.sinks.len());
        println!(
            "{}: {forms} forms, {steps} steps, {sinks} sinks, no mistakes",
            app.name
        );
    }
    Ok(())
}

fn as_json(checked: Result<Installation>) -> Result<()> {
    let Err(error) = checked else {
        println!("[]");
        return Ok(());
    };
    let Some(Mistakes(found)) = error.downcast_ref() else {
        return Err(error);
    };
    let mistakes: Vec<_> = found
        .iter()
        .map(|mistake| {
            json!({
                "file": mistake.file,
                "line": mistake.line,
                "problem": mistake.problem,
                "remedy": mistake.remedy,
            })
        })
        .collect();
    println!("{}", serde_json::Value::from(mistakes));
    Err(error)
}
