//! What must stay: a measured rate of lines that the redactor touches although no secret stands in them.
//!
//! The body of text is what the repository itself holds (sources, documents, recorded screens of agents) and logs that
//! are generated from a fixed seed in the forms of real tools. Texts that are about secrets are left out: the redactor
//! and its tests, and the tests of tokens and keys, for their samples are made to be found.

use std::path::{Path, PathBuf};

use wa_match::{Redactor, RedactorState};

/// Lines touched per line of code and documents.
const CODE_RATE: f64 = 0.0001;

#[derive(Default)]
struct Tally {
    lines: usize,
    bytes: usize,
    hits: Vec<String>,
}

impl Tally {
    fn take(&mut self, name: &str, text: &str) {
        let redactor = Redactor::builtin();
        let mut state = RedactorState::default();
        for (at, line) in text.lines().enumerate() {
            self.lines += 1;
            self.bytes += line.len();
            let out = redactor.redact_line(&mut state, line);
            if out != line {
                self.hits.push(format!("{name}:{}: {out}", at + 1));
            }
        }
    }

    fn rate(&self) -> f64 {
        self.hits.len() as f64 / self.lines.max(1) as f64
    }

    fn say(&self, what: &str) {
        eprintln!("{what}: {} lines, {} bytes, {} touched", self.lines, self.bytes, self.hits.len());
        let begun = self.hits.iter().filter(|hit| !hit.contains(":more]"));
        begun.take(200).for_each(|hit| eprintln!("  {}", hit.chars().take(220).collect::<String>()));
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(dir: &Path, endings: &[&str], out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "redact") {
                files(&path, endings, out);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            out.push(path);
        }
    }
}

/// Files whose subject is secrets.
fn about_secrets(path: &Path) -> bool {
    let text = path.to_string_lossy();
    // Tests that hand a secret or a code of a sign-in to the node and see what becomes of it.
    let handed =
        ["it/acting.rs", "tests/witness.rs", "tests/alerts.rs", "matcher_tests.rs", "packs/codex.toml"];
    text.contains("match/tests/")
        || text.contains("redact")
        || text.ends_with("tests/rules.rs")
        || handed.iter().any(|name| text.ends_with(name))
}

#[test]
fn our_own_sources_stay() {
    let mut paths = Vec::new();
    files(&top(), &[".rs", ".md", ".toml", ".proto", ".lock", ".service", ".sh", ".json"], &mut paths);
    assert!(paths.len() > 100, "the sources are there");
    let mut tally = Tally::default();
    for path in paths.iter().filter(|path| !about_secrets(path)) {
        if let Ok(text) = std::fs::read_to_string(path) {
            tally.take(&path.display().to_string(), &text);
        }
    }
    tally.say("sources");
    assert!(tally.rate() <= CODE_RATE, "{} of {} lines", tally.hits.len(), tally.lines);
}

#[test]
fn recorded_screens_stay() {
    let mut paths = Vec::new();
    files(&top().join("node-agent/match/testdata"), &[".ansi", ".txt"], &mut paths);
    assert!(paths.len() > 20);
    let mut tally = Tally::default();
    for path in &paths {
        tally.take(&path.display().to_string(), &String::from_utf8_lossy(&std::fs::read(path).unwrap()));
    }
    tally.say("screens");
    assert!(tally.hits.is_empty(), "{:?}", tally.hits);
}

/// A generator of its own, so that the text is the same everywhere and always.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| letters[self.roll(letters.len() as u64) as usize]).collect()
    }

    fn hex(&mut self, length: usize) -> String {
        self.text("0123456789abcdef", length)
    }

    fn base64(&mut self, length: usize) -> String {
        self.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", length)
    }

    fn uuid(&mut self) -> String {
        format!("{}-{}-4{}-a{}-{}", self.hex(8), self.hex(4), self.hex(3), self.hex(3), self.hex(12))
    }

    fn word(&mut self) -> &'static str {
        const WORDS: &[&str] = &[
            "parser", "request", "user", "token", "session", "index", "cache", "password", "key", "render",
            "module", "secret", "worker", "config", "build", "auth", "client", "commit", "device", "code",
            "cookie", "bearer",
        ];
        WORDS[self.roll(WORDS.len() as u64) as usize]
    }
}

/// Lines in the forms of real tools, with the noise that looks most like secrets.
fn noise(dice: &mut Dice) -> Vec<String> {
    let stamp = format!(
        "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        1 + dice.roll(12),
        1 + dice.roll(28),
        dice.roll(24),
        dice.roll(60),
        dice.roll(60),
        dice.roll(1000)
    );
    let (a, b, c) = (dice.word(), dice.word(), dice.word());
    let (major, minor, patch) = (dice.roll(9), dice.roll(40), dice.roll(200));
    vec![
        format!("commit {}", dice.hex(40)),
        format!("{} {a}: {b} the {c}", dice.hex(7)),
        format!("index {}..{} 100644", dice.hex(10), dice.hex(10)),
        format!("{stamp} INFO request_id={} {a} {b}", dice.uuid()),
        format!("{stamp} DEBUG trace_id={} span_id={} {a}", dice.hex(32), dice.hex(16)),
        format!(
            "{stamp} [{a}-{}] {b} took {}ms, tokens={} max_tokens=8192",
            dice.roll(99),
            dice.roll(999),
            dice.roll(99_999)
        ),
        format!("      \"integrity\": \"sha512-{}==\",", dice.base64(86)),
        format!(
            "      \"resolved\": \"https://registry.npmjs.org/{a}-{b}/-/{a}-{b}-{major}.{minor}.{patch}.tgz\","
        ),
        format!("checksum = \"{}\"", dice.hex(64)),
        format!("{a}@{major}.{minor}.{patch}: sha256-{}=", dice.base64(43)),
        format!("{}  {a}-{b}.tar.gz", dice.hex(64)),
        format!("sha256:{}: Pulling from library/{a}", dice.hex(64)),
        format!(
            "00000{:03x}0  {}  |................|",
            dice.roll(4096),
            (0..16).map(|_| dice.hex(2)).collect::<Vec<_>>().join(" ")
        ),
        format!("  background: url(data:image/png;base64,iVBORw0KGgo{}=);", dice.base64(120)),
        dice.base64(76),
        format!(
            "!function(e,t){{var n=e.{a},r=t.{b}Key;function i(e){{return n[e]||(n[e]={{{c}:r}})}}}}(window,\"{}\");",
            dice.hex(8)
        ),
        format!("  --{a}-color: #{}; --{b}-shadow: 0 0 4px #{}80;", dice.hex(6), dice.hex(6)),
        format!("   Compiling {a}-{b} v{major}.{minor}.{patch} (/home/dev/{c}/{a}_{b})"),
        format!("Cloning into '{a}-{b}'... remote: Enumerating objects: {}, done.", dice.roll(99_999)),
        format!(
            "GET /api/v{major}/{a}/{}?page={minor}&limit=50&sort={b} 200 {}ms",
            dice.uuid(),
            dice.roll(900)
        ),
        format!("const {a}Token = await {b}.getToken({c}Id);"),
        format!("    password = getpass.getpass(\"Password for {a}: \")"),
        format!("    {a}_token: string; {b}_secret?: string;"),
        format!("export {}_TOKEN=\"${{{}_TOKEN:-}}\"", a.to_uppercase(), b.to_uppercase()),
        format!("  {a}Password: z.string().min(8).max({minor}),"),
        format!("self.{a}_token = {b}_token or os.environ.get(\"{}_API_KEY\")", c.to_uppercase()),
        format!(
            "      - name: {a}\n        valueFrom: {{ secretKeyRef: {{ name: {b}-secret, key: {c}-token }} }}"
        ),
        format!("container {} is healthy", dice.hex(12)),
        format!("arn:aws:iam::{}:role/{a}-{b}-role", 100_000_000_000_u64 + dice.roll(899_999_999_999)),
        format!(
            "v{major}.{minor}.{patch}-rc.{} v{major}.{minor}.{patch}+{} ^{major}.{minor} ~{minor}.{patch}",
            dice.roll(9),
            dice.hex(7)
        ),
        format!("Merge pull request #{} from {a}/{b}-{c}-{}", dice.roll(9999), dice.roll(99)),
        format!("assert_eq!(digest, \"{}\");", dice.hex(64)),
        format!("etag: W/\"{}-{}\"", dice.hex(4), dice.base64(27)),
        format!("{a}: {{ id: '{}', {b}: true }}", dice.uuid()),
        format!("  File \"/usr/lib/python3.11/site-packages/{a}/{b}.py\", line {minor}, in {c}_{a}"),
        format!("0x{} <_{a}{b}E+0x{}>", dice.hex(16), dice.hex(3)),
        format!("_ZN4core3ptr{}drop_in_place$LT${a}..{b}$GT$17h{}E", dice.roll(99), dice.hex(16)),
        format!(
            "AS{} {}.{}.{}.{} {}:{}:{}::1",
            dice.roll(65_535),
            dice.roll(255),
            dice.roll(255),
            dice.roll(255),
            dice.roll(255),
            dice.hex(4),
            dice.hex(4),
            dice.hex(4)
        ),
        format!("MD5 ({a}.bin) = {}", dice.hex(32)),
        format!("task-{} disk-{} risk-{a}-{b}-{c}-of-the-{a} ask-{}", dice.uuid(), dice.uuid(), dice.hex(24)),
    ]
}

#[test]
fn hashes_ids_and_checksums_stay_every_one() {
    let mut dice = Dice(0x5eed_1234_abcd_0001);
    let mut tally = Tally::default();
    for _ in 0..400 {
        tally.take("noise", &noise(&mut dice).join("\n"));
    }
    tally.say("logs");
    assert!(tally.hits.is_empty(), "{:#?}", &tally.hits[..tally.hits.len().min(20)]);
}

/// Any body of text on this machine: `WA_TEXTS=DIR cargo test -p wa-match --release --test ordinary -- --ignored`.
#[test]
#[ignore = "measures a directory that is named by WA_TEXTS"]
fn a_large_body_of_text() {
    let Some(dir) = std::env::var_os("WA_TEXTS") else { return };
    let mut paths = Vec::new();
    let endings = [
        ".rs", ".md", ".toml", ".c", ".h", ".py", ".js", ".ts", ".json", ".sh", ".txt", ".yml", ".yaml",
        ".lock",
    ];
    files(Path::new(&dir), &endings, &mut paths);
    let mut tally = Tally::default();
    for path in &paths {
        if let Ok(text) = std::fs::read_to_string(path) {
            tally.take(&path.display().to_string(), &text);
        }
    }
    tally.say("texts");
    eprintln!("rate {:.5} %", tally.rate() * 100.0);
}
