//! What a log shows.

use tracing::subscriber::with_default;

use super::*;
use skep_core::base::Stamp;
use skep_core::base::inert::steers;

/// The lines of what `log` logs.
fn shown(format: LogFormat, filter: &str, log: impl FnOnce()) -> Vec<String> {
    struct Kept(LogFormat, Arc<Mutex<Vec<String>>>);
    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.1.lock().push(Line::read(event, self.0).render(Stamp(1_700_000_000_123)));
        }
    }
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Kept(format, Arc::clone(&lines));
    let targets = targets(filter).expect("a filter");
    with_default(tracing_subscriber::registry().with(targets).with(kept), log);
    let shown = lines.lock();
    shown.clone()
}

#[test]
fn a_bad_filter_is_bad_configuration() {
    for bad in ["skep=nonsense=1", "loud", "info,loud", "loud,skep=debug", "", "a b=info"] {
        let failure = start(LogFormat::Text, bad).expect_err("refused");
        assert_eq!(failure.exit, Exit::Configuration);
        assert!(failure.hint.is_some());
    }
}

#[test]
fn lines_are_as_promised() {
    let log = || {
        let error = std::io::Error::other("broken \"pipe\"");
        tracing::warn!(event = "call_refused", uid = 7, good = false, %error, "with {}", "words");
    };
    assert_eq!(
        shown(LogFormat::Text, "info", log),
        ["2023-11-14T22:13:20.123Z  WARN call_refused message=\"with words\" uid=7 good=false \
          error=\"broken \\\"pipe\\\"\"\n"]
    );
    let json = shown(LogFormat::Json, "info", log);
    let value: serde_json::Value = serde_json::from_str(&json[0]).expect("json");
    let wanted = serde_json::json!({
        "timestamp": "2023-11-14T22:13:20.123Z", "level": "WARN", "event": "call_refused",
        "message": "with words", "uid": 7, "good": false, "error": "broken \"pipe\"",
    });
    assert_eq!(value, wanted);
}

#[test]
fn nothing_hostile_gets_through_in_any_place() {
    let forged = "x\n2026-01-01T00:00:00Z ERROR forged\x1b[31m\u{9b}K\u{202e}\u{2028}\r\0\"} {";
    for hostile in [forged.to_owned(), forged.repeat(100_000)] {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = shown(format, "info", || {
                let error = std::io::Error::other(hostile.clone());
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(
                    event = hostile.as_str(),
                    text = hostile.as_str(),
                    display = %hostile,
                    debug = ?hostile,
                    error = error,
                    ends = hostile.as_str(),
                    "{hostile}"
                );
            });
            let [line] = lines.as_slice() else { panic!("one event: {lines:?}") };
            let body = line.strip_suffix('\n').expect("its end");
            assert!(!body.chars().any(steers), "{body}");
            assert!(body.len() <= 4096, "{}", body.len());
            if format == LogFormat::Json {
                let value: serde_json::Value = serde_json::from_str(body).expect("json");
                assert_eq!(value["level"], "WARN");
            }
        }
    }
}

#[test]
fn a_line_with_much_in_it_is_cut_and_says_so() {
    let much = "m".repeat(600);
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = shown(format, "info", || {
            let m = much.as_str();
            tracing::info!(event = "much", a = m, b = m, c = m, d = m, e = m, f = m, g = m, h = m);
        });
        let line = lines[0].trim_end();
        assert!(line.len() <= 4096 && line.contains("cut"), "{line}");
        if format == LogFormat::Json {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
    }
}

#[test]
fn libraries_are_silent_unless_asked_and_openraft_always() {
    let log = || {
        tracing::error!(target: "h2::client", "frame");
        tracing::error!(target: "openraft::core", entry = ?[1, 2], "whole commands");
        tracing::error!(event = "ours");
    };
    let text = shown(LogFormat::Text, "trace", log).concat();
    assert!(text.lines().count() == 1 && text.contains("ours"), "{text}");
    let text = shown(LogFormat::Text, "info,h2=debug,openraft=trace", log).concat();
    assert!(text.contains("library target=\"h2::client\" message=\"frame\""), "{text}");
    assert!(!text.contains("commands"), "{text}");
    let text = shown(LogFormat::Text, "info,openraft::core=trace", log).concat();
    assert!(!text.contains("commands"), "{text}");
}
