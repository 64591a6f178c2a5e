//! The kinds of secrets: literals that must be present, a pattern, and a check that throws out look-alikes.

/// One kind of secret. The group `secret` is what goes; without one the whole match goes.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) literals: &'static [&'static str],
    pub(super) pattern: &'static str,
    pub(super) check: fn(&str) -> bool,
}

fn always(_: &str) -> bool {
    true
}

/// A generated token has digits and letters; `sk-learn-contrib-something` is a name.
fn random_looking(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let upper = text.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = text.bytes().filter(u8::is_ascii_lowercase).count();
    digits >= 2 && (upper >= 1 || lower >= 1) && !masked(text)
}

/// `xxxxxxxx`, `********`, `....`: written by people who hid it themselves.
fn masked(text: &str) -> bool {
    let mut distinct: Vec<char> = text.chars().filter(|c| c.is_alphanumeric() || *c == '*').collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() <= 2
}

/// A value and not a reference to one.
fn literal_value(text: &str) -> bool {
    let reference = text.starts_with(['$', '<', '{', '%', '`', '(']) || text.starts_with("[redacted");
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "password" | "changeme" | "undefined" | "null" | "required"
    );
    !reference && !word && !masked(text)
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "private-key",
        literals: &["-----BEGIN "],
        pattern: r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:.*?-----END [A-Z0-9 ]{0,40}-----|.*)",
        check: always,
    },
    Kind {
        name: "anthropic-key",
        literals: &["sk-ant-"],
        pattern: r"\bsk-ant-[A-Za-z0-9_-]{12,}",
        check: |text| !masked(text.trim_start_matches("sk-ant-")),
    },
    Kind {
        name: "openai-key",
        literals: &["sk-"],
        pattern: r"\bsk-(?:(?:proj|svcacct|admin|None|or-v1|service)-)?[A-Za-z0-9_-]{20,}",
        check: random_looking,
    },
    Kind {
        name: "google-key",
        literals: &["AIza", "ya29.", "GOCSPX-"],
        pattern: r"\bAIza[0-9A-Za-z_-]{30,}|\bya29\.[0-9A-Za-z_-]{20,}|\bGOCSPX-[0-9A-Za-z_-]{20,}",
        check: always,
    },
    Kind {
        name: "github-token",
        literals: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        pattern: r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}",
        check: |text| !masked(text.split('_').next_back().unwrap_or(text)),
    },
    Kind {
        name: "gitlab-token",
        literals: &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glimt-", "glagent-"],
        pattern: r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[A-Za-z0-9_.-]{16,}",
        check: |text| !masked(text.split_once('-').map_or(text, |(_, tail)| tail)),
    },
    Kind {
        name: "npm-token",
        literals: &["npm_"],
        pattern: r"\bnpm_[A-Za-z0-9]{30,}",
        check: random_looking,
    },
    Kind {
        name: "pypi-token",
        literals: &["pypi-"],
        pattern: r"\bpypi-[A-Za-z0-9_-]{40,}",
        check: random_looking,
    },
    Kind {
        name: "slack-token",
        literals: &[
            "xoxa-",
            "xoxb-",
            "xoxe-",
            "xoxp-",
            "xoxr-",
            "xoxs-",
            "xapp-",
            "hooks.slack.com/services/",
        ],
        pattern: r"\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/(?P<secret>[A-Za-z0-9/_-]{12,})",
        check: |text| !masked(text),
    },
    Kind {
        name: "aws-key",
        literals: &["AKIA", "ASIA"],
        pattern: r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        check: always,
    },
    Kind {
        name: "aws-secret",
        literals: &["aws_secret", "AWS_SECRET", "secretAccessKey", "SecretAccessKey"],
        pattern: r#"(?i)aws_?secret(?:_access)?(?:_key)?["' ]{0,3}[:=]["' ]{0,3}(?P<secret>[A-Za-z0-9/+=]{30,})|secretAccessKey["' ]{0,3}[:=]["' ]{0,3}(?P<other>[A-Za-z0-9/+=]{30,})"#,
        check: literal_value,
    },
    Kind {
        name: "stripe-key",
        literals: &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"],
        pattern: r"\b(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,}",
        check: |text| !masked(text.rsplit('_').next().unwrap_or(text)),
    },
    Kind {
        name: "service-token",
        literals: &[
            "hf_",
            "gsk_",
            "xai-",
            "pplx-",
            "r8_",
            "dop_v1_",
            "shpat_",
            "SG.",
            "lin_api_",
            "tskey-",
            "dckr_pat_",
            "hvs.",
        ],
        pattern: r"\b(?:hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{60,}|pplx-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{36,}|dop_v1_[a-f0-9]{60,}|shpat_[a-fA-F0-9]{32}|SG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{30,}|lin_api_[A-Za-z0-9]{30,}|tskey-[a-z]+-[A-Za-z0-9-]{20,}|dckr_pat_[A-Za-z0-9_-]{20,}|hvs\.[A-Za-z0-9_-]{24,})",
        check: random_looking,
    },
    Kind {
        name: "jwt",
        literals: &["eyJ"],
        pattern: r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?(?:\.[A-Za-z0-9_-]+){0,2}",
        check: always,
    },
    Kind {
        name: "bearer",
        literals: &["earer ", "EARER ", "uthorization", "UTHORIZATION"],
        pattern: r#"(?i)\b(?:bearer|authorization["']?\s*[:=]\s*["']?(?:basic|token|bearer))\s+(?P<secret>[A-Za-z0-9._~+/=-]{12,})"#,
        check: |text| literal_value(text) && (text.len() >= 20 || random_looking(text)),
    },
    Kind {
        name: "api-key-header",
        literals: &[
            "-api-key",
            "-Api-Key",
            "-API-Key",
            "-API-KEY",
            "-goog-api",
            "-Auth-Token",
            "-auth-token",
        ],
        pattern: r#"(?i)\bx-(?:[a-z]+-)?(?:api-key|auth-token)["']?\s*[:=]\s*["']?(?P<secret>[^\s"',;]{8,})"#,
        check: literal_value,
    },
    Kind {
        name: "url-password",
        literals: &["://"],
        pattern: r#"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://(?:[^\s/:@"'<>]*:(?P<secret>[^\s/@"'<>]+)@|(?P<other>[A-Za-z0-9_-]{20,})@)"#,
        check: literal_value,
    },
    Kind {
        name: "url-token",
        literals: &[
            "token=",
            "api_key=",
            "apikey=",
            "access_key=",
            "&key=",
            "?key=",
            "signature=",
            "Signature=",
            "secret=",
        ],
        pattern: r#"(?i)[?&](?:access_token|refresh_token|id_token|auth_token|token|api_?key|access_key|key|client_secret|secret|sig|signature|x-amz-signature)=(?P<secret>[^\s&"'#<>]{12,})"#,
        check: |text| literal_value(text) && random_looking(text),
    },
    Kind {
        name: "assigned-secret",
        literals: &[
            "_TOKEN",
            "_SECRET",
            "_PASSWORD",
            "_API_KEY",
            "_PASSWD",
            "ACCESS_KEY",
            "PGPASSWORD",
            "_KEY=",
        ],
        pattern: r#"\b(?:[A-Z][A-Z0-9_]*(?:_TOKEN|_SECRET|_PASSWORD|_PASSWD|_API_KEY|_ACCESS_KEY|_PRIVATE_KEY|_SECRET_KEY)|PGPASSWORD)["']?(?:=|:\s?)["']?(?P<secret>[^\s"',;]{8,})"#,
        check: literal_value,
    },
];
