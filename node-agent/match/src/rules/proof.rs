//! The samples of a rule are its tests: it does not load unless they say what it says.
//!
//! Constraints. A rule needs a real sample. Samples are screens: each shows on a frame, where the rule reads frames, and one
//! of them at least on whatever else it reads. Counter-examples are silent as screens and as lines; a record is no
//! quotation, so they say nothing of it.

use wa_proto::{AgentKind, Frame};

use super::engine::{Engine, Hit, Scene, last_prompt};
use super::excerpt::Excerpt;
use super::pack::Surface;
use super::text::Sheet;
use crate::composer;

impl Engine {
    /// Runs a rule's own samples.
    pub(super) fn prove(&self, at: usize) -> Result<(), String> {
        let rule = &self.rules[at];
        if rule.text.example.is_empty() {
            return Err("it has no example; a rule needs a real sample".to_owned());
        }
        let mut shown = [false; Surface::ALL.len()];
        for (index, example) in rule.text.example.iter().enumerate() {
            let mut hit = None;
            for surface in rule.text.on.iter().copied() {
                let found = self.hits_of_sample(at, surface, &example.text, example.cols, &example.version);
                shown[surface as usize] |= !found.is_empty();
                hit = hit.or(found.into_iter().next());
                if surface == Surface::Frame && hit.is_none() {
                    break;
                }
            }
            let Some(hit) = hit else { return Err(format!("example {} does not match", index + 1)) };
            for (name, wanted) in &example.fields {
                let found = hit.fields.get(name).or(hit.secrets.get(name)).map_or("", String::as_str);
                if found != wanted {
                    return Err(format!("example {}: {name} is {found:?}, not {wanted:?}", index + 1));
                }
            }
        }
        if let Some(surface) = rule.text.on.iter().find(|surface| !shown[**surface as usize]) {
            return Err(format!("on = [\"{}\"]: no example matches there", surface.as_str()));
        }
        self.is_silent(at)
    }

    fn is_silent(&self, at: usize) -> Result<(), String> {
        let rule = &self.rules[at];
        for (index, counter) in rule.text.counter.iter().enumerate() {
            let screens = rule.text.on.iter().filter(|surface| **surface != Surface::Record);
            for surface in screens.copied() {
                let found = self.hits_of_sample(at, surface, &counter.text, counter.cols, &counter.version);
                if !found.is_empty() {
                    return Err(format!("counter-example {} matches as a {}", index + 1, surface.as_str()));
                }
            }
        }
        Ok(())
    }

    fn hits_of_sample(&self, at: usize, surface: Surface, text: &str, cols: u32, version: &str) -> Vec<Hit> {
        let kind = AgentKind::new(self.rules[at].text.agent.clone());
        match surface {
            Surface::Frame => {
                let frame = Frame::from_text(cols, text);
                let view = composer::glance(&frame, &kind);
                let sheet = Sheet::new(&frame);
                let prompt = last_prompt(&sheet, &kind, &view).map(|(row, _)| row);
                let scene = Scene {
                    surface,
                    sheet: &sheet,
                    view: &view,
                    agent: Some(&kind),
                    alive: false,
                    left: None,
                    version,
                    prompt,
                    from: 0,
                };
                self.hits_of_rule(at, &scene)
            }
            Surface::Line => {
                // A sample is cut out of its surroundings, from which agents set such rows apart.
                let frame = Frame::from_text(cols, &format!("\n{text}"));
                self.hits_of_rule(at, &Excerpt::lines(&frame, 0, &kind, version).scene())
            }
            Surface::Record => self.hits_of_rule(at, &Excerpt::record(text, &kind, version).scene()),
        }
    }

    fn hits_of_rule(&self, at: usize, scene: &Scene<'_>) -> Vec<Hit> {
        let Some(mut awake) = self.awake(scene) else { return Vec::new() };
        for (word, bits) in awake.iter_mut().enumerate() {
            *bits &= if word == at / 64 { 1 << (at % 64) } else { 0 };
        }
        self.hits_of(&awake, scene)
    }
}
