//! The thread that runs through records, actions and processes: W3C trace contexts as text.
//!
//! A traceparent is `00-TRACE-SPAN-FLAGS` in lower-case hex, 55 bytes; later versions may be longer and are read as
//! far as they are known. Text comes from the network and from files, so what is not a traceparent is ignored: a trace
//! that begins anew harms nobody.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The traceparent of the current span; empty where none is sampled.
pub fn current_parent() -> String {
    parent_of(&Span::current())
}

/// The traceparent that makes others children of this span; empty if it is not sampled.
pub fn parent_of(span: &Span) -> String {
    let context = span.context();
    let span = context.span();
    let span = span.span_context();
    if span.is_valid() && span.is_sampled() { format_parent(span) } else { String::new() }
}

/// Makes `span` a child of the span that `parent` names. To be called before the span is first entered. What is not a
/// traceparent is ignored.
pub fn set_parent(span: &Span, parent: &str) {
    if let Some(parent) = parse_parent(parent) {
        // Fails when nothing is exported, and then there is no thread to follow.
        drop(span.set_parent(Context::new().with_remote_span_context(parent)));
    }
}

/// Says that `span` was also caused by the span that `parent` names, as when one write settles what many records asked
/// for. What is not a traceparent is ignored.
pub fn link(span: &Span, parent: &str) {
    if let Some(parent) = parse_parent(parent) {
        span.add_link(parent);
    }
}

fn format_parent(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8() & 1)
}

fn parse_parent(text: &str) -> Option<SpanContext> {
    let mut parts = text.splitn(5, '-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let span = hex(parts.next()?, 16)?;
    let flags = hex(parts.next()?, 2)?;
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    let span = u64::try_from(span).ok()?;
    let flags = TraceFlags::new(u8::try_from(flags).ok()? & 1);
    let context =
        SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let good = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if good { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use proptest::prelude::*;
    use tracing_subscriber::prelude::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn with_tracing(work: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    }

    #[test]
    fn a_span_follows_its_parent_from_elsewhere() {
        with_tracing(|| {
            let span = tracing::info_span!("act");
            set_parent(&span, PARENT);
            let _entered = span.enter();
            let current = current_parent();
            assert_eq!(current.len(), 55);
            assert_eq!(current[..36], PARENT[..36], "the same trace");
            assert_ne!(current, PARENT, "its own span");
            let child = tracing::info_span!("child");
            assert_eq!(parent_of(&child)[..36], PARENT[..36]);
        });
    }

    #[test]
    fn what_is_no_parent_begins_a_new_trace() {
        with_tracing(|| {
            for bad in ["", "x", &PARENT.replace('7', "0").replace("0af", "+af"), &PARENT[..54]] {
                let span = tracing::info_span!("act");
                set_parent(&span, bad);
                let own = parent_of(&span);
                assert!(own.len() == 55 && own[..36] != PARENT[..36], "{bad}: {own}");
            }
        });
    }

    #[test]
    fn a_parent_that_is_not_sampled_is_followed_in_silence() {
        with_tracing(|| {
            let span = tracing::info_span!("act");
            set_parent(&span, &PARENT.replace("-01", "-00"));
            assert_eq!(parent_of(&span), "");
        });
    }

    #[test]
    fn without_tracing_there_is_no_parent() {
        let span = tracing::info_span!("act");
        set_parent(&span, PARENT);
        assert_eq!(current_parent(), "");
    }

    #[test]
    fn odd_parents_are_refused() {
        for bad in [
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            assert!(parse_parent(bad).is_none(), "{bad}");
        }
        assert!(parse_parent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").is_some());
    }

    proptest! {
        #[test]
        fn parents_read_as_written(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let text = format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(sampled));
            prop_assert_eq!(format_parent(&parse_parent(&text).unwrap()), text);
        }

        #[test]
        fn no_text_does_harm(text in ".{0,120}") {
            prop_assert!(parse_parent(&text).is_none());
        }
    }
}
