//! Drawing: bars on a log axis, and curves, one below the other in one file.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use procession_bench::{Kind, Summary};

use crate::number::{count, short};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 860;
const BAR_HEIGHT: u32 = 26;
const CURVES_HEIGHT: u32 = 460;
/// Of title, axis and margins.
const AROUND: u32 = 76;
/// Beside curves.
const LEGEND_WIDTH: u32 = 200;
const FONT: &str = "sans-serif";

/// One part of a file.
#[derive(Debug)]
pub(crate) enum Chart {
    /// Medians with their ranges.
    Bars { title: String, bars: Vec<Bar> },
    Curves {
        title: String,
        x: Axis,
        y: Axis,
        lines: Vec<Line>,
    },
}

#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) range: Summary,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Debug)]
pub(crate) struct Axis {
    name: String,
    scale: Scale,
}

/// How values become places on an axis.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scale {
    Linear,
    /// Powers of ten are equally far apart.
    Log,
    /// 90, 99, 99.9 are equally far apart.
    Nines,
}

impl Axis {
    pub(crate) fn new(name: &str, scale: Scale) -> Axis {
        Axis {
            name: name.to_owned(),
            scale,
        }
    }
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => value.log10(),
            Scale::Nines => -(1.0 - value / 100.0).log10(),
        }
    }

    /// What to write at a place: nothing between the powers of ten.
    fn label(self, place: f64) -> String {
        match self {
            Scale::Linear => short(place),
            _ if place.fract().abs() > 1e-6 => String::new(),
            Scale::Log => count(10_f64.powf(place)),
            Scale::Nines => format!("{}", 100.0 - 100.0 / 10_f64.powf(place)),
        }
    }
}

/// Draws `charts` into the file at `path`.
pub(crate) fn draw(path: &Path, charts: &[Chart]) -> Outcome<()> {
    let height = charts.iter().map(Chart::height).sum();
    let mut rest = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    rest.fill(&WHITE)?;
    for chart in charts {
        let (area, below) = rest.split_vertically(chart.height());
        match chart {
            Chart::Bars { title, bars } => draw_bars(&area, title, bars)?,
            Chart::Curves { title, x, y, lines } => draw_curves(&area, title, x, y, lines)?,
        }
        rest = below;
    }
    rest.present()?;
    Ok(())
}

impl Chart {
    fn height(&self) -> u32 {
        match self {
            Self::Bars { bars, .. } => bars.len() as u32 * BAR_HEIGHT + AROUND,
            Self::Curves { .. } => CURVES_HEIGHT,
        }
    }
}

fn draw_bars(area: &Area<'_>, title: &str, bars: &[Bar]) -> Outcome<()> {
    let places = bars
        .iter()
        .flat_map(|bar| [bar.range.least, bar.range.most]);
    let places = places.filter(|&value| value > 0.0).map(f64::log10);
    let (least, most) = bounds(places);
    // The shortest bar is still one, and the text at the longest has its place.
    let (left, right) = ((least - 0.5).floor(), most + (most - least).max(1.0) * 0.15);
    let count = bars.len();
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(190)
        .build_cartesian_2d(left..right, (0..count).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|place| Scale::Log.label(*place))
        .x_label_style((FONT, 12))
        .y_labels(count)
        .y_label_formatter(&|segment| match segment {
            SegmentValue::CenterOf(at) if *at < count => bars[count - 1 - at].name.clone(),
            _ => String::new(),
        })
        .y_label_style((FONT, 13))
        .draw()?;
    for (at, bar) in bars.iter().rev().enumerate() {
        let place = |value: f64| value.log10().max(left);
        let end = place(bar.range.median);
        let (red, green, blue) = crate::plot::colour(bar.kind);
        let (from, to) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
        let mut body = Rectangle::new(
            [(left, from), (end, to)],
            RGBColor(red, green, blue).filled(),
        );
        body.set_margin(4, 4, 0, 0);
        chart.draw_series([body])?;
        let middle = || SegmentValue::CenterOf(at);
        let range = [place(bar.range.least), place(bar.range.most)].map(|at| (at, middle()));
        chart.draw_series([PathElement::new(range.to_vec(), BLACK.stroke_width(2))])?;
        let text = EmptyElement::at((place(bar.range.most), middle()))
            + Text::new(short(bar.range.median), (6, -6), (FONT, 13));
        chart.draw_series([text])?;
    }
    Ok(())
}

fn draw_curves(area: &Area<'_>, title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> Outcome<()> {
    let place = |&(at, value): &(f64, f64)| (x.scale.place(at), y.scale.place(value));
    let points = || lines.iter().flat_map(|line| line.points.iter().map(place));
    let (left, right) = bounds(points().map(|(at, _)| at));
    let (bottom, top) = bounds(points().map(|(_, value)| value));
    let (bottom, top) = match y.scale {
        Scale::Linear => (0.0, top * 1.05),
        _ => (bottom.floor(), top + 0.1),
    };
    let (area, legend) = area.split_horizontally(WIDTH - LEGEND_WIDTH);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 16))
        .margin(8)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(left..right, bottom..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(&x.name)
        .y_desc(&y.name)
        .x_label_formatter(&|place| x.scale.label(*place))
        .y_label_formatter(&|place| y.scale.label(*place))
        .draw()?;
    for (number, line) in lines.iter().enumerate() {
        let colour = Palette99::pick(number).mix(0.9);
        let points: Vec<(f64, f64)> = line.points.iter().map(place).collect();
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
        let dots = points
            .into_iter()
            .map(|at| Circle::new(at, 3, colour.filled()));
        chart.draw_series(dots)?;
        let height = 40 + number as i32 * 20;
        let sample = vec![(0, height), (18, height)];
        legend.draw(&PathElement::new(sample, colour.stroke_width(2)))?;
        legend.draw(&Text::new(line.name.as_str(), (24, height - 6), (FONT, 13)))?;
    }
    Ok(())
}

/// The least and the largest of `values`, which are not the same.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (least, most) = finite.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), value| (least.min(value), most.max(value)),
    );
    match (least.is_finite(), most > least) {
        (true, true) => (least, most),
        (true, false) => (least, least + 1.0),
        (false, _) => (0.0, 1.0),
    }
}
