//! Reads from when to when a certificate holds, and nothing else.
//!
//! The way to the field (RFC 5280, 4.1): Certificate is a SEQUENCE whose first element, TBSCertificate, is a SEQUENCE
//! of: version `[0]` (optional), serial INTEGER, algorithm SEQUENCE, issuer SEQUENCE, validity SEQUENCE of two times.
//! This is for display and for choosing when to renew; whether a certificate holds is decided by webpki.

use wa_proto::Timestamp;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const EXPLICIT_0: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// (not before, not after) of a certificate in DER; `None` when it is not one.
pub(crate) fn of(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let mut certificate = Reader(certificate);
    let mut body = Reader(Reader(certificate.take(SEQUENCE)?).take(SEQUENCE)?);
    if body.0.first() == Some(&EXPLICIT_0) {
        body.take(EXPLICIT_0)?;
    }
    body.take(INTEGER)?;
    body.take(SEQUENCE)?;
    body.take(SEQUENCE)?;
    let mut validity = Reader(body.take(SEQUENCE)?);
    Some((validity.time()?, validity.time()?))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0_usize, |n, digit| (n << 8) | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (found == tag).then_some(content)
    }

    fn time(&mut self) -> Option<Timestamp> {
        match *self.0.first()? {
            UTC_TIME => {
                let text = std::str::from_utf8(self.take(UTC_TIME)?).ok()?;
                // Two digits of a year: 50 to 99 mean 19xx (RFC 5280, 4.1.2.5.1).
                let century = if text.get(..2)?.parse::<u8>().ok()? >= 50 { "19" } else { "20" };
                instant(&format!("{century}{text}"))
            }
            GENERALIZED_TIME => instant(std::str::from_utf8(self.take(GENERALIZED_TIME)?).ok()?),
            _ => None,
        }
    }
}

/// `YYYYMMDDHHMMSSZ`.
fn instant(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (date, time) = digits.split_at(8);
    format!("{date}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate(from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let der = certificate((1999, 12, 31), (2049, 1, 2));
        let expected = ("1999-12-31T00:00:00Z".parse().unwrap(), "2049-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(of(&der), Some(expected));
        let der = certificate((2024, 2, 29), (2050, 1, 1));
        let expected = ("2024-02-29T00:00:00Z".parse().unwrap(), "2050-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(of(&der), Some(expected));
    }

    #[test]
    fn a_torn_certificate_is_none() {
        let der = certificate((2024, 1, 1), (2025, 1, 1));
        for end in 0..der.len() {
            assert_eq!(of(&der[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes: Vec<u8>, at in 0_usize..200, byte: u8) {
            let _ = of(&bytes);
            let mut der = certificate((2024, 1, 1), (2025, 1, 1));
            der[at] = byte;
            let _ = of(&der);
        }
    }
}
