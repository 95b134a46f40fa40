//! Reads the fenced blocks of a Markdown document, and the directive in front of each.

/// A document and the blocks that the test acts on, in order.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) path: String,
    /// Services that the document expects to be running, from `<!-- needs: … -->`.
    pub(crate) needs: Vec<String>,
    /// Apps that the document mentions as `apps/NAME`.
    pub(crate) apps: Vec<String>,
    pub(crate) blocks: Vec<Block>,
}

/// A fenced block and what to do with it.
#[derive(Debug)]
pub(crate) struct Block {
    /// `PATH:LINE` of the opening fence, for messages.
    pub(crate) place: String,
    pub(crate) text: String,
    pub(crate) action: Action,
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Run the commands. If `repeats`, run them again until they succeed with the expected output.
    Run { repeats: bool },
    /// Start the commands and leave them running.
    Start(Background),
    /// Replace the file.
    Write(String),
    /// Append to the file.
    Append(String),
    /// The output of the block before must contain these lines.
    Expect,
}

/// A command that keeps running: a second one of the same name replaces the first.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Background {
    pub(crate) name: String,
    /// The documented port that accepts connections once the command is ready.
    pub(crate) port: u16,
}

/// The name and port of a background block that gives none: `formline up` and its admin listener.
const FORMLINE: (&str, u16) = ("formline", 8081);

// === impl Document ===

impl Document {
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, String> {
        let mut document = Self {
            path: path.to_owned(),
            needs: Vec::new(),
            apps: apps(text),
            blocks: Vec::new(),
        };
        let mut directive = None;
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let place = format!("{path}:{}", index + 1);
            if let Some(comment) = comment(line) {
                match comment.strip_prefix("needs:") {
                    Some(needs) => {
                        document.needs = needs.split_whitespace().map(str::to_owned).collect();
                    }
                    None => directive = Some(comment),
                }
            } else if let Some(language) = line.strip_prefix("```") {
                let body: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| *line != "```")
                    .collect();
                document.add(place, language, directive.take(), &body)?;
            } else if let Some(directive) = directive {
                return Err(format!("{place}: no block follows `{directive}`"));
            }
        }
        Ok(document)
    }

    fn add(
        &mut self,
        place: String,
        language: &str,
        directive: Option<&str>,
        body: &[&str],
    ) -> Result<(), String> {
        let action = Action::parse(language, directive);
        let action = action.map_err(|error| format!("{place}: {error}"))?;
        if action == Some(Action::Expect) {
            let before = self.blocks.last().map(|block| &block.action);
            if !matches!(before, Some(Action::Run { .. } | Action::Expect)) {
                return Err(format!("{place}: no executed block comes before `expect`"));
            }
        }
        let text = body.iter().map(|line| format!("{line}\n")).collect();
        self.blocks.extend(action.map(|action| Block {
            place,
            text,
            action,
        }));
        Ok(())
    }
}

// === impl Action ===

impl Action {
    /// None if the block is for readers only.
    fn parse(language: &str, directive: Option<&str>) -> Result<Option<Self>, String> {
        let is_shell = language == "sh";
        let Some(directive) = directive else {
            return Ok(is_shell.then_some(Self::Run { repeats: false }));
        };
        let (word, argument) = directive.split_once(':').unwrap_or((directive, ""));
        let (word, argument) = (word.trim(), argument.trim());
        match (word, is_shell) {
            ("not executed", true) if !argument.is_empty() => Ok(None),
            ("not executed", true) => Err("say why the block is not executed".to_owned()),
            ("eventually", true) => Ok(Some(Self::Run { repeats: true })),
            ("background", true) => Ok(Some(Self::Start(Background::parse(argument)?))),
            ("file", false) if !argument.is_empty() => Ok(Some(Self::Write(argument.to_owned()))),
            ("append", false) if !argument.is_empty() => {
                Ok(Some(Self::Append(argument.to_owned())))
            }
            ("expect", false) => Ok(Some(Self::Expect)),
            _ => Err(format!(
                "`{directive}` is no directive of a `{language}` block"
            )),
        }
    }
}

// === impl Background ===

impl Background {
    fn parse(argument: &str) -> Result<Self, String> {
        let (name, port) = FORMLINE;
        let (name, port) = match argument.split_whitespace().collect::<Vec<_>>()[..] {
            [] => (name, port),
            [name, port] => (
                name,
                port.parse().map_err(|_| "write background: NAME PORT")?,
            ),
            _ => return Err("write background: NAME PORT".to_owned()),
        };
        let name = name.to_owned();
        Ok(Self { name, port })
    }
}

/// The content of a line that is an HTML comment.
fn comment(line: &str) -> Option<&str> {
    let content = line.strip_prefix("<!--")?.strip_suffix("-->")?;
    Some(content.trim())
}

/// Every NAME of `apps/NAME`, each once.
fn apps(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let names = text.split("apps/").skip(1);
    let names = names.map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default());
    let mut names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(text: &str) -> Result<Vec<Action>, String> {
        let document = Document::parse("a.md", text)?;
        Ok(document
            .blocks
            .into_iter()
            .map(|block| block.action)
            .collect())
    }

    #[test]
    fn each_directive_has_its_action() {
        let text = "```sh\ntrue\n```\n\n<!-- not executed: no account -->\n```sh\nfalse\n```\n\
                    <!-- eventually -->\n```sh\nls\n```\n<!-- expect -->\n```text\na\n```\n\
                    <!-- file: a/b -->\n```toml\nx\n```\n<!-- background -->\n```sh\nmake up\n```\n\
                    <!-- background: receiver 9000 -->\n```sh\nx\n```\n```toml\nfor readers\n```\n";
        let background = |name: &str, port| {
            let name = name.to_owned();
            Action::Start(Background { name, port })
        };
        let expected = [
            Action::Run { repeats: false },
            Action::Run { repeats: true },
            Action::Expect,
            Action::Write("a/b".to_owned()),
            background("formline", 8081),
            background("receiver", 9000),
        ];
        assert_eq!(actions(text).unwrap(), expected);
    }

    #[test]
    fn a_wrong_directive_is_an_error_with_its_place() {
        for (text, problem) in [
            ("<!-- not executed: -->\n```sh\n```\n", "a.md:2: say why"),
            ("<!-- run -->\n```sh\n```\n", "`run` is no directive"),
            ("<!-- expect -->\n```text\n```\n", "no executed block"),
            ("<!-- expect -->\ntext\n", "a.md:2: no block follows"),
        ] {
            let error = actions(text).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn apps_and_services_are_found() {
        let text =
            "<!-- needs: redis postgres -->\n`apps/demo` and `apps/demo-two/app.toml`, apps/demo\n";
        let document = Document::parse("a.md", text).unwrap();
        assert_eq!(document.apps, ["demo", "demo-two"]);
        assert_eq!(document.needs, ["redis", "postgres"]);
    }
}
