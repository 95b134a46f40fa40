//! The formats of texts: the pattern in the JSON Schema accepts all that the reader accepts.

use std::collections::BTreeMap;

use formline_core::{
    app::schema::Schema,
    config::{Format, keys},
};
use serde_json::json;

use super::{example::all_keys, json_schema};

/// Texts of one format.
struct Samples {
    title: &'static str,
    accepted: &'static [&'static str],
    /// Neither the reader nor the pattern accepts them.
    rejected: &'static [&'static str],
}

const SAMPLES: &[Samples] = &[
    Samples {
        title: "name",
        accepted: &["a", "student-data", "-0-9"],
        rejected: &["Student", "a b", "ä"],
    },
    Samples {
        title: "topic",
        accepted: &["a", "A.b_c-9", "..."],
        rejected: &["", "a/b"],
    },
    Samples {
        title: "path",
        accepted: &["/a", "/a/", "//a", "/~a/B.c_d-9"],
        rejected: &["", "a", "/a b"],
    },
    Samples {
        title: "web address",
        accepted: &["https://example.org", "http://", "https://a\nb"],
        rejected: &["", "ftp://a", " https://a"],
    },
    Samples {
        title: "spreadsheet id",
        accepted: &["a", "A_b-9"],
        rejected: &["", "a/b"],
    },
    Samples {
        title: "title of a tab",
        accepted: &["Responses", "two\nlines", "\n", "Ä 1/2 📄"],
        rejected: &[concat!(
            "0123456789012345678901234567890123456789012345678901234567890123456789",
            "0123456789012345678901234567890"
        )],
    },
    Samples {
        title: "name of a PostgreSQL schema",
        accepted: &["formline", "_x1"],
        rejected: &["", "1a", "A", "a-b"],
    },
    Samples {
        title: "delay",
        accepted: &[
            "", "5s", "1h 30m", "+5m", "PT5M", "+pt5m", "1h\n30m", "00:05:00", "0.5h",
        ],
        rejected: &["soon", "-5s", "-PT5M", " ", " 5s", "+"],
    },
    Samples {
        title: "network",
        accepted: &[
            "",
            " \t\n",
            "\t10.1.2.0/24\n",
            "10.1.2.3",
            "::1",
            "FD00::/8",
        ],
        rejected: &["intranet", "10.1.2.0/"],
    },
    Samples {
        title: "address of PostgreSQL",
        accepted: &["", "postgres://", "postgresql://u@h:1/d", "postgres://a\nb"],
        rejected: &[" ", "mysql://db"],
    },
    Samples {
        title: "address of an SMTP server",
        accepted: &["", "smtp://mail", "smtps://mail:465", "smtp://a\nb"],
        rejected: &[" ", "http://mail"],
    },
    Samples {
        title: "address of Redis",
        accepted: &[
            "",
            "redis://h",
            "rediss://h:1/0",
            "redis://:p@h",
            "redis:///@@h\n",
        ],
        rejected: &[
            "redis://",
            "redis:///0",
            "redis://:1",
            "redis://a@",
            "redis://a@/0",
        ],
    },
    Samples {
        title: "list of addresses",
        accepted: &[
            "",
            "a:1",
            "a:1,b:2",
            "a:1 , b:2",
            "\na:1\n,\tb : c:2 ",
            "[::1]:1",
            "a:+1",
        ],
        rejected: &[
            " ", "a", "a:", ":1", "a: 1", "a/b:1", "a@b:1", "a:1,", ",a:1",
        ],
    },
];

#[test]
fn a_pattern_accepts_all_that_the_reader_accepts() {
    let files = [
        &keys::app_toml::file::SECTION,
        &keys::formline_toml::file::SECTION,
    ];
    let keys = files.into_iter().flat_map(all_keys);
    let formats = keys.filter_map(|(_, key)| key.value.format());
    // Two formats with the same title differ in their diagnostics only.
    let formats: BTreeMap<&str, &Format> = formats.map(|format| (format.title, format)).collect();
    let titles: Vec<_> = formats.keys().copied().collect();
    let mut covered: Vec<_> = SAMPLES.iter().map(|samples| samples.title).collect();
    covered.sort_unstable();
    assert_eq!(titles, covered, "each format has samples");
    for samples in SAMPLES {
        let format = formats[samples.title];
        let schema = Schema::compile(json_schema::string(Some(format), false)).unwrap();
        let accepted = samples.accepted.iter().map(|text| (text, true));
        let rejected = samples.rejected.iter().map(|text| (text, false));
        for (text, expected) in accepted.chain(rejected) {
            let title = samples.title;
            assert_eq!(format.accepts(text), expected, "{title}: reader: {text:?}");
            let is_valid = schema.is_valid(&json!(text));
            assert_eq!(is_valid, expected, "{title}: pattern: {text:?}");
        }
    }
}
