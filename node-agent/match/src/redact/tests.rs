use super::*;
use proptest::prelude::*;
use wa_proto::{Frame, FrameRow, Style, StyleRun};

/// Made up here; assembled at run time so that scanners of source code stay quiet.
fn samples() -> Vec<(&'static str, String)> {
    let word = |n: usize| "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA".repeat(8)[..n].to_owned();
    vec![
        ("anthropic-key", format!("sk-{}-api03-{}", "ant", word(80))),
        ("openai-key", format!("sk-{}-{}", "proj", word(48))),
        ("openai-key", format!("sk-{}", word(48))),
        ("google-key", format!("AI{}Sy{}", "za", word(33))),
        ("github-token", format!("gh{}_{}", 'p', word(36))),
        ("github-token", format!("github_{}_{}", "pat", word(60))),
        ("gitlab-token", format!("gl{}-{}", "pat", word(20))),
        ("npm-token", format!("n{}_{}", "pm", word(36))),
        ("slack-token", format!("xo{}-123456789012-{}", "xb", word(24))),
        ("aws-key", format!("AK{}J7QWERTYUIOP2345", "IA")),
        ("stripe-key", format!("sk_{}_{}", "live", word(24))),
        ("jwt", format!("ey{}.ey{}.{}", "JhbGciOiJIUzI1NiJ9", "JzdWIiOiIxMjM0NTY3ODkwIn0", word(43))),
    ]
}

fn redact(text: &str) -> String {
    Redactor::builtin().redact(text).into_owned()
}

#[test]
fn known_tokens_go_and_their_surroundings_stay() {
    for (kind, secret) in samples() {
        let out = redact(&format!("key = {secret}, done"));
        assert!(out.starts_with(&format!("key = [redacted:{kind}:")), "{kind}: {out}");
        assert!(out.ends_with("], done"), "{kind}: {out}");
    }
}

#[test]
fn secrets_by_their_place() {
    let cases = [
        ("Authorization: Bearer abcdefgh12345678ijkl", "Authorization: Bearer [redacted:bearer:32]"),
        ("-H 'x-api-key: 0123456789abcdef'", "-H 'x-api-key: [redacted:api-key-header:16]'"),
        (
            "git clone https://bob:hunter22@example.com/x",
            "git clone https://bob:[redacted:url-password:16]@example.com/x",
        ),
        ("postgres://app:s3cr3tpw@db:5432/x", "postgres://app:[redacted:url-password:16]@db:5432/x"),
        ("export DB_PASSWORD=correct-horse", "export DB_PASSWORD=[redacted:assigned-secret:16]"),
        ("\"NPM_TOKEN\": \"0a1b2c3d4e5f\"", "\"NPM_TOKEN\": \"[redacted:assigned-secret:16]\""),
        ("GET /cb?access_token=0a1b2c3d4e5f6a7b&x=1", "GET /cb?access_token=[redacted:url-token:16]&x=1"),
    ];
    for (text, expected) in cases {
        assert_eq!(redact(text), expected);
    }
}

#[test]
fn ordinary_text_is_borrowed() {
    for text in [
        "task-runner --disk-usage of sk-learn",
        "pip install sk-learn-contrib-lightning-extras",
        "see https://example.com:8080/a@b and git@github.com:x/y.git",
        "export API_TOKEN=$TOKEN; DB_PASSWORD=<your password>",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "ANTHROPIC_API_KEY=********",
        "the bearer of this letter is a friend",
        "bearer authentication is configured elsewhere",
        "",
    ] {
        assert!(matches!(Redactor::builtin().redact(text), Cow::Borrowed(_)), "{text:?} -> {}", redact(text));
    }
}

fn key_block() -> Vec<String> {
    let mut lines = vec![format!("-----BEGIN {} PRIVATE KEY-----", "RSA")];
    lines.extend(
        (0..4).map(|_| "MIIEowIBAAKCAQEA7bq9/+abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP".to_owned()),
    );
    lines.push(format!("-----END {} PRIVATE KEY-----", "RSA"));
    lines
}

#[test]
fn private_keys_go_whole() {
    let lines = key_block();
    let whole = redact(&format!("a\n{}\nb", lines.join("\n")));
    let more = "[redacted:private-key:more]\n".repeat(5);
    assert_eq!(whole, format!("a\n[redacted:private-key:512]\n{more}b"));
    let mut state = RedactorState::default();
    let mut seen = Vec::new();
    for line in lines.iter().chain(&["done with that".to_owned()]) {
        seen.push(Redactor::builtin().redact_line(&mut state, line).into_owned());
    }
    assert!(seen[0].starts_with("[redacted:private-key:"));
    assert!(seen[1..=5].iter().all(|line| line == "[redacted:private-key:more]"), "{seen:?}");
    assert_eq!(seen[6], "done with that");
}

#[test]
fn a_key_without_an_end_does_not_swallow_the_session() {
    let mut state = RedactorState::default();
    let redactor = Redactor::builtin();
    redactor.redact_line(&mut state, &key_block()[0]);
    assert_eq!(
        redactor.redact_line(&mut state, "• I will not print the key here."),
        "• I will not print the key here."
    );
    let line = "some MIIEowIBAAKCAQEA7bq9abcdefghijklmnop text";
    assert_eq!(redactor.redact_line(&mut state, line), line, "the block is closed");
}

#[test]
fn a_key_whose_head_scrolled_off_goes_upwards() {
    let block = key_block();
    let mut rows: Vec<&str> = block[2..].iter().map(String::as_str).collect();
    rows.push("$ ls");
    let out = Redactor::builtin().redact_rows(&rows, 80);
    assert!(out[..3].iter().all(|row| !row.contains("MII")), "{out:?}");
    assert_eq!(out.last().unwrap(), "$ ls");
}

#[test]
fn a_wrapped_token_goes_from_every_row_whatever_cut_it() {
    let redactor = Redactor::builtin();
    for (kind, secret) in samples() {
        for (prefix, next, suffix, width) in [
            ("", "", "", 40),
            ("  └ key ", "    ", "", 44),
            ("│ ", "│ ", " │", 38),
            ("the token is ", "", "", 32),
        ] {
            let rows = wrap(&secret, prefix, next, suffix, width);
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            let cols = rows.iter().map(|row| row.chars().count()).max().unwrap();
            let out = redactor.redact_rows(&rows, cols).join("\n");
            for piece in secret.as_bytes().windows(9) {
                let piece = std::str::from_utf8(piece).unwrap();
                assert!(!out.contains(piece), "{kind} {prefix:?}: {piece} in\n{out}");
            }
        }
    }
}

fn wrap(secret: &str, prefix: &str, next: &str, suffix: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut rest = secret;
    while !rest.is_empty() {
        let lead = if rows.is_empty() { prefix } else { next };
        let room = width - lead.chars().count() - suffix.chars().count();
        let (piece, tail) = rest.split_at(room.min(rest.len()));
        rows.push(format!("{lead}{piece:room$}{suffix}"));
        rest = tail;
    }
    rows
}

#[test]
fn the_word_below_a_whole_token_stays() {
    let (_, secret) = samples().remove(4);
    let rows = [secret.as_str(), "Done", "next"];
    let out = Redactor::builtin().redact_rows(&rows, 120);
    assert_eq!(out[1..], ["Done", "next"]);
}

#[test]
fn style_runs_move_with_the_text() {
    let (_, secret) = samples().remove(4);
    let text = format!("a {secret} bold");
    let bold = u32::try_from(text.len() - 4).unwrap();
    let run = StyleRun { start: bold, end: bold + 4, style: Style { bold: true, ..Style::default() } };
    let frame = Frame {
        cols: 80,
        rows: vec![FrameRow { text, wrapped: false, runs: vec![run] }],
        ..Frame::default()
    };
    let out = Redactor::builtin().redact_frame(&frame);
    let row = &out.rows[0];
    assert_eq!(&row.text[row.runs[0].start as usize..row.runs[0].end as usize], "bold");
}

proptest! {
    #[test]
    fn twice_is_once(text in "[ -~]{0,80}") {
        let once = redact(&text);
        prop_assert_eq!(redact(&once), once);
    }

    #[test]
    fn any_rows_do_not_panic(rows in proptest::collection::vec("(\\PC|[a-z.:/@-]|sk-ant-|-----BEGIN PRIVATE KEY-----|-----END ){0,30}", 0..12), cols in 0_usize..60) {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        prop_assert_eq!(Redactor::builtin().redact_rows(&rows, cols).len(), rows.len());
    }

    #[test]
    fn a_token_anywhere_in_a_text_goes(before in "[ -~]{0,30} ", index in 0_usize..12, after in " [ -~]{0,30}") {
        let (_, secret) = samples().swap_remove(index);
        let text = format!("{before}{secret}{after}");
        prop_assert!(!redact(&text).contains(&secret));
    }
}

#[test]
fn a_row_of_a_key_that_reads_as_a_word_goes_with_its_column() {
    let head = ["-----BEGIN RSA PRIV", "ATE KEY-----"];
    let rows = ["NhpvtGr4Q204", "aUkzKTkaUn0R", "kkmgofzavvwz", "hdWU8kQukmPR"];
    let mut state = RedactorState::default();
    for row in head {
        Redactor::builtin().redact_line(&mut state, row);
    }
    for row in rows {
        let out = Redactor::builtin().redact_line(&mut state, &format!("        {row}")).into_owned();
        assert!(!out.contains(row), "{out}");
    }
    let word = "        understandable";
    assert_eq!(Redactor::builtin().redact_line(&mut state, word), word, "of another width");
}
