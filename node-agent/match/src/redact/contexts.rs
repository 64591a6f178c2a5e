//! Secrets that are known by what stands around them, and a few whose form takes a regular expression.
//!
//! The group `secret` is what goes, without one the whole match. A check on what was found throws out look-alikes. Every
//! pattern consists of simple repetitions that cannot begin again inside a match, so the time is linear in the text.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::shape::{
    Alphabet, masked, placeholder_word, plain_words, random_looking, reference, simple_words,
};
use super::span::{Next, Span};

/// What a check looks at.
pub(super) struct Found<'t> {
    text: &'t str,
    value: &'t str,
    range: Range<usize>,
    /// The end of the row may have cut it.
    cut: bool,
}

impl Found<'_> {
    /// What stands before it, at most so many bytes.
    fn before(&self, bytes: usize) -> &str {
        let from = self.text.floor_char_boundary(self.range.start.saturating_sub(bytes));
        &self.text[from..self.range.start]
    }
}

pub(super) struct Context {
    pub(super) kind: &'static str,
    pub(super) literals: &'static [&'static str],
    pattern: &'static str,
    check: fn(&Found<'_>) -> bool,
    alphabet: Alphabet,
    why: &'static str,
}

const fn context(
    kind: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
    check: fn(&Found<'_>) -> bool,
    alphabet: Alphabet,
    why: &'static str,
) -> Context {
    Context { kind, literals, pattern, check, alphabet, why }
}

fn literal_value(value: &str) -> bool {
    !reference(value) && !masked(value) && !placeholder_word(value)
}

fn generated(found: &Found<'_>) -> bool {
    // Cut, it is too short to have a shape.
    let part = found.cut && !simple_words(found.value);
    literal_value(found.value) && (part || !plain_words(found.value))
}

fn mixed(found: &Found<'_>) -> bool {
    literal_value(found.value) && random_looking(found.value)
}

fn header_value(found: &Found<'_>) -> bool {
    let value = found.value;
    // Cut, it is too short to have a shape.
    let digit = value.bytes().any(|b| b.is_ascii_digit());
    let part = found.cut && value.len() >= 8 && (digit || !simple_words(value));
    let long = value.len() >= 12 || found.cut || found.before(24).contains("asic ");
    literal_value(value) && (part || !plain_words(value)) && long
}

fn url_password(found: &Found<'_>) -> bool {
    let value = found.value;
    let before = found.before(256);
    let user = before.rsplit(['/', ':']).nth(1).unwrap_or("");
    let port = value.len() <= 5 && value.bytes().all(|b| b.is_ascii_digit());
    let ends = found.text[found.range.end..].starts_with('@');
    literal_value(value)
        && value != user
        && value.len() >= 3
        && (ends || (!port && value.len() >= 4 && !simple_words(value)))
}

fn url_token(found: &Found<'_>) -> bool {
    mixed(found) && (found.value.len() >= 20 || found.text[found.range.end..].starts_with('@'))
}

fn cookie(found: &Found<'_>) -> bool {
    let long = |part: &str| {
        part.split_once('=')
            .is_some_and(|(_, value)| value.len() >= 8 && !plain_words(value) && literal_value(value.trim()))
    };
    found.value.split(';').any(long)
}

fn set_cookie(found: &Found<'_>) -> bool {
    found.value.len() >= 8 && literal_value(found.value) && !plain_words(found.value)
}

fn curl_user(found: &Found<'_>) -> bool {
    let before = found.before(400);
    let tool = ["curl", "http", "wget"].iter().any(|tool| before.contains(tool));
    tool && literal_value(found.value) && !found.value.bytes().all(|b| b.is_ascii_digit())
}

fn any_literal(found: &Found<'_>) -> bool {
    literal_value(found.value)
}

fn always(_: &Found<'_>) -> bool {
    true
}

#[rustfmt::skip]
pub(super) const CONTEXTS: &[Context] = &[
    context(
        "bearer",
        &["Bearer", "bearer", "BEARER", "uthorization", "UTHORIZATION"],
        r#"(?i)(?:(?:^|[^-\w])bearer|authorization\\?["'`]?\s{0,3}[:=,]\s{0,3}\\?["'`]?(?:basic|token|apikey|bot))\s{1,3}(?P<secret>[A-Za-z0-9._~+/=-]{6,})"#,
        header_value, Alphabet::Base64, "stands in an Authorization header",
    ),
    context(
        "url-password",
        &["://"],
        r#"://[^\s/:@"'`<>?#]*:(?P<secret>[^\s/"'`<>]+)(?:@|$)"#,
        url_password, Alphabet::Userinfo, "a password in a URL",
    ),
    context(
        "url-password",
        &["://"],
        r#"://(?P<secret>[A-Za-z0-9_.~-]{20,})@"#,
        url_token, Alphabet::Userinfo, "a token in front of the host of a URL",
    ),
    context(
        "url-token",
        &["key=", "sig=", "code=", "ignature=", "session=", "sid=", "hash=", "jwt="],
        r#"(?i)[?&;](?:key|sig|code|(?:x-[a-z]+-)?signature|session|sid|user_code|auth|hash|jwt)=(?P<secret>[A-Za-z0-9._~%+/=-]{9,})"#,
        mixed, Alphabet::Base64, "a secret parameter of a URL",
    ),
    context(
        "cookie",
        &["ookie", "OOKIE"],
        r#"(?i)(?:^|[^-\w])cookie\\?["'`]?\s{0,3}[:,]\s{0,3}\\?["'`]?(?P<secret>[A-Za-z0-9_.\-]+=[^"'`\r\n\\│┃]{4,})"#,
        cookie, Alphabet::Cookie, "a Cookie header",
    ),
    context(
        "cookie",
        &["ookie", "OOKIE"],
        r#"(?i)set-cookie\\?["'`]?\s{0,3}[:,]\s{0,3}\\?["'`]?[A-Za-z0-9_.\-]+=(?P<secret>[^"'`;\s\\│┃]{6,})"#,
        set_cookie, Alphabet::Base64, "the value of a cookie",
    ),
    context(
        "cookie",
        &[" --cookie ", " -b "],
        r#" (?:--cookie|-b) ["']?(?P<secret>[A-Za-z0-9_.\-]+=[^"'`\r\n]{6,})"#,
        cookie, Alphabet::Cookie, "cookies for curl",
    ),
    context(
        "aws-secret",
        &["AKIA", "ASIA"],
        r#"A[KS]IA[A-Z0-9]{16}[^A-Za-z0-9/+][^\n]{0,40}?\b(?P<secret>[A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        mixed, Alphabet::Base64, "stands behind an AWS access key id",
    ),
    context(
        "aws-secret",
        &["ecret Access Key", "ecret access key"],
        r#"(?i)secret access key[^A-Za-z0-9/+\n]{1,8}(?:None[^A-Za-z0-9/+\n]{1,5})?(?P<secret>[A-Za-z0-9/+=]{8,})"#,
        generated, Alphabet::Base64, "is called an AWS secret access key",
    ),
    context(
        "azure-secret",
        &["Q~"],
        r#"\b[A-Za-z0-9_~.-]{3}[0-9]Q~(?:[A-Za-z0-9_~.-]{31,36}|[A-Za-z0-9_~.-]{2,30}$)"#,
        always, Alphabet::Dotted, "has the form of a client secret of Entra ID",
    ),
    context(
        "azure-key",
        &["JQQJ9", "AZDO"],
        r#"\b[A-Za-z0-9]{40,52}JQQJ9[A-Za-z0-9]{25,30}\b|\b[A-Za-z0-9]{70,76}AZDO[A-Za-z0-9]{4}\b"#,
        always, Alphabet::Alnum, "has the form of an Azure key",
    ),
    context(
        "telegram-token",
        &[":AA"],
        r#"\b[0-9]{8,10}:AA(?:[A-Za-z0-9_-]{33}|[A-Za-z0-9_-]{2,32}$)"#,
        always, Alphabet::Url, "has the form of a Telegram bot token",
    ),
    context(
        "slack-webhook",
        &["hooks.slack.com/"],
        r#"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/_-]{8,})"#,
        any_literal, Alphabet::Base64, "the path of a Slack webhook",
    ),
    context(
        "discord-webhook",
        &["/api/webhooks/", "/webhooks/"],
        r#"\bcom/api/(?:v[0-9]{1,2}/)?webhooks/(?P<secret>[0-9]{6,}(?:/[A-Za-z0-9_-]*)?)"#,
        always, Alphabet::Base64, "the path of a Discord webhook",
    ),
    context(
        "teams-webhook",
        &[".office.com/webhook"],
        r#"\.office\.com/webhook(?:b2)?/(?P<secret>[A-Za-z0-9@/_-]{16,})"#,
        always, Alphabet::Base64, "the path of a Teams webhook",
    ),
    context(
        "netrc",
        &["login "],
        r#"\blogin +\S+ +password +(?P<secret>\S{4,})"#,
        any_literal, Alphabet::Value, "the password of a .netrc line",
    ),
    context(
        "pgpass",
        &[":5432:", ":6432:"],
        r#":[56]432:[^:\s]+:[^:\s]+:(?P<secret>[^\s"']{4,})"#,
        any_literal, Alphabet::Value, "the password of a .pgpass line",
    ),
    context(
        "url-password",
        &["@tcp(", "@unix("],
        r#"[A-Za-z0-9_.-]+:(?P<secret>[^\s"'`/]{3,})@(?:tcp|unix)\("#,
        any_literal, Alphabet::Userinfo, "a password in a data source name",
    ),
    context(
        "url-password",
        &[" -u ", " --user ", " --user=", " -u\"", " -u'"],
        r#" (?:-u|--user)[ =]?["']?[^\s:"'=/]+:(?P<secret>[^\s"']{4,})"#,
        curl_user, Alphabet::Value, "the password of a user for curl",
    ),
    context(
        "device-code",
        &["user_code"],
        r#"user_code\\?["']?\s{0,3}[=:]\s{0,3}\\?["']?(?P<secret>[A-Z0-9]{3,5}-[A-Z0-9]{3,5})\b"#,
        always, Alphabet::Url, "a code for a device login",
    ),
    context(
        "device-code",
        &["devicelogin", "/device"],
        r#"enter the code (?P<secret>[A-Z0-9]{8,9})\b"#,
        always, Alphabet::Alnum, "a code for a device login",
    ),
];

/// The path of a webhook has hardly less, in bytes.
const WEBHOOK: usize = 44;

/// A context with its pattern built.
pub(super) struct Ready {
    context: &'static Context,
    regex: Regex,
}

/// All contexts. The patterns are constant and a test sees that each one builds.
pub(super) fn ready() -> Vec<Ready> {
    let build = |context: &'static Context| {
        let regex =
            RegexBuilder::new(context.pattern).size_limit(4 << 20).dfa_size_limit(1 << 20).build().ok()?;
        Some(Ready { context, regex })
    };
    CONTEXTS.iter().filter_map(build).collect()
}

impl Ready {
    pub(super) fn spans(&self, text: &str, end: usize, out: &mut Vec<Span>) {
        // Borders and blanks at the end of the row are none of it.
        let text = &text[..end];
        for captures in self.regex.captures_iter(text) {
            let Some(secret) = captures.name("secret").or_else(|| captures.get(0)) else { continue };
            let range = secret.range();
            let context = self.context;
            let cut = range.end == end;
            let found = Found { text, value: &text[range.clone()], range: range.clone(), cut };
            if found.value.contains("[redacted:") || !(context.check)(&found) {
                continue;
            }
            let short = context.kind.ends_with("webhook") && range.len() < WEBHOOK;
            let next = cut.then_some(Next { short, ..Next::of(context.alphabet) });
            out.push(Span { range, kind: context.kind.into(), why: context.why.into(), next, rank: 2 });
        }
    }
}
