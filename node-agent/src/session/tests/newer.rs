//! A controller that is newer than its node: what it says beyond what is known here is survived, and counted.

use std::convert::Infallible;
use std::task::{Context as TaskContext, Poll};

use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};

use super::*;

/// No message of ours has this field.
const FUTURE: u32 = 2047;

/// Sends bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = v1::NodeMessage;
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
    type Item = v1::NodeMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<v1::NodeMessage>, Status> {
        v1::NodeMessage::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
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

#[derive(Clone)]
struct Newer {
    tasks: Tasks,
    blocks: watch::Sender<Vec<v1::RecordBlock>>,
    problems: watch::Sender<Vec<String>>,
    streams: watch::Sender<usize>,
}

impl NamedService for Newer {
    const NAME: &'static str = "wa.v1.NodeLink";
}

impl Service<http::Request<Body>> for Newer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let newer = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).streaming(newer, request).await) })
    }
}

impl StreamingService<v1::NodeMessage> for Newer {
    type Response = Vec<u8>;
    type ResponseStream = ReceiverStream<Result<Vec<u8>, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::NodeMessage>>) -> Self::Future {
        let (newer, (down, out)) = (self.clone(), mpsc::channel(64));
        self.streams.send_modify(|streams| *streams += 1);
        self.tasks.spawn("session", async move { newer.serve(request.into_inner(), down).await });
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(out))) })
    }
}

impl Newer {
    async fn serve(
        self,
        mut stream: Streaming<v1::NodeMessage>,
        down: mpsc::Sender<Result<Vec<u8>, Status>>,
    ) {
        let first = stream.message().await.unwrap().unwrap();
        assert!(matches!(first.kind, Some(Up::Hello(_))));
        let welcome = v1::Welcome {
            protocol: 1,
            credit_bytes: 1 << 20,
            dictionaries: vec![1, 4_000_000],
            forms: vec![99, v1::RecordForm::Packed.into()],
            ..v1::Welcome::default()
        };
        // As fields of `ControllerMessage`: the welcome is 1, an acknowledgement is 2.
        down.send(Ok(field(1, &newer(&welcome)))).await.unwrap();
        down.send(Ok(field(FUTURE, b"a message of a kind that nobody knows"))).await.unwrap();
        down.send(Ok(Vec::new())).await.unwrap();
        while let Ok(Some(message)) = stream.message().await {
            match message.kind {
                Some(Up::Block(block)) => {
                    let seq = block.first_seq + u64::from(block.count) - 1;
                    let mut ack = field(2, &newer(&v1::Ack { lane: block.lane, seq }));
                    ack.extend(field(FUTURE, b"beside the acknowledgement"));
                    self.blocks.send_modify(|blocks| blocks.push(block));
                    down.send(Ok(ack)).await.unwrap();
                }
                Some(Up::Heartbeat(heartbeat)) => drop(self.problems.send_replace(heartbeat.problems)),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_controller_says_is_survived_and_counted() {
    let tasks = Tasks::new(Shutdown::new());
    let said = Newer {
        tasks: tasks.clone(),
        blocks: watch::Sender::new(Vec::new()),
        problems: watch::Sender::new(Vec::new()),
        streams: watch::Sender::new(0),
    };
    let (fake, _) = controller(&tasks, 0, false).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = fake.ca.issue(SanType::DnsName(SERVER_NAME.try_into().unwrap()), (2000, 2200));
    let incoming = accept::incoming(listener, tls::server_config(&server).unwrap(), &tasks);
    let router = accept::server().add_service(said.clone());
    let ended = tasks.shutdown().triggered();
    tasks.spawn("newer", async move { drop(router.serve_with_incoming_shutdown(incoming, ended).await) });
    let stage = node(tasks, fake, url, (2000, 2200));
    stage.append(Lane::Bulk, &"a line of a pane, and again ".repeat(40)).await;
    let mut problems = said.problems.subscribe();
    let counted = problems.wait_for(|all| {
        all.iter()
            .any(|problem| problem.contains("2 messages of the controller") && problem.contains("up to date"))
    });
    tokio::time::timeout(LIMIT, counted).await.unwrap().unwrap();
    let released = async {
        while stage.spool.status().bulk.first < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, released).await.unwrap();
    assert_eq!(*said.streams.borrow(), 1, "the session goes on");
    let block = said.blocks.borrow()[0].clone();
    assert_eq!((block.form(), block.dictionary), (v1::RecordForm::Packed, 1), "the newest that both know");
    stage.stop().await;
}
