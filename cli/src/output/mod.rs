//! What goes to standard output: tables for people, JSON for programs, names for shells.
//!
//! Constraints. Standard output carries data and nothing else; everything said about it goes to standard error. A list
//! is `{"schema": "wa.NAME/1", "items": […]}` in `json`, and one object a line in `jsonl`. A single object carries its
//! schema. What follows without end cannot be one document: there `json` prints one object with its schema a line.
//! Lists are written as they come, so that a long transcript takes no memory.

pub(crate) mod table;
pub(crate) mod text;

use std::io::{self, Write};

use serde::Serialize;
use wa_proto::Timestamp;

use crate::failure::Failure;
use table::{Cell, Column, Paper};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// One document with a versioned schema
    Json,
    /// One object a line
    Jsonl,
    /// Names only, one a line
    Name,
}

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) format: Format,
    pub(crate) color: bool,
    /// Cells of the terminal; `None` when standard output is none.
    pub(crate) width: Option<usize>,
    /// For ages.
    pub(crate) now: Timestamp,
}

impl Look {
    /// As standard output and the environment (`NO_COLOR`, `CLICOLOR_FORCE`, `TERM`) have it.
    pub(crate) fn of_stdout(format: Format, now: Timestamp) -> Self {
        let stdout = io::stdout();
        let color = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self { format, color, width: width.filter(|columns| *columns > 0), now }
    }

    pub(crate) fn wide(&self) -> bool {
        self.format == Format::Wide
    }

    fn paper<T: Shape>(&self) -> Paper {
        Paper { color: self.color, width: self.width.filter(|_| T::CUT) }
    }
}

/// Something that `wa` prints.
pub(crate) trait Shape: Serialize {
    /// `wa.NAME/1`.
    const SCHEMA: &'static str;
    /// Whether a terminal cuts the last column. Not where it says why, or what was searched for.
    const CUT: bool = false;
    /// What `-o name` prints.
    fn name(&self) -> String;
    /// No columns: the row's cells stand side by side without a header.
    fn columns(wide: bool) -> &'static [Column];
    fn row(&self, look: &Look) -> Vec<Cell>;
}

#[derive(Serialize)]
struct Tagged<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    item: &'a T,
}

#[derive(Serialize)]
struct List<'a, T> {
    schema: &'static str,
    items: &'a [T],
}

fn json<T: Serialize>(value: &T, pretty: bool) -> Result<String, Failure> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map(text::quiet_json).map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))
}

/// Standard output, or what a test puts in its place.
pub(crate) struct Out {
    to: Box<dyn Write + Send>,
    pub(crate) look: Look,
}

impl Out {
    pub(crate) fn new(to: Box<dyn Write + Send>, look: Look) -> Self {
        Self { to, look }
    }

    pub(crate) fn stdout(look: Look) -> Self {
        Self::new(Box::new(io::BufWriter::new(io::stdout())), look)
    }

    /// Text that is ours, or has been made printable.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.to, "{text}")?;
        Ok(())
    }

    /// Any serialisable object that carries its own schema.
    pub(crate) fn document<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = json(value, self.look.format == Format::Json)?;
        self.line(&text)?;
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }

    /// One object.
    pub(crate) fn one<T: Shape>(&mut self, item: &T) -> Result<(), Failure> {
        match self.look.format {
            Format::Json | Format::Jsonl => self.document(&Tagged { schema: T::SCHEMA, item }),
            Format::Table | Format::Wide | Format::Name => self.list(std::slice::from_ref(item)),
        }
    }

    /// A whole list. An empty one has no header in the table form.
    pub(crate) fn list<T: Shape>(&mut self, items: &[T]) -> Result<(), Failure> {
        match self.look.format {
            Format::Json => return self.document(&List { schema: T::SCHEMA, items }),
            Format::Jsonl => {
                for item in items {
                    let text = json(item, false)?;
                    self.line(&text)?;
                }
            }
            Format::Name => self.names(items)?,
            Format::Table | Format::Wide if items.is_empty() => {}
            Format::Table | Format::Wide => {
                let columns = T::columns(self.look.wide());
                let rows: Vec<Vec<Cell>> = items.iter().map(|item| item.row(&self.look)).collect();
                let widths = table::widths(columns, &rows);
                if !columns.is_empty() {
                    table::write_header(&mut self.to, columns, &widths)?;
                }
                for row in &rows {
                    table::write_row(&mut self.to, self.look.paper::<T>(), &widths, row)?;
                }
            }
        }
        self.flush()
    }

    /// Names, each once when they stand together.
    fn names<T: Shape>(&mut self, items: &[T]) -> Result<(), Failure> {
        let mut last = None;
        for item in items {
            let name = item.name();
            if last.as_ref() != Some(&name) {
                self.line(&text::printable(&name, text::Keep::Nothing))?;
            }
            last = Some(name);
        }
        Ok(())
    }

    /// A list of unknown length. `endless`: it follows, and each item is shown at once.
    pub(crate) fn stream<T: Shape>(&mut self, endless: bool) -> Stream<'_, T> {
        Stream { out: self, endless, begun: false, last_name: None, shape: std::marker::PhantomData }
    }
}

/// Items on their way out, one by one.
pub(crate) struct Stream<'a, T> {
    out: &'a mut Out,
    endless: bool,
    begun: bool,
    last_name: Option<String>,
    shape: std::marker::PhantomData<fn(T)>,
}

impl<T: Shape> Stream<'_, T> {
    pub(crate) fn push(&mut self, item: &T) -> Result<(), Failure> {
        let first = !std::mem::replace(&mut self.begun, true);
        match self.out.look.format {
            Format::Json if self.endless => {
                let text = json(&Tagged { schema: T::SCHEMA, item }, false)?;
                self.out.line(&text)?;
            }
            Format::Json => {
                let text = json(item, true)?.replace('\n', "\n    ");
                let before = if first { opening::<T>() } else { ",".to_owned() };
                write!(self.out.to, "{before}\n    {text}")?;
            }
            Format::Jsonl => {
                let text = json(item, false)?;
                self.out.line(&text)?;
            }
            Format::Name => {
                let name = item.name();
                if self.last_name.as_ref() != Some(&name) {
                    self.out.line(&text::printable(&name, text::Keep::Nothing))?;
                }
                self.last_name = Some(name);
            }
            Format::Table | Format::Wide => self.push_row(item, first)?,
        }
        if self.endless { self.out.flush() } else { Ok(()) }
    }

    fn push_row(&mut self, item: &T, first: bool) -> Result<(), Failure> {
        let columns = T::columns(self.out.look.wide());
        let widths: Vec<usize> =
            columns.iter().map(|column| column.min.max(text::width(column.title))).collect();
        if first && !columns.is_empty() {
            table::write_header(&mut self.out.to, columns, &widths)?;
        }
        let row = item.row(&self.out.look);
        table::write_row(&mut self.out.to, self.out.look.paper::<T>(), &widths, &row)?;
        Ok(())
    }

    /// Closes what was opened. A stream that failed is not finished: its document stays open, as its end is unknown.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.out.look.format == Format::Json && !self.endless {
            let end = if self.begun { "\n  ]\n}".to_owned() } else { format!("{}]\n}}", opening::<T>()) };
            self.out.line(&end)?;
        }
        self.out.flush()
    }
}

fn opening<T: Shape>() -> String {
    format!("{{\n  \"schema\": \"{}\",\n  \"items\": [", T::SCHEMA)
}

/// Somewhere to print for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output in this format at a fixed time, and where it goes.
    pub(crate) fn out(format: Format) -> (Out, Sink) {
        let sink = Sink::default();
        let now = "2026-09-01T12:00:00Z".parse().unwrap();
        (Out::new(Box::new(sink.clone()), Look { format, color: false, width: None, now }), sink)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::out;
    use super::*;

    #[derive(Serialize)]
    struct Thing {
        id: u32,
    }

    impl Shape for Thing {
        const SCHEMA: &'static str = "wa.thing/1";
        fn name(&self) -> String {
            self.id.to_string()
        }
        fn columns(_: bool) -> &'static [Column] {
            const { &[table::column("ID", 4), table::column("X", 1)] }
        }
        fn row(&self, _: &Look) -> Vec<Cell> {
            vec![Cell::plain(&self.name()), Cell::plain("x")]
        }
    }

    fn streamed(format: Format, endless: bool, ids: &[u32]) -> String {
        let (mut out, sink) = out(format);
        let mut stream = out.stream(endless);
        for id in ids {
            stream.push(&Thing { id: *id }).unwrap();
        }
        stream.finish().unwrap();
        sink.text()
    }

    fn listed(format: Format, ids: &[u32]) -> String {
        let (mut out, sink) = out(format);
        let things: Vec<Thing> = ids.iter().map(|id| Thing { id: *id }).collect();
        out.list(&things).unwrap();
        sink.text()
    }

    #[test]
    fn a_streamed_document_is_the_listed_one() {
        for ids in [&[][..], &[1], &[1, 2, 3]] {
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let (streamed, listed) = (streamed(Format::Json, false, ids), listed(Format::Json, ids));
            assert_eq!(parse(&streamed), parse(&listed));
            assert_eq!(streamed, listed, "the same bytes, too");
        }
    }

    #[test]
    fn every_format_has_its_form() {
        assert_eq!(listed(Format::Jsonl, &[1, 2]), "{\"id\":1}\n{\"id\":2}\n");
        assert_eq!(listed(Format::Name, &[1, 1, 2]), "1\n2\n");
        assert_eq!(listed(Format::Table, &[]), "");
        assert_eq!(streamed(Format::Table, false, &[7]), "ID    X\n7     x\n");
        assert_eq!(streamed(Format::Json, true, &[7]), "{\"schema\":\"wa.thing/1\",\"id\":7}\n");
        let (mut single, sink) = out(Format::Json);
        single.one(&Thing { id: 7 }).unwrap();
        assert_eq!(sink.text(), "{\n  \"schema\": \"wa.thing/1\",\n  \"id\": 7\n}\n");
    }
}
