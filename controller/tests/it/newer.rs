//! A node that is newer than its controller: what it says beyond what is known here is survived, and counted.

use prost::Message as _;
use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};
use wa_proto::wire::v1;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{EventId, Lane, SpoolId};

use crate::desk::{Desk, LIMIT, block, line_record, until};

/// No message of ours has this field.
const FUTURE: u32 = 2047;

/// Sends bytes as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = v1::ControllerMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = v1::ControllerMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<v1::ControllerMessage>, Status> {
        v1::ControllerMessage::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The field of this number with these bytes.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// The message with more in it than is known here.
fn newer(message: &impl prost::Message) -> Vec<u8> {
    let mut out = message.encode_to_vec();
    out.extend(field(FUTURE, b"what later versions say"));
    encode_key(FUTURE + 1, WireType::Varint, &mut out);
    encode_varint(u64::MAX, &mut out);
    out
}

/// A session in which the node's side is bytes.
struct Session {
    out: mpsc::Sender<Vec<u8>>,
    inbound: Streaming<v1::ControllerMessage>,
}

impl Session {
    async fn open(desk: &Desk, spool: SpoolId) -> Self {
        let identity = desk.enrol("web-1").await;
        let (out, receiver) = mpsc::channel(64);
        let spool_id = spool.as_bytes().to_vec();
        let hello = v1::Hello { protocols: vec![1, 9], spool_id, ..v1::Hello::default() };
        // As fields of `NodeMessage`: the hello is 1, a block is 2.
        out.send(field(1, &newer(&hello))).await.unwrap();
        let mut grpc = Grpc::new(desk.channel(&identity).await);
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/wa.v1.NodeLink/Session");
        let answer = grpc.streaming(Request::new(ReceiverStream::new(receiver)), path, Raw).await.unwrap();
        let mut inbound = answer.into_inner();
        let first = timeout(LIMIT, inbound.message()).await.unwrap().unwrap().unwrap();
        let Some(Down::Welcome(welcome)) = first.kind else { panic!("no welcome: {first:?}") };
        assert_eq!(welcome.protocol, 1);
        Self { out, inbound }
    }

    async fn acked(&mut self, lane: Lane, seq: u64) {
        loop {
            let message = timeout(LIMIT, self.inbound.message()).await.unwrap().unwrap().unwrap();
            if let Some(Down::Ack(ack)) = message.kind {
                assert_eq!((ack.lane, ack.seq), (v1::Lane::from(lane).into(), seq));
                return;
            }
        }
    }
}

/// A record with a body that no version has today.
fn of_the_future(lane: Lane, seq: u64) -> Vec<u8> {
    let head = v1::Record {
        lane: v1::Lane::from(lane).into(),
        seq,
        time_us: 1_795_000_000_000_000,
        ..v1::Record::default()
    };
    let mut bytes = head.encode_to_vec();
    bytes.extend(field(FUTURE, b"a body of a later version"));
    bytes
}

/// As a node packs it: the body alone, seq and time as steps.
fn packed_of_the_future(time_step_us: i64) -> Vec<u8> {
    let mut bytes = v1::PackedRecord { time_step_us, ..v1::PackedRecord::default() }.encode_to_vec();
    bytes.extend(field(5, &field(FUTURE, b"a body of a later version")));
    bytes
}

fn event(seq: u64, kind: &str) -> v1::Record {
    let id = EventId::generate().as_bytes().to_vec();
    let event = v1::Event { id, event: kind.to_owned(), ..v1::Event::default() };
    v1::Record {
        lane: v1::Lane::Events.into(),
        seq,
        time_us: 1_795_000_000_000_000,
        body: Some(v1::record::Body::Event(event)),
        ..v1::Record::default()
    }
}

fn block_of(lane: Lane, form: v1::RecordForm, records: &[Vec<u8>]) -> Vec<u8> {
    let data: Vec<u8> = records.iter().flat_map(|record| field(1, record)).collect();
    let block = v1::RecordBlock {
        lane: v1::Lane::from(lane).into(),
        first_seq: 1,
        count: records.len().try_into().unwrap(),
        form: form.into(),
        raw_size: data.len().try_into().unwrap(),
        data,
        ..v1::RecordBlock::default()
    };
    field(2, &block.encode_to_vec())
}

fn kept(desk: &Desk) -> Vec<(i64, i64, String)> {
    let database = Connection::open(desk.data().join("state.db")).unwrap();
    let mut query =
        database.prepare("SELECT lane, seq, why FROM unknown_records ORDER BY lane, seq").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Between known records stand some that a later version told: they are acknowledged in their turn, counted, and kept.
#[tokio::test]
async fn records_of_an_unknown_kind_are_acknowledged_and_kept() {
    let desk = Desk::start().await;
    let mut session = Session::open(&desk, SpoolId::generate()).await;
    let line = |seq| v1::Record::from(line_record(seq, "told by a newer node")).encode_to_vec();
    let plain = [line(1), of_the_future(Lane::Bulk, 2), line(3)];
    session.out.send(block_of(Lane::Bulk, v1::RecordForm::Plain, &plain)).await.unwrap();
    session.acked(Lane::Bulk, 3).await;
    let mut event_packed = Vec::new();
    let known = [event(1, "bell"), event(2, "agent.ascended"), event(3, "bell")];
    wa_proto::wire::packed::pack(&known, &mut event_packed);
    let mut packed = Vec::new();
    let mut rest = event_packed.as_slice();
    while !rest.is_empty() {
        let mut entry = rest;
        prost::encoding::decode_key(&mut entry).unwrap();
        let length = usize::try_from(prost::encoding::decode_varint(&mut entry).unwrap()).unwrap();
        packed.push(entry[..length].to_vec());
        rest = &entry[length..];
    }
    packed.push(packed_of_the_future(1));
    session.out.send(block_of(Lane::Events, v1::RecordForm::Packed, &packed)).await.unwrap();
    session.acked(Lane::Events, 4).await;
    let (events, bulk) = (v1::Lane::Events as i64, v1::Lane::Bulk as i64);
    let mut wanted = vec![
        (events, 2, "event.event: unknown event \"agent.ascended\"".to_owned()),
        (events, 4, "its kind".to_owned()),
        (bulk, 2, "its kind".to_owned()),
    ];
    wanted.sort();
    assert_eq!(kept(&desk), wanted);
    until("them to be counted", async || {
        let metrics = desk.running().metrics().render();
        metrics.contains("wa_controller_unknown_records_total 3\n").then_some(())
    })
    .await;
    assert!(desk.running().metrics().render().contains("wa_controller_sessions_refused_total 0\n"));
}

/// A version that knows them takes them into the log, once.
#[tokio::test]
async fn records_that_could_not_be_read_are_taken_in_by_a_version_that_reads_them() {
    let mut desk = Desk::start().await;
    let mut session = Session::open(&desk, SpoolId::generate()).await;
    session
        .out
        .send(block_of(Lane::Bulk, v1::RecordForm::Plain, &[of_the_future(Lane::Bulk, 1)]))
        .await
        .unwrap();
    session.acked(Lane::Bulk, 1).await;
    drop(session);
    // What the older version did not know was a line.
    let line = v1::Record::from(line_record(1, "read at last")).encode_to_vec();
    let changed = Connection::open(desk.data().join("state.db"))
        .unwrap()
        .execute("UPDATE unknown_records SET record = ?1", [line]);
    assert_eq!(changed, Ok(1));
    desk.restart().await;
    assert_eq!(kept(&desk), []);
    let database = Connection::open(desk.data().join("state.db")).unwrap();
    let lines: i64 = database
        .query_row("SELECT count(*) FROM log WHERE text = 'read at last'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(lines, 1);
}

#[tokio::test]
async fn what_a_newer_node_says_is_survived_and_counted() {
    let desk = Desk::start().await;
    let Session { out, mut inbound } = Session::open(&desk, SpoolId::generate()).await;

    out.send(field(FUTURE, b"a message of a kind that nobody knows")).await.unwrap();
    out.send(Vec::new()).await.unwrap();
    let record: v1::Record = line_record(1, "told by a newer node").into();
    let data = field(1, &newer(&record));
    let plain = block(Lane::Bulk, vec![line_record(1, "")]);
    let newer_block = v1::RecordBlock { raw_size: data.len().try_into().unwrap(), data, ..plain };
    let mut message = v1::NodeMessage { kind: Some(Up::Block(newer_block.clone())) }.encode_to_vec();
    assert_eq!(message, field(2, &newer_block.encode_to_vec()));
    message = field(2, &newer(&newer_block));
    message.extend(field(FUTURE, b"beside the block"));
    out.send(message).await.unwrap();
    loop {
        let message = timeout(LIMIT, inbound.message()).await.unwrap().unwrap().unwrap();
        if let Some(Down::Ack(ack)) = message.kind {
            assert_eq!((ack.lane, ack.seq), (v1::Lane::Bulk.into(), 1));
            break;
        }
    }
    until("the messages to be counted", async || {
        let metrics = desk.running().metrics().render();
        metrics.contains("wa_controller_unknown_messages_total 2\n").then_some(())
    })
    .await;
    assert!(desk.running().metrics().render().contains("wa_controller_sessions_refused_total 0\n"));
}
