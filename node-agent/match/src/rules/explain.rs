//! How near a rule came that does not match.
//!
//! A rule nearly matched when something of it is there beyond the agent: some of its literals; or all of them and its
//! pattern, but in another place; or everything, but for another version. What is missing is said in words, for the person
//! who wrote the rule.

use super::engine::{Engine, Rule, Scene, below, in_region, squeeze};
use super::pack::Region;

/// A rule that does not match.
pub(crate) struct Near {
    /// Its number in the engine.
    pub(crate) rule: usize,
    /// Where most of it stands.
    pub(crate) row: Option<usize>,
    /// Never empty.
    pub(crate) missing: Vec<String>,
    /// The smaller, the nearer.
    pub(crate) distance: usize,
}

/// The rules that nearly matched, the nearest first.
pub(crate) fn nearly(engine: &Engine, scene: &Scene<'_>) -> Vec<Near> {
    let near = |(at, rule): (usize, &Rule)| {
        let mut near = (rule.reads(scene.surface) && rule.is_of(scene)).then(|| rule.near(scene))??;
        near.rule = at;
        Some(near)
    };
    let mut all: Vec<Near> = engine.all().enumerate().filter_map(near).collect();
    all.sort_by_key(|near| near.distance);
    all
}

impl Engine {
    /// Whether all literals of a rule of the agent stand in one row.
    pub(crate) fn has_words_of(&self, scene: &Scene<'_>, row: usize) -> bool {
        let text = squeeze(scene.sheet.text(row));
        let rules = self.all().filter(|rule| !rule.shadow && rule.is_of(scene));
        rules.map(|rule| &rule.text.literals).any(|all| all.iter().all(|word| text.contains(&squeeze(word))))
    }
}

impl Rule {
    fn near(&self, scene: &Scene<'_>) -> Option<Near> {
        let lost: Vec<&String> =
            self.text.literals.iter().filter(|text| !scene.sheet.squeezed.contains(&squeeze(text))).collect();
        if lost.len() == self.text.literals.len() {
            return None;
        }
        let (row, mut missing) = if lost.is_empty() {
            self.elsewhere(scene).unwrap_or_else(|| {
                let found = self.text.literals.iter().find_map(|text| row_of(scene, text));
                (found, vec!["the pattern matches nowhere".to_owned()])
            })
        } else {
            let found = self.text.literals.iter().filter(|text| !lost.contains(text));
            let missing = lost.iter().map(|text| format!("{text:?} is not on the screen")).collect();
            (found.into_iter().find_map(|text| row_of(scene, text)), missing)
        };
        // Where words are missing the pattern is not tried.
        let untried = usize::from(!lost.is_empty());
        if !self.versions.holds(scene.version) {
            missing.push(format!("version {} is not in {}", short(scene.version), self.text.versions));
        }
        let distance = missing.len() + untried;
        (!missing.is_empty()).then_some(Near { rule: 0, row, missing, distance })
    }

    /// The row where the pattern matches and the least is wrong with the place, and what is.
    fn elsewhere(&self, scene: &Scene<'_>) -> Option<(Option<usize>, Vec<String>)> {
        let sheet = scene.sheet;
        let (mut text, mut starts) = (String::new(), Vec::new());
        let mut best: Option<(usize, Vec<String>)> = None;
        for row in (0..sheet.rows.len()).filter(|row| !sheet.is_blank(*row)) {
            let end = self.text.rows.map_or(usize::MAX, |rows| row.saturating_add(rows));
            sheet.block(row, end.min(sheet.rows.len()), &mut text, &mut starts);
            let Some(found) = self.pattern.find(&text) else { continue };
            let taken = starts.iter().filter(|start| **start < found.end()).count().max(1);
            let mut missing = self.misplaced(scene, row, taken);
            if self.unless.as_ref().is_some_and(|unless| unless.is_match(&text)) {
                missing.push("its words are another rule's".to_owned());
            }
            if best.as_ref().is_none_or(|(_, least)| missing.len() < least.len()) {
                best = Some((row, missing));
            }
        }
        best.map(|(row, missing)| (Some(row), missing))
    }

    /// What is wrong with a place where the pattern matches.
    fn misplaced(&self, scene: &Scene<'_>, row: usize, taken: usize) -> Vec<String> {
        let place = &scene.sheet.rows[row];
        let mut missing = Vec::new();
        if !in_region(scene, row, self.text.region) {
            missing.push(format!("row {} is not in the region {}", row + 1, self.text.region.as_str()));
        }
        if let Some((from, to)) =
            self.text.columns.filter(|(from, to)| !(*from..=*to).contains(&place.column))
        {
            missing.push(format!("it begins in column {}, not in {from} to {to}", place.column));
        }
        match self.text.boxed {
            Some(true) if !place.boxed => missing.push("it stands in no box".to_owned()),
            Some(false) if place.boxed => missing.push("it stands in a box".to_owned()),
            _ => {}
        }
        if self.above(scene.sheet, row).is_none() {
            missing.push("the row above it does not match".to_owned());
        }
        if let Some(words) = self.without.iter().find(|words| scene.sheet.squeezed.contains(words.as_str())) {
            missing.push(format!("{words:?} is on the screen"));
        }
        if self.hangs_wrong(scene, row) {
            missing.push("it hangs from a row whose output it is".to_owned());
        }
        if self.text.region == Region::End && !self.is_over(scene) {
            missing.push("the agent still holds the terminal".to_owned());
        }
        if self.text.region == Region::End && below(scene.sheet, row + taken) > super::engine::END_ROWS {
            missing.push("too many rows follow for an agent's last words".to_owned());
        }
        missing
    }
}

/// The first row with a text, blanks aside.
fn row_of(scene: &Scene<'_>, text: &str) -> Option<usize> {
    let text = squeeze(text);
    (0..scene.sheet.rows.len()).find(|row| squeeze(scene.sheet.text(*row)).contains(&text))
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
