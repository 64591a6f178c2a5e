//! What a definition says, as one hash: two files that say the same have the same, whatever their comments, blanks and the
//! order of their keys.
//!
//! Format: SHA-256 over the file's tree. Each value is a letter for its type and its bytes; what has a length tells it first,
//! so no two different trees write the same bytes. Keys stand in the order of their bytes. The bytes are ours and not those of
//! any printer, so that a new version of a library leaves the hashes of stored runs as they are.

use std::fmt::Write as _;

use ring::digest::{Context, SHA256};
use toml::{Table, Value};

/// 64 hexadecimal digits.
pub(crate) fn fingerprint(file: &Table) -> String {
    let mut context = Context::new(&SHA256);
    table(&mut context, file);
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn table(context: &mut Context, table: &Table) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_bytes());
    count(context, b't', entries.len());
    for (key, one) in entries {
        bytes(context, b'k', key.as_bytes());
        value(context, one);
    }
}

fn value(context: &mut Context, one: &Value) {
    match one {
        Value::String(text) => bytes(context, b's', text.as_bytes()),
        Value::Integer(number) => bytes(context, b'i', &number.to_be_bytes()),
        Value::Float(number) => bytes(context, b'f', &number.to_bits().to_be_bytes()),
        Value::Boolean(truth) => bytes(context, b'b', &[u8::from(*truth)]),
        Value::Datetime(time) => bytes(context, b'd', time.to_string().as_bytes()),
        Value::Array(values) => {
            count(context, b'a', values.len());
            values.iter().for_each(|one| value(context, one));
        }
        Value::Table(inner) => table(context, inner),
    }
}

fn count(context: &mut Context, kind: u8, length: usize) {
    context.update(&[kind]);
    context.update(&(length as u64).to_be_bytes());
}

fn bytes(context: &mut Context, kind: u8, text: &[u8]) {
    count(context, kind, text.len());
    context.update(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> String {
        fingerprint(&text.parse().unwrap())
    }

    #[test]
    fn comments_blanks_and_the_order_of_keys_do_not_count() {
        let one = of("a = 1\nb = ['x', 'y']\n[c]\nd = true\n");
        assert_eq!(one, of("# said otherwise\nc = { d = true }\n\nb = [\n 'x', # first\n \"y\",\n]\na = 1"));
        for other in ["a = 2", "a = '1'", "a = 1.0", "a = [1]", "b = 1", "a = 1\nb = 1", "a = true"] {
            assert_ne!(of("a = 1"), of(other), "{other}");
        }
        // The border between two neighbours counts.
        assert_ne!(of("a = ['xy', 'z']"), of("a = ['x', 'yz']"));
        assert_ne!(of("a = [['x'], 'y']"), of("a = [['x', 'y']]"));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            any::<bool>().prop_map(Value::Boolean),
            "[a-c]{0,3}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|entries| Value::Table(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn trees_that_differ_have_other_hashes(one in values(), other in values()) {
            let file = |value: &Value| Table::from_iter([("x".to_owned(), value.clone())]);
            prop_assert_eq!(one == other, fingerprint(&file(&one)) == fingerprint(&file(&other)));
        }
    }
}
