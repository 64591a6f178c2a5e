//! Who else is on this machine.
//!
//! Strict, for it decides whether a port that gives away this account may be opened: every user counts that is neither root
//! nor the one we run as, accounts of services too. What cannot be seen counts as somebody.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use wa_link::files;

/// No such table is larger.
const LIMIT: u64 = 1024 * 1024;
/// Shells that let nobody in.
const NO_SHELLS: [&str; 7] = ["nologin", "false", "sync", "shutdown", "halt", "true", "git-shell"];
/// Sources of accounts that add no people beside `/etc/passwd`.
const LOCAL_SOURCES: [&str; 5] = ["files", "compat", "systemd", "altfiles", "myhostname"];

/// Somebody else, in words; `None`: nobody.
pub(super) fn others() -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    Neighbourhood { root: Path::new("/"), own }.others()
}

struct Neighbourhood<'a> {
    /// Where `proc` and `etc` lie.
    root: &'a Path,
    own: u32,
}

impl Neighbourhood<'_> {
    fn others(&self) -> Option<String> {
        let Ok(passwd) = files::read_text(&self.root.join("etc/passwd"), LIMIT) else {
            return Some("who may log in here cannot be read".to_owned());
        };
        let accounts = accounts(&passwd);
        let name = |uid: u32| match accounts.get(&uid) {
            Some((name, _)) => format!("user {name}"),
            None => format!("user {uid}"),
        };
        let may_log_in = |(uid, (_, shell)): (&u32, &(&str, &str))| {
            let shell = shell.rsplit('/').next().unwrap_or_default();
            self.is_other(*uid).then_some(*uid).filter(|_| !NO_SHELLS.contains(&shell))
        };
        if let Some(uid) = accounts.iter().find_map(may_log_in) {
            return Some(format!("{} may log in here", name(uid)));
        }
        if let Some(source) = self.remote_source() {
            return Some(format!("people of {source:?} (/etc/nsswitch.conf) may log in here"));
        }
        match self.programs() {
            Ok(None) => {}
            Ok(Some(uid)) => return Some(format!("{} runs programs here", name(uid))),
            Err(error) => return Some(format!("programs of others cannot be seen here ({error})")),
        }
        self.sockets().map(|uid| format!("{} has sockets here", name(uid)))
    }

    fn is_other(&self, uid: u32) -> bool {
        uid != 0 && uid != self.own
    }

    /// A directory of accounts elsewhere.
    fn remote_source(&self) -> Option<String> {
        let text = files::read_text(&self.root.join("etc/nsswitch.conf"), LIMIT).unwrap_or_default();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("passwd:"))?;
        let words = line.split('#').next()?.split_whitespace().filter(|word| !word.starts_with('['));
        words.map(str::to_owned).find(|word| !LOCAL_SOURCES.contains(&word.as_str()))
    }

    /// Another user with a process.
    fn programs(&self) -> std::io::Result<Option<u32>> {
        let proc = self.root.join("proc");
        // Where processes of others are hidden, the first one is.
        std::fs::metadata(proc.join("1"))?;
        for entry in std::fs::read_dir(proc)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            // It may have ended since.
            let uid = entry.metadata().map_or(0, |metadata| metadata.uid());
            if self.is_other(uid) {
                return Ok(Some(uid));
            }
        }
        Ok(None)
    }

    /// Another user with a socket of this network, perhaps in another container.
    fn sockets(&self) -> Option<u32> {
        let uids = ["tcp", "tcp6", "udp", "udp6"].into_iter().flat_map(|table| {
            let path = self.root.join("proc/net").join(table);
            let text = files::read_text(&path, 64 * LIMIT).unwrap_or_default();
            // sl local remote st queues tr:when retransmits uid
            let uid = |line: &str| line.split_whitespace().nth(7)?.parse::<u32>().ok();
            text.lines().skip(1).filter_map(uid).collect::<Vec<_>>()
        });
        uids.into_iter().find(|uid| self.is_other(*uid))
    }
}

/// Name and shell by uid. A shell that is not given is the usual one.
fn accounts(passwd: &str) -> BTreeMap<u32, (&str, &str)> {
    let account = |line| {
        let fields: Vec<&str> = str::split(line, ':').collect();
        Some((fields.get(2)?.parse().ok()?, (*fields.first()?, *fields.get(6).unwrap_or(&""))))
    };
    passwd.lines().filter_map(account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(passwd: &str, nsswitch: &str, tcp: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in ["etc", "proc/1", "proc/net"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.path().join("etc/nsswitch.conf"), nsswitch).unwrap();
        std::fs::write(root.path().join("proc/net/tcp"), tcp).unwrap();
        root
    }

    fn others(root: &tempfile::TempDir) -> Option<String> {
        // The files belong to whoever runs the test.
        let own = rustix::process::geteuid().as_raw();
        Neighbourhood { root: root.path(), own }.others()
    }

    const DAEMONS: &str = "root:x:0:0::/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nsync:x:4:1::/bin:/bin/sync\n";
    const FILES: &str = "group: files\npasswd: files systemd # usual\n";
    const TITLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    #[test]
    fn accounts_of_services_that_do_nothing_are_nobody() {
        assert_eq!(others(&machine(DAEMONS, FILES, TITLE)), None);
    }

    #[test]
    fn whoever_may_log_in_or_is_there_counts() {
        let person = format!("{DAEMONS}ann:x:65000:1::/home/ann:/bin/sh\n");
        assert_eq!(others(&machine(&person, FILES, TITLE)).unwrap(), "user ann may log in here");
        let no_shell = format!("{DAEMONS}bob:x:65001:1::/home/bob\n");
        assert!(others(&machine(&no_shell, FILES, TITLE)).unwrap().contains("user bob"));
        let sssd = others(&machine(DAEMONS, "passwd: files [NOTFOUND=return] sss\n", TITLE)).unwrap();
        assert!(sssd.contains("\"sss\""), "{sssd}");
        let socket = format!(
            "{TITLE}   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33 0 1\n"
        );
        assert_eq!(others(&machine(DAEMONS, FILES, &socket)).unwrap(), "user www-data has sockets here");
    }

    #[test]
    fn what_cannot_be_seen_is_somebody() {
        let root = machine(DAEMONS, FILES, TITLE);
        std::fs::remove_dir(root.path().join("proc/1")).unwrap();
        assert!(others(&root).unwrap().contains("cannot be seen"));
        std::fs::remove_file(root.path().join("etc/passwd")).unwrap();
        assert!(others(&root).unwrap().contains("cannot be read"));
    }
}
