//! A node with a shell, beside the controller.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use wa_embedded_mux::{Command, EmbeddedMux, Options};
use wa_link::shutdown::{Shutdown, Tasks};

use super::head::Head;
use super::wait_for;

const LIMIT: Duration = Duration::from_secs(40);

/// A shell on host `a` of this controller, in pane a/0.
pub(crate) struct Shell {
    mux: wa_embedded_mux::Running,
    node: Tasks,
}

impl Shell {
    pub(crate) fn open(head: &Head) -> Self {
        head.enrol();
        let socket = head.home.path().join("mux").join("sock");
        let mut options = Options::new(&socket);
        options.first_command = Some(Command::new(["bash", "--norc", "--noprofile", "-i"]));
        let mux = EmbeddedMux::start(options).unwrap();
        let node = Tasks::new(Shutdown::new());
        let socket = format!("main={}", socket.display()).parse().unwrap();
        let config = wa_node::Config::new(head.state_dir(), vec![socket]);
        let shutdown = node.shutdown().clone();
        let _inside = head.runtime.enter();
        node.spawn_critical("node", Box::pin(wa_node::run(config, shutdown)));
        wait_for("the shell", LIMIT, || {
            let (code, out, _) = head.wa(&["status", "a/0", "-o", "json"]);
            (code == 0 && out.contains(r#""state": "shell""#)).then_some(())
        });
        Self { mux, node }
    }

    pub(crate) fn close(self, head: &Head) {
        drop(head.runtime.block_on(self.node.finish(LIMIT)));
        self.mux.stop();
    }
}
