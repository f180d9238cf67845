//! The bus: subjects, streams, messages, object store, configuration, telemetry. Knows no proving.
