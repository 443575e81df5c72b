//! What commands print: tables for people, JSON for programs, progress on a terminal.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Standard output, in the form the user asked for. Nothing here panics on a pipe that is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// One line of text.
    pub(crate) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{}", text.as_ref())
    }

    /// One value as JSON: on one line where lines follow each other (`pretty` false), else laid out on a terminal.
    pub(crate) fn json<T: Serialize>(self, value: &T) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            serde_json::to_writer_pretty(&mut out, value)?;
        } else {
            serde_json::to_writer(&mut out, value)?;
        }
        writeln!(out)
    }

    /// One value of a stream: always one line.
    pub(crate) fn json_line<T: Serialize>(self, value: &T) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value)?;
        writeln!(out)
    }

    /// Rows under their heads, each column as wide as it needs to be. The last column runs on.
    pub(crate) fn table(self, heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        io::stdout().lock().write_all(layout(heads, rows).as_bytes())
    }
}

fn layout(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let heads = heads.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text in one line: control characters, which could steer a terminal, become spaces; cut to `max` characters.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect();
    if text.chars().count() > max {
        line.push('…');
    }
    line
}

/// A line on standard error that is written over; silent unless standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    on: bool,
    shown: bool,
}

impl Progress {
    /// Progress, unless the output is for a program.
    pub(crate) fn new(output: Output) -> Self {
        Self { on: !output.json && io::stderr().is_terminal(), shown: false }
    }

    /// Shows `text` in place of what was shown before.
    pub(crate) fn show(&mut self, text: impl AsRef<str>) {
        if self.on {
            eprint!("\r\x1b[K{}", text.as_ref());
            self.shown = true;
        }
    }

    /// Says a line that stays; off a terminal too, since it is news.
    pub(crate) fn say(&mut self, text: impl AsRef<str>) {
        self.clear();
        eprintln!("{}", text.as_ref());
    }

    /// Takes away what is shown.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = vec![vec!["a".into(), "long one".into()], vec!["bbb".into(), String::new()]];
        assert_eq!(layout(&["ID", "NAME"], &rows), "ID   NAME\na    long one\nbbb\n");
    }

    #[test]
    fn text_from_others_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\nc", 80), "a [2Jb c");
        assert_eq!(one_line("abcdef", 3), "abc…");
    }
}
