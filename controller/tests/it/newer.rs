//! A node that is newer than its controller: what it says beyond what is known here is survived, and counted.

use prost::Message as _;
use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};
use wa_proto::wire::v1;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{Lane, SpoolId};

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

#[tokio::test]
async fn what_a_newer_node_says_is_survived_and_counted() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let (out, receiver) = mpsc::channel(64);
    let hello = v1::Hello {
        protocols: vec![1, 9],
        spool_id: SpoolId::generate().as_bytes().to_vec(),
        ..v1::Hello::default()
    };
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
