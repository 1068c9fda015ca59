//! Reach over time as a picture: SVG, one line per cell.
//!
//! Colours are those of the Okabe-Ito palette, told apart by people with any colour vision.

use std::fmt::Write as _;

use crate::cell_report::CellReport;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 30.0;
const PLOT_WIDTH: f64 = 520.0;
const PLOT_HEIGHT: f64 = 430.0;
const COLOURS: [&str; 8] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933"];
/// Lines beyond this many cannot be told apart.
pub const LINES_MAX: usize = 24;
/// Dashes of the first, second and third eight lines.
const DASHES: [&str; 3] = ["", "6 3", "2 2"];

/// The share of live peers over time, of the first [`LINES_MAX`] cells.
pub fn reach_over_time(cells: &[CellReport]) -> String {
    let shown = &cells[..cells.len().min(LINES_MAX)];
    let ends = shown.iter().filter_map(|cell| cell.reach_over_time.last()).map(|(ms, _)| *ms);
    let until = ends.fold(100.0, f64::max);
    let (x, y) = (|ms: f64| LEFT + PLOT_WIDTH * ms / until, |share: f64| TOP + PLOT_HEIGHT * (1.0 - share));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <title>Share of live peers that hold a transaction, over time</title>\n"
    );
    let mut line = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    for tenth in 0..=10_u32 {
        let share = f64::from(tenth) / 10.0;
        let (at, strong) = (y(share), if tenth == 9 { "#c00" } else { "#ddd" });
        line(format!("<path d=\"M{LEFT} {at:.1}h{PLOT_WIDTH}\" stroke=\"{strong}\" fill=\"none\"/>"));
        line(format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} %</text>",
            LEFT - 6.0,
            at + 4.0,
            tenth * 10
        ));
    }
    for part in 0..=5_u32 {
        let ms = until * f64::from(part) / 5.0;
        line(format!("<path d=\"M{:.1} {TOP}v{PLOT_HEIGHT}\" stroke=\"#eee\" fill=\"none\"/>", x(ms)));
        line(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{ms:.0} ms</text>",
            x(ms),
            TOP + PLOT_HEIGHT + 18.0
        ));
    }
    line(format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">since submission; the red line is 90 % of the live peers</text>",
        LEFT + PLOT_WIDTH / 2.0,
        HEIGHT - 18.0
    ));
    for (at, cell) in shown.iter().enumerate() {
        let (colour, dash) = (COLOURS[at % COLOURS.len()], DASHES[at / COLOURS.len() % DASHES.len()]);
        let mut path = String::new();
        for (point, (ms, share)) in cell.reach_over_time.iter().enumerate() {
            let step = if point == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x(*ms), y(*share));
        }
        line(format!(
            "<path d=\"{path}\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" stroke-width=\"1.5\" fill=\"none\"/>"
        ));
        let (left, top) = (LEFT + PLOT_WIDTH + 16.0, TOP + 8.0 + 19.0 * at as f64);
        line(format!(
            "<path d=\"M{left} {top}h22\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" stroke-width=\"2\"/>"
        ));
        let c = &cell.conditions;
        let name = escape(&format!("{}, {} peers, {} ms", cell.name, c.peers, c.delay_ms));
        line(format!("<text x=\"{}\" y=\"{}\">{name}</text>", left + 28.0, top + 4.0));
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escape("a < b & c"), "a &lt; b &amp; c");
    }
}
