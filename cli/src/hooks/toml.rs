//! Codex's `config.toml`: `notify`, and `[hooks]` where the user keeps hooks there. The text is edited in place.

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value, value};

use super::entry::{self, Entry};
use super::{Found, Keeper, Notify, Rewritten, Unfit, Wanted, unfit};

/// Seconds; Codex allows the ends of sessions and turns three.
const TIMEOUT: i64 = 3;
/// Not an event: which hooks the user has accepted.
const STATE: &str = "state";

fn parse(text: &str) -> Result<DocumentMut, Unfit> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        unfit(before.matches('\n').count() + 1, error.message().trim())
    })
}

/// Whether any hook stands in it.
pub(super) fn has_hooks(text: &str) -> bool {
    let document = parse(text).ok();
    let hooks = document.as_ref().and_then(|document| document.get("hooks")?.as_table_like());
    hooks.is_some_and(|hooks| hooks.iter().any(|(name, _)| name != STATE))
}

/// The text with exactly the wanted entries of ours.
pub(super) fn rewrite(text: &str, wanted: &Wanted) -> Result<Rewritten, Unfit> {
    let mut document = parse(text)?;
    let off = is_off(&document);
    let mut keeper = Keeper::new(&wanted.hooks);
    let mut changed = false;
    if let Some(hooks) = document.get_mut("hooks") {
        let hooks = hooks.as_table_like_mut().ok_or_else(|| Unfit("hooks is no table".to_owned()))?;
        changed = prune_all(hooks, &mut keeper);
        if changed && hooks.is_empty() {
            document.remove("hooks");
        }
    }
    for entry in keeper.missing() {
        add(&mut document, entry)?;
        changed = true;
    }
    let hooks = keeper.before;
    let notify = notify_of(&document);
    changed |= set_notify(&mut document, &notify, wanted.notify.as_deref());
    let text = if changed { document.to_string() } else { text.to_owned() };
    Ok(Rewritten { text, before: Found { hooks, notify, off } })
}

fn is_off(document: &DocumentMut) -> Option<&'static str> {
    let features = document.get("features")?.as_table_like()?;
    let switch = features.get("hooks").or_else(|| features.get("codex_hooks"))?;
    (switch.as_bool() == Some(false)).then_some("features.hooks is false: Codex runs no hooks")
}

fn notify_of(document: &DocumentMut) -> Notify {
    let Some(item) = document.get("notify") else { return Notify::None };
    let words: Option<Vec<String>> =
        item.as_array().and_then(|array| array.iter().map(|word| word.as_str().map(str::to_owned)).collect());
    match words {
        Some(words) if entry::are_ours(&words) => Notify::Ours(words),
        Some(words) if words.is_empty() => Notify::Other("nothing".to_owned()),
        Some(words) => Notify::Other(entry::join(&words)),
        None => Notify::Other("something".to_owned()),
    }
}

fn set_notify(document: &mut DocumentMut, is: &Notify, should: Option<&[String]>) -> bool {
    match (is, should) {
        (Notify::Other(_), _) | (Notify::None, None) => false,
        (Notify::Ours(is), Some(should)) if is == should => false,
        (Notify::Ours(_), None) => document.remove("notify").is_some(),
        (Notify::Ours(_) | Notify::None, Some(should)) => {
            let words: Array = should.iter().map(String::as_str).collect();
            document.insert("notify", value(words));
            true
        }
    }
}

/// Takes out what may not stay; `true` if anything was.
fn prune_all(hooks: &mut dyn TableLike, keeper: &mut Keeper<'_>) -> bool {
    let events: Vec<String> =
        hooks.iter().map(|(name, _)| name.to_owned()).filter(|name| name != STATE).collect();
    let mut changed = false;
    for event in events {
        let Some(groups) = hooks.get_mut(&event) else { continue };
        let before = len(groups);
        let pruned = prune(groups, |group| match group.get_mut("hooks") {
            Some(handlers) => {
                let before = len(handlers);
                changed |= prune(handlers, |handler| {
                    keeper.stays(&event, handler.get("command").and_then(Item::as_str))
                });
                before == 0 || len(handlers) > 0
            }
            None => true,
        });
        if pruned && before > 0 && len(groups) == 0 {
            hooks.remove(&event);
        }
    }
    changed
}

fn len(list: &Item) -> usize {
    match list {
        Item::ArrayOfTables(tables) => tables.len(),
        Item::Value(Value::Array(array)) => array.len(),
        _ => 0,
    }
}

/// Takes those tables out of a list that do not stay; `true` if there were any.
fn prune(list: &mut Item, mut stays: impl FnMut(&mut dyn TableLike) -> bool) -> bool {
    let before = len(list);
    match list {
        Item::ArrayOfTables(tables) => {
            let stay: Vec<bool> = tables.iter_mut().map(|table| stays(table)).collect();
            let mut stay = stay.into_iter();
            tables.retain(|_| stay.next().unwrap_or(true));
        }
        Item::Value(Value::Array(array)) => {
            let mut is_staying =
                |value: &mut Value| value.as_inline_table_mut().is_none_or(|table| stays(table));
            let stay: Vec<bool> = array.iter_mut().map(&mut is_staying).collect();
            let mut stay = stay.into_iter();
            array.retain(|_| stay.next().unwrap_or(true));
        }
        _ => {}
    }
    len(list) < before
}

fn add(document: &mut DocumentMut, entry: &Entry) -> Result<(), Unfit> {
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let hooks = document.entry("hooks").or_insert(Item::Table(implicit));
    let is_inline = hooks.is_inline_table();
    let hooks = hooks.as_table_like_mut().ok_or_else(|| Unfit("hooks is no table".to_owned()))?;
    let groups = hooks.entry(&entry.event).or_insert_with(|| match is_inline {
        true => value(Array::new()),
        false => Item::ArrayOfTables(ArrayOfTables::new()),
    });
    match groups {
        Item::ArrayOfTables(groups) => {
            let mut handler = Table::new();
            handler.insert("type", value("command"));
            handler.insert("command", value(&entry.command));
            handler.insert("timeout", value(TIMEOUT));
            let mut handlers = ArrayOfTables::new();
            handlers.push(handler);
            let mut group = Table::new();
            group.insert("hooks", Item::ArrayOfTables(handlers));
            groups.push(group);
            Ok(())
        }
        Item::Value(Value::Array(groups)) => {
            let mut handler = InlineTable::new();
            handler.insert("type", "command".into());
            handler.insert("command", entry.command.as_str().into());
            handler.insert("timeout", TIMEOUT.into());
            let mut group = InlineTable::new();
            group.insert("hooks", Value::Array(Array::from_iter([handler])));
            groups.push(group);
            Ok(())
        }
        _ => Err(Unfit(format!("hooks.{} is no list", entry.event))),
    }
}
