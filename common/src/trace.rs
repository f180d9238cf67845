//! Trace context (W3C): a job is one trace, and its trace id is the job's id. So every message about a job can say to which trace it
//! belongs without anything being handed on, after any restart, and whoever has an id from a log finds the trace.

use std::fmt::Write;

use crate::ids::{Digest, JobId};

/// Header of every message about a job, as W3C Trace Context has it: `00-<trace>-<span>-01`, the span being the whole job.
pub const TRACEPARENT: &str = "traceparent";

/// The trace of a job: 32 hexadecimal digits.
pub fn trace_id(job: JobId) -> String {
    job.to_string().replace('-', "")
}

/// The span for `what` of a job (`job` for all of it): 16 hexadecimal digits, always the same, so that a trace that is sent twice is one.
pub fn span_id(job: JobId, what: &str) -> String {
    let digest = Digest::of(format!("{job} {what}").as_bytes());
    digest.as_bytes()[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The header's value.
pub fn traceparent(job: JobId) -> String {
    format!("00-{}-{}-01", trace_id(job), span_id(job, "job"))
}

/// Trace and span of a client's own `traceparent`; none where it is none.
pub fn parse(traceparent: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let hex = |text: &str, digits: usize| {
        text.len() == digits
            && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            && text.bytes().any(|digit| digit != b'0')
    };
    match parts.as_slice() {
        ["00", trace, span, flags] if hex(trace, 32) && hex(span, 16) && flags.len() == 2 => Some((trace, span)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_a_trace() {
        let job: JobId = "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap();
        let header = traceparent(job);
        let (trace, span) = parse(&header).unwrap();
        assert_eq!((trace, span.len()), ("0f8fad5bd9cb469fa16570867728950e", 16));
        assert_ne!(span, span_id(job, "proof 1"));
        assert_ne!(span, span_id(JobId::random(), "job"));
    }

    #[test]
    fn what_is_no_trace_context_is_none() {
        for text in [
            "",
            "00",
            "00-0f8fad5bd9cb469fa16570867728950e-00f067aa0ba902b7",
            "01-0f8fad5bd9cb469fa16570867728950e-00f067aa0ba902b7-01",
            "00-0F8FAD5BD9CB469FA16570867728950E-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-0f8fad5bd9cb469fa16570867728950e-0000000000000000-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("00-0f8fad5bd9cb469fa16570867728950e-00f067aa0ba902b7-00").is_some());
    }
}
