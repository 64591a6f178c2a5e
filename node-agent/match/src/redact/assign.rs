//! Values that are secret because of their name: `DB_PASSWORD=…`, `"api_key": "…"`, `--token …`, `x-api-key: …`.
//!
//! Constraints. Programs speak of passwords all day without holding one: `password = getpass()`, `token: string`,
//! `API_KEY = os.environ["API_KEY"]` must stay. A name says how much to believe and the form says how much more is
//! needed: in an environment line or a flag nearly every literal value is one; in code it has to look generated.
//!
//! Operation. The literal search finds the last word of a name. From there the name is read to the left, then a sign of
//! assignment and a value to the right. Nothing is read further than a few hundred bytes, but a value to its end.

use std::ops::Range;

use super::shape::{
    Alphabet, masked, placeholder_word, plain_words, random_looking, reference, simple_words,
};
use super::span::{Next, Span};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Password,
    /// Tokens, keys, secrets: made by machines.
    Token,
}

/// Bytes of a value that are looked at before it is believed; a longer one is then taken whole. One that is not believed
/// is not looked into again.
pub(super) const VALUE: usize = 1024;

/// Words that end the name of a secret.
pub(super) fn words() -> Vec<(String, Class)> {
    let mut words = Vec::new();
    for word in ["password", "passwd", "passphrase", "pwd"] {
        for variant in cases(word) {
            words.push((variant, Class::Password));
        }
    }
    for word in ["_pass", "_PASS", "-pass"] {
        words.push((word.to_owned(), Class::Password));
    }
    for word in ["token", "secret", "credential"] {
        for variant in cases(word) {
            words.push((variant, Class::Token));
        }
    }
    let firsts = [
        "api",
        "access",
        "secret",
        "private",
        "auth",
        "account",
        "encryption",
        "signing",
        "master",
        "shared",
        "subscription",
        "service",
        "client",
        "application",
        "app",
        "storage",
    ];
    for first in firsts {
        let title = titled(first);
        let upper = first.to_ascii_uppercase();
        words.extend(
            [
                format!("{first}_key"),
                format!("{first}-key"),
                format!("{first}key"),
                format!("{first}Key"),
                format!("{title}Key"),
                format!("{title}-Key"),
                format!("{upper}_KEY"),
                format!("{upper}-KEY"),
                format!("{upper}KEY"),
            ]
            .map(|word| (word, Class::Token)),
        );
    }
    for word in ["API-Key", "APIKey", "_KEY", "\"auth\"", "_auth", "SharedAccessKey"] {
        words.push((word.to_owned(), Class::Token));
    }
    words
}

fn cases(word: &str) -> [String; 3] {
    [word.to_owned(), word.to_ascii_uppercase(), titled(word)]
}

fn titled(word: &str) -> String {
    let mut out = word.to_owned();
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    out
}

/// How the value stands to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `NAME=value`, as in the environment.
    Env,
    /// `--name value`, `--name=value`.
    Flag,
    /// `X-Name: value`.
    Header,
    /// `&name=value` in a URL.
    Query,
    /// `;Name=value` in a connection string.
    Field,
    /// In quotes, in JSON, YAML or code.
    Quoted,
    /// Without quotes, in YAML, an INI file or code.
    Bare,
}

/// A value's place in the text.
struct Value {
    range: Range<usize>,
    form: Form,
    /// The row's end cut it, perhaps.
    cut: bool,
    /// A quotation mark stands before it.
    quoted: bool,
}

/// The secret that the name ending in the word at `word` has, and where its value ends. `end` is where the row's text
/// ends.
pub(super) fn span(text: &str, word: Range<usize>, class: Class, end: usize) -> (usize, Option<Span>) {
    let Some(name) = name(text, &word) else { return (word.end, None) };
    let Some(value) = value(text, &name, &word, end) else { return (name.end, None) };
    (value.range.end, secret(text, name, value, class))
}

fn secret(text: &str, name: Range<usize>, value: Value, class: Class) -> Option<Span> {
    let content =
        &text[value.range.start..text.floor_char_boundary(value.range.end.min(value.range.start + VALUE))];
    let after = text[value.range.end..].chars().next();
    let lower = text[name.clone()].to_ascii_lowercase();
    let aws = ["aws_secret", "secretaccesskey", "secret_access"].iter().any(|part| lower.contains(part));
    let exact = aws && aws_key(content);
    if !exact && !believed(class, &value, &text[name.clone()], content, after) {
        return None;
    }
    let kind = if aws {
        "aws-secret"
    } else if lower.contains("accountkey") || lower.contains("sharedaccesskey") {
        "azure-key"
    } else if value.form == Form::Header && lower.ends_with("key") {
        "api-key-header"
    } else if value.form == Form::Query {
        "url-token"
    } else {
        "assigned-secret"
    };
    let alphabet =
        if class == Class::Token && value.form != Form::Env { Alphabet::Base64 } else { Alphabet::Value };
    let next = value.cut.then_some(Next { quoted: value.quoted, ..Next::of(alphabet) });
    let why = format!("the value of {}", shown(&text[name]));
    Some(Span { range: value.range, kind: kind.into(), why: why.into(), next, rank: 1 })
}

/// The published form of a secret access key: forty characters of Base64. Its `/` may cut it into what reads as words.
fn aws_key(content: &str) -> bool {
    let any = |kind: fn(&u8) -> bool| content.as_bytes().iter().any(kind);
    content.len() == 40
        && content.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        && any(u8::is_ascii_uppercase)
        && any(u8::is_ascii_lowercase)
}

/// A name for people to read: never long, for it is a part of the screen.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

/// The whole name around its last word; `None` where the word is not the end of one.
fn name(text: &str, word: &Range<usize>) -> Option<Range<usize>> {
    let part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let before: usize = text[..word.start].chars().rev().take(64).take_while(part).map(char::len_utf8).sum();
    let mut stop = word.end;
    // PASSWORD2, API_KEY_1
    let rest = &text.as_bytes()[stop..];
    let under = usize::from(rest.first() == Some(&b'_'));
    let digits = rest[under..].iter().take(3).take_while(|b| b.is_ascii_digit()).count();
    if digits > 0 {
        stop += under + digits;
    }
    if text[stop..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return None;
    }
    let name = word.start - before..stop;
    let lower = text[name.clone()].to_ascii_lowercase();
    let about_pages = ["page_token", "pagetoken", "next_token", "nexttoken", "continuationtoken", "public"];
    if about_pages.iter().any(|word| lower.contains(word))
        || matches!(lower.as_str(), "pwd" | "oldpwd") && text[name.clone()] == lower.to_ascii_uppercase()
    {
        return None;
    }
    Some(name)
}

fn skip(text: &str, at: usize, most: usize) -> usize {
    at + text[at..].bytes().take(most).take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// A quotation mark at `at`, perhaps behind a backslash: the mark and where it ends.
fn quote(text: &str, at: usize) -> Option<(&str, usize)> {
    let rest = &text[at..];
    let escape = rest.bytes().take(3).take_while(|b| *b == b'\\').count();
    let mark = rest[escape..].chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let stop = escape + mark.len_utf8();
    Some((&rest[..stop], at + stop))
}

/// The value of a name, if something is assigned there.
fn value(text: &str, name: &Range<usize>, word: &Range<usize>, end: usize) -> Option<Value> {
    let mut at = name.end;
    let mut named_in_quotes = text[word.clone()].ends_with('"');
    if let Some((_, stop)) = quote(text, at) {
        at = stop;
        named_in_quotes = true;
    }
    let indexed = text[at..].starts_with(']');
    at += usize::from(indexed);
    let gap = skip(text, at, 4);
    let rest = &text[gap..];
    let flag = text[name.clone()].starts_with("--");
    let tight = gap == at;
    let (sign, mut from) = if rest.starts_with("==") || rest.starts_with("=~") || rest.starts_with("::") {
        return None;
    } else if rest.starts_with("=>") || rest.starts_with(":=") {
        ('=', gap + 2)
    } else if rest.starts_with('=') {
        ('=', gap + 1)
    } else if rest.starts_with(':') && !indexed {
        (':', gap + 1)
    } else if rest.starts_with(',') && named_in_quotes {
        (',', gap + 1)
    } else if rest.starts_with('(') && tight && !named_in_quotes {
        ('(', gap + 1)
    } else if flag && !tight {
        (' ', gap)
    } else if !tight && (rest.starts_with("is ") || rest.starts_with("is: ")) {
        ('i', gap + 3)
    } else {
        return None;
    };
    let spaced = !tight || text[from..].starts_with(' ');
    from = skip(text, from, 8);
    if sign == ':'
        && let Some(behind) = behind_type(text, from)
    {
        from = behind;
    }
    let form = form_of(text, name, sign, spaced, flag);
    read_value(text, from, form, sign, end)
}

fn form_of(text: &str, name: &Range<usize>, sign: char, spaced: bool, flag: bool) -> Form {
    let word = &text[name.clone()];
    let before = text[..name.start].chars().next_back();
    let upper = word.bytes().any(|b| b.is_ascii_uppercase()) && !word.bytes().any(|b| b.is_ascii_lowercase());
    match sign {
        _ if flag => Form::Flag,
        '=' if !spaced && matches!(before, Some('?' | '&')) => Form::Query,
        '=' if !spaced && before == Some(';') => Form::Field,
        '=' if !spaced && upper => Form::Env,
        ':' if word.contains('-') && !before.is_some_and(|c| c.is_ascii_alphanumeric()) => Form::Header,
        _ => Form::Bare,
    }
}

/// Behind the type of a declaration, `: &str = `; `None` if there is none.
fn behind_type(text: &str, from: usize) -> Option<usize> {
    let is_type = |c: &char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '_' | '<' | '>' | '&' | '\'' | '[' | ']' | ':' | '|' | '?' | '.' | ' ')
    };
    let length: usize = text[from..].chars().take(48).take_while(is_type).map(char::len_utf8).sum();
    let at = from + length;
    let declared = length > 0
        && text[from..at].starts_with(|c: char| c.is_ascii_alphabetic() || c == '&')
        && text[at..].starts_with("= ")
        && !text[at..].starts_with("==");
    declared.then(|| skip(text, at + 1, 4))
}

fn read_value(text: &str, from: usize, form: Form, sign: char, end: usize) -> Option<Value> {
    // r"…", b"…", f"…"
    let prefix = text[from..].bytes().take(2).take_while(u8::is_ascii_alphabetic).count();
    let opening = quote(text, from).or_else(|| quote(text, from + prefix).filter(|_| prefix > 0));
    if let Some((mark, start)) = opening {
        let closing = text[start..].find(mark).map(|at| start + at);
        let stop = closing.unwrap_or(end.max(start)).min(text.len());
        let form = if matches!(form, Form::Bare) { Form::Quoted } else { form };
        return (start < stop).then_some(Value {
            range: start..stop,
            form,
            cut: closing.is_none(),
            quoted: true,
        });
    }
    if matches!(sign, ',' | '(') {
        return None;
    }
    let rest = &text[from..];
    let length = match form {
        Form::Env => env_value(rest),
        Form::Query => rest
            .find(|c: char| matches!(c, '&' | '#' | '\\') || !Alphabet::Value.holds(c))
            .unwrap_or(rest.len()),
        Form::Field => {
            rest.find(|c: char| matches!(c, ';' | '"' | '\'') || c.is_whitespace()).unwrap_or(rest.len())
        }
        _ => Alphabet::Value.run(rest),
    };
    let stop = (from + length).min(end.max(from));
    (from < stop).then_some(Value { range: from..stop, form, cut: stop == end, quoted: false })
}

/// In `.env` files anything but blanks and quotes; a `,`, `;` or `&` ends it where another assignment follows.
fn env_value(rest: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '│' | '┃');
    for (at, c) in rest.char_indices() {
        if ends(c) {
            return at;
        }
        if matches!(c, ',' | ';' | '&' | ')' | '|') {
            let behind = &rest[at + 1..];
            let name =
                behind.bytes().take(64).take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let last = behind.chars().nth(1).is_none_or(ends) || behind.starts_with(ends);
            if last || behind[name..].starts_with('=') {
                return at;
            }
        }
    }
    rest.len()
}

fn believed(class: Class, value: &Value, name: &str, content: &str, after: Option<char>) -> bool {
    let length = content.chars().count();
    let word = content.trim_end_matches(['\\', '.', ',']);
    if reference(content)
        || masked(content)
        || placeholder_word(word)
        || content.contains(char::is_whitespace)
        || content.contains("://")
        || (content.starts_with(['/', '~']) && plain_words(content))
        || content.starts_with("./")
    {
        return false;
    }
    let digit = content.bytes().any(|b| b.is_ascii_digit());
    let sign = content.chars().any(|c| c.is_ascii_punctuation() && !matches!(c, '_' | '.' | '-' | ':' | '/'));
    // An object identifier, a version, an address.
    let dotted =
        content.matches('.').count() >= 2 && content.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let same = name.to_ascii_lowercase().ends_with(&word.to_ascii_lowercase());
    match (class, value.form) {
        _ if same || dotted => false,
        (Class::Password, Form::Env | Form::Flag) => length >= 6 && !code(content),
        (Class::Password, Form::Quoted | Form::Query | Form::Field | Form::Header) => {
            length >= 6 && (digit || sign || !plain_words(content)) && !code(content)
        }
        (Class::Password, Form::Bare) => {
            let ends = after.is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '│' | '┃'));
            length >= 6 && ends && (digit || sign || !plain_words(content)) && !code(content)
        }
        (Class::Token, Form::Env | Form::Flag | Form::Header) => {
            let part = value.cut && !simple_words(content);
            length >= 8 && (digit || part || !plain_words(content)) && !code(content) && !prose(content)
        }
        (Class::Token, Form::Quoted) => {
            // Cut, it is too short to have a shape.
            let part = value.cut && !simple_words(content);
            let random = (digit || length >= 16) && random_looking(content);
            length >= 8 && (random || part) && !code(content)
        }
        (Class::Token, Form::Bare | Form::Query | Form::Field) => {
            let least = if value.cut { 8 } else { 12 };
            let listed = value.form == Form::Bare && matches!(after, Some(',' | ';'));
            let cut = value.cut && digit && content.contains(['+', '=']);
            length >= least && !listed && (cut || random_looking(content)) && !code(content)
        }
    }
}

/// A number of a program: `0x8031009Bu32`, `-1073741718i32`, `12_000`.
fn number(content: &str) -> bool {
    let bare = content.trim_start_matches('-');
    let hex = bare.strip_prefix("0x").filter(|hex| hex.len() <= 20);
    let bare = hex.unwrap_or(bare);
    let digits = bare
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'_' || (hex.is_some() && b.is_ascii_hexdigit()));
    let rest = &bare[digits.count()..];
    let typed = [
        "", "u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "L", "UL", "ULL", "f32",
        "f64",
    ];
    bare.len() > rest.len()
        && typed.contains(&rest)
        && (hex.is_some() || !rest.is_empty() || content.starts_with('-'))
}

/// Words with a number behind: `issue-42`, `v2_final`.
fn prose(content: &str) -> bool {
    plain_words(content) && content.contains(['-', '_', '.', '/'])
}

/// A call, a path of names, a list of arguments.
fn code(content: &str) -> bool {
    let call = content.find('(').is_some_and(|at| {
        content[..at].bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'!'))
            && at > 0
    });
    let path = content.contains('.')
        && content
            .split('.')
            .all(|part| part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && plain_words(part));
    call || path
        || number(content)
        || content.contains("::")
        || content.contains("->")
        || content.contains("=>")
}
