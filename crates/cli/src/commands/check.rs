//! `formline check`: reports all errors in apps, settings and plug-ins. Connects to nothing.

use anyhow::Result;
use serde_json::json;

use crate::{
    arguments::CheckArgs,
    installation::{Diagnostics, Installation},
};

pub(super) fn run(arguments: &CheckArgs) -> Result<()> {
    let checked = Installation::load(&arguments.installation);
    if arguments.output.json {
        return print_json(checked);
    }
    for app in checked?.apps {
        let (forms, steps, sinks) = (app.forms.len(), app.steps.len(), app.sinks.len());
        println!(
            "{}: {forms} forms, {steps} steps, {sinks} sinks, no errors",
            app.name
        );
    }
    Ok(())
}

fn print_json(checked: Result<Installation>) -> Result<()> {
    let Err(error) = checked else {
        println!("[]");
        return Ok(());
    };
    let Some(Diagnostics(found)) = error.downcast_ref() else {
        return Err(error);
    };
    let diagnostics: Vec<_> = found
        .iter()
        .map(|diagnostic| {
            json!({
                "file": diagnostic.file,
                "line": diagnostic.line,
                "problem": diagnostic.problem,
                "remedy": diagnostic.remedy,
            })
        })
        .collect();
    println!("{}", serde_json::Value::from(diagnostics));
    Err(error)
}
