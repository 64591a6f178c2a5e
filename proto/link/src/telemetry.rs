//! Logs on stderr, spans over OTLP.
//!
//! `WA_LOG` says what to log (`info`, `debug`, `warn,wa_mux=trace`), `WA_LOG_FORMAT=json` how; without it, lines for
//! people on a terminal and compact ones elsewhere. Spans are exported over gRPC when the standard variables ask for
//! it: an endpoint in `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_SDK_DISABLED` not
//! `true`; the SDK reads the other `OTEL_*` variables (sampler, headers, time-outs, resource attributes) by itself.
//! Only our own spans are exported: those of the HTTP stack would trace the export itself.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber, warn};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// How long a dropped [`Guard`] waits for the last spans to leave.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Who reports.
#[derive(Debug, Clone)]
pub struct Options {
    /// For example `wa-node`. `OTEL_SERVICE_NAME` overrides it.
    pub service_name: &'static str,
    pub service_version: &'static str,
    /// What to log when `WA_LOG` does not say, for example `info`.
    pub default_level: &'static str,
    /// What tells this instance from others, for example (`service.instance.id`, the host's name).
    pub attributes: Vec<(&'static str, String)>,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "WA_LOG={value:?} cannot be read: {reason}; write for example WA_LOG=info or WA_LOG=warn,wa_mux=debug"
    )]
    Filter { value: String, reason: String },
    #[error("WA_LOG_FORMAT={0:?} is unknown: leave it out or write json")]
    Format(String),
    #[error(
        "spans cannot be exported to {endpoint}: {reason}; correct OTEL_EXPORTER_OTLP_ENDPOINT or unset it"
    )]
    Exporter { endpoint: String, reason: String },
    #[error("logging was already set up in this process")]
    Twice,
}

/// Exports what is left when the program ends.
#[derive(Debug)]
#[must_use = "dropping it ends the export of spans"]
pub struct Guard(Option<SdkTracerProvider>);

impl Guard {
    /// Whether spans are exported.
    pub fn is_exporting(&self) -> bool {
        self.0.is_some()
    }

    /// Sends the last spans, for at most `limit`, without blocking the runtime.
    pub async fn finish(mut self, limit: Duration) {
        if let Some(provider) = self.0.take() {
            let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit)).await;
            match flushed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "the last spans were not exported"),
                Err(error) => warn!(%error, "the last spans were not exported"),
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // The program is ending: there is nobody left to tell.
            drop(provider.shutdown_with_timeout(LAST_FLUSH));
        }
    }
}

/// Sets up logging for this process, and the export of spans if the environment asks for it. To be called once, inside
/// the tokio runtime, before anything is logged. Keep the guard until the end and call [`Guard::finish`].
///
/// # Errors
/// When a variable cannot be understood, or when called twice.
pub fn init(options: &Options) -> Result<Guard, TelemetryError> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let filter = filter(environment("WA_LOG"), options.default_level)?;
    let terminal = std::io::stderr().is_terminal();
    let colour = terminal && environment("NO_COLOR").is_none();
    let logs = logs(environment("WA_LOG_FORMAT"), terminal, colour)?.with_filter(filter);
    let provider = match endpoint(&environment) {
        Some(endpoint) => {
            let named = environment("OTEL_SERVICE_NAME").is_some();
            Some(provider(&endpoint, resource(options, named))?)
        }
        None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(options.service_name))
            .with_filter(FilterFn::new(is_ours))
    });
    tracing_subscriber::registry().with(logs).with(spans).try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(Guard(provider))
}

fn filter(value: Option<String>, default: &str) -> Result<EnvFilter, TelemetryError> {
    let value = value.unwrap_or_else(|| default.to_owned());
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&value)
        .map_err(|error| TelemetryError::Filter { value, reason: error.to_string() })
}

type Logs = Box<dyn Layer<Registry> + Send + Sync>;

fn logs(format: Option<String>, terminal: bool, colour: bool) -> Result<Logs, TelemetryError> {
    let base = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    match format.as_deref() {
        Some("json") => Ok(boxed(base.json().flatten_event(true))),
        Some(other) => Err(TelemetryError::Format(other.chars().take(40).collect())),
        None if terminal => Ok(boxed(base.with_target(false))),
        None => Ok(boxed(base.compact())),
    }
}

fn boxed<S, L>(layer: L) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S> + Send + Sync + 'static,
{
    Box::new(layer)
}

fn endpoint(environment: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let disabled = environment("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let asked = environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| environment("OTEL_EXPORTER_OTLP_ENDPOINT"));
    asked.filter(|_| !disabled)
}

fn resource(options: &Options, named: bool) -> Resource {
    let attributes = options.attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", options.service_version))
        .with_attributes(attributes);
    if named { resource.build() } else { resource.with_service_name(options.service_name).build() }
}

fn provider(endpoint: &str, resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().map_err(|error| {
        TelemetryError::Exporter { endpoint: endpoint.to_owned(), reason: error.to_string() }
    })?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "wa" || target.starts_with("wa_") || target.starts_with("wa::");
    ours && *metadata.level() <= LevelFilter::INFO
}
