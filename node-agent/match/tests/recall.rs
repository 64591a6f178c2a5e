//! What must go: for every kind secrets of the published form, in the places where they turn up, cut as agents and
//! terminals cut them. No eight consecutive characters of a secret may stay in a row.
//!
//! One thing is allowed, and documented: where a wrap leaves less than twelve characters of a secret in a row of their
//! own and these read as a word (letters, perhaps a number behind), they may stay, for then they cannot be told from the
//! word that stands below a token. The same for the first characters of a beginning that ordinary names share.

use std::collections::HashSet;

use proptest::prelude::*;
use wa_match::{Redactor, RedactorState};

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BECH: &str = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";

/// Random characters, drawn by proptest.
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let letters = alphabet.as_bytes();
        (0..length).map(|_| letters[(self.next() % letters.len() as u64) as usize] as char).collect()
    }
}

/// The beginnings are put together here, so that no scanner of sources takes them for the real thing.
fn j(parts: &[&str]) -> String {
    parts.concat()
}

/// Secrets that are known by themselves.
#[rustfmt::skip]
fn tokens(s: &mut Source) -> Vec<String> {
    let mut t = |beginning: &[&str], alphabet: &str, length: usize| format!("{}{}", j(beginning), s.text(alphabet, length));
    let mut all = vec![
        t(&["sk-", "ant-", "api03-"], URL, 93) + "AA",
        t(&["sk-", "ant-", "oat01-"], URL, 93) + "AA",
        t(&["sk-", "proj-"], URL, 124),
        t(&["sk-", "proj-"], URL, 48),
        t(&["sk-", "svcacct-"], URL, 120),
        t(&["sk-"], ALNUM, 48),
        t(&["sk-", "or-v1-"], HEX, 64),
        t(&["sk-"], HEX, 32),
        t(&["AI", "za", "Sy"], URL, 33),
        t(&["ya", "29."], URL, 140),
        t(&["GOC", "SPX-"], URL, 28),
        t(&["x", "ai-"], ALNUM, 80),
        t(&["gs", "k_"], ALNUM, 52),
        t(&["h", "f_"], LETTERS, 34),
        t(&["r", "8_"], ALNUM, 37),
        t(&["pp", "lx-"], HEX, 48),
        t(&["nv", "api-"], URL, 64),
        t(&["AK", "IA"], UPPER, 16),
        t(&["AS", "IA"], UPPER, 16),
        t(&["gh", "p_"], ALNUM, 36),
        t(&["gh", "o_"], ALNUM, 36),
        t(&["gh", "u_"], ALNUM, 36),
        t(&["gh", "s_"], ALNUM, 36),
        t(&["gh", "r_"], ALNUM, 76),
        t(&["github", "_pat_"], ALNUM, 22) + "_" ,
        t(&["gl", "pat-"], URL, 20),
        t(&["gl", "rt-"], URL, 20),
        t(&["np", "m_"], ALNUM, 36),
        t(&["py", "pi-AgEIcHlwaS5vcmc"], URL, 150),
        t(&["ci", "o"], ALNUM, 32),
        t(&["xo", "xb-123456789012-1234567890123-"], ALNUM, 24),
        t(&["xo", "xp-123456789012-123456789012-123456789012-"], HEX, 32),
        t(&["xa", "pp-1-A0123456789-1234567890123-"], HEX, 64),
        t(&["sk", "_live_"], ALNUM, 24),
        t(&["rk", "_live_"], ALNUM, 99),
        t(&["S", "K"], HEX, 32),
        t(&["do", "p_v1_"], HEX, 64),
        t(&["hv", "s."], URL, 90),
        t(&["AGE-", "SECRET-KEY-1"], BECH, 58),
        t(&["dckr", "_pat_"], URL, 27),
        t(&["sh", "pat_"], HEX, 32),
        t(&["lin", "_api_"], ALNUM, 40),
    ];
    let tail = s.text(ALNUM, 59);
    if let Some(pat) = all.iter_mut().find(|text| text.starts_with("github")) {
        pat.push_str(&tail);
    }
    all.push(format!("{}{}.{}", j(&["S", "G."]), s.text(URL, 22), s.text(URL, 43)));
    all.push(format!("{}{}-{}", j(&["ts", "key-auth-"]), s.text(ALNUM, 17), s.text(ALNUM, 32)));
    all.push(format!("{}{}.{}{}.{}", j(&["ey", "JhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"]), j(&["", ""]), j(&["ey", "Jz"]), s.text(URL, 90), s.text(URL, 43)).replace("..", "."));
    all.push(format!("{}web-1.{}.{}", j(&["wa-", "join-1."]), s.text(URL, 43), s.text(HEX, 64)));
    all
}

/// Texts of one line around a token.
fn around(context: usize, token: &str) -> String {
    match context % 12 {
        0 => format!("export SOME_NAME={token}"),
        1 => format!("  \"name\": \"{token}\","),
        2 => format!("name: {token}"),
        3 => format!("Authorization: Bearer {token}"),
        4 => format!("https://example.com/cb?value={token}&x=1"),
        5 => format!("$ curl -H 'x-thing: {token}' https://example.com"),
        6 => format!("    let client = Client::new(\"{token}\");"),
        7 => format!("{{\\\"name\\\":\\\"{token}\\\"}}"),
        8 => format!("key is {token}."),
        9 => format!("({token})"),
        10 => format!("\u{1b}[33m{token}\u{1b}[0m"),
        _ => token.to_owned(),
    }
}

/// Secrets that are known by their place: the text and the secret in it.
#[rustfmt::skip]
fn placed(s: &mut Source) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut add = |form: &str, secret: String| out.push((form.replace("{}", &secret), secret));
    // A generated password without a digit or a sign is not one that anybody's generator makes.
    let mut password = |n: usize| format!("{}{}{}", s.text(ALNUM, n / 2), ["7!", "#4", "9z8", "_2Q5"][(s.next() % 4) as usize], s.text(ALNUM, n / 2));
    for form in ["DB_PASSWORD={}", "export PGPASSWORD='{}'", "\"password\": \"{}\",", "password: {}", "--password={}", "--password {}", "password = \"{}\"", "mysql --user=root --password={} db", "Server=db;User Id=app;Password={};Encrypt=True", "set DB_PASSWD={}", "passphrase: \"{}\"", "host=db user=app password={} dbname=x", "{\\\"password\\\":\\\"{}\\\"}", "  password: '{}'"] {
        add(form, password(14));
    }
    for form in ["postgres://app:{}@db.internal:5432/shop", "redis://:{}@cache:6379/0", "mongodb+srv://u:{}@cluster0.example.net/x", "https://bob:{}@example.com/x.git", "amqp://guest1:{}@mq:5672/%2f", "machine example.com login bob password {}", "db.internal:5432:shop:app:{}"] {
        add(form, password(16).replace(['#', '!'], "x4"));
    }
    for form in ["MISTRAL_API_KEY={}", "COHERE_API_KEY={}", "\"api_key\": \"{}\"", "x-api-key: {}", "-H 'api-key: {}'", "Authorization: Bearer {}", "authorization: token {}", "\"Authorization\": \"Bearer {}\"", "AUTH_TOKEN={}", "  auth_token: \"{}\"", "client_secret={}", "\"client_secret\":\"{}\"", "--token {}", "--api-key={}", "TWILIO_AUTH_TOKEN={}", "//registry.npmjs.org/:_authToken={}", "https://x.example/cb?access_token={}&a=1", "PRIVATE-TOKEN: {}", "X-Vault-Token: {}"] {
        add(form, s.text(ALNUM, 40));
    }
    for form in ["DEEPGRAM_API_KEY={}", "api-key: {}", "apikey={}", "\"secret\": \"{}\""] {
        add(form, s.text(HEX, 32));
    }
    for form in ["aws_secret_access_key = {}", "AWS_SECRET_ACCESS_KEY={}", "\"SecretAccessKey\": \"{}\",", "AWS Secret Access Key [None]: {}"] {
        add(form, s.text(BASE64, 40));
    }
    for form in ["AWS_SESSION_TOKEN={}", "\"SessionToken\": \"{}\"", "aws_session_token = {}"] {
        add(form, format!("{}{}", j(&["IQo", "Jb3JpZ2lu"]), s.text(BASE64, 300)));
    }
    add("DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=core.windows.net", s.text(BASE64, 86) + "==");
    add("https://x.blob.core.windows.net/c?sv=2024-01-01&sr=c&sig={}", s.text(ALNUM, 43) + "%3D");
    add("AZURE_CLIENT_SECRET={}", format!("{}8Q~{}", s.text(ALNUM, 3), s.text(URL, 34)));
    add("secret value {} created", format!("{}8Q~{}", s.text(ALNUM, 3), s.text(URL, 34)));
    add("Authorization: Basic {}", s.text(BASE64, 32));
    add("Cookie: sid={}; theme=dark", s.text(ALNUM, 32));
    add("Set-Cookie: session={}; Path=/; HttpOnly", s.text(URL, 48));
    add("https://hooks.slack.com/services/{}", format!("T{}/B{}/{}", s.text(UPPER, 8), s.text(UPPER, 10), s.text(ALNUM, 24)));
    add("https://discord.com/api/webhooks/{}", format!("{}/{}", s.text("0123456789", 18), s.text(URL, 68)));
    add("bot {} started", format!("{}:AA{}", s.text("123456789", 9), s.text(URL, 33)));
    out
}

/// Pieces of eight characters of a secret that stay in a row, but for the documented exception.
fn left(rows: &[String], secret: &str) -> Option<String> {
    let pieces: HashSet<&[u8]> = secret.as_bytes().windows(8).collect();
    let secret: Vec<char> = secret.chars().collect();
    for row in rows {
        let Some(at) = row.as_bytes().windows(8).position(|window| pieces.contains(window)) else { continue };
        let text: Vec<char> = row.get(at..).unwrap_or_default().chars().collect();
        let longest = longest_common(&text, &secret);
        let piece: String = text[..longest].iter().collect();
        if !((longest < 12 || piece.starts_with("AGE-")) && reads_as_word(&piece)) {
            return Some(format!("{piece:?} in {row:?}"));
        }
    }
    None
}

fn longest_common(text: &[char], secret: &[char]) -> usize {
    (0..secret.len())
        .map(|from| text.iter().zip(&secret[from..]).take_while(|(a, b)| a == b).count())
        .max()
        .unwrap_or(0)
}

fn reads_as_word(piece: &str) -> bool {
    const SHARED: &[&str] = &["pplx-", "pypi-", "xapp-", "tskey-", "xai-", "hvs."];
    if SHARED.iter().any(|begin| piece.strip_prefix(begin).is_some_and(|rest| rest.len() <= 5)) {
        return true;
    }
    if "AGE-SECRET-KEY-1".contains(piece) {
        return true;
    }
    let letters = piece.trim_end_matches(|c: char| c.is_ascii_digit());
    letters.len() >= 4 && letters.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-'))
}

/// Ways of agents to cut a line: what stands before the first row, before the others, and behind each.
const FRAMES: &[(&str, &str, &str)] = &[
    ("", "", ""),
    ("│ ", "│ ", " │"),
    ("  ⎿  ", "     ", ""),
    ("● ", "  ", ""),
    ("  └ ", "    ", ""),
    ("┃ ", "┃ ", " ┃"),
    ("   12 + ", "        ", ""),
    ("  │ > ", "  │   ", " │"),
];

fn wrap(text: &str, frame: (&str, &str, &str), width: usize) -> Vec<String> {
    let (first, other, behind) = frame;
    let mut rows = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while !rest.is_empty() {
        let before = if rows.is_empty() { first } else { other };
        let room = width.saturating_sub(before.chars().count() + behind.chars().count()).max(8);
        let tail = rest.split_off(room.min(rest.len()));
        let piece: String = rest.into_iter().collect();
        let padded = if behind.is_empty() { piece } else { format!("{piece:room$}") };
        rows.push(format!("{before}{padded}{behind}"));
        rest = tail;
    }
    rows
}

/// The rows as they come out, one by one as lines and all at once as a screen.
fn both(rows: &[String], cols: usize) -> [Vec<String>; 2] {
    let redactor = Redactor::builtin();
    let mut state = RedactorState::default();
    let lines = rows.iter().map(|row| redactor.redact_line(&mut state, row).into_owned()).collect();
    let texts: Vec<&str> = rows.iter().map(String::as_str).collect();
    let screen = redactor.redact_rows(&texts, cols).into_iter().map(|row| row.into_owned()).collect();
    [lines, screen]
}

/// Drawn by the properties below, one in a hundred thousand: pieces that each happen to read as words.
#[test]
#[rustfmt::skip]
fn secrets_that_read_as_words_go() {
    let placed = [
        ("aws_secret_access_key = {}", j(&["nzaGEkndLHA8Zptr", "ymSWyyYi/DV8WvojjdjUwxQK"])),
        ("aws_secret_access_key = {}", j(&["O7BbueKVDxmFnyTo", "cs/okNgqPQeoqzcJJYJL8Mcx"])),
        ("AWS_SECRET_ACCESS_KEY={}", j(&["6ZfuaSKHpfOSIWB/", "xs0+i1QJA/PISTarsrIx9DPC"])),
        ("\"SecretAccessKey\": \"{}\",", j(&["RWSSdqirj6YQMDcu", "uuzEorhGI+ejxo3TCtso+dXN"])),
        ("apikey={}", j(&["9881849875012493", "2503950423679306"])),
        ("\"name\": \"{}\",", j(&["gl", "pat-2_Wzb10-KQp_Oadlf-vj"])),
        ("curl -H 'x-thing: {}' https://example.com", j(&["gl", "rt-Zgy_lN-Wxkor_32A-eVk"])),
        ("https://example.com/cb?value={}&x=1", j(&["gl", "rt-9h9-Utrvc-ZEBVYCPI60"])),
    ];
    for (form, secret) in placed {
        let out = Redactor::builtin().redact(&form.replace("{}", &secret)).into_owned();
        assert_eq!(left(std::slice::from_ref(&out), &secret), None, "{form}");
    }
    for text in ["glpat-Your-Token-Here-1234", "secret_access_key = config/sources/AwsSecretKeyReader.rs", "token = \"src/sources/JSONReader.rs\""] {
        assert_eq!(Redactor::builtin().redact(text), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_go_wherever_they_stand(seed: u64, context in 0_usize..12) {
        for token in tokens(&mut Source(seed)) {
            let text = around(context, &token);
            let out = Redactor::builtin().redact(&text).into_owned();
            prop_assert_eq!(left(std::slice::from_ref(&out), &token), None, "{}", text);
            prop_assert_eq!(Redactor::builtin().redact(&out).into_owned(), out.clone(), "twice is once");
        }
    }

    #[test]
    fn placed_secrets_go(seed: u64) {
        for (text, secret) in placed(&mut Source(seed)) {
            let out = Redactor::builtin().redact(&text).into_owned();
            prop_assert_eq!(left(std::slice::from_ref(&out), &secret), None, "{}", text);
            prop_assert_eq!(Redactor::builtin().redact(&out).into_owned(), out.clone(), "twice is once");
        }
    }

    #[test]
    fn private_keys_go_from_every_row(seed: u64, lines in 4_usize..60, label in 0_usize..6, frame in 0..FRAMES.len(), width in 20_usize..200, numbered: bool, end: bool) {
        let mut source = Source(seed);
        let (label, columns) = [("RSA PRIVATE KEY", 64), ("PRIVATE KEY", 64), ("OPENSSH PRIVATE KEY", 70), ("EC PRIVATE KEY", 64), ("ENCRYPTED PRIVATE KEY", 64), ("PGP PRIVATE KEY BLOCK", 64)][label];
        let mut material: Vec<String> = (1..lines).map(|_| source.text(BASE64, columns)).collect();
        material.push(source.text(BASE64, 24) + "==");
        let mut block = vec![format!("-----BEGIN {label}-----")];
        block.extend(material.iter().cloned());
        if end {
            block.push(format!("-----END {label}-----"));
        }
        let mut rows = Vec::new();
        for (at, line) in block.iter().enumerate() {
            let line = if numbered { format!("{:4}→{line}", at + 1) } else { line.clone() };
            rows.extend(wrap(&line, FRAMES[frame], width));
        }
        rows.push("I have shown the file; what should be done next?".to_owned());
        for out in both(&rows, width) {
            for line in &material {
                prop_assert_eq!(left(&out, line), None, "\n{}\n->\n{}", rows.join("\n"), out.join("\n"));
            }
            prop_assert_eq!(out.last(), rows.last(), "what comes after the key stays");
        }
    }

    #[test]
    fn keys_in_json_go(seed: u64, frame in 0..FRAMES.len(), width in 20_usize..200) {
        let mut source = Source(seed);
        let material: Vec<String> = (0..26).map(|_| source.text(BASE64, 64)).collect();
        let json = format!("  \"private_key\": \"-----BEGIN {} KEY-----\\n{}\\n-----END {} KEY-----\\n\",", "PRIVATE", material.join("\\n"), "PRIVATE");
        let out = Redactor::builtin().redact(&json).into_owned();
        prop_assert_eq!(left(std::slice::from_ref(&out), &material.join("\\n")), None);
        prop_assert!(out.starts_with("  \"private_key\": \""), "{}", out);
        let rows = wrap(&json, FRAMES[frame], width);
        for out in both(&rows, width) {
            for line in &material {
                prop_assert_eq!(left(&out, line), None, "\n{}\n->\n{}", rows.join("\n"), out.join("\n"));
            }
        }
    }
}

/// Secrets cut by agents, some of which leave a piece of eight characters or more. Where nothing tells that a row was cut,
/// neither a border nor a quotation mark nor a usual length, the last piece of a secret can read as the next word does.
/// Measured: 0.16 % of lines that come one by one, 0.01 % of screens.
const LEAKS: [f64; 2] = [0.0025, 0.0005];

#[test]
fn wrapped_secrets_go_from_every_row() {
    let mut leaks = [Vec::new(), Vec::new()];
    let mut all = 0;
    for seed in 0..160_u64 {
        let mut source = Source(seed);
        let frame = FRAMES[(source.next() % FRAMES.len() as u64) as usize];
        let width = 20 + (source.next() % 180) as usize;
        let mut texts = placed(&mut source);
        let context = source.next() as usize;
        texts.extend(tokens(&mut source).into_iter().map(|token| (around(context, &token), token)));
        for (text, secret) in texts {
            let rows = wrap(&text, frame, width);
            all += 1;
            for (out, leaks) in both(&rows, width).iter().zip(&mut leaks) {
                if let Some(piece) = left(out, &secret) {
                    leaks.push(format!("{piece}\n{}\n->\n{}", rows.join("\n"), out.join("\n")));
                }
            }
        }
    }
    for ((leaks, what), most) in leaks.iter().zip(["lines one by one", "a screen"]).zip(LEAKS) {
        let rate = leaks.len() as f64 / f64::from(all);
        eprintln!("{what}: {} of {all} secrets left a piece", leaks.len());
        assert!(rate <= most, "{what}: {}", leaks.iter().take(12).cloned().collect::<Vec<_>>().join("\n\n"));
    }
}

#[test]
fn device_codes_go_where_a_login_speaks_of_them() {
    let screen = "Follow these steps to sign in with ChatGPT using device code authorization:\n\n1. Open this link in your browser\n   https://auth.example.com/codex/device\n\n2. Enter this one-time code (expires in 15 minutes)\n   QF7K-2XWZR\n\nDevice codes are a common phishing target.";
    let out = Redactor::builtin().redact(screen);
    assert!(out.contains("   [redacted:device-code:16]\n") && !out.contains("QF7K"), "{out}");
    let out = Redactor::builtin().redact("! First copy your one-time code: WDJB-MJHT");
    assert_eq!(out, "! First copy your one-time code: [redacted:device-code:16]");
    assert_eq!(
        Redactor::builtin().redact("the part QF7K-2XWZR is out of stock"),
        "the part QF7K-2XWZR is out of stock"
    );
}

#[test]
fn the_lines_of_a_netrc_go() {
    let text = "machine example.com\n  login bob\n  password s3cr3tpw\nmachine other.org login eve password hunter22x";
    let out = Redactor::builtin().redact(text);
    assert!(out.contains("login bob") && !out.contains("s3cr3tpw") && !out.contains("hunter22x"), "{out}");
}

#[test]
fn a_key_of_which_the_screen_shows_a_part_goes() {
    let mut source = Source(7);
    let material: Vec<String> = (0..24).map(|_| source.text(BASE64, 64)).collect();
    let end = format!("-----END {} KEY-----", "RSA PRIVATE");
    for (rows, what) in
        [([&material[..], std::slice::from_ref(&end)].concat(), "its end"), (material.clone(), "its middle")]
    {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let out: Vec<String> =
            Redactor::builtin().redact_rows(&rows, 80).into_iter().map(|row| row.into_owned()).collect();
        assert!(material.iter().all(|line| left(&out, line).is_none()), "{what}");
    }
    let certificate: Vec<String> = [&material[..], &["-----END CERTIFICATE-----".to_owned()]].concat();
    let rows: Vec<&str> = certificate.iter().map(String::as_str).collect();
    assert_eq!(Redactor::builtin().redact_rows(&rows, 80), rows, "a certificate is public");
}
