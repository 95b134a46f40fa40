//! The parts of Markdown that the reference needs.

/// A table with a header. Empty if there are no rows.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&header.map(str::to_owned));
    text += &format!("|{}\n", "---|".repeat(N));
    text.extend(rows.iter().map(|row| line(row)));
    text.push('\n');
    text
}

/// Inline code. Escapes pipes, which would end a cell of a table.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// A fenced code block in a language.
pub(super) fn code_block(language: &str, text: &str) -> String {
    format!("```{language}\n{}\n```\n\n", text.trim_end())
}
