//! The place of work in a trace: ids, the header `traceparent` of W3C Trace Context, and the place of the present task.

use std::future::Future;

use http::{HeaderMap, HeaderValue};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use uuid::Uuid;

const TRACE_PARENT: &str = "traceparent";
/// The length of the header in version 00.
const TRACE_PARENT_BYTES: usize = 55;
/// The bit of the flags that says that the caller records its span.
const SAMPLED: u8 = 1;

/// The id of a trace; not all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub(super) [u8; 16]);

/// The id of a span within its trace; not all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub(super) [u8; 8]);

/// A span, as others name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether it is recorded.
    pub is_sampled: bool,
}

impl SpanId {
    /// An id that no other span has.
    #[must_use]
    pub fn random() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self((high ^ low).max(1).to_be_bytes())
    }
}

impl SpanContext {
    /// The caller's span in the header `traceparent` of a request. `None` if the header is absent, repeated or malformed: such a
    /// request is served without a trace.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACE_PARENT).iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        Self::parse(value.as_bytes())
    }

    // `00-TRACE-SPAN-FLAGS` in lower-case hex. A later version may add fields at the end.
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(TRACE_PARENT_BYTES)?;
        let [version] = bytes(&known[..2])?;
        let may_go_on = version != 0 && rest.first() == Some(&b'-');
        let has_dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
        if version == 0xff || !has_dashes || !(rest.is_empty() || may_go_on) {
            return None;
        }
        let (trace, span) = (bytes(&known[3..35])?, bytes(&known[36..52])?);
        let [flags] = bytes(&known[53..])?;
        let is_valid = trace != [0; 16] && span != [0; 8];
        is_valid.then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// The header that names this span as the parent.
    #[must_use]
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_str(&self.text()).expect("hex and dashes are allowed in a header")
    }

    fn text(self) -> String {
        let (trace, span) = (hex::encode(self.trace.0), hex::encode(self.span.0));
        format!("00-{trace}-{span}-{:02x}", self.flags())
    }

    pub(super) fn flags(self) -> u8 {
        u8::from(self.is_sampled) * SAMPLED
    }
}

// Lower-case hex of this many bytes.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut found = [0; N];
    let is_lower = !text.iter().any(u8::is_ascii_uppercase);
    hex::decode_to_slice(text, &mut found).ok()?;
    is_lower.then_some(found)
}

tokio::task_local! {
    static CURRENT: SpanContext;
}

/// The span in which the present task works.
#[must_use]
pub fn current() -> Option<SpanContext> {
    CURRENT.try_get().ok()
}

/// Does work in a span.
pub async fn within<T>(span: SpanContext, work: impl Future<Output = T>) -> T {
    CURRENT.scope(span, work).await
}

/// Keeps the present span for work that runs in another task.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let span = current();
    async move {
        match span {
            Some(span) => within(span, work).await,
            None => work.await,
        }
    }
}

/// Adds the present span to outgoing calls.
#[derive(Debug, Clone, Copy)]
pub struct TraceParentOfCalls;

impl Interceptor for TraceParentOfCalls {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(span) = current() {
            let value = AsciiMetadataValue::try_from(span.text());
            let value = value.expect("hex and dashes are allowed in metadata");
            request.metadata_mut().insert(TRACE_PARENT, value);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<SpanContext> {
        SpanContext::parse(text.as_bytes())
    }

    // Without this a client could make a node panic, or place its spans in a trace that does not exist.
    #[test]
    fn a_header_is_what_w3c_says_or_none() {
        let good = parse(GOOD).expect("it is the example of W3C");
        assert!(good.is_sampled);
        assert_eq!(good.header(), GOOD);
        let unsampled = parse(&GOOD.replace("-01", "-02")).expect("other flags are ignored");
        assert_eq!(unsampled.header(), &*GOOD.replace("-01", "-00"));
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(parse(&later), Some(good));
        assert_eq!(parse(&format!("{later}-what-comes")), Some(good));
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &format!("{later}0"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0", 1),
            &GOOD.replace("4bf9", "4BF9"),
            &GOOD.replace("4bf9", "4bx9"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            "€€€€€€€€€€€€€€€€€€€€€€€€€€€€€€",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_repeated_header_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(SpanContext::of_headers(&headers), None);
        headers.append(TRACE_PARENT, HeaderValue::from_static(GOOD));
        assert_eq!(SpanContext::of_headers(&headers), parse(GOOD));
        headers.append(TRACE_PARENT, HeaderValue::from_static(GOOD));
        assert_eq!(SpanContext::of_headers(&headers), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none(text in prop::collection::vec(any::<u8>(), 0..80)) {
            let _any = SpanContext::parse(&text);
        }

        #[test]
        fn a_span_is_found_in_its_header(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), is_sampled in any::<bool>()) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let context = SpanContext { trace: TraceId(trace), span: SpanId(span), is_sampled };
            prop_assert_eq!(parse(&context.text()), Some(context));
        }
    }

    // Without this a call to a peer that is made in a task of its own would be in no trace.
    #[tokio::test]
    async fn work_in_another_task_stays_in_its_span() {
        let span = parse(GOOD).expect("a header");
        assert_eq!(current(), None);
        let there = within(span, async {
            tokio::spawn(carried(async { current() })).await
        });
        assert_eq!(there.await.expect("it ends"), Some(span));
        let nowhere = tokio::spawn(carried(async { current() }));
        assert_eq!(nowhere.await.expect("it ends"), None);
        let sent = within(span, async { TraceParentOfCalls.call(Request::new(())) });
        let sent = sent.await.expect("it is passed on");
        assert_eq!(
            sent.metadata()
                .get(TRACE_PARENT)
                .map(|value| value.as_bytes()),
            Some(GOOD.as_bytes())
        );
    }
}
