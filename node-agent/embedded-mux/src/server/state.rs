//! Windows, tabs and how tabs are split.
//!
//! Ids count from 0 and are never used again. A tab is a tree of splits with panes as leaves; the
//! sizes of the splits follow from those of the panes. A window without tabs is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use wa_mux::codec::{PaneEntry, PaneNode, SplitDirection, SplitDirectionAndSize, SplitSize, TerminalSize};
use wa_screen::terminal::Size;

use super::pane::Pane;

/// How a tab is split.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Leaf(u64),
    Split { direction: SplitDirection, first: Box<Self>, second: Box<Self> },
}

#[derive(Debug)]
pub(super) struct Tab {
    pub(super) node: Node,
    pub(super) active: u64,
    pub(super) title: String,
}

#[derive(Debug)]
pub(super) struct Window {
    pub(super) tabs: Vec<u64>,
    pub(super) active: u64,
    pub(super) workspace: String,
    pub(super) title: String,
}

/// Counters of ids.
#[derive(Debug, Default)]
struct Ids {
    window: u64,
    tab: u64,
    pane: u64,
}

fn take(counter: &mut u64) -> u64 {
    let id = *counter;
    *counter += 1;
    id
}

/// Everything that is open.
#[derive(Default)]
pub(super) struct State {
    ids: Ids,
    pub(super) windows: BTreeMap<u64, Window>,
    pub(super) tabs: BTreeMap<u64, Tab>,
    pub(super) panes: BTreeMap<u64, Arc<Pane>>,
}

impl Node {
    fn leaves(&self) -> Vec<u64> {
        match self {
            Self::Leaf(pane) => vec![*pane],
            Self::Split { first, second, .. } => {
                let mut leaves = first.leaves();
                leaves.extend(second.leaves());
                leaves
            }
        }
    }

    fn find(&mut self, pane: u64) -> Option<&mut Self> {
        match self {
            Self::Leaf(id) if *id == pane => Some(self),
            Self::Leaf(_) => None,
            Self::Split { first, second, .. } => first.find(pane).or_else(|| second.find(pane)),
        }
    }

    /// Takes a pane out. `None`: it was the only one. Else the tree without it, and the part that
    /// has its place now.
    fn without(self, pane: u64) -> Option<(Self, Option<Self>)> {
        match self {
            Self::Leaf(id) if id == pane => None,
            Self::Leaf(_) => Some((self, None)),
            Self::Split { direction, first, second } => {
                let (first, second) = match (first.without(pane), *second) {
                    (None, second) => return Some((second.clone(), Some(second))),
                    (Some((first, Some(grown))), second) => {
                        let first = Box::new(first);
                        let second = Box::new(second);
                        let node = Self::Split { direction, first, second };
                        return Some((node, Some(grown)));
                    }
                    (Some((first, None)), second) => (first, second),
                };
                let Some((second, grown)) = second.without(pane) else {
                    return Some((first.clone(), Some(first)));
                };
                let node = Self::Split { direction, first: Box::new(first), second: Box::new(second) };
                Some((node, grown))
            }
        }
    }
}

/// The two halves of `size` and the cell between them; `None`: there is no room.
pub(super) fn halves(
    size: Size,
    direction: SplitDirection,
    new: SplitSize,
    new_is_second: bool,
) -> Option<(Size, Size)> {
    let whole = match direction {
        SplitDirection::Horizontal => size.cols,
        SplitDirection::Vertical => size.rows,
    };
    let room = whole.checked_sub(3)?;
    let wanted = match new {
        SplitSize::Cells(cells) => u16::try_from(cells).unwrap_or(u16::MAX),
        SplitSize::Percent(percent) => {
            u16::try_from(u32::from(whole) * u32::from(percent.min(100)) / 100).unwrap_or(whole)
        }
    };
    let new = wanted.clamp(1, room + 1);
    let old = whole - 1 - new;
    let part = |cells: u16| match direction {
        SplitDirection::Horizontal => Size { cols: cells, ..size },
        SplitDirection::Vertical => Size { rows: cells, ..size },
    };
    let (old, new) = (part(old), part(new));
    Some(if new_is_second { (old, new) } else { (new, old) })
}

impl State {
    pub(super) fn next_pane(&mut self) -> u64 {
        take(&mut self.ids.pane)
    }

    /// Registers a pane in a new tab: of `window`, or of a new one in `workspace`.
    pub(super) fn add_tab(&mut self, pane: Arc<Pane>, window: Option<u64>, workspace: &str) -> (u64, u64) {
        let tab_id = take(&mut self.ids.tab);
        let window_id = window.unwrap_or_else(|| take(&mut self.ids.window));
        let tab = Tab { node: Node::Leaf(pane.id), active: pane.id, title: String::new() };
        self.tabs.insert(tab_id, tab);
        self.panes.insert(pane.id, pane);
        let window = self.windows.entry(window_id).or_insert_with(|| Window {
            tabs: Vec::new(),
            active: tab_id,
            workspace: workspace.to_owned(),
            title: String::new(),
        });
        window.tabs.push(tab_id);
        window.active = tab_id;
        (tab_id, window_id)
    }

    /// Registers a pane beside another.
    pub(super) fn add_beside(
        &mut self,
        other: u64,
        pane: Arc<Pane>,
        direction: SplitDirection,
        new_is_second: bool,
    ) -> Option<u64> {
        let tab_id = self.tab_of(other)?;
        let tab = self.tabs.get_mut(&tab_id)?;
        let place = tab.node.find(other)?;
        let [mut first, mut second] = [other, pane.id].map(|id| Box::new(Node::Leaf(id)));
        if !new_is_second {
            std::mem::swap(&mut first, &mut second);
        }
        *place = Node::Split { direction, first, second };
        tab.active = pane.id;
        self.panes.insert(pane.id, pane);
        Some(tab_id)
    }

    pub(super) fn tab_of(&self, pane: u64) -> Option<u64> {
        self.tabs.iter().find(|(_, tab)| tab.node.leaves().contains(&pane)).map(|(id, _)| *id)
    }

    pub(super) fn window_of(&self, pane: u64) -> Option<u64> {
        let tab = self.tab_of(pane)?;
        self.windows.iter().find(|(_, window)| window.tabs.contains(&tab)).map(|(id, _)| *id)
    }

    /// The size of new tabs of a window.
    pub(super) fn window_size(&self, window: u64) -> Option<Size> {
        let tab = self.tabs.get(&self.windows.get(&window)?.active)?;
        Some(self.size(&tab.node))
    }

    /// Takes a pane out. Gives the panes that grow into its place, with their new sizes.
    pub(super) fn remove(&mut self, pane: u64) -> Vec<(Arc<Pane>, Size)> {
        let Some(tab_id) = self.tab_of(pane) else {
            return Vec::new();
        };
        let Some(tab) = self.tabs.remove(&tab_id) else {
            return Vec::new();
        };
        let whole = self.size(&tab.node);
        let gone = self.panes.remove(&pane);
        let Some((node, grown)) = tab.node.without(pane) else {
            self.windows.retain(|_, window| {
                window.tabs.retain(|tab| *tab != tab_id);
                if window.active == tab_id
                    && let Some(last) = window.tabs.last()
                {
                    window.active = *last;
                }
                !window.tabs.is_empty()
            });
            return Vec::new();
        };
        let mut sizes = Vec::new();
        if let (Some(grown), Some(gone)) = (grown, gone) {
            let space = if grown.leaves() == node.leaves() {
                whole
            } else {
                join(self.size(&grown), gone.size(), whole)
            };
            self.fit(&grown, space, &mut sizes);
        }
        let active =
            if tab.active == pane { node.leaves().first().copied().unwrap_or(pane) } else { tab.active };
        self.tabs.insert(tab_id, Tab { node, active, ..tab });
        sizes
    }

    /// Distributes `size` over a part of a tab, in the proportions that it has.
    fn fit(&self, node: &Node, size: Size, out: &mut Vec<(Arc<Pane>, Size)>) {
        match node {
            Node::Leaf(pane) => out.extend(self.panes.get(pane).map(|p| (Arc::clone(p), size))),
            Node::Split { direction, first, second } => {
                let (now, of) = (self.size(first), self.size(node));
                let (part, of) = match direction {
                    SplitDirection::Horizontal => (now.cols, of.cols),
                    SplitDirection::Vertical => (now.rows, of.rows),
                };
                let percent = u8::try_from(u32::from(part) * 100 / u32::from(of.max(1)));
                let share = SplitSize::Percent(percent.unwrap_or(50));
                let (a, b) = halves(size, *direction, share, false).unwrap_or((size, size));
                self.fit(first, a, out);
                self.fit(second, b, out);
            }
        }
    }

    fn size(&self, node: &Node) -> Size {
        match node {
            Node::Leaf(pane) => self.panes.get(pane).map_or(Size { cols: 0, rows: 0 }, |p| p.size()),
            Node::Split { direction, first, second } => {
                let (a, b) = (self.size(first), self.size(second));
                match direction {
                    SplitDirection::Horizontal => {
                        Size { cols: a.cols + 1 + b.cols, rows: a.rows.max(b.rows) }
                    }
                    SplitDirection::Vertical => Size { cols: a.cols.max(b.cols), rows: a.rows + 1 + b.rows },
                }
            }
        }
    }

    /// All tabs as they are listed, with their titles.
    pub(super) fn list(&self) -> (Vec<PaneNode>, Vec<String>) {
        let mut nodes = Vec::new();
        let mut titles = Vec::new();
        for (window_id, window) in &self.windows {
            for tab_id in &window.tabs {
                let Some(tab) = self.tabs.get(tab_id) else {
                    continue;
                };
                let place = Place {
                    window_id: *window_id,
                    tab_id: *tab_id,
                    workspace: &window.workspace,
                    active: tab.active,
                };
                nodes.push(self.list_node(&tab.node, &place, (0, 0)));
                titles.push(tab.title.clone());
            }
        }
        (nodes, titles)
    }

    fn list_node(&self, node: &Node, place: &Place<'_>, at: (u64, u64)) -> PaneNode {
        match node {
            Node::Leaf(id) => match self.panes.get(id) {
                Some(pane) => PaneNode::Leaf(Box::new(place.entry(pane, at))),
                None => PaneNode::Empty,
            },
            Node::Split { direction, first, second } => {
                let [a, b]: [TerminalSize; 2] = [first, second].map(|half| self.size(half).to_wire());
                let behind = match direction {
                    SplitDirection::Horizontal => (at.0, at.1 + a.cols + 1),
                    SplitDirection::Vertical => (at.0 + a.rows + 1, at.1),
                };
                PaneNode::Split {
                    left: Box::new(self.list_node(first, place, at)),
                    right: Box::new(self.list_node(second, place, behind)),
                    node: SplitDirectionAndSize { direction: *direction, first: a, second: b },
                }
            }
        }
    }
}

/// The space of two neighbours that together fill one side of `whole`.
fn join(a: Size, b: Size, whole: Size) -> Size {
    if a.rows == b.rows {
        Size { cols: (a.cols + 1 + b.cols).min(whole.cols), rows: a.rows }
    } else {
        Size { cols: a.cols.max(b.cols), rows: (a.rows + 1 + b.rows).min(whole.rows) }
    }
}

/// Where a pane is listed.
struct Place<'a> {
    window_id: u64,
    tab_id: u64,
    workspace: &'a str,
    active: u64,
}

impl Place<'_> {
    fn entry(&self, pane: &Pane, (top_row, left_col): (u64, u64)) -> PaneEntry {
        let facts = pane.process.facts(|| pane.foreground());
        let terminal = pane.terminal.lock();
        let dims = terminal.dimensions();
        PaneEntry {
            window_id: self.window_id,
            tab_id: self.tab_id,
            pane_id: pane.id,
            title: terminal.title().map_or(facts.name, str::to_owned),
            size: Size { cols: dims.cols, rows: dims.viewport_rows }.to_wire(),
            working_dir: terminal.working_dir().map(str::to_owned).or(facts.working_dir),
            is_active: pane.id == self.active,
            is_zoomed: false,
            workspace: self.workspace.to_owned(),
            cursor: terminal.cursor().to_wire(),
            physical_top: dims.physical_top,
            top_row,
            left_col,
            tty_name: pane.tty_name.clone(),
        }
    }
}
