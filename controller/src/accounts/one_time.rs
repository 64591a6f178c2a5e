//! One-time passwords of accounts (RFC 6238), for the second question of a sign-in.
//!
//! A secret is written as providers show it: base32, with or without spaces and padding, in either case; or as the
//! address in their QR code, `otpauth://totp/LABEL?secret=…&algorithm=SHA1&digits=6&period=30`. Nothing of a secret is in
//! an error.

use data_encoding::BASE32_NOPAD;
use ring::hmac;
use wa_proto::Timestamp;
use zeroize::Zeroizing;

/// Bytes of a secret as it is written.
pub const MAX_SECRET: usize = 1024;

/// Why a secret gives no codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOneTimeSecret {
    #[error("it is neither base32 (A-Z, 2-7) nor an otpauth:// address")]
    NotBase32,
    #[error("it is longer than {MAX_SECRET} bytes")]
    TooLong,
    #[error("it is too short: at least 10 bytes (16 characters of base32)")]
    TooShort,
    #[error(
        "the otpauth:// address is not of the kind totp: codes that count, not tell the time, are not made"
    )]
    NotTotp,
    #[error("the otpauth:// address has no secret")]
    NoSecret,
    #[error("the otpauth:// address asks for another algorithm than SHA1, SHA256 or SHA512")]
    Algorithm,
    #[error("the otpauth:// address asks for other than 6 to 8 digits")]
    Digits,
    #[error("the otpauth:// address asks for a period that is not within 1 to 300 seconds")]
    Period,
    #[error("the time is before 1970")]
    Time,
}

/// What a secret says.
struct Totp {
    key: Zeroizing<Vec<u8>>,
    algorithm: hmac::Algorithm,
    digits: u32,
    period: i64,
}

/// The code that holds at `now`.
///
/// # Errors
/// When the secret cannot be read.
pub fn one_time_code(secret: &str, now: Timestamp) -> Result<Zeroizing<String>, InvalidOneTimeSecret> {
    let totp = Totp::parse(secret)?;
    let count = now.as_second().div_euclid(totp.period);
    let count = u64::try_from(count).map_err(|_| InvalidOneTimeSecret::Time)?;
    let tag = hmac::sign(&hmac::Key::new(totp.algorithm, &totp.key), &count.to_be_bytes());
    Ok(Zeroizing::new(truncate(tag.as_ref(), totp.digits)))
}

/// Whether codes can be made from it.
///
/// # Errors
/// Why not.
pub fn check(secret: &str) -> Result<(), InvalidOneTimeSecret> {
    Totp::parse(secret).map(drop)
}

/// RFC 4226, 5.3: four bytes from where the last half byte points, without the sign, in decimal.
fn truncate(tag: &[u8], digits: u32) -> String {
    let at = tag.last().map_or(0, |last| usize::from(last & 0xf));
    let word =
        tag.iter().skip(at).take(4).fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) & 0x7fff_ffff;
    format!("{:0width$}", word % 10_u32.pow(digits), width = digits as usize)
}

impl Totp {
    fn parse(secret: &str) -> Result<Self, InvalidOneTimeSecret> {
        if secret.len() > MAX_SECRET {
            return Err(InvalidOneTimeSecret::TooLong);
        }
        let secret = secret.trim();
        match secret.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("otpauth") => Self::address(rest),
            _ => Ok(Self::plain(key(secret)?)),
        }
    }

    fn plain(key: Zeroizing<Vec<u8>>) -> Self {
        Self { key, algorithm: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, digits: 6, period: 30 }
    }

    /// What follows the scheme.
    fn address(rest: &str) -> Result<Self, InvalidOneTimeSecret> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let kind = path.split('/').next().unwrap_or_default();
        if !kind.eq_ignore_ascii_case("totp") {
            return Err(InvalidOneTimeSecret::NotTotp);
        }
        let query = query.split('#').next().unwrap_or_default();
        let of = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let secret =
            of("secret").filter(|secret| !secret.is_empty()).ok_or(InvalidOneTimeSecret::NoSecret)?;
        // Some escape the padding.
        let secret = Zeroizing::new(secret.replace("%3D", "=").replace("%3d", "="));
        let algorithm = match of("algorithm").unwrap_or("SHA1").to_ascii_uppercase().as_str() {
            "SHA1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            "SHA256" => hmac::HMAC_SHA256,
            "SHA512" => hmac::HMAC_SHA512,
            _ => return Err(InvalidOneTimeSecret::Algorithm),
        };
        let digits = of("digits").unwrap_or("6").parse().ok().filter(|digits| (6..=8).contains(digits));
        let period = of("period").unwrap_or("30").parse().ok().filter(|period| (1..=300).contains(period));
        Ok(Self {
            key: key(&secret)?,
            algorithm,
            digits: digits.ok_or(InvalidOneTimeSecret::Digits)?,
            period: period.ok_or(InvalidOneTimeSecret::Period)?,
        })
    }
}

fn key(secret: &str) -> Result<Zeroizing<Vec<u8>>, InvalidOneTimeSecret> {
    const SHORTEST: usize = 10;
    let kept = secret.trim_end_matches('=').chars().filter(|c| !matches!(c, ' ' | '-'));
    let letters = Zeroizing::new(kept.map(|c| c.to_ascii_uppercase()).collect::<String>());
    let key = BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| InvalidOneTimeSecret::NotBase32)?;
    let key = Zeroizing::new(key);
    if key.len() < SHORTEST { Err(InvalidOneTimeSecret::TooShort) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Appendix B of RFC 6238: the seed is repeated to the length of the hash.
    #[test]
    fn the_vectors_of_the_rfc_hold() {
        let vectors = [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ];
        let seed = |length: usize| {
            let seed: Vec<u8> = b"1234567890".iter().copied().cycle().take(length).collect();
            BASE32_NOPAD.encode(&seed)
        };
        for (second, sha1, sha256, sha512) in vectors {
            for (algorithm, length, code) in
                [("SHA1", 20, sha1), ("SHA256", 32, sha256), ("SHA512", 64, sha512)]
            {
                let address =
                    format!("otpauth://totp/x?secret={}&algorithm={algorithm}&digits=8", seed(length));
                assert_eq!(
                    one_time_code(&address, at(second)).unwrap().as_str(),
                    code,
                    "{algorithm} {second}"
                );
            }
            assert_eq!(one_time_code(&seed(20), at(second)).unwrap().as_str(), &sha1[2..], "{second}");
        }
    }

    #[test]
    fn a_secret_is_read_as_providers_write_it() {
        let plain = BASE32_NOPAD.encode(b"12345678901234567890");
        let code = one_time_code(&plain, at(59)).unwrap();
        let spaced: String = plain.to_lowercase().chars().flat_map(|c| [c, ' ']).collect();
        let address =
            format!("OTPAUTH://TOTP/Shop:me%40example.com?issuer=Shop&secret={plain}%3D%3D&period=30#x");
        for written in [format!("  {spaced}\n"), format!("{plain}==="), address] {
            assert_eq!(one_time_code(&written, at(31)).unwrap(), code, "the same half minute");
        }
    }

    #[test]
    fn what_gives_no_codes_is_refused_without_being_shown() {
        let plain = BASE32_NOPAD.encode(b"12345678901234567890");
        let cases = [
            ("not base32!".to_owned(), InvalidOneTimeSecret::NotBase32),
            (String::new(), InvalidOneTimeSecret::TooShort),
            ("MFRGG".to_owned(), InvalidOneTimeSecret::TooShort),
            ("A".repeat(MAX_SECRET + 1), InvalidOneTimeSecret::TooLong),
            (format!("otpauth://hotp/x?secret={plain}&counter=1"), InvalidOneTimeSecret::NotTotp),
            ("otpauth://totp/x?issuer=y".to_owned(), InvalidOneTimeSecret::NoSecret),
            (format!("otpauth://totp/x?secret={plain}&algorithm=MD5"), InvalidOneTimeSecret::Algorithm),
            (format!("otpauth://totp/x?secret={plain}&digits=9"), InvalidOneTimeSecret::Digits),
            (format!("otpauth://totp/x?secret={plain}&period=0"), InvalidOneTimeSecret::Period),
            (format!("https://example.com/?secret={plain}"), InvalidOneTimeSecret::NotBase32),
        ];
        for (secret, expected) in cases {
            let error = one_time_code(&secret, at(59)).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains(&plain));
        }
        assert_eq!(one_time_code(&plain, at(-1)).unwrap_err(), InvalidOneTimeSecret::Time);
    }

    proptest! {
        #[test]
        fn no_text_is_too_much_for_it(text in "\\PC{0,80}", address in "otpauth://totp/[a-zA-Z0-9=&?%]{0,60}") {
            for secret in [text, address] {
                if let Ok(code) = one_time_code(&secret, at(59)) {
                    prop_assert!(code.chars().all(|c| c.is_ascii_digit()) && (6..=8).contains(&code.len()));
                }
            }
        }
    }
}
