//! The drawing of the view: a line for each path, the sum, and the latest of the log.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, RenderDirection, Sparkline};
use usctp::PathState;

use super::view::{Row, View};
use crate::events::state_name;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let elapsed = format!(" {:.1} s ", view.elapsed().as_secs_f64());
    let block = Block::bordered()
        .title(format!(" {} ", view.title).bold())
        .title(Line::from(elapsed).right_aligned())
        .title_bottom(" q quits ");
    let inside = block.inner(frame.area());
    frame.render_widget(block, frame.area());
    let paths = u16::try_from(view.rows.len()).unwrap_or(u16::MAX);
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(paths),
        Constraint::Length(2),
        Constraint::Fill(1),
    ]);
    let [head, body, sum, log] = areas.areas(inside);
    draw_head(frame, columns(head, view));
    let highest_rate = view.highest_rate();
    for (row, line) in view.rows.iter().zip(body.rows()) {
        draw_row(frame, row, columns(line, view), view.largest_cwnd, highest_rate);
    }
    frame.render_widget(Paragraph::new(vec![Line::default(), sum_of(view)]), sum);
    draw_log(frame, view, log);
}

/// The areas of a line, from the mark of the primary path to the history of the throughput.
fn columns(line: Rect, view: &View) -> [Rect; 8] {
    let longest = view.rows.iter().map(|row| row.address.to_string().len()).max();
    let address = u16::try_from(longest.unwrap_or(0)).unwrap_or(u16::MAX).max(7);
    Layout::horizontal([
        Constraint::Length(1),
        Constraint::Length(address),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Fill(2),
        Constraint::Length(13),
        Constraint::Length(12),
        Constraint::Fill(3),
    ])
    .spacing(1)
    .areas(line)
}

fn draw_head(frame: &mut Frame<'_>, areas: [Rect; 8]) {
    let [mark, address, state, trip, bar, window, rate, history] = areas;
    let texts = [
        (mark, Line::default()),
        (address, Line::from("address")),
        (state, Line::from("state")),
        (trip, Line::from("RTT").right_aligned()),
        (bar, Line::from("window")),
        (window, Line::from("flight/cwnd").right_aligned()),
        (rate, Line::from("sent").right_aligned()),
        (history, Line::from("throughput")),
    ];
    for (area, text) in texts {
        frame.render_widget(Paragraph::new(text.dim()), area);
    }
}

fn draw_row(frame: &mut Frame<'_>, row: &Row, areas: [Rect; 8], largest_cwnd: usize, highest: u64) {
    let [mark, address, state, trip, bar, window, rate, history] = areas;
    let color = color(row.state);
    let round_trip = row
        .round_trip
        .map_or_else(|| "-".to_owned(), |trip| format!("{:.2} ms", trip.as_secs_f64() * 1e3));
    let kilobytes = |bytes: usize| bytes as f64 / 1024.0;
    let windows = format!("{:.0}/{:.0} KiB", kilobytes(row.flight), kilobytes(row.cwnd));
    let texts = [
        (mark, Line::from(if row.primary { "*" } else { " " })),
        (address, Line::from(row.address.to_string()).bold()),
        (state, Line::from(state_text(row.state)).style(color)),
        (trip, Line::from(round_trip).right_aligned()),
        (bar, bar_of(row, usize::from(bar.width), largest_cwnd)),
        (window, Line::from(windows).right_aligned()),
        (rate, Line::from(rate_text(row.rate())).right_aligned()),
    ];
    for (area, text) in texts {
        frame.render_widget(Paragraph::new(text), area);
    }
    // All paths have one scale, so that they can be compared.
    let sparkline = Sparkline::default()
        .data(row.rates.iter().copied())
        .max(highest.max(1))
        .direction(RenderDirection::RightToLeft)
        .style(color);
    frame.render_widget(sparkline, history);
}

/// The congestion window as a bar, of which the full part is in flight.
fn bar_of(row: &Row, width: usize, largest_cwnd: usize) -> Line<'static> {
    let cells = |bytes: usize| (bytes * width).div_ceil(largest_cwnd.max(1)).min(width);
    let cwnd = cells(row.cwnd);
    let flight = cells(row.flight).min(cwnd);
    Line::from(vec![
        Span::styled("█".repeat(flight), color(row.state)),
        Span::styled("░".repeat(cwnd - flight), color(row.state)),
    ])
}

fn sum_of(view: &View) -> Line<'static> {
    let rate: u64 = view.rows.iter().map(Row::rate).sum();
    let bytes = indicatif::BinaryBytes(view.bytes);
    Line::from(format!("  all paths: {}, {bytes} of messages", rate_text(rate)))
}

fn draw_log(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let height = usize::from(area.height).saturating_sub(1);
    let skipped = view.log.len().saturating_sub(height);
    let lines = view.log.iter().skip(skipped).map(|line| Line::from(line.as_str()).dim());
    let mut text = vec![Line::default()];
    text.extend(lines);
    frame.render_widget(Paragraph::new(text), area);
}

fn state_text(state: PathState) -> &'static str {
    match state_name(state) {
        // The column is narrow.
        "potentially_failed" => "pot. failed",
        name => name,
    }
}

fn color(state: PathState) -> Style {
    match state {
        PathState::Active => Style::new().fg(Color::Green),
        PathState::Inactive => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        PathState::Listed => Style::new().add_modifier(Modifier::DIM),
        // Neither good nor bad yet: unconfirmed, or potentially failed.
        _ => Style::new().fg(Color::Yellow),
    }
}

/// Bits per second in three figures or four.
fn rate_text(rate: u64) -> String {
    let rate = rate as f64;
    match rate {
        rate if rate >= 1e9 => format!("{:.2} Gbit/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.1} Mbit/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} kbit/s", rate / 1e3),
        rate => format!("{rate:.0} bit/s"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn row(last: u8, state: PathState, cwnd: usize, flight: usize, rates: &[u64]) -> Row {
        Row {
            address: IpAddr::from([10, 0, 0, last]),
            state,
            primary: last == 1,
            round_trip: (state != PathState::Unconfirmed).then_some(Duration::from_micros(1250)),
            cwnd,
            flight,
            rates: rates.iter().copied().collect(),
            bytes_sent: 0,
        }
    }

    fn view() -> View {
        let mut view = View::new("usctp connect".to_owned(), Instant::now());
        view.rows = vec![
            row(1, PathState::Inactive, 1500, 0, &[0, 0, 0, 0, 8_000_000, 8_000_000]),
            row(2, PathState::Active, 65_536, 32_768, &[8_000_000, 4_000_000, 0, 0, 0, 0]),
            row(3, PathState::Unconfirmed, 4380, 0, &[]),
        ];
        view.bytes = 3 << 20;
        view.log = (1..=20).map(|number| format!("line {number}")).collect();
        view.largest_cwnd = 65_536;
        view
    }

    fn drawn(view: &View, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal
    }

    #[test]
    fn each_path_has_a_line_with_bars_on_common_scales() {
        let expected = [
            "┌ usctp connect ──────────────────────────────────────────────────────────────────────────── 0.0 s ┐",
            "│  address  state             RTT window            flight/cwnd         sent throughput            │",
            "│* 10.0.0.1 inactive      1.25 ms ░                     0/1 KiB      0 bit/s                 ██    │",
            "│  10.0.0.2 active        1.25 ms ████████░░░░░░░     32/64 KiB   3.0 Mbit/s                     ▄█│",
            "│  10.0.0.3 unconfirmed         - ░░                    0/4 KiB      0 bit/s                       │",
            "│                                                                                                  │",
            "│  all paths: 3.0 Mbit/s, 3.00 MiB of messages                                                     │",
            "│                                                                                                  │",
            "│line 19                                                                                           │",
            "│line 20                                                                                           │",
            "└ q quits ─────────────────────────────────────────────────────────────────────────────────────────┘",
        ];
        let terminal = drawn(&view(), 100, 11);
        let drawn = terminal.backend().to_string();
        let lines: Vec<&str> = drawn.lines().map(|line| line.trim_matches('"')).collect();
        assert_eq!(lines, expected, "{drawn}");
    }

    #[test]
    fn the_state_shows_in_colour() {
        let terminal = drawn(&view(), 100, 11);
        let buffer = terminal.backend().buffer();
        let colors = [Color::Red, Color::Green, Color::Yellow];
        for (color, y) in colors.into_iter().zip(2..) {
            let line = (0..100).map(|x| &buffer[(x, y)]);
            let state = line.skip_while(|cell| {
                cell.symbol() != "a" && cell.symbol() != "i" && cell.symbol() != "u"
            });
            assert_eq!(state.map(|cell| cell.fg).next(), Some(color), "line {y}");
        }
    }

    #[test]
    fn any_size_of_terminal_is_drawn_on() {
        for (width, height) in [(1, 1), (2, 9), (10, 3), (40, 8), (79, 24), (300, 4), (300, 100)] {
            drawn(&view(), width, height);
        }
        drawn(&View::new(String::new(), Instant::now()), 80, 24);
    }
}
