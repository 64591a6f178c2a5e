//! Hooks in JSON: `{"hooks": {"EVENT": [{"matcher": …, "hooks": [{"type": "command", "command": …}]}]}}`, the same in
//! all three agents. The text is edited in place.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};

use super::entry::Entry;
use super::{Found, Keeper, Notify, Rewritten, Unfit, unfit};

/// How an agent's JSON differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    comments: bool,
    /// In the agent's unit: seconds, Gemini CLI milliseconds. Codex allows the ends of sessions and turns three seconds.
    timeout: &'static str,
    /// Gemini CLI shows a hook under its name.
    name: Option<&'static str>,
    /// A switch (section, name) and the value by which it turns all hooks off.
    switch: Option<(&'static str, &'static str, bool, &'static str)>,
}

/// JSON, and comments.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

impl Dialect {
    pub(super) const CLAUDE: Self = Self {
        comments: false,
        timeout: "5",
        name: None,
        switch: Some(("", "disableAllHooks", true, "disableAllHooks is set: Claude Code runs no hooks")),
    };
    pub(super) const CODEX: Self = Self { comments: false, timeout: "3", name: None, switch: None };
    pub(super) const GEMINI: Self = Self {
        comments: true,
        timeout: "5000",
        name: Some("wa"),
        switch: Some((
            "hooksConfig",
            "enabled",
            false,
            "hooksConfig.enabled is false: Gemini CLI runs no hooks",
        )),
    };

    fn value(self, entry: &Entry) -> CstInputValue {
        let mut handler = vec![("type".to_owned(), "command".into())];
        handler.extend(self.name.map(|name| ("name".to_owned(), name.into())));
        handler.push(("command".to_owned(), entry.command.as_str().into()));
        handler.push(("timeout".to_owned(), CstInputValue::Number(self.timeout.to_owned())));
        let handlers = CstInputValue::Array(vec![CstInputValue::Object(handler)]);
        CstInputValue::Object(vec![("hooks".to_owned(), handlers)])
    }
}

/// The text with exactly the wanted entries of ours.
pub(super) fn rewrite(text: &str, dialect: Dialect, wanted: &[Entry]) -> Result<Rewritten, Unfit> {
    let source = if text.trim().is_empty() { "{}\n" } else { text };
    if !dialect.comments {
        strict(source)?;
    }
    let root =
        CstRootNode::parse(source, &OPTIONS).map_err(|error| unfit(error.line_display(), error.kind()))?;
    let Some(top) = root.object_value() else {
        return Err(unfit(1, "what stands in it is no object"));
    };
    once(&top, "")?;
    let mut keeper = Keeper::new(wanted);
    let mut changed = false;
    if let Some(hooks) = object(&top, "hooks", "hooks")? {
        once(&hooks, "hooks.")?;
        changed = prune_all(&hooks, &mut keeper)?;
        if changed && hooks.properties().is_empty() {
            remove(&top, "hooks");
        }
    }
    for entry in keeper.missing() {
        // Both were checked above.
        top.object_value_or_set("hooks").array_value_or_set(&entry.event).append(dialect.value(entry));
        changed = true;
    }
    let before = Found {
        hooks: keeper.before,
        notify: Notify::None,
        off: dialect
            .switch
            .and_then(|(section, name, off, words)| is_switched(&top, section, name, off).then_some(words)),
    };
    let text = if changed { root.to_string() } else { text.to_owned() };
    Ok(Rewritten { text, before })
}

/// What its agent would not read, we do not edit.
fn strict(text: &str) -> Result<(), Unfit> {
    let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return Ok(()) };
    let words = error.to_string();
    Err(unfit(error.line(), words.split(" at line ").next().unwrap_or_default()))
}

fn name_of(property: &CstObjectProp) -> String {
    property.decoded_name().unwrap_or_default()
}

/// A name that stands twice means something else to every reader.
fn once(object: &CstObject, path: &str) -> Result<(), Unfit> {
    let mut names: Vec<String> = object.properties().iter().map(name_of).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Unfit(format!("{path}{} stands twice in it", pair[0]))),
        None => Ok(()),
    }
}

fn object(parent: &CstObject, name: &str, path: &str) -> Result<Option<CstObject>, Unfit> {
    let Some(value) = parent.get(name).and_then(|property| property.value()) else { return Ok(None) };
    value.as_object().map(Some).ok_or_else(|| Unfit(format!("{path} is no object")))
}

/// Takes out what may not stay; `true` if anything was.
fn prune_all(hooks: &CstObject, keeper: &mut Keeper<'_>) -> Result<bool, Unfit> {
    let mut changed = false;
    for property in hooks.properties() {
        let event = name_of(&property);
        let Some(groups) = property.value().and_then(|value| value.as_array()) else {
            if keeper.wanted.iter().any(|entry| entry.event == event) {
                return Err(Unfit(format!("hooks.{event} is no list")));
            }
            continue;
        };
        if prune(&groups, &event, keeper) {
            changed = true;
            if groups.elements().is_empty() {
                property.remove();
            }
        }
    }
    Ok(changed)
}

fn prune(groups: &CstArray, event: &str, keeper: &mut Keeper<'_>) -> bool {
    let mut changed = false;
    for group in groups.elements() {
        let Some(handlers) = group.as_object().and_then(|group| group.array_value("hooks")) else {
            continue;
        };
        let mut pruned = false;
        for handler in handlers.elements() {
            if !keeper.stays(event, command(&handler).as_deref()) {
                handler.remove();
                pruned = true;
            }
        }
        if pruned && handlers.elements().is_empty() {
            group.remove();
        }
        changed |= pruned;
    }
    changed
}

fn command(handler: &CstNode) -> Option<String> {
    let value = handler.as_object()?.get("command")?.value()?;
    value.as_string_lit()?.decoded_value().ok()
}

fn remove(object: &CstObject, name: &str) {
    if let Some(property) = object.get(name) {
        property.remove();
    }
}

fn is_switched(top: &CstObject, section: &str, name: &str, off: bool) -> bool {
    let holder = if section.is_empty() { Some(top.clone()) } else { top.object_value(section) };
    let value = holder.and_then(|holder| holder.get(name)?.value()?.as_boolean_lit());
    value.is_some_and(|value| value.value() == off)
}
