//! A figure beside what is asked of it.

use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) figure: f64,
    pub(crate) goal: f64,
    pub(crate) unit: &'static str,
    pub(crate) at_least: bool,
    pub(crate) met: bool,
}

impl Goal {
    pub(crate) fn at_most(name: &'static str, figure: f64, goal: f64, unit: &'static str) -> Self {
        Self { name, figure, goal, unit, at_least: false, met: figure <= goal }
    }

    pub(crate) fn at_least(name: &'static str, figure: f64, goal: f64, unit: &'static str) -> Self {
        Self { name, figure, goal, unit, at_least: true, met: figure >= goal }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, figure, goal, unit, at_least, met } = self;
        let (sign, verdict) = (if *at_least { ">=" } else { "<=" }, if *met { "pass" } else { "MISS" });
        let digits = if figure.fract() == 0.0 { 0 } else { 2 };
        write!(f, "{verdict}  {name:<28} {figure:>9.digits$}{unit}   goal {sign} {goal}{unit}")
    }
}
