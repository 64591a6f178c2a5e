//! Version ranges of rules: `>=0.53, <0.67`.

/// A conjunction of comparisons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VersionRange(Vec<(Comparison, [u32; 3])>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    Below,
}

impl VersionRange {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (comparison, version) = if let Some(version) = part.strip_prefix(">=") {
                (Comparison::AtLeast, version)
            } else if let Some(version) = part.strip_prefix('<') {
                (Comparison::Below, version)
            } else {
                return Err(format!("version range {part:?}: write >=X.Y or <X.Y, with commas between"));
            };
            let version = numbers(version).ok_or_else(|| format!("{part:?} has no version"))?;
            all.push((comparison, version));
        }
        Ok(Self(all))
    }

    /// Whether a version is in the range; one that is not known is.
    pub(crate) fn holds(&self, version: &str) -> bool {
        let Some(version) = numbers(version) else { return true };
        self.0.iter().all(|(comparison, bound)| match comparison {
            Comparison::AtLeast => version >= *bound,
            Comparison::Below => version < *bound,
        })
    }
}

fn numbers(text: &str) -> Option<[u32; 3]> {
    let mut out = [0; 3];
    let core = text.trim().trim_start_matches('v').split(['-', '+', ' ']).next()?;
    for (at, part) in core.split('.').take(3).enumerate() {
        out[at] = part.parse().ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = VersionRange::parse(">=0.53, <0.67").unwrap();
        assert!(
            range.holds("0.53.0") && range.holds("v0.66.9-beta") && range.holds("") && range.holds("unknown")
        );
        assert!(!range.holds("0.67.0") && !range.holds("0.9"));
        assert!(VersionRange::parse("0.5").is_err() && VersionRange::parse(">=x").is_err());
    }
}
