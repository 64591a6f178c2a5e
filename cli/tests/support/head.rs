//! A controller in this process, and a home for `wa`.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use wa_controller::{Config, Controller};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_node::enroll::{Enrolment, enroll};

use super::{answer, wa};

pub(crate) struct Head {
    pub(crate) home: TempDir,
    pub(crate) running: wa_controller::Running,
    pub(crate) runtime: tokio::runtime::Runtime,
    tasks: Tasks,
}

impl Head {
    pub(crate) fn start() -> Self {
        Self::start_with(|_, _| {})
    }

    /// With another configuration than a local controller has; it is given the home, too.
    pub(crate) fn start_with(change: impl FnOnce(&mut Config, &Path)) -> Self {
        wa_link::tls::install_provider();
        let home = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let mut config = Config::local(home.path().join("controller"));
        change(&mut config, home.path());
        let running = runtime.block_on(Controller::start(config, tasks.clone())).unwrap();
        Self { home, running, runtime, tasks }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = wa(self.home.path(), args);
        command.env("WA_CONTEXT_FILE", &self.running.operator_context);
        command
    }

    pub(crate) fn wa(&self, args: &[&str]) -> (i32, String, String) {
        answer(&mut self.command(args))
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home.path().join("node")
    }

    /// Gives the host `a` its certificates.
    pub(crate) fn enrol(&self) {
        self.enrol_with(false);
    }

    /// As [`Self::enrol`], in place of those that it has.
    pub(crate) fn enrol_again(&self) {
        self.enrol_with(true);
    }

    fn enrol_with(&self, replace: bool) {
        let token_file = self.home.path().join("token");
        let (code, token, err) = self.wa(&["fleet", "token", "a"]);
        assert_eq!(code, 0, "{err}");
        std::fs::write(&token_file, token).unwrap();
        let controller = self.running.url.clone();
        let enrolment =
            Enrolment { controller, token_file, state_dir: self.state_dir(), name: None, replace };
        self.runtime.block_on(enroll(&enrolment)).unwrap();
    }

    pub(crate) fn stop(&self) {
        assert!(self.runtime.block_on(self.tasks.finish(Duration::from_secs(10))).failure.is_none());
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        drop(self.runtime.block_on(self.tasks.finish(Duration::from_secs(5))));
    }
}
