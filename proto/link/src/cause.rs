//! What an error and its causes say, on one line.
//!
//! Some errors name their cause in their own text, some leave it to the reader of the chain: either way each is said once.

use std::error::Error;

/// An error with its causes on one line, each said once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no words of its own")]
    struct Silent(#[source] crate::files::FileError);

    #[test]
    fn each_cause_is_said_once() {
        let file = crate::files::read_text(std::path::Path::new("/nonexistent/file"), 1).unwrap_err();
        let cause = file.source().unwrap().to_string();
        assert_eq!(chain(&file).matches(&cause).count(), 1, "{}", chain(&file));
        let above = chain(&Silent(file));
        assert!(above.starts_with("no words of its own: cannot read /nonexistent/file"), "{above}");
        assert_eq!(above.matches(&cause).count(), 1, "{above}");
    }
}
