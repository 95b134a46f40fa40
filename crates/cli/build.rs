//! Provides the commit and the build date to `src/version.rs`, in a reproducible way: the date is
//! that of the commit, or `SOURCE_DATE_EPOCH`. Outside of a checkout of this repository, both are
//! `unknown`.

use std::{env, path::Path, process::Command};

const UNKNOWN: &str = "unknown";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FORMLINE_COMMIT");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let is_checkout = is_checkout();
    if is_checkout {
        watch_head();
    }
    let from_git = |arguments: &[&str]| is_checkout.then(|| git(arguments)).flatten();
    let commit =
        variable("FORMLINE_COMMIT").or_else(|| from_git(&["rev-parse", "--short=12", "HEAD"]));
    let seconds =
        variable("SOURCE_DATE_EPOCH").or_else(|| from_git(&["show", "-s", "--format=%ct"]));
    let date = seconds.and_then(|seconds| Some(utc_date(seconds.parse().ok()?)));
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    println!(
        "cargo::rustc-env=FORMLINE_BUILD_COMMIT={}",
        or_unknown(commit)
    );
    println!("cargo::rustc-env=FORMLINE_BUILD_DATE={}", or_unknown(date));
}

/// Whether git finds the repository of these sources. An archive of them may have been unpacked
/// inside of another repository, whose commit says nothing about them.
fn is_checkout() -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    let top = git(&["rev-parse", "--show-toplevel"]).and_then(|top| canonical(Path::new(&top)));
    let package = variable("CARGO_MANIFEST_DIR").expect("cargo sets it");
    top.is_some() && top == canonical(&Path::new(&package).join("../.."))
}

/// Runs this script again after a commit or a checkout, and not otherwise. Cargo would run it on
/// every build if a watched file did not exist.
fn watch_head() {
    let mut files = vec!["HEAD".to_owned(), "logs/HEAD".to_owned()];
    files.extend(git(&["symbolic-ref", "--quiet", "HEAD"]));
    for file in files {
        let path = git(&["rev-parse", "--git-path", &file]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// The output of git. None without git, or outside of a checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The date of a Unix time as `YYYY-MM-DD` (Howard Hinnant's `civil_from_days`).
fn utc_date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March here, so that the leap day is the last day of the year.
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
