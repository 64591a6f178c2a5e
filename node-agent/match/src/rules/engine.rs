//! Packs made ready, and run over one scene: a screen, settled lines, or the words of a record.
//!
//! Operation. All literals of all rules are searched in one pass over the squeezed text. Only a rule whose literals were
//! all seen looks further: at each row of its region that begins in its columns, and with a byte with which its pattern
//! can begin, the pattern is tried on the block there. The block of a row is put together once for all rules.
//! Matching is linear in the text (no back-references, size limits on every pattern). A pack loads whole or not at all,
//! and not unless every example fires and no counter-example does.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use wa_proto::{AgentKind, EventKind, Witness};

use super::literals::Literals;
use super::pack::{PackError, Region, RuleText, Surface};
use super::pattern::{Pattern, begins_with_anything, first_bytes};
use super::set::{Loaded, PackInfo};
use super::text::{Sheet, normal};
use super::version::VersionRange;
use crate::aside::Definitions;
use crate::composer::{Composer, ComposerView};
use crate::hash;

/// Rows below an agent's last words: a shell's prompt and what it prints first.
pub(super) const END_ROWS: usize = 4;
/// Glyphs of what a result hangs from.
const HEADS: &[char] = &['⏺', '●', '❯', '>', '!'];
/// A longer capture is cut, in bytes.
const FIELD_BYTES: usize = 1200;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the packs are compiled in, and a test loads them")]
    Engine::with_packs(&[]).expect("the built-in packs load")
});

/// All rules, ready to run. Immutable; one for all panes.
pub struct Engine {
    pub(super) packs: Vec<PackInfo>,
    pub(super) rules: Vec<Rule>,
    literals: Literals,
    /// Bits of all literals of each rule.
    needs: Vec<u32>,
    /// For each byte, the rules whose matches can begin with it.
    begins: Vec<RuleSet>,
    /// The rules that read each of [`Surface::ALL`].
    readers: [RuleSet; 3],
    /// What the rules say, to know them again in another engine.
    definitions: Arc<Definitions>,
}

pub(crate) struct Rule {
    pub(crate) id: Arc<str>,
    /// Its pack, and the line of its id there.
    pub(crate) pack: usize,
    pub(crate) line: Option<usize>,
    /// Only counted.
    pub(crate) shadow: bool,
    /// Hash of all that decides where and when it matches.
    pub(crate) definition: u64,
    pub(crate) text: RuleText,
    pub(super) pattern: Pattern,
    pub(super) above: Option<Pattern>,
    /// Words that may not be on the screen, squeezed.
    pub(super) without: Vec<String>,
    not_below: Option<Pattern>,
    /// What the text may not match.
    pub(super) unless: Option<Pattern>,
    pub(super) versions: VersionRange,
}

/// A set of rules, a bit for each.
pub(super) type RuleSet = Box<[u64]>;

/// A rule that matched, and where.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) rule: usize,
    pub(crate) event: EventKind,
    pub(crate) fields: BTreeMap<String, String>,
    /// Captures that may not be told to everybody.
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) rows: Range<usize>,
    /// The matched line, normalised, without the secrets.
    pub(crate) line: String,
    /// Names the occurrence: rule and what was read.
    pub(crate) key: u64,
}

/// What is read, understood as far as rules need it.
pub(crate) struct Scene<'a> {
    pub(crate) surface: Surface,
    pub(crate) sheet: &'a Sheet,
    pub(crate) view: &'a ComposerView,
    /// The agent that runs there.
    pub(crate) agent: Option<&'a AgentKind>,
    /// Its process holds the terminal: it has not said its last words yet.
    pub(crate) alive: bool,
    /// The agent that has just gone: only its last words count.
    pub(crate) left: Option<&'a AgentKind>,
    pub(crate) version: &'a str,
    /// Row of the last submitted prompt.
    pub(crate) prompt: Option<usize>,
    /// First row in which a match may begin; what stands above has been read before.
    pub(crate) from: usize,
}

impl Engine {
    /// The engine with the built-in packs.
    pub fn builtin() -> &'static Self {
        &ENGINE
    }

    /// Compiles the packs of a set and runs their examples.
    ///
    /// # Errors
    /// The first rule that does not compile, or whose examples say otherwise.
    pub(super) fn build(packs: Vec<Loaded>) -> Result<Self, PackError> {
        let (mut rules, mut words, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        let mut infos = Vec::with_capacity(packs.len());
        for (pack, loaded) in packs.into_iter().enumerate() {
            for (text, line) in loaded.rules {
                let at = rules.len();
                let id = text.id.clone();
                let rule = Rule::compile(text, (pack, line), loaded.info.shadow).map_err(|problem| {
                    PackError::Rule { pack: loaded.info.name.clone(), line, rule: id, problem }
                })?;
                for (bit, literal) in rule.text.literals.iter().enumerate() {
                    words.push(squeeze(literal));
                    owners.push((at, 1 << bit));
                }
                rules.push(rule);
            }
            infos.push(loaded.info);
        }
        let literals = Literals::new(&words, owners)
            .map_err(|error| PackError::Set { problem: format!("the literals do not build: {error}") })?;
        let definitions = Arc::new(Definitions::of(&rules));
        let needs = rules.iter().map(Rule::needs).collect();
        let begins = beginnings(&rules);
        let readers = Surface::ALL.map(|surface| readers(&rules, surface));
        let mut engine = Self { packs: infos, rules, literals, needs, begins, readers, definitions };
        for at in 0..engine.rules.len() {
            let proven = engine.rules[at].check().and_then(|()| engine.prove(at));
            let rule = &mut engine.rules[at];
            proven.map_err(|problem| PackError::Rule {
                pack: engine.packs[rule.pack].name.clone(),
                line: rule.line,
                rule: rule.text.id.clone(),
                problem,
            })?;
            rule.forget();
        }
        Ok(engine)
    }

    pub(crate) fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    pub(crate) fn rule(&self, at: usize) -> Option<&Rule> {
        self.rules.get(at)
    }

    /// Runs all rules over a scene. Hits are in the order of rules, then rows.
    pub(crate) fn hits(&self, scene: &Scene<'_>) -> Vec<Hit> {
        self.awake(scene).map_or_else(Vec::new, |awake| self.hits_of(&awake, scene))
    }

    /// Runs the rules of a set.
    pub(super) fn hits_of(&self, awake: &RuleSet, scene: &Scene<'_>) -> Vec<Hit> {
        let (mut hits, mut block) = (Vec::<Hit>::new(), Block::default());
        for (row, place) in scene.sheet.rows.iter().enumerate().skip(scene.from) {
            if scene.sheet.is_blank(row) {
                continue;
            }
            let begins = &self.begins[usize::from(place.first)];
            block.clear();
            for at in members(awake.iter().zip(begins).map(|(awake, begins)| awake & begins)) {
                let taken = hits.iter().any(|hit| hit.rule == at && hit.rows.contains(&row));
                let rule = &self.rules[at];
                if !taken && rule.begins(scene, row) {
                    hits.extend(rule.hit(at, scene, row, &mut block));
                }
            }
        }
        hits.sort_by_key(|hit| hit.rule);
        hits
    }

    /// The rules whose literals all stand there, and whose agent; `None` of no rule.
    pub(super) fn awake(&self, scene: &Scene<'_>) -> Option<RuleSet> {
        let mut seen = vec![0_u32; self.rules.len()];
        self.literals.search(scene.sheet.squeezed.bytes(), &mut seen);
        let readers = &self.readers[scene.surface as usize];
        let mut awake: Option<RuleSet> = None;
        for (at, _) in seen.iter().zip(&self.needs).enumerate().filter(|(_, (seen, needs))| seen == needs) {
            if readers[at / 64] & (1 << (at % 64)) != 0 && self.rules[at].concerns(scene) {
                awake.get_or_insert_with(|| no_rules(self.rules.len()))[at / 64] |= 1 << (at % 64);
            }
        }
        awake
    }
}

/// A block, kept to spare allocations.
#[derive(Default)]
struct Block {
    text: String,
    /// Where its rows begin; empty before it is put together.
    starts: Vec<usize>,
}

impl Block {
    fn clear(&mut self) {
        self.starts.clear();
    }

    /// The text of the block at a row, of so many rows at most.
    fn at(&mut self, sheet: &Sheet, row: usize, rows: Option<usize>) -> &str {
        if self.starts.is_empty() {
            sheet.block(row, sheet.rows.len(), &mut self.text, &mut self.starts);
        }
        match rows {
            Some(0) => "",
            Some(rows) if rows < self.starts.len() => {
                &self.text[..self.starts[rows - 1] + sheet.text(row + rows - 1).len()]
            }
            _ => &self.text,
        }
    }
}

impl Rule {
    fn compile(text: RuleText, place: (usize, Option<usize>), shadow: bool) -> Result<Self, String> {
        if text.literals.is_empty() || text.literals.len() > 32 {
            return Err("it needs 1 to 32 literals".to_owned());
        }
        if text.literals.iter().any(|literal| squeeze(literal).len() < 3) {
            return Err("a literal needs at least 3 characters".to_owned());
        }
        let pattern = Pattern::new(&text.pattern).map_err(|problem| format!("pattern: {problem}"))?;
        if text.on.iter().any(|surface| *surface != Surface::Frame) && begins_with_anything(&pattern) {
            return Err("pattern: on lines and records it must begin with words or signs, not with any text"
                .to_owned());
        }
        let optional = |name: &str, pattern: &str| match pattern {
            "" => Ok(None),
            pattern => Pattern::new(pattern).map(Some).map_err(|problem| format!("{name}: {problem}")),
        };
        let above = optional("above", &text.above)?;
        let not_below = optional("not_below", &text.not_below)?;
        let unless = optional("unless", &text.unless)?;
        let versions = VersionRange::parse(&text.versions)?;
        let (pack, line) = place;
        let without = text.without.iter().map(|words| squeeze(words)).collect();
        let id = text.id.as_str().into();
        let definition = text.definition(shadow);
        Ok(Self {
            id,
            pack,
            line,
            shadow,
            definition,
            pattern,
            above,
            not_below,
            unless,
            versions,
            without,
            text,
        })
    }

    /// Whether all its patterns compile.
    fn check(&self) -> Result<(), String> {
        let optional = [("above", &self.above), ("not_below", &self.not_below), ("unless", &self.unless)];
        let optional = optional.into_iter().filter_map(|(name, pattern)| Some((name, pattern.as_ref()?)));
        std::iter::once(("pattern", &self.pattern))
            .chain(optional)
            .try_for_each(|(name, pattern)| pattern.check().map_err(|problem| format!("{name}: {problem}")))
    }

    /// Gives back the memory of its compiled patterns: most rules sleep for ever.
    fn forget(&mut self) {
        let optional = [&mut self.above, &mut self.not_below, &mut self.unless];
        optional.into_iter().flatten().chain([&mut self.pattern]).for_each(Pattern::forget);
    }

    fn concerns(&self, scene: &Scene<'_>) -> bool {
        let here = match self.text.region {
            Region::End => self.is_over(scene),
            _ => self.is_agent(scene.agent),
        };
        let barred = |words: &String| scene.sheet.squeezed.contains(words);
        here && self.versions.holds(scene.version) && !self.without.iter().any(barred)
    }

    /// Whether it reads such material.
    pub(super) fn reads(&self, surface: Surface) -> bool {
        self.text.on.contains(&surface)
    }

    fn is_agent(&self, agent: Option<&AgentKind>) -> bool {
        agent.is_some_and(|agent| self.text.agent == "*" || agent.as_str() == self.text.agent)
    }

    /// Its agent runs here, or has just gone.
    pub(super) fn is_of(&self, scene: &Scene<'_>) -> bool {
        self.is_agent(scene.agent) || self.is_agent(scene.left)
    }

    /// Its agent may have said its last words.
    pub(super) fn is_over(&self, scene: &Scene<'_>) -> bool {
        self.is_agent(scene.left) || (!scene.alive && self.is_agent(scene.agent))
    }

    /// Bits of all its literals.
    fn needs(&self) -> u32 {
        u32::try_from((1_u64 << self.text.literals.len()) - 1).unwrap_or(u32::MAX)
    }

    /// Tries the pattern on the block at a row.
    fn hit(&self, at: usize, scene: &Scene<'_>, row: usize, block: &mut Block) -> Option<Hit> {
        let sheet = scene.sheet;
        let text = block.at(sheet, row, self.text.rows);
        // Few rows match: only for those are captures worth their memory.
        if !self.pattern.is_match(text) || self.unless.as_ref().is_some_and(|unless| unless.is_match(text)) {
            return None;
        }
        let captures = self.pattern.captures(text)?;
        let whole = captures.get(0)?;
        if self.hangs_wrong(scene, row) {
            return None;
        }
        let above = self.above(sheet, row)?;
        let mut fields = self.fields(&self.pattern, &captures);
        let mut line = whole.as_str().trim_end().to_owned();
        let end = whole.end();
        let taken = block.starts.iter().filter(|start| **start < end).count().max(1);
        if self.text.region == Region::End && below(sheet, row + taken) > END_ROWS {
            return None;
        }
        if self.text.lone && goes_on(scene, row, row + taken) {
            return None;
        }
        for (name, value) in above {
            fields.entry(name).or_insert(value);
        }
        let key = self.key(&line, &fields);
        let secrets = self.take_secrets(&mut fields, &mut line);
        Some(Hit { rule: at, event: self.text.event, fields, secrets, rows: row..row + taken, line, key })
    }

    fn begins(&self, scene: &Scene<'_>, row: usize) -> bool {
        let Some(place) = scene.sheet.rows.get(row) else { return false };
        self.text.columns.is_none_or(|(from, to)| (from..=to).contains(&place.column))
            && self.text.boxed.is_none_or(|boxed| place.boxed == boxed)
            && (scene.surface != Surface::Record || row == 0)
            && in_region(scene, row, self.text.region)
    }

    /// What the row above tells, where the rule asks for one; `None` where it is not the one.
    pub(super) fn above(&self, sheet: &Sheet, row: usize) -> Option<BTreeMap<String, String>> {
        let Some(above) = &self.above else { return Some(BTreeMap::new()) };
        let row = (0..row).rev().find(|row| !sheet.is_blank(*row))?;
        above.captures(sheet.text(row)).map(|captures| self.fields(above, &captures))
    }

    /// Whether it hangs from a row that says whose words these are: a tool's output begins as a notice does.
    pub(super) fn hangs_wrong(&self, scene: &Scene<'_>, row: usize) -> bool {
        let Some(not_below) = &self.not_below else { return false };
        let sheet = scene.sheet;
        let column = sheet.rows[row].column;
        let mut above = (0..row).rev().take_while(|above| !sheet.is_blank(*above));
        // A tool has one result; what hangs below that is a notice. Hooks only announce themselves in between.
        let is_result = |row: usize| sheet.text(row).starts_with('⎿') && !sheet.text(row).contains(" hook");
        let head = above.find(|above| {
            let outer = sheet.rows[*above].column < column || sheet.text(*above).starts_with(HEADS);
            outer || is_result(*above)
        });
        let cut_off = scene.surface == Surface::Line && !(0..row).any(|above| sheet.is_blank(above));
        // Lines that were cut off above may have been a tool's.
        head.map_or(cut_off, |head| not_below.is_match(sheet.text(head))) || is_pictured(sheet, row)
    }

    fn fields(&self, pattern: &Pattern, captures: &regex::Captures<'_>) -> BTreeMap<String, String> {
        let mut fields = self.text.fields.clone();
        for name in pattern.capture_names() {
            let Some(found) = captures.name(name) else { continue };
            // `window_2` is another place where the same field may stand.
            let field = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
            // Bounded here: a counted repetition in a pattern costs memory for every count.
            let found = &found.as_str()[..found.as_str().floor_char_boundary(FIELD_BYTES)];
            let text = found.split_whitespace().collect::<Vec<_>>().join(" ");
            let whole = matches!(field, "session_id" | "url") || field.starts_with("tokens_");
            let text = if whole { text.replace(' ', "") } else { text };
            let text = self.text.words.get(field).and_then(|words| words.get(&text)).cloned().unwrap_or(text);
            if !text.is_empty() {
                fields.insert(field.to_owned(), text);
            }
        }
        fields
    }

    /// Takes what the rule calls secret out of the fields and the line.
    fn take_secrets(
        &self,
        fields: &mut BTreeMap<String, String>,
        line: &mut String,
    ) -> BTreeMap<String, String> {
        let mut secrets = BTreeMap::new();
        for name in &self.text.secrets {
            if let Some((name, value)) = fields.remove_entry(name) {
                // One that was wrapped stands there in pieces: all from its beginning on goes.
                let begins = value.get(..value.floor_char_boundary(8)).and_then(|begins| line.find(begins));
                match begins.filter(|_| !line.contains(&value)) {
                    Some(at) => line.replace_range(at.., &format!("[{name}]")),
                    None => *line = line.replace(&value, &format!("[{name}]")),
                }
                secrets.insert(name, value);
            }
        }
        secrets
    }

    fn key(&self, line: &str, fields: &BTreeMap<String, String>) -> u64 {
        if self.text.key.is_empty() {
            return hash::squeezed(&format!("{} {line}", self.id));
        }
        let values = self.text.key.iter().map(|name| fields.get(name).map_or("", String::as_str));
        hash::hash(&std::iter::once(&*self.id).chain(values).collect::<Vec<_>>())
    }

    pub(crate) fn witnesses(&self) -> &[Witness] {
        &self.text.witnesses
    }
}

pub(super) fn in_region(scene: &Scene<'_>, row: usize, region: Region) -> bool {
    let view = scene.view;
    let dialog = view.content == Composer::Dialog;
    let missing = view.content == Composer::Missing;
    let top = view.live_top.unwrap_or(usize::MAX);
    match region {
        Region::Transcript => row < top,
        Region::Tail => row < top && scene.prompt.is_none_or(|prompt| row > prompt),
        Region::Dialog => dialog && view.rows.contains(&row),
        Region::Composer => !dialog && view.rows.contains(&row),
        Region::Footer if missing => below(scene.sheet, row + 1) <= END_ROWS,
        Region::Footer => !dialog && (view.footer.contains(&row) || (top..view.rows.start).contains(&row)),
        Region::Bare => missing || dialog,
        Region::End => missing,
    }
}

/// Whether the next row that is not blank hangs deeper than this one: the paragraph goes on, and was only begun here. What
/// an agent itself remarks below its own words does not count.
fn goes_on(scene: &Scene<'_>, row: usize, from: usize) -> bool {
    let sheet = scene.sheet;
    let end = scene.view.live_top.unwrap_or(sheet.rows.len()).min(sheet.rows.len());
    let next = (from..end).find(|row| !sheet.is_blank(*row));
    next.is_some_and(|next| {
        let remark = sheet.text(next).starts_with("Worked for") || sheet.rows[next].opens();
        sheet.rows[next].column >= sheet.rows[row].column + 2 && !remark
    })
}

/// Whether it is a picture of a result: it stands in the column of what it hangs from, or hangs from nothing between the
/// paragraphs of an answer.
fn is_pictured(sheet: &Sheet, row: usize) -> bool {
    let column = sheet.rows[row].column;
    let block = || (0..row).rev().take_while(|above| !sheet.is_blank(*above));
    let owns = |above: &usize| sheet.rows[*above].column <= column && !sheet.text(*above).starts_with('⎿');
    if column < 2 {
        return false;
    }
    if let Some(owner) = block().find(owns) {
        return sheet.rows[owner].column == column && sheet.text(owner).starts_with(HEADS);
    }
    let is_paragraph =
        |row: usize| (2..=4).contains(&sheet.rows[row].column) && !sheet.text(row).starts_with('⎿');
    let top = block().last().unwrap_or(row);
    let above = (0..top).rev().find(|above| !sheet.is_blank(*above));
    let answers = |above: usize| is_paragraph(above) || sheet.text(above).starts_with(['⏺', '●']);
    let end = (row..sheet.rows.len()).find(|below| sheet.is_blank(*below)).unwrap_or(sheet.rows.len());
    let below = (end..sheet.rows.len()).find(|below| !sheet.is_blank(*below));
    above.is_some_and(answers) && below.is_some_and(is_paragraph)
}

/// Rows from this one on that have something on them and do not belong to a box; at most one more than [`END_ROWS`].
pub(super) fn below(sheet: &Sheet, row: usize) -> usize {
    let counts =
        |row: &usize| !sheet.is_blank(*row) && !sheet.rows[*row].boxed && !sheet.text(*row).starts_with('╰');
    (row..sheet.rows.len()).filter(counts).take(END_ROWS + 1).count()
}

/// aider's prompt begins with its mode, below a rule: `ask> why?`. Files of the chat may stand between.
fn aider_prompt(sheet: &Sheet, end: usize) -> Option<(usize, u64)> {
    let ruled = |row: usize| {
        let above = (row.saturating_sub(AIDER_FILES)..row).rev().take_while(|above| !sheet.is_blank(*above));
        above.into_iter().any(|above| sheet.text(above).starts_with("────"))
    };
    let typed = |row: &usize| {
        let (mode, words) = sheet.text(*row).split_once("> ")?;
        let named = mode.len() <= 24
            && mode.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b' ' | b'-'));
        (named && sheet.rows[*row].column == 0 && ruled(*row)).then_some(words)
    };
    let row = (0..end).rev().find(|row| typed(row).is_some())?;
    Some((row, hash::squeezed(typed(&row)?)))
}

/// opencode sets prompts apart by a bar at their left, and what tools did, which begins with a sign.
fn opencode_prompt(sheet: &Sheet, end: usize) -> Option<(usize, u64)> {
    let said = |row: &usize| sheet.rows[*row].boxed && !sheet.is_blank(*row);
    let last = (0..end).rev().find(said)?;
    let first = (0..=last).rev().take_while(said).last()?;
    let words: String = (first..=last).map(|row| sheet.text(row)).collect();
    (!words.starts_with(['#', '$', '→', '←', '✱', '⚙'])).then(|| (first, hash::squeezed(&words)))
}

/// Rows between aider's rule and its prompt.
const AIDER_FILES: usize = 12;

/// The last submitted prompt above the live area: its row, and a hash of its words that no re-wrap changes.
pub(crate) fn last_prompt(sheet: &Sheet, agent: &AgentKind, view: &ComposerView) -> Option<(usize, u64)> {
    let end = view.live_top.unwrap_or(sheet.rows.len()).min(sheet.rows.len());
    let glyphs: &[char] = match agent.as_str() {
        "codex" => &['›'],
        "gemini" => &['>', '*', '!'],
        "claude" => &['❯', '>'],
        "aider" => return aider_prompt(sheet, end),
        "opencode" => return opencode_prompt(sheet, end),
        _ => return None,
    };
    let mut text = (String::new(), Vec::new());
    // Where no composer was found, the last row may be one that has lost its frame.
    let bare = view.content == Composer::Missing;
    let last = (0..end).rev().find(|row| !sheet.is_blank(*row)).filter(|_| bare);
    let row = (0..end).rev().find(|row| {
        let words = sheet.text(*row).strip_prefix(glyphs).and_then(|rest| rest.strip_prefix(' '));
        let place = &sheet.rows[*row];
        // The command that compacts stands below the mark that it leaves, and Claude Code itself types the one that asks
        // what to do about a limit; nobody submits a result.
        let own = ["/compact", "/rate-limit-options", "⎿"];
        let is_prompt = |words: &str| !own.iter().any(|own| words.trim_start().starts_with(own));
        words.is_some_and(|words| place.column <= 1 && !place.boxed && is_prompt(words) && last != Some(*row))
    })?;
    sheet.block(row, end, &mut text.0, &mut text.1);
    let words: String = text.0.chars().filter(|c| !c.is_whitespace()).take(60).collect();
    Some((row, hash::squeezed(&words)))
}

pub(super) fn squeeze(literal: &str) -> String {
    literal.chars().map(normal).filter(|c| !c.is_whitespace() && !matches!(c, '│' | '─')).collect()
}

fn no_rules(count: usize) -> RuleSet {
    vec![0; count.div_ceil(64)].into()
}

/// The rules of a set, in their order.
fn members(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(at, mut word)| {
        std::iter::from_fn(move || {
            let bit = word.trailing_zeros() as usize;
            word &= word.checked_sub(1)?;
            Some(64 * at + bit)
        })
    })
}

/// The rules that read such material.
fn readers(rules: &[Rule], surface: Surface) -> RuleSet {
    let mut set = no_rules(rules.len());
    for at in (0..rules.len()).filter(|at| rules[*at].reads(surface)) {
        set[at / 64] |= 1 << (at % 64);
    }
    set
}

/// For each byte, the rules whose matches can begin with it.
fn beginnings(rules: &[Rule]) -> Vec<RuleSet> {
    let mut sets = vec![no_rules(rules.len()); 256];
    for (at, rule) in rules.iter().enumerate() {
        let first = first_bytes(&rule.pattern);
        for (byte, set) in (0..=u8::MAX).zip(&mut sets) {
            let may = first.as_ref().is_none_or(|first| first.contains(&byte));
            set[at / 64] |= u64::from(may) << (at % 64);
        }
    }
    sets
}
