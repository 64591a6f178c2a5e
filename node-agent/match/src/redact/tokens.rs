//! Secrets that say by their beginning what they are.
//!
//! Format of the table: the beginning, what may follow, how many characters follow at least, and the numbers that are
//! usual. The numbers decide at the end of a row: a token that is whole does not swallow the word below it, one that is
//! short goes on there. A beginning that ordinary names share (`sk-`, `hf_`) is believed only when what follows does
//! not read as words.
//!
//! Operation. The literal search gives the place of a beginning; the run of its alphabet is read from there. Runs that
//! were read once are not read again, so the time is linear in the text.

use std::ops::Range;

use super::shape::{Alphabet, masked, plain_words, random_looking, simple_words};
use super::span::{Next, Span};

pub(super) struct Token {
    pub(super) kind: &'static str,
    pub(super) prefix: &'static str,
    pub(super) alphabet: Alphabet,
    /// Characters after the beginning.
    pub(super) least: usize,
    /// The usual numbers of characters after the beginning; none: any.
    whole: &'static [usize],
    faith: Faith,
}

/// How much more than its beginning a token needs to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faith {
    /// Nothing: the alphabet has too few characters to tell words from noise.
    Blind,
    /// Placeholders of documentation, `glpat-your-token-here`, are let through.
    Own,
    /// Names of programs begin like this, too.
    Shared,
    /// The parts of a JSON web token.
    Jwt,
}

const fn token(
    kind: &'static str,
    prefix: &'static str,
    alphabet: Alphabet,
    least: usize,
    whole: &'static [usize],
    faith: Faith,
) -> Token {
    Token { kind, prefix, alphabet, least, whole, faith }
}

use Alphabet::{Alnum, Base64, Dotted, Hex, Url};
use Faith::{Blind, Jwt, Own, Shared};

#[rustfmt::skip]
pub(super) const TOKENS: &[Token] = &[
    token("anthropic-key", "sk-ant-", Url, 12, &[101], Own),
    token("openrouter-key", "sk-or-v1-", Alnum, 32, &[64], Own),
    token("openai-key", "sk-proj-", Url, 20, &[], Own),
    token("openai-key", "sk-svcacct-", Url, 20, &[], Own),
    token("openai-key", "sk-admin-", Url, 20, &[], Own),
    token("openai-key", "sk-None-", Url, 20, &[], Own),
    token("openai-key", "sk-", Url, 20, &[32, 48], Shared),
    token("google-key", "AIza", Url, 30, &[35], Own),
    token("google-key", "AQ.Ab8", Url, 30, &[], Own),
    token("google-token", "ya29.", Dotted, 20, &[], Own),
    token("google-token", "1//0", Url, 36, &[], Own),
    token("google-secret", "GOCSPX-", Url, 20, &[28], Own),
    token("xai-key", "xai-", Alnum, 40, &[80], Shared),
    token("groq-key", "gsk_", Alnum, 40, &[52], Own),
    token("huggingface-token", "hf_", Alnum, 30, &[34], Shared),
    token("huggingface-token", "api_org_", Alnum, 30, &[34], Shared),
    token("replicate-token", "r8_", Alnum, 36, &[37], Own),
    token("perplexity-key", "pplx-", Alnum, 40, &[48], Shared),
    token("fireworks-key", "fw_", Alnum, 20, &[22, 24], Shared),
    token("cerebras-key", "csk-", Alnum, 40, &[48], Own),
    token("nvidia-key", "nvapi-", Url, 40, &[64], Own),
    token("together-key", "tgp_v1_", Url, 40, &[43], Own),
    token("langsmith-key", "lsv2_pt_", Url, 32, &[43], Own),
    token("langsmith-key", "lsv2_sk_", Url, 32, &[43], Own),
    token("cursor-key", "crsr_", Hex, 40, &[64], Own),
    token("pinecone-key", "pcsk_", Url, 40, &[], Own),
    token("tavily-key", "tvly-", Url, 24, &[], Shared),
    token("jina-key", "jina_", Url, 40, &[60], Shared),
    token("aws-key", "AKIA", Alnum, 16, &[16], Blind),
    token("aws-key", "ASIA", Alnum, 16, &[16], Shared),
    token("aws-key", "ABIA", Alnum, 16, &[16], Shared),
    token("aws-key", "ACCA", Alnum, 16, &[16], Shared),
    token("aws-key", "ABSKQmVkcm9ja", Base64, 40, &[], Own),
    token("aws-token", "IQoJb3JpZ2lu", Base64, 60, &[], Own),
    token("aws-token", "FwoGZXIvYXdz", Base64, 60, &[], Own),
    token("aws-token", "FQoGZXIvYXdz", Base64, 60, &[], Own),
    token("github-token", "ghp_", Alnum, 20, &[36], Own),
    token("github-token", "gho_", Alnum, 20, &[36], Own),
    token("github-token", "ghu_", Alnum, 20, &[36], Own),
    token("github-token", "ghs_", Url, 20, &[36], Own),
    token("github-token", "ghr_", Alnum, 20, &[36, 76], Own),
    token("github-token", "github_pat_", Url, 20, &[82], Own),
    token("gitlab-token", "glpat-", Dotted, 16, &[20], Own),
    token("gitlab-token", "gldt-", Dotted, 16, &[20], Own),
    token("gitlab-token", "glrt-", Dotted, 16, &[20], Own),
    token("gitlab-token", "glrtr-", Dotted, 16, &[20], Own),
    token("gitlab-token", "glcbt-", Dotted, 16, &[], Own),
    token("gitlab-token", "glptt-", Dotted, 16, &[40], Own),
    token("gitlab-token", "glft-", Dotted, 16, &[20], Own),
    token("gitlab-token", "glsoat-", Dotted, 16, &[20], Own),
    token("gitlab-token", "glimt-", Dotted, 16, &[25], Own),
    token("gitlab-token", "glagent-", Dotted, 16, &[50], Own),
    token("gitlab-token", "gloas-", Dotted, 16, &[64], Own),
    token("npm-token", "npm_", Alnum, 30, &[36], Shared),
    token("pypi-token", "pypi-", Url, 40, &[], Shared),
    token("crates-io-token", "cio", Alnum, 32, &[32], Shared),
    token("rubygems-key", "rubygems_", Hex, 40, &[48], Own),
    token("nuget-key", "oy2", Alnum, 43, &[43], Shared),
    token("docker-token", "dckr_pat_", Url, 20, &[27], Own),
    token("docker-token", "dckr_oat_", Url, 20, &[32], Own),
    token("slack-token", "xoxa-", Url, 10, &[], Own),
    token("slack-token", "xoxb-", Url, 10, &[51], Own),
    token("slack-token", "xoxc-", Url, 10, &[], Own),
    token("slack-token", "xoxd-", Base64, 10, &[], Own),
    token("slack-token", "xoxe-", Url, 10, &[], Own),
    token("slack-token", "xoxe.xoxp-", Url, 10, &[], Own),
    token("slack-token", "xoxe.xoxb-", Url, 10, &[], Own),
    token("slack-token", "xoxo-", Url, 10, &[], Own),
    token("slack-token", "xoxp-", Url, 10, &[71], Own),
    token("slack-token", "xoxr-", Url, 10, &[], Own),
    token("slack-token", "xoxs-", Url, 10, &[], Own),
    token("slack-token", "xapp-", Url, 10, &[92], Shared),
    token("stripe-key", "sk_live_", Alnum, 16, &[], Own),
    token("stripe-key", "rk_live_", Alnum, 16, &[], Own),
    token("stripe-key", "sk_test_", Alnum, 16, &[], Own),
    token("stripe-key", "rk_test_", Alnum, 16, &[], Own),
    token("stripe-key", "whsec_", Base64, 16, &[], Own),
    token("square-key", "sq0atp-", Url, 20, &[22], Own),
    token("square-key", "sq0csp-", Url, 20, &[43], Own),
    token("shopify-token", "shpat_", Hex, 32, &[32], Own),
    token("shopify-token", "shpca_", Hex, 32, &[32], Own),
    token("shopify-token", "shppa_", Hex, 32, &[32], Own),
    token("shopify-token", "shpss_", Hex, 32, &[32], Own),
    token("sendgrid-key", "SG.", Dotted, 50, &[66], Shared),
    token("mailgun-key", "key-", Hex, 32, &[32], Shared),
    token("digitalocean-token", "dop_v1_", Hex, 40, &[64], Own),
    token("digitalocean-token", "doo_v1_", Hex, 40, &[64], Own),
    token("digitalocean-token", "dor_v1_", Hex, 40, &[64], Own),
    token("vault-token", "hvs.", Url, 24, &[], Shared),
    token("vault-token", "hvb.", Url, 24, &[], Shared),
    token("vault-token", "hvr.", Url, 24, &[], Shared),
    token("tailscale-key", "tskey-", Url, 20, &[55], Shared),
    token("age-key", "AGE-SECRET-KEY-1", Alnum, 40, &[58], Blind),
    token("databricks-token", "dapi", Hex, 32, &[32], Shared),
    token("doppler-token", "dp.pt.", Alnum, 40, &[43], Own),
    token("doppler-token", "dp.st.", Dotted, 40, &[], Own),
    token("linear-key", "lin_api_", Alnum, 30, &[40], Own),
    token("notion-key", "ntn_", Alnum, 40, &[46], Own),
    token("notion-key", "secret_", Alnum, 43, &[43], Shared),
    token("figma-token", "figd_", Url, 36, &[40], Own),
    token("grafana-token", "glc_", Base64, 32, &[], Own),
    token("grafana-token", "glsa_", Url, 32, &[41], Own),
    token("heroku-key", "HRKU-", Url, 30, &[], Own),
    token("newrelic-key", "NRAK-", Alnum, 27, &[27], Blind),
    token("sentry-token", "sntrys_", Base64, 40, &[], Own),
    token("sentry-token", "sntryu_", Hex, 40, &[64], Own),
    token("supabase-key", "sbp_", Hex, 40, &[40], Own),
    token("supabase-key", "sb_secret_", Url, 20, &[], Own),
    token("planetscale-key", "pscale_tkn_", Dotted, 30, &[], Own),
    token("planetscale-key", "pscale_pw_", Dotted, 30, &[], Own),
    token("fly-token", "fm2_", Base64, 40, &[], Own),
    token("atlassian-token", "ATATT3", Base64, 60, &[], Own),
    token("atlassian-token", "ATCTT3", Base64, 60, &[], Own),
    token("bitbucket-token", "ATBB", Alnum, 32, &[32], Shared),
    token("pulumi-token", "pul-", Hex, 40, &[40], Shared),
    token("onepassword-token", "ops_eyJ", Url, 60, &[], Own),
    token("postman-key", "PMAK-", Url, 40, &[59], Own),
    token("circleci-token", "CCIPAT_", Url, 40, &[], Own),
    token("buildkite-token", "bkua_", Hex, 40, &[40], Own),
    token("netlify-token", "nfp_", Alnum, 36, &[36], Own),
    token("contentful-token", "CFPAT-", Url, 40, &[43], Own),
    token("jfrog-token", "AKCp", Alnum, 60, &[], Shared),
    token("twilio-key", "SK", Hex, 32, &[32], Shared),
    token("wa-join-token", "wa-join-1.", Dotted, 20, &[], Own),
    token("private-key", "LS0tLS1CRUdJTiBSU0EgUFJJVkFU", Base64, 40, &[], Blind),
    token("private-key", "LS0tLS1CRUdJTiBQUklWQVRF", Base64, 40, &[], Blind),
    token("private-key", "LS0tLS1CRUdJTiBFQyBQUklWQVRF", Base64, 40, &[], Blind),
    token("private-key", "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZB", Base64, 40, &[], Blind),
    token("private-key", "LS0tLS1CRUdJTiBFTkNSWVBURUQg", Base64, 40, &[], Blind),
    token("jwt", "eyJ", Dotted, 20, &[], Jwt),
];

/// Tokens are known better than what stands around them.
pub(super) const TOKEN_RANK: usize = 8;

/// Beginnings so short that they would be found everywhere are looked for with one character more.
pub(super) fn literals(token: &Token) -> Vec<String> {
    if token.prefix == "SK" {
        return "0123456789abcdef".chars().map(|c| format!("SK{c}")).collect();
    }
    vec![token.prefix.to_owned()]
}

/// First eight characters of the headers of JSON web tokens: `{"alg`, `{"typ`, `{"kid`, `{"enc`, `{"x5t`, `{"jku`, `{"cty`.
const JWT_HEADS: &[&str] =
    &["eyJhbGci", "eyJ0eXAi", "eyJraWQi", "eyJlbmMi", "eyJ4NXQi", "eyJqa3Ui", "eyJjdHki"];

impl Token {
    /// The token that begins at `at`, and where its run ends. `end` is where the row's text ends, as far as it may have
    /// been cut there.
    pub(super) fn span(&self, text: &str, at: usize, end: usize) -> (usize, Option<Span>) {
        if !left_edge(text, at) {
            return (at, None);
        }
        let start = at + self.prefix.len();
        let mut stop = start + self.alphabet.run(&text[start..]);
        if stop < end {
            stop = start + text[start..stop].trim_end_matches(['.', ':', '%', '-']).len();
        }
        let rest = &text[stop..];
        let cut = stop == end || rest.starts_with('…') || rest.starts_with("...");
        let secret = &text[start..stop];
        let whole = secret.len() >= self.least && self.believed(text, at..stop, false);
        let short = secret.len() < self.least || self.faith != Faith::Shared;
        let piece = !whole && cut && stop - at >= 8 && short && self.believed(text, at..stop, true);
        if !whole && !piece {
            return (stop, None);
        }
        let next = self.next(secret);
        let why = format!(
            "begins with {} and {} characters of its kind follow{}",
            self.prefix,
            secret.len(),
            if piece { ", cut by the end of the row" } else { "" }
        );
        let (kind, rank) = (self.kind.into(), TOKEN_RANK + self.prefix.len());
        (stop, Some(Span { range: at..stop, kind, why: why.into(), next: Some(next), rank }))
    }

    fn next(&self, secret: &str) -> Next {
        let most = self.whole.iter().copied().max().unwrap_or(0);
        // Of several usual lengths a shorter one is believed of hexadecimal only.
        let hex = secret.bytes().all(|b| b.is_ascii_hexdigit());
        let whole = self.whole.contains(&secret.len()) && (secret.len() == most || hex);
        let left = if whole { 0 } else { most.saturating_sub(secret.len()) };
        let last = secret.rsplit('.').next().unwrap_or("");
        let (short, whole) = match (self.faith, self.kind) {
            (Faith::Jwt, _) => (secret.bytes().filter(|b| *b == b'.').count() < 2, whole),
            (_, "wa-join-token") => (last.len() < 64, last.len() == 64),
            _ => (left > 0 || secret.len() < self.least, whole),
        };
        Next { short, whole, left, ..Next::of(self.alphabet) }
    }

    fn believed(&self, text: &str, range: Range<usize>, piece: bool) -> bool {
        let secret = &text[range.start + self.prefix.len()..range.end];
        if piece && secret.is_empty() {
            return self.faith != Faith::Shared;
        }
        match self.faith {
            Faith::Blind => !masked(secret) || piece,
            Faith::Own => {
                let lower = secret.to_ascii_lowercase();
                let documented = ["your", "here", "token", "example", "secret"];
                let documented = documented.iter().any(|word| lower.contains(word));
                if piece {
                    !secret.bytes().all(|b| matches!(b, b'x' | b'X' | b'*' | b'.')) && !documented
                } else {
                    let letters = secret.bytes().filter(u8::is_ascii_alphabetic).count();
                    let words = letters * 2 > secret.len() && simple_words(secret);
                    // Signs may cut a generated text into pieces that each read as a word; its length gives it away.
                    let exact = self.whole.contains(&secret.len()) && of_all_kinds(secret) && !documented;
                    !masked(secret) && (exact || !words)
                }
            }
            Faith::Shared if piece => {
                (upper(self.prefix) || !simple_words(secret)) && fits(self.prefix, secret, piece)
            }
            Faith::Shared => {
                !masked(secret)
                    && (named(self.prefix, secret) || !plain_words(secret))
                    && fits(self.prefix, secret, piece)
            }
            Faith::Jwt => jwt(&text[range], piece),
        }
    }
}

fn of_all_kinds(text: &str) -> bool {
    let any = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(kind);
    any(u8::is_ascii_digit) && any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase)
}

/// An AWS access key id: capitals have no shape, but their number is exact.
fn named(prefix: &str, secret: &str) -> bool {
    upper(prefix) && secret.len() == 16
}

fn upper(prefix: &str) -> bool {
    matches!(prefix, "ASIA" | "ABIA" | "ACCA")
}

/// Further marks of tokens whose beginning says little.
fn fits(prefix: &str, secret: &str, piece: bool) -> bool {
    match prefix {
        "ASIA" | "ABIA" | "ACCA" => secret.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
        "SG." => piece || secret.contains('.'),
        "SK" | "key-" | "dapi" | "pul-" => {
            (piece || secret.len() <= 40)
                && secret.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        }
        "cio" | "oy2" | "ATBB" | "secret_" => random_looking(secret) && (piece || secret.len() <= 64),
        _ => true,
    }
}

/// Two parts at least: a header and a payload, both JSON; or one part with the beginning of a known header, if cut.
fn jwt(text: &str, piece: bool) -> bool {
    let known = JWT_HEADS.iter().any(|head| text.starts_with(head));
    let mut parts = text.split('.');
    let (Some(head), Some(payload)) = (parts.next(), parts.next()) else { return piece && known };
    if head.len() < 10 {
        return false;
    }
    known || (payload.starts_with("eyJ") && payload.len() >= 8)
}

/// A token begins at the beginning of a word, after an escape (`\n`), a colour (`ESC [ 31 m`) or a `%3D`.
pub(super) fn left_edge(text: &str, at: usize) -> bool {
    let before = &text.as_bytes()[..at];
    let Some(last) = before.last() else { return true };
    if !last.is_ascii_alphanumeric() && *last != b'_' {
        return true;
    }
    match before {
        [.., b'\\', b'n' | b't' | b'r'] => true,
        [.., b'%', a, b] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
        [.., b'm'] => {
            let colour =
                before[..before.len() - 1].iter().rev().take(12).find(|b| !b.is_ascii_digit() && **b != b';');
            colour == Some(&b'[')
        }
        _ => false,
    }
}
