//! A corpus as it lies on disk: an index of labelled screens, and the byte streams that they were taken from.
//!
//! There are two: the folder of `WA_CORPUS`, or beside the workspace, whose screens are files; and the recordings of this
//! crate (`testdata/recordings`: agents of other versions, against a local stand-in), whose screens are what
//! the stream shows at the label's place. A recording `X.raw.zst` may have a file `X.fg` beside it: which program held the
//! terminal from which byte on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wa_match::Foreground;
use wa_proto::AgentKind;
use wa_screen::terminal::{Size, Terminal};

/// A label that is wrong, and why.
pub(crate) struct Override {
    pub(crate) file: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) change: Change,
}

pub(crate) enum Change {
    Expect(&'static [&'static str]),
    Visible(&'static str),
    State(&'static str),
    /// The field is not on the screen, or reads so.
    Field(&'static str, Option<&'static str>),
}

/// One labelled screen.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) file: String,
    pub(crate) agent: String,
    pub(crate) text: String,
    pub(crate) cols: u32,
    pub(crate) rows: u32,
    /// Events that must be found.
    pub(crate) expect: BTreeSet<String>,
    /// Events whose text is still there.
    pub(crate) visible: BTreeSet<String>,
    pub(crate) latest: String,
    pub(crate) state: Option<String>,
    pub(crate) fields: BTreeMap<String, Value>,
    /// What came and went since the screen before, and how often.
    pub(crate) between: BTreeMap<String, usize>,
    /// The stream that it was taken from, and after how many bytes.
    pub(crate) raw: Option<(PathBuf, usize)>,
}

impl Sample {
    /// It only quotes what an agent would say.
    pub(crate) fn is_quotation(&self) -> bool {
        self.file.rsplit('/').next().unwrap_or_default().starts_with("neg-") && self.expect.is_empty()
    }
}

/// The folder named by `WA_CORPUS`, or the one that stands beside the workspace.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("WA_CORPUS").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    [named, Some(beside)].into_iter().flatten().find(|folder| folder.join("index.jsonl").is_file())
}

/// Bytes of a recording that are read.
const MOST_BYTES: u64 = 16 << 20;

/// A recording's bytes.
pub(crate) fn bytes(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::Decoder::new(file).unwrap().take(MOST_BYTES).read_to_end(&mut bytes).unwrap();
    } else {
        file.take(MOST_BYTES).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// Who held the terminal, and from which byte on, where that was written down beside the recording.
pub(crate) fn holders(path: &Path, agent: &str) -> Vec<(usize, Foreground)> {
    let Some(stem) = path.to_str().and_then(|path| path.strip_suffix(".raw.zst")) else { return Vec::new() };
    let text = std::fs::read_to_string(format!("{stem}.fg")).unwrap();
    let line = |(number, line): (usize, &str)| {
        let (from, name) = line.split_once(' ').unwrap();
        let holder = match name {
            "bash" => Foreground::Shell { name: "bash".to_owned() },
            _ => Foreground::Agent {
                kind: AgentKind::new(agent),
                version: String::new(),
                pid: u32::try_from(number).unwrap() + 1,
            },
        };
        (from.parse().unwrap(), holder)
    };
    text.lines().enumerate().map(line).collect()
}

pub(crate) fn holder(holders: &[(usize, Foreground)], at: usize) -> Option<Foreground> {
    holders.iter().rev().find(|(from, _)| *from <= at).map(|(_, holder)| holder.clone())
}

/// The folder of `WA_RECORDINGS`, or this crate's own.
fn recordings_folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recordings");
    std::env::var_os("WA_RECORDINGS").map_or_else(own, PathBuf::from)
}

fn saved(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

/// The screens of this crate's own recordings.
pub(crate) fn recordings() -> Vec<Sample> {
    let mut samples = samples(&recordings_folder(), &[]);
    samples.sort_by(|a, b| a.raw.cmp(&b.raw));
    for of_one in
        samples.chunk_by_mut(|a, b| a.raw.as_ref().map(|raw| &raw.0) == b.raw.as_ref().map(|raw| &raw.0))
    {
        let Some((path, _)) = of_one[0].raw.clone() else { continue };
        let bytes = bytes(&path);
        let (cols, rows) = (of_one[0].cols.try_into().unwrap(), of_one[0].rows.try_into().unwrap());
        let mut terminal = Terminal::new(Size { cols, rows }, 1000);
        let mut start = 0;
        for sample in of_one {
            let end = sample.raw.as_ref().map_or(0, |(_, offset)| *offset).min(bytes.len());
            terminal.advance(&bytes[start..end]);
            start = end;
            let shown: Vec<String> = terminal.frame().rows.into_iter().map(|row| row.text).collect();
            sample.text = shown.join("\n");
        }
    }
    samples
}

/// All screens, with the overrides applied.
pub(crate) fn samples(folder: &Path, overrides: &[Override]) -> Vec<Sample> {
    let index = std::fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let entries = index.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut samples: Vec<Sample> =
        entries.filter(|entry| entry["form"] != "raw-bytes").map(|entry| sample(folder, &entry)).collect();
    for wrong in overrides {
        let sample = samples.iter_mut().find(|sample| sample.file.ends_with(wrong.file));
        let sample = sample.unwrap_or_else(|| panic!("{}: no such sample ({})", wrong.file, wrong.reason));
        match &wrong.change {
            Change::Expect(events) => {
                sample.expect = events.iter().map(|event| (*event).to_owned()).collect();
                if let [event] = events {
                    (*event).clone_into(&mut sample.latest);
                }
            }
            Change::Visible(event) => drop(sample.visible.insert((*event).to_owned())),
            Change::State(state) => sample.state = Some((*state).to_owned()),
            Change::Field(name, None) => drop(sample.fields.remove(*name)),
            Change::Field(name, Some(text)) => {
                drop(sample.fields.insert((*name).to_owned(), Value::String((*text).to_owned())));
            }
        }
    }
    samples
}

fn sample(folder: &Path, entry: &Value) -> Sample {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let words = |key: &str| {
        let words = entry[key].as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let size = text("size");
    let (cols, rows) = size.split_once('x').unwrap_or(("80", "24"));
    let raw = entry["raw_file"].as_str().map(|file| {
        let offset = entry["raw_offset"].as_u64().unwrap();
        (folder.join(file), usize::try_from(offset).unwrap())
    });
    let fields = entry["fields"].as_object().cloned().unwrap_or_default();
    let between = entry["between"].as_object().cloned().unwrap_or_default();
    let times = |(event, times): (String, Value)| (event, usize::try_from(times.as_u64().unwrap()).unwrap());
    Sample {
        agent: text("agent"),
        // The screens of a folder of recordings are drawn later.
        text: if folder == recordings_folder() { String::new() } else { saved(&folder.join(text("file"))) },
        cols: cols.parse().unwrap_or(80),
        rows: rows.parse().unwrap_or(24),
        expect: words("expect"),
        visible: words("also_visible"),
        latest: text("latest"),
        state: entry["state"].as_str().map(str::to_owned),
        fields: fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        between: between.into_iter().map(times).collect(),
        raw,
        file: text("file"),
    }
}
