//! Tables and numbers as people read them.

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows under headings; columns are as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the last column are left out.
    pub(super) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The headings and the rows, without white space at their ends.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = |i: usize, heading: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(i));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(heading.len())
        };
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(i, (heading, _))| width(i, heading)).collect();
        let line = |cells: &[&str]| {
            let mut line = String::new();
            for ((cell, (_, align)), width) in cells.iter().zip(&self.columns).zip(&widths) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}")),
                    Align::Right => line.push_str(&format!("{cell:>width$}")),
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        let headings: Vec<&str> = self.columns.iter().map(|(heading, _)| *heading).collect();
        let rows = self.rows.iter().map(|row| {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            line(&cells)
        });
        std::iter::once(line(&headings)).chain(rows).collect()
    }
}

/// A rate with three or four digits: `0`, `7.3`, `950`, `12.3k`, `1.05G`.
pub(super) fn short(number: f64) -> String {
    if number < 0.05 {
        return "0".to_owned();
    }
    let (mut number, mut unit) = (number, "");
    for next in ["k", "M", "G", "T"] {
        if number < 999.5 {
            break;
        }
        number /= 1000.0;
        unit = next;
    }
    let digits = match number {
        n if n >= 99.95 => 0,
        n if n >= 9.995 || unit.is_empty() => 1,
        _ => 2,
    };
    let text = format!("{number:.digits$}");
    let text = if unit.is_empty() { text.trim_end_matches(".0") } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.2, "0.2"),
            (7.0, "7"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (1.05e9, "1.05G"),
            (3e16, "30000T"),
        ] {
            assert_eq!(short(number), text, "{number}");
        }
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.add(vec!["a".into(), "1000".into()]);
        table.add(vec!["longer".into(), "2".into()]);
        table.add(vec!["short row".into()]);
        assert_eq!(
            table.lines(),
            ["NAME          N", "a          1000", "longer        2", "short row"]
        );
    }
}
