//! Usage limits in Codex's `token_count` records: each has up to two windows with a percentage and the instant of reset.
//!
//! A record repeats the same windows with every answer, so a testimony is an edge: a window that has less left than 25,
//! 10 or 5 percent for the first time, that is used up, or that is no longer.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use wa_proto::{EventKind, RateLimitWindow};

use super::json::Json;
use super::{Common, MAX_WINDOWS, codex};

/// Percent left at which Codex warns.
const WARNINGS: [f64; 3] = [25.0, 10.0, 5.0];

#[derive(Debug, Default)]
pub(super) struct Limits {
    /// By window: how many of the warnings were given; one more than there are once it is used up.
    given: BTreeMap<String, usize>,
    plan: String,
}

const USED_UP: usize = WARNINGS.len() + 1;

impl Limits {
    pub(super) fn told(&mut self, common: &mut Common, limits: &Json, turn: &str) {
        if limits.is_null() {
            return;
        }
        self.plan = limits.get("plan_type").text().chars().take(40).collect();
        for place in ["primary", "secondary"] {
            let told = limits.get(place);
            let Some(percent_used) = told.get("used_percent").real() else { continue };
            let window = RateLimitWindow {
                window: name(limits, place, told),
                percent_used: percent_used.clamp(0.0, 100.0),
                resets_at: resets_at(common, told),
                observed_at: common.time.unwrap_or(common.now),
            };
            common.window(window.clone());
            self.edge(common, &window, turn);
        }
        let reached = limits.get("rate_limit_reached_type").text();
        if !reached.is_empty() {
            self.reached(common, if turn.is_empty() { reached } else { turn }, reached);
        }
    }

    fn edge(&mut self, common: &mut Common, window: &RateLimitWindow, turn: &str) {
        let left = 100.0 - window.percent_used;
        let level =
            if left <= 0.0 { USED_UP } else { WARNINGS.iter().filter(|warning| left <= **warning).count() };
        if self.given.len() >= MAX_WINDOWS && !self.given.contains_key(&window.window) {
            return;
        }
        let before = self.given.insert(window.window.clone(), level).unwrap_or(0);
        let reset = window.resets_at.map(|at| at.to_string()).unwrap_or_default();
        let fields = [
            ("window", window.window.clone()),
            ("percent_left", format!("{left:.0}")),
            ("percent_used", format!("{:.0}", window.percent_used)),
            ("reset_at", reset.clone()),
            ("reset_time", reset.clone()),
        ];
        let line = format!("{} limit: {left:.0}% left", window.window);
        let key = format!("{}/{level}/{reset}", window.window);
        if level == USED_UP && before < USED_UP {
            let key = if turn.is_empty() { &key } else { turn };
            common.testify(EventKind::LimitReached, key, fields, &line);
        } else if level < USED_UP && before == USED_UP {
            common.testify(EventKind::LimitLifted, &key, fields, &line);
        } else if level > before {
            common.testify(EventKind::LimitWarning, &key, fields, &line);
        }
    }

    /// A number says that a limit is reached; which window, and until when, the last percentages tell.
    fn reached(&self, common: &mut Common, key: &str, line: &str) {
        let [window, instant, plan] = self.used_up(common);
        let reset_at = ("reset_at", instant.1.clone());
        common.testify(EventKind::LimitReached, key, [window, reset_at, instant, plan], line);
    }

    /// The window that is used up, as far as the last percentages tell, when it is reset, and the plan.
    pub(super) fn used_up(&self, common: &Common) -> [(&'static str, String); 3] {
        let full = common.facts.rate_limits.iter().filter(|window| window.percent_used >= 100.0);
        // With both used up, the later reset counts.
        let window = full.max_by_key(|window| window.resets_at);
        let instant = window.and_then(|window| window.resets_at).map(|at| at.to_string()).unwrap_or_default();
        let name = window.map(|window| window.window.clone()).unwrap_or_default();
        [("window", name), ("reset_time", instant), ("plan", self.plan.clone())]
    }
}

/// Seconds since 1970, or, in old versions, seconds from now.
fn resets_at(common: &Common, told: &Json) -> Option<Timestamp> {
    codex::instant(told.get("resets_at")).or_else(|| {
        let seconds = i64::try_from(told.get("resets_in_seconds").whole()?).ok()?;
        common.time.unwrap_or(common.now).checked_add(SignedDuration::from_secs(seconds)).ok()
    })
}

/// `5h`, `weekly`, …; of another limit than that of the plan with its name before it.
fn name(limits: &Json, place: &str, told: &Json) -> String {
    // Providers count a minute less or more.
    let near = |minutes: u64, whole: u64| minutes.abs_diff(whole) <= whole / 100;
    let span = match told.get("window_minutes").whole() {
        None | Some(0) => place.to_owned(),
        Some(minutes) if near(minutes, 300) => "5h".to_owned(),
        Some(minutes) if near(minutes, 1440) => "daily".to_owned(),
        Some(minutes) if near(minutes, 10_080) => "weekly".to_owned(),
        Some(40_000..=45_000) => "monthly".to_owned(),
        Some(minutes) if near(minutes, 525_600) => "annual".to_owned(),
        Some(minutes) if minutes % 1440 == 0 => format!("{}d", minutes / 1440),
        Some(minutes) if minutes % 60 == 0 => format!("{}h", minutes / 60),
        Some(minutes) => format!("{minutes}m"),
    };
    let (label, id) = (limits.get("limit_name").text(), limits.get("limit_id").text());
    let of = if label.is_empty() && id != "codex" { id } else { label };
    if of.is_empty() { span } else { format!("{} {span}", of.chars().take(40).collect::<String>()) }
}
