//! The relative links and images of every Markdown file lead to a file or folder.

use std::{fs, path::Path, process::Command};

use super::paths::repository;

#[test]
fn links_lead_somewhere() {
    let root = repository();
    let mut broken = Vec::new();
    let mut count = 0;
    for name in markdown_files(&root) {
        let file = root.join(&name);
        let text = fs::read_to_string(&file).unwrap();
        for target in targets(&text) {
            // GitHub resolves `/` to the root of the repository.
            let is_absolute = target.starts_with('/');
            let base = if is_absolute {
                &root
            } else {
                file.parent().unwrap()
            };
            count += 1;
            if !base.join(target.trim_start_matches('/')).exists() {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(broken.is_empty(), "dead links:\n{}", broken.join("\n"));
}

fn markdown_files(root: &Path) -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--", "*.md"]).current_dir(root);
    let listed = git.output().unwrap();
    assert!(listed.status.success(), "git cannot list the files");
    let names = String::from_utf8(listed.stdout).unwrap();
    let names = names.split_terminator('\0').map(str::to_owned);
    names.collect()
}

/// Paths that a text links to, without anchors. Code contains no links.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut fence = None;
    for line in text.lines() {
        let start = line.trim_start();
        if let Some(mark) = ["```", "~~~"].iter().find(|mark| start.starts_with(**mark)) {
            match fence {
                None => fence = Some(mark),
                Some(open) if open == mark => fence = None,
                Some(_) => {}
            }
        } else if fence.is_none() {
            let prose: String = line.split('`').step_by(2).collect();
            for (begin, end) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
                let found = prose.split(begin).skip(1);
                targets.extend(found.filter_map(|rest| path(rest.split(end).next()?)));
            }
            if let Some((_, defined)) = prose.split_once("]: ").filter(|_| start.starts_with('[')) {
                targets.extend(path(defined));
            }
        }
    }
    targets
}

/// The path of a target, which a title may follow. None for another site or the same page.
fn path(target: &str) -> Option<String> {
    let target = target.split_whitespace().next()?;
    let target = target.trim_start_matches('<').trim_end_matches('>');
    let path = target.split('#').next()?;
    let is_elsewhere = path.contains("://") || path.starts_with("mailto:");
    (!path.is_empty() && !is_elsewhere).then(|| path.to_owned())
}

#[test]
fn links_are_found() {
    for (text, expected) in [
        (
            "see [a](b.md#c), [d](../e/) and [f](#g)",
            &["b.md", "../e/"][..],
        ),
        (
            "[![a](b.png)](https://c.org) <img src=\"d.png\">",
            &["b.png", "d.png"],
        ),
        (
            "[`a`](b.md \"title\") [c](<d.md>) [e](mailto:f@g)",
            &["b.md", "d.md"],
        ),
        ("[a]: b.md\nno [c]: d", &["b.md"]),
        ("```\n[a](b)\n~~~\n```\n`[c](d)` [e](f)", &["f"]),
    ] {
        assert_eq!(targets(text), expected, "{text}");
    }
}
