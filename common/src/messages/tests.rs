use super::*;
use crate::ids::{Digest, JobId};
use crate::subjects::RequestKind;

fn request() -> JobRequest {
    let program = Digest::of(b"elf");
    JobRequest {
        v: Version::default(),
        job: JobId::random(),
        program,
        input: Some(ObjectRef { key: ObjectKey { scope: ObjectScope::Input, digest: Digest::of(b"in") }, size: 2 }),
        input_stream: false,
        params: JobParams { max_steps: Some(5), ..JobParams::default() },
        client: "test".to_owned(),
        metadata: Default::default(),
    }
}

#[test]
fn requests_cross_in_both_encodings() {
    let request = request();
    assert_eq!(decode_as::<JobRequest>(None, &encode(&request).unwrap()).unwrap(), request);
    let json = encode_json(&request).unwrap();
    assert_eq!(decode_as::<JobRequest>(Some("application/json; charset=utf-8"), &json).unwrap(), request);
    let by_hand = format!(r#"{{"job":"{}","program":"{}"}}"#, request.job, request.program);
    let read: JobRequest = decode_as(Some(JSON), by_hand.as_bytes()).unwrap();
    assert_eq!((read.input, read.params), (None, JobParams::default()));
}

#[test]
fn metadata_is_bounded() {
    let with = |pairs: Vec<(String, String)>| JobRequest { metadata: pairs.into_iter().collect(), ..request() };
    let text = |request: JobRequest| request.validate().unwrap_err().to_string();
    let full: Vec<_> = (0..MAX_METADATA).map(|n| (format!("{n:064}"), "x".repeat(MAX_METADATA_VALUE))).collect();
    let good = with(full.clone());
    assert_eq!(good.validate(), Ok(()));
    assert_eq!(decode::<JobRequest>(&encode(&good).unwrap()).unwrap(), good);
    let mut more = full;
    more.push(("more".to_owned(), String::new()));
    assert!(text(with(more)).contains("\"more\" is one too many: expected at most 32 pairs"));
    assert!(text(with(vec![("k".repeat(MAX_METADATA_KEY + 1), String::new())])).contains("is no key"));
    assert!(text(with(vec![(String::new(), String::new())])).contains("is no key"));
    let error = with(vec![("k".to_owned(), "x".repeat(MAX_METADATA_VALUE + 1))]).validate().unwrap_err();
    assert_eq!((error.field().as_str(), error.allowed().contains("at most 512 bytes")), ("metadata.k", true));
    // An event without any reads as before.
    assert!(!encode_json(&request()).unwrap().windows(8).any(|bytes| bytes == b"metadata"));
}

#[test]
fn events_cross_with_their_bytes() {
    let event = Event {
        v: Version::default(),
        job: JobId::random(),
        at_ms: unix_ms(),
        progress: Progress { segments: Some(3), ..Progress::default() },
        metadata: Default::default(),
        body: EventBody::Executed {
            summary: ExecutionSummary { outputs: ByteBuf::from(vec![0, 255, 7]), ..ExecutionSummary::default() },
        },
    };
    assert_eq!(decode::<Event>(&encode(&event).unwrap()).unwrap(), event);
    let empty = Event { body: EventBody::Admitted {}, ..event };
    assert_eq!(decode::<Event>(&encode(&empty).unwrap()).unwrap(), empty);
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let newer = rmp_serde::to_vec_named(&serde_json::json!({"job": 17, "shape": "unknown", "v": 2})).unwrap();
    let error = decode::<Challenge>(&newer).unwrap_err();
    assert!(matches!(error, CodecError::Newer { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("challenge has schema version 2, newer than 1"), "{error}");
}

#[test]
fn errors_say_what_is_allowed() {
    let text = |json: &str| decode_as::<JobRequest>(Some(JSON), json.as_bytes()).unwrap_err().to_string();
    let good = encode_json(&request()).unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&good).unwrap();
    value["inptu"] = 1.into();
    let error = text(&value.to_string());
    assert!(error.contains("inptu") && error.contains("`input`"), "{error}");
    let error = text("{}");
    assert!(error.contains("job"), "{error}");
    let error = decode_as::<JobRequest>(Some("text/html"), &good).unwrap_err().to_string();
    assert!(error.contains(JSON), "{error}");

    let mut request = request();
    request.params.log_segment_steps = Some(40);
    let error = request.validate().unwrap_err().to_string();
    assert!(error.contains("log_segment_steps") && error.contains("10 to 20"), "{error}");
    request.params = JobParams { priority: Some(10), ..JobParams::default() };
    let error = request.validate().unwrap_err().to_string();
    assert!(error.contains("params.priority is 10: expected 0 (last) to 9 (first)"), "{error}");
    request.params.priority = Some(MAX_PRIORITY);
    request.client = "x".repeat(MAX_CLIENT + 1);
    let error = request.validate().unwrap_err().to_string();
    assert!(error.contains("client is 65 bytes long: expected at most 64"), "{error}");
    request.client.pop();
    assert_eq!(request.validate(), Ok(()));
}

#[test]
fn what_was_written_before_jobs_had_a_priority_is_read() {
    #[derive(serde::Serialize)]
    struct Accepted {
        accepted: std::collections::BTreeMap<String, u32>,
    }
    let before = rmp_serde::to_vec_named(&Accepted { accepted: [].into() }).unwrap();
    assert_eq!(rmp_serde::from_slice::<EventBody>(&before).unwrap(), EventBody::Accepted { position: None });
    let timings: Timings = serde_json::from_str(r#"{"accepted_ms":5}"#).unwrap();
    assert_eq!((timings.accepted_ms, timings.admitted_ms), (5, 0));
    // And a release that knows no priorities reads a request that names none.
    assert!(!encode_json(&request()).unwrap().windows(8).any(|bytes| bytes == b"priority"));
}

#[test]
fn object_keys_read_back() {
    let job = JobId::random();
    let digest = Digest::of(b"x");
    use ObjectScope::{Input, Key, Mark, Node, Program, Proof, Segment};
    for scope in [Program, Key, Input, Proof, Mark, Segment(job), Node(job)] {
        let key = ObjectKey { scope, digest };
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    assert!("job/../segment/x".parse::<ObjectKey>().is_err());
}

#[test]
fn a_streamed_input_is_asked_for_without_one() {
    let streamed = JobRequest { input: None, input_stream: true, ..request() };
    assert_eq!(decode::<JobRequest>(&encode(&streamed).unwrap()).unwrap(), streamed);
    assert_eq!((streamed.validate_for(RequestKind::Prove), streamed.validate_for(RequestKind::Execute)), (Ok(()), Ok(())));
    for error in [
        streamed.validate_for(RequestKind::Setup).unwrap_err(),
        JobRequest { input_stream: true, ..request() }.validate_for(RequestKind::Prove).unwrap_err(),
    ] {
        assert_eq!(error.field(), "input_stream");
        assert!(error.to_string().contains(&error.allowed()), "{error}");
    }
    // One that is not streamed reads as before, for who does not know the field.
    assert!(!encode_json(&request()).unwrap().windows(12).any(|bytes| bytes == b"input_stream"));
    let by_hand = InputClose::read(b" {\"chunks\": 2, \"bytes\": 9}").unwrap();
    assert_eq!(InputClose::read(&encode(&by_hand).unwrap()).unwrap(), by_hand);
    assert!(InputClose::read(b"{\"chunks\": 2}").is_err() && InputClose::read(b"2").is_err());
}
