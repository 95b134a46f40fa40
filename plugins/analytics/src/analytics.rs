//! The plug-in: its configuration and its outputs.

use formline_plugin_sdk::prelude::*;

use crate::counts::Counts;
use crate::search::{Match, search};
use crate::slang::Slang;

#[derive(Debug)]
pub(crate) struct Analytics {
    slang: Slang,
    fields: Option<Vec<String>>,
    counts: Counts,
}

/// `{ "slang": ["dang"], "fields": ["name", "/address/city"], "count_window_seconds": 60 }`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Words and phrases that flag a submission.
    #[serde(default)]
    slang: Vec<String>,
    /// The fields to search, by name or JSON pointer. By default all strings are searched.
    fields: Option<Vec<String>>,
    /// The period of one count, in seconds.
    #[serde(default = "one_minute")]
    #[schemars(range(min = 60), extend("multipleOf" = 60))]
    count_window_seconds: u32,
    /// How long late submissions are still counted in their own minute, in seconds.
    #[serde(default = "two_hours")]
    #[schemars(range(min = 60))]
    retention_seconds: u32,
}

/// The record for a submission that contains slang.
#[derive(Debug, Serialize)]
struct Flagged<'a> {
    version: u32,
    form: &'a str,
    id: &'a str,
    matches: &'a [Match<'a>],
}

fn one_minute() -> u32 {
    60
}

fn two_hours() -> u32 {
    2 * 60 * 60
}

// === impl Analytics ===

impl Plugin for Analytics {
    type Config = Config;
    const INPUTS: &[&str] = &["submissions"];
    const OUTPUTS: &[&str] = &["flagged", "counts"];
    const STORES: &[StoreDeclaration] = &[StoreDeclaration {
        name: "counts",
        schema_version: 1,
    }];
    const COUNTERS: &[&str] = &["submissions_flagged", "submissions_out_of_time"];

    fn new(config: Config) -> Result<Self, InitError> {
        Ok(Self {
            slang: Slang::new(config.slang)?,
            fields: config.fields,
            counts: Counts::new(config.count_window_seconds, config.retention_seconds)?,
        })
    }

    fn process(&mut self, event: &Event, out: &mut Outputs) -> Result<(), Reject> {
        if event.is_deletion() {
            return Err(Reject::skip("deletion"));
        }
        let form = event.form()?;
        let matches = search(&self.slang, self.fields.as_deref(), &event.object()?)?;
        if !matches.is_empty() {
            out.count("submissions_flagged", 1);
            let flagged = Record::json(&Flagged {
                version: 1,
                form: &form,
                id: &event.origin()?,
                matches: &matches,
            })?;
            out.send("flagged", flagged)?;
        }
        self.counts.add(event, &form, !matches.is_empty(), out)
    }
}
