//! Clients of a server whose panes print as fast as they can.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges of rows")]

mod support;

use std::time::{Duration, Instant};

use support::{PATIENCE, Server, Wire, shell};
use wa_embedded_mux::Command;
use wa_mux::codec::Pdu;
use wa_screen::terminal::Size;

const PANES: u64 = 20;
/// Rounds over all panes, at least.
const ROUNDS: u32 = 3;
/// Rows that have gone by in each pane at the end.
const ROWS: i64 = 10_000;
/// For one answer, on a machine that has much else to do: the flood itself takes many times as long.
const BOUND: Duration = Duration::from_secs(2);

/// Twenty panes that print for ever.
fn flooded() -> Server {
    let server = Server::start(|options| options.first_command = None);
    let flood = Command {
        args: ["/bin/sh", "-c", "while :; do seq 200000; done"].map(Into::into).to_vec(),
        ..shell()
    };
    for _ in 0..PANES {
        server.running.handle().spawn(&flood, Size { cols: 80, rows: 24 }, "default").unwrap();
    }
    server
}

/// The longest that an answer took, and to what.
#[derive(Debug, Default)]
struct Longest(Duration, String);

impl Longest {
    fn ask(&mut self, client: &mut Wire, pdu: &Pdu) -> Pdu {
        let start = Instant::now();
        let answer = client.ask(pdu);
        let took = start.elapsed();
        client.pushes.clear();
        if took > self.0 {
            (self.0, self.1) = (took, format!("{pdu:?}"));
        }
        answer
    }

    /// The row that the pane's viewport begins with; its rows are asked for as well.
    fn look(&mut self, client: &mut Wire, pane_id: u64) -> i64 {
        let top = match self.ask(client, &Pdu::GetPaneRenderableDimensions { pane_id }) {
            Pdu::GetPaneRenderableDimensionsResponse { dims, .. } => dims.physical_top,
            pdu => panic!("{pdu:?}"),
        };
        let answer = self.ask(client, &Pdu::GetLines { pane_id, lines: vec![top..top + 5] });
        assert!(matches!(&answer, Pdu::GetLinesResponse { .. }), "{answer:?}");
        top
    }
}

#[test]
fn a_flood_in_many_panes_keeps_no_client_waiting() {
    let server = flooded();
    let mut client = server.client();
    let mut longest = Longest::default();
    let end = Instant::now() + PATIENCE;
    // Rows of its own flood go by in every pane while the client asks.
    let mut rounds = 0;
    loop {
        let tops: Vec<i64> = (0..PANES).map(|pane_id| longest.look(&mut client, pane_id)).collect();
        let list = longest.ask(&mut client, &Pdu::ListPanes);
        assert!(matches!(&list, Pdu::ListPanesResponse { .. }), "{list:?}");
        rounds += 1;
        if rounds >= ROUNDS && tops.iter().all(|top| *top > ROWS) {
            break;
        }
        assert!(Instant::now() < end, "the flood stands still: {tops:?}, {longest:?}");
    }
    println!("{rounds} rounds, longest {longest:?}");
    assert!(longest.0 < BOUND, "{longest:?}");
}
