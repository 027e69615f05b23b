//! Drawing: lines over two axes, and bars. Text is in the reader's own sans-serif; everything stands on white.

use super::axis::Axis;
use super::figures::number;
use crate::peers::{Peer, Role};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;

/// What one peer's line goes through.
pub struct Line {
    pub peer: &'static Peer,
    pub points: Vec<(f64, f64)>,
}

pub struct Bar {
    pub peer: &'static Peer,
    pub value: f64,
}

pub struct Titles<'a> {
    pub chart: &'a str,
    pub x: &'a str,
    pub y: &'a str,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const SIZE: (u32, u32) = (820, 440);
/// On the right, outside of the axes: no line runs through it.
const LEGEND: i32 = 155;
const BAR: i32 = 28;
const FONT: &str = "sans-serif";
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

pub fn lines(titles: &Titles, lines: &[Line]) -> Result<String, String> {
    drawn(SIZE, |root| draw_lines(root, titles, lines))
}

/// `x` names what the bars' lengths are.
pub fn bars(title: &str, x: &str, bars: &[Bar]) -> Result<String, String> {
    let height = 95 + BAR * bars.len() as i32;
    drawn((SIZE.0, height as u32), |root| draw_bars(root, title, x, bars))
}

fn drawn(size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> Result<String, String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let outcome = root.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&root)).and_then(|()| Ok(root.present()?));
    drop(root);
    outcome.map_err(|error| format!("a plot: {error}"))?;
    Ok(svg)
}

fn draw_lines(root: &Area, titles: &Titles, lines: &[Line]) -> Drawn {
    let values = |value: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|line| &line.points).map(value).collect();
    let (xs, ys): (Vec<f64>, Vec<f64>) = (values(|point| point.0), values(|point| point.1));
    let (left, legend) = root.split_horizontally(SIZE.0 as i32 - LEGEND);
    let mut chart = ChartBuilder::on(&left)
        .caption(titles.chart, (FONT, 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d(Axis::new(&xs), Axis::new(&ys))?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID)
        .x_desc(titles.x)
        .y_desc(titles.y)
        .axis_desc_style((FONT, 14))
        .label_style((FONT, 13))
        .draw()?;
    for line in lines {
        let style = style(line.peer);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 3, style.filled())))?;
    }
    draw_legend(&legend, lines)
}

fn draw_legend(area: &Area, lines: &[Line]) -> Drawn {
    for (number, line) in lines.iter().enumerate() {
        let (style, y) = (style(line.peer), 60 + 22 * number as i32);
        area.draw(&PathElement::new([(4, y), (28, y)], style))?;
        area.draw(&Circle::new((16, y), 3, style.filled()))?;
        area.draw(&Text::new(line.peer.title, (35, y), text(HPos::Left, 14)))?;
    }
    Ok(())
}

fn draw_bars(root: &Area, title: &str, x: &str, bars: &[Bar]) -> Drawn {
    const LEFT: i32 = 140;
    // On the right there is room for the longest bar's number.
    let room = f64::from(SIZE.0 as i32 - LEFT - 90);
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let middle = SIZE.0 as i32 / 2;
    root.draw(&Text::new(title, (middle, 24), text(HPos::Center, 18)))?;
    for (at, bar) in bars.iter().enumerate() {
        let y = 52 + BAR * at as i32;
        let end = LEFT + (room * bar.value.max(0.0) / longest).round() as i32;
        root.draw(&Text::new(bar.peer.title, (LEFT - 8, y + BAR / 2), text(HPos::Right, 14)))?;
        root.draw(&Rectangle::new([(LEFT, y + 4), (end, y + BAR - 4)], colour(bar.peer).filled()))?;
        root.draw(&Text::new(number(bar.value), (end + 6, y + BAR / 2), text(HPos::Left, 14)))?;
    }
    root.draw(&Text::new(x, (middle, 72 + BAR * bars.len() as i32), text(HPos::Center, 14)))?;
    Ok(())
}

fn text(side: HPos, size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size)).pos(Pos::new(side, VPos::Center))
}

fn colour(peer: &Peer) -> RGBColor {
    let (red, green, blue) = peer.colour;
    RGBColor(red, green, blue)
}

/// Ours are easier to find.
fn style(peer: &Peer) -> ShapeStyle {
    colour(peer).stroke_width(if peer.role == Role::Ours { 3 } else { 2 })
}
