//! The chart: each figure of ours as a part of the peer's, with marks for the limit and what is wanted.
//!
//! Shorter is better throughout: of figures of which more is better the inverse is drawn.

use std::fmt::Write;

use crate::report::{Cell, Row};

const LABEL_WIDTH: f64 = 430.0;
/// Width of the peer's value.
const UNIT_WIDTH: f64 = 300.0;
/// What is longer than so many times the peer's is cut.
const LONGEST: f64 = 1.5;
const BAR: f64 = 14.0;
const STEP: f64 = 20.0;
const TOP: f64 = 46.0;

/// An SVG of the rows in which both daemons have a value.
pub fn draw(rows: &[Row]) -> String {
    let rows: Vec<(&Row, Cell, Cell)> = rows
        .iter()
        .filter_map(|row| Some((row, row.peer?, row.rovs?)))
        .filter(|(_, peer, _)| peer.median > 0.0)
        .collect();
    let width = LABEL_WIDTH + UNIT_WIDTH * LONGEST + 70.0;
    let height = TOP + STEP * rows.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"14\">rovs, as a part of the stock daemon \
         (shorter is better)</text>\n"
    );
    let peer = LABEL_WIDTH + UNIT_WIDTH;
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"36\" fill=\"#555\">dotted: the stock daemon; black: the limit; \
         red: wanted</text>\n\
         <line x1=\"{peer}\" y1=\"{TOP}\" x2=\"{peer}\" y2=\"{:.0}\" stroke=\"#555\" \
         stroke-dasharray=\"2 3\"/>",
        height - 12.0
    );
    for (i, (row, peer, rovs)) in rows.iter().enumerate() {
        let y = TOP + STEP * i as f64;
        let is_rate = row.figure.unit == "/s";
        let part = |value: f64| match is_rate {
            true => peer.median / value,
            false => value / peer.median,
        };
        let at = |value: f64| LABEL_WIDTH + part(value).clamp(0.0, LONGEST) * UNIT_WIDTH;
        let colour = match row.is_reached() {
            Some(false) => "#e0a030",
            _ => "#3a7d44",
        };
        let text_y = y + BAR - 3.0;
        let end = at(rovs.median);
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{text_y:.0}\" text-anchor=\"end\">{} ({})</text>\n\
             <rect x=\"{LABEL_WIDTH}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{BAR}\" \
             fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{text_y:.0}\" fill=\"#333\">{:.2}</text>",
            LABEL_WIDTH - 8.0,
            row.figure.title,
            row.lab,
            (end - LABEL_WIDTH).max(1.0),
            end + 4.0,
            part(rovs.median)
        );
        let wanted = row.wanted.and_then(|(_, bound)| bound);
        for (value, colour) in [(row.limit.map(|limit| limit.median), "#000"), (wanted, "#c00")] {
            if let Some(value) = value.filter(|value| *value > 0.0 || !is_rate) {
                let x = at(value);
                let _ = writeln!(
                    svg,
                    "<line x1=\"{x:.1}\" y1=\"{:.0}\" x2=\"{x:.1}\" y2=\"{:.0}\" \
                     stroke=\"{colour}\" stroke-width=\"2\"/>",
                    y - 2.0,
                    y + BAR + 2.0
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}
