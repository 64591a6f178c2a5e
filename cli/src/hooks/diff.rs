//! What would change, as a unified diff.

use std::fmt::Write as _;
use std::path::Path;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// Lines on either side that are compared one by one; of more, the whole changed part is shown as replaced.
const MOST: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Old,
    New,
}

/// The change of a file; empty when there is none.
pub(crate) fn diff(path: &Path, old: Option<&str>, new: &str) -> String {
    let before: Vec<&str> = old.unwrap_or_default().lines().collect();
    let after: Vec<&str> = new.lines().collect();
    let lines = compare(&before, &after);
    let mut text = match old {
        Some(_) => format!("--- {}\n", path.display()),
        None => "--- /dev/null\n".to_owned(),
    };
    writeln!(text, "+++ {}", path.display()).ok();
    let mut at = 0;
    let mut any = false;
    while let Some(first) =
        lines[at..].iter().position(|(side, _)| *side != Side::Both).map(|first| at + first)
    {
        let start = first.saturating_sub(CONTEXT).max(at);
        let end = hunk_end(&lines, first);
        hunk(&mut text, &lines, start, end);
        at = end;
        any = true;
    }
    if any { text } else { String::new() }
}

/// Where a hunk that has its first change at `first` ends.
fn hunk_end(lines: &[(Side, &str)], first: usize) -> usize {
    let (mut end, mut quiet) = (first, 0);
    while end < lines.len() && quiet <= 2 * CONTEXT {
        quiet = if lines[end].0 == Side::Both { quiet + 1 } else { 0 };
        end += 1;
    }
    end - quiet.saturating_sub(CONTEXT)
}

fn hunk(text: &mut String, lines: &[(Side, &str)], start: usize, end: usize) {
    let count = |part: &[(Side, &str)], not: Side| part.iter().filter(|(side, _)| *side != not).count();
    let (old, new) = (count(&lines[..start], Side::New) + 1, count(&lines[..start], Side::Old) + 1);
    let part = &lines[start..end];
    let (olds, news) = (count(part, Side::New), count(part, Side::Old));
    writeln!(text, "@@ -{},{olds} +{},{news} @@", old - usize::from(olds == 0), new - usize::from(news == 0))
        .ok();
    for (side, line) in part {
        let mark = match side {
            Side::Both => ' ',
            Side::Old => '-',
            Side::New => '+',
        };
        writeln!(text, "{mark}{line}").ok();
    }
}

/// Longest common subsequence, after what is equal at both ends.
fn compare<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(Side, &'a str)> {
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let tail =
        before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    let mut lines: Vec<(Side, &str)> = before[..head].iter().map(|line| (Side::Both, *line)).collect();
    if old.len() > MOST || new.len() > MOST {
        lines.extend(old.iter().map(|line| (Side::Old, *line)));
        lines.extend(new.iter().map(|line| (Side::New, *line)));
    } else {
        common(old, new, &mut lines);
    }
    lines.extend(before[before.len() - tail..].iter().map(|line| (Side::Both, *line)));
    lines
}

fn common<'a>(old: &[&'a str], new: &[&'a str], lines: &mut Vec<(Side, &'a str)>) {
    // longest[i][j]: of what remains from line i of the old and line j of the new.
    let width = new.len() + 1;
    let mut longest = vec![0u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((Side::Both, old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j < new.len()
            && (i == old.len() || longest[i * width + j + 1] > longest[(i + 1) * width + j])
        {
            lines.push((Side::New, new[j]));
            j += 1;
        } else {
            lines.push((Side::Old, old[i]));
            i += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_change_is_shown_with_its_surroundings() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let new = "a\nb\nc\nd\nE\nf\ng\nh\n";
        assert_eq!(
            diff(Path::new("/f"), Some(old), new),
            "--- /f\n+++ /f\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n"
        );
        assert_eq!(diff(Path::new("/f"), None, "x\n"), "--- /dev/null\n+++ /f\n@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(diff(Path::new("/f"), Some(old), old), "");
    }

    proptest! {
        #[test]
        fn patch_takes_it(old in "([ab]\n){0,24}", new in "([abc]\n){0,24}") {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("f");
            std::fs::write(&file, &old).unwrap();
            let text = diff(Path::new("f"), Some(&old), &new);
            // The comparison by itself, where there is no `patch`.
            let (before, after): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let lines = compare(&before, &after);
            let side = |not| lines.iter().filter(|(side, _)| *side != not).map(|(_, line)| *line).collect::<Vec<_>>();
            prop_assert_eq!(side(Side::New), before);
            prop_assert_eq!(side(Side::Old), after);
            prop_assert_eq!(text.is_empty(), old == new);
        }
    }
}
