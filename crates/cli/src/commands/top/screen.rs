//! Draws the table of `formline top` on a terminal, and handles keys.

use std::time::Duration;

use ratatui::{
    Frame,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::{Alignment, Constraint, Layout},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Text},
    widgets::{self, Paragraph},
};

use super::table::{HEADS, SortOrder, StageRow, Table, is_number};

/// The state of the view.
#[derive(Debug)]
pub(super) struct Screen {
    table: Table,
    order: SortOrder,
    is_paused: bool,
    interval: Duration,
    processes: usize,
}

/// Whether the view continues after a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KeyAction {
    Continue,
    Quit,
}

/// Width of each column of the table. The stage and its state share the remaining space.
const WIDTHS: [Constraint; HEADS.len()] = [
    Constraint::Fill(1),
    Constraint::Length(9),
    Constraint::Length(8),
    Constraint::Length(7),
    Constraint::Length(7),
    Constraint::Length(6),
    Constraint::Length(5),
    Constraint::Length(18),
    Constraint::Fill(1),
];

// === impl Screen ===

impl Screen {
    pub(super) fn new(interval: Duration, processes: usize) -> Self {
        Self {
            table: Table::default(),
            order: SortOrder::Stage,
            is_paused: false,
            interval,
            processes,
        }
    }

    /// Shows a new table, unless the view is paused.
    pub(super) fn show(&mut self, table: Table) {
        if !self.is_paused {
            self.table = table;
            self.table.sort(self.order);
        }
    }

    /// Handles a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> KeyAction {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return KeyAction::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return KeyAction::Quit,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.table.sort(self.order);
            }
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            _ => {}
        }
        KeyAction::Continue
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let notes = u16::try_from(self.table.notes.len()).unwrap_or(u16::MAX);
        // Notes take at most a third of the screen.
        let notes = notes.min(frame.area().height / 3);
        let rows = [
            Constraint::Length(2),
            Constraint::Fill(1),
            Constraint::Length(notes),
        ];
        let [head, body, foot] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Line::from(self.title()).bold(), head);
        frame.render_widget(self.table(), body);
        let notes = self
            .table
            .notes
            .iter()
            .map(|note| Line::from(note.as_str()));
        let notes = Paragraph::new(Text::from_iter(notes));
        frame.render_widget(notes.style(Color::Yellow), foot);
    }

    fn title(&self) -> String {
        let Self {
            processes,
            interval,
            ..
        } = self;
        let refresh = if self.is_paused {
            "paused".to_owned()
        } else {
            format!("every {interval:?}")
        };
        let unit = if *processes == 1 {
            "process"
        } else {
            "processes"
        };
        let order = self.order.name();
        format!("formline top  {processes} {unit}, {refresh}  s sort: {order}  p pause  q quit")
    }

    fn table(&self) -> widgets::Table<'_> {
        let cell = |(column, text): (usize, String)| {
            let side = match is_number(column) {
                true => Alignment::Right,
                false => Alignment::Left,
            };
            widgets::Cell::from(Text::from(text).alignment(side))
        };
        let line = move |texts: [String; HEADS.len()]| {
            widgets::Row::new(texts.into_iter().enumerate().map(cell).collect::<Vec<_>>())
        };
        let head = line(HEADS.map(str::to_owned)).style(Modifier::REVERSED);
        let rows = self.table.rows.iter();
        let rows = rows.map(|row| line(row.cells()).style(style(row)));
        widgets::Table::new(rows, WIDTHS).header(head)
    }
}

fn style(row: &StageRow) -> Style {
    match () {
        () if row.is_failing => Color::Red.into(),
        () if !row.is_ready() => Color::Yellow.into(),
        () => Style::default(),
    }
}
