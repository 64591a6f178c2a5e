//! Lists without what cannot be read in them.
//!
//! A row may be damaged, or edited by hand. It is named in the program's own log and left out: one bad row must not hide all
//! others, nor keep accounts from being leased or events from being logged. What is open and cannot be read is set aside
//! when the controller starts ([`super::aside`]).

use rusqlite::types::ValueRef;
use rusqlite::{Row, Rows};

use super::StoreError;
use super::aside::of_row;

/// The rows that can be read. Their first column is what they are named by.
pub(super) fn readable<T>(
    table: &str,
    mut rows: Rows<'_>,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.extend(one(table, row, &mut read)?);
    }
    Ok(out)
}

/// One row; `None`: it cannot be read, and the program's log says so.
pub(super) fn one<T>(
    table: &str,
    row: &Row<'_>,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match read(row) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let why = of_row(error)?;
            tracing::error!(
                table,
                row = name(row),
                why,
                "a row of the database cannot be read and is left out"
            );
            Ok(None)
        }
    }
}

fn name(row: &Row<'_>) -> String {
    match row.get_ref(0) {
        Ok(ValueRef::Integer(n)) => n.to_string(),
        Ok(ValueRef::Text(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Ok(ValueRef::Blob(bytes)) => crate::identity::ca::hex(bytes),
        Ok(ValueRef::Real(n)) => n.to_string(),
        Ok(ValueRef::Null) | Err(_) => "without a name".to_owned(),
    }
}
