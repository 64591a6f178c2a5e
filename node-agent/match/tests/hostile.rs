//! Texts that were made to hurt: very long lines, endless beginnings, nothing but signs. No panic, and time that grows
//! with the text only.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use wa_match::{Redactor, RedactorState};

const LONG: usize = 1 << 20;
/// Generous: a debug build on a busy machine takes a part of it.
const BOUND: Duration = Duration::from_secs(60);

/// Pieces that each reader begins with, to be repeated until the text is long.
const PIECES: &[&str] = &[
    "a",
    "\0",
    " ",
    "│",
    "é",
    "😀",
    "sk-",
    "sk-ant-",
    "eyJ",
    "eyJabcdefghijk.",
    "ghp_",
    "://",
    "://a:",
    "://a:b@",
    "https://a:bcd@",
    "password=",
    "password = \"",
    "PASSWORD=a,B=",
    "api_key: ",
    "Cookie: a=bbbbbbbb; ",
    "cookie",
    "Bearer ",
    "Authorization: ",
    "AKIA",
    "AKIAABCDEFGHIJKLMNOP ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "-----END ",
    "PRIVATE KEY",
    "[redacted:",
    "&sig=",
    "?key=aB3dE5gH7jK9&",
    "Q~",
    ":AA",
    "a-",
    "ABCD-EFGH ",
    "one-time ",
    "login a password b ",
    ":5432:a:b:",
    "a:b@tcp(",
    " -u a:b",
    "--token ",
    "x_token: a, ",
    "{\"secret\":\"",
    "\\\"",
    "0123456789abcdef",
    "JQQJ9",
    "cio",
    "SK0",
    "${",
    "%3D",
    "****",
];

fn timed(name: &str, text: &str) {
    let redactor = Redactor::builtin();
    let began = Instant::now();
    let once = redactor.redact(text);
    let mut state = RedactorState::default();
    redactor.redact_line(&mut state, text);
    redactor.redact_line(&mut state, "and then");
    let took = began.elapsed();
    assert!(took < BOUND, "{name:?}: {took:?} for {} bytes", text.len());
    drop(once);
}

#[test]
fn a_megabyte_of_anything_takes_linear_time() {
    for piece in PIECES {
        timed(piece, &piece.repeat(LONG / piece.len()));
    }
}

#[test]
fn two_kinds_of_anything_take_linear_time() {
    for pair in PIECES.windows(2) {
        let piece = pair.concat();
        timed(&piece, &piece.repeat((LONG / 8) / piece.len()));
        timed(&piece, &[pair[0].repeat(LONG / 16), pair[1].repeat(LONG / 16)].concat());
    }
}

#[test]
fn rows_of_a_hundred_thousand_columns_are_read() {
    for piece in ["sk-ant-aB3dE5gH7jK9", "password=", "│ x ", "eyJ", "-----BEGIN PRIVATE KEY-----"] {
        let row = piece.repeat(100_000 / piece.chars().count());
        let rows = vec![row.as_str(); 24];
        let began = Instant::now();
        assert_eq!(Redactor::builtin().redact_rows(&rows, 100_000).len(), rows.len());
        assert!(began.elapsed() < BOUND, "{piece:?}: {:?}", began.elapsed());
    }
}

#[test]
fn many_short_lines_take_linear_time() {
    let mut state = RedactorState::default();
    let began = Instant::now();
    for at in 0..200_000 {
        let line = PIECES[at % PIECES.len()];
        Redactor::builtin().redact_line(&mut state, line);
    }
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
}

fn anything() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(PIECES).prop_map(str::to_owned),
        "\\PC{0,6}",
        "[ -~]{0,12}",
        Just("\n".to_owned()),
        Just("aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA".to_owned()),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_panics_and_twice_is_once(text in anything()) {
        let redactor = Redactor::builtin();
        let once = redactor.redact(&text).into_owned();
        let found = redactor.explain(&text);
        prop_assert_eq!(found.is_empty(), once == text);
        // What explain says is what redact does.
        let mut again = text.clone();
        for finding in found.iter().rev() {
            again.replace_range(finding.start..finding.end, &finding.replacement);
        }
        prop_assert_eq!(&again, &once);
        let rows: Vec<&str> = text.split('\n').collect();
        prop_assert_eq!(redactor.redact_rows(&rows, 40).len(), rows.len());
    }
}

/// `cargo test -p wa-match --release --test hostile -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, for release builds"]
fn speed_on_ordinary_text() {
    let words = [
        "let",
        "result",
        "of the",
        "fn main()",
        "items.iter()",
        "=",
        "value",
        "{",
        "}",
        "//",
        "line",
        "0x1f",
        "build",
        "finished in 3.2s",
        "return",
    ];
    let lines: Vec<String> = (0..40_000_usize)
        .map(|at| {
            (0..6 + at % 9).map(|n| words[(at * 7 + n * 5) % words.len()]).collect::<Vec<_>>().join(" ")
        })
        .collect();
    let sources = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/matcher.rs")).unwrap();
    let sources: Vec<String> = sources.lines().map(str::to_owned).cycle().take(40_000).collect();
    for (name, lines) in [("without candidates", lines), ("a source of Rust", sources)] {
        let bytes: usize = lines.iter().map(String::len).sum();
        let redactor = Redactor::builtin();
        let best = (0..40)
            .map(|_| {
                let began = Instant::now();
                let mut state = RedactorState::default();
                for line in &lines {
                    std::hint::black_box(redactor.redact_line(&mut state, line));
                }
                began.elapsed()
            })
            .min()
            .unwrap_or_default();
        let mib = bytes as f64 / f64::from(1 << 20) / best.as_secs_f64();
        eprintln!("{name}: {mib:.0} MiB/s, {} bytes per line", bytes / lines.len());
    }
}
