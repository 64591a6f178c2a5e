//! Logging and export as a program sees them: this file runs itself as a child with the variables set.
#![allow(clippy::unwrap_used, reason = "this is a test, its helpers included")]

use std::convert::Infallible;
use std::process::{Command, Output};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::telemetry::{self, Options};
use wa_link::trace;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The child: a program that logs two lines and makes one span.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the tests below"]
async fn program() {
    let options = Options {
        service_name: "wa-test",
        service_version: "1.2.3",
        default_level: "info",
        attributes: vec![("service.instance.id", "here".to_owned())],
    };
    let guard = match telemetry::init(&options) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("error: {error}");
            return;
        }
    };
    // Spans of other crates are not exported: this one has the name of ours.
    let span = tracing::info_span!(target: "wa_test", "act");
    trace::set_parent(&span, PARENT);
    span.in_scope(|| {
        tracing::info!(target: "wa_test", parent = trace::current_parent(), "hello");
        tracing::debug!(target: "wa_test", "details");
    });
    drop(span);
    eprintln!("exporting: {}", guard.is_exporting());
    guard.finish(Duration::from_secs(10)).await;
}

fn run(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--ignored", "--nocapture"]);
    for name in ["WA_LOG", "WA_LOG_FORMAT"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    let Output { stderr, status, .. } = command.envs(variables.iter().copied()).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stderr).unwrap()
}

#[test]
fn the_level_and_the_form_of_the_log_are_asked_for_by_variables() {
    let plain = run(&[]);
    assert!(plain.contains("hello") && !plain.contains("details"), "{plain}");
    assert!(!plain.contains('\u{1b}'), "no colours in a file: {plain}");
    assert!(plain.contains("exporting: false"), "{plain}");

    let detailed = run(&[("WA_LOG", "warn,wa_test=debug"), ("WA_LOG_FORMAT", "json")]);
    let line = detailed.lines().find(|line| line.contains("details")).unwrap();
    assert!(line.starts_with('{') && line.contains(r#""level":"DEBUG""#), "{line}");

    let wrong = run(&[("WA_LOG", "wa_test=loud")]);
    assert!(wrong.contains(r#"error: WA_LOG="wa_test=loud""#), "{wrong}");
    let wrong = run(&[("WA_LOG_FORMAT", "xml")]);
    assert!(wrong.contains(r#"error: WA_LOG_FORMAT="xml""#), "{wrong}");
    let wrong = run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url")]);
    assert!(wrong.contains("error: spans cannot be exported"), "{wrong}");
    let disabled =
        run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_SDK_DISABLED", "true")]);
    assert!(disabled.contains("exporting: false"), "{disabled}");
}

/// Accepts every export and reports that it came.
#[derive(Clone)]
struct Collector(mpsc::UnboundedSender<String>);

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl tower::Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.send(request.uri().path().to_owned()).unwrap();
        let answer = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "0")
            .body(Body::empty())
            .unwrap();
        std::future::ready(Ok(answer))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_leave_for_the_collector_before_the_program_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, mut exports) = mpsc::unbounded_channel();
    let tasks = Tasks::new(Shutdown::new());
    let end = tasks.shutdown().triggered();
    let router = Server::builder().add_service(Collector(sender));
    tasks.spawn_critical("collector", router.serve_with_incoming_shutdown(TcpIncoming::from(listener), end));

    let log = tasks
        .spawn_blocking("program", move || run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]))
        .await
        .unwrap();
    assert!(log.contains("exporting: true"), "{log}");
    assert!(log.contains(&PARENT[..36]), "the log names the trace that it belongs to: {log}");
    let path = exports.try_recv().unwrap();
    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert!(exports.try_recv().is_err(), "one span, one export");
    assert_eq!(tasks.finish(Duration::from_secs(5)).await.failure, None);
}
