//! What a piece of text looks like: words that people wrote, or something that was generated.
//!
//! Constraints. Names in programs (`sk-learn-contrib`, `sha256Digest`, `hf_hub_download`) must read as words; sixteen
//! random letters must not. Nothing here knows a language: vowels, humps of capitals and the places of digits suffice.

/// How a secret may go on in the next row: which characters it can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    Alnum,
    /// Letters, digits, `_`, `-`.
    Url,
    /// As `Url`, and `.`.
    Dotted,
    Hex,
    /// Base64 of either kind, with `.`, `~`, `%`, `:` as tokens in headers and URLs have them.
    Base64,
    /// Anything but blanks, quotes and what ends a value in code.
    Value,
    /// What stands before the `@` of a URL.
    Userinfo,
    /// Cookies: anything but quotes; blanks stand between them.
    Cookie,
}

impl Alphabet {
    pub(super) fn holds(self, c: char) -> bool {
        let url = c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        match self {
            Self::Alnum => c.is_ascii_alphanumeric(),
            Self::Url => url,
            Self::Dotted => url || c == '.',
            Self::Hex => c.is_ascii_hexdigit(),
            Self::Base64 => url || matches!(c, '+' | '/' | '=' | '.' | '~' | '%' | ':'),
            Self::Value => !ends_value(c) && !c.is_control(),
            Self::Userinfo => !c.is_whitespace() && !matches!(c, '/' | '@' | '"' | '\'' | '<' | '>'),
            Self::Cookie => !matches!(c, '"' | '\'' | '`') && !c.is_control(),
        }
    }

    /// The length of the run of these characters at the beginning of a text, in bytes.
    pub(super) fn run(self, text: &str) -> usize {
        text.find(|c| !self.holds(c)).unwrap_or(text.len())
    }
}

fn ends_value(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '"' | '\'' | '`' | ',' | ';' | ')' | '}' | ']' | '<' | '>' | '|' | '│' | '┃')
}

/// `xxxxxxxx`, `********`, `....`: written by people who hid it themselves.
pub(super) fn masked(text: &str) -> bool {
    let mut seen: Option<char> = None;
    let mut second: Option<char> = None;
    for c in text.chars().filter(|c| c.is_alphanumeric() || *c == '*') {
        match (seen, second) {
            (None, _) => seen = Some(c),
            (Some(a), _) if a == c => {}
            (Some(_), None) => second = Some(c),
            (Some(_), Some(b)) if b == c => {}
            _ => return text.contains("****") || text.contains("••••") || text.contains("xxxxxxxx"),
        }
    }
    true
}

/// Reads as words, numbers and versions: a name, a path, a sentence.
pub(super) fn plain_words(text: &str) -> bool {
    let pieces = text.split(|c: char| !c.is_alphanumeric()).filter(|piece| !piece.is_empty());
    let (count, digit) = (pieces.clone().count(), text.bytes().any(|b| b.is_ascii_digit()));
    // Many pieces of one or two characters in both cases are none.
    let mixed = text.bytes().any(|b| b.is_ascii_uppercase()) && text.bytes().any(|b| b.is_ascii_lowercase());
    let crumbs = count >= 4 && digit && mixed && text.len() <= count * 4;
    // Each piece of a generated text may happen to read as words; so many acronyms and short humps in all of them do not.
    let mut odd = 0;
    !crumbs
        && pieces.into_iter().all(|piece| {
            plain_piece(piece).is_some_and(|more| {
                odd += more;
                odd <= 3 + text.len() / 32
            })
        })
}

/// Nothing but words in one case each, with numbers behind: what generated texts of some length never are.
pub(super) fn simple_words(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).all(|piece| {
        let word = piece.trim_end_matches(|c: char| c.is_ascii_digit());
        let rest = word.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(word);
        piece.len() <= 3
            || rest.bytes().all(|b| b.is_ascii_lowercase())
            || word.bytes().all(|b| b.is_ascii_uppercase())
    })
}

/// The acronyms and very short humps of a piece that reads as words; `None`: it does not.
fn plain_piece(piece: &str) -> Option<usize> {
    if piece.len() <= 3 || !piece.is_ascii() {
        return Some(0);
    }
    if piece.len() > 26
        && piece.bytes().any(|b| b.is_ascii_uppercase())
        && piece.bytes().any(|b| b.is_ascii_lowercase())
    {
        return None;
    }
    let groups = piece.split(|c: char| c.is_ascii_digit()).filter(|group| !group.is_empty());
    let letters: Vec<&str> = groups.collect();
    if letters.is_empty() {
        return (piece.len() <= 14).then_some(0);
    }
    // `word`, `word42`, `4word`, `sha256Digest`: digits in one place at most, or two short words around them.
    let whole = piece.trim_matches(|c: char| c.is_ascii_digit());
    let inner = whole.bytes().any(|b| b.is_ascii_digit());
    let digits = piece.len() - letters.iter().map(|group| group.len()).sum::<usize>();
    let around = piece.len() > 6
        && piece.starts_with(|c: char| c.is_ascii_digit())
        && piece.ends_with(|c: char| c.is_ascii_digit());
    if letters.len() > 2 || digits > 8 || around || (inner && (whole.len() != piece.len() || digits > 4)) {
        return None;
    }
    letters.iter().map(|group| plain_letters(group)).sum()
}

fn plain_letters(letters: &str) -> Option<usize> {
    let upper = letters.bytes().filter(u8::is_ascii_uppercase).count();
    if upper == 0 || upper == letters.len() {
        return (letters.len() <= 24 && pronounceable(letters)).then_some(0);
    }
    // Humps: capitals, then small letters.
    let mut rest = letters;
    let (mut humps, mut pairs, mut acronyms) = (0, 0, 0);
    while !rest.is_empty() {
        let capitals = rest.bytes().take_while(u8::is_ascii_uppercase).count();
        let small = rest[capitals..].bytes().take_while(u8::is_ascii_lowercase).count();
        let last = capitals + small == rest.len();
        if small == 1 && !(last && rest[capitals..] == *"s") {
            // `ById`, `isOn`: two such words, and they can be spoken.
            pairs += 1;
            if pairs > 2 || capitals > 1 || !rest[..capitals + 1].bytes().any(vowel) {
                return None;
            }
        }
        if small == 0 && capitals > 5 {
            return None;
        }
        if small > 0 && !pronounceable(&rest[capitals..capitals + small]) || capitals > 6 {
            return None;
        }
        humps += 1;
        acronyms += usize::from(capitals > 1);
        rest = &rest[capitals + small..];
    }
    let odd = acronyms + pairs;
    (odd <= 2 && letters.len() + 2 >= humps * 4).then_some(odd)
}

fn vowel(b: u8) -> bool {
    matches!(b.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

fn pronounceable(letters: &str) -> bool {
    if letters.len() <= 3 {
        return true;
    }
    let longest = letters.as_bytes().split(|b| vowel(*b)).map(<[u8]>::len).max().unwrap_or(0);
    letters.bytes().any(vowel) && longest <= 5
}

/// A generated text: enough different characters, and it does not read as words.
pub(super) fn random_looking(text: &str) -> bool {
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let mixed = text.bytes().any(|b| b.is_ascii_uppercase()) && text.bytes().any(|b| b.is_ascii_lowercase());
    let mut distinct = [false; 128];
    for byte in text.bytes().filter(u8::is_ascii) {
        distinct[byte as usize] = true;
    }
    let distinct = distinct.iter().filter(|seen| **seen).count();
    // Digits in several places of a long text in both cases: no name has them.
    let groups = text.as_bytes().split(|b| !b.is_ascii_digit()).filter(|group| !group.is_empty()).count();
    let long = text.len() >= 20 && mixed && groups >= 3;
    // A number of 32 digits is no number of a program; a hexadecimal key may happen to have no letter.
    (letters >= 1 || text.len() >= 32)
        && (digits >= 1 || mixed)
        && distinct >= 5
        && !masked(text)
        && (long || !plain_words(text))
}

/// A git hash, a digest: hex and nothing else.
pub(super) fn hash_like(text: &str) -> bool {
    text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn uuid_like(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// A reference to a value, not the value: shell and template variables, calls, what was taken out already.
pub(super) fn reference(text: &str) -> bool {
    text.starts_with(['$', '<', '{', '%', '`', '(', '[', '*', '&', '@'])
        || ["${", "{{", "$(", "%(", "<%"].iter().any(|mark| text.contains(mark))
}

/// What people write where a secret would stand.
pub(super) fn placeholder_word(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "password",
        "passwd",
        "passphrase",
        "changeme",
        "change_me",
        "undefined",
        "null",
        "none",
        "nil",
        "true",
        "false",
        "required",
        "optional",
        "secret",
        "token",
        "example",
        "string",
        "postgres",
        "redacted",
        "hidden",
        "placeholder",
        "xxxx",
        "test",
        "username",
        "user",
        "pass",
        "root",
        "admin",
        "guest",
        "empty",
        "default",
        "value",
        "sample",
        "dummy",
        "enabled",
        "disabled",
        "unset",
        "prompt",
        "stdin",
    ];
    let lower = text.to_ascii_lowercase();
    let whole = lower.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '!' | '-' | '_'));
    WORDS.contains(&whole)
        || [
            "your-",
            "your_",
            "yourapi",
            "yourtoken",
            "my-secret",
            "insert",
            "replace",
            "example",
            "placeholder",
        ]
        .iter()
        .any(|part| lower.contains(part) && plain_words(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_are_words() {
        for text in [
            "sk-learn-contrib-lightning-extras",
            "hf_hub_download",
            "sha256Digest",
            "x509Certificate",
            "getElementById",
            "MAX_RETRY_COUNT",
            "src/main.rs",
            "npm_config_registry",
            "v1.2.3",
            "2024-01-01",
            "HTTPServer",
            "base64url",
            "Successfully",
        ] {
            assert!(plain_words(text), "{text}");
        }
    }

    #[test]
    fn generated_texts_are_not() {
        for text in [
            "aB3dE5gH7jK9",
            "Zx9mQ2Lw8Tk4",
            "550e8400-e29b-41d4-a716-446655440000",
            "kQzTbWxRvNpLmHgF",
            "0a1b2c3d4e5f",
            "xkcdqwrtzpsdfghjk",
        ] {
            assert!(!plain_words(text), "{text}");
        }
    }

    #[test]
    fn what_people_hid_themselves_is_masked() {
        assert!(masked("xxxxxxxxxxxx") && masked("****") && masked("") && masked("sk-****************abcd"));
        assert!(!masked("aB3dE5gH"));
    }
}
