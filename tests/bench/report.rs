//! The table: medians and spread of each figure, rovs against the peer and against the limit.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::Value;

/// Values of one figure by who made them.
type Figure = BTreeMap<String, Vec<f64>>;

/// Reads files of JSON lines and prints the table.
pub fn run(files: &[&str]) -> ExitCode {
    let mut order: Vec<(String, String, String)> = Vec::new();
    let mut figures: BTreeMap<(String, String, String), Figure> = BTreeMap::new();
    for file in files {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        };
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                eprintln!("{file}: not a line of a measurement: {line}");
                return ExitCode::FAILURE;
            };
            let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let key = (word("lab"), word("figure"), word("unit"));
            if !order.contains(&key) {
                order.push(key.clone());
            }
            let values = figures.entry(key).or_default().entry(word("who")).or_default();
            values.push(line["value"].as_f64().unwrap_or(f64::NAN));
        }
    }
    println!("| lab | figure | peer | rovs | limit | rovs/peer | rovs/limit |");
    println!("|---|---|---|---|---|---|---|");
    for key in order {
        let figure = &mut figures.get_mut(&key).map(std::mem::take).unwrap_or_default();
        let mut cell = |who: &str| figure.get_mut(who).map(|values| Cell::of(values));
        let (peer, rovs, limit) = (cell("peer"), cell("rovs"), cell("limit"));
        let shown = |cell: &Option<Cell>| {
            cell.as_ref().map_or_else(|| "–".to_owned(), |cell| cell.text(&key.2))
        };
        let ratio = |to: &Option<Cell>| match (&rovs, to) {
            (Some(rovs), Some(to)) if to.median != 0.0 => {
                format!("{:.2}", rovs.median / to.median)
            }
            _ => "–".to_owned(),
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            key.0,
            key.1,
            shown(&peer),
            shown(&rovs),
            shown(&limit),
            ratio(&peer),
            ratio(&limit)
        );
    }
    ExitCode::SUCCESS
}

struct Cell {
    median: f64,
    /// Half the distance between the least and the greatest.
    spread: f64,
}

impl Cell {
    fn of(values: &mut [f64]) -> Self {
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first().copied(), values.last().copied());
        let median = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
        Self { median, spread: (last.unwrap_or(0.0) - first.unwrap_or(0.0)) / 2.0 }
    }

    fn text(&self, unit: &str) -> String {
        let digits = if self.median.abs() < 100.0 { 1 } else { 0 };
        let space = if unit.is_empty() { "" } else { " " };
        format!("{:.digits$}{space}{unit} ±{:.digits$}", self.median, self.spread)
    }
}
