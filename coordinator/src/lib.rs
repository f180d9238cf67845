//! Job state machine and its NATS adapters.
