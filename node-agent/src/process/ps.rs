//! The process table where there is no `/proc`: one `ps` for all panes.

use std::collections::HashMap;
use std::process::Command;

use wa_match::ProcessInfo;

use super::{ProcessTable, Snapshot};

#[derive(Debug)]
pub(super) struct Ps;

impl ProcessTable for Ps {
    fn look(&self, ttys: &[String]) -> Snapshot {
        let output = Command::new("ps").args(["-axo", "pid=,pgid=,tpgid=,stat=,tty=,ucomm=,args="]).output();
        let Ok(output) = output else { return Snapshot::default() };
        let mut groups: HashMap<String, Vec<ProcessInfo>> =
            ttys.iter().map(|tty| (tty.clone(), Vec::new())).collect();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((tty, info)) = parse(line) else { continue };
            if let Some(group) = groups.get_mut(&format!("/dev/{tty}")) {
                group.push(info);
            }
        }
        Snapshot { groups }
    }

    fn still(&self, _tty: &str, _group: &[ProcessInfo]) -> bool {
        false
    }
}

/// A member of its terminal's foreground group, with that terminal.
fn parse(line: &str) -> Option<(String, ProcessInfo)> {
    let mut fields = line.split_whitespace();
    let pid = fields.next()?.parse().ok()?;
    let pgid: u32 = fields.next()?.parse().ok()?;
    let tpgid: i64 = fields.next()?.parse().ok()?;
    let stat = fields.next()?;
    let tty = fields.next()?.to_owned();
    let comm = fields.next()?.to_owned();
    let args: Vec<String> = fields.map(str::to_owned).collect();
    if i64::from(pgid) != tpgid {
        return None;
    }
    let exe = args.first().filter(|first| first.starts_with('/')).cloned();
    Some((tty, ProcessInfo { pid, pgid, comm, args, exe, stopped: stat.starts_with('T') }))
}
